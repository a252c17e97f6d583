package e2e

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

// page is a site whose page and asset contain their version.
func page(version string) map[string]string {
	return map[string]string{
		"index.html":       fmt.Sprintf("<!doctype html><title>%s</title>%s", version, strings.Repeat(version+" ", 2000)),
		"about/index.html": "about " + version,
		"style.css":        strings.Repeat("/* "+version+" */\n", 200),
		"404.html":         "nothing here in " + version,
	}
}

// TestLifecycle goes from an app event to the end of the deletion.
func TestLifecycle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("web")
	w.start("work")
	w.start("edge")
	born := time.Now()

	id := w.event("Created", "blog", born)
	w.waitFor(id, troy.ReadyForDeployment)
	const host = "blog.localhost"
	if status, _, _ := w.get(host, "/"); status != 404 {
		t.Errorf("with nothing live the edge answers %d, want 404", status)
	}

	out := w.must("troy", "release", w.folder(page("one")), "--pipeline", "blog")
	if want := "http://" + host + w.edge[strings.LastIndex(w.edge, ":"):]; strings.TrimSpace(out) != want {
		t.Errorf("troy release printed %q, want %q", out, want)
	}
	w.waitFor(id, troy.Deployed)
	if status, body, _ := w.get(host, "/"); status != 200 || !strings.Contains(body, "<title>one</title>") {
		t.Fatalf("the edge answers %d %.60q", status, body)
	}
	if status, body, _ := w.get(host, "/about"); status != 200 || body != "about one" {
		t.Errorf("/about: %d %q", status, body)
	}
	if status, body, _ := w.get(host, "/no/such/page"); status != 404 || body != "nothing here in one" {
		t.Errorf("a missing page: %d %q", status, body)
	}
	first := w.live(id)

	// The second release, while fifty readers read.
	stop := w.readers(host, 50)
	w.must("troy", "release", w.folder(page("two")), "--pipeline", "blog")
	answers, olds, news := stop()
	if olds == 0 || news == 0 {
		t.Errorf("of %d answers %d were old and %d new: the readers saw no change", answers, olds, news)
	}
	t.Logf("%d answers during the second release: %d wholly old, %d wholly new", answers, olds, news)
	if _, body, _ := w.get(host, "/"); !strings.Contains(body, "<title>two</title>") {
		t.Errorf("after the second release: %.60q", body)
	}

	w.must("troy", "rollback", "blog")
	if _, body, _ := w.get(host, "/"); !strings.Contains(body, "<title>one</title>") {
		t.Errorf("after the rollback: %.60q", body)
	}

	// A failing release does not change the live site.
	w.fault("store.seal before times=1 kind=permanent\n")
	_, diag, status := w.run("troy", "release", w.folder(page("three")), "--pipeline", "blog")
	if status != 6 || !strings.Contains(diag, "complete the files") {
		t.Errorf("the failing release: exit status %d\n%s", status, diag)
	}
	p := w.waitFor(id, troy.FailedToDeploy)
	if p.Cause == "" || p.StatusName != "Failed to Deploy" {
		t.Errorf("%s, cause %q", p.StatusName, p.Cause)
	}
	if _, body, served := w.get(host, "/"); !strings.Contains(body, "<title>one</title>") || served != first {
		t.Errorf("after the failed release: %.60q of deployment %s", body, served)
	}
	w.fault("")
	w.must("troy", "release", w.folder(page("four")), "--pipeline", "blog")
	w.waitFor(id, troy.Deployed)
	if _, body, _ := w.get(host, "/"); !strings.Contains(body, "<title>four</title>") {
		t.Errorf("after the recovery: %.60q", body)
	}

	w.event("Deleted", "blog", time.Now())
	w.waitFor(id, troy.Deleted)
	if left := w.traces(id, host); len(left) > 0 {
		t.Errorf("left in the data folder: %v", left)
	}
	if status, _, _ := w.get(host, "/"); status != 404 {
		t.Errorf("after the deletion the edge answers %d", status)
	}
	deploy := []troy.Status{troy.Queued, troy.Deploying, troy.Deployed}
	want := []troy.Status{troy.PreProvisioned, troy.ProvisionRequest, troy.Provisioning, troy.ReadyForDeployment}
	want = append(want, deploy...)                                              // one
	want = append(want, deploy...)                                              // two
	want = append(want, deploy...)                                              // back to one
	want = append(want, troy.Queued, troy.Deploying, troy.FailedToDeploy)       // three
	want = append(want, deploy...)                                              // four
	want = append(want, troy.ScheduledForDeletion, troy.Deleting, troy.Deleted) // gone
	if diff := cmp.Diff(want, w.path(id)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	// The events are left, also under its old name.
	if out := w.must("troy", "event", "list", "blog"); !strings.Contains(out, "Deleted") {
		t.Errorf("troy event list of a deleted pipeline:\n%s", out)
	}
}

// live returns the deployment in the answers of a pipeline's site.
func (w *world) live(pipeline string) string {
	w.t.Helper()
	p, err := w.api.Pipeline(w.t.Context(), pipeline)
	if err != nil {
		w.t.Fatal(err)
	}
	if p.LiveDeploymentID == nil || *p.LiveDeploymentID == uuid.Nil {
		w.t.Fatal("no deployment is live")
	}
	return p.LiveDeploymentID.String()
}

// readers starts n readers of a site that changes from version one to two. Each
// answer must be wholly of one version, and of the deployment in its header.
func (w *world) readers(host string, n int) (stop func() (answers, olds, news int64)) {
	var answers, olds, news atomic.Int64
	var versions sync.Map // deployment → version
	quit := make(chan struct{})
	var wg sync.WaitGroup
	want := map[string]map[string]string{"one": page("one"), "two": page("two")}
	paths := map[string]string{"/": "index.html", "/style.css": "style.css", "/about": "about/index.html"}
	for range n {
		wg.Go(func() {
			for {
				for url, file := range paths {
					select {
					case <-quit:
						return
					default:
					}
					status, body, deployment := w.get(host, url)
					answers.Add(1)
					var version string
					switch {
					case status == 200 && body == want["one"][file]:
						version = "one"
						olds.Add(1)
					case status == 200 && body == want["two"][file]:
						version = "two"
						news.Add(1)
					default:
						w.t.Errorf("%s: %d %.80q is neither version", url, status, body)
						continue
					}
					if seen, loaded := versions.LoadOrStore(deployment, version); loaded && seen != version {
						w.t.Errorf("deployment %s answered with version %s and with %s", deployment, seen, version)
					}
				}
			}
		})
	}
	return func() (int64, int64, int64) {
		// Until some of the answers are new.
		w.eventually("a new answer", func() bool { return news.Load() > int64(n) })
		close(quit)
		wg.Wait()
		return answers.Load(), olds.Load(), news.Load()
	}
}
