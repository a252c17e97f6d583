//go:build !faults

package main

import (
	"context"
	"errors"
	"net/netip"

	"github.com/troy-iaas/troy/cloud"
)

// withFaults refuses a script of faults: only a troyd built for tests supports
// them.
func withFaults(c cloud.Cloud, script string) (cloud.Cloud, error) {
	if script != "" {
		return c, errors.New("this troyd was built without -tags faults")
	}
	return c, nil
}

// snsCertificate refuses a certificate file: only a troyd built for tests reads
// one.
func snsCertificate(cfg config) (func(context.Context, string) ([]byte, error), error) {
	if cfg.SNSCertFile != "" {
		return nil, errors.New("TROY_SNS_CERT_FILE: this troyd was built without -tags faults")
	}
	return nil, nil
}

// dnsReach refuses other addresses of name servers: only a troyd built for tests
// uses them.
func dnsReach(pairs []string) (map[netip.Addr]netip.AddrPort, error) {
	if len(pairs) > 0 {
		return nil, errors.New("TROY_DNS_REACH: this troyd was built without -tags faults")
	}
	return nil, nil
}
