package localcloud_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/site"
)

// TestCustomHosts lists custom hosts with those whose site is gone, and removes
// one. Detaching a host tells the edge that its certificate can go, where the edge
// has certificates.
func TestCustomHosts(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	layout := site.Layout{Root: root}
	box := open(t, root, 0)
	d, err := box.CDN.Create(t.Context(), "one", "blog.sites.test")
	if err != nil {
		t.Fatal(err)
	}
	attach := func(host string) {
		t.Helper()
		if err := box.Domains.Attach(t.Context(), d.ID, cloud.CustomHost{Host: host}); err != nil {
			t.Fatal(err)
		}
	}
	gone := func(host string) bool {
		_, err := os.Stat(layout.CertificateGone(host))
		return err == nil
	}
	attach("a.example.com")
	attach("*.example.com")
	attach("b.example.com")
	for _, again := range []bool{false, true} {
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(layout.Record("b.example.com"), old, old); err != nil {
			t.Fatal(err)
		}
		if err := box.Domains.Attach(t.Context(), d.ID, cloud.CustomHost{Host: "b.example.com", Again: again}); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(layout.Record("b.example.com")); err != nil || info.ModTime().After(old) != again {
			t.Errorf("attached again (%t), the record is of %v, %v", again, info, err)
		}
	}
	lost := site.Record{Host: "lost.example.com", Target: site.DistributionDomain("d00000000000000000000"), Custom: true}
	if err := files.WriteJSON(filepath.Join(root, "tmp"), layout.Record(lost.Host), lost); err != nil {
		t.Fatal(err)
	}
	list := func() string {
		t.Helper()
		hosts, err := localcloud.CustomHosts(root)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, h := range hosts {
			name := h.Host
			if h.Lost {
				name += "!"
				if err := localcloud.DiscardCustom(root, h); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, name)
		}
		return strings.Join(all, " ")
	}
	if got, want := list(), "*.example.com a.example.com b.example.com lost.example.com!"; got != want {
		t.Errorf("the custom hosts are %q; expected %q", got, want)
	}
	if got, want := list(), "*.example.com a.example.com b.example.com"; got != want {
		t.Errorf("afterwards they are %q; expected %q", got, want)
	}

	detach := func(host string) {
		t.Helper()
		if err := box.Domains.Detach(t.Context(), d.ID, host); err != nil {
			t.Fatal(err)
		}
	}
	detach("a.example.com")
	if gone("a.example.com") {
		t.Error("there is a note for an edge that has no certificates")
	}
	if err := os.MkdirAll(layout.Certificates(), 0o755); err != nil {
		t.Fatal(err)
	}
	detach("*.example.com")
	if !gone("*.example.com") || gone("b.example.com") {
		t.Errorf("notes: %t, and of a host that is served %t", gone("*.example.com"), gone("b.example.com"))
	}
}
