package workers

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/tasks"
)

// keeps sets what the builder keeps.
func (b *fakeBuilder) keeps(all ...builder.Cache) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.caches = builder.Caches{Keeper: "k", All: all}
}

// scopesKept returns the scopes of what the builder keeps.
func (b *fakeBuilder) scopesKept() (scopes []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.caches.All {
		scopes = append(scopes, c.Scope)
	}
	slices.Sort(scopes)
	return scopes
}

func (b *fakeBuilder) breaksCaches(err error, after bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cacheFault, b.cacheFaultAfter = err, after
}

// TestPreviewLeavesNoCache deletes a preview, while the removal of its caches fails
// before and after its effect: no fault leaves them, and the preview is not
// recorded as removed before they are gone.
func TestPreviewLeavesNoCache(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.withPreviews()
	r.start()
	id := r.provisioned("blog")
	now := time.Now()
	for _, after := range []bool{false, true} {
		first := r.draft(id, "draft", map[string]string{"index.html": uuid.NewString()})
		r.previewLabelled(id, "draft", "shown", shows(first))
		r.builder.keeps(
			builder.Cache{Pipeline: id, Manager: "npm", Used: now}, builder.Cache{Pipeline: id, Scope: "preview draft", Manager: "npm", Used: now},
			builder.Cache{Pipeline: id, Scope: "preview draft", Manager: "pip", Used: now}, builder.Cache{Pipeline: id, Scope: "preview other", Manager: "npm", Used: now},
			builder.Cache{Pipeline: uuid.New(), Scope: "preview draft", Manager: "npm", Used: now})
		r.builder.breaksCaches(errors.New("no answer"), after)
		v, err := r.q.PreviewOfLabel(t.Context(), id, "draft")
		if err != nil {
			t.Fatal(err)
		}
		if err := r.in.DeletePreview(t.Context(), id, "draft", "test"); err != nil {
			t.Fatal(err)
		}
		tried := "SELECT count(*) FROM work WHERE kind = '" + tasks.TypePreviewRemove + "' AND attempt > 0 AND cause LIKE '%no answer%'"
		eventually(t, func() bool { return r.count(tried) == 1 }, func() string { return "the removal is not tried" })
		if r.count("SELECT count(*) FROM previews WHERE removed_at IS NOT NULL") != 0 {
			t.Error("the preview is removed although its caches may be there")
		}
		r.builder.breaksCaches(nil, false)
		eventually(t, func() bool { r.hurry(tasks.TypePreviewRemove, v.ID); return r.hasNoWork(tasks.TypePreviewRemove, v.ID) }, func() string { return "the removal has not ended" })
		if got := r.builder.scopesKept(); !slices.Equal(got, []string{"", "preview draft", "preview other"}) {
			t.Errorf("left are the caches of %q, want those of the site, of another preview and of another pipeline", got)
		}
		if n := r.count("SELECT count(*) FROM build_caches WHERE scope = 'preview draft'"); n != 0 {
			t.Error("the removed cache is still listed")
		}
	}
}

// TestCachesOfClosedPreviews removes the caches that a machine still keeps of
// deleted pipelines, of closed and unknown previews, and those of open ones after a
// month.
func TestCachesOfClosedPreviews(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	w := r.workers()
	id, deleted := r.pipeline("blog"), uuid.New()
	now := time.Now()
	for _, sql := range []string{
		`INSERT INTO previews (id, pipeline_id, kind, source, label, repository_id, number, created_by, expires_at, closed_at) VALUES
			(gen_random_uuid(), $1, 'branch', 'open', 'open', NULL, NULL, 'test', now(), NULL),
			(gen_random_uuid(), $1, 'branch', 'shut', 'shut', NULL, NULL, 'test', now(), now()),
			(gen_random_uuid(), $1, 'pull_request', 'x#1', 'pr-1', 'x', 1, 'test', now(), NULL),
			(gen_random_uuid(), $1, 'pull_request', 'x#2', 'pr-2', 'x', 2, 'test', now(), now())`,
	} {
		if _, err := r.db.Exec(t.Context(), sql, id); err != nil {
			t.Fatal(err)
		}
	}
	old := now.Add(-builder.CacheUnused - time.Minute)
	cache := func(scope, manager string, used time.Time) builder.Cache {
		return builder.Cache{Pipeline: id, Scope: scope, Manager: manager, Used: used}
	}
	r.builder.keeps(
		cache("", "npm", old), cache("branch open", "npm", now), cache("branch open", "pip", old), cache("branch shut", "npm", now), cache("branch never", "npm", now),
		cache("pull request 1", "npm", now.Add(-builder.CacheUnused+time.Minute)), cache("pull request 2", "npm", now), cache("branch 1", "npm", now),
		builder.Cache{Pipeline: deleted, Manager: "npm", Used: now}, builder.Cache{Pipeline: deleted, Scope: "branch open", Manager: "npm", Used: now})
	r.builder.breaksCaches(errors.New("no answer"), false)
	if err := w.tidyCaches(t.Context(), now); err == nil || len(r.builder.scopesKept()) != 10 {
		t.Errorf("with a fault: %v, left are %q", err, r.builder.scopesKept())
	}
	r.builder.breaksCaches(nil, false)
	for range 2 {
		if err := w.tidyCaches(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		if got := r.builder.scopesKept(); !slices.Equal(got, []string{"", "branch open", "pull request 1"}) {
			t.Errorf("left are %q", got)
		}
	}
	if n := r.count("SELECT count(*) FROM build_caches"); n != 3 {
		t.Errorf("%d caches are recorded, want 3", n)
	}
}
