// Package awscloud serves sites from a team's own AWS account: their files in
// S3, a CloudFront distribution for each pipeline, alias records in Route 53,
// builds on CodeBuild. It is the cloud of several machines; cmd/troyd makes it
// for TROY_CLOUD=aws.
//
// Nothing is kept in the process that could not be read again: any number of
// web and work processes share one account.
package awscloud

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// Config says where in AWS the sites live. deploy/aws makes all that it names.
type Config struct {
	// Region is the buckets'. CloudFront and Route 53 have none.
	Region string
	// Profile and RoleARN, which may be empty, choose the credentials: those
	// of the profile or of the environment, and with them the assumed role.
	Profile, RoleARN string
	// Endpoint and S3Endpoint, which may be empty, stand in for AWS's own:
	// S3Endpoint for S3, Endpoint for all else. S3 is then addressed by path.
	Endpoint, S3Endpoint string

	// SitesBucket holds the files of sites, which CloudFront reads.
	// WorkBucket holds what only Troy and its builds read: manifests, sources and
	// outputs. They are two so that nothing CloudFront can be asked for is
	// private.
	SitesBucket, WorkBucket string
	// Zone is the id of the hosted zone that the sites' records are made in.
	Zone string
	// CertificateARN is ACM's certificate for the sites' hosts, in us-east-1.
	CertificateARN string
	// KeyValueStoreARN is CloudFront's store of the pointers.
	KeyValueStoreARN string
	// PriceClass says from where in the world CloudFront serves:
	// PriceClass_100, PriceClass_200, or PriceClass_All if empty.
	PriceClass string

	// LogBucket, which may be empty, is the bucket that CloudFront writes access
	// logs to, each distribution under its reference.
	LogBucket string
	// Temp is the folder of what is kept for a while: sources and outputs of
	// builds, large uploads. It is made when it is needed; empty means the
	// system's folder of temporary files.
	Temp string
	// BuildEnvironment is set in every build on CodeBuild, and BuildPath lists
	// further folders with programs, before those of its image.
	BuildEnvironment map[string]string
	BuildPath        []string

	// Lock runs f while nobody else holds the name, in any process. What AWS
	// wants one after another (the pointers' store, a zone's changes) is kept
	// in order by it.
	Lock func(ctx context.Context, name string, f func(context.Context) error) error
}

// PriceClasses lists what Config.PriceClass may be
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/PriceClass.html).
func PriceClasses() []string { return []string{"PriceClass_100", "PriceClass_200", "PriceClass_All"} }

// attempts is how often the SDK sends one request. What then still fails is
// retried by the worker, whose retries are seen and bounded.
const attempts = 3

// roleSession is how long an assumed role is used: the most that AWS allows for
// a role assumed by another.
const roleSession = time.Hour

// callTimeout bounds one attempt of a small call.
const callTimeout = 20 * time.Second

// Load resolves the credentials and the region, without calling AWS.
func Load(ctx context.Context, cfg Config) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		// A plain http.Client would refuse the bundle of AWS_CA_BUNDLE.
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConnsPerHost, t.MaxIdleConns = parallel, 2*parallel
		})),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = attempts })
		}),
	}
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	if cfg.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(cfg.Profile))
	}
	if cfg.Endpoint != "" {
		options = append(options, config.WithBaseEndpoint(cfg.Endpoint))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("load the AWS configuration: %w", err)
	}
	if cfg.RoleARN != "" {
		role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(loaded), cfg.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName, o.Duration = "troy", roleSession
		})
		// A signed upload ends with the session that signed it.
		loaded.Credentials = aws.NewCredentialsCache(role, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = signedFor + time.Minute })
	}
	return loaded, nil
}

// New returns the cloud of an account. It does not call AWS.
func New(ctx context.Context, cfg Config, limits site.Limits, propagationDelay time.Duration) (cloud.Cloud, error) {
	loaded, err := Load(ctx, cfg)
	if err != nil {
		return cloud.Cloud{}, err
	}
	return cloud.Cloud{
		Store: NewStore(loaded, cfg, limits), CDN: NewCDN(loaded, cfg), DNS: NewDNS(loaded, cfg), PropagationDelay: propagationDelay,
	}, nil
}
