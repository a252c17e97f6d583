package site_test

import (
	"testing"

	"github.com/troy-iaas/troy/site"
)

func TestPreviewHosts(t *testing.T) {
	t.Parallel()
	hosts := site.PreviewHosts{Suffix: "previews.test", Sites: "sites.test"}
	for host, want := range map[string][2]string{
		"pr-1--blog.previews.test":      {"pr-1", "blog.sites.test"},
		"d-12--my-blog.previews.test":   {"d-12", "my-blog.sites.test"},
		"a--b--c.previews.test":         {"a", "b--c.sites.test"}, // no site has that slug
		"a---b.previews.test":           {"a", "-b.sites.test"},   // nor that one
		"blog.previews.test":            {},
		"--blog.previews.test":          {},
		"a--.previews.test":             {},
		"pr-1--blog.sites.test":         {},
		"x.pr-1--blog.previews.test":    {},
		"pr-1--blog.previews.test.evil": {},
		"previews.test":                 {},
	} {
		label, siteHost, ok := hosts.Split(host)
		if got := [2]string{label, siteHost}; got != want || ok != (want[0] != "") {
			t.Errorf("Split(%q) is %q, %v, want %q", host, got, ok, want)
		}
	}
	if _, _, ok := (site.PreviewHosts{Sites: "sites.test"}).Split("pr-1--blog.sites.test"); ok {
		t.Error("without a suffix a host is a preview's")
	}
	if got := site.PreviewHost("pr-1", "blog", "previews.test"); got != "pr-1--blog.previews.test" {
		t.Errorf("PreviewHost is %q", got)
	}
}
