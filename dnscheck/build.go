package dnscheck

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	ttlToSet = 300 // seconds, so that a mistake passes soon
	maxSeen  = 16  // records of a server in a report
)

// detours are the findings that keep visitors from the site although addresses
// are right.
var detours = []Code{DelegationLame, ServersFail, DNSSECFails, CNAMEAtApex, HTTPSElsewhere}

// report builds the report from the facts.
func (f *facts) report() Report {
	s := f.sum()
	r := Report{
		Host: f.wanted.Host, Zone: f.d.zone, Apex: f.apex(), Provider: f.provider, DNSSEC: f.dnssec(),
		Findings: f.findings(s), CheckedAt: f.at,
		Authoritative: f.answers(f.auth, false), Public: f.answers(f.public, true),
	}
	r.Points = s.points() && !slices.ContainsFunc(r.Findings, func(g Finding) bool { return g.Severity == Error && slices.Contains(detours, g.Code) })
	if f.wanted.Challenge != "" {
		r.Proven, _ = s.has(proofOf, f.wanted.Challenge)
	}
	_, r.CachedUntil = f.cached(s)
	r.Set, r.Remove = f.set(s), f.remove(s)
	if len(r.Findings) == 0 {
		r.Findings = []Finding{f.checkIncomplete()}
	}
	r.Headline = r.Findings[0].Sentence
	return r
}

func (f *facts) dnssec() DNSSEC {
	state := Unknown
	for _, v := range f.public {
		switch {
		case v.bogus:
			return Bogus
		case v.answered() && v.a.secure:
			state = Secure
		case v.answered() && state == Unknown:
			state = Unsigned
		}
	}
	return state
}

// answers returns the views for the report.
func (f *facts) answers(views []view, public bool) []Answer {
	all := []Answer{}
	for _, v := range views {
		a := Answer{Server: short(v.server), Outcome: v.outcome, Records: []Seen{}, Right: f.judge(v).verdict == right}
		if v.address.IsValid() {
			a.Address = v.address.String()
		}
		if v.outcome != Answered && v.aaaa.outcome == Answered {
			a.Outcome = Answered
		}
		if t := v.expires(f.at); public {
			a.Expires = t
		}
		for _, part := range append([]found{v.a, v.aaaa, v.again, v.https, v.proof}, v.records...) {
			for _, rr := range append(rest(part), part.rrs...) {
				a.see(rr)
			}
		}
		all = append(all, a)
	}
	return all
}

// see adds a record to an answer once.
func (a *Answer) see(rr dns.RR) {
	h := rr.Header()
	s := Seen{Type: typeName(rr), Name: short(plain(h.Name)), Value: value(rr), TTL: h.Ttl}
	known := slices.ContainsFunc(a.Records, func(o Seen) bool { return o.Type == s.Type && o.Name == s.Name && o.Value == s.Value })
	if !known && len(a.Records) < maxSeen {
		a.Records = append(a.Records, s)
	}
}

// relative returns a full name as providers' forms want it.
func (f *facts) relative(name string) string {
	if name == f.d.zone {
		return "@"
	}
	return strings.TrimSuffix(name, "."+f.d.zone)
}

// record returns a record to set.
func (f *facts) record(typ, name, value string, purpose Purpose) Record {
	return Record{Type: typ, Name: f.relative(name), FullName: name, Value: value, TTL: ttlToSet, Purpose: purpose}
}

// target returns the records that lead visitors to the site: a CNAME below the
// apex, else addresses if there are fixed ones, else the provider's ALIAS.
func (f *facts) target() (all []Record) {
	host := f.wanted.Host
	if !f.wanted.leads() {
		return nil
	}
	if f.wanted.Target != "" && !f.apex() {
		return []Record{f.record("CNAME", host, f.wanted.Target, ForTarget)}
	}
	for _, a := range f.wanted.Addresses {
		typ := "AAAA"
		if a.Is4() {
			typ = "A"
		}
		all = append(all, f.record(typ, host, a.String(), ForTarget))
	}
	if len(all) == 0 {
		all = append(all, f.record(cmp.Or(f.apexType(), "ALIAS"), host, f.wanted.Target, ForTarget))
	}
	return all
}

