package awscloud_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/cloud/cloudtest"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// TestProtectNeedsTheFunction protects a site whose function is of a version
// that would show it to everyone.
func TestProtectNeedsTheFunction(t *testing.T) {
	t.Parallel()
	h := newRuledHost(t, newAccount(t, s3test.Start(t), awsdouble.Config{}), secretHost)
	p := site.Protection{Sequence: 1, Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	for name := range h.double.Functions() {
		if strings.Contains(name, "-request-") {
			h.double.SetFunction(name, "Troy v5: earlier", "function handler(e) { return e.request; }")
		}
	}
	protector := h.cloud.CDN.(cloud.Protector)
	if err := protector.Protect(t.Context(), h.d.ID, p); err == nil || !strings.Contains(err.Error(), "would show the site to everyone") {
		t.Errorf("with an earlier function: %v", err)
	}
	if err := protector.Protect(t.Context(), h.d.ID, site.Protection{}); err != nil {
		t.Errorf("off: %v", err)
	}
	h.upkeep(t)
	h.protect(t, p)
	// The functions can't ask for a session of the dashboard.
	if err := protector.Protect(t.Context(), h.d.ID, site.Protection{Sequence: 9, PreviewKey: make([]byte, site.MinKey)}); troy.KindOf(err) != troy.Conflict || !strings.Contains(err.Error(), "session of the dashboard") {
		t.Errorf("previews for people who are signed in: %v", err)
	}
	// Without Troy's address no visitor could type a password.
	cfg := h.cfg
	cfg.SignIn = ""
	v := cloudtest.NewVisitors(session, lifetime)
	if err := awscloud.NewCDN(h.loaded, cfg).Protect(t.Context(), h.d.ID, v.Protection(cloudtest.AccessCase{Passwords: true}, 2)); err == nil || !strings.Contains(err.Error(), "TROY_URL") {
		t.Errorf("without an address: %v", err)
	}
}

// TestMovedAddress changes Troy's address. The upkeep publishes it.
func TestMovedAddress(t *testing.T) {
	t.Parallel()
	h, _ := secretSite(t, awsdouble.Config{}, rules.Input{})
	h.cfg.SignIn = "https://elsewhere.example/"
	h.upkeep(t)
	if got := h.visit("/").Header().Get("Location"); !strings.HasPrefix(got, "https://elsewhere.example/access/"+secretHost+"?ask=") {
		t.Errorf("browsers are sent to %s", got)
	}
}
