package dnscheck

import (
	"context"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// caaSet are the CAA records of a name, or why they can't be read.
type caaSet struct {
	name    string // where the records were asked for
	outcome Outcome
	records []*dns.CAA
}

// owner returns the name that has the records: it differs from name if that is a
// CNAME.
func (s caaSet) owner() string { return short(plain(s.records[0].Hdr.Name)) }

// climb asks for the CAA records of the host and of each name above it, and ends
// at the first that has some (RFC 8659, section 3). Names in the zone are asked
// for at its own servers, because authorities do not use old answers.
func (r *run) climb(ctx context.Context, f *facts) []caaSet {
	const names = 16
	var sets []caaSet
	for name := r.base; name != "." && len(sets) < names; name = above(name) {
		found := r.caaOf(ctx, f, name)
		set := caaSet{name: name, outcome: found.outcome}
		for _, rr := range found.rrs {
			if caa, ok := rr.(*dns.CAA); ok {
				set.records = append(set.records, caa)
			}
		}
		sets = append(sets, set)
		if len(set.records) > 0 || !found.ok() {
			break
		}
	}
	return sets
}

// caaOf asks for the CAA records of a name. Those at the end of its CNAMEs count.
func (r *run) caaOf(ctx context.Context, f *facts, name string) found {
	if within(name, f.d.zone) {
		for _, v := range f.good(f.auth) {
			m, outcome := r.ask(ctx, v.address, question{name: name, typ: dns.TypeCAA})
			if outcome != "" {
				continue
			}
			if a := read(m, name, dns.TypeCAA); a.ok() && a.authoritative && (len(a.chain) == 0 || len(a.rrs) > 0) {
				return a
			}
			break
		}
	}
	m, outcome := r.resolve(ctx, question{name: name, typ: dns.TypeCAA})
	if outcome != "" {
		return found{outcome: outcome, last: name}
	}
	return read(m, name, dns.TypeCAA)
}

// permission is what CAA records say about the wanted issuers.
type permission struct {
	forbidden bool
	// unknown is true if a tag that is critical and not known forbids it.
	unknown bool
	// tag is the tag that a record which allows it would have.
	tag string
	// because are the records that forbid or restrict it.
	because []*dns.CAA
	// restricted are the conditions of the records that allow it.
	restricted string
}

// permit applies CAA records (RFC 8659, section 4).
func permit(records []*dns.CAA, issuers []string, wildcard bool) permission {
	var issue, wild, unknown []*dns.CAA
	for _, c := range records {
		const critical = 128
		switch tag := strings.ToLower(c.Tag); {
		case tag == "issue":
			issue = append(issue, c)
		case tag == "issuewild":
			wild = append(wild, c)
		case c.Flag&critical != 0 && !slices.Contains([]string{"iodef", "issuemail", "issuevmc", "contactemail", "contactphone"}, tag):
			unknown = append(unknown, c)
		}
	}
	if len(unknown) > 0 {
		return permission{forbidden: true, unknown: true, because: unknown}
	}
	tag := "issue"
	if wildcard && len(wild) > 0 {
		issue, tag = wild, "issuewild"
	}
	if len(issue) == 0 {
		return permission{}
	}
	result := permission{forbidden: true, because: issue, tag: tag}
	for _, c := range issue {
		name, conditions, _ := strings.Cut(c.Value, ";")
		if name = strings.ToLower(strings.Trim(name, " \t")); name == "" || !slices.ContainsFunc(issuers, func(i string) bool { return strings.EqualFold(i, name) }) {
			continue
		}
		conditions = strings.Trim(conditions, " \t;")
		if conditions == "" {
			return permission{}
		}
		if result.forbidden {
			result = permission{because: []*dns.CAA{c}, restricted: conditions}
		}
	}
	return result
}
