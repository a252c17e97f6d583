package edge

import (
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/site"
)

// point makes a preview of the site show a deployment.
func (h *hosted) point(label string, deployment uuid.UUID) {
	h.t.Helper()
	h.sequence++
	h.replaceJSON(h.layout.PreviewPointer(h.distribution, label), site.Pointer{Sequence: h.sequence, Pipeline: h.pipeline, Deployment: deployment})
}

func TestPreviews(t *testing.T) {
	t.Parallel()
	b := newBox(t, func(c *Config) { c.Previews = site.PreviewHosts{Suffix: "previews.test", Sites: "sites.test"} })
	blog := b.provision("blog.sites.test")
	next := uuid.New()
	blog.seal(next, map[string]string{"index.html": "the preview", "app.3f9a1c2b7d5e.js": "1", "_headers": "/*\n  Access-Control-Allow-Origin: *\n  Cache-Control: public, max-age=60\n"})
	blog.point("pr-1", next)
	first := blog.publish(map[string]string{"index.html": "the blog"})
	blog.point("d-1", first)
	blog.point("pruned", uuid.New())
	blog.point("nothing", uuid.Nil)
	blog.attach("custom.test", "")
	disabled := b.provision("disabled.sites.test")
	disabled.point("pr-1", disabled.publish(map[string]string{"index.html": "secret"}))
	disabled.setDistribution(false, disabled.host)
	protected := b.provision("protected.sites.test")
	protected.point("pr-1", protected.publish(map[string]string{"index.html": "secret"}))
	protected.protect(site.Protection{Networks: networks("203.0.113.0/24")})
	drafts := b.provision("drafts.sites.test")
	drafts.point("pr-1", drafts.publish(map[string]string{"index.html": "the site"}))
	drafts.protect(site.Protection{Networks: networks("203.0.113.0/24"), PreviewsOnly: true})

	for _, c := range []struct {
		host, target string
		status       int
		text, robots string
		cache        string
	}{
		{"blog.sites.test", "/", 200, "the blog", "", "public, max-age=0, must-revalidate"},
		{"pr-1--blog.previews.test", "/", 200, "the preview", "noindex", "private, no-cache"},
		{"PR-1--Blog.previews.test.:8081", "/app.3f9a1c2b7d5e.js", 200, "1", "noindex", "private, no-cache"},
		{"pr-1--blog.previews.test", "/missing", 404, "does not exist", "noindex", "private, no-store"},
		{"d-1--blog.previews.test", "/", 200, "the blog", "noindex", "private, no-cache"},
		{"pr-2--blog.previews.test", "/", 404, "There is no site here", "", "no-store"},
		{"pr-1--blog.sites.test", "/", 404, "There is no site here", "", "no-store"},
		{"pr-1--none.previews.test", "/", 404, "There is no site here", "", "no-store"},
		{"pruned--blog.previews.test", "/", 404, "There is no site here", "", "no-store"},
		{"nothing--blog.previews.test", "/", 404, "There is no site here", "", "no-store"},
		{"pr-1--disabled.previews.test", "/", 404, "There is no site here", "", "no-store"},
		{"pr-1--protected.previews.test", "/", 403, "private", "noindex", "private, no-store"},
		{"drafts.sites.test", "/", 200, "the site", "", "public, max-age=0, must-revalidate"},
		{"pr-1--drafts.previews.test", "/", 403, "private", "noindex", "private, no-store"},
		{"blog.previews.test", "/", 404, "There is no site here", "", "no-store"},
		{"a--pr-1--blog.previews.test", "/", 404, "There is no site here", "", "no-store"},
		{"a.pr-1--blog.previews.test", "/", 404, "There is no site here", "", "no-store"},
	} {
		for range 2 { // the second time from memory
			res := b.get(c.host, c.target)
			wantStatus(t, res, c.status)
			wantHeader(t, res, "X-Robots-Tag", c.robots)
			wantHeader(t, res, "Cache-Control", c.cache)
			if got := content(t, res); !strings.Contains(got, c.text) {
				t.Errorf("%s%s: answered %q, want %q in it", c.host, c.target, got, c.text)
			}
		}
	}
	res := b.get("pr-1--blog.previews.test", "/")
	wantHeader(t, res, "Access-Control-Allow-Origin", "*")

	// A preview follows its pointer, and is gone with it.
	blog.point("pr-1", first)
	if got := content(t, b.get("pr-1--blog.previews.test", "/")); got != "the blog" {
		t.Errorf("after the pointer moved the preview shows %q", got)
	}
	if err := os.Remove(b.layout.PreviewPointer(blog.distribution, "pr-1")); err != nil {
		t.Fatal(err)
	}
	b.changed()
	wantStatus(t, b.get("pr-1--blog.previews.test", "/"), 404)
	wantStatus(t, b.get("blog.sites.test", "/"), 200)
}
