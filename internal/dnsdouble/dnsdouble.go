// Package dnsdouble runs name servers and resolvers on loopback, for tests. A
// World is a small Internet: its name servers have public addresses in the zones,
// and Reach leads from those to loopback. Servers can have faults.
package dnsdouble

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// World is a set of servers that end with the test.
type World struct {
	// Reach has the loopback address of each name server.
	Reach map[netip.Addr]netip.AddrPort
	// Done is closed when the test ends, before the servers stop. A fault that
	// does not answer waits for it.
	Done <-chan struct{}

	t testing.TB
}

// New returns a World without servers.
func New(t testing.TB) *World {
	t.Helper()
	return &World{Reach: map[netip.Addr]netip.AddrPort{}, Done: t.Context().Done(), t: t}
}

// Fault answers a question in the place of a server. It returns false to leave
// the answer to the server. A fault that returns true may have written nothing.
type Fault func(w dns.ResponseWriter, q *dns.Msg) bool

// Server starts a name server that has the given zones. The address is what the
// zones call it. It returns the address at which it listens.
func (w *World) Server(address string, fault Fault, zones ...*Zone) netip.AddrPort {
	w.t.Helper()
	at := w.listen(func(rw dns.ResponseWriter, q *dns.Msg) {
		if fault == nil || !fault(rw, q) {
			reply(rw, q, authoritative(zones, q))
		}
	})
	w.Reach[netip.MustParseAddr(address)] = at
	return at
}

// Resolver is a recursive resolver. It knows the zones without asking anyone,
// the most specific first: a zone named like a host stands for a cached answer.
type Resolver struct {
	Zones []*Zone
	// Secure are zones that it validates. Bogus are those whose signatures it
	// rejects with the given reason (RFC 8914) unless validation is disabled.
	Secure []string
	Bogus  map[string]uint16
	// Broken are names for which it fails.
	Broken []string
	Fault  Fault
}

// Resolver starts a resolver and returns the address at which it listens.
func (w *World) Resolver(r Resolver) netip.AddrPort {
	w.t.Helper()
	return w.listen(func(rw dns.ResponseWriter, q *dns.Msg) {
		if r.Fault == nil || !r.Fault(rw, q) {
			reply(rw, q, r.resolve(q))
		}
	})
}

// listen serves DNS over UDP and TCP at one port of loopback.
func (w *World) listen(handler dns.HandlerFunc) netip.AddrPort {
	w.t.Helper()
	for range 20 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		listener, err := net.Listen("tcp", packets.LocalAddr().String())
		if err != nil { // another process has the port
			_ = packets.Close()
			continue
		}
		for _, s := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: listener, Handler: handler}} {
			started := make(chan struct{})
			s.NotifyStartedFunc = func() { close(started) }
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = s.ActivateAndServe()
			}()
			<-started
			w.t.Cleanup(func() {
				_ = s.Shutdown()
				<-ended
			})
		}
		return netip.MustParseAddrPort(packets.LocalAddr().String())
	}
	w.t.Fatal("no port is free for both UDP and TCP")
	return netip.AddrPort{}
}

// reply sends an answer, cut to what fits over UDP.
func reply(rw dns.ResponseWriter, q, m *dns.Msg) {
	size := dns.MaxMsgSize
	if _, udp := rw.RemoteAddr().(*net.UDPAddr); udp {
		size = dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
	}
	m.Truncate(size)
	_ = rw.WriteMsg(m)
}

// authoritative answers for zones.
func authoritative(zones []*Zone, q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	name := dns.CanonicalName(q.Question[0].Name)
	z := closest(zones, name)
	if z == nil {
		m.Rcode = dns.RcodeRefused
		return m
	}
	m.Authoritative = !z.answer(m, name, q.Question[0].Qtype)
	return m
}

// closest returns the most specific zone of a name, or nil.
func closest(zones []*Zone, name string) *Zone {
	var best *Zone
	for _, z := range zones {
		if dns.IsSubDomain(z.origin, name) && (best == nil || len(z.origin) > len(best.origin)) {
			best = z
		}
	}
	return best
}

// resolve answers as a resolver does: it follows CNAMEs from zone to zone.
func (r Resolver) resolve(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	name, typ := dns.CanonicalName(q.Question[0].Name), q.Question[0].Qtype
	fail := func(why int) *dns.Msg {
		m.Rcode, m.Answer, m.Ns, m.Extra = dns.RcodeServerFailure, nil, nil, nil
		if why >= 0 && q.IsEdns0() != nil {
			m.SetEdns0(dns.DefaultMsgSize, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: uint16(why)}}
		}
		return m
	}
	const most = 12
	for step := 0; ; step++ {
		if slices.ContainsFunc(r.Broken, func(b string) bool { return dns.IsSubDomain(dns.Fqdn(b), name) }) || step > most {
			return fail(-1)
		}
		for zone, why := range r.Bogus {
			if dns.IsSubDomain(dns.Fqdn(zone), name) && !q.CheckingDisabled {
				return fail(int(why))
			}
		}
		z := closest(r.Zones, name)
		if z == nil {
			m.Rcode = dns.RcodeNameError
			return m
		}
		part := new(dns.Msg)
		z.answer(part, name, typ)
		m.Answer, m.Ns, m.Rcode = append(m.Answer, part.Answer...), part.Ns, part.Rcode
		last, ok := m.Answer, len(part.Answer) > 0
		if !ok {
			break
		}
		c, alias := last[len(last)-1].(*dns.CNAME)
		if !alias || typ == dns.TypeCNAME {
			break
		}
		name = dns.CanonicalName(c.Target)
	}
	m.AuthenticatedData = slices.ContainsFunc(r.Secure, func(s string) bool { return dns.IsSubDomain(dns.Fqdn(s), dns.CanonicalName(q.Question[0].Name)) })
	return m
}

