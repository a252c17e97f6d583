package dnscheck

import (
	"net/netip"
	"slices"
	"strings"
)

// Provider is a company that runs name servers, and what its form for records
// accepts.
type Provider struct {
	// Name is the company's name, such as "Cloudflare". It is empty if the
	// provider is not known.
	Name string `json:"name"`
	// ApexType is the type of record that lets the apex follow a host name:
	// ALIAS, ANAME, or CNAME where the provider flattens it. It is empty if the
	// provider has none for hosts of others, or is not known.
	ApexType string `json:"apex_type"`
	// Hint is a sentence about the provider's form. It may be empty.
	Hint string `json:"hint"`
}

const route53 = "Amazon Route 53"

// The hints that several providers share.
const (
	atSign = "Enter @ as the name of the domain itself."
	dot    = "Enter a host as the value with a dot at its end; without it, the form appends the domain."
	blank  = "Leave the name empty for the domain itself."
)

// provider is a Provider with the ends of its name servers' names. An end that
// begins with a dot is a whole label.
type provider struct {
	Provider
	servers []string
}

// providers lists what the companies document. Those with ApexType accept it for
// any target (compare the feature matrix of dnscontrol.org).
var providers = []provider{
	{Provider{"Cloudflare", "CNAME", "Set the proxy status of the record to “DNS only”. Cloudflare flattens a CNAME of the domain itself."}, []string{".ns.cloudflare.com", ".foundationdns.com", ".foundationdns.net", ".foundationdns.org"}},
	{Provider{route53, "", "Route 53 has alias records for the domain itself, but only with targets in AWS: choose the type A and switch on “Alias”. " + blank}, nil}, // see providerOf
	{Provider{"GoDaddy", "", atSign}, []string{".domaincontrol.com"}},
	{Provider{"Namecheap", "ALIAS", atSign}, []string{".registrar-servers.com", ".namecheaphosting.com"}},
	{Provider{"Gandi", "ALIAS", atSign + " " + dot}, []string{".gandi.net"}},
	{Provider{"Hetzner", "", atSign + " " + dot}, []string{".ns.hetzner.com", ".ns.hetzner.de", ".first-ns.de", ".second-ns.de", ".second-ns.com"}},
	{Provider{"OVHcloud", "", blank + " " + dot}, []string{".ovh.net", ".ovh.ca", ".anycast.me"}},
	{Provider{"IONOS", "", atSign}, []string{".ui-dns.com", ".ui-dns.org", ".ui-dns.de", ".ui-dns.biz"}},
	// Squarespace took over the domains of Google Domains with their name servers.
	{Provider{"Google Cloud DNS or Squarespace", "ALIAS", ""}, []string{".googledomains.com", ".squarespacedns.com"}},
	{Provider{"Vercel", "ALIAS", blank}, []string{".vercel-dns.com"}},
	// Netlify's name servers are NS1's.
	{Provider{"Netlify or NS1", "ALIAS", ""}, []string{".nsone.net"}},
	{Provider{"DigitalOcean", "", atSign + " " + dot}, []string{".digitalocean.com"}},
	{Provider{"Azure DNS", "", "Azure has alias records for the domain itself, but only with targets in Azure. " + atSign}, nil}, // see providerOf
	{Provider{"DNSimple", "ALIAS", blank}, []string{".dnsimple.com", ".dnsimple-edge.net", ".dnsimple-edge.org", ".dnsimple-edge.io"}},
	{Provider{"Porkbun", "ALIAS", blank}, []string{".ns.porkbun.com"}},
	{Provider{"Name.com", "ANAME", blank}, []string{".name.com"}},
	{Provider{"TransIP", "ALIAS", atSign}, []string{".transip.net", ".transip.nl", ".transip.eu"}},
	{Provider{"INWX", "ALIAS", blank}, []string{".inwx.de", ".inwx.eu", ".inwx.com"}},
	{Provider{"bunny.net", "CNAME", blank}, []string{".bunny.net"}},
	{Provider{"Linode", "", blank}, []string{".linode.com"}},
	{Provider{"Vultr", "", blank}, []string{".vultr.com"}},
}

// recognise returns the provider of most of the name servers, or an empty
// Provider.
func recognise(servers []string) Provider {
	votes := map[string]int{}
	for _, s := range servers {
		if name := providerOf(s); name != "" {
			votes[name]++
		}
	}
	best := Provider{}
	for _, p := range providers { // in the list's order, so that a tie has one result
		if votes[p.Name] > votes[best.Name] && votes[p.Name]*2 > len(servers) {
			best = p.Provider
		}
	}
	return best
}

// providerOf returns the name of the provider that has a name server, or "".
func providerOf(server string) string {
	switch {
	case strings.Contains(server, ".awsdns-"): // ns-1234.awsdns-56.co.uk
		return route53
	case strings.Contains(server, ".azure-dns."): // ns1-01.azure-dns.com
		return "Azure DNS"
	}
	for _, p := range providers {
		if slices.ContainsFunc(p.servers, func(end string) bool { return strings.HasSuffix("."+server, end) }) {
			return p.Name
		}
	}
	return ""
}

// cloudflare are the networks of Cloudflare's proxy (www.cloudflare.com/ips, read
// in November 2026).
var cloudflare = prefixes(
	"173.245.48.0/20", "103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22", "141.101.64.0/18", "108.162.192.0/18",
	"190.93.240.0/20", "188.114.96.0/20", "197.234.240.0/22", "198.41.128.0/17", "162.158.0.0/15", "104.16.0.0/13",
	"104.24.0.0/14", "172.64.0.0/13", "131.0.72.0/22",
	"2400:cb00::/32", "2606:4700::/32", "2803:f800::/32", "2405:b500::/32", "2405:8100::/32", "2a06:98c0::/29", "2c0f:f248::/32",
)

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}
