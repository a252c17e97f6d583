package main

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
)

var doubleHosts = site.CustomHosts{Own: []string{"troy.test"}, Suffix: "sites.test"}

func (d *double) listDomains(_ *http.Request, p *doublePipeline) (answer, error) {
	list := append([]client.Domain{}, p.domains...)
	for i := range list {
		list[i].Report = nil
	}
	return answer{200, map[string]any{"domains": list}}, nil
}

func (d *double) addDomain(r *http.Request, p *doublePipeline) (answer, error) {
	var body struct {
		Host string `json:"host"`
		Pair bool   `json:"pair"`
	}
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	host, err := doubleHosts.Parse(body.Host)
	if err != nil {
		return answer{}, err
	}
	if strings.HasPrefix(host, "taken.") {
		return answer{}, troy.Errorf(troy.Conflict, "another pipeline has the domain %s; if you control its DNS, set a TXT record of _troy-challenge.%s to troy-1234 and add it again", host, host).At("host")
	}
	hosts := []string{host}
	if pair := site.HostPair(host); pair != "" && body.Pair {
		hosts = append(hosts, pair)
	}
	for i, h := range hosts {
		if slices.ContainsFunc(p.domains, func(x client.Domain) bool { return x.Host == h }) {
			continue
		}
		x := client.Domain{
			Host: h, State: troy.DomainWaiting, StateName: troy.DomainWaiting.String(), CreatedAt: time.Now(), CreatedBy: "ada", Since: time.Now(), NextCheckAt: time.Now(),
			Primary: i == 0 && len(p.domains) == 0,
		}
		if i > 0 {
			x.Redirect = host
		}
		if text := site.UnicodeHost(h); text != h {
			x.Unicode = text
		}
		name := strings.TrimSuffix(strings.TrimSuffix(h, site.HostZone(h)), ".")
		record := client.DomainRecord{Type: "CNAME", Name: name, FullName: h, Value: p.Slug + ".sites.test", TTL: 300, Purpose: "target"}
		if name == "" {
			record.Type, record.Name, record.Value = "A", "@", "203.0.113.7"
		}
		x.Records = []client.DomainRecord{record}
		p.domains = append(p.domains, x)
	}
	slices.SortFunc(p.domains, func(a, b client.Domain) int { return strings.Compare(a.Host, b.Host) })
	a, err := d.listDomains(r, p)
	a.status = 201
	return a, err
}

// domain returns a domain of the pipeline.
func (d *double) domain(r *http.Request, p *doublePipeline) (*client.Domain, error) {
	for i := range p.domains {
		if x := &p.domains[i]; x.Host == r.PathValue("host") || x.Unicode == r.PathValue("host") {
			return x, nil
		}
	}
	return nil, troy.Errorf(troy.NotFound, "the pipeline has no domain %q", r.PathValue("host"))
}

// showDomain ends a requested check at the second look: hosts that begin with
// "bad" fail.
func (d *double) showDomain(r *http.Request, p *doublePipeline) (answer, error) {
	x, err := d.domain(r, p)
	if err != nil {
		return answer{}, err
	}
	if p.checks > 0 {
		if p.checks--; p.checks == 0 {
			now := time.Now()
			x.CheckedAt, x.Since, x.NextCheckAt = &now, now, now.Add(time.Hour)
			x.State, x.Reason = troy.DomainActive, ""
			right := true
			if strings.HasPrefix(x.Host, "bad") {
				x.State, right = troy.DomainFailing, false
				x.Reason = "The CNAME of " + x.Host + " leads to elsewhere.test, but it should lead to blog.sites.test; change it at your DNS provider."
			}
			x.StateName = x.State.String()
			x.Records[0].Found = right
			report := client.DomainReport{Zone: "example.com", Provider: client.DomainProvider{Name: "Example DNS", Hint: "Type the name without the zone."}}
			report.Findings = []client.DomainFinding{{Code: "x", Severity: "warning", Sentence: "Old records are cached until noon."}}
			answers := []client.DomainAnswer{{Server: "ns1.example.net", Outcome: "answered", Right: right}, {Server: "1.1.1.1", Outcome: "timed_out"}}
			answers[0].Records = append(answers[0].Records, struct {
				Type  string `json:"type"`
				Value string `json:"value"`
				TTL   int    `json:"ttl"`
			}{"CNAME", "elsewhere.test", 300})
			report.Authoritative, report.Public = answers[:1], answers[1:]
			if !right {
				report.Remove = []client.DomainRecord{{Type: "CNAME", Name: "bad", FullName: x.Host, Value: "elsewhere.test"}}
			}
			x.Report = &report
		}
	}
	return answer{200, *x}, nil
}

func (d *double) verifyDomain(r *http.Request, p *doublePipeline) (answer, error) {
	x, err := d.domain(r, p)
	if err != nil {
		return answer{}, err
	}
	p.checks = 2
	return answer{202, *x}, nil
}

func (d *double) primaryDomain(r *http.Request, p *doublePipeline) (answer, error) {
	x, err := d.domain(r, p)
	if err != nil {
		return answer{}, err
	}
	for i := range p.domains {
		y := &p.domains[i]
		y.Primary = y == x
		if y.Host == site.HostPair(x.Host) {
			y.Redirect = x.Host
		}
	}
	x.Redirect = ""
	return d.listDomains(r, p)
}

func (d *double) removeDomain(r *http.Request, p *doublePipeline) (answer, error) {
	x, err := d.domain(r, p)
	if err != nil {
		return answer{}, err
	}
	host := x.Host
	removed := []string{}
	p.domains = slices.DeleteFunc(p.domains, func(y client.Domain) bool {
		gone := y.Host == host || y.Redirect == host && r.URL.Query().Get("pair") != "false"
		if gone {
			removed = append(removed, y.Host)
		}
		return gone
	})
	return answer{200, map[string]any{"removed": removed}}, nil
}
