package workers

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// shown records what the labels of all sites show.
type shown struct {
	cloud.Previews
	mu      sync.Mutex
	labels  map[string]uuid.UUID
	fails   error // of Point, after its effect
	refuses error // of Point, without effect
	// unpointed, if not nil, is called once after Unpoint.
	unpointed func()
}

func (r *rig) withPreviews() *shown {
	s := &shown{Previews: r.cloud.Previews, labels: map[string]uuid.UUID{}}
	r.cloud.Previews = s
	return s
}

func (s *shown) Point(ctx context.Context, id, label string, p site.Pointer) error {
	s.mu.Lock()
	refuses := s.refuses
	s.mu.Unlock()
	if refuses != nil {
		return refuses
	}
	err := s.Previews.Point(ctx, id, label, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.labels[label] = p.Deployment
		if !strings.HasPrefix(label, "d-") && s.fails != nil {
			err, s.fails = s.fails, nil
		}
	}
	return err
}

func (s *shown) Unpoint(ctx context.Context, id, label string, sequence int64) error {
	err := s.Previews.Unpoint(ctx, id, label, sequence)
	s.mu.Lock()
	if err == nil {
		delete(s.labels, label)
	}
	then := s.unpointed
	s.unpointed = nil
	s.mu.Unlock()
	if then != nil {
		then()
	}
	return err
}

// of returns what a label shows, or the zero id.
func (s *shown) of(label string) uuid.UUID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.labels[label]
}

// draft uploads files to a preview.
func (r *rig) draft(pipeline uuid.UUID, label string, files map[string]string) uuid.UUID {
	r.t.Helper()
	id := uuid.Must(uuid.NewV7())
	if _, err := r.q.ReleaseCreate(r.t.Context(), queries.ReleaseCreateParams{ID: id, PipelineID: pipeline, ManifestDigest: "none", Actor: "test", ValidSeconds: 3600}); err != nil {
		r.t.Fatal(err)
	}
	upload(r.t, r.cloud.Store, site.Tree{Pipeline: pipeline, Deployment: id}, files)
	if _, err := r.in.Finalize(r.t.Context(), intake.Finalization{Pipeline: pipeline, Release: id, Preview: label, Actor: "test"}); err != nil {
		r.t.Fatal(err)
	}
	return id
}

// previewLabelled waits until a preview is as it should be.
func (r *rig) previewLabelled(pipeline uuid.UUID, label, what string, is func(queries.Preview) bool) queries.Preview {
	r.t.Helper()
	var v queries.Preview
	eventually(r.t, func() bool {
		var err error
		v, err = r.q.PreviewOfLabel(r.t.Context(), pipeline, label)
		return err == nil && is(v)
	}, func() string { return "the preview " + label + " is not " + what })
	return v
}

func shows(d uuid.UUID) func(queries.Preview) bool {
	return func(v queries.Preview) bool { return v.LiveDeploymentID != nil && *v.LiveDeploymentID == d }
}

func removed(v queries.Preview) bool { return v.RemovedAt != nil }

