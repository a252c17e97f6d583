package workers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/dnscheck"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// fakeDNS says whether hosts lead to the site.
type fakeDNS struct {
	mu     sync.Mutex
	points map[string]bool
	asked  []dnscheck.Wanted
}

func (f *fakeDNS) Check(_ context.Context, w dnscheck.Wanted) (dnscheck.Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, w)
	r := dnscheck.Report{Host: w.Host, Headline: w.Host + " has no records.", CheckedAt: time.Now(), Points: f.points[w.Host]}
	return r, nil
}

func (f *fakeDNS) set(host string, points bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.points[host] = points
}

// faultyDomains fails calls that fail wants to fail.
type faultyDomains struct {
	cloud.Domains
	mu   sync.Mutex
	fail map[string]error // by "attach", "detach" or "host"
	// problem is why there is no certificate, and again counts the calls that ask
	// for it again.
	problem string
	again   int
	// before runs once before a host is attached to a distribution.
	before func(id string)
}

func (f *faultyDomains) failing(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail[call]
}

func (f *faultyDomains) set(call string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[call] = err
}

func (f *faultyDomains) Attach(ctx context.Context, id string, h cloud.CustomHost) error {
	f.mu.Lock()
	if h.Again {
		f.again++
	}
	before := f.before
	f.before = nil
	f.mu.Unlock()
	if before != nil {
		before(id)
	}
	return errors.Join(f.failing("attach"), f.Domains.Attach(ctx, id, h))
}

func (f *faultyDomains) Host(ctx context.Context, id, host string) (cloud.HostState, error) {
	state, err := f.Domains.Host(ctx, id, host)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && f.problem != "" {
		state.Certificate, state.Problem = cloud.CertificateFailed, f.problem
	}
	return state, err
}

// refuse makes the authority refuse certificates, or accept orders if the problem
// is empty. It returns how often a certificate was asked for again.
func (f *faultyDomains) refuse(problem string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.problem = problem
	return f.again
}

func (f *faultyDomains) Detach(ctx context.Context, id, host string) error {
	if err := f.failing("detach"); err != nil {
		return err
	}
	return f.Domains.Detach(ctx, id, host)
}

// domainRig is a rig whose DNS and cloud the test decides about.
type domainRig struct {
	*rig
	dns   *fakeDNS
	cloud *faultyDomains
}

func newDomainRig(t *testing.T) *domainRig {
	t.Helper()
	r := newRig(t)
	d := &domainRig{rig: r, dns: &fakeDNS{points: map[string]bool{}}, cloud: &faultyDomains{Domains: r.cloud.Domains, fail: map[string]error{}}}
	r.cloud.Domains, r.dns = d.cloud, d.dns
	return d
}

func (r *domainRig) add(pipeline uuid.UUID, host string, proven bool) {
	r.t.Helper()
	err := r.in.AddDomain(r.t.Context(), pipeline, intake.NewDomain{Host: host, ProvenBy: func(context.Context, string, string) (bool, error) { return proven, nil }}, "ada")
	if err != nil {
		r.t.Fatal(err)
	}
}

// check makes the check of a domain due, as time would.
func (r *domainRig) check(host string) {
	r.t.Helper()
	d, err := r.q.CustomDomainGet(r.t.Context(), host)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.db.Exec(r.t.Context(), `UPDATE custom_domains SET next_check_at = now() WHERE host = $1`, host); err != nil {
		r.t.Fatal(err)
	}
	if err := r.q.WorkRequest(r.t.Context(), queries.WorkRequestParams{Kind: tasks.TypeDomainCheck, SubjectID: d.PipelineID}); err != nil {
		r.t.Fatal(err)
	}
}

// becomes waits until a domain has a state and a reason.
func (r *domainRig) becomes(host string, state troy.DomainState, reason string) queries.CustomDomain {
	r.t.Helper()
	var d queries.CustomDomain
	eventually(r.t, func() bool {
		var err error
		d, err = r.q.CustomDomainGet(r.t.Context(), host)
		return err == nil && d.CheckedAt != nil && d.State == state && strings.Contains(d.Reason, reason)
	}, func() string {
		return fmt.Sprintf("%s is %s (%q), want %s (%q)", host, d.State, d.Reason, state, reason)
	})
	if !d.NextCheckAt.After(*d.CheckedAt) {
		r.t.Errorf("%s is %s and has no next check", host, state)
	}
	return d
}

