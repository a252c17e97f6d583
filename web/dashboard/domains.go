package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/lists"
)

// domainsView is the page of a pipeline's custom domains.
type domainsView struct {
	frame
	Name, Stream string
	Now          domainsNowView
}

// domainsNowView is what of the page moves.
type domainsNowView struct {
	Slug, Action    string
	Admin, Deployer bool
	Deleting        bool
	Own, Address    string // the site's own host, and where it is reached
	Domains         []domainView
}

// domainView is a domain for people.
type domainView struct {
	lists.Domain
	Tone string
	// Notes are the findings besides the reason, and Provider runs the zone's
	// name servers.
	Notes    []string
	Provider string
	// Unset means that a record is not in DNS.
	Unset bool
}

func (d *Dashboard) domains(v *visit) error {
	p, err := d.find(v)
	if troy.KindOf(err) == troy.NotFound {
		return d.gone(v, err)
	}
	if err != nil {
		return err
	}
	now, err := d.domainsOf(v, p)
	if err != nil {
		return err
	}
	made, err := d.render("domains_now", now)
	if err != nil {
		return err
	}
	return d.show(v, http.StatusOK, "domains.html", domainsView{
		frame: d.frame(v, p.Name+" domains"), Name: p.Name, Now: now, Stream: "/pipelines/" + p.Slug + "/domains/live?seen=" + digest(made),
	})
}

func (d *Dashboard) domainsNow(v *visit) ([]byte, error) {
	p, err := d.find(v)
	if err != nil {
		return nil, err
	}
	now, err := d.domainsOf(v, p)
	if err != nil {
		return nil, err
	}
	return d.render("domains_now", now)
}

func (d *Dashboard) domainsOf(v *visit, p queries.Pipeline) (domainsNowView, error) {
	now := domainsNowView{
		Slug: p.Slug, Action: "/pipelines/" + p.Slug + "/actions/", Admin: v.who.Role.May(credentials.Admin), Deployer: v.who.Role.May(credentials.Deployer),
		Deleting: p.Status.InDeletion(),
	}
	own, err := d.q.PipelineHost(v.ctx(), p.ID)
	if err != nil {
		return now, fmt.Errorf("read the host of pipeline %s: %w", p.ID, err)
	}
	now.Own, now.Address = own, d.cfg.SiteURL(own)
	rows, err := d.q.CustomDomainList(v.ctx(), p.ID)
	if err != nil {
		return now, fmt.Errorf("list the domains of pipeline %s: %w", p.ID, err)
	}
	for _, row := range rows {
		now.Domains = append(now.Domains, viewDomain(lists.DomainOf(row, own, d.cfg.EdgeAddresses), row))
	}
	// The primary one comes first, and then those that do not work.
	slices.SortStableFunc(now.Domains, func(a, b domainView) int { return a.order() - b.order() })
	return now, nil
}

func (v domainView) order() int {
	switch {
	case v.Primary:
		return 0
	case v.State != troy.DomainActive:
		return 1
	}
	return 2
}

func viewDomain(domain lists.Domain, row queries.CustomDomain) domainView {
	v := domainView{Domain: domain}
	switch domain.State {
	case troy.DomainActive:
		v.Tone = "good"
	case troy.DomainFailing:
		v.Tone = "bad"
	case troy.DomainIssuing, troy.DomainVerifying:
		v.Tone = "busy"
	default:
		v.Tone = "wait"
	}
	for _, r := range domain.Records {
		v.Unset = v.Unset || !r.Found
	}
	report, ok := lists.DomainReport(row)
	if !ok {
		return v
	}
	v.Provider = report.Provider.Name
	for _, f := range report.Findings {
		if f.Sentence != domain.Reason {
			v.Notes = append(v.Notes, f.Sentence)
		}
	}
	return v
}

func domainsPath(p queries.Pipeline) string { return "/pipelines/" + p.Slug + "/domains" }

func (d *Dashboard) addDomain(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	host, err := d.deps.Intake.ParseDomain(form.Get("host"))
	if err != nil {
		return "", err
	}
	return domainsPath(p), d.deps.Intake.AddDomain(v.ctx(), p.ID, intake.NewDomain{
		Host: host, Alone: form.Get("pair") == "", ProvenBy: d.deps.DomainProof, Reveal: v.who.All(),
	}, v.who.Actor())
}

func (d *Dashboard) verifyDomain(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	return domainsPath(p), d.deps.Intake.VerifyDomain(v.ctx(), p.ID, form.Get("host"))
}

func (d *Dashboard) primaryDomain(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	return domainsPath(p), d.deps.Intake.MakePrimary(v.ctx(), p.ID, form.Get("host"), v.who.Actor())
}

func (d *Dashboard) removeDomain(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	host := form.Get("host")
	if form.Get("confirm") != host {
		return "", troy.Errorf(troy.Invalid, "type %s to confirm that the domain is to be removed; nothing was done", troy.Clip(host)).At("confirm")
	}
	_, err := d.deps.Intake.RemoveDomain(v.ctx(), p.ID, host, false, v.who.Actor())
	return domainsPath(p), err
}
