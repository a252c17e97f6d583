package edge

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/site"
)

// attach makes the site serve a custom host.
func (h *hosted) attach(host, redirect string) {
	h.t.Helper()
	h.replaceJSON(h.layout.Record(host), site.Record{Host: host, Target: site.DistributionDomain(h.distribution), Custom: true, Redirect: redirect})
}

func TestCustomHosts(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	blog := b.provision("blog.sites.test")
	blog.publish(map[string]string{"index.html": "the blog"})
	blog.attach("blog.test", "")
	blog.attach("www.blog.test", "blog.test")
	blog.attach("*.blog.test", "")
	disabled := b.provision("disabled.sites.test")
	disabled.attach("disabled.test", "")
	disabled.attach("www.disabled.test", "disabled.test")
	disabled.setDistribution(false, disabled.host)
	protected := b.provision("protected.sites.test")
	protected.publish(map[string]string{"index.html": "secret"})
	protected.protect(site.Protection{Networks: networks("203.0.113.0/24")})
	protected.attach("protected.test", "")
	protected.attach("*.protected.test", "")

	for _, c := range []struct {
		host, target   string
		status         int
		text, location string
	}{
		{"blog.test", "/", 200, "the blog", ""},
		{"Blog.Test.:8081", "/", 200, "the blog", ""},
		{"www.blog.test", "/", 308, "", "//blog.test/"},
		{"www.blog.test:8081", "/a%2fb//c/?q=%41&x=<", 308, "", "//blog.test:8081/a%2fb//c/?q=%41&x=%3C"},
		{"www.blog.test", "//evil.test/x", 308, "", "//blog.test//evil.test/x"},
		{"a.blog.test", "/", 200, "the blog", ""},
		{"a.b.blog.test", "/", 404, "There is no site here", ""},
		{"_wildcard.blog.test", "/", 400, "malformed", ""},
		{"disabled.test", "/", 404, "There is no site here", ""},
		{"www.disabled.test", "/", 404, "There is no site here", ""},
		{"protected.test", "/", 403, "private", ""},
		{"a.protected.test", "/", 403, "private", ""},
	} {
		res := b.get(c.host, c.target)
		wantStatus(t, res, c.status)
		wantHeader(t, res, "Location", c.location)
		if got := content(t, res); !strings.Contains(got, c.text) {
			t.Errorf("%s: answered %q, want %q in it", c.host, got, c.text)
		}
	}
}

// TestAHostOfItsOwnBeatsTheWildcard changes who serves a host whose answers the
// edge could have kept.
func TestAHostOfItsOwnBeatsTheWildcard(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	wild := b.provision("wild.sites.test")
	wild.publish(map[string]string{"index.html": "wild"})
	exact := b.provision("exact.sites.test")
	exact.publish(map[string]string{"index.html": "exact"})
	wild.attach("*.blog.test", "")
	want := func(host, text string) {
		t.Helper()
		if got := content(t, b.get(host, "/")); got != text {
			t.Fatalf("%s: %q, want %q", host, got, text)
		}
	}
	for range 2 {
		want("a.blog.test", "wild")
		want("b.blog.test", "wild")
		exact.attach("a.blog.test", "")
		want("b.blog.test", "wild")
		want("a.blog.test", "exact")
		if err := os.Remove(b.layout.Record("a.blog.test")); err != nil {
			t.Fatal(err)
		}
		b.changed()
	}
	if err := os.Remove(b.layout.Record("*.blog.test")); err != nil {
		t.Fatal(err)
	}
	b.changed()
	wantStatus(t, b.get("b.blog.test", "/"), http.StatusNotFound)
}
