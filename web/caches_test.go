package web_test

import (
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
)

// TestCaches lists and clears the caches of a pipeline's builds.
func TestCaches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("Blog", "github", "team/blog", "main")
	const at = "/v1/pipelines/blog/cache"
	type cache struct {
		Scope, Manager string
		Bytes, Copies  int64
		UsedAt         time.Time `json:"used_at"`
	}
	list := func() []cache {
		t.Helper()
		var l struct{ Caches []cache }
		w.send("GET", at, nil).into(t, 200, &l)
		return l.Caches
	}
	if all := list(); all == nil || len(all) > 0 {
		t.Errorf("without builds: %+v", all)
	}
	w.exec("INSERT INTO build_caches (pipeline_id, keeper, scope, manager, bytes, used_at) SELECT $1, k, s, 'npm', 1048576, now() FROM (VALUES ('a', ''), ('b', ''), ('a', 'branch x')) v (k, s)", p.ID)
	all := list()
	if len(all) != 2 || all[0].Scope != "site" || all[0].Bytes != 2<<20 || all[0].Copies != 2 || all[1].Scope != "branch x" || all[1].UsedAt.IsZero() {
		t.Errorf("%+v", all)
	}
	w.send("DELETE", at, nil, as(w.token(credentials.Viewer))).refused(t, 403, "forbidden", "", "deployer")
	for n := 1; n <= 2; n++ { // a repeated request does no harm
		w.send("DELETE", at, nil, as(w.token(credentials.Deployer))).into(t, 204, nil)
		if all := list(); len(all) > 0 {
			t.Errorf("after it was cleared: %+v", all)
		}
	}
	if n := w.count("SELECT cache_epoch FROM pipelines WHERE id = $1", p.ID); n != 2 {
		t.Errorf("the epoch is %d, want 2", n)
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'pipeline.clear-cache' AND subject = 'blog' AND detail IN ('3 caches, 3.0 MiB', 'none')"); n != 2 {
		t.Errorf("%d entries: %s", n, w.text("SELECT string_agg(detail, ';') FROM audit WHERE action = 'pipeline.clear-cache'"))
	}
	w.put(p, troy.Deleting)
	w.send("DELETE", at, nil).refused(t, 409, "conflict", "", "clearing its build cache")
	w.send("DELETE", "/v1/pipelines/nowhere/cache", nil).refused(t, 404, "not_found", "", "")
}
