package network

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the networks of the proxies whose X-Forwarded-For is believed.
type Proxies []netip.Prefix

// Loopback returns the default: only a process of the same machine connects from
// there.
func Loopback() Proxies {
	return Proxies{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// Contain reports whether an address is a proxy's.
func (p Proxies) Contain(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

// Client returns the address of the client that made a request: the peer, or
// behind trusted proxies the last address in X-Forwarded-For that is not a
// trusted proxy. Clients can prepend any address to that header, but each proxy
// appends the one that it saw. The result is invalid if a trusted proxy sent
// something else than an address.
func (p Proxies) Client(r *http.Request) netip.Addr {
	return p.Origin(parseAddr(r.RemoteAddr), r.Header["X-Forwarded-For"])
}

// Name returns Client as text, or the peer if Client is invalid.
func (p Proxies) Name(r *http.Request) string {
	addr := p.Client(r)
	if !addr.IsValid() {
		addr = parseAddr(r.RemoteAddr)
	}
	if !addr.IsValid() {
		return r.RemoteAddr
	}
	return addr.String()
}

// Origin is Client for a peer and its X-Forwarded-For lines.
func (p Proxies) Origin(addr netip.Addr, lines []string) netip.Addr {
	if !p.Contain(addr) {
		return addr
	}
	for i := len(lines) - 1; i >= 0; i-- {
		rest := lines[i]
		for more := true; more; {
			var last string
			if cut := strings.LastIndexByte(rest, ','); cut >= 0 {
				rest, last = rest[:cut], rest[cut+1:]
			} else {
				last, more = rest, false
			}
			if addr = parseAddr(strings.TrimSpace(last)); !addr.IsValid() || !p.Contain(addr) {
				return addr
			}
		}
	}
	return addr
}

// parseAddr parses an address with or without a port.
func parseAddr(text string) netip.Addr {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		host, _, err := net.SplitHostPort(text)
		if err != nil {
			return netip.Addr{}
		}
		if addr, err = netip.ParseAddr(host); err != nil {
			return netip.Addr{}
		}
	}
	return addr.Unmap().WithZone("")
}

// Subscriber returns the network that one client can have all addresses of: an
// IPv4 address, or an IPv6 network of 64 bits (RFC 6177).
func Subscriber(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	n, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return n
}
