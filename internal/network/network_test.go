package network_test

import (
	"net/netip"
	"testing"

	"github.com/troy-iaas/troy/internal/network"
)

func TestPublic(t *testing.T) {
	t.Parallel()
	for address, public := range map[string]bool{
		"8.8.8.8": true, "140.82.121.4": true, "2606:4700::6810:85e5": true, "192.0.1.1": true, "198.20.0.1": true, "168.63.129.17": true,
		"0.0.0.0": false, "10.1.2.3": false, "100.100.100.200": false, "127.0.0.1": false, "168.63.129.16": false, "169.254.169.254": false,
		"172.31.255.255": false, "192.0.0.192": false, "192.168.1.1": false, "198.18.0.1": false, "198.19.255.255": false, "224.0.0.1": false,
		"240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:8.8.8.8": true, "::7f00:1": false, "64:ff9b::a9fe:a9fe": false,
		"64:ff9b:1::1": false, "2001::1": false, "2002:7f00:1::": false, "fd00:ec2::254": false, "fe80::1%eth0": false, "ff02::1": false,
	} {
		if got := network.Public(netip.MustParseAddr(address)); got != public {
			t.Errorf("Public(%s) = %v, want %v", address, got, public)
		}
	}
	if network.Public(netip.Addr{}) {
		t.Error("the zero address is public")
	}
}
