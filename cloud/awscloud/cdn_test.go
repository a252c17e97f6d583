package awscloud_test

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/cloud/cloudtest"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
)

// locks is awscloud's Lock within one process.
func locks() func(context.Context, string, func(context.Context) error) error {
	var mu sync.Mutex
	held := map[string]*sync.Mutex{}
	return func(ctx context.Context, name string, f func(context.Context) error) error {
		mu.Lock()
		if held[name] == nil {
			held[name] = &sync.Mutex{}
		}
		lock := held[name]
		mu.Unlock()
		lock.Lock()
		defer lock.Unlock()
		return f(ctx)
	}
}

// troyAddress is where visitors of protected sites type the password.
const troyAddress = "https://troy.example.com"

// account is the double and the cloud on it.
type account struct {
	double *awsdouble.Double
	cloud  cloud.Cloud
	cfg    awscloud.Config
	loaded aws.Config
}

func newAccount(t *testing.T, server *s3test.Server, cfg awsdouble.Config) account {
	t.Helper()
	s3, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	cfg.S3, cfg.S3Key, cfg.S3Secret = s3, s3test.Key, s3test.Secret
	double := awsdouble.Start(cfg)
	t.Cleanup(double.Close)
	return join(t, server, double)
}

// join sets up another installation in the double's account.
func join(t *testing.T, server *s3test.Server, double *awsdouble.Double) account {
	t.Helper()
	id := strings.ReplaceAll(uuid.NewString(), "-", "")[:20]
	a := account{double: double, cfg: awscloud.Config{
		Config:      awsapi.Config{Region: "us-east-1", Endpoint: double.URL(), S3Endpoint: double.URL()},
		SitesBucket: server.Bucket(t, "sites-"+id), WorkBucket: server.Bucket(t, "work-"+id), Zone: "Z0123456789",
		CertificateARN:   "arn:aws:acm:us-east-1:123456789012:certificate/1",
		KeyValueStoreARN: "arn:aws:cloudfront::123456789012:key-value-store/" + id, SignIn: troyAddress, Lock: locks(),
	}}
	loaded, err := awsapi.Load(t.Context(), a.cfg.Config)
	if err != nil {
		t.Fatal(err)
	}
	loaded.Credentials = credentials.NewStaticCredentialsProvider(s3test.Key, s3test.Secret, "")
	a.loaded = loaded
	cdn := awscloud.NewCDN(loaded, a.cfg)
	a.cloud = cloud.Cloud{
		Store: awscloud.NewStore(loaded, a.cfg, site.Limits{}), CDN: cdn, Domains: cdn, DNS: awscloud.NewDNS(loaded, a.cfg),
		PropagationDelay: 20 * time.Millisecond,
	}
	return a
}

func TestConformance(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	t.Run("suite", func(t *testing.T) {
		cloudtest.Run(t, func(t *testing.T) cloudtest.Env {
			a := newAccount(t, server, awsdouble.Config{Settle: 400 * time.Millisecond}).withPreviews("sites.test")
			a.upkeep(t) // so that pages have one key
			return cloudtest.Env{Cloud: a.cloud, Domain: "sites.test", Deadline: 20 * time.Second, Readers: a.double.Edge(), MaxPath: awscloud.MaxPath}
		})
	})
}

// withPreviews gives the installation previews.
func (a account) withPreviews(suffix string) account {
	a.cfg.PreviewSuffix = suffix
	cdn := awscloud.NewCDN(a.loaded, a.cfg)
	a.cloud.CDN, a.cloud.Domains, a.cloud.Previews = cdn, cdn, cdn
	return a
}

// withAliases makes custom domains aliases.
func (a account) withAliases() account {
	a.cfg.Domains = awscloud.DomainAliases
	cdn := awscloud.NewCDN(a.loaded, a.cfg)
	a.cloud.CDN, a.cloud.Domains = cdn, cdn
	return a
}

func TestAliasesConformance(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	t.Run("suite", func(t *testing.T) {
		cloudtest.RunDomains(t, func(t *testing.T) cloudtest.Env {
			a := newAccount(t, server, awsdouble.Config{Settle: 100 * time.Millisecond}).withAliases()
			return cloudtest.Env{Cloud: a.cloud, Domain: "sites.test", Deadline: 30 * time.Second, Readers: a.double.Edge(), MaxPath: awscloud.MaxPath}
		})
	})
}

// CloudFront invalidates a tree that was sealed again, once for each pointer.
func TestFlipToTheSameTree(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{}).withPreviews("sites.test")
	d, err := a.cloud.CDN.Create(t.Context(), "troy-"+uuid.NewString(), "blog.sites.test")
	if err != nil {
		t.Fatal(err)
	}
	a.upkeep(t)
	pipeline, tree, other := uuid.New(), uuid.New(), uuid.New()
	for _, c := range []struct {
		sequence   int64
		deployment uuid.UUID
		forgotten  int
	}{{1, tree, 0}, {1, tree, 0}, {2, tree, 1}, {2, tree, 1}, {3, other, 1}, {4, other, 2}} {
		if err := a.cloud.CDN.Flip(t.Context(), d.ID, site.Pointer{Sequence: c.sequence, Pipeline: pipeline, Deployment: c.deployment}); err != nil {
			t.Fatal(err)
		}
		n := 0
		previews := 0
		for _, i := range a.double.Invalidations() {
			switch {
			case strings.Join(i.Paths, " ") != "/*":
			case i.Distribution == d.ID:
				n++
			default:
				previews++
			}
		}
		if n != c.forgotten || previews != n {
			t.Fatalf("after sequence %d: %d invalidations of everything, and %d of previews; want %d of each", c.sequence, n, previews, c.forgotten)
		}
	}
}
