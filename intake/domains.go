package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// maxDomains is the maximum number of a pipeline's custom domains.
const maxDomains = 50

// ParseDomain returns a custom domain in its normal form, or an Invalid error if
// it can't be one.
func (in *Intake) ParseDomain(text string) (string, error) {
	return site.CustomHosts{Own: in.cfg.OwnHosts, Suffix: in.cfg.SitesSuffix, Previews: in.cfg.PreviewSuffix}.Parse(text)
}

// DomainChallenge returns the text that the TXT record of DomainChallengeName
// must have to prove that those who control a domain give it to this pipeline.
// It is not a secret: only those who control the domain can set the record.
func DomainChallenge(pipeline uuid.UUID, host string) string {
	sum := sha256.Sum256([]byte("troy domain\x00" + pipeline.String() + "\x00" + host))
	return "troy-" + hex.EncodeToString(sum[:16])
}

// DomainChallengeName returns the name of the record that proves who controls a
// domain.
func DomainChallengeName(host string) string {
	return "_troy-challenge." + strings.TrimPrefix(host, "*.")
}

// NewDomain is a custom domain to add.
type NewDomain struct {
	Host string // as ParseDomain returns it
	// Alone keeps the other one of an apex and its www host from being added.
	Alone bool
	// ProvenBy reports whether DNS has the challenge for a host that another
	// pipeline has. It may take seconds.
	ProvenBy func(ctx context.Context, host, challenge string) (bool, error)
	// Reveal says whether errors may name other pipelines.
	Reveal bool
}

// hosts returns the hosts to add. The first is the one that was asked for.
func (n NewDomain) hosts() []string {
	if pair := site.HostPair(n.Host); pair != "" && !n.Alone {
		return []string{n.Host, pair}
	}
	return []string{n.Host}
}

// holders returns which other pipelines have one of the hosts, or a wildcard
// that covers it, and which ones are giving up one of the hosts.
func holders(ctx context.Context, q *queries.Queries, pipeline uuid.UUID, hosts []string) (held, leaving map[string]queries.CustomDomainHoldersRow, err error) {
	names := slices.Clone(hosts)
	for _, host := range hosts {
		if _, parent, ok := strings.Cut(host, "."); ok && !strings.HasPrefix(host, "*.") {
			names = append(names, "*."+parent)
		}
	}
	rows, err := q.CustomDomainHolders(ctx, names)
	if err != nil {
		return nil, nil, fmt.Errorf("look for the pipelines of domains: %w", err)
	}
	held, leaving = map[string]queries.CustomDomainHoldersRow{}, map[string]queries.CustomDomainHoldersRow{}
	for _, host := range hosts {
		_, parent, _ := strings.Cut(host, ".")
		for _, row := range rows {
			_, found := held[host]
			switch exact := row.Host == host; {
			case row.Removed && exact && row.PipelineID != pipeline:
				leaving[host] = row // its distribution may still serve it
			case row.Removed:
			case exact, !found && row.Host == "*."+parent:
				held[host] = row
			}
		}
		if held[host].PipelineID == pipeline {
			delete(held, host)
		}
	}
	return held, leaving, nil
}

// AddDomain adds a custom domain to a pipeline's site and, unless it is to be
// alone, the other one of an apex and its www host, which redirects to it. Adding
// a domain again changes nothing. A domain that another pipeline has, or covers
// with a wildcard, is a Conflict unless DNS proves that it moves.
func (in *Intake) AddDomain(ctx context.Context, pipeline uuid.UUID, n NewDomain, actor string) error {
	q := queries.New(in.db)
	held, _, err := holders(ctx, q, pipeline, n.hosts())
	if err != nil {
		return err
	}
	// DNS is asked before the transaction begins, because it may take seconds.
	proven := map[string]bool{}
	for host := range held {
		if proven[host], err = n.proven(ctx, pipeline, host); err != nil {
			return err
		}
	}
	err = in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := in.mayChangeDomains(p); err != nil {
			return err
		}
		// Another pipeline may add the host at the same moment.
		if err := q.LockName(ctx, "custom domains"); err != nil {
			return fmt.Errorf("wait for other additions: %w", err)
		}
		held, leaving, err := holders(ctx, q, p.ID, n.hosts())
		if err != nil {
			return err
		}
		for _, host := range n.hosts() {
			if row, other := held[host]; other && !proven[host] {
				return n.taken(p, host, row)
			}
		}
		return n.add(ctx, q, p, held, leaving, actor)
	})
	return domainError(err, "add", n.Host, pipeline)
}

