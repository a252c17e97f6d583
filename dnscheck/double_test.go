package dnscheck_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/troy-iaas/troy/dnscheck"
	"github.com/troy-iaas/troy/internal/dnsdouble"
)

// The usual Internet of the tests: the registry com, the zone example.com with
// two name servers, and the hoster's zone host.net with the target.
const (
	registryZone = "@ NS a.nic.com.\n" + "a.nic.com. A 192.0.2.1\n"
	delegated    = "example.com. NS ns1.example.com.\nexample.com. NS ns2.example.com.\nns1.example.com. A 192.0.2.11\nns2.example.com. A 192.0.2.12\n"
	ownServers   = "@ NS ns1\n@ NS ns2\nns1 A 192.0.2.11\nns2 A 192.0.2.12\n"
	hosterZone   = "@ NS ns.host.net.\nns A 192.0.2.21\nedge A 203.0.113.10\nedge AAAA 2001:db8::10\nother A 203.0.113.99\n"
	target       = "edge.host.net"
	signed       = 6 // RFC 8914: DNSSEC bogus
)

// situation is what the DNS of a test says.
type situation struct {
	host string // www.example.com if empty
	// com has the delegation in the registry's zone; delegated if empty. "-"
	// means none.
	com string
	// zone are the records of example.com on its first name server, second those
	// on its second, if they differ. Its own NS records are added.
	zone, second string
	// more are further zones, by their origins. They are on the hoster's server.
	more map[string]string
	// below are further zones on the name servers of example.com.
	below map[string]string
	// caches are zones that only the first resolver has: what it has cached.
	caches map[string]string
	// ns1 and ns2 are faults of the name servers, com1 of the registry's, one and
	// two of the resolvers.
	ns1, ns2, com1, one, two dnsdouble.Fault
	resolver                 dnsdouble.Resolver // for Secure, Bogus and Broken
	wanted                   dnscheck.Wanted    // Host and Target are filled in
	fixed                    bool               // the hoster has fixed addresses
	alone                    bool               // neither a target nor addresses are wanted
	timeout                  time.Duration
	// bare leaves out the NS records of example.com that are usually added.
	bare bool
}

// play starts the servers and returns a checker that asks them, what to ask, and
// a function that replaces the resolvers' addresses in a text.
func (s situation) play(t testing.TB) (*dnscheck.Checker, dnscheck.Wanted, func(string) string) {
	t.Helper()
	w := dnsdouble.New(t)
	com := registryZone
	switch s.com {
	case "":
		com += delegated
	case "-":
	default:
		com += s.com
	}
	own := ownServers
	if s.bare {
		own = ""
	}
	registry := dnsdouble.Parse(t, "com", com)
	first := dnsdouble.Parse(t, "example.com", own+s.zone)
	second := first
	if s.second != "" {
		second = dnsdouble.Parse(t, "example.com", own+s.second)
	}
	var below []*dnsdouble.Zone
	for origin, text := range s.below {
		below = append(below, dnsdouble.Parse(t, origin, text))
	}
	hoster := []*dnsdouble.Zone{dnsdouble.Parse(t, "host.net", hosterZone)}
	for origin, text := range s.more {
		hoster = append(hoster, dnsdouble.Parse(t, origin, text))
	}
	w.Server("192.0.2.1", s.com1, registry)
	w.Server("192.0.2.11", s.ns1, append(below, first)...)
	w.Server("192.0.2.12", s.ns2, append(below, second)...)
	w.Server("192.0.2.21", nil, hoster...)

	known := slices.Concat([]*dnsdouble.Zone{registry}, hoster, below)
	if s.com != "-" {
		known = append(known, first)
	}
	r := s.resolver
	r.Zones, r.Fault = known, s.two
	two := w.Resolver(r)
	for origin, text := range s.caches {
		r.Zones = append(r.Zones, dnsdouble.Parse(t, origin, text))
	}
	r.Fault = s.one
	one := w.Resolver(r)

	wanted := s.wanted
	if wanted.Host = s.host; wanted.Host == "" {
		wanted.Host = "www.example.com"
	}
	if wanted.Target == "" && !s.fixed {
		wanted.Target = target
	}
	if s.fixed && !s.alone {
		wanted.Addresses = []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::10")}
	}
	checker, err := dnscheck.New(dnscheck.Config{
		Resolvers: []string{one.String(), two.String()}, Timeout: s.timeout, Reach: w.Reach,
		Now: func() time.Time { return time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC) },
	})
	if err != nil {
		t.Fatal(err)
	}
	replace := strings.NewReplacer(one.String(), "192.0.2.53:53", two.String(), "192.0.2.54:53")
	return checker, wanted, replace.Replace
}

// check plays a situation and returns the report.
func (s situation) check(ctx context.Context, t testing.TB) (dnscheck.Report, func(string) string) {
	t.Helper()
	checker, wanted, replace := s.play(t)
	report, err := checker.Check(ctx, wanted)
	if err != nil {
		t.Fatal(err)
	}
	return report, replace
}

// The faults.

// refuse answers REFUSED.
func refuse(w dns.ResponseWriter, q *dns.Msg) bool { return code(dns.RcodeRefused)(w, q) }

// broken answers SERVFAIL.
func broken(w dns.ResponseWriter, q *dns.Msg) bool { return code(dns.RcodeServerFailure)(w, q) }

// code answers every question with a code.
func code(rcode int) dnsdouble.Fault {
	return func(w dns.ResponseWriter, q *dns.Msg) bool {
		m := new(dns.Msg)
		m.SetRcode(q, rcode)
		_ = w.WriteMsg(m)
		return true
	}
}

// quiet never answers.
func quiet(dns.ResponseWriter, *dns.Msg) bool { return true }

// only applies a fault to questions of a type.
func only(typ uint16, fault dnsdouble.Fault) dnsdouble.Fault {
	return func(w dns.ResponseWriter, q *dns.Msg) bool { return q.Question[0].Qtype == typ && fault(w, q) }
}

// junk answers with bytes that are not a message, but have the id.
func junk(w dns.ResponseWriter, q *dns.Msg) bool {
	_, _ = w.Write([]byte{byte(q.Id >> 8), byte(q.Id), 0x84, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0xc0, 0x0c, 0xc0})
	return true
}

// forged answers with another id.
func forged(w dns.ResponseWriter, q *dns.Msg) bool {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Id++
	m.Authoritative = true
	_ = w.WriteMsg(m)
	return true
}

// cut answers that the answer is too long for UDP, and closes TCP connections.
func cut(w dns.ResponseWriter, q *dns.Msg) bool {
	if w.RemoteAddr().Network() == "tcp" {
		_ = w.Close()
		return true
	}
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.Truncated = true, true
	_ = w.WriteMsg(m)
	return true
}

// huge answers with thousands of records, over TCP if need be.
func huge(w dns.ResponseWriter, q *dns.Msg) bool {
	if w.RemoteAddr().Network() != "tcp" {
		return cut(w, q)
	}
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.Compress = true, true
	for i := range 2000 {
		m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: []byte{198, 51, byte(i >> 8), byte(i)}})
	}
	_ = w.WriteMsg(m)
	return true
}

// upward refers to the root, as servers do that do not have a zone.
func upward(w dns.ResponseWriter, q *dns.Msg) bool {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: "a.root-servers.net."}}
	_ = w.WriteMsg(m)
	return true
}