func TestPreviewsLiveBesideTheSite(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	s := r.withPreviews()
	r.start()
	p := r.building("blog")
	release := r.release(p.ID, map[string]string{"index.html": "live"})
	before := r.waitFor(p.ID, troy.Deployed)
	if got := s.of("d-1"); got != release {
		t.Errorf("d-1 shows %s, want the release %s", got, release)
	}

	draft := r.draft(p.ID, "draft", map[string]string{"index.html": "draft"})
	v := r.previewLabelled(p.ID, "draft", "shown", shows(draft))
	if s.of("draft") != draft || s.of("d-2") != draft {
		t.Errorf("draft shows %s and d-2 shows %s, want %s", s.of("draft"), s.of("d-2"), draft)
	}
	r.head("blog", commitID("topic"))
	_, built, err := r.in.PreviewBranch(t.Context(), p.ID, "topic", "test")
	if err != nil {
		t.Fatal(err)
	}
	r.previewLabelled(p.ID, "topic", "shown", shows(built.ID))
	if d := r.ended(built.ID); d.State != troy.Succeeded || deref(d.CommitSha) != commitID("topic") {
		t.Errorf("the deployment is %+v, want a build of the head", d)
	}

	// A build that fails changes nothing.
	r.builder.fail(p.ID, true)
	again, err := r.in.Retry(t.Context(), p.ID, built.ID, "test")
	if err != nil {
		t.Fatal(err)
	}
	if d := r.ended(again.ID); d.State != troy.Failed || s.of("topic") != built.ID || s.of("d-4") != uuid.Nil {
		t.Errorf("the build is %s; topic shows %s and d-4 %s; want the first build and nothing", d.State, s.of("topic"), s.of("d-4"))
	}
	r.builder.fail(p.ID, false)

	after, err := r.q.PipelineGet(t.Context(), p.ID)
	if err != nil || after.Status != before.Status || after.Version != before.Version || *after.LiveDeploymentID != release || after.LastSequence != before.LastSequence {
		t.Errorf("the pipeline was %+v and is %+v, %v", before, after, err)
	}

	// Promoted, the same files are the site, also after the preview is gone.
	made, err := r.in.PromotePreview(t.Context(), p.ID, "draft", 0, "test")
	if err != nil || made.TreeID != draft || made.Kind != troy.Promotion {
		t.Fatalf("promote: %+v, %v", made, err)
	}
	if d := r.ended(made.ID); d.State != troy.Succeeded {
		t.Fatalf("the promotion is %s: %s", d.State, d.Cause)
	}
	for _, label := range []string{"draft", "topic"} {
		if err := r.in.DeletePreview(t.Context(), p.ID, label, "test"); err != nil {
			t.Fatal(err)
		}
		r.previewLabelled(p.ID, label, "removed", removed)
	}
	eventually(t, func() bool { return r.hasNoWork(tasks.TypeRetention, p.ID) || r.hurry(tasks.TypeRetention, p.ID) }, func() string { return "retention has not ended" })
	if _, err := r.cloud.Store.Manifest(t.Context(), site.Tree{Pipeline: p.ID, Deployment: built.ID}); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("the files of a removed preview: %v, want none", err)
	}
	if _, err := r.cloud.Store.Manifest(t.Context(), site.Tree{Pipeline: p.ID, Deployment: draft}); err != nil {
		t.Errorf("the promoted files: %v", err)
	}
	for label, want := range map[string]uuid.UUID{"draft": {}, "topic": {}, "d-2": {}, "d-3": {}, "d-1": release, "d-5": draft} {
		if got := s.of(label); got != want {
			t.Errorf("%s shows %s, want %s", label, got, want)
		}
	}
	// The source opens the same preview again.
	second := r.draft(p.ID, "draft", map[string]string{"index.html": "second"})
	if w := r.previewLabelled(p.ID, "draft", "shown again", shows(second)); w.ID != v.ID || s.of("draft") != second {
		t.Errorf("opened again it is %+v and shows %s", w, s.of("draft"))
	}
}

func (r *rig) hasNoWork(kind string, subject uuid.UUID) bool {
	_, err := r.q.WorkGet(r.t.Context(), kind, subject)
	return err != nil
}

// hurry makes work due. It returns false.
func (r *rig) hurry(kind string, subject uuid.UUID) bool {
	_, _ = r.q.WorkHurry(r.t.Context(), kind, subject)
	return false
}

