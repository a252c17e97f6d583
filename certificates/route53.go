//go:build !noaws

package certificates

import "github.com/libdns/route53"

// Route53 returns a DNS that changes zones of Route 53. zone is the id of a
// hosted zone; "" means that it is found by its name. profile may be empty.
func Route53(region, profile, zone string) *DNS {
	return &DNS{provider: &route53.Provider{Region: region, Profile: profile, HostedZoneID: zone, WaitForRoute53Sync: true}}
}