func (r *domainRig) served(pipeline uuid.UUID, host string) bool {
	r.t.Helper()
	p, err := r.q.PipelineGet(r.t.Context(), pipeline)
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = r.cloud.Host(r.t.Context(), *p.DistributionID, host)
	if err != nil && !errors.Is(err, cloud.ErrNotFound) {
		r.t.Fatal(err)
	}
	return err == nil
}

func TestDomainLife(t *testing.T) {
	t.Parallel()
	r := newDomainRig(t)
	r.start()
	id := r.provisioned("blog")
	r.add(id, "example.test", false)
	first := r.becomes("example.test", troy.DomainWaiting, "has no records")
	r.becomes("www.example.test", troy.DomainWaiting, "has no records")
	if r.served(id, "example.test") {
		t.Error("the cloud serves a domain that does not lead to the site")
	}
	if !first.Main || len(first.Report) == 0 {
		t.Errorf("the domain is %+v, want the primary one, with a report", first)
	}

	r.dns.set("example.test", true)
	r.cloud.set("attach", errors.New("the disk is full"))
	r.check("example.test")
	r.becomes("example.test", troy.DomainVerifying, "the disk is full")
	r.cloud.set("attach", nil)
	r.check("example.test")
	if d := r.becomes("example.test", troy.DomainActive, ""); d.ActiveAt == nil || d.Reason != "" {
		t.Errorf("the active domain is %+v", d)
	}
	if host, err := r.q.PipelineAddress(t.Context(), id); err != nil || host != "example.test" {
		t.Errorf("the site's address is %q, %v", host, err)
	}
	r.dns.set("www.example.test", true)
	r.check("www.example.test")
	r.becomes("www.example.test", troy.DomainActive, "")

	// DNS moves away and comes back.
	r.dns.set("example.test", false)
	r.check("example.test")
	r.becomes("example.test", troy.DomainFailing, "has no records")
	if host, err := r.q.PipelineAddress(t.Context(), id); err != nil || host != "blog.localhost" {
		t.Errorf("the site's address is %q, %v", host, err)
	}
	r.dns.set("example.test", true)
	r.check("example.test")
	r.becomes("example.test", troy.DomainActive, "")

	// A certificate is asked for again if people check the domain.
	r.cloud.refuse("the authority is down")
	r.check("example.test")
	r.becomes("example.test", troy.DomainFailing, "the authority is down")
	if n := r.cloud.refuse("the authority is still down"); n != 0 {
		t.Errorf("without a request a certificate was asked for again %d times", n)
	}
	if err := r.in.VerifyDomain(t.Context(), id, "example.test"); err != nil {
		t.Fatal(err)
	}
	r.check("example.test")
	r.becomes("example.test", troy.DomainFailing, "still down")
	if n := r.cloud.refuse(""); n != 1 {
		t.Errorf("a request asked for a certificate %d times; expected once", n)
	}
	r.check("example.test")
	r.becomes("example.test", troy.DomainActive, "")

	// Removal detaches, also if the cloud fails at first.
	r.cloud.set("detach", errors.New("the disk is read-only"))
	if removed, err := r.in.RemoveDomain(t.Context(), id, "example.test", false, "ada"); err != nil || len(removed) != 2 {
		t.Fatalf("removed %v, %v", removed, err)
	}
	eventually(t, func() bool {
		d, err := r.q.CustomDomainGet(t.Context(), "example.test")
		return err == nil && d.RemovedAt != nil && d.NextCheckAt.After(time.Now())
	}, func() string { return "the failed removal was not postponed" })
	r.cloud.set("detach", nil)
	r.check("example.test")
	r.check("www.example.test")
	eventually(t, func() bool {
		rows, err := r.q.CustomDomainsOf(t.Context(), id)
		return err == nil && len(rows) == 0
	}, func() string { return "the removed domains have rows" })
	if r.served(id, "example.test") || r.served(id, "www.example.test") {
		t.Error("the cloud serves a removed domain")
	}
	eventually(t, func() bool {
		_, err := r.q.WorkGet(t.Context(), tasks.TypeDomainCheck, id)
		return err != nil
	}, func() string { return "a pipeline without domains has work for them" })

	var states []string
	for _, e := range queryAll[struct{ Detail string }](t, r.rig, "SELECT detail FROM audit WHERE action = 'domain.state' AND subject = 'example.test' ORDER BY time") {
		states = append(states, e.Detail)
	}
	want := "Waiting for DNS → Verifying: The cloud could not be told to serve the domain; Troy tries again: the disk is full|Verifying → Active|" +
		"Active → Failing: example.test has no records.|Failing → Active|" +
		"Active → Failing: No certificate could be issued: the authority is down|Failing → Active"
	if got := strings.Join(states, "|"); got != want {
		t.Errorf("the events are %q, want %q", got, want)
	}
}