// Zone is the content of a zone.
type Zone struct {
	origin string

	mu  sync.RWMutex
	rrs map[string][]dns.RR
}

// Replace replaces the content of a zone, as its owner does at a DNS provider.
func (z *Zone) Replace(t testing.TB, text string) {
	t.Helper()
	rrs := Parse(t, z.origin, text).rrs
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rrs = rrs
}

// Parse reads a zone in the form of master files (RFC 1035, section 5). Names
// are relative to the origin, the TTL is 300 s, and an SOA record is added if the
// text has none.
func Parse(t testing.TB, origin, text string) *Zone {
	t.Helper()
	z := &Zone{origin: dns.CanonicalName(origin), rrs: map[string][]dns.RR{}}
	if !strings.Contains(text, "SOA") {
		text = "@ SOA ns.invalid. hostmaster.invalid. 1 3600 600 86400 300\n" + text
	}
	parser := dns.NewZoneParser(strings.NewReader("$TTL 300\n"+text), z.origin, "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		name := dns.CanonicalName(rr.Header().Name)
		z.rrs[name] = append(z.rrs[name], rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatal(fmt.Errorf("zone %s: %w", origin, err))
	}
	return z
}

// answer adds the answer about a name to a message (RFC 1034, section 4.3.2). It
// reports whether the answer is a referral.
func (z *Zone) answer(m *dns.Msg, name string, typ uint16) (referral bool) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	if ns := z.cut(name); ns != nil {
		m.Ns = ns
		for _, rr := range ns {
			for _, glue := range z.rrs[dns.CanonicalName(rr.(*dns.NS).Ns)] {
				if t := glue.Header().Rrtype; t == dns.TypeA || t == dns.TypeAAAA {
					m.Extra = append(m.Extra, glue)
				}
			}
		}
		return true
	}
	const most = 30
	for range most {
		rrs, exists := z.at(name)
		matching := slices.DeleteFunc(slices.Clone(rrs), func(rr dns.RR) bool { return rr.Header().Rrtype != typ })
		aliases := slices.DeleteFunc(slices.Clone(rrs), func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeCNAME })
		switch {
		case len(matching) > 0:
			m.Answer = append(m.Answer, matching...)
			return false
		case len(aliases) > 0:
			m.Answer = append(m.Answer, aliases[0])
			if name = dns.CanonicalName(aliases[0].(*dns.CNAME).Target); dns.IsSubDomain(z.origin, name) && z.cut(name) == nil {
				continue
			}
			return false
		}
		m.Ns = slices.DeleteFunc(slices.Clone(z.rrs[z.origin]), func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeSOA })
		if !exists {
			m.Rcode = dns.RcodeNameError
		}
		return false
	}
	return false
}

// cut returns the NS records of the delegation that a name is below, or nil.
func (z *Zone) cut(name string) []dns.RR {
	var found []dns.RR
	for n := name; n != z.origin && n != "."; n = parent(n) {
		ns := slices.DeleteFunc(slices.Clone(z.rrs[n]), func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeNS })
		if len(ns) > 0 {
			found = ns // the last is the highest
		}
	}
	return found
}

// at returns the records of a name, or those of the wildcard that matches it
// (RFC 4592), and reports whether the name exists.
func (z *Zone) at(name string) (_ []dns.RR, exists bool) {
	if z.exists(name) {
		return z.rrs[name], true
	}
	encloser := name
	for encloser != z.origin && !z.exists(encloser) {
		encloser = parent(encloser)
	}
	wild, ok := z.rrs["*."+encloser]
	if !ok {
		return nil, false
	}
	all := make([]dns.RR, len(wild))
	for i, rr := range wild {
		all[i] = dns.Copy(rr)
		all[i].Header().Name = name
	}
	return all, true
}

// exists reports whether a name has records or is above one that has.
func (z *Zone) exists(name string) bool {
	if len(z.rrs[name]) > 0 {
		return true
	}
	for n := range z.rrs {
		if dns.IsSubDomain(name, n) {
			return true
		}
	}
	return false
}

func parent(name string) string {
	if i, end := dns.NextLabel(name, 0); !end {
		return name[i:]
	}
	return "."
}
