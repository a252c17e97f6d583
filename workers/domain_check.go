package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/dnscheck"
	"github.com/troy-iaas/troy/queries"
)

// DomainSlots is how many pipelines' domains a process checks at a time.
const DomainSlots = 4

const (
	// domainsAtOnce bounds the domains of one claim. The next claim checks the
	// rest.
	domainsAtOnce = 10
	// domainTime bounds the check of one domain, whose name servers may not
	// answer.
	domainTime = 30 * time.Second
	// domainDeletion is how long a pipeline that is being deleted waits before
	// its domains are checked again. The deletion can be undone.
	domainDeletion = 10 * time.Minute
)

// DomainChecker asks DNS about a custom domain. *dnscheck.Checker implements it.
type DomainChecker interface {
	Check(ctx context.Context, w dnscheck.Wanted) (dnscheck.Report, error)
}

// domainCheck checks those of a pipeline's custom domains that are due: it asks
// DNS, makes the cloud serve them, and records their states. It comes back when
// the next one is due, as long as the pipeline has domains.
func (w *Workers) domainCheck(ctx context.Context, c *claim) error {
	p, err := w.pipeline(ctx, c)
	if err != nil {
		return err
	}
	if p.Status.InDeletion() {
		// Teardown detaches the domains and removes their rows.
		return &waitError{delay: domainDeletion, why: "the pipeline is being deleted", fresh: true}
	}
	due, err := w.q.CustomDomainsDue(ctx, p.ID, domainsAtOnce)
	if err != nil {
		return fmt.Errorf("read the domains: %w", err)
	}
	for _, d := range due {
		if err := w.checkDomain(ctx, c, p, d); err != nil {
			return fmt.Errorf("check %s: %w", d.Host, err)
		}
	}
	next, err := w.q.CustomDomainNextCheck(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("read the next check: %w", err)
	}
	if next.Domains == 0 {
		return nil
	}
	delay := time.Duration(max(next.Seconds, 0) * float64(time.Second))
	return &waitError{delay: delay, why: "the domains are checked again later", fresh: true}
}

// giveUpDomainCheck starts again after a delay: domains are checked as long as
// they exist.
func (w *Workers) giveUpDomainCheck(ctx context.Context, c *claim, cause string) error {
	c.log.Error("custom domains could not be checked repeatedly; their states may be outdated", "pipeline", c.task.Subject, "cause", cause)
	return w.anew(ctx, c, 5*time.Minute, cause)
}

// checkDomain checks one domain. What is wrong with the domain or its cloud is
// in its row; an error is the database's or the end of the claim.
func (w *Workers) checkDomain(ctx context.Context, c *claim, p queries.Pipeline, d queries.CustomDomain) error {
	if w.deps.Cloud.Domains == nil {
		return troy.Errorf(troy.Conflict, "this installation's cloud can't serve custom domains")
	}
	checking, cancel := context.WithTimeout(ctx, domainTime)
	defer cancel()
	if d.RemovedAt != nil {
		return w.removeDomain(ctx, checking, c, p, d)
	}
	seen := w.lookAtDomain(checking, c, p, d)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return w.recordDomain(ctx, c, p, d, seen)
}

// removeDomain makes the cloud stop serving a removed domain, and forgets it.
func (w *Workers) removeDomain(ctx, checking context.Context, c *claim, p queries.Pipeline, d queries.CustomDomain) error {
	from := d.DetachFrom
	if p.DistributionID != nil {
		from = append(from, *p.DistributionID)
	}
	if err := w.detach(checking, d.Host, from); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, cloud.ErrNotDisabled) {
			c.log.Info("the cloud is still ending the service of a removed domain", "host", d.Host)
		} else {
			c.log.Warn("a removed domain is still served; Troy tries again", "host", d.Host, "error", err)
		}
		return w.q.CustomDomainPostpone(ctx, queries.CustomDomainPostponeParams{
			DelaySeconds: troy.DomainFailing.CheckDelay(int(d.Checks)).Seconds(), Host: d.Host, PipelineID: p.ID,
		})
	}
	c.log.Info("removed a custom domain", "pipeline", p.ID, "host", d.Host)
	return w.q.CustomDomainGone(ctx, d.Host, p.ID)
}

func (w *Workers) detach(ctx context.Context, host string, distributions []string) error {
	for _, id := range distributions {
		if err := w.deps.Cloud.Domains.Detach(ctx, id, host); err != nil {
			return err
		}
	}
	return nil
}

// domainSeen is what a check of a domain found.
type domainSeen struct {
	// unprovisioned means that the site has no distribution yet.
	unprovisioned bool
	// report is what DNS says; dnsErr means that it could not be asked.
	report dnscheck.Report
	dnsErr error
	// host is what the cloud knows if attached is true; cloudErr means that it
	// refused, or could not be asked.
	attached bool
	host     cloud.HostState
	cloudErr error
}

