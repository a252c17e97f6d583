package awscloud_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
)

// names is what a test decides about the DNS records of custom hosts.
type names struct {
	mu              sync.Mutex
	away, forbidden map[string]bool // by host
}

func newNames() *names { return &names{away: map[string]bool{}, forbidden: map[string]bool{}} }

// points reports whether a host, or the record that validates it, leads to where
// it should.
func (n *names) points(name, _ string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for host := range n.away {
		if n.away[host] && (name == host || strings.HasPrefix(name, "_") && strings.HasSuffix(name, "."+host)) {
			return false
		}
	}
	return true
}

func (n *names) forbids(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.forbidden[name]
}

func (n *names) set(of map[string]bool, host string, value bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	of[host] = value
}

func (n *names) account(t *testing.T) account {
	t.Helper()
	return newAccount(t, s3test.Start(t), awsdouble.Config{Points: n.points, Forbids: n.forbids})
}

func (a account) attach(t *testing.T, id, host string) {
	t.Helper()
	if err := a.cloud.Domains.Attach(t.Context(), id, cloud.CustomHost{Host: host}); err != nil {
		t.Fatalf("Attach of %s: %v", host, err)
	}
}

func (a account) wantState(t *testing.T, id, host string, want cloud.Certificate, serving bool, says string) cloud.HostState {
	t.Helper()
	s, err := a.cloud.Domains.Host(t.Context(), id, host)
	if err != nil || s.Certificate != want || s.Serving != serving || !strings.Contains(s.Problem, says) || says == "" && s.Problem != "" {
		t.Fatalf("the state of %s is %+v, %v; expected the certificate %s, serving %v and %q", host, s, err, want, serving, says)
	}
	return s
}

// detach removes a host from a distribution in at most as many steps as are
// needed, and checks that nothing is left.
func (a account) detach(t *testing.T, id, host string) {
	t.Helper()
	for range 5 {
		err := a.cloud.Domains.Detach(t.Context(), id, host)
		if err == nil {
			a.wantNothing(t)
			return
		}
		if !errors.Is(err, cloud.ErrNotDisabled) {
			t.Fatalf("Detach of %s: %v", host, err)
		}
	}
	t.Fatalf("%s is still attached", host)
}

func (a account) wantNothing(t *testing.T) {
	t.Helper()
	if tenants, certificates := a.double.Tenants(), a.double.Certificates(); len(tenants)+len(certificates) > 0 {
		t.Errorf("left are the tenants %+v and the certificates %+v", tenants, certificates)
	}
}

// A domain's state says what CloudFront and ACM wait for.
func TestTenantStates(t *testing.T) {
	t.Parallel()
	dns := newNames()
	a := dns.account(t)
	d := a.publish(t, "blog.sites.test", "home")
	const host = "www.customer.example"
	target, _, err := a.cloud.Domains.Target(t.Context(), d.ID)
	if err != nil || target == d.Domain {
		t.Fatalf("the target is %q, %v; expected that of the connection group", target, err)
	}
	dns.set(dns.away, host, true)
	err = a.cloud.Domains.Attach(t.Context(), d.ID, cloud.CustomHost{Host: host})
	if err == nil || troy.KindOf(err) == troy.Invalid || !strings.Contains(err.Error(), "TXT record of _cf-challenge."+host+" to "+target) {
		t.Errorf("Attach of a host that leads elsewhere: %v; expected an error that may pass and names the TXT record", err)
	}
	dns.set(dns.away, host, false)
	a.attach(t, d.ID, host)
	dns.set(dns.away, host, true)
	a.wantState(t, d.ID, host, cloud.CertificateIssuing, false, "CloudFront can't validate the certificate: ")
	dns.set(dns.away, host, false)
	dns.set(dns.forbidden, host, true)
	failed := a.wantState(t, d.ID, host, cloud.CertificateFailed, false, "CAA record forbids Amazon")
	if wait := time.Until(failed.NextTry); wait < 5*time.Hour || wait > 6*time.Hour {
		t.Errorf("the next try is in %s, expected 6 hours", wait)
	}
	a.attach(t, d.ID, host)
	if n := len(a.double.Certificates()); n != 1 {
		t.Errorf("%d certificates were requested, expected 1 within 6 hours", n)
	}
	if err := a.cloud.Domains.Attach(t.Context(), d.ID, cloud.CustomHost{Host: host, Again: true}); err != nil {
		t.Fatal(err)
	}
	if n := len(a.double.Certificates()); n != 2 {
		t.Errorf("%d certificates were requested, expected another one when people asked for it", n)
	}
	dns.set(dns.forbidden, host, false)
	a.wantState(t, d.ID, host, cloud.CertificateIssuing, false, "has been issued")
	a.attach(t, d.ID, host)
	if s := a.wantState(t, d.ID, host, cloud.CertificateActive, true, ""); time.Until(s.NotAfter) < 100*24*time.Hour {
		t.Errorf("the certificate ends at %s", s.NotAfter)
	}
	a.wantPage(t, host, "home")
	if w := a.read("other.customer.example", "/"); w.Code != http.StatusForbidden {
		t.Errorf("a host that is not attached answers %d", w.Code)
	}
	a.detach(t, d.ID, host)
}

