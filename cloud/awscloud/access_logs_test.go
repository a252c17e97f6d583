package awscloud_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
)

// withLogs turns access logs on.
func (a *account) withLogs(t *testing.T, server *s3test.Server) {
	t.Helper()
	a.cfg.LogBucket = server.Bucket(t, "logs-"+uuid.NewString())
	a.cloud.CDN = awscloud.NewCDN(a.loaded, a.cfg)
}

// delete disables and deletes a distribution.
func (a account) delete(t *testing.T, d cloud.Distribution) error {
	t.Helper()
	now, err := a.cloud.CDN.Get(t.Context(), d.ID)
	if err == nil && now.Enabled {
		err = a.cloud.CDN.Disable(t.Context(), d.ID, now.ETag)
	}
	if err == nil {
		now, err = a.cloud.CDN.Get(t.Context(), d.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a.cloud.CDN.Delete(t.Context(), d.ID, now.ETag)
}

// TestAccessLogs makes two installations' sites log, reads the logs, and deletes
// the sites.
func TestAccessLogs(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	a := newAccount(t, server, awsdouble.Config{})
	before := a.publish(t, "before.sites.test", "home")
	if n := a.double.Deliveries(); n != 0 {
		t.Fatalf("without the setting there are %d deliveries", n)
	}
	a.withLogs(t, server)
	fresh := a.publish(t, "fresh.sites.test", "home")
	if n := a.double.Deliveries(); n != 1 {
		t.Errorf("after the creation there are %d deliveries, want 1", n)
	}
	for _, want := range []int{1, 0} {
		if done := a.upkeep(t); done.Deliveries != want || done.Distributions != 0 {
			t.Errorf("the upkeep changed %+v, want %d deliveries", done, want)
		}
	}
	other := join(t, server, a.double)
	other.cfg.LogBucket = a.cfg.LogBucket
	other.cloud.CDN = awscloud.NewCDN(other.loaded, other.cfg)
	other.publish(t, "other.sites.test", "home")

	for _, path := range []string{"/", "/missing?token=secret"} {
		r := httptest.NewRequest(http.MethodGet, "http://fresh.sites.test"+path, nil)
		r.Header.Set("Referer", "https://links.example/")
		a.double.Edge().ServeHTTP(httptest.NewRecorder(), r)
	}
	a.read("before.sites.test", "/")
	a.read("other.sites.test", "/")
	if n, err := a.double.WriteLogs(t.Context()); err != nil || n < 3 {
		t.Fatalf("%d log files, %v", n, err)
	}
	for _, key := range server.Keys(t, a.cfg.LogBucket) {
		if data, _ := server.Read(a.cfg.LogBucket, key); strings.Contains(string(data), "192.0.2.1") {
			t.Errorf("%s has an address", key)
		}
	}
	logs := awscloud.NewAccessLogs(a.loaded, a.cfg)
	got := map[string][]cloud.Request{}
	var keys []string
	err := logs.Files(t.Context(), func(f cloud.LogFile) error {
		keys = append(keys, f.Key)
		_, err := logs.Read(t.Context(), f, func(r cloud.Request) {
			if r.Bytes < 4 || r.Day != f.Hour.Format("2006-01-02") {
				t.Errorf("%+v in %+v", r, f)
			}
			r.Bytes, r.Day = 0, ""
			got[f.Distribution] = append(got[f.Distribution], r)
		})
		return err
	})
	want := map[string][]cloud.Request{
		before.ID: {{Path: "/", Status: 200}},
		fresh.ID:  {{Path: "/", Status: 200, Referrer: "https://links.example/"}, {Path: "/missing", Status: 404, Referrer: "https://links.example/"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for range 2 {
		if err := logs.Remove(t.Context(), keys...); err != nil {
			t.Error(err)
		}
	}
	if _, err := logs.Read(t.Context(), cloud.LogFile{Key: keys[0]}, func(cloud.Request) {}); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("a removed file: %v", err)
	}

	for _, d := range []cloud.Distribution{before, fresh} {
		if err := a.delete(t, d); err != nil {
			t.Error(err)
		}
	}
	if sources := a.double.DeliverySources(); len(sources) != 1 || a.double.Deliveries() != 1 {
		t.Errorf("after the deletion the sources are %q, with %d deliveries; want the other installation's", sources, a.double.Deliveries())
	}
}

// TestAccessLogsAreLost loses the answers of each call: an upkeep completes what
// a creation or another upkeep began, and a deletion can be repeated.
func TestAccessLogsAreLost(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for _, action := range []string{"GetDeliveryDestination", "PutDeliveryDestination", "PutDeliverySource", "CreateDelivery", "DescribeDeliveries", "DeleteDelivery", "DeleteDeliverySource"} {
		for name, fault := range map[string]awsdouble.Fault{"lost before": awsdouble.LostBefore, "lost after": awsdouble.LostAfter, "denied": awsdouble.Denied} {
			t.Run(action+" "+name, func(t *testing.T) {
				t.Parallel()
				var failing atomic.Bool
				a := newAccount(t, server, awsdouble.Config{Fault: func(c awsdouble.Call) awsdouble.Fault {
					if c.Action == action && failing.Load() {
						return fault
					}
					return awsdouble.None
				}})
				a.withLogs(t, server)
				failing.Store(true)
				d := a.publish(t, "blog.sites.test", "home")
				_, _ = awscloud.NewCDN(a.loaded, a.cfg).Upkeep(t.Context())
				failing.Store(false)
				a.upkeep(t)
				if len(a.double.DeliverySources()) != 1 || a.double.Deliveries() != 1 {
					t.Errorf("the sources are %q, with %d deliveries", a.double.DeliverySources(), a.double.Deliveries())
				}
				failing.Store(true)
				err := a.delete(t, d)
				failing.Store(false)
				if err != nil {
					err = a.delete(t, d)
				}
				if sources := a.double.DeliverySources(); err != nil || len(sources) != 0 || a.double.Deliveries() != 0 || len(a.double.Distributions()) != 0 {
					t.Errorf("left are %q, %d deliveries, %d distributions, %v", sources, a.double.Deliveries(), len(a.double.Distributions()), err)
				}
			})
		}
	}
}

// TestOperatorsLogs has legacy logs of an earlier version, an operator's legacy
// logs, and an operator's delivery source.
func TestOperatorsLogs(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	a := newAccount(t, server, awsdouble.Config{})
	earlier, legacy, source := a.publish(t, "earlier.sites.test", "home"), a.publish(t, "legacy.sites.test", "home"), a.publish(t, "source.sites.test", "home")
	a.withLogs(t, server)
	write := func(d cloud.Distribution, bucket, prefix string) {
		a.edit(t, d.ID, func(c *types.DistributionConfig) {
			if prefix == "" {
				prefix = aws.ToString(c.Comment) + "/"
			}
			c.Logging = &types.LoggingConfig{Enabled: aws.Bool(true), IncludeCookies: aws.Bool(false), Bucket: aws.String(bucket + ".s3.amazonaws.com"), Prefix: &prefix}
		})
	}
	write(earlier, a.cfg.LogBucket, "")
	write(legacy, "mine", "x/")
	client := cloudwatchlogs.NewFromConfig(a.loaded, func(o *cloudwatchlogs.Options) { o.Region = "us-east-1" })
	if _, err := client.PutDeliverySource(t.Context(), &cloudwatchlogs.PutDeliverySourceInput{
		Name: aws.String("mine"), LogType: aws.String("ACCESS_LOGS"), ResourceArn: aws.String("arn:aws:cloudfront::123456789012:distribution/" + source.ID),
	}); err != nil {
		t.Fatal(err)
	}
	cdn := awscloud.NewCDN(a.loaded, a.cfg)
	for i, want := range []awscloud.Upkept{{Distributions: 1, Deliveries: 3}, {}, {}} {
		calls := len(a.double.Calls())
		if done, err := cdn.Upkeep(t.Context()); err != nil || done.Distributions != want.Distributions || done.Deliveries != want.Deliveries {
			t.Errorf("upkeep %d changed %+v, %v; want %+v", i+1, done, err, want)
		}
		for _, c := range a.double.Calls()[calls:] {
			if i == 2 && c.Action == "GetDistribution" {
				t.Errorf("the third upkeep read a distribution")
			}
		}
	}
	if sources := a.double.DeliverySources(); len(sources) != 3 || !slices.Contains(sources, "mine") || a.double.Deliveries() != 3 {
		t.Errorf("the sources are %q, with %d deliveries", sources, a.double.Deliveries())
	}
	for d, want := range map[string]bool{earlier.ID: false, legacy.ID: true} {
		got, err := cloudfront.NewFromConfig(a.loaded).GetDistribution(t.Context(), &cloudfront.GetDistributionInput{Id: &d})
		if err != nil {
			t.Fatal(err)
		}
		if l := got.Distribution.DistributionConfig.Logging; (l != nil && aws.ToBool(l.Enabled)) != want {
			t.Errorf("%s: legacy logs %+v, want %v", d, l, want)
		}
	}
	if err := a.delete(t, source); err != nil {
		t.Fatal(err)
	}
	if sources := a.double.DeliverySources(); len(sources) != 3 || a.double.Deliveries() != 2 {
		t.Errorf("after the deletion the sources are %q, with %d deliveries", sources, a.double.Deliveries())
	}
}

// TestAccessLogsAreRefused has a bucket to which CloudFront may not write: sites
// are made without logs, and each upkeep reports why. A source without a
// distribution is an orphan.
func TestAccessLogsAreRefused(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	a := newAccount(t, server, awsdouble.Config{LogBuckets: []string{"open"}})
	a.withLogs(t, server)
	a.publish(t, "fresh.sites.test", "home")
	if _, err := awscloud.NewCDN(a.loaded, a.cfg).Upkeep(t.Context()); troy.KindOf(err) != troy.Forbidden || !strings.Contains(err.Error(), a.cfg.LogBucket) {
		t.Errorf("the upkeep says %v", err)
	}
	a.wantPage(t, "fresh.sites.test", "home")

	// Without the setting a deletion leaves the source to `troyd aws orphans`.
	with := a.cfg.LogBucket
	a.cfg.LogBucket = ""
	a.cloud.CDN = awscloud.NewCDN(a.loaded, a.cfg)
	d := a.double.Distributions()[0]
	if err := a.delete(t, cloud.Distribution{ID: d.ID}); err != nil {
		t.Fatal(err)
	}
	for _, bucket := range []string{"", with} {
		a.cfg.LogBucket = bucket
		found, err := a.account().Pipelines(t.Context())
		if err != nil || len(found) != 1 {
			t.Fatalf("the account has %v, %v", found, err)
		}
		for _, what := range found {
			if !slices.ContainsFunc(what, func(s string) bool { return strings.HasPrefix(s, "the log delivery source troy-") }) {
				t.Errorf("the account has %q", what)
			}
		}
	}
	if gone, err := a.account().Remove(t.Context(), uuid.MustParse(strings.TrimPrefix(d.Reference, "troy-"))); err != nil || !gone {
		t.Errorf("removed %v, %v", gone, err)
	}
	if sources := a.double.DeliverySources(); len(sources) > 0 {
		t.Errorf("left are %q", sources)
	}
}
