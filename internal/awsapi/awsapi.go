// Package awsapi is how Troy calls AWS, whatever for: credentials, deadlines,
// what errors mean, objects of S3, and what `troyd doctor` asks first. awscloud
// and codebuild use it.
package awsapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Config says how an account is reached.
type Config struct {
	// Region is the buckets'. CloudFront and Route 53 have none.
	Region string
	// Profile and RoleARN, which may be empty, choose the credentials: those
	// of the profile or of the environment, and with them the assumed role.
	Profile, RoleARN string
	// Endpoint and S3Endpoint, which may be empty, stand in for AWS's own:
	// S3Endpoint for S3, Endpoint for all else. S3 is then addressed by path.
	Endpoint, S3Endpoint string
}

// Parallel is how many objects are copied at a time.
const Parallel = 64

// SignedFor is how long a signed upload is good.
const SignedFor = 15 * time.Minute

// attempts is how often the SDK sends one request. What then still fails is
// retried by the worker, whose retries are seen and bounded.
const attempts = 3

// roleSession is how long an assumed role is used: the most that AWS allows for
// a role assumed by another.
const roleSession = time.Hour

// CallTimeout bounds one attempt of a small call.
const CallTimeout = 20 * time.Second

// Load resolves the credentials and the region, without calling AWS.
func Load(ctx context.Context, cfg Config) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		// A plain http.Client would refuse the bundle of AWS_CA_BUNDLE.
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConnsPerHost, t.MaxIdleConns = Parallel, 2*Parallel
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
		loaded.Credentials = aws.NewCredentialsCache(role, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = SignedFor + time.Minute })
	}
	return loaded, nil
}

// Call bounds a call that moves few bytes.
func Call[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, attempts*CallTimeout)
	defer cancel()
	return f(ctx)
}

// Moving is how long a call may take that moves a number of bytes.
func Moving(bytes int64) time.Duration {
	return attempts*CallTimeout + time.Duration(bytes/slowest)*time.Second
}

// EscapeKey writes a key as a URL's path, where S3 and CloudFront read it
// whatever is in it. They take a + for a space, so net/url's rules won't do.
func EscapeKey(key string) string {
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
