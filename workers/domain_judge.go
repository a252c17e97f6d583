package workers

import (
	"errors"
	"fmt"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/dnscheck"
	"github.com/troy-iaas/troy/queries"
)

// expiring is the time before the end of a certificate at which its domain is
// Failing. Renewals begin much earlier.
const expiring = 48 * time.Hour

// judgeDomain returns the state that a domain has after a check, and the reason
// in one sentence.
func judgeDomain(d queries.CustomDomain, seen domainSeen, now time.Time) (troy.DomainState, string) {
	state, reason := seen.judge(d, now)
	switch {
	case state == d.State:
		if limit := state.Deadline(); limit > 0 && now.Sub(d.Since) > limit {
			return troy.DomainFailing, fmt.Sprintf("Not done after %d hours: %s", int(limit.Hours()), reason)
		}
	case !d.State.CanBecome(state):
		// A domain that worked, or whose time is over, does not start again.
		return troy.DomainFailing, reason
	}
	return state, reason
}

func (s domainSeen) judge(d queries.CustomDomain, now time.Time) (troy.DomainState, string) {
	switch {
	case s.unprovisioned:
		return troy.DomainWaiting, "The site is not provisioned yet, so there is nothing to point the domain at"
	case s.cloudErr != nil:
		return s.refused(d)
	case s.dnsErr != nil:
		return d.State, "DNS could not be checked: " + sentence(s.dnsErr)
	case !s.report.Points:
		return troy.DomainWaiting, s.report.Headline
	}
	return s.served(d, now)
}

// refused judges a cloud that did not do what it was asked to.
func (s domainSeen) refused(d queries.CustomDomain) (troy.DomainState, string) {
	switch {
	case errors.Is(s.cloudErr, cloud.ErrNotFound):
		return troy.DomainVerifying, "The site's distribution was not found; Troy tries again"
	case permanent(s.cloudErr):
		return troy.DomainFailing, "The domain can't be served: " + sentence(s.cloudErr)
	case d.State == troy.DomainActive || d.State == troy.DomainIssuing:
		return d.State, "The cloud could not be asked: " + sentence(s.cloudErr)
	}
	state := d.State
	if state == troy.DomainWaiting && s.report.Points {
		state = troy.DomainVerifying
	}
	return state, "The cloud could not be told to serve the domain; Troy tries again: " + sentence(s.cloudErr)
}

// served judges a domain whose DNS is right and that the cloud was told to serve.
func (s domainSeen) served(d queries.CustomDomain, now time.Time) (troy.DomainState, string) {
	h := s.host
	valid := !h.NotAfter.IsZero() && now.Before(h.NotAfter.Add(-expiring))
	switch h.Certificate {
	case cloud.CertificateNone:
	case cloud.CertificateActive:
		if !h.NotAfter.IsZero() && !valid {
			return troy.DomainFailing, fmt.Sprintf("The certificate expires on %s and was not renewed%s", h.NotAfter.UTC().Format("2 January 2006 at 15:04 UTC"), because(h.Problem))
		}
	case cloud.CertificateFailed:
		if !valid {
			return troy.DomainFailing, s.issuing("No certificate could be issued" + because(h.Problem))
		}
	default:
		reason := "The certificate has been requested"
		if h.Certificate == cloud.CertificateWaiting {
			reason = "The certificate has not been requested yet"
		}
		if h.Problem != "" {
			reason = h.Problem
		}
		return troy.DomainIssuing, s.issuing(reason)
	}
	if !h.Serving {
		if d.State == troy.DomainActive {
			return troy.DomainFailing, "The cloud no longer serves the site"
		}
		return troy.DomainVerifying, "The cloud does not serve the domain yet"
	}
	return troy.DomainActive, h.Problem
}

// issuing returns why there is no certificate: what is wrong in DNS, or else the
// reason.
func (s domainSeen) issuing(reason string) string {
	for _, f := range s.report.Findings {
		if f.Severity == dnscheck.Error {
			return f.Sentence
		}
	}
	return reason
}

func because(problem string) string {
	if problem == "" {
		return ""
	}
	return ": " + problem
}
