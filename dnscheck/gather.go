package dnscheck

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// run is one check.
type run struct {
	checker *Checker
	wanted  Wanted
	// base is the host without "*.".
	base    string
	asked   atomic.Int64
	limited atomic.Bool

	mu  sync.Mutex
	not map[netip.AddrPort]bool // resolvers that did not answer
}

// silent reports whether a resolver did not answer an earlier question.
func (r *run) silent(resolver netip.AddrPort) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.not[resolver]
}

func (r *run) quiet(resolver netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.not[resolver] = true
}

// view is what one server says about the host.
type view struct {
	server  string
	address netip.AddrPort
	// outcome is that of the question for A records, or why it was not asked.
	outcome Outcome
	a, aaaa found
	again   found // A once more
	https   found
	proof   found
	records []found // for Wanted.Records
	bogus   bool    // a resolver that answers only without validation
	why     int     // see found
}

// answered reports whether the server told about the host.
func (v view) answered() bool {
	return v.a.ok() || v.a.outcome == ChainLoop || v.a.outcome == ChainTooBig
}

// facts are what a check learnt. Everything in a report follows from them.
type facts struct {
	wanted   Wanted
	base     string
	wildcard bool
	at       time.Time
	d        delegation
	own      []string // the name servers that the zone itself names
	provider Provider
	auth     []view
	public   []view
	// expected are the addresses that are right.
	expected []netip.Addr
	// tails are the ends of chains that leave the zone.
	tails map[string]tail
	caa   []caaSet
	// appended and appendedProof are names that have a record because a form has
	// appended the zone to the whole name. They are empty if there is none.
	appended, appendedProof string
	// sibling is the answer about a name that surely has no records.
	sibling  found
	limited  bool
	timedOut bool
}

// tail is what resolvers say about the end of a chain.
type tail struct {
	names     []string // further names of the chain
	addresses []netip.Addr
	outcome   Outcome
}

// gather asks all questions of a check.
func (r *run) gather(ctx context.Context) facts {
	f := facts{wanted: r.wanted, base: r.base, wildcard: r.base != r.wanted.Host, tails: map[string]tail{}}
	f.d = r.walk(ctx)
	if !f.d.unregistered && !f.d.undelegated && !f.d.deaf {
		f.auth = make([]view, len(f.d.servers))
	}
	f.public = make([]view, len(r.checker.resolvers))
	var wg sync.WaitGroup
	for i := range f.auth {
		wg.Go(func() { f.auth[i] = r.askServer(ctx, f.d.servers[i]) })
	}
	for i, resolver := range r.checker.resolvers {
		wg.Go(func() { f.public[i] = r.askResolver(ctx, resolver) })
	}
	wg.Go(func() { f.expected = r.expect(ctx) })
	wg.Wait()
	if len(f.auth) > 0 || len(f.good(f.public)) > 0 {
		r.ends(ctx, &f)
		r.details(ctx, &f)
	}
	names := f.d.names
	if len(names) == 0 {
		names = f.own
	}
	f.provider = recognise(names)
	f.limited = r.limited.Load()
	f.timedOut = ctx.Err() != nil
	return f
}

// good returns the views of servers that answered.
func (f *facts) good(views []view) []view {
	return slices.DeleteFunc(slices.Clone(views), func(v view) bool { return !v.answered() })
}

// askServer asks a name server of the zone.
func (r *run) askServer(ctx context.Context, s nameserver) view {
	v := view{server: s.name, address: s.address, outcome: s.outcome, why: -1}
	if s.outcome != "" {
		return v
	}
	ask := func(name string, typ uint16) found {
		m, outcome := r.ask(ctx, s.address, question{name: name, typ: typ})
		if outcome != "" {
			return found{outcome: outcome, last: name}
		}
		f := read(m, name, typ)
		if f.ok() && !f.authoritative {
			f.outcome = Lame
		}
		return f
	}
	r.fill(&v, ask)
	if v.answered() {
		v.again = ask(r.wanted.Host, dns.TypeA)
	}
	return v
}

// askResolver asks a resolver.
func (r *run) askResolver(ctx context.Context, resolver netip.AddrPort) view {
	v := view{server: resolverName(resolver), address: resolver, why: -1}
	ask := func(name string, typ uint16) found {
		if r.silent(resolver) {
			return found{outcome: TimedOut, last: name, why: -1}
		}
		m, outcome := r.ask(ctx, resolver, question{name: name, typ: typ, recurse: true})
		if outcome != "" {
			return found{outcome: outcome, last: name, why: -1}
		}
		return read(m, name, typ)
	}
	r.fill(&v, ask)
	if v.a.outcome == ServFail {
		v.why = v.a.why
		m, outcome := r.ask(ctx, resolver, question{name: r.wanted.Host, typ: dns.TypeA, recurse: true, unchecked: true})
		v.bogus = outcome == "" && read(m, r.wanted.Host, dns.TypeA).ok()
	}
	return v
}

// resolverName returns a resolver's address, with the port if it is not usual.
func resolverName(resolver netip.AddrPort) string {
	if resolver.Port() == 53 {
		return resolver.Addr().String()
	}
	return resolver.String()
}

// fill asks the questions that all servers are asked. A server that fails at the
// first is not asked the others.
func (r *run) fill(v *view, ask func(name string, typ uint16) found) {
	host := r.wanted.Host
	v.a = ask(host, dns.TypeA)
	v.outcome = v.a.outcome
	if !v.answered() {
		return
	}
	v.aaaa = ask(host, dns.TypeAAAA)
	v.https = ask(host, dns.TypeHTTPS)
	if r.wanted.Challenge != "" {
		v.proof = ask(challengePrefix+r.base, dns.TypeTXT)
	}
	v.records = make([]found, min(len(r.wanted.Records), maxWantedRecords))
	for i := range v.records {
		v.records[i] = ask(plain(r.wanted.Records[i].Name), dns.StringToType[r.wanted.Records[i].Type])
	}
}

