package dnscheck

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"

	"github.com/troy-iaas/troy/internal/network"
)

// few is how many servers of a zone on the way are asked at the same time.
const few = 3

// nameserver is a name server of a zone.
type nameserver struct {
	name    string
	address netip.AddrPort
	// outcome says why it can't be asked: NoAddress or NotPublic.
	outcome Outcome
}

// delegation is the way from the registry to the zone of a host.
type delegation struct {
	// zone is the zone that has the host; parent is the one that delegates it.
	zone, parent string
	// sure is true if the zone was found, instead of guessed.
	sure bool
	// names are the name servers that the parent names.
	names []string
	// servers are those of names that are asked.
	servers []nameserver
	// cut is the zone for which the parent names the servers. It differs from
	// zone if the same servers have both.
	cut string
	// unregistered is true if the registry says that the domain does not exist.
	unregistered bool
	// undelegated is true if the parent does not name servers.
	undelegated bool
	// deaf is true if no resolver answered the first question.
	deaf bool
}

// registry returns the zone in which a host's domain is registered, such as
// "com" or "co.uk", and the domain. It uses the part of the public suffix list
// that registries maintain, because the names below others are ordinary zones.
func registry(host string) (suffix, domain string) {
	suffix, icann := publicsuffix.PublicSuffix(host)
	for !icann && strings.Contains(suffix, ".") {
		suffix, icann = publicsuffix.PublicSuffix(above(suffix))
	}
	rest := strings.TrimSuffix(host, "."+suffix)
	if rest == host {
		return above(host), host
	}
	return suffix, rest[strings.LastIndexByte(rest, '.')+1:] + "." + suffix
}

// walk finds the zone of the host. It begins at the registry's name servers, as
// resolvers give them, and follows the delegations.
func (r *run) walk(ctx context.Context) delegation {
	const steps = 12
	suffix, domain := registry(r.base)
	d := delegation{zone: domain, parent: suffix, cut: suffix}
	servers, deaf := r.begin(ctx, &d)
	if d.deaf = deaf; deaf {
		return d
	}
	for range steps {
		m := r.askAny(ctx, servers, question{name: r.base, typ: dns.TypeSOA})
		if m == nil {
			break
		}
		if cut, names := referral(m, d.cut, r.base); cut != "" {
			d.parent, d.cut, d.zone, d.names = d.cut, cut, cut, names
			d.servers = r.locate(ctx, m, d.parent, names)
			servers = d.servers
			continue
		}
		r.settle(ctx, &d, m, servers, domain)
		return d
	}
	// The servers of the last zone do not answer. Resolvers may know more.
	if within(d.cut, domain) {
		d.zone = d.cut
	} else if m, outcome := r.resolve(ctx, question{name: domain, typ: dns.TypeSOA}); outcome == "" && m.Rcode == dns.RcodeNameError {
		d.unregistered = true
		return d
	}
	if zone := r.zoneOf(ctx, r.base); zone != "" && within(zone, d.zone) {
		d.zone, d.sure = zone, true
	}
	if len(d.servers) == 0 {
		d.names = r.namesOf(ctx, d.zone)
		d.servers = r.locate(ctx, nil, ".", d.names)
	}
	return d
}

// begin returns the name servers of the registry's zone. If no resolver knows
// them, it tries the zones above.
func (r *run) begin(ctx context.Context, d *delegation) (_ []nameserver, deaf bool) {
	for {
		m, outcome := r.resolve(ctx, question{name: d.cut, typ: dns.TypeNS})
		deaf = outcome != "" && outcome != ServFail
		if outcome == "" {
			f := read(m, d.cut, dns.TypeNS)
			if names := nsNames(f.rrs); len(names) > 0 {
				return r.locate(ctx, nil, ".", names[:min(len(names), few)]), false
			}
		}
		if d.cut == "." || ctx.Err() != nil || deaf {
			return nil, deaf
		}
		d.cut = above(d.cut)
	}
}

// settle reads the answer of a server that has the zone, or says that the domain
// does not exist.
func (r *run) settle(ctx context.Context, d *delegation, m *dns.Msg, servers []nameserver, domain string) {
	zone := soaOwner(m, d.cut, r.base)
	if zone == "" && len(m.Answer) > 0 {
		// The host is a CNAME. The SOA record of the name above it names the zone.
		if m := r.askAny(ctx, servers, question{name: above(r.base), typ: dns.TypeSOA}); m != nil {
			zone = soaOwner(m, d.cut, r.base)
		}
	}
	if zone == "" {
		zone = d.cut
	}
	if m.Rcode == dns.RcodeNameError {
		// Some zones hand out the names below them, as github.io does.
		if own, err := publicsuffix.EffectiveTLDPlusOne(r.base); err == nil && !within(zone, own) {
			domain = own
		}
	}
	if within(zone, domain) {
		d.zone, d.sure = zone, true
		if len(d.servers) == 0 { // the registry's servers have the zone too
			d.names = nil
			d.servers = servers
		}
		return
	}
	d.zone, d.parent = domain, zone
	d.unregistered = m.Rcode == dns.RcodeNameError
	d.undelegated = !d.unregistered
	d.servers, d.names = nil, nil
}