// A custom domain has the 404 page of its site.
func TestTenantMissingPage(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{})
	pipeline := uuid.New()
	d, err := a.cloud.CDN.Create(t.Context(), "troy-"+pipeline.String(), "blog.sites.test")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		a.attach(t, d.ID, "www.customer.example") // before the first deployment
	}
	other := a.publish(t, "other.sites.test", "other")
	for range 3 {
		a.attach(t, other.ID, "other.example")
	}
	for i, missing := range []string{"", "first", "second", ""} {
		a.releaseFiles(t, d, site.Tree{Pipeline: pipeline, Deployment: uuid.Must(uuid.NewV7())}, int64(i+1), map[string]string{"index.html": "home", "404.html": missing})
		a.double.Advance(time.Minute)
		for host, says := range map[string]string{"www.customer.example": missing, "other.example": ""} {
			w := a.read(host, "/none/page")
			if says == "" {
				says = "<h1>Not found</h1>"
			}
			if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), says) {
				t.Errorf("deployment %d: %s answers %d %q, expected %q", i, host, w.Code, w.Body, says)
			}
		}
		if w := a.read("www.customer.example", "/.troy/missing/404.html"); missing != "" && w.Code != http.StatusNotFound {
			t.Errorf("the page itself has status %d", w.Code)
		}
		a.wantPage(t, "www.customer.example", "home")
	}
}

// Wildcards and aliases need a record of ACM.
func TestCertificateRecords(t *testing.T) {
	t.Parallel()
	for name, host := range map[string]string{"a wildcard's tenant": "*.customer.example", "an alias": "customer.example"} {
		dns := newNames()
		a := dns.account(t)
		if name == "an alias" {
			a = a.withAliases()
		}
		d := a.publish(t, "blog.sites.test", "home")
		dns.set(dns.away, "customer.example", true)
		a.attach(t, d.ID, host)
		s := a.wantState(t, d.ID, host, cloud.CertificateIssuing, false, "")
		if len(s.Records) != 1 || s.Records[0].Type != "CNAME" || !strings.HasSuffix(s.Records[0].Name, ".customer.example") || !strings.HasSuffix(s.Records[0].Value, ".acm-validations.aws") {
			t.Errorf("%s: the records are %+v", name, s.Records)
		}
		dns.set(dns.away, "customer.example", false)
		for range 3 {
			a.attach(t, d.ID, host)
		}
		a.wantState(t, d.ID, host, cloud.CertificateActive, true, "")
		if target, _, err := a.cloud.Domains.Target(t.Context(), d.ID); err != nil || (target == d.Domain) != (name == "an alias") {
			t.Errorf("%s: the target is %q, %v", name, target, err)
		}
		a.wantPage(t, strings.Replace(host, "*", "a", 1), "home")
		a.detach(t, d.ID, host)
		a.wantPage(t, "blog.sites.test", "home")
	}
}

