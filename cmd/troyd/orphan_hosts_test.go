package main

import (
	"bytes"
	"context"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// What was made for a custom domain without a row is listed and removed, and
// nothing else.
func TestOrphanHosts(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	s3, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	double := awsdouble.Start(awsdouble.Config{S3: s3, S3Key: s3test.Key, S3Secret: s3test.Secret})
	t.Cleanup(double.Close)
	var mu sync.Map
	cfg := awscloud.Config{
		Config:      awsapi.Config{Region: "us-east-1", Endpoint: double.URL(), S3Endpoint: double.URL()},
		SitesBucket: server.Bucket(t, "sites"), WorkBucket: server.Bucket(t, "work"), Zone: "Z0123456789",
		CertificateARN: "arn:aws:acm:us-east-1:123456789012:certificate/1", KeyValueStoreARN: "arn:aws:cloudfront::123456789012:key-value-store/one",
		Lock: func(ctx context.Context, name string, f func(context.Context) error) error {
			lock, _ := mu.LoadOrStore(name, &sync.Mutex{})
			lock.(*sync.Mutex).Lock()
			defer lock.(*sync.Mutex).Unlock()
			return f(ctx)
		},
	}
	loaded, err := awsapi.Load(t.Context(), cfg.Config)
	if err != nil {
		t.Fatal(err)
	}
	loaded.Credentials = credentials.NewStaticCredentialsProvider(s3test.Key, s3test.Secret, "")
	cdn := awscloud.NewCDN(loaded, cfg)
	pipeline := uuid.New()
	d, err := cdn.Create(t.Context(), "troy-"+pipeline.String(), "blog.sites.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"kept.example", "lost.example"} {
		for range 3 {
			if err := cdn.Attach(t.Context(), d.ID, cloud.CustomHost{Host: host}); err != nil {
				t.Fatal(err)
			}
		}
	}
	db, err := pgxpool.New(t.Context(), stacktest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Exec(t.Context(), "INSERT INTO pipelines (id, slug, name) VALUES ($1, 'blog', 'blog')", pipeline); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), "INSERT INTO custom_domains (host, pipeline_id, created_by) VALUES ('kept.example', $1, 'ada')", pipeline); err != nil {
		t.Fatal(err)
	}
	sites := awscloud.NewAccount(loaded, cfg, site.Limits{})
	for i, want := range []struct {
		remove      bool
		found, left int
		says        string
	}{
		{false, 1, 1, "No pipeline has the domain lost.example: the distribution tenant "},
		{true, 1, 1, "(it is being disabled; run this again in some minutes)"},
		{true, 1, 0, "(removed)"},
		{true, 0, 0, ""},
	} {
		var out bytes.Buffer
		found, left, err := tidyHosts(t.Context(), sites, queries.New(db), want.remove, &out)
		if err != nil || found != want.found || left != want.left || !strings.Contains(out.String(), want.says) || strings.Contains(out.String(), "kept.example") {
			t.Errorf("run %d: found %d, left %d, %v\n%s", i, found, left, err, out.String())
		}
	}
	if tenants := double.Tenants(); len(tenants) != 1 || tenants[0].Domains[0] != "kept.example" {
		t.Errorf("left are the tenants %+v", tenants)
	}
}