// soaOwner returns the owner of the SOA record in an answer, if it is the zone of
// the host and not above cut.
func soaOwner(m *dns.Msg, cut, host string) string {
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		if soa, ok := rr.(*dns.SOA); ok {
			if owner := plain(soa.Hdr.Name); within(owner, cut) && within(host, owner) {
				return owner
			}
		}
	}
	return ""
}

// referral returns the zone to which a server of the zone cut refers, and the
// names of its servers (RFC 1034, section 4.3.2).
func referral(m *dns.Msg, cut, host string) (zone string, names []string) {
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) > 0 {
		return "", nil
	}
	var rrs []dns.RR
	for _, rr := range m.Ns {
		ns, ok := rr.(*dns.NS)
		if !ok {
			continue
		}
		owner := plain(ns.Hdr.Name)
		if owner == cut || !within(owner, cut) || !within(host, owner) || zone != "" && owner != zone {
			continue
		}
		zone = owner
		rrs = append(rrs, ns)
	}
	return zone, nsNames(rrs)
}

// nsNames returns the names in NS records, sorted.
func nsNames(rrs []dns.RR) []string {
	var names []string
	for _, rr := range rrs {
		if ns, ok := rr.(*dns.NS); ok {
			names = append(names, plain(ns.Ns))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// locate finds an address for each of the name servers. It believes the
// addresses in a referral if they are below the zone that refers.
func (r *run) locate(ctx context.Context, m *dns.Msg, zone string, names []string) []nameserver {
	servers := make([]nameserver, min(len(names), maxServers))
	var wg sync.WaitGroup
	for i := range servers {
		servers[i].name = names[i]
		wg.Go(func() {
			var glue []netip.Addr
			if m != nil && within(names[i], zone) {
				glue = addresses(owned(m.Extra, names[i]))
			}
			if len(glue) == 0 {
				glue = r.addressesOf(ctx, names[i])
			}
			servers[i].address, servers[i].outcome = r.choose(glue)
		})
	}
	wg.Wait()
	return servers
}

// owned returns the records of a name.
func owned(rrs []dns.RR, name string) []dns.RR {
	return slices.DeleteFunc(slices.Clone(rrs), func(rr dns.RR) bool { return plain(rr.Header().Name) != name })
}

// choose returns the address at which to ask a name server: an IPv4 address if
// it has one, and only one that may be asked.
func (r *run) choose(all []netip.Addr) (netip.AddrPort, Outcome) {
	const port = 53
	outcome := NoAddress
	for _, a := range all { // IPv4 is sorted first
		if to, ok := r.checker.config.Reach[a]; ok {
			return to, ""
		}
		allowed := slices.ContainsFunc(r.checker.config.Allowed, func(n netip.Prefix) bool { return n.Contains(a) })
		if allowed || network.Public(a) {
			return netip.AddrPortFrom(a, port), ""
		}
		outcome = NotPublic
	}
	return netip.AddrPort{}, outcome
}

// askAny asks a few servers at the same time and returns the first answer
// that says something.
func (r *run) askAny(ctx context.Context, servers []nameserver, q question) *dns.Msg {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan *dns.Msg, few)
	asked := 0
	for _, s := range servers {
		if s.outcome != "" || asked == few {
			continue
		}
		asked++
		go func() {
			m, outcome := r.ask(ctx, s.address, q)
			if outcome != "" || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
				m = nil
			} else if cut, _ := referral(m, ".", q.name); cut == "" && !m.Authoritative {
				m = nil
			}
			answers <- m
		}()
	}
	for range asked {
		if m := <-answers; m != nil {
			return m
		}
	}
	return nil
}

// resolve asks the resolvers one after another until one answers.
func (r *run) resolve(ctx context.Context, q question) (*dns.Msg, Outcome) {
	q.recurse = true
	last := Unreachable
	for _, resolver := range r.checker.resolvers {
		if r.silent(resolver) {
			continue
		}
		m, outcome := r.ask(ctx, resolver, q)
		switch {
		case outcome == TimedOut, outcome == Unreachable:
			r.quiet(resolver)
		case outcome == "" && (m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError):
			return m, ""
		case outcome == "":
			outcome = read(m, q.name, q.typ).outcome
		}
		if last != ServFail {
			last = outcome
		}
	}
	return nil, last
}

// addressesOf returns the IPv4 addresses of a name, as the resolvers know them,
// or its IPv6 addresses if it has no others.
func (r *run) addressesOf(ctx context.Context, name string) []netip.Addr {
	var all []netip.Addr
	for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
		m, outcome := r.resolve(ctx, question{name: name, typ: typ})
		if outcome == "" {
			all = append(all, addresses(read(m, name, typ).rrs)...)
		}
		if len(all) > 0 {
			break
		}
	}
	return all
}

// namesOf returns the name servers of a zone, as the resolvers know them.
func (r *run) namesOf(ctx context.Context, zone string) []string {
	m, outcome := r.resolve(ctx, question{name: zone, typ: dns.TypeNS})
	if outcome != "" {
		return nil
	}
	return nsNames(read(m, zone, dns.TypeNS).rrs)
}

// zoneOf returns the zone of a host, as the resolvers know it.
func (r *run) zoneOf(ctx context.Context, host string) string {
	for _, name := range []string{host, above(host)} {
		if m, outcome := r.resolve(ctx, question{name: name, typ: dns.TypeSOA}); outcome == "" {
			if zone := soaOwner(m, ".", host); zone != "" {
				return zone
			}
		}
	}
	return ""
}
