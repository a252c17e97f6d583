package awsdouble

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// route53 is Route 53 with one hosted zone
// (docs.aws.amazon.com/Route53/latest/APIReference).
type route53 struct {
	d *Double

	mu      sync.Mutex
	records map[string]record // keyed by type and name
	busy    int               // pending changes
}

// record is an alias with a zone, or has a value as its target.
type record struct{ name, kind, target, zone string }

// AddRecord adds a record that is not an alias, as another user of the account
// might.
func (d *Double) AddRecord(kind, name, value string) {
	d.route53.mu.Lock()
	defer d.route53.mu.Unlock()
	d.route53.records[kind+" "+name] = record{name: name, kind: kind, target: value}
}

// Records returns the records in the form "A blog.sites.test
// d1.cloudfront.net".
func (d *Double) Records() []string {
	d.route53.mu.Lock()
	defer d.route53.mu.Unlock()
	var all []string
	for _, r := range d.route53.records {
		all = append(all, r.kind+" "+r.name+" "+r.target)
	}
	slices.Sort(all)
	return all
}

// resolves reports whether a host's A record, or else the wildcard of its parent,
// leads to a target. A wildcard does not count for names that have any record.
func (d *Double) resolves(host, target string) bool {
	d.route53.mu.Lock()
	defer d.route53.mu.Unlock()
	for _, one := range d.route53.records {
		if one.name == host {
			return d.route53.records["A "+host].target == target
		}
	}
	return d.route53.records["A "+wildcardOf(host)].target == target
}

func (z *route53) action(r *http.Request, _ []byte) string {
	switch {
	case r.Method == http.MethodPost:
		return "ChangeResourceRecordSets"
	case strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/rrset"):
		return "ListResourceRecordSets"
	}
	return "GetHostedZone"
}

func (z *route53) fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>", code, escape(message))
}

func (z *route53) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/") // 2013-04-01/hostedzone/Z…/rrset
	if len(parts) < 3 || parts[2] != z.d.cfg.Zone {
		z.fail(w, http.StatusNotFound, "NoSuchHostedZone", "No hosted zone found with ID: "+strings.Join(parts[2:], "/"))
		return
	}
	switch z.action(r, body) {
	case "ChangeResourceRecordSets":
		z.change(w, body)
	case "ListResourceRecordSets":
		z.list(w, r)
	default:
		answerXML(w, http.StatusOK, 0, fmt.Sprintf("<GetHostedZoneResponse><HostedZone><Id>/hostedzone/%s</Id><Name>%s.</Name><CallerReference>x</CallerReference></HostedZone></GetHostedZoneResponse>",
			z.d.cfg.Zone, z.d.cfg.ZoneName))
	}
}

func (z *route53) list(w http.ResponseWriter, r *http.Request) {
	z.mu.Lock()
	defer z.mu.Unlock()
	query := r.URL.Query()
	var all []record
	for _, one := range z.records {
		if one.name+" "+one.kind >= query.Get("name")+" "+query.Get("type") {
			all = append(all, one)
		}
	}
	slices.SortFunc(all, func(a, b record) int { return strings.Compare(a.name+" "+a.kind, b.name+" "+b.kind) })
	var items strings.Builder
	limit, err := strconv.Atoi(query.Get("maxitems"))
	if err != nil {
		limit = 300
	}
	for _, one := range all[:min(len(all), limit)] {
		what := fmt.Sprintf("<AliasTarget><HostedZoneId>%s</HostedZoneId><DNSName>%s.</DNSName><EvaluateTargetHealth>false</EvaluateTargetHealth></AliasTarget>", one.zone, one.target)
		if one.zone == "" {
			what = "<TTL>300</TTL><ResourceRecords><ResourceRecord><Value>" + escape(one.target) + "</Value></ResourceRecord></ResourceRecords>"
		}
		// docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html
		name := strings.Replace(one.name, "*", `\052`, 1)
		_, _ = fmt.Fprintf(&items, "<ResourceRecordSet><Name>%s.</Name><Type>%s</Type>%s</ResourceRecordSet>", name, one.kind, what)
	}
	answerXML(w, http.StatusOK, 0, fmt.Sprintf("<ListResourceRecordSetsResponse><ResourceRecordSets>%s</ResourceRecordSets><IsTruncated>%t</IsTruncated><MaxItems>%d</MaxItems></ListResourceRecordSetsResponse>",
		items.String(), len(all) > limit, limit))
}

