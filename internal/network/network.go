// Package network distinguishes public Internet addresses from those of a
// machine, its neighbours and its cloud. It restricts where untrusted code and
// untrusted addresses may connect: builds, submodules and LFS servers.
package network

import (
	"net/netip"
	"slices"
)

// special are the networks without public servers: IANA's special-purpose
// registries (RFC 6890, iana.org/assignments/iana-ipv4-special-registry and
// -ipv6-special-registry), multicast, and the networks that map IPv6 to IPv4
// addresses. The documentation networks of RFC 5737 are not included: they have
// nothing to protect, and test labs use them as their Internet.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),         // this network
	netip.MustParsePrefix("10.0.0.0/8"),        // RFC 1918
	netip.MustParsePrefix("100.64.0.0/10"),     // RFC 6598, with Alibaba's metadata
	netip.MustParsePrefix("127.0.0.0/8"),       // loopback
	netip.MustParsePrefix("168.63.129.16/32"),  // Azure's host
	netip.MustParsePrefix("169.254.0.0/16"),    // link-local, with most clouds' metadata
	netip.MustParsePrefix("172.16.0.0/12"),     // RFC 1918
	netip.MustParsePrefix("192.0.0.0/24"),      // RFC 6890, with Oracle's metadata
	netip.MustParsePrefix("192.31.196.0/24"),   // AS112
	netip.MustParsePrefix("192.52.193.0/24"),   // AMT
	netip.MustParsePrefix("192.88.99.0/24"),    // relays of 6to4
	netip.MustParsePrefix("192.168.0.0/16"),    // RFC 1918
	netip.MustParsePrefix("192.175.48.0/24"),   // AS112
	netip.MustParsePrefix("198.18.0.0/15"),     // benchmarks
	netip.MustParsePrefix("224.0.0.0/4"),       // multicast
	netip.MustParsePrefix("240.0.0.0/4"),       // reserved, and broadcast
	netip.MustParsePrefix("::/96"),             // unspecified, loopback, IPv4-compatible
	netip.MustParsePrefix("::ffff:0:0/96"),     // IPv4-mapped
	netip.MustParsePrefix("::ffff:0:0:0/96"),   // IPv4-translated
	netip.MustParsePrefix("64:ff9b::/96"),      // NAT64
	netip.MustParsePrefix("64:ff9b:1::/48"),    // NAT64 of one's own
	netip.MustParsePrefix("100::/64"),          // discarded
	netip.MustParsePrefix("100:0:0:1::/64"),    // dummies
	netip.MustParsePrefix("2001::/23"),         // IETF protocols, with Teredo
	netip.MustParsePrefix("2001:db8::/32"),     // documentation
	netip.MustParsePrefix("2002::/16"),         // 6to4
	netip.MustParsePrefix("2620:4f:8000::/48"), // AS112
	netip.MustParsePrefix("3fff::/20"),         // documentation
	netip.MustParsePrefix("5f00::/16"),         // segment routing
	netip.MustParsePrefix("fc00::/7"),          // unique local
	netip.MustParsePrefix("fe80::/10"),         // link-local
	netip.MustParsePrefix("fec0::/10"),         // site-local
	netip.MustParsePrefix("ff00::/8"),          // multicast
}

// Special returns the networks without public servers.
func Special() []netip.Prefix { return slices.Clone(special) }

// Public reports whether an address is a public Internet address.
func Public(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return ip.IsValid() && !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(ip) })
}
