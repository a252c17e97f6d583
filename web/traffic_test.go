package web_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/traffic"
)

// TestTraffic counts requests as the edge does, and reads them by the API and on
// the page.
func TestTraffic(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	folder := func(p uuid.UUID) string { return filepath.Join(root, p.String(), "traffic") }
	w := newWorld(t, func(w *world) { w.deps.Traffic = folder })
	p, other := w.create("blog"), w.create("other")
	if err := os.Mkdir(filepath.Dir(folder(p.ID)), 0o755); err != nil {
		t.Fatal(err)
	}
	counter := traffic.NewCounter(folder, filepath.Join(root, "lock"), w.deps.Log)
	for range 3 {
		counter.Add(p.ID, traffic.Seen{Path: "/", Status: 200, Bytes: 1 << 20})
	}
	counter.Add(p.ID, traffic.Seen{Path: "/<script>", Status: 404, Referrer: "https://links.example/a?token=hidden"})
	counter.Flush(t.Context())

	viewer := w.token(credentials.Viewer, p.ID)
	var got traffic.Summary
	w.send("GET", "/v1/pipelines/blog/traffic", nil, as(viewer)).into(t, http.StatusOK, &got)
	if len(got.Days) != 30 || got.Requests != 4 || got.NotFound != 1 || got.Days[29].Requests != 4 || len(got.Missing) != 1 || got.Missing[0].Referrer != "links.example/a" {
		t.Errorf("the traffic is %+v", got)
	}
	w.send("GET", "/v1/pipelines/blog/traffic?days=1", nil, as(viewer)).into(t, http.StatusOK, &got)
	if len(got.Days) != 1 {
		t.Errorf("%d days, want 1", len(got.Days))
	}
	for _, days := range []string{"0", "91", "x", "1e1"} {
		w.send("GET", "/v1/pipelines/blog/traffic?days="+days, nil, as(viewer)).refused(t, http.StatusBadRequest, "invalid", "days", "1 to 90")
	}
	w.send("GET", "/v1/pipelines/"+other.Slug+"/traffic", nil, as(viewer)).refused(t, http.StatusNotFound, "not_found", "", "")

	cookie := w.session(w.admin)
	page := string(w.visit("GET", "/pipelines/blog/traffic", nil, cookie).body)
	for _, want := range []string{"3.0 MiB", "/&lt;script&gt;", "from links.example/a", `<rect class="busy"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if page := string(w.visit("GET", "/pipelines/other/traffic", nil, cookie).body); !strings.Contains(page, "No requests were counted") {
		t.Errorf("the page without requests is %s", page)
	}

	// A damaged day costs only itself.
	files, err := filepath.Glob(folder(p.ID) + "/*.json")
	if err != nil || len(files) != 1 {
		t.Fatalf("the files are %v, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.send("GET", "/v1/pipelines/blog/traffic", nil, as(viewer)).into(t, http.StatusOK, &got)
}

func TestTrafficIsNotCountedOnAWS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create("blog")
	w.send("GET", "/v1/pipelines/blog/traffic", nil).refused(t, http.StatusConflict, "conflict", "", "CloudFront")
	if page := string(w.visit("GET", "/pipelines/blog/traffic", nil, w.session(w.admin)).body); !strings.Contains(page, "does not count requests") {
		t.Errorf("the page is %s", page)
	}
}
