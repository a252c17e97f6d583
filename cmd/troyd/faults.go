//go:build faults

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/faulty"
)

// withFaults makes the cloud's calls fail according to the script TROY_FAULTS.
func withFaults(c cloud.Cloud, script string) (cloud.Cloud, error) {
	if script == "" {
		return c, nil
	}
	return faulty.New(c, script)
}

// snsCertificate reads SNS's certificate from TROY_SNS_CERT_FILE instead of
// fetching it.
func snsCertificate(cfg config) (func(context.Context, string) ([]byte, error), error) {
	if cfg.SNSCertFile == "" {
		return nil, nil
	}
	return func(context.Context, string) ([]byte, error) { return os.ReadFile(cfg.SNSCertFile) }, nil
}

// dnsReach reads TROY_DNS_REACH: where the name servers of a test's Internet
// listen.
func dnsReach(pairs []string) (map[netip.Addr]netip.AddrPort, error) {
	reach := map[netip.Addr]netip.AddrPort{}
	for _, pair := range pairs {
		public, at, _ := strings.Cut(pair, "=")
		server, err := netip.ParseAddr(public)
		if err != nil {
			return nil, fmt.Errorf("TROY_DNS_REACH: %w", err)
		}
		if reach[server], err = netip.ParseAddrPort(at); err != nil {
			return nil, fmt.Errorf("TROY_DNS_REACH: %w", err)
		}
	}
	return reach, nil
}
