package workers

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// TestCachesAreReported records what several machines keep: what one of them
// removed goes, and what was made before the caches were cleared does not count.
func TestCachesAreReported(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	now := time.Now().UTC().Truncate(time.Second)
	one := func(scope string, epoch, bytes int64) builder.Cache {
		return builder.Cache{Pipeline: p.ID, Scope: scope, Manager: "npm", Epoch: epoch, Bytes: bytes, Used: now}
	}
	report := func(keeper string, caches ...builder.Cache) {
		t.Helper()
		if err := r.q.BuildCachesReport(t.Context(), reportOf(builder.Caches{Keeper: keeper, All: caches})); err != nil {
			t.Fatal(err)
		}
	}
	list := func(want ...queries.BuildCacheListRow) {
		t.Helper()
		got, err := r.q.BuildCacheList(t.Context(), p.ID)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%+v, %v, want %+v", got, err, want)
		}
		for i := range got {
			got[i].UsedAt = got[i].UsedAt.UTC()
			want[i].Manager, want[i].UsedAt = "npm", now
			if got[i] != want[i] {
				t.Errorf("%+v, want %+v", got[i], want[i])
			}
		}
	}
	gone := one("", 0, 5)
	gone.Pipeline = uuid.New()
	report("a", one("branch x", 0, 7), one("", 0, 10), one("", 0, 10), gone)
	report("b", one("", 0, 20))
	list(queries.BuildCacheListRow{Bytes: 30, Copies: 2}, queries.BuildCacheListRow{Scope: "branch x", Bytes: 7, Copies: 1})
	report("a", one("", 0, 11))
	list(queries.BuildCacheListRow{Bytes: 31, Copies: 2})
	report("a")
	list(queries.BuildCacheListRow{Bytes: 20, Copies: 1})

	if err := r.in.ClearCaches(t.Context(), p.ID, "test"); err != nil {
		t.Fatal(err)
	}
	list()
	report("a", one("", 0, 10), one("branch x", 1, 9))
	list(queries.BuildCacheListRow{Scope: "branch x", Bytes: 9, Copies: 1})

	// What did not change is written once a day.
	report("b", one("branch x", 1, 9))
	version := func() int {
		t.Helper()
		return r.count("SELECT xmin::text::bigint FROM build_caches WHERE keeper = 'b'")
	}
	before := version()
	if report("b", one("branch x", 1, 9)); version() != before {
		t.Error("a row that did not change is written again")
	}
	if _, err := r.db.Exec(t.Context(), "UPDATE build_caches SET reported_at = now() - interval '25 hours'"); err != nil {
		t.Fatal(err)
	}
	if report("b", one("branch x", 1, 9)); r.count("SELECT count(*) FROM build_caches WHERE keeper = 'b' AND reported_at > now() - interval '1 hour'") != 1 {
		t.Error("a report of the next day is not recorded")
	}

	// A machine that is gone.
	if _, err := r.db.Exec(t.Context(), "UPDATE build_caches SET reported_at = now() - interval '31 days'"); err != nil {
		t.Fatal(err)
	}
	report("b")
	list()
}

// TestBuildsReportCaches builds a commit: the build has the epoch of the
// pipeline, and what its builder keeps is recorded.
func TestBuildsReportCaches(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	r.builder.mu.Lock()
	r.builder.caches = builder.Caches{Keeper: "k", All: []builder.Cache{{Pipeline: p.ID, Manager: "pnpm", Epoch: 1, Bytes: 3, Used: time.Now()}}}
	r.builder.mu.Unlock()
	if err := r.in.ClearCaches(t.Context(), p.ID, "test"); err != nil {
		t.Fatal(err)
	}
	r.head("blog", commitID("one"))
	r.pushed("blog", "", commitID("one"))
	r.restsWith(p.ID, commitID("one"))
	d, err := r.q.DeploymentOfCommit(t.Context(), p.ID, commitID("one"))
	if err != nil {
		t.Fatal(err)
	}
	if spec := r.builder.specOf(d.ID); spec.CacheEpoch != 1 || spec.CacheScope != "" {
		t.Errorf("the build has the caches of %q in epoch %d", spec.CacheScope, spec.CacheEpoch)
	}
	if got, err := r.q.BuildCacheList(t.Context(), p.ID); err != nil || len(got) != 1 || got[0].Bytes != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestBuildReadsThePipelineAfterItsStart clears the caches while the start of a
// build waits for the pipeline's row: the build uses none of them.
func TestBuildReadsThePipelineAfterItsStart(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	w, _ := r.start()
	p := r.building("blog")
	if err := r.in.PauseQueue(t.Context(), tasks.QueueBuilds, "test", "test"); err != nil {
		t.Fatal(err)
	}
	r.head("blog", commitID("one"))
	r.pushed("blog", "", commitID("one"))
	change, err := r.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = change.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := change.Exec(t.Context(), "UPDATE pipelines SET cache_epoch = 7 WHERE id = $1", p.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Exec(t.Context(), "DELETE FROM pauses"); err != nil {
		t.Fatal(err)
	}
	w.deps.Bell.Ask(tasks.QueueBuilds)
	eventually(t, func() bool {
		return r.count("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 0
	}, func() string { return "the build does not start" })
	if err := change.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.restsWith(p.ID, commitID("one"))
	d, err := r.q.DeploymentOfCommit(t.Context(), p.ID, commitID("one"))
	if err != nil {
		t.Fatal(err)
	}
	if spec := r.builder.specOf(d.ID); spec.CacheEpoch != 7 {
		t.Errorf("the build has the caches of epoch %d", spec.CacheEpoch)
	}
}