// TestPreviewIsPutBack fails a publication after its effect.
func TestPreviewIsPutBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.withPreviews()
	r.start()
	id := r.provisioned("blog")
	s.fails = troy.Errorf(troy.Invalid, "the store is read-only")
	first := r.draft(id, "draft", map[string]string{"index.html": "first"})
	if d := r.ended(first); d.State != troy.Failed || !strings.Contains(d.Cause, "read-only") || s.of("draft") != uuid.Nil || s.of("d-1") != uuid.Nil {
		t.Errorf("the first is %s (%s), draft shows %s and d-1 %s; want a failure and nothing", d.State, d.Cause, s.of("draft"), s.of("d-1"))
	}
	second := r.draft(id, "draft", map[string]string{"index.html": "second"})
	r.previewLabelled(id, "draft", "shown", shows(second))
	s.mu.Lock()
	s.fails = troy.Errorf(troy.Invalid, "the store is read-only")
	s.mu.Unlock()
	third := r.draft(id, "draft", map[string]string{"index.html": "third"})
	if d := r.ended(third); d.State != troy.Failed || s.of("draft") != second {
		t.Errorf("the third is %s and draft shows %s, want the second, %s", d.State, s.of("draft"), second)
	}
	fourth := r.draft(id, "draft", map[string]string{"index.html": "fourth"})
	r.previewLabelled(id, "draft", "shown", shows(fourth))
}

// TestPreviewIsOpenedDuringItsRemoval opens a preview again after its removal
// removed its address.
func TestPreviewIsOpenedDuringItsRemoval(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.withPreviews()
	r.start()
	id := r.provisioned("blog")
	first := r.draft(id, "draft", map[string]string{"index.html": "first"})
	r.previewLabelled(id, "draft", "shown", shows(first))
	opened := make(chan uuid.UUID, 1)
	s.mu.Lock()
	s.unpointed = func() {
		second := r.draft(id, "draft", map[string]string{"index.html": "second"})
		r.previewLabelled(id, "draft", "shown", shows(second))
		opened <- second
	}
	s.mu.Unlock()
	if err := r.in.DeletePreview(t.Context(), id, "draft", "test"); err != nil {
		t.Fatal(err)
	}
	second := <-opened
	v, err := r.q.PreviewOfLabel(t.Context(), id, "draft")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return r.hasNoWork(tasks.TypePreviewRemove, v.ID) }, func() string { return "the removal has not ended" })
	if s.of("draft") != second || s.of("d-2") != second {
		t.Errorf("draft shows %s and d-2 %s, want %s", s.of("draft"), s.of("d-2"), second)
	}
}

// TestPreviewIsOpenedAndClosedDuringItsRemoval opens a preview again after its
// removal removed its address, and deletes it again before the removal ends.
func TestPreviewIsOpenedAndClosedDuringItsRemoval(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.withPreviews()
	r.start()
	id := r.provisioned("blog")
	first := r.draft(id, "draft", map[string]string{"index.html": "first"})
	v := r.previewLabelled(id, "draft", "shown", shows(first))
	closed := make(chan error, 1)
	s.mu.Lock()
	s.unpointed = func() {
		second := r.draft(id, "draft", map[string]string{"index.html": "second"})
		r.previewLabelled(id, "draft", "shown", shows(second))
		closed <- r.in.DeletePreview(t.Context(), id, "draft", "test")
	}
	s.mu.Unlock()
	if err := r.in.DeletePreview(t.Context(), id, "draft", "test"); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return r.hasNoWork(tasks.TypePreviewRemove, v.ID) }, func() string { return "the removal has not ended" })
	r.previewLabelled(id, "draft", "removed", removed)
	if s.of("draft") != uuid.Nil || s.of("d-2") != uuid.Nil {
		t.Errorf("draft shows %s and d-2 %s, want nothing", s.of("draft"), s.of("d-2"))
	}
}

