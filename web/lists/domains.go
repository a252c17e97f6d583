package lists

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/dnscheck"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// Domain is a custom domain of a pipeline's site.
type Domain struct {
	Host string `json:"host"`
	// Unicode is the host as people read it, if that differs.
	Unicode   string           `json:"unicode,omitempty"`
	State     troy.DomainState `json:"state"`
	StateName string           `json:"state_name"`
	// Reason is one sentence: what is seen, what was expected and what to
	// change.
	Reason  string `json:"reason,omitempty"`
	Primary bool   `json:"primary"`
	// Redirect is the host to which the domain redirects.
	Redirect    string             `json:"redirect,omitempty"`
	Certificate *DomainCertificate `json:"certificate,omitempty"`
	// Records are the DNS records to set.
	Records     []dnscheck.Record `json:"records"`
	CreatedAt   time.Time         `json:"created_at"`
	CreatedBy   string            `json:"created_by"`
	Since       time.Time         `json:"since"`
	CheckedAt   *time.Time        `json:"checked_at,omitempty"`
	NextCheckAt time.Time         `json:"next_check_at"`
	ActiveAt    *time.Time        `json:"active_at,omitempty"`
}

// DomainCertificate is the certificate of a custom domain.
type DomainCertificate struct {
	State    string     `json:"state"`
	NotAfter *time.Time `json:"not_after,omitempty"`
	NextTry  *time.Time `json:"next_try,omitempty"`
}

// DomainOf converts a row. own is the site's own host, to which CNAME records
// lead, and addresses are for A and AAAA records.
func DomainOf(d queries.CustomDomain, own string, addresses []netip.Addr) Domain {
	v := Domain{
		Host: d.Host, State: d.State, StateName: d.State.String(), Reason: d.Reason, Primary: d.Main, Redirect: d.Redirect,
		CreatedAt: d.CreatedAt.UTC(), CreatedBy: d.CreatedBy, Since: d.Since.UTC(), CheckedAt: utc(d.CheckedAt), NextCheckAt: d.NextCheckAt.UTC(), ActiveAt: utc(d.ActiveAt),
	}
	if text := site.UnicodeHost(d.Host); text != d.Host {
		v.Unicode = text
	}
	if d.Certificate != "" {
		v.Certificate = &DomainCertificate{d.Certificate, utc(d.NotAfter), utc(d.NextTry)}
	}
	if report, ok := DomainReport(d); ok {
		v.Records = report.Set
	}
	if len(v.Records) == 0 {
		v.Records = firstRecords(d.Host, own, addresses)
	}
	return v
}

// DomainReport returns what DNS said at the last check. ok is false before it.
func DomainReport(d queries.CustomDomain) (report dnscheck.Report, ok bool) {
	if len(d.Report) == 0 || json.Unmarshal(d.Report, &report) != nil {
		return dnscheck.Report{}, false
	}
	return report, true
}

// recordTTL is the time to live in seconds of the records to set.
const recordTTL = 300

// firstRecords returns the records to set before DNS was asked, which knows the
// zone and its provider.
func firstRecords(host, own string, addresses []netip.Addr) []dnscheck.Record {
	zone := site.HostZone(host)
	name := strings.TrimSuffix(strings.TrimSuffix(host, zone), ".")
	record := dnscheck.Record{Type: "CNAME", Name: name, FullName: host, Value: own, TTL: recordTTL, Purpose: dnscheck.ForTarget}
	if name != "" {
		return []dnscheck.Record{record}
	}
	record.Name = "@"
	if len(addresses) == 0 {
		record.Type = "ALIAS"
		return []dnscheck.Record{record}
	}
	out := make([]dnscheck.Record, 0, len(addresses))
	for _, a := range addresses {
		record.Type, record.Value = "A", a.String()
		if a.Is6() {
			record.Type = "AAAA"
		}
		out = append(out, record)
	}
	return out
}
