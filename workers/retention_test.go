package workers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// losingStore loses the first call of Trees, the first of Remove before its
// effect, and the second of Remove after it.
type losingStore struct {
	cloud.Store
	lists, removes atomic.Int32
	// during, if not nil, is called between a listing and its use.
	during func()
}

var errLost = errors.New("the call was lost")

func (s *losingStore) Trees(ctx context.Context, pipeline uuid.UUID) ([]uuid.UUID, error) {
	if s.lists.Add(1) == 1 {
		return nil, errLost
	}
	trees, err := s.Store.Trees(ctx, pipeline)
	if s.during != nil {
		s.during()
	}
	return trees, err
}

func (s *losingStore) Remove(ctx context.Context, pipeline uuid.UUID, trees ...uuid.UUID) error {
	n := s.removes.Add(1)
	if n == 1 {
		return errLost
	}
	err := s.Store.Remove(ctx, pipeline, trees...)
	if n == 2 && err == nil {
		return errLost
	}
	return err
}

// retained waits until retention of a pipeline has ended, or waits for an
// upload's end.
func (r *rig) retained(id uuid.UUID) {
	r.t.Helper()
	if _, err := r.db.Exec(r.t.Context(), "UPDATE work SET cause = '' WHERE kind = 'retention' AND subject_id = $1", id); err != nil {
		r.t.Fatal(err)
	}
	r.retains(id)
	eventually(r.t, func() bool {
		row, err := r.q.WorkGet(r.t.Context(), tasks.TypeRetention, id)
		if err == nil && strings.Contains(row.Cause, "lost") {
			r.hurry(tasks.TypeRetention, id)
			return false
		}
		return err != nil || strings.Contains(row.Cause, "upload is under way")
	}, func() string { return "retention has not ended" })
}

