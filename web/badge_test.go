package web_test

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
)

func TestBadge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	get := func(path string, options ...option) answer {
		return w.send("GET", path, nil, append([]option{header("Authorization", ""), header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Mode", "no-cors"), header("Sec-Fetch-Dest", "image")}, options...)...)
	}
	for _, path := range []string{"/badges/blog.svg", "/badges/nothing.svg", "/badges/blog", "/badges/.svg", "/badges/%3Csvg%3E.svg", "/badges/" + strings.Repeat("x", 5000) + ".svg"} {
		get(path).refused(t, 404, "not_found", "", "badge not found")
	}
	w.send("PATCH", "/v1/pipelines/blog", map[string]any{"build": map[string]any{"badge": true}}).into(t, 200, nil)
	for status, want := range map[troy.Status]string{"ready_for_deployment": "not live", "queued": "deploying", "deploying": "deploying", "deployed": "live", "failed_to_deploy": "failed"} {
		w.put(p, status)
		a := get("/badges/blog.svg")
		if a.status != 200 || !strings.Contains(string(a.body), "<title>blog: "+want+"</title>") || xml.Unmarshal(a.body, new(struct{})) != nil {
			t.Errorf("%s: %d %s", status, a.status, a.body)
		}
		for name, value := range map[string]string{"Content-Type": "image/svg+xml", "Cache-Control": "public, max-age=60", "Cross-Origin-Resource-Policy": "cross-origin"} {
			if got := a.header.Get(name); got != value {
				t.Errorf("%s is %q", name, got)
			}
		}
		if again := get("/badges/blog.svg", header("If-None-Match", a.header.Get("ETag"))); again.status != 304 {
			t.Errorf("%s: the same badge answers %d", status, again.status)
		}
	}
	w.put(p, "deleting")
	get("/badges/blog.svg").refused(t, 404, "not_found", "", "")
}
