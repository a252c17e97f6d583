package awscloud_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfrontkeyvaluestore"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/cloud/cloudtest"
	"github.com/troy-iaas/troy/site"
)

// TestEndpoint runs the conformance suites on what TROY_TEST_AWS_ENDPOINT
// names: a stand-in for AWS, with the credentials of the environment. What the
// endpoint lacks is skipped by name. Where the suites of more than S3 are to
// run, TROY_TEST_AWS_ZONE (with TROY_TEST_AWS_DOMAIN, its name),
// TROY_TEST_AWS_POINTER_STORE, TROY_TEST_AWS_CERTIFICATE and
// TROY_TEST_AWS_PROJECT say what it has.
func TestEndpoint(t *testing.T) {
	t.Parallel()
	endpoint := os.Getenv("TROY_TEST_AWS_ENDPOINT")
	if endpoint == "" {
		t.Skip("TROY_TEST_AWS_ENDPOINT is not set: the suites run on the double and on the S3 server of the tests alone")
	}
	env := func(name string) string { return os.Getenv("TROY_TEST_AWS_" + name) }
	cfg := awscloud.Config{
		Region: "us-east-1", Endpoint: endpoint, S3Endpoint: endpoint, Zone: env("ZONE"), CertificateARN: env("CERTIFICATE"),
		KeyValueStoreARN: env("POINTER_STORE"), Lock: locks(),
	}
	loaded, err := awscloud.Load(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	buckets := s3.NewFromConfig(loaded, func(o *s3.Options) { o.UsePathStyle = true })
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
	// lacks skips a suite whose service does not answer as it should.
	lacks := func(t *testing.T, service string, probe func(context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := probe(ctx); err != nil {
			t.Skipf("%s lacks %s: %v", endpoint, service, err)
		}
	}
	t.Run("store", func(t *testing.T) {
		t.Parallel()
		cloudtest.RunStore(t, func(t *testing.T) cloudtest.Env {
			return cloudtest.Env{Cloud: cloud.Cloud{Store: awscloud.NewStore(loaded, fresh(t), site.Limits{})}}
		})
	})
	t.Run("sites", func(t *testing.T) {
		t.Parallel()
		lacks(t, "Route 53", func(ctx context.Context) error {
			if cfg.Zone == "" {
				return fmt.Errorf("TROY_TEST_AWS_ZONE is not set")
			}
			_, err := route53.NewFromConfig(loaded).GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: &cfg.Zone})
			return err
		})
		lacks(t, "CloudFront's KeyValueStore", func(ctx context.Context) error {
			if cfg.KeyValueStoreARN == "" {
				return fmt.Errorf("TROY_TEST_AWS_POINTER_STORE is not set")
			}
			_, err := cloudfrontkeyvaluestore.NewFromConfig(loaded).DescribeKeyValueStore(ctx, &cloudfrontkeyvaluestore.DescribeKeyValueStoreInput{KvsARN: &cfg.KeyValueStoreARN})
			return err
		})
		cloudtest.Run(t, func(t *testing.T) cloudtest.Env {
			c := fresh(t)
			return cloudtest.Env{
				Cloud: cloud.Cloud{
					Store: awscloud.NewStore(loaded, c, site.Limits{}), CDN: awscloud.NewCDN(loaded, c), DNS: awscloud.NewDNS(loaded, c), PropagationDelay: time.Second,
				},
				Domain: env("DOMAIN"), Deadline: 15 * time.Minute,
			}
		})
	})
	t.Run("builder", func(t *testing.T) {
		t.Parallel()
		lacks(t, "CodeBuild", func(ctx context.Context) error {
			project := env("PROJECT")
			if project == "" {
				return fmt.Errorf("TROY_TEST_AWS_PROJECT is not set")
			}
			_, err := codebuild.NewFromConfig(loaded).ListBuildsForProject(ctx, &codebuild.ListBuildsForProjectInput{ProjectName: aws.String(project)})
			return err
		})
		cloudtest.RunBuilder(t, func(t *testing.T) cloudtest.BuilderEnv {
			return cloudtest.BuilderEnv{Builder: awscloud.NewBuilder(loaded, fresh(t), env("PROJECT")), Deadline: 10 * time.Minute, Poll: 2 * time.Second}
		})
	})
}