// expect returns the addresses that are right: the fixed ones, and those that the
// target has now.
func (r *run) expect(ctx context.Context) []netip.Addr {
	all := slices.Clone(r.wanted.Addresses)
	if r.wanted.Target != "" {
		for _, resolver := range r.checker.resolvers[:min(2, len(r.checker.resolvers))] {
			for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
				if r.silent(resolver) {
					continue
				}
				m, outcome := r.ask(ctx, resolver, question{name: r.wanted.Target, typ: typ, recurse: true})
				if outcome == "" {
					all = append(all, addresses(read(m, r.wanted.Target, typ).rrs)...)
				}
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// ends looks up where the chains lead that leave the zone and do not lead to the
// target.
func (r *run) ends(ctx context.Context, f *facts) {
	const few = 2
	for _, v := range f.good(f.auth) {
		if len(v.a.chain) == 0 || len(f.tails) == few || v.a.outcome == ChainLoop || v.a.outcome == ChainTooBig {
			continue
		}
		last := v.a.last
		if _, known := f.tails[last]; known || len(v.a.rrs) > 0 || slices.Contains(v.a.names(), r.wanted.Target) {
			continue
		}
		f.tails[last] = r.end(ctx, v.a.chain[0].Hdr.Name, last)
	}
}

// end looks up where a name leads.
func (r *run) end(ctx context.Context, host, name string) tail {
	t := tail{outcome: NoData}
	for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
		m, outcome := r.resolve(ctx, question{name: name, typ: typ})
		if outcome != "" {
			return r.trace(ctx, host, name)
		}
		a := read(m, name, typ)
		if a.outcome == ChainLoop || a.outcome == ChainTooBig {
			return r.trace(ctx, host, name)
		}
		t.names = a.names()
		t.addresses = append(t.addresses, addresses(a.rrs)...)
		if t.outcome != Answered {
			t.outcome = a.outcome
		}
	}
	return t
}

// trace follows a chain that resolvers fail to resolve, to find why.
func (r *run) trace(ctx context.Context, host, name string) tail {
	t := tail{outcome: ServFail}
	seen := map[string]bool{plain(host): true, name: true}
	for range maxChain {
		m, outcome := r.resolve(ctx, question{name: name, typ: dns.TypeCNAME})
		if outcome != "" {
			t.outcome = cmp.Or(outcome, t.outcome)
			return t
		}
		a := read(m, name, dns.TypeCNAME)
		if len(a.rrs) == 0 {
			return t
		}
		name = plain(a.rrs[0].(*dns.CNAME).Target)
		t.names = append(t.names, name)
		if seen[name] {
			t.outcome = ChainLoop
			return t
		}
		seen[name] = true
	}
	t.outcome = ChainTooBig
	return t
}

// details asks what needs the answers of the name servers: the records beside a
// CNAME, the zone's own NS records, a name beside the host, and CAA.
func (r *run) details(ctx context.Context, f *facts) {
	good := f.good(f.auth)
	if len(good) > 0 {
		server := good[0].address
		ask := func(name string, typ uint16) found {
			m, outcome := r.ask(ctx, server, question{name: name, typ: typ})
			if outcome != "" {
				return found{outcome: outcome, last: name}
			}
			return read(m, name, typ)
		}
		f.own = nsNames(ask(f.d.zone, dns.TypeNS).rrs)
		if len(good[0].a.chain) > 0 && r.base != f.d.zone {
			for _, typ := range []uint16{dns.TypeMX, dns.TypeTXT} {
				for _, t := range ask(r.wanted.Host, typ).beside {
					if !slices.Contains(f.auth[0].a.beside, t) {
						f.beside(server, t)
					}
				}
			}
		}
		if !f.wildcard && r.base != f.d.zone && (len(good[0].a.chain) > 0 || len(good[0].a.rrs) > 0) {
			f.sibling = ask(siblingLabel+"."+above(r.base), dns.TypeA)
		}
	}
	if len(good) > 0 {
		r.askAppended(ctx, f, good[0])
	}
	if len(r.wanted.Issuers) > 0 {
		f.caa = r.climb(ctx, f)
	}
}

// beside notes that a server has records of a type beside a CNAME.
func (f *facts) beside(server netip.AddrPort, typ string) {
	for i := range f.auth {
		if f.auth[i].address == server && !slices.Contains(f.auth[i].a.beside, typ) {
			f.auth[i].a.beside = append(f.auth[i].a.beside, typ)
		}
	}
}

// askAppended looks for records of the host and of the proof whose name a form
// has appended the zone to, such as www.example.com.example.com.
func (r *run) askAppended(ctx context.Context, f *facts, v view) {
	ask := func(name string, typ uint16) string {
		m, outcome := r.ask(ctx, v.address, question{name: name, typ: typ})
		if outcome != "" || len(name) > 253 {
			return ""
		}
		if a := read(m, name, typ); len(a.rrs) == 0 && len(a.chain) == 0 {
			return ""
		}
		return name
	}
	if v.a.outcome == NXDomain || v.a.outcome == NoData && v.aaaa.outcome != Answered {
		f.appended = ask(r.wanted.Host+"."+f.d.zone, dns.TypeA)
	}
	if r.wanted.Challenge != "" && len(v.proof.rrs) == 0 {
		f.appendedProof = ask(challengePrefix+r.base+"."+f.d.zone, dns.TypeTXT)
	}
}
