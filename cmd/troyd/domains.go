package main

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"

	"github.com/troy-iaas/troy/dnscheck"
	"github.com/troy-iaas/troy/site"
)

// edgeAddresses returns the addresses of TROY_EDGE_ADDRESSES, to which A and
// AAAA records of custom domains point.
func (c config) edgeAddresses() ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range c.EdgeAddresses {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" || a.IsUnspecified() {
			return nil, fmt.Errorf("%q is not an IP address", text)
		}
		out = append(out, a.Unmap())
	}
	return out, nil
}

// dns returns what asks DNS about custom domains.
func (c config) dns() (*dnscheck.Checker, error) {
	reach, err := dnsReach(c.DNSReach)
	if err != nil {
		return nil, err
	}
	return dnscheck.New(dnscheck.Config{Resolvers: c.DNSResolvers, Reach: reach})
}

// ownHosts returns Troy's own hosts.
func (c config) ownHosts() []string {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil
	}
	own, err := site.NormalizeHost(u.Hostname())
	if err != nil {
		return nil
	}
	return []string{own}
}

// issuers returns the names in CAA records of the authority that issues the
// certificates, or nil if they are not known.
func (c config) issuers() []string {
	if c.onAWS() {
		// docs.aws.amazon.com/acm/latest/userguide/setup-caa.html
		return []string{"amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com"}
	}
	u, err := url.Parse(c.TLS.ACMEDirectory)
	if err != nil || !below(u.Hostname(), "letsencrypt.org") {
		return nil
	}
	return []string{"letsencrypt.org"} // letsencrypt.org/docs/caa
}

// domainProof reports whether DNS has the challenge of a custom domain.
func domainProof(checker *dnscheck.Checker) func(ctx context.Context, host, challenge string) (bool, error) {
	return func(ctx context.Context, host, challenge string) (bool, error) {
		report, err := checker.Check(ctx, dnscheck.Wanted{Host: host, Challenge: challenge})
		return report.Proven, err
	}
}