func domainError(err error, verb, host string, pipeline uuid.UUID) error {
	if err == nil || errors.Is(err, errUnchanged) {
		return nil
	}
	return fmt.Errorf("%s the domain %s of pipeline %s: %w", verb, host, pipeline, err)
}

func (n NewDomain) proven(ctx context.Context, pipeline uuid.UUID, host string) (bool, error) {
	if n.ProvenBy == nil {
		return false, nil
	}
	ok, err := n.ProvenBy(ctx, host, DomainChallenge(pipeline, host))
	if err != nil {
		return false, fmt.Errorf("look for the TXT record of %s: %w", DomainChallengeName(host), err)
	}
	return ok, nil
}

// taken returns the Conflict for a host that another pipeline has.
func (n NewDomain) taken(p queries.Pipeline, host string, by queries.CustomDomainHoldersRow) error {
	who := "another pipeline"
	if n.Reveal {
		who = "the pipeline " + by.Slug
	}
	has := "has the domain " + host
	if by.Host != host {
		has = "has the wildcard " + by.Host + ", which covers " + host
	}
	prove := fmt.Sprintf("if you control its DNS, set a TXT record of %s to %s and add it again", DomainChallengeName(host), DomainChallenge(p.ID, host))
	if host != n.Host {
		prove += fmt.Sprintf(", or add %s without its pair (--no-pair)", n.Host)
	}
	return troy.Errorf(troy.Conflict, "%s %s; %s", who, has, prove).At("host")
}

// mayChangeDomains returns an error if a pipeline can't have custom domains now.
func (in *Intake) mayChangeDomains(p queries.Pipeline) error {
	if err := notInDeletion(p, ChangingDomains); err != nil {
		return err
	}
	if in.cfg.NoDomains != "" {
		return troy.Errorf(troy.Conflict, "%s", in.cfg.NoDomains)
	}
	return nil
}

func (n NewDomain) add(ctx context.Context, q *queries.Queries, p queries.Pipeline, held, leaving map[string]queries.CustomDomainHoldersRow, actor string) error {
	mine, err := q.CustomDomainList(ctx, p.ID)
	if err != nil {
		return err
	}
	find := func(host string) *queries.CustomDomain {
		if i := slices.IndexFunc(mine, func(d queries.CustomDomain) bool { return d.Host == host }); i >= 0 {
			return &mine[i]
		}
		return nil
	}
	hasMain := slices.ContainsFunc(mine, func(d queries.CustomDomain) bool { return d.Main })
	added := slices.DeleteFunc(n.hosts(), func(host string) bool { return find(host) != nil })
	if len(added) == 0 {
		return errUnchanged
	}
	if len(mine)+len(added) > maxDomains {
		return troy.Errorf(troy.Conflict, "the pipeline has %d domains; at most %d are allowed", len(mine), maxDomains).At("host")
	}
	for _, host := range added {
		args := queries.CustomDomainAddParams{Host: host, PipelineID: p.ID, CreatedBy: actor, Own: deref(p.DistributionID), DetachFrom: []string{}}
		pair := site.HostPair(host)
		switch {
		case host != n.Host:
			args.Redirect = n.Host
		case pair != "" && !n.Alone && find(pair) != nil:
			args.Redirect = pair // which has served the site so far
		}
		if args.Redirect == "" && !hasMain && !strings.HasPrefix(host, "*.") {
			args.Main, hasMain = true, true
		}
		change := Change{Action: DomainAdd, Subject: host, Detail: redirectDetail(args.Redirect), Actor: actor, Pipeline: &p}
		from, moves := leaving[host], held[host].Host == host
		if moves {
			from = held[host]
			change.Action, change.Detail = DomainMove, "from another pipeline, which DNS allows; "+change.Detail
			if err := leave(ctx, q, from, actor); err != nil {
				return err
			}
		}
		if from.DistributionID != nil {
			args.DetachFrom = []string{*from.DistributionID}
		}
		change.Detail = strings.TrimSuffix(change.Detail, "; ")
		if err := q.CustomDomainAdd(ctx, args); err != nil {
			return err
		}
		if err := Audit(ctx, q, change); err != nil {
			return err
		}
	}
	return q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeDomainCheck, SubjectID: p.ID})
}