// TestPreviewsExpire moves the clock of one preview of three.
func TestPreviewsExpire(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.reconcile = 100 * time.Millisecond
	s := r.withPreviews()
	r.start()
	id := r.provisioned("blog")
	for _, label := range []string{"old", "pinned", "young"} {
		d := r.draft(id, label, map[string]string{"index.html": label})
		r.previewLabelled(id, label, "shown", shows(d))
	}
	if err := r.in.PinPreview(t.Context(), id, "pinned", true, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Exec(t.Context(), "UPDATE previews SET expires_at = now() - interval '1 second' WHERE label IN ('old', 'pinned')"); err != nil {
		t.Fatal(err)
	}
	old := r.previewLabelled(id, "old", "removed", removed)
	if old.ClosedBy != "expiry" || !strings.HasPrefix(old.ClosedCause, "no push since ") || s.of("old") != uuid.Nil || s.of("d-1") != uuid.Nil {
		t.Errorf("the expired preview is %+v", old)
	}
	for _, label := range []string{"pinned", "young"} {
		if v, err := r.q.PreviewOfLabel(t.Context(), id, label); err != nil || v.ClosedAt != nil || s.of(label) == uuid.Nil {
			t.Errorf("%s is %+v, %v; want it open", label, v, err)
		}
	}
}

// TestPreviewBuildsComeAfterSites holds a site's build: the builds of two
// previews wait for their turn, and the later one of a preview replaces the
// earlier.
func TestPreviewBuildsComeAfterSites(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.withPreviews()
	r.start()
	p, busy := r.building("blog"), r.building("busy")
	r.builder.hold(busy.ID)
	r.head("busy", commitID("one"))
	r.pushed("busy", "", commitID("one"))
	r.waitFor(busy.ID, troy.Deploying)
	// The only slot is taken, so the next site's build waits for a worker.
	r.head("blog", commitID("main"))
	r.pushed("blog", "", commitID("main"))
	site, err := r.q.DeploymentOfCommit(t.Context(), p.ID, commitID("main"))
	if err != nil {
		t.Fatal(err)
	}
	_, first, err := r.in.PreviewBranch(t.Context(), p.ID, "topic", "test")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		row, err := r.q.WorkGet(t.Context(), tasks.TypePreviewBuild, first.ID)
		return err == nil && strings.Contains(row.Cause, "comes first")
	}, func() string { return "the preview's build does not wait for the site's" })
	_, second, err := r.in.PreviewBranch(t.Context(), p.ID, "topic", "test")
	if err != nil {
		t.Fatal(err)
	}
	r.builder.release(busy.ID)
	if d := r.ended(site.ID); d.State != troy.Succeeded {
		t.Errorf("the site's deployment is %s", d.State)
	}
	r.previewLabelled(p.ID, "topic", "shown", shows(second.ID))
	if d := r.ended(first.ID); d.State != troy.Superseded {
		t.Errorf("the earlier deployment is %s, want Superseded", d.State)
	}
}

// TestDeletedPipelineLeavesNoPreview deletes a pipeline while a preview of it
// is being built.
func TestDeletedPipelineLeavesNoPreview(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.start()
	p := r.building("blog")
	d := r.draft(p.ID, "draft", map[string]string{"index.html": "draft"})
	r.previewLabelled(p.ID, "draft", "shown", shows(d))
	ready, err := r.q.PipelineGet(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.builder.hold(p.ID)
	r.head("blog", commitID("topic"))
	if _, _, err := r.in.PreviewBranch(t.Context(), p.ID, "topic", "test"); err != nil {
		t.Fatal(err)
	}
	<-r.builder.started
	if _, err := r.in.ScheduleDeletion(t.Context(), p.ID, "test"); err != nil {
		t.Fatal(err)
	}
	r.waitFor(p.ID, troy.Deleted)
	r.builder.release(p.ID)
	var rows int
	if err := r.db.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM previews) + (SELECT count(*) FROM deployments)").Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows are left, %v", rows, err)
	}
	err = r.cloud.Previews.Point(t.Context(), *ready.DistributionID, "draft", site.Pointer{Sequence: 100, Pipeline: p.ID, Deployment: d})
	if !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("Point after the deletion: %v, want ErrNotFound", err)
	}
}
