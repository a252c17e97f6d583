package dnscheck

import (
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// verdict says where the answer of one server leads.
type verdict int

const (
	silent    verdict = iota // the server did not answer
	right                    // to the target
	absent                   // there are no records
	loops                    // in a circle
	endless                  // through too many CNAMEs
	dead                     // through a CNAME to a name without addresses
	proxied                  // to a proxy
	elsewhere                // to others
	mixed                    // to the target and to others
	sixth                    // to the target over IPv4, and to others over IPv6
	varies                   // to the target or to others, by chance
)

// judgement is a verdict with what it is about.
type judgement struct {
	verdict verdict
	// chain are the names that the CNAMEs lead through.
	chain []string
	// foreign are the addresses that are not right.
	foreign []netip.Addr
	// v4 is true if there is an IPv4 address, or a CNAME to the target.
	v4 bool
}

// ours reports whether an address is right.
func (f *facts) ours(a netip.Addr) bool {
	return slices.Contains(f.expected, a) || slices.ContainsFunc(f.wanted.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// judge says where a server's answer leads.
func (f *facts) judge(v view) judgement {
	if !v.answered() || !f.wanted.leads() {
		return judgement{}
	}
	chain := v.a
	if len(chain.chain) == 0 && len(v.aaaa.chain) > 0 {
		chain = v.aaaa
	}
	t, hasTail := f.tails[chain.last]
	j := judgement{chain: slices.Concat(chain.names(), t.names)}
	if f.wanted.Target != "" && slices.Contains(j.chain, f.wanted.Target) && chain.outcome != ChainLoop {
		j.verdict, j.v4 = right, true
		return j
	}
	switch {
	case chain.outcome == ChainLoop || hasTail && t.outcome == ChainLoop:
		j.verdict = loops
		return j
	case chain.outcome == ChainTooBig || hasTail && t.outcome == ChainTooBig:
		j.verdict = endless
		return j
	}
	first := slices.Concat(addresses(v.a.rrs), addresses(v.aaaa.rrs), t.addresses)
	j.addresses(f, first, addresses(v.again.rrs))
	if j.verdict == absent && len(chain.chain) > 0 {
		j.verdict = dead
	}
	return j
}

// addresses judges addresses. Again are the IPv4 addresses of a second answer.
func (j *judgement) addresses(f *facts, first, again []netip.Addr) {
	count := map[string]int{}
	for _, a := range append(slices.Clone(first), again...) {
		known := f.ours(a)
		switch {
		case slices.Contains(j.foreign, a):
		case !known:
			j.foreign = append(j.foreign, a)
		}
		if a.Is4() {
			j.v4 = true
		}
		switch {
		case known && a.Is4():
			count["our4"]++
		case known:
			count["our6"]++
		case a.Is4():
			count["foreign4"]++
		default:
			count["foreign6"]++
		}
	}
	slices.SortFunc(j.foreign, netip.Addr.Compare)
	foreign := func(a netip.Addr) bool { return a.Is4() && !f.ours(a) }
	switch {
	case len(first) == 0 && len(again) == 0:
		j.verdict = absent
	case len(j.foreign) == 0:
		j.verdict = right
	case count["our4"]+count["our6"] == 0 && len(j.chain) == 0 && slices.ContainsFunc(j.foreign, isCloudflare):
		j.verdict = proxied
	case len(again) > 0 && f.changed(first, again) && count["foreign4"] > 0:
		j.verdict = varies
	case count["our4"]+count["our6"] == 0:
		j.verdict = elsewhere
	case !slices.ContainsFunc(j.foreign, foreign) && count["our4"] > 0:
		j.verdict = sixth
	default:
		j.verdict = mixed
	}
}

// changed reports whether two answers about IPv4 addresses differ.
func (f *facts) changed(first, again []netip.Addr) bool {
	four := slices.DeleteFunc(slices.Clone(first), func(a netip.Addr) bool { return !a.Is4() })
	return !slices.Equal(four, again)
}

func isCloudflare(a netip.Addr) bool {
	return slices.ContainsFunc(cloudflare, func(n netip.Prefix) bool { return n.Contains(a) })
}

// summary is what all views together say.
type summary struct {
	// views are those that count: of the name servers, or of the resolvers if no
	// name server answered.
	views []view
	// judgements are those of views.
	judgements []judgement
	// authoritative is true if views are of name servers.
	authoritative bool
	// worst is the first judgement that is not right, or the first.
	worst judgement
	// agree is true if all verdicts are right, or none is.
	agree bool
}

// sum judges all views.
func (f *facts) sum() summary {
	s := summary{views: f.good(f.auth), authoritative: true, agree: true}
	if len(s.views) == 0 {
		s.views, s.authoritative = f.good(f.public), false
	}
	wrong := 0
	for _, v := range s.views {
		j := f.judge(v)
		if j.verdict != right {
			if wrong == 0 {
				s.worst = j
			}
			wrong++
		}
		s.judgements = append(s.judgements, j)
	}
	if wrong == 0 && len(s.judgements) > 0 {
		s.worst = s.judgements[0]
	}
	s.agree = wrong == 0 || wrong == len(s.judgements)
	return s
}

// points reports whether all answers lead to the target.
func (s summary) points() bool {
	return len(s.judgements) > 0 && s.agree && s.worst.verdict == right
}

// atApex reports whether the zone's own name has a CNAME.
func (f *facts) atApex(s summary) bool {
	return s.authoritative && f.base == f.d.zone && !f.wildcard && f.d.sure &&
		slices.ContainsFunc(s.views, func(v view) bool { return len(v.a.chain) > 0 })
}

// beside returns the types of records that the host has beside a CNAME.
func (s summary) beside() []string {
	var types []string
	for _, v := range s.views {
		if len(v.a.chain) == 0 && len(v.aaaa.chain) == 0 {
			continue
		}
		for _, t := range slices.Concat(v.a.beside, v.aaaa.beside, v.https.beside) {
			if !slices.Contains(types, t) {
				types = append(types, t)
			}
		}
	}
	slices.Sort(types)
	return types
}

// https returns the first HTTPS record that leads browsers elsewhere (RFC 9460):
// to another host, or by its hints to other addresses.
func (f *facts) https(s summary) *dns.HTTPS {
	for _, v := range s.views {
		for _, rr := range v.https.rrs {
			record, ok := rr.(*dns.HTTPS)
			if !ok || plain(rr.Header().Name) == f.wanted.Target { // the target's own is right
				continue
			}
			to := plain(record.Target)
			if to != "." && to != f.wanted.Host && to != f.base && to != f.wanted.Target {
				return record
			}
			if slices.ContainsFunc(hints(record), func(a netip.Addr) bool { return !f.ours(a) }) {
				return record
			}
		}
	}
	return nil
}

// hints returns the addresses in an HTTPS record.
func hints(record *dns.HTTPS) []netip.Addr {
	var all []netip.Addr
	for _, kv := range record.Value {
		switch kv := kv.(type) {
		case *dns.SVCBIPv4Hint:
			for _, ip := range kv.Hint {
				if a, ok := netip.AddrFromSlice(ip); ok {
					all = append(all, a.Unmap())
				}
			}
		case *dns.SVCBIPv6Hint:
			for _, ip := range kv.Hint {
				if a, ok := netip.AddrFromSlice(ip); ok {
					all = append(all, a)
				}
			}
		}
	}
	return all
}

// has reports whether all views have a value in the records of a question, and
// returns the values that they have instead.
func (s summary) has(of func(view) found, want string) (bool, []string) {
	all, others := len(s.views) > 0, []string{}
	for _, v := range s.views {
		f, here := of(v), false
		for _, rr := range append(slices.Clone(f.rrs), rest(f)...) {
			got := value(rr)
			if got == want {
				here = true
			} else if !slices.Contains(others, got) {
				others = append(others, got)
			}
		}
		all = all && here
	}
	slices.Sort(others)
	return all, others[:min(len(others), 3)]
}

// rest returns the CNAMEs of an answer as records.
func rest(f found) []dns.RR {
	rrs := make([]dns.RR, len(f.chain))
	for i, c := range f.chain {
		rrs[i] = c
	}
	return rrs
}

// expires returns until when a resolver uses its answer: the longest time that
// one of its old records has left.
func (v view) expires(at time.Time) time.Time {
	ttl := max(v.a.ttl(), v.aaaa.ttl())
	if !v.answered() || ttl == 0 {
		return time.Time{}
	}
	const week = 7 * 24 * 3600 // caches keep nothing longer (RFC 8767, section 4)
	return at.Add(time.Duration(min(ttl, week)) * time.Second)
}

// cached returns the resolvers that still have old records, and until when. It
// needs right answers of the name servers.
func (f *facts) cached(s summary) (servers []string, until time.Time) {
	if !s.authoritative || !s.points() || !f.wanted.leads() {
		return nil, time.Time{}
	}
	for _, v := range f.good(f.public) {
		if f.judge(v).verdict == right {
			continue
		}
		servers = append(servers, v.server)
		if t := v.expires(f.at); t.After(until) {
			until = t
		}
	}
	return servers, until
}