func (r *rig) trees(id uuid.UUID) []uuid.UUID {
	r.t.Helper()
	trees, err := r.cloud.Store.Trees(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return trees
}

// declared begins an upload: its row, its tree and one file of two.
func (r *rig) declared(pipeline uuid.UUID) site.Tree {
	r.t.Helper()
	tree := site.Tree{Pipeline: pipeline, Deployment: uuid.Must(uuid.NewV7())}
	if _, err := r.q.ReleaseCreate(r.t.Context(), queries.ReleaseCreateParams{ID: tree.Deployment, PipelineID: pipeline, ManifestDigest: "none", Actor: "test", ValidSeconds: 3600}); err != nil {
		r.t.Fatal(err)
	}
	upload(r.t, r.cloud.Store, tree, map[string]string{"index.html": "an upload"})
	return tree
}

// TestSweep leaves trees of all kinds in the store. Retention removes those
// that nothing needs, although its calls are lost.
func TestSweep(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	store := &losingStore{Store: r.cloud.Store}
	_, stop := r.start()
	id := r.provisioned("blog")
	orphan := site.Tree{Pipeline: id, Deployment: uuid.Must(uuid.NewV7())} // its row is gone
	upload(t, r.cloud.Store, orphan, map[string]string{"index.html": "orphan"})
	expired, open := r.declared(id), r.declared(id)
	live := r.live(id, map[string]string{"index.html": "live"})
	newer := site.Tree{Pipeline: id, Deployment: uuid.Must(uuid.NewV7())} // a backup may lack its row
	upload(t, r.cloud.Store, newer, map[string]string{"index.html": "newer"})
	if _, err := r.db.Exec(t.Context(), "UPDATE releases SET expires_at = now() WHERE id = $1", expired.Deployment); err != nil {
		t.Fatal(err)
	}
	var late site.Tree
	store.during = func() {
		if late.Deployment == uuid.Nil { // an upload begins after the store was listed
			late = r.declared(id)
		}
	}
	stop()
	r.cloud.Store = store
	r.start()
	r.retained(id)
	if store.lists.Load() < 3 || store.removes.Load() < 2 {
		t.Errorf("%d listings and %d removals; some of each should have been lost", store.lists.Load(), store.removes.Load())
	}
	want := []uuid.UUID{open.Deployment, live, newer.Deployment, late.Deployment}
	got := r.trees(id)
	slices.SortFunc(got, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	slices.SortFunc(want, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	if !slices.Equal(got, want) {
		t.Errorf("the trees are %v, want %v (orphan %s, expired %s)", got, want, orphan.Deployment, expired.Deployment)
	}
	for _, upload := range []site.Tree{open, late} {
		if err := r.cloud.Store.Seal(t.Context(), upload, nil, nil); err != nil {
			t.Errorf("an upload can't be completed: %v", err)
		}
	}
	if n := r.count("SELECT count(*) FROM releases WHERE id = $1", expired.Deployment); n != 0 {
		t.Error("the expired upload's row is left")
	}
	// The next live deployment is newer than the tree without a row.
	r.live(id, map[string]string{"index.html": "live again"})
	r.retained(id)
	if slices.Contains(r.trees(id), newer.Deployment) {
		t.Error("the tree without a row stays")
	}
}

// TestExpiryDuringRetention expires an upload while retention works: the same
// retention comes back for it.
func TestExpiryDuringRetention(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, stop := r.start()
	id := r.provisioned("blog")
	open := r.declared(id)
	stop()
	store := &losingStore{Store: r.cloud.Store, during: func() {
		if _, err := r.db.Exec(t.Context(), "UPDATE releases SET expires_at = now() WHERE id = $1", open.Deployment); err != nil {
			t.Error(err)
		}
	}}
	store.lists.Store(1) // loses no call
	store.removes.Store(2)
	r.cloud.Store = store
	r.start()
	r.retains(id)
	eventually(t, func() bool { r.hurry(tasks.TypeRetention, id); return r.hasNoWork(tasks.TypeRetention, id) }, func() string { return "retention has not ended" })
	if trees := r.trees(id); len(trees) != 0 {
		t.Errorf("the trees are %v, want none", trees)
	}
}

// TestFailedBuildLeavesNoTree ends deployments that do not go live: a build requests
// retention for what it stored, and a deployment that stored nothing, or whose files
// a retry needs, does not.
func TestFailedBuildLeavesNoTree(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	id := r.provisioned("blog")
	live := r.live(id, map[string]string{"index.html": "live"})
	requested := func() int {
		return r.count("SELECT count(*) FROM work WHERE kind = 'retention' AND subject_id = '" + id.String() + "' AND due_at BETWEEN now() + interval '4 minutes' AND now() + interval '6 minutes'")
	}
	commit := commitID("one")
	for name, c := range map[string]struct {
		kind, from, to string
		commit         *string
		counted        bool // its files count: they were about to be stored
		complete       bool // all of its files are stored
		source         bool
		want           int
	}{
		"a build that failed while it stored": {kind: "automated", from: "building", to: "failed", commit: &commit, counted: true, want: 1},
		"a build that could not be published": {kind: "automated", from: "publishing", to: "failed", commit: &commit, complete: true, want: 1},
		"a superseded build":                  {kind: "automated", from: "publishing", to: "superseded", commit: &commit, complete: true, want: 1},
		"a cancelled build":                   {kind: "automated", from: "building", to: "cancelled", commit: &commit, counted: true, want: 1},
		"a build without output":              {kind: "automated", from: "building", to: "failed", commit: &commit},
		"a commit that was never built":       {kind: "automated", from: "waiting", to: "superseded", commit: &commit},
		"an upload that was never built":      {kind: "automated", from: "waiting", to: "cancelled", source: true, want: 1},
		"a release, which a retry needs":      {kind: "release", from: "publishing", to: "failed", complete: true},
		"a build that is live":                {kind: "automated", from: "publishing", to: "succeeded", commit: &commit, complete: true},
	} {
		r.retained(id)
		if _, err := r.db.Exec(t.Context(), "DELETE FROM work WHERE kind = 'retention'"); err != nil {
			t.Fatal(err)
		}
		tree := site.Tree{Pipeline: id, Deployment: uuid.Must(uuid.NewV7())}
		exec := func(sql string, args ...any) {
			t.Helper()
			if _, err := r.db.Exec(t.Context(), sql, args...); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		var digest *string
		if c.complete {
			digest = new(strings.Repeat("0", 64))
		}
		exec(`INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, commit_sha, manifest_digest, started_at)
			SELECT $2, id, last_number + 1, $3, $4, $2, 'test', $5, $6, CASE WHEN $4 = 'waiting' THEN NULL ELSE now() END FROM pipelines WHERE id = $1`,
			id, tree.Deployment, c.kind, c.from, c.commit, digest)
		exec("UPDATE pipelines SET last_number = last_number + 1 WHERE id = $1", id)
		if c.counted || c.complete {
			upload(t, r.cloud.Store, tree, map[string]string{"index.html": name})
		}
		if c.counted {
			exec("INSERT INTO counted_trees (tree_id, pipeline_id) VALUES ($1, $2)", tree.Deployment, id)
		}
		if c.source {
			of := r.declared(id)
			exec("DELETE FROM work WHERE kind = 'retention'")
			exec("INSERT INTO sources (deployment_id, release_id) VALUES ($1, $2)", tree.Deployment, of.Deployment)
			tree = of
		}
		exec("UPDATE deployments SET state = $2, finished_at = now(), live_at = CASE WHEN $2 = 'succeeded' THEN now() END WHERE id = $1 OR id = (SELECT deployment_id FROM sources WHERE release_id = $1)", tree.Deployment, c.to)
		if n := requested(); n != c.want {
			t.Errorf("%s: %d requests of retention, want %d", name, n, c.want)
			continue
		}
		if c.want == 1 {
			r.retained(id)
			if trees := r.trees(id); slices.Contains(trees, tree.Deployment) || !slices.Contains(trees, live) {
				t.Errorf("%s: the trees are %v, want %s without %s", name, trees, live, tree.Deployment)
			}
		}
	}
}

// An upload that was given up can't be finalized, even by a transaction that
// began before it expired.
func TestExpiredUploadsGiveTheirRoomBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.quota = intake.Quota{Bytes: 12}
	r.start()
	id := r.pipeline("blog")
	first := r.declared(id)
	m, err := r.cloud.Store.Manifest(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.in.CountTree(t.Context(), r.cloud.Store, first, m, m.Files); err != nil {
		t.Fatal(err)
	}
	second := site.Tree{Pipeline: id, Deployment: uuid.Must(uuid.NewV7())}
	others := site.Manifest{Files: []site.File{{Path: "a", Size: 9, SHA256: site.Digest{1}}}}
	if err := r.in.CountTree(t.Context(), r.cloud.Store, second, others, others.Files); troy.KindOf(err) != troy.OverQuota {
		t.Fatalf("a second upload: %v, want over quota", err)
	}
	if _, err := r.db.Exec(t.Context(), "UPDATE releases SET expires_at = now()"); err != nil {
		t.Fatal(err)
	}
	r.retained(id)
	if err := r.in.CountTree(t.Context(), r.cloud.Store, second, others, others.Files); err != nil {
		t.Errorf("after the first one expired: %v", err)
	}
	third := r.declared(id)
	if _, err := r.db.Exec(t.Context(), "UPDATE releases SET given_up_at = now() WHERE id = $1", third.Deployment); err != nil {
		t.Fatal(err)
	}
	if _, err := r.in.Finalize(t.Context(), intake.Finalization{Pipeline: id, Release: third.Deployment, Publish: true, Actor: "test"}); troy.KindOf(err) != troy.Conflict {
		t.Errorf("an upload that was given up is finalized: %v", err)
	}
}

// A build whose files exceed the quota fails with that cause, and what is live
// stays.
func TestBuildOverQuota(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.quota = intake.Quota{Bytes: 200}
	r.start()
	p := r.building("blog")
	live := r.live(p.ID, map[string]string{"index.html": "live"})
	r.builder.mu.Lock()
	r.builder.output = map[string]string{"large.bin": strings.Repeat("x", 1000)}
	r.builder.mu.Unlock()
	commit := strings.Repeat("a", 40)
	r.head("blog", commit)
	r.pushed("blog", strings.Repeat("0", 40), commit)
	after := r.waitFor(p.ID, troy.FailedToDeploy)
	if !strings.Contains(after.Cause, "its quota is 200 B") || after.LiveDeploymentID == nil || *after.LiveDeploymentID != live {
		t.Errorf("cause %q, live %v", after.Cause, after.LiveDeploymentID)
	}
	if trees := r.trees(p.ID); len(trees) != 1 || trees[0] != live {
		t.Errorf("the trees are %v, want only the live one", trees)
	}
}

// A preview's files count as the site's do: a build that exceeds the quota fails
// with that cause, and the preview and the site stay as they were.
func TestPreviewOverQuota(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.quota = intake.Quota{Bytes: 200}
	r.withPreviews()
	r.forge.writers = []string{ada.ID}
	r.start()
	p := r.building("blog")
	live := r.live(p.ID, map[string]string{"index.html": "live"})
	makes := func(output map[string]string) {
		r.builder.mu.Lock()
		defer r.builder.mu.Unlock()
		r.builder.output = output
	}
	makes(map[string]string{"small.txt": "small"})
	r.hears(pull("blog", 7, "one", ada))
	shown := r.showsCommit(p.ID, "pr-7", "one")
	trees := r.trees(p.ID)

	makes(map[string]string{"large.bin": strings.Repeat("x", 1000)})
	r.hears(pull("blog", 7, "two", ada))
	var state troy.DeploymentState
	var cause string
	eventually(t, func() bool {
		err := r.db.QueryRow(t.Context(), "SELECT state, cause FROM deployments WHERE pipeline_id = $1 AND commit_sha = $2", p.ID, commitID("two")).Scan(&state, &cause)
		return err == nil && state == troy.Failed
	}, func() string { return "the second build of the preview is " + string(state) })
	if !strings.Contains(cause, "its quota is 200 B") {
		t.Errorf("the cause is %q", cause)
	}
	r.previewLabelled(p.ID, "pr-7", "as it was", shows(shown.ID))
	after, err := r.q.PipelineGet(t.Context(), p.ID)
	if err != nil || after.Status != troy.Deployed || after.LiveDeploymentID == nil || *after.LiveDeploymentID != live {
		t.Errorf("the site is %s with %v live, %v", after.Status, after.LiveDeploymentID, err)
	}
	if now := r.trees(p.ID); len(now) != len(trees) {
		t.Errorf("the trees are %v, want %v", now, trees)
	}
}
