package awscloud_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/cloud/cloudtest"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
)

// Services that an endpoint may lack, in addition to what an adapter may. sites
// is CloudFront with its KeyValueStore, and Route 53. Without codebuild, the
// builder's test of the same name is skipped.
const (
	lacksS3        cloudtest.Lack = "s3"
	lacksSites     cloudtest.Lack = "sites"
	lacksCodeBuild cloudtest.Lack = "codebuild"
)

// endpoint is a stand-in for AWS, or AWS itself, under test.
type endpoint struct {
	url, s3                   string
	zone, domain, store, cert string
	lacks                     []cloudtest.Lack
	credentials               aws.CredentialsProvider // nil for the environment's
	deadline, poll            time.Duration
}

// TestEndpoint runs the conformance suites and a whole life on the endpoints in
// TROY_TEST_AWS_ENDPOINT and TROY_TEST_S3_ENDPOINT, with the credentials of the
// environment. TROY_TEST_AWS_ZONE, _DOMAIN, _POINTER_STORE and _CERTIFICATE
// name the endpoint's resources. TROY_TEST_AWS_LACKS has to name missing
// services; everything else has to work.
func TestEndpoint(t *testing.T) {
	t.Parallel()
	env := func(name string) string { return os.Getenv("TROY_TEST_AWS_" + name) }
	e := endpoint{
		url: env("ENDPOINT"), s3: cmp.Or(os.Getenv("TROY_TEST_S3_ENDPOINT"), env("ENDPOINT")), zone: env("ZONE"), domain: env("DOMAIN"), store: env("POINTER_STORE"),
		cert: env("CERTIFICATE"), deadline: 15 * time.Minute, poll: time.Second,
	}
	if e.url == "" && e.s3 == "" {
		t.Skip("neither TROY_TEST_AWS_ENDPOINT nor TROY_TEST_S3_ENDPOINT is set: the suites run only on the double and on the tests' S3 server")
	}
	var err error
	if e.lacks, err = parseLacks(env("LACKS")); err != nil {
		t.Fatal(err)
	}
	e.run(t)
}

// parseLacks parses comma-separated names.
func parseLacks(text string) ([]cloudtest.Lack, error) {
	known := []cloudtest.Lack{lacksS3, lacksSites, lacksCodeBuild, cloudtest.LacksPropagation, cloudtest.LacksHostConflict}
	var lacks []cloudtest.Lack
	for name := range strings.SplitSeq(text, ",") {
		l := cloudtest.Lack(strings.TrimSpace(name))
		if l == "" {
			continue
		}
		if !slices.Contains(known, l) {
			return nil, fmt.Errorf("TROY_TEST_AWS_LACKS: %q is not one of %q", l, known)
		}
		lacks = append(lacks, l)
	}
	return lacks, nil
}

func TestParseLacks(t *testing.T) {
	t.Parallel()
	if got, err := parseLacks("codebuild, host conflict"); err != nil || !slices.Equal(got, []cloudtest.Lack{lacksCodeBuild, cloudtest.LacksHostConflict}) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := parseLacks(""); err != nil || got != nil {
		t.Errorf("nothing: %q, %v", got, err)
	}
	if _, err := parseLacks("codebuild,magic"); err == nil || !strings.Contains(err.Error(), "magic") || !strings.Contains(err.Error(), "propagation") {
		t.Errorf("an unknown name: %v; want an error with it and the list", err)
	}
}

// The same on the double and an S3 server.
func TestEndpointOnTheDouble(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	a := newAccount(t, server, awsdouble.Config{Settle: 300 * time.Millisecond})
	t.Run("suite", func(t *testing.T) {
		endpoint{
			url: a.double.URL(), s3: server.URL, zone: "Z0123456789", domain: "sites.test", store: a.cfg.KeyValueStoreARN, cert: a.cfg.CertificateARN,
			credentials: credentials.NewStaticCredentialsProvider(s3test.Key, s3test.Secret, ""), deadline: 30 * time.Second, poll: 20 * time.Millisecond,
		}.run(t)
	})
}

func (e endpoint) run(t *testing.T) {
	cfg := awscloud.Config{
		Config: awsapi.Config{Region: "us-east-1", Endpoint: e.url, S3Endpoint: e.s3}, Zone: e.zone, CertificateARN: e.cert, KeyValueStoreARN: e.store, Lock: locks(),
	}
	loaded, err := awsapi.Load(t.Context(), cfg.Config)
	if err != nil {
		t.Fatal(err)
	}
	if e.credentials != nil {
		loaded.Credentials = e.credentials
	}
	buckets := s3.NewFromConfig(loaded, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = &e.s3, true })
	fresh := func(t *testing.T) awscloud.Config {
		t.Helper()
		c := cfg
		id := strings.ReplaceAll(uuid.NewString(), "-", "")[:20]
		c.SitesBucket, c.WorkBucket = "sites-"+id, "work-"+id
		for _, name := range []string{c.SitesBucket, c.WorkBucket} {
			if _, err := buckets.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	// has skips the test if the service is named as lacking, and fails it if
	// the service does not answer.
	has := func(t *testing.T, l cloudtest.Lack, probe func(context.Context) error) {
		t.Helper()
		if slices.Contains(e.lacks, l) {
			t.Skipf("TROY_TEST_AWS_LACKS names %s", l)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := probe(ctx); err != nil {
			t.Fatalf("%s does not answer: %v; name it in TROY_TEST_AWS_LACKS if the endpoint has none", l, err)
		}
	}
	open := func(t *testing.T) cloudtest.Env {
		c := fresh(t)
		return cloudtest.Env{
			Cloud: cloud.Cloud{
				Store: awscloud.NewStore(loaded, c, site.Limits{}), CDN: awscloud.NewCDN(loaded, c), DNS: awscloud.NewDNS(loaded, c), PropagationDelay: e.poll,
			},
			Domain: e.domain, Deadline: e.deadline, MaxPath: awscloud.MaxPath, Lacks: append(slices.Clone(e.lacks), cloudtest.LacksDomains, cloudtest.LacksPreviews),
		}
	}
	sites := func(ctx context.Context) error {
		if e.zone == "" || e.store == "" || e.domain == "" || e.cert == "" {
			return fmt.Errorf("TROY_TEST_AWS_ZONE, _DOMAIN, _POINTER_STORE and _CERTIFICATE must be set")
		}
		if _, err := route53.NewFromConfig(loaded).GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: &cfg.Zone}); err != nil {
			return err
		}
		return awscloud.NewCDN(loaded, cfg).ReadPointers(ctx)
	}
	t.Run("store", func(t *testing.T) {
		t.Parallel()
		has(t, lacksS3, func(ctx context.Context) error {
			_, err := buckets.ListBuckets(ctx, &s3.ListBucketsInput{})
			return err
		})
		cloudtest.RunStore(t, open)
	})
	t.Run("sites", func(t *testing.T) {
		t.Parallel()
		has(t, lacksSites, sites)
		cloudtest.RunCDN(t, open)
	})
	t.Run("life", func(t *testing.T) {
		t.Parallel()
		has(t, lacksSites, sites)
		cloudtest.RunLife(t, open(t))
	})
}