// lookAtDomain asks DNS and the cloud about a domain. The cloud serves it as soon
// as DNS leads to it, and from then on until the domain is removed.
func (w *Workers) lookAtDomain(ctx context.Context, c *claim, p queries.Pipeline, d queries.CustomDomain) (seen domainSeen) {
	if p.DistributionID == nil {
		seen.unprovisioned = true
		return seen
	}
	id, domains := *p.DistributionID, w.deps.Cloud.Domains
	if len(d.DetachFrom) > 0 {
		if seen.cloudErr = w.detach(ctx, d.Host, d.DetachFrom); seen.cloudErr == nil {
			seen.cloudErr = w.q.CustomDomainDetached(ctx, queries.CustomDomainDetachedParams{Host: d.Host, PipelineID: p.ID, Detached: d.DetachFrom})
		}
		if seen.cloudErr != nil {
			return seen
		}
	}
	target, addresses, err := domains.Target(ctx, id)
	if err != nil {
		seen.cloudErr = err
		return seen
	}
	seen.host, err = domains.Host(ctx, id, d.Host)
	seen.attached = err == nil
	if err != nil && !errors.Is(err, cloud.ErrNotFound) {
		seen.cloudErr = err
	}
	wanted := dnscheck.Wanted{Host: d.Host, Target: target, Addresses: addresses}
	if seen.host.Certificate != cloud.CertificateNone || w.cfg.IssuesCertificates {
		wanted.Issuers = w.cfg.Issuers
	}
	for _, r := range seen.host.Records {
		wanted.Records = append(wanted.Records, dnscheck.WantedRecord{Type: r.Type, Name: r.Name, Value: r.Value})
	}
	if w.deps.DNS == nil {
		seen.dnsErr = errors.New("this installation has no resolver (TROY_DNS_RESOLVERS)")
	} else {
		seen.report, seen.dnsErr = w.deps.DNS.Check(ctx, wanted)
	}
	if seen.cloudErr != nil || !seen.attached && (seen.dnsErr != nil || !seen.report.Points) {
		return seen
	}
	again := d.CheckedAt != nil && d.RequestedAt.After(*d.CheckedAt) && seen.host.Problem != ""
	if seen.cloudErr = domains.Attach(ctx, id, cloud.CustomHost{Host: d.Host, Redirect: d.Redirect, Again: again}); seen.cloudErr != nil {
		return seen
	}
	if !seen.attached {
		c.log.Info("a custom domain is served", "pipeline", p.ID, "host", d.Host)
		seen.attached = true
		seen.host, seen.cloudErr = domains.Host(ctx, id, d.Host)
	}
	return seen
}

// recordDomain records the state that follows from a check, and when the next
// one is due.
func (w *Workers) recordDomain(ctx context.Context, c *claim, p queries.Pipeline, d queries.CustomDomain, seen domainSeen) error {
	now := time.Now()
	state, reason := judgeDomain(d, seen, now)
	checks := int(d.Checks) + 1
	if state != d.State {
		checks = 0
	}
	args := queries.CustomDomainRecordParams{
		Host: d.Host, PipelineID: p.ID, RequestedAt: d.RequestedAt, Epoch: c.epoch, State: state, Reason: firstLine(reason),
		Certificate: string(seen.host.Certificate), NotAfter: nonZero(seen.host.NotAfter), NextTry: nonZero(seen.host.NextTry),
		DelaySeconds: domainDelay(state, reason, checks, seen.host.NotAfter, now).Seconds(), Actor: actor,
		Detail: fmt.Sprintf("%s → %s", d.State, state),
	}
	if reason != "" {
		args.Detail += ": " + args.Reason
	}
	if seen.dnsErr == nil && !seen.report.CheckedAt.IsZero() {
		var err error
		if args.Report, err = json.Marshal(seen.report); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	changed, err := w.q.CustomDomainRecord(ctx, args)
	if errors.Is(err, pgx.ErrNoRows) {
		return w.leftBehind(ctx, p, d.Host) // the domain or the claim changed; its next check is due
	}
	if err != nil {
		return fmt.Errorf("record the check: %w", err)
	}
	if changed {
		c.log.Info("a custom domain changed its state", "pipeline", p.ID, "host", d.Host, "from", d.State, "to", state, "reason", reason)
	}
	return nil
}

// leftBehind makes the pipeline to which a domain moved during its check detach
// it once more, because the check may have attached it again.
func (w *Workers) leftBehind(ctx context.Context, p queries.Pipeline, host string) error {
	if p.DistributionID == nil {
		return nil
	}
	if err := w.q.CustomDomainMoved(ctx, queries.CustomDomainMovedParams{Distribution: *p.DistributionID, Host: host, PipelineID: p.ID}); err != nil {
		return fmt.Errorf("record that the domain moved: %w", err)
	}
	return nil
}

func nonZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// domainDelay returns the time until the next check: at random a little sooner
// than the state's, so that domains that were added together do not return
// together.
func domainDelay(s troy.DomainState, reason string, checks int, notAfter, now time.Time) time.Duration {
	delay := s.CheckDelay(checks)
	if s == troy.DomainActive {
		if reason != "" {
			delay = time.Hour
		}
		if left := notAfter.Add(-expiring).Sub(now); !notAfter.IsZero() && left > 0 {
			delay = min(delay, left+time.Minute)
		}
	}
	return delay - rand.N(delay/8+1)
}