// An alias whose validation is not set yet does not hold up the others, and a
// flip keeps redirects.
func TestAliasesOfOneDistribution(t *testing.T) {
	t.Parallel()
	dns := newNames()
	a := dns.account(t).withAliases()
	d := a.publish(t, "blog.sites.test", "home")
	dns.set(dns.away, "late.example", true)
	hosts := []string{"late.example", "a.example", "b.example"}
	for range 3 {
		for _, host := range hosts {
			a.attach(t, d.ID, host)
		}
	}
	a.wantState(t, d.ID, "late.example", cloud.CertificateIssuing, false, "")
	for _, host := range hosts[1:] {
		a.wantState(t, d.ID, host, cloud.CertificateActive, true, "")
		a.wantPage(t, host, "home")
	}
	if err := a.cloud.Domains.Attach(t.Context(), d.ID, cloud.CustomHost{Host: "b.example", Redirect: "a.example"}); err != nil {
		t.Fatal(err)
	}
	other := a.publish(t, "other.sites.test", "other")
	if err := a.cloud.Domains.Attach(t.Context(), other.ID, cloud.CustomHost{Host: "late.example"}); troy.KindOf(err) != troy.Conflict {
		t.Errorf("Attach of a host that waits for its certificate elsewhere: %v, expected a Conflict", err)
	}
	if w := a.read("b.example", "/x?y=1"); w.Code != http.StatusPermanentRedirect || w.Header().Get("Location") != "https://a.example/x?y=1" {
		t.Errorf("b.example answers %d, Location %q", w.Code, w.Header().Get("Location"))
	}
	a.wantPage(t, "a.example", "home")
	for _, host := range hosts {
		if err := a.cloud.Domains.Detach(t.Context(), d.ID, host); err != nil {
			t.Fatal(err)
		}
	}
	a.wantNothing(t)
	for key := range a.double.Pointers() {
		if strings.Contains(key, "/h/") {
			t.Errorf("the redirect %s is left", key)
		}
	}
}

// A policy that denies a call is named in the state, with the way out.
func TestTenantsDenied(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{Fault: func(c awsdouble.Call) awsdouble.Fault {
		if strings.Contains(c.Action, "Tenant") || strings.Contains(c.Action, "ConnectionGroup") {
			return awsdouble.Denied
		}
		return awsdouble.None
	}})
	d := a.publish(t, "blog.sites.test", "home")
	err := a.cloud.Domains.Attach(t.Context(), d.ID, cloud.CustomHost{Host: "www.customer.example"})
	if troy.KindOf(err) != troy.Forbidden || !strings.Contains(err.Error(), "TROY_AWS_DOMAINS=aliases") {
		t.Errorf("Attach: %v; expected Forbidden, with the setting for aliases", err)
	}
	// Nothing else depends on tenants.
	a.wantPage(t, "blog.sites.test", "home")
	if err := a.cloud.CDN.Disable(t.Context(), d.ID, d.ETag); err != nil {
		t.Fatal(err)
	}
	got, err := a.cloud.CDN.Get(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cloud.CDN.Delete(t.Context(), d.ID, got.ETag); err != nil {
		t.Errorf("the deletion of the distribution: %v", err)
	}
	// The other way works.
	b := a.withAliases()
	d = b.publish(t, "news.sites.test", "news")
	for range 3 {
		b.attach(t, d.ID, "www.customer.example")
	}
	b.wantPage(t, "www.customer.example", "news")
	b.detach(t, d.ID, "www.customer.example")
}

// failOnce fails the first call of an action, in the given way.
type failOnce struct {
	mu     sync.Mutex
	action string
	fault  awsdouble.Fault
	number int
	seen   map[string]bool
}

func (f *failOnce) fail(c awsdouble.Call) awsdouble.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.Service == "cloudfront" || c.Service == "acm" || c.Service == "cloudfront-keyvaluestore" {
		f.seen[c.Action] = true
	}
	if c.Action != f.action || f.number != 0 && f.number != c.Number {
		return awsdouble.None
	}
	f.number = c.Number
	return f.fault
}

func (f *failOnce) arm(action string, fault awsdouble.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.action, f.fault, f.number = action, fault, 0
}