// apexType returns the type of record with which the apex follows the target at
// the provider, or "".
func (f *facts) apexType() string {
	if f.provider.Name == route53 && strings.HasSuffix(f.wanted.Target, ".cloudfront.net") {
		return "A (alias)"
	}
	return f.provider.ApexType
}

// set returns all records that the host needs.
func (f *facts) set(s summary) []Record {
	all := append([]Record{}, f.target()...)
	for i := range all {
		switch r := &all[i]; r.Type {
		case "A":
			r.Found, _ = s.has(func(v view) found { return v.a }, r.Value)
		case "AAAA":
			r.Found, _ = s.has(func(v view) found { return v.aaaa }, r.Value)
		case "CNAME":
			r.Found, _ = s.has(func(v view) found { return v.a }, r.Value)
			r.Found = r.Found || f.apex() && s.points()
		default:
			r.Found = s.points()
		}
	}
	if f.wanted.Challenge != "" {
		r := f.record("TXT", challengePrefix+f.base, f.wanted.Challenge, ForProof)
		r.Found, _ = s.has(proofOf, f.wanted.Challenge)
		all = append(all, r)
	}
	for i, w := range f.wanted.Records[:min(len(f.wanted.Records), maxWantedRecords)] {
		r := f.record(w.Type, plain(w.Name), wantedValue(w), ForCertificate)
		r.Found, _ = s.has(recordOf(i), r.Value)
		all = append(all, r)
	}
	if set, p := f.caaVerdict(); p.forbidden && !p.unknown && set.owner() == set.name {
		c := f.caaToAdd(p)
		all = append(all, f.record("CAA", set.name, caaText(c), ForCertificate))
	}
	return all
}

// remove returns the records that are in the way: wrong addresses and HTTPS
// records of the host, and a CNAME at the apex or to elsewhere.
func (f *facts) remove(s summary) []Record {
	all := []Record{}
	add := func(rr dns.RR) {
		r := f.record(typeName(rr), f.wanted.Host, value(rr), InTheWay)
		r.TTL = 0
		if !slices.Contains(all, r) && len(all) < maxSeen {
			all = append(all, r)
		}
	}
	if !s.authoritative || !f.wanted.leads() { // resolvers may have old records
		return all
	}
	for i, v := range s.views {
		if len(v.a.chain) > 0 && (f.atApex(s) || s.judgements[i].verdict != right) {
			add(v.a.chain[0])
		}
		for _, part := range []found{v.a, v.aaaa, v.again} {
			for _, rr := range part.rrs {
				own := plain(rr.Header().Name) == f.wanted.Host
				if own && slices.ContainsFunc(addresses([]dns.RR{rr}), func(a netip.Addr) bool { return !f.ours(a) }) {
					add(rr)
				}
			}
		}
	}
	if record := f.https(s); record != nil {
		add(record)
	}
	return all
}

// oldCached is about resolvers that still have old records.
func (f *facts) oldCached(servers []string, until time.Time) Finding {
	if until.IsZero() {
		return finding(Cached, Warning, "The name servers of %s have the right records, but %s %s still %s old ones. Wait; nothing has to be changed.",
			f.d.zone, itsThem(len(servers), "the resolver", "the resolvers"), list(servers), itsThem(len(servers), "has", "have"))
	}
	return finding(Cached, Warning, "The name servers of %s have the right records, but %s %s still %s old ones, until %s at the latest. Wait; nothing has to be changed.",
		f.d.zone, itsThem(len(servers), "the resolver", "the resolvers"), list(servers), itsThem(len(servers), "has", "have"), until.Format("15:04 UTC on 2 January 2006"))
}