// TestDomainMoves takes a domain from a pipeline that serves it.
func TestDomainMoves(t *testing.T) {
	t.Parallel()
	r := newDomainRig(t)
	r.start()
	from, to := r.provisioned("from"), r.provisioned("to")
	r.dns.set("www.blog.example.test", true)
	r.add(from, "www.blog.example.test", false)
	r.becomes("www.blog.example.test", troy.DomainActive, "")
	r.add(to, "www.blog.example.test", true)
	eventually(t, func() bool { return r.served(to, "www.blog.example.test") && !r.served(from, "www.blog.example.test") }, func() string { return "the domain was not moved" })
	if d := r.becomes("www.blog.example.test", troy.DomainActive, ""); d.PipelineID != to || len(d.DetachFrom) != 0 {
		t.Errorf("the moved domain is %+v", d)
	}
}

// TestDomainMovesDuringItsCheck takes a domain from a pipeline whose check then
// attaches it again.
func TestDomainMovesDuringItsCheck(t *testing.T) {
	t.Parallel()
	r := newDomainRig(t)
	r.start()
	from, to := r.provisioned("from"), r.provisioned("to")
	const host = "www.blog.example.test"
	r.dns.set(host, true)
	r.add(from, host, false)
	r.becomes(host, troy.DomainActive, "")
	moved := make(chan error, 1)
	r.cloud.mu.Lock()
	r.cloud.before = func(string) {
		r.dns.set(host, false)
		err := r.in.AddDomain(t.Context(), to, intake.NewDomain{Host: host, ProvenBy: func(context.Context, string, string) (bool, error) { return true, nil }}, "ada")
		detached := poll.Until(t.Context(), time.Minute, 20*time.Millisecond, func() bool {
			d, err := r.q.CustomDomainGet(t.Context(), host)
			return err == nil && d.PipelineID == to && d.CheckedAt != nil && len(d.DetachFrom) == 0
		})
		if err == nil && !detached {
			err = errors.New("the domain was not detached")
		}
		r.dns.set(host, true)
		moved <- err
	}
	r.cloud.mu.Unlock()
	r.check(host)
	select {
	case err := <-moved:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the domain was not attached again")
	}
	eventually(t, func() bool { return r.served(to, host) && !r.served(from, host) }, func() string { return "the domain was not moved" })
	r.becomes(host, troy.DomainActive, "")
}

// TestDomainsEndWithTheirPipeline deletes a pipeline that has domains.
func TestDomainsEndWithTheirPipeline(t *testing.T) {
	t.Parallel()
	r := newDomainRig(t)
	r.start()
	id := r.provisioned("blog")
	r.dns.set("example.test", true)
	r.add(id, "example.test", false)
	r.becomes("example.test", troy.DomainActive, "")
	p, err := r.q.PipelineGet(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.q.PipelineScheduleDeletion(t.Context(), queries.PipelineScheduleDeletionParams{ID: id, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	r.waitFor(id, troy.Deleted)
	if _, err := r.cloud.Host(t.Context(), *p.DistributionID, "example.test"); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("the domain of a deleted pipeline: %v", err)
	}
	next := r.provisioned("next")
	r.add(next, "example.test", false)
	r.becomes("example.test", troy.DomainActive, "")
}

// TestLostDomainCheck deletes the work of a domain whose check is due. The
// reconciliation requests it again.
func TestLostDomainCheck(t *testing.T) {
	t.Parallel()
	r := newDomainRig(t)
	r.reconcile = 500 * time.Millisecond
	_, stop := r.start()
	id := r.provisioned("blog")
	r.add(id, "example.test", false)
	r.becomes("example.test", troy.DomainWaiting, "")
	r.becomes("www.example.test", troy.DomainWaiting, "")
	stop()
	r.dns.set("example.test", true)
	if _, err := r.db.Exec(t.Context(), "UPDATE custom_domains SET next_check_at = now() - interval '1 minute' WHERE host = 'example.test'"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Exec(t.Context(), "DELETE FROM work WHERE kind = $1", tasks.TypeDomainCheck); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.becomes("example.test", troy.DomainActive, "")
	if found := r.reconciled(); !strings.Contains(found, tasks.TypeDomainCheck) {
		t.Errorf("the reconciliation counted %q", found)
	}
}
