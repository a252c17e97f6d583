package codebuild_test

import (
	"cmp"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	aws "github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/codebuild"
	"github.com/troy-iaas/troy/internal/awsapi"
)

// TestEndpoint runs the conformance suite on the endpoints in
// TROY_TEST_AWS_ENDPOINT and TROY_TEST_S3_ENDPOINT, with the project
// TROY_TEST_AWS_PROJECT and the credentials of the environment, unless
// TROY_TEST_AWS_LACKS contains codebuild.
func TestEndpoint(t *testing.T) {
	t.Parallel()
	endpoint := os.Getenv("TROY_TEST_AWS_ENDPOINT")
	cfg := codebuild.Config{
		Config:  awsapi.Config{Region: "us-east-1", Endpoint: endpoint, S3Endpoint: cmp.Or(os.Getenv("TROY_TEST_S3_ENDPOINT"), endpoint)},
		Project: os.Getenv("TROY_TEST_AWS_PROJECT"),
	}
	if cfg.S3Endpoint == "" {
		t.Skip("neither TROY_TEST_AWS_ENDPOINT nor TROY_TEST_S3_ENDPOINT is set: the suite runs only on the double")
	}
	lacks := strings.FieldsFunc(os.Getenv("TROY_TEST_AWS_LACKS"), func(r rune) bool { return r == ',' || r == ' ' })
	if slices.Contains(lacks, "codebuild") {
		t.Skip("TROY_TEST_AWS_LACKS names codebuild")
	}
	loaded, err := awsapi.Load(t.Context(), cfg.Config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := aws.NewFromConfig(loaded).ListBuildsForProject(t.Context(), &aws.ListBuildsForProjectInput{ProjectName: &cfg.Project}); err != nil {
		t.Fatalf("codebuild does not answer: %v; name it in TROY_TEST_AWS_LACKS if the endpoint has none", err)
	}
	buckets := awsapi.NewS3(loaded, cfg.Config)
	buildertest.Run(t, func(t *testing.T) buildertest.Env {
		c := cfg
		c.WorkBucket = "work-" + strings.ReplaceAll(uuid.NewString(), "-", "")[:20]
		if _, err := buckets.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &c.WorkBucket}); err != nil {
			t.Fatal(err)
		}
		return buildertest.Env{Builder: codebuild.New(loaded, c), Deadline: 10 * time.Minute, Poll: 2 * time.Second}
	})
}
