package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/internal/devstack/stacktest"
)

// onAWSSettings are valid AWS settings.
func onAWSSettings(t *testing.T) config {
	t.Helper()
	c := defaults(t)
	c.Cloud, c.AWSRegion, c.AWSSitesBucket, c.AWSWorkBucket = "aws", "eu-central-1", "troy-sites", "troy-work"
	c.AWSZone, c.AWSCertificate = "Z0123456789", "arn:aws:acm:us-east-1:123456789012:certificate/1"
	c.AWSPointerStore = "arn:aws:cloudfront::123456789012:key-value-store/1"
	c.SitesSuffix, c.SitesURL = "sites.test", "https://{host}"
	return c
}

func TestCheckNamesWhatIsWrongWithAWS(t *testing.T) {
	t.Parallel()
	if err := onAWSSettings(t).check(); err != nil {
		t.Fatalf("good settings are refused: %v", err)
	}
	for _, c := range []struct {
		setting string
		set     func(*config)
		says    string
	}{
		{"TROY_CLOUD", func(c *config) { c.Cloud = "gcp" }, "neither local nor aws"},
		{"TROY_AWS_REGION", func(c *config) { c.AWSRegion = "" }, "not set"},
		{"TROY_AWS_SITES_BUCKET", func(c *config) { c.AWSSitesBucket = "" }, "not set"},
		{"TROY_AWS_WORK_BUCKET", func(c *config) { c.AWSWorkBucket = c.AWSSitesBucket }, "would serve private objects"},
		{"TROY_AWS_ZONE", func(c *config) { c.AWSZone = "" }, "not set"},
		{"TROY_AWS_CERTIFICATE", func(c *config) { c.AWSCertificate = "arn:aws:acm:eu-central-1:1:certificate/1" }, "us-east-1"},
		{"TROY_AWS_PREVIEW_CERTIFICATE", func(c *config) { c.AWSPreviewCert = "arn:aws:acm:eu-central-1:1:certificate/1" }, "us-east-1"},
		{"TROY_AWS_POINTER_STORE", func(c *config) { c.AWSPointerStore = "pointers" }, "does not begin with arn:aws:cloudfront::"},
		{"TROY_AWS_ROLE", func(c *config) { c.AWSRole = "troy" }, "not the ARN of a role"},
		{"TROY_AWS_ENDPOINT", func(c *config) { c.AWSEndpoint = "localhost:4566" }, "not an http or https address"},
		{"TROY_AWS_S3_ENDPOINT", func(c *config) { c.AWSS3Endpoint = "s3" }, "not an http or https address"},
		{"TROY_AWS_REGION", func(c *config) { c.Cloud, c.AWSRegion, c.AWSAppsQueue = "local", "", "https://sqs.test/1/apps" }, "region of the queues"},
		{"TROY_SITES_SUFFIX", func(c *config) { c.SitesSuffix = "localhost" }, "domain of the hosted zone"},
	} {
		cfg := onAWSSettings(t)
		c.set(&cfg)
		err := cfg.check()
		if err == nil || !strings.HasPrefix(err.Error(), c.setting+": ") || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want only it named, and %q", c.setting, err, c.says)
		}
	}
}

func TestDefaultsOnAWS(t *testing.T) {
	environment(t, map[string]string{
		"TROY_CLOUD": "aws", "TROY_AWS_REGION": "eu-central-1", "TROY_AWS_SITES_BUCKET": "s", "TROY_AWS_WORK_BUCKET": "w",
		"TROY_AWS_ZONE": "Z1", "TROY_AWS_CERTIFICATE": "arn:aws:acm:us-east-1:1:certificate/1",
		"TROY_AWS_POINTER_STORE": "arn:aws:cloudfront::1:key-value-store/1", "TROY_SITES_SUFFIX": "sites.test",
	})
	c, err := loadConfig()
	if err != nil {
		t.Fatal(err)
	}
	if c.SitesURL != "https://{host}" || c.PropagationDelay.String() != "20s" {
		t.Errorf("TROY_SITES_URL is %q, TROY_PROPAGATION_DELAY %s", c.SitesURL, c.PropagationDelay)
	}
}

// Two processes with several waiters for one name: one at a time.
func TestAdvisoryLock(t *testing.T) {
	t.Parallel()
	db, err := pgxpool.New(t.Context(), stacktest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var mu sync.Mutex
	var inside, most, entered int
	enter := func(context.Context) error {
		mu.Lock()
		inside++
		entered++
		most = max(most, inside)
		mu.Unlock()
		_, err := db.Exec(t.Context(), "SELECT 1")
		mu.Lock()
		inside--
		mu.Unlock()
		return err
	}
	var group sync.WaitGroup
	for range 2 {
		lock := advisoryLock(db)
		for range 10 {
			group.Go(func() {
				if err := lock(t.Context(), "pointers", enter); err != nil {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	if entered != 20 || most != 1 {
		t.Errorf("%d entered, %d at once; want 20, one at a time", entered, most)
	}

	lock := advisoryLock(db)
	held, release := make(chan struct{}), make(chan struct{})
	group.Go(func() {
		_ = lock(t.Context(), "zone", func(context.Context) error { close(held); <-release; return nil })
	})
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := lock(ctx, "zone", enter); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting ended with %v", err)
	}
	boom := errors.New("boom")
	if err := lock(t.Context(), "other", func(context.Context) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("f's error came back as %v", err)
	}
	close(release)
	group.Wait()
}

// TestNoPasswords checks that visitors of sites on AWS can type a password only
// at an https address, which CloudFront's functions have room for.
func TestNoPasswords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ cloud, url, says string }{
		{"local", "http://troy.example.com", ""}, {"aws", "https://troy.example.com", ""}, {"aws", "http://troy.example.com", "not https"},
		{"aws", "https://" + strings.Repeat("x", maxSignIn), "expected at most 400"},
	} {
		if got := (config{Cloud: c.cloud, URL: c.url}).noPasswords(); (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("with %s and %.40s: %q, expected %q", c.cloud, c.url, got, c.says)
		}
	}
}
