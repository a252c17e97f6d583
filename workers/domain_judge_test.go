package workers

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/dnscheck"
	"github.com/troy-iaas/troy/queries"
)

var (
	elsewhere = dnscheck.Report{Headline: "The CNAME leads elsewhere.", Findings: []dnscheck.Finding{{Severity: dnscheck.Error, Sentence: "The CNAME leads elsewhere."}}}
	here      = dnscheck.Report{Points: true, Headline: "The domain leads here."}
	forbidden = dnscheck.Report{Points: true, Findings: []dnscheck.Finding{{Severity: dnscheck.Error, Sentence: "CAA forbids it."}}}
)

// TestJudgeDomain holds what a check found to the state that it leads to, from
// each state.
func TestJudgeDomain(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) time.Time { return now.Add(d) }
	served := func(h cloud.HostState) domainSeen { return domainSeen{report: here, attached: true, host: h} }
	const (
		waiting, verifying, issuing, active, failing = "waiting_for_dns", "verifying", "issuing", "active", "failing"
		same                                         = "same"
	)
	for _, c := range []struct {
		name string
		seen domainSeen
		// want is the state from Waiting, Verifying, Issuing, Active and Failing.
		want   [5]string
		reason string
	}{
		{"not provisioned", domainSeen{unprovisioned: true}, [5]string{waiting, waiting, waiting, failing, failing}, "not provisioned"},
		{"DNS elsewhere", domainSeen{report: elsewhere}, [5]string{waiting, waiting, waiting, failing, failing}, "leads elsewhere"},
		{"DNS moved away", domainSeen{report: elsewhere, attached: true, host: cloud.HostState{Serving: true}}, [5]string{waiting, waiting, waiting, failing, failing}, "leads elsewhere"},
		{"DNS not asked", domainSeen{dnsErr: errors.New("no network")}, [5]string{same, same, same, same, same}, "no network"},
		{"the cloud does not answer", domainSeen{cloudErr: errors.New("the disk is full")}, [5]string{same, same, same, same, same}, "the disk is full"},
		{"the cloud can't be told", domainSeen{report: here, cloudErr: errors.New("the disk is full")}, [5]string{verifying, same, same, same, same}, "the disk is full"},
		{"the cloud refuses", domainSeen{report: here, cloudErr: troy.Errorf(troy.Conflict, "another distribution serves it")}, [5]string{failing, failing, failing, failing, failing}, "another distribution serves it"},
		{"the distribution is gone", domainSeen{report: here, cloudErr: cloud.ErrNotFound}, [5]string{verifying, verifying, verifying, failing, verifying}, "not found"},
		{"not served yet", served(cloud.HostState{}), [5]string{verifying, verifying, verifying, failing, verifying}, "serve"},
		{"served without certificates", served(cloud.HostState{Serving: true}), [5]string{active, active, active, active, active}, ""},
		{"certificate waiting", served(cloud.HostState{Serving: true, Certificate: cloud.CertificateWaiting}), [5]string{issuing, issuing, issuing, issuing, issuing}, "not been requested yet"},
		{"certificate issuing", served(cloud.HostState{Serving: true, Certificate: cloud.CertificateIssuing}), [5]string{issuing, issuing, issuing, issuing, issuing}, "been requested"},
		{"certificate issuing, with a problem", served(cloud.HostState{Serving: true, Certificate: cloud.CertificateIssuing, Problem: "the CA is slow"}), [5]string{issuing, issuing, issuing, issuing, issuing}, "the CA is slow"},
		{"certificate forbidden", domainSeen{report: forbidden, attached: true, host: cloud.HostState{Serving: true, Certificate: cloud.CertificateIssuing}}, [5]string{issuing, issuing, issuing, issuing, issuing}, "CAA forbids it"},
		{"certificate failed", served(cloud.HostState{Serving: true, Certificate: cloud.CertificateFailed, Problem: "rate limited"}), [5]string{failing, failing, failing, failing, failing}, "rate limited"},
		{"certificate failed, but one is valid", served(cloud.HostState{Serving: true, Certificate: cloud.CertificateFailed, Problem: "rate limited", NotAfter: in(20 * 24 * time.Hour)}), [5]string{active, active, active, active, active}, "rate limited"},
		{"certificate active", served(cloud.HostState{Serving: true, Certificate: cloud.CertificateActive, NotAfter: in(20 * 24 * time.Hour)}), [5]string{active, active, active, active, active}, ""},
		{"certificate about to expire", served(cloud.HostState{Serving: true, Certificate: cloud.CertificateActive, NotAfter: in(47 * time.Hour), Problem: "the CA is down"}), [5]string{failing, failing, failing, failing, failing}, "expires on 1 December 2026 at 11:00 UTC and was not renewed: the CA is down"},
		{"certificate expired", served(cloud.HostState{Serving: true, Certificate: cloud.CertificateActive, NotAfter: in(-time.Hour)}), [5]string{failing, failing, failing, failing, failing}, "not renewed"},
	} {
		for i, from := range troy.DomainStates() {
			want := troy.DomainState(c.want[i])
			if want == same {
				want = from
			}
			d := queries.CustomDomain{Host: "www.example.com", State: from, Since: in(-time.Minute)}
			state, reason := judgeDomain(d, c.seen, now)
			if state != want || !strings.Contains(reason, c.reason) || c.reason == "" && reason != "" {
				t.Errorf("%s, from %s: %s (%q), want %s with %q", c.name, from, state, reason, want, c.reason)
			}
			if state != from && !from.CanBecome(state) {
				t.Errorf("%s: %s can't become %s", c.name, from, state)
			}
			// No state lasts longer than its deadline.
			if limit := from.Deadline(); limit > 0 && state == from {
				d.Since = in(-limit - time.Minute)
				if state, reason := judgeDomain(d, c.seen, now); state != troy.DomainFailing || !strings.Contains(reason, "Not done after") || !strings.Contains(reason, c.reason) {
					t.Errorf("%s, from %s after its deadline: %s (%q)", c.name, from, state, reason)
				}
			}
		}
	}
}

func TestDomainDelay(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		state  troy.DomainState
		reason string
		checks int
		after  time.Time
		most   time.Duration
	}{
		{troy.DomainWaiting, "", 0, time.Time{}, 15 * time.Second},
		{troy.DomainWaiting, "", 100, time.Time{}, 10 * time.Minute},
		{troy.DomainFailing, "x", 0, time.Time{}, time.Minute},
		{troy.DomainFailing, "x", 100, time.Time{}, time.Hour},
		{troy.DomainActive, "", 100, time.Time{}, 24 * time.Hour},
		{troy.DomainActive, "the renewal failed", 100, time.Time{}, time.Hour},
		{troy.DomainActive, "", 100, now.Add(60 * 24 * time.Hour), 24 * time.Hour},
		{troy.DomainActive, "", 100, now.Add(expiring + 10*time.Hour), 10*time.Hour + time.Minute},
		{troy.DomainActive, "", 100, now.Add(-time.Hour), 24 * time.Hour},
	} {
		for range 50 {
			if got := domainDelay(c.state, c.reason, c.checks, c.after, now); got > c.most || got < c.most*7/8-time.Second {
				t.Fatalf("%s (%q) after %d checks: %s, want at most %s and little less", c.state, c.reason, c.checks, got, c.most)
			}
		}
	}
}
