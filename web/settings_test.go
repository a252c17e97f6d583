package web_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/troy-iaas/troy"
)

func TestSettingsWithIfMatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	path := "/v1/pipelines/" + p.ID.String()
	tag := w.send("GET", path, nil).header.Get("ETag")
	if tag == "" {
		t.Fatal("no ETag")
	}
	// What Troy itself changes keeps the settings what they are.
	w.put(p, troy.ReadyForDeployment)
	w.exec("UPDATE pipelines SET source_problem = 'no installation' WHERE id = $1", p.ID)
	if now := w.send("GET", path, nil).header.Get("ETag"); now != tag {
		t.Errorf("the status changed the ETag from %s to %s", tag, now)
	}

	a := w.send("PATCH", path, `{"build":{"output":"dist"}}`, header("If-Match", tag))
	a.into(t, 200, nil)
	next := a.header.Get("ETag")
	if next == tag || next == "" || next != w.send("GET", path, nil).header.Get("ETag") {
		t.Errorf("the ETag after the change is %q, before %q", next, tag)
	}

	for _, stale := range []string{tag, `"x"`, `W/` + next, `"x", ` + tag} {
		a := w.send("PATCH", path, `{"build":{"output":"public"}}`, header("If-Match", stale))
		a.refused(t, 412, "precondition_failed", "If-Match", "nothing was changed")
		var there struct {
			Pipeline pipeline `json:"pipeline"`
		}
		decodeLoose(t, a.body, &there)
		if there.Pipeline.ID != p.ID || there.Pipeline.Build.Output != "dist" || a.header.Get("ETag") != next {
			t.Errorf("If-Match %s: what is there is %s with the ETag %s", stale, a.body, a.header.Get("ETag"))
		}
	}
	for _, bad := range []string{"", "x", next + " " + tag, `"x`, `*, ` + next, `"x",`} {
		w.send("PATCH", path, `{"build":{"output":"public"}}`, func(r *http.Request) { r.Header["If-Match"] = []string{bad} }).
			refused(t, 400, "invalid", "If-Match", "expected the ETag")
	}
	for _, good := range []string{"*", next, `"x", ` + next, `W/"x",` + next} {
		w.send("PATCH", path, `{"build":{"output":"dist"}}`, header("If-Match", good)).into(t, 200, nil)
	}
	w.send("PATCH", path, `{"watch_paths":["src/**"]}`).into(t, 200, nil)
	w.send("PATCH", path, `{"cancel_running":true}`, header("If-Match", next)).refused(t, 412, "precondition_failed", "If-Match", "")
}

// Of several changes from the same settings, one is made.
func TestIfMatchLetsOneOfManyPass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	path := "/v1/pipelines/" + p.ID.String()
	tag := w.send("GET", path, nil).header.Get("ETag")
	statuses := make([]int, 8)
	var all sync.WaitGroup
	for i := range statuses {
		all.Go(func() {
			statuses[i] = w.send("PATCH", path, map[string]any{"build": map[string]any{"output": string(rune('a' + i))}}, header("If-Match", tag)).status
		})
	}
	all.Wait()
	counts := map[int]int{}
	for _, s := range statuses {
		counts[s]++
	}
	if counts[200] != 1 || counts[412] != len(statuses)-1 {
		t.Errorf("the statuses are %v", statuses)
	}
}

// TestOldSettingsBlockNothing stores values that today's rules refuse: other
// settings can change, and the values themselves are still checked.
func TestOldSettingsBlockNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("blog", "github", "team/blog", "")
	w.exec(`UPDATE pipelines SET build_settings = '{"output": "../dist", "install": "a\u0007b", "trailing_slash": "sometimes"}', repository_root = '../site', repository_branch = 'a..b' WHERE id = $1`, p.ID)
	path := "/v1/pipelines/" + p.Slug
	for _, change := range []string{
		`{"build": {"test": "make test"}}`, `{"repository": {"branch": "main"}}`, `{"cancel_running": true}`, `{"build": {"output": "public/"}}`,
	} {
		w.send("PATCH", path, change).into(t, 200, nil)
	}
	w.send("PATCH", path, `{"build": {"output": "../dist"}}`).refused(t, 400, "invalid", "build.output", "inside the repository")
	w.send("PATCH", path, `{"build": {"trailing_slash": "sometimes"}}`).refused(t, 400, "invalid", "build.trailing_slash", "expected auto")
	w.send("PATCH", path, `{"repository": {"root": "../site"}}`).refused(t, 400, "invalid", "repository.root", "inside the repository")
	if n := w.count(`SELECT count(*) FROM pipelines WHERE id = $1 AND build_settings = '{"output": "public", "install": "a\u0007b", "test": "make test", "trailing_slash": "sometimes"}' AND repository_branch = 'main'`, p.ID); n != 1 {
		t.Error("the settings are not those that were sent and the old ones")
	}
}
