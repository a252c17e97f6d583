package web_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/credentials"
)

// TestThumbnail reads the picture of a site and the drawn one before it.
func TestThumbnail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("blog", "github", "team/blog", "")
	other := w.bind("other", "github", "team/other", "")
	d := w.released(p, "x")
	w.goLive(p, d.ID)
	cookie := w.session(w.admin)
	address := func(page string) string {
		t.Helper()
		m := regexp.MustCompile(`<img[^>]* src="(/pipelines/blog/thumbnail[^"]*)"`).FindStringSubmatch(string(w.visit("GET", page, nil, cookie).body))
		if m == nil {
			t.Fatalf("%s shows no picture", page)
		}
		return m[1]
	}
	read := func(path, kind, version string) {
		t.Helper()
		a := w.visit("GET", path, nil, cookie)
		h := a.header
		if a.status != 200 || h.Get("Content-Type") != kind || h.Get("ETag") != `"`+version+`"` || !strings.Contains(h.Get("Cache-Control"), "immutable") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") != "default-src 'none'; sandbox" {
			t.Errorf("%s answers %d %v", path, a.status, h)
		}
		if a := w.visit("GET", path, nil, cookie, header("If-None-Match", h.Get("ETag"))); a.status != 304 {
			t.Errorf("%s again answers %d", path, a.status)
		}
	}
	before := address("/")
	if before != address("/pipelines/blog") {
		t.Error("the pages show different pictures")
	}
	read(before, "image/svg+xml", "drawn-1")
	w.send("GET", "/v1/pipelines/blog/thumbnail", nil).refused(t, 404, "not_found", "", "no picture")

	w.exec("INSERT INTO thumbnails (pipeline_id, deployment_id, image, version) VALUES ($1, $2, $3, 'abc')", p.ID, d.ID, []byte("<script>alert(1)</script>"))
	after := address("/")
	if after != "/pipelines/blog/thumbnail?v=abc" {
		t.Errorf("the picture's address is %s", after)
	}
	read(after, "image/jpeg", "abc")
	if a := w.visit("GET", before, nil, cookie); strings.Contains(a.header.Get("Cache-Control"), "immutable") {
		t.Error("the address of an old picture is immutable")
	}
	a := w.send("GET", "/v1/pipelines/blog/thumbnail", nil)
	if a.status != 200 || a.header.Get("Content-Type") != "image/jpeg" || a.header.Get("ETag") != `"abc"` {
		t.Errorf("the API answers %d %v", a.status, a.header)
	}

	// Who may not see the pipeline sees no picture.
	limited := w.token(credentials.Viewer, other.ID)
	if a := w.visit("GET", after, nil, w.session(limited)); a.status != 404 {
		t.Errorf("another pipeline's picture answers %d", a.status)
	}
	w.send("GET", "/v1/pipelines/blog/thumbnail", nil, as(limited)).refused(t, 404, "not_found", "", "")
	if a := w.visit("GET", after, nil, ""); a.status != 303 || a.header.Get("Location") != "/login?next="+url.QueryEscape(after) {
		t.Errorf("without a session the picture answers %d %s", a.status, a.header.Get("Location"))
	}
}
