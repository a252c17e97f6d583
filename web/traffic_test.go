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
	w.send("GET", "/v1/pipelines/blog/traffic", nil).refused(t, http.StatusConflict, "conflict", "", "set TROY_AWS_LOG_BUCKET for web and work")
	if page := string(w.visit("GET", "/pipelines/blog/traffic", nil, w.session(w.admin)).body); !strings.Contains(page, "set TROY_AWS_LOG_BUCKET") {
		t.Errorf("the page is %s", page)
	}
}

// TestTrafficFromAccessLogs reads what workers counted on AWS.
func TestTrafficFromAccessLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.AccessLogs = true })
	p, _ := w.create("blog"), w.create("other")
	for day, report := range map[int]string{
		0:  `{"requests": 3, "bytes": 3145728, "not_found": 1, "errors": 0, "paths": [{"path": "/", "requests": 2, "bytes": 3145728}], "missing": [{"path": "/<script>", "referrer": "links.example/a", "requests": 1}]}`,
		2:  `{"requests": 1, "bytes": 0, "not_found": 0, "errors": 0, "paths": [{"path": "/", "requests": 1, "bytes": 0}], "missing": []}`,
		29: `{"requests": 1, "bytes": 0, "not_found": 0, "errors": 1, "paths": [], "missing": []}`,
		30: `{"requests": 100, "bytes": 0, "not_found": 0, "errors": 0, "paths": [], "missing": []}`,
	} {
		if _, err := w.db.Exec(t.Context(), "INSERT INTO traffic (pipeline_id, day, report) VALUES ($1, (now() AT TIME ZONE 'UTC')::date - $2::int, $3)", p.ID, day, report); err != nil {
			t.Fatal(err)
		}
	}
	viewer := w.token(credentials.Viewer, p.ID)
	var got traffic.Summary
	w.send("GET", "/v1/pipelines/blog/traffic", nil, as(viewer)).into(t, http.StatusOK, &got)
	if len(got.Days) != 30 || got.Requests != 5 || got.NotFound != 1 || got.Errors != 1 || got.Days[29].Requests != 3 || got.Days[28].Requests != 0 || got.Days[27].Requests != 1 || got.Days[0].Errors != 1 {
		t.Errorf("the traffic is %+v", got)
	}
	if len(got.Paths) != 1 || got.Paths[0].Requests != 3 || len(got.Missing) != 1 {
		t.Errorf("the paths are %+v, missing are %+v", got.Paths, got.Missing)
	}
	w.send("GET", "/v1/pipelines/blog/traffic?days=1", nil, as(viewer)).into(t, http.StatusOK, &got)
	if len(got.Days) != 1 || got.Requests != 3 {
		t.Errorf("the traffic of a day is %+v", got)
	}
	w.send("GET", "/v1/pipelines/other/traffic", nil, as(viewer)).refused(t, http.StatusNotFound, "not_found", "", "")
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
	if _, err := w.db.Exec(t.Context(), "UPDATE pipelines SET live_deployment_id = gen_random_uuid() WHERE slug = 'other'"); err != nil {
		t.Fatal(err)
	}
	if page := string(w.visit("GET", "/pipelines/other/traffic", nil, cookie).body); !strings.Contains(page, "appear here within some hours") {
		t.Errorf("the page of a live site without requests is %s", page)
	}
}