// changeTime is how long a change is pending. Another change in that time is
// refused.
const changeTime = 2 * time.Millisecond

// change applies the whole batch or nothing.
func (z *route53) change(w http.ResponseWriter, body []byte) {
	var in struct {
		Changes []struct {
			Action string
			Name   string `xml:"ResourceRecordSet>Name"`
			Type   string `xml:"ResourceRecordSet>Type"`
			Target string `xml:"ResourceRecordSet>AliasTarget>DNSName"`
			Zone   string `xml:"ResourceRecordSet>AliasTarget>HostedZoneId"`
		} `xml:"ChangeBatch>Changes>Change"`
	}
	if err := xml.Unmarshal(body, &in); err != nil {
		z.fail(w, http.StatusBadRequest, "InvalidInput", err.Error())
		return
	}
	z.mu.Lock()
	if z.busy > 0 {
		z.mu.Unlock()
		z.fail(w, http.StatusBadRequest, "PriorRequestNotComplete", "The request was rejected because Route 53 was still processing a prior request.")
		return
	}
	z.busy++
	z.mu.Unlock()
	done := time.NewTimer(changeTime)
	<-done.C
	z.mu.Lock()
	defer z.mu.Unlock()
	z.busy--
	next := map[string]record{}
	for key, one := range z.records {
		next[key] = one
	}
	for _, c := range in.Changes {
		one := record{name: trimmed(c.Name), kind: c.Type, target: trimmed(c.Target), zone: c.Zone}
		key := one.kind + " " + one.name
		before, there := next[key]
		switch {
		case !strings.HasSuffix(one.name, z.d.cfg.ZoneName):
			z.fail(w, http.StatusBadRequest, "InvalidChangeBatch", fmt.Sprintf("RRSet with DNS name %s. is not permitted in zone %s.", one.name, z.d.cfg.ZoneName))
			return
		case c.Action == "DELETE" && (!there || before != one):
			z.fail(w, http.StatusBadRequest, "InvalidChangeBatch", "Tried to delete resource record set but it was not found, or the values provided do not match the current values")
			return
		case c.Action == "DELETE":
			delete(next, key)
		case c.Action == "CREATE" && there:
			z.fail(w, http.StatusBadRequest, "InvalidChangeBatch", fmt.Sprintf("Tried to create resource record set [name='%s.', type='%s'] but it already exists", one.name, one.kind))
			return
		case conflicts(next, one):
			z.fail(w, http.StatusBadRequest, "InvalidChangeBatch", "RRSet is not permitted because a conflicting RRSet of type CNAME exists")
			return
		case one.zone != "Z2FDTNDATAQYW2":
			z.fail(w, http.StatusBadRequest, "InvalidChangeBatch", "the alias target is not in its zone")
			return
		default:
			next[key] = one
		}
	}
	z.records = next
	answerXML(w, http.StatusOK, 0, "<ChangeResourceRecordSetsResponse><ChangeInfo><Id>/change/C1</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo></ChangeResourceRecordSetsResponse>")
}

// conflicts reports whether a name would have a CNAME and another record.
func conflicts(records map[string]record, one record) bool {
	_, cname := records["CNAME "+one.name]
	return cname && one.kind != "CNAME"
}

// trimmed returns a name without the last dot, and with an asterisk that is not
// escaped.
func trimmed(name string) string {
	return strings.Replace(strings.ToLower(strings.TrimSuffix(name, ".")), `\052`, "*", 1)
}