func redirectDetail(to string) string {
	if to == "" {
		return ""
	}
	return "redirects to " + to
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// leave takes a domain from the pipeline that has it.
func leave(ctx context.Context, q *queries.Queries, from queries.CustomDomainHoldersRow, actor string) error {
	before := queries.Pipeline{ID: from.PipelineID, Slug: from.Slug}
	if err := withoutDomains(ctx, q, before, []string{from.Host}); err != nil {
		return err
	}
	return Audit(ctx, q, Change{Action: DomainMove, Subject: from.Host, Detail: "to another pipeline, which DNS allows", Actor: actor, Pipeline: &before})
}

// withoutDomains makes the domains that redirect to one of the hosts serve the
// site, and chooses another primary domain if one of the hosts was it.
func withoutDomains(ctx context.Context, q *queries.Queries, p queries.Pipeline, hosts []string) error {
	list, err := q.CustomDomainList(ctx, p.ID)
	if err != nil {
		return err
	}
	gone := func(d queries.CustomDomain) bool { return slices.Contains(hosts, d.Host) }
	lost := slices.ContainsFunc(list, func(d queries.CustomDomain) bool { return gone(d) && d.Main })
	if lost {
		if err := q.CustomDomainUnmain(ctx, p.ID); err != nil {
			return err
		}
	}
	rest := slices.DeleteFunc(list, gone)
	slices.SortStableFunc(rest, func(a, b queries.CustomDomain) int { return a.CreatedAt.Compare(b.CreatedAt) })
	for _, d := range rest {
		redirect := d.Redirect
		if slices.Contains(hosts, redirect) {
			redirect = ""
		}
		main := d.Main
		if lost && redirect == "" && !strings.HasPrefix(d.Host, "*.") {
			main, lost = true, false
		}
		if redirect == d.Redirect && main == d.Main {
			continue
		}
		if err := q.CustomDomainPoint(ctx, queries.CustomDomainPointParams{Redirect: redirect, Main: main, Host: d.Host, PipelineID: p.ID}); err != nil {
			return err
		}
	}
	return nil
}

// RemoveDomain removes a custom domain from a pipeline's site and, unless it is
// to be alone, the other one of an apex and its www host if that redirects to
// it. It returns NotFound if the pipeline does not have the domain.
func (in *Intake) RemoveDomain(ctx context.Context, pipeline uuid.UUID, host string, alone bool, actor string) (removed []string, err error) {
	err = in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := notInDeletion(p, ChangingDomains); err != nil {
			return err
		}
		list, err := q.CustomDomainList(ctx, p.ID)
		if err != nil {
			return err
		}
		removed = nil
		for _, d := range list {
			if d.Host == host || !alone && d.Redirect == host && d.Host == site.HostPair(host) {
				removed = append(removed, d.Host)
			}
		}
		if !slices.Contains(removed, host) {
			return NoDomain(host)
		}
		if err := withoutDomains(ctx, q, p, removed); err != nil {
			return err
		}
		for _, h := range removed {
			if err := q.CustomDomainRemove(ctx, h, p.ID); err != nil {
				return err
			}
			if err := Audit(ctx, q, Change{Action: DomainRemove, Subject: h, Actor: actor, Pipeline: &p}); err != nil {
				return err
			}
		}
		return q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeDomainCheck, SubjectID: p.ID})
	})
	return removed, domainError(err, "remove", troy.Clip(host), pipeline)
}

