package main

import (
	"slices"
	"testing"
)

// CAA records of custom domains must allow the authority that issues their
// certificates.
func TestIssuers(t *testing.T) {
	t.Parallel()
	for cloud, want := range map[string]string{"local": "letsencrypt.org", "aws": "amazon.com"} {
		c := config{Cloud: cloud}
		c.TLS.ACMEDirectory = "https://acme-v02.api.letsencrypt.org/directory"
		if got := c.issuers(); !slices.Contains(got, want) || slices.Contains(got, "letsencrypt.org") != (cloud == "local") {
			t.Errorf("the issuers of TROY_CLOUD=%s are %v, expected %s", cloud, got, want)
		}
	}
}
