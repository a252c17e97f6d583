// Package awsapi calls AWS: it loads credentials, sets deadlines, classifies
// errors, and reads and writes S3 objects. It also has the checks of `troyd
// doctor`. Packages awscloud and codebuild use it.
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

// Config configures the access to an account.
type Config struct {
	// Region is the region of the buckets. CloudFront and Route 53 have none.
	Region string
	// Profile and RoleARN, which may be empty, select the credentials: those of
	// the profile or the environment, and with them the role to assume.
	Profile, RoleARN string
	// Endpoint and S3Endpoint, which may be empty, replace AWS's endpoints:
	// S3Endpoint for S3, Endpoint for all other services. S3 is then addressed
	// by path.
	Endpoint, S3Endpoint string
}

// Parallel is the number of concurrent copies of objects.
const Parallel = 64

// SignedFor is the validity of a signed upload.
const SignedFor = 15 * time.Minute

// attempts is the maximum number of attempts of one request by the SDK. After
// that the worker retries, which is visible and bounded.
const attempts = 3

// roleSession is the duration of an assumed role's session: AWS's maximum for a
// role assumed by another role.
const roleSession = time.Hour

// CallTimeout bounds one attempt of a small call.
const CallTimeout = 20 * time.Second

// Load loads the credentials and the region without calling AWS.
func Load(ctx context.Context, cfg Config) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		// A plain http.Client would not support AWS_CA_BUNDLE.
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

// Call returns a context for a call that transfers few bytes.
func Call[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, attempts*CallTimeout)
	defer cancel()
	return f(ctx)
}

// Moving returns the time limit of a call that transfers a number of bytes.
func Moving(bytes int64) time.Duration {
	return attempts*CallTimeout + time.Duration(bytes/slowest)*time.Second
}

// EscapeKey escapes a key as a URL's path, so that S3 and CloudFront read any
// key correctly. They decode a + as a space, so net/url's rules don't suffice.
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
