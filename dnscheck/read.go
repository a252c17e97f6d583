package dnscheck

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// found is what an answer says about a name and a type.
type found struct {
	outcome Outcome
	// chain are the CNAMEs from the name on, in order.
	chain []*dns.CNAME
	// last is the name at the chain's end.
	last string
	// rrs are the records of the type at last.
	rrs []dns.RR
	// beside are the types of other records than a CNAME at the name itself.
	beside []string
	// negative is how long the absence is cached, in seconds (RFC 2308).
	negative uint32
	// why is the reason of a resolver's failure (RFC 8914), or -1.
	why           int
	authoritative bool // the AA bit
	secure        bool // the AD bit
}

// ok reports whether the server gave an answer about the name.
func (f found) ok() bool {
	return f.outcome == Answered || f.outcome == NoData || f.outcome == NXDomain
}

// read reads an answer to a question about a name and a type.
func read(m *dns.Msg, name string, typ uint16) found {
	f := found{last: plain(name), why: -1, authoritative: m.Authoritative, secure: m.AuthenticatedData}
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if ede, ok := o.(*dns.EDNS0_EDE); ok && f.why < 0 {
				f.why = int(ede.InfoCode)
			}
		}
	}
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
	case dns.RcodeRefused, dns.RcodeNotAuth:
		f.outcome = Refused
		return f
	default:
		f.outcome = ServFail
		return f
	}
	f.negative = negative(m)
	f.follow(m.Answer, typ)
	if f.outcome != "" {
		return f
	}
	switch {
	case len(f.rrs) > 0:
		f.outcome = Answered
	case m.Rcode == dns.RcodeNameError:
		f.outcome = NXDomain
	default:
		f.outcome = NoData
	}
	return f
}

// follow follows the CNAMEs of an answer and collects the records at their end.
func (f *found) follow(answer []dns.RR, typ uint16) {
	host := f.last
	aliases := map[string]*dns.CNAME{}
	for _, rr := range answer {
		owner := plain(rr.Header().Name)
		alias, ok := rr.(*dns.CNAME)
		switch {
		case rr.Header().Class != dns.ClassINET:
		case ok && aliases[owner] == nil:
			aliases[owner] = alias
		case owner == host && !ok && rr.Header().Rrtype != dns.TypeRRSIG:
			if t := typeName(rr); !slices.Contains(f.beside, t) {
				f.beside = append(f.beside, t)
			}
		}
	}
	seen := map[string]bool{f.last: true}
	for typ != dns.TypeCNAME && aliases[f.last] != nil {
		if len(f.chain) == maxChain {
			f.outcome = ChainTooBig
			return
		}
		f.chain = append(f.chain, aliases[f.last])
		if f.last = plain(aliases[f.last].Target); seen[f.last] {
			f.outcome = ChainLoop
			return
		}
		seen[f.last] = true
	}
	for _, rr := range answer {
		h := rr.Header()
		if h.Class == dns.ClassINET && h.Rrtype == typ && plain(h.Name) == f.last {
			f.rrs = append(f.rrs, rr)
		}
	}
}

// negative returns how long a resolver caches that there is no such record: the
// lower of the SOA record's TTL and its last field (RFC 2308, section 5).
func negative(m *dns.Msg) uint32 {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(soa.Hdr.Ttl, soa.Minttl)
		}
	}
	return 0
}

// ttl returns how long the answer about the asked name is valid, in seconds.
func (f found) ttl() uint32 {
	switch {
	case len(f.chain) > 0:
		return f.chain[0].Hdr.Ttl
	case len(f.rrs) > 0:
		return f.rrs[0].Header().Ttl
	}
	return f.negative
}

// names returns the names that the chain leads through, without the first.
func (f found) names() []string {
	names := make([]string, len(f.chain))
	for i, c := range f.chain {
		names[i] = plain(c.Target)
	}
	return names
}

// addresses returns the addresses in A and AAAA records, sorted.
func addresses(rrs []dns.RR) []netip.Addr {
	var all []netip.Addr
	for _, rr := range rrs {
		var a netip.Addr
		switch rr := rr.(type) {
		case *dns.A:
			a, _ = netip.AddrFromSlice(rr.A)
		case *dns.AAAA:
			a, _ = netip.AddrFromSlice(rr.AAAA)
		}
		// An AAAA record can have an address that maps an IPv4 address. No
		// client reaches it over IPv6, so it stays as it is.
		if a.IsValid() && rr.Header().Rrtype == dns.TypeA {
			a = a.Unmap()
		}
		if a.IsValid() && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// typeName returns the name of a record's type.
func typeName(rr dns.RR) string { return typeText(rr.Header().Rrtype) }

func typeText(typ uint16) string {
	if name := dns.TypeToString[typ]; name != "" {
		return name
	}
	return fmt.Sprintf("TYPE%d", typ)
}

// value returns a record's data as text: host names without the last dot, texts
// without quotes.
func value(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.CNAME:
		return short(plain(rr.Target))
	case *dns.NS:
		return short(plain(rr.Ns))
	case *dns.TXT:
		return short(strings.Join(rr.Txt, ""))
	case *dns.A, *dns.AAAA:
		if a := addresses([]dns.RR{rr}); len(a) == 1 {
			return a[0].String()
		}
		return ""
	}
	return short(strings.TrimPrefix(rr.String(), rr.Header().String()))
}

// short cuts a text from a server to 255 bytes and replaces what a terminal
// would interpret.
func short(text string) string {
	const limit = 255
	if len(text) > limit {
		text = text[:limit-len("…")] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfffd {
			return '.'
		}
		return r
	}, text)
}