// NoDomain returns the NotFound for a domain that a pipeline does not have.
func NoDomain(host string) error {
	return troy.Errorf(troy.NotFound, "the pipeline has no domain %q", troy.Clip(host))
}

// MakePrimary makes a custom domain the address of a pipeline's site. The other
// one of an apex and its www host then redirects to it. It returns NotFound if
// the pipeline does not have the domain.
func (in *Intake) MakePrimary(ctx context.Context, pipeline uuid.UUID, host, actor string) error {
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := in.mayChangeDomains(p); err != nil {
			return err
		}
		d, err := ownDomain(ctx, q, p.ID, host)
		if err != nil {
			return err
		}
		if strings.HasPrefix(host, "*.") {
			return troy.Errorf(troy.Invalid, "the wildcard %s can't be the site's address; expected one of its hosts as a domain of its own", host).At("host")
		}
		pair, err := ownDomain(ctx, q, p.ID, site.HostPair(host))
		paired := err == nil
		if err != nil && troy.KindOf(err) != troy.NotFound {
			return err
		}
		if d.Main && d.Redirect == "" && (!paired || pair.Redirect == host) {
			return errUnchanged
		}
		if err := q.CustomDomainUnmain(ctx, p.ID); err != nil {
			return err
		}
		if err := q.CustomDomainPoint(ctx, queries.CustomDomainPointParams{Main: true, Host: host, PipelineID: p.ID}); err != nil {
			return err
		}
		if paired {
			if err := q.CustomDomainPoint(ctx, queries.CustomDomainPointParams{Redirect: host, Host: pair.Host, PipelineID: p.ID}); err != nil {
				return err
			}
		}
		if err := Audit(ctx, q, Change{Action: DomainPrimary, Subject: host, Actor: actor, Pipeline: &p}); err != nil {
			return err
		}
		return q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeDomainCheck, SubjectID: p.ID})
	})
	return domainError(err, "make primary", troy.Clip(host), pipeline)
}

// VerifyDomain requests a check of a custom domain now. It returns NotFound if
// the pipeline does not have the domain.
func (in *Intake) VerifyDomain(ctx context.Context, pipeline uuid.UUID, host string) error {
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := in.mayChangeDomains(p); err != nil {
			return err
		}
		if host == "" { // which means all
			return NoDomain(host)
		}
		n, err := q.CustomDomainVerify(ctx, p.ID, host)
		if err != nil {
			return err
		}
		if n == 0 {
			return NoDomain(host)
		}
		return q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeDomainCheck, SubjectID: p.ID})
	})
	return domainError(err, "check", troy.Clip(host), pipeline)
}

// ownDomain returns a pipeline's domain, or NotFound.
func ownDomain(ctx context.Context, q *queries.Queries, pipeline uuid.UUID, host string) (queries.CustomDomain, error) {
	d, err := q.CustomDomainGet(ctx, host)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && (d.PipelineID != pipeline || d.RemovedAt != nil) {
		return d, NoDomain(host)
	}
	return d, err
}

// Domain returns a pipeline's domain, or NotFound.
func Domain(ctx context.Context, q *queries.Queries, pipeline uuid.UUID, host string) (queries.CustomDomain, error) {
	d, err := ownDomain(ctx, q, pipeline, host)
	if err != nil && troy.KindOf(err) != troy.NotFound {
		err = fmt.Errorf("read the domain %s: %w", troy.Clip(host), err)
	}
	return d, err
}