// Each call may fail before or after its effect: the next ones complete the work,
// and nothing is left after the end.
func TestDomainFaults(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, host := range map[string]string{"a tenant": "www.customer.example", "a wildcard's tenant": "*.customer.example", "an alias": "customer.example"} {
		open := func(t *testing.T) (account, *failOnce, string) {
			f := &failOnce{seen: map[string]bool{}}
			a := newAccount(t, server, awsdouble.Config{Fault: f.fail})
			a.loaded.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
			cdn := awscloud.NewCDN(a.loaded, a.cfg)
			a.cloud.CDN, a.cloud.Domains = cdn, cdn
			if name == "an alias" {
				a = a.withAliases()
			}
			return a, f, a.publish(t, "blog.sites.test", "home").ID
		}
		life := func(t *testing.T, a account, id string) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			redirect := ""
			if name == "a tenant" || name == "an alias" {
				redirect = "to.customer.example"
			}
			served := func() bool {
				if _, _, err := a.cloud.Domains.Target(ctx, id); err != nil {
					return false
				}
				if err := a.cloud.Domains.Attach(ctx, id, cloud.CustomHost{Host: host, Redirect: redirect}); err != nil {
					return false
				}
				s, err := a.cloud.Domains.Host(ctx, id, host)
				return err == nil && s.Serving && s.Certificate == cloud.CertificateActive
			}
			for i := 0; !served(); i++ {
				if i > 10 {
					t.Fatalf("%s is not served after %d steps", host, i)
				}
			}
			for i := 0; a.cloud.Domains.Detach(ctx, id, host) != nil; i++ {
				if i > 10 {
					t.Fatalf("%s is not detached after %d steps", host, i)
				}
			}
			a.wantNothing(t)
			if n := a.double.ConnectionGroups(); n > 1 {
				t.Errorf("%d connection groups were made", n)
			}
		}
		a, all, id := open(t)
		all.seen = map[string]bool{}
		life(t, a, id)
		var actions []string
		for action := range all.seen {
			actions = append(actions, action)
		}
		slices.Sort(actions)
		if len(actions) < 8 {
			t.Fatalf("%s: only the calls %v were seen", name, actions)
		}
		for _, action := range actions {
			for way, fault := range map[string]awsdouble.Fault{"before": awsdouble.LostBefore, "after": awsdouble.LostAfter} {
				t.Run(name+"/"+action+"/"+way, func(t *testing.T) {
					a, f, id := a, all, id
					if slices.Contains([]string{"GetConnectionGroup", "CreateConnectionGroup", "CreateDistributionWithTags", "ListDistributions"}, action) {
						a, f, id = open(t) // which only the first domain of an account needs
					}
					f.arm(action, fault)
					life(t, a, id)
				})
			}
		}
	}
}

// What belongs to no domain is found and removed.
func TestOrphanHosts(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	a := newAccount(t, server, awsdouble.Config{})
	d := a.publish(t, "blog.sites.test", "home")
	for range 3 {
		a.attach(t, d.ID, "www.customer.example")
		a.attach(t, d.ID, "*.customer.example")
	}
	b := a.withAliases()
	e := b.publish(t, "news.sites.test", "news")
	for range 3 {
		b.attach(t, e.ID, "news.example")
	}
	other := join(t, server, a.double)
	if found, err := other.account().Hosts(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("another installation finds %+v, %v", found, err)
	}
	found, err := b.account().Hosts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	what := map[string]bool{}
	for _, h := range found {
		kind, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(h.What, "the "), "an "), " ")
		what[h.Host+" "+kind] = true
	}
	for _, want := range []string{"www.customer.example distribution", "*.customer.example distribution", "*.customer.example certificate", "news.example alias"} {
		if !what[want] {
			t.Errorf("%s was not found: %v", want, what)
		}
	}
	for range 3 {
		for _, h := range found {
			if _, err := b.account().RemoveHost(t.Context(), h); err != nil {
				t.Fatalf("remove %s of %s: %v", h.What, h.Host, err)
			}
		}
	}
	a.wantNothing(t)
	if found, err := b.account().Hosts(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("left are %+v, %v", found, err)
	}
}

// The upkeep leaves the multi-tenant distribution as it is, and a second process
// finds it.
func TestTenancyIsMadeOnce(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{})
	d := a.publish(t, "blog.sites.test", "home")
	var targets []string
	for range 2 {
		target, _, err := awscloud.NewCDN(a.loaded, a.cfg).Target(t.Context(), d.ID)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, target)
	}
	if targets[0] != targets[1] || a.double.ConnectionGroups() != 1 || len(a.double.Distributions()) != 2 {
		t.Errorf("the targets are %v, of %d connection groups and %d distributions", targets, a.double.ConnectionGroups(), len(a.double.Distributions()))
	}
	if done := a.upkeep(t); done != (awscloud.Upkept{}) {
		t.Errorf("the upkeep changed %+v", done)
	}
	pipelines, err := a.account().Pipelines(t.Context())
	if err != nil || len(pipelines) != 1 {
		t.Errorf("the pipelines are %v, %v", pipelines, err)
	}
	if left, err := a.account().Unused(t.Context(), false); err != nil || len(left) > 0 {
		t.Errorf("unused are %v, %v", left, err)
	}
}
