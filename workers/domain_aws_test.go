package workers

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// domainFaults loses the first call of each action for custom domains before its
// effect, and the second one after it.
type domainFaults struct {
	mu      sync.Mutex
	numbers map[string][]int // of the calls of an action
}

func (f *domainFaults) fault(c awsdouble.Call) awsdouble.Fault {
	ours := c.Service == "acm" || strings.Contains(c.Action, "Tenant") || strings.Contains(c.Action, "ConnectionGroup") || strings.Contains(c.Action, "ManagedCertificate")
	if !ours {
		return awsdouble.None
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.numbers[c.Action] = append(f.numbers[c.Action], c.Number)
	switch len(f.numbers[c.Action]) {
	case 1:
		return awsdouble.LostBefore
	case 2:
		return awsdouble.LostAfter
	}
	return awsdouble.None
}

// onAWS moves a rig to the double of AWS.
func (r *rig) onAWS(cfg awsdouble.Config) *awsdouble.Double {
	r.t.Helper()
	server := s3test.Start(r.t)
	s3, err := url.Parse(server.URL)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg.S3, cfg.S3Key, cfg.S3Secret, cfg.Zone, cfg.ZoneName = s3, s3test.Key, s3test.Secret, "Z1", "localhost"
	double := awsdouble.Start(cfg)
	r.t.Cleanup(double.Close)
	var mu sync.Mutex
	locks := map[string]*sync.Mutex{}
	settings := awscloud.Config{
		Config:      awsapi.Config{Region: "us-east-1", Endpoint: double.URL(), S3Endpoint: double.URL()},
		SitesBucket: server.Bucket(r.t, "sites"), WorkBucket: server.Bucket(r.t, "work"), Zone: "Z1", PreviewSuffix: "localhost",
		CertificateARN: "arn:aws:acm:us-east-1:123456789012:certificate/1", KeyValueStoreARN: "arn:aws:cloudfront::123456789012:key-value-store/one",
		Lock: func(ctx context.Context, name string, f func(context.Context) error) error {
			mu.Lock()
			if locks[name] == nil {
				locks[name] = &sync.Mutex{}
			}
			lock := locks[name]
			mu.Unlock()
			lock.Lock()
			defer lock.Unlock()
			return f(ctx)
		},
	}
	loaded, err := awsapi.Load(r.t.Context(), settings.Config)
	if err != nil {
		r.t.Fatal(err)
	}
	loaded.Credentials = credentials.NewStaticCredentialsProvider(s3test.Key, s3test.Secret, "")
	loaded.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	cdn := awscloud.NewCDN(loaded, settings)
	r.cloud = cloud.Cloud{
		Store: awscloud.NewStore(loaded, settings, site.Limits{}), CDN: cdn, Domains: cdn, Previews: cdn, DNS: awscloud.NewDNS(loaded, settings), PropagationDelay: 20 * time.Millisecond,
	}
	return double
}

// TestDomainsOnAWS loses calls to AWS while a domain becomes Active and while it
// is removed. Nothing is left then, and nothing after the deletion of a pipeline
// that has it, except for what all domains share.
func TestDomainsOnAWS(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	faults := &domainFaults{numbers: map[string][]int{}}
	double := r.onAWS(awsdouble.Config{Fault: faults.fault})
	d := &domainRig{rig: r, dns: &fakeDNS{points: map[string]bool{}}}
	r.dns = d.dns
	r.start()
	id := r.provisioned("blog")
	const host = "www.blog.example.test"
	d.dns.set(host, true)
	var row queries.CustomDomain
	checkUntil := func(what string, done func(err error) bool) {
		t.Helper()
		if !poll.Until(t.Context(), 2*time.Minute, 20*time.Millisecond, func() bool {
			var err error
			row, err = r.q.CustomDomainGet(t.Context(), host)
			if done(err) {
				return true
			}
			if err == nil && row.NextCheckAt.After(time.Now()) {
				d.check(host)
			}
			return false
		}) {
			t.Fatalf("%s was not %s; it is %s: %s", host, what, row.State, row.Reason)
		}
	}
	active := func(error) bool { return row.State == troy.DomainActive }
	nothing := func(after string) {
		t.Helper()
		if tenants, certificates := double.Tenants(), double.Certificates(); len(tenants)+len(certificates) > 0 {
			t.Errorf("after %s: left are the tenants %+v and the certificates %+v", after, tenants, certificates)
		}
	}
	d.add(id, host, false)
	checkUntil("Active", active)
	if row.Certificate != string(cloud.CertificateActive) || row.NotAfter == nil {
		t.Errorf("the active domain is %+v", row)
	}
	if _, err := r.in.RemoveDomain(t.Context(), id, host, true, "ada"); err != nil {
		t.Fatal(err)
	}
	checkUntil("removed", func(err error) bool { return errors.Is(err, pgx.ErrNoRows) })
	nothing("the removal")
	d.add(id, host, false)
	checkUntil("Active again", active)
	if _, err := r.q.PipelineScheduleDeletion(t.Context(), queries.PipelineScheduleDeletionParams{ID: id, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	r.waitFor(id, troy.Deleted)
	nothing("the deletion")
	if left := double.Distributions(); len(left) != 1 || left[0].Host != "" {
		t.Errorf("left are the distributions %+v, expected the shared one", left)
	}
	faults.mu.Lock()
	defer faults.mu.Unlock()
	for _, action := range []string{"CreateConnectionGroup", "CreateDistributionTenant", "UpdateDistributionTenant", "DeleteDistributionTenant", "DeleteCertificate"} {
		if len(faults.numbers[action]) < 2 {
			t.Errorf("%s was called %d times, expected it to fail before and after its effect", action, len(faults.numbers[action]))
		}
	}
}
