package intake_test

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// locked locks a pipeline for the reason "an incident".
func (w *world) locked(p queries.Pipeline) {
	w.t.Helper()
	if _, err := w.in.Lock(w.ctx(), p.ID, "an incident", "token mona"); err != nil {
		w.t.Fatal(err)
	}
}

// deployments returns the commits, kinds and states of all deployments, oldest
// first.
func (w *world) deployments() string {
	w.t.Helper()
	var s string
	if err := w.db.QueryRow(w.ctx(), "SELECT coalesce(string_agg(left(commit_sha, 1) || ' ' || kind || ' ' || state, ', ' ORDER BY number), '') FROM deployments").Scan(&s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// A push to a locked pipeline is recorded but not deployed; unlocking deploys
// the newest buildable one.
func TestLockHoldsPushesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bound(1)
	w.locked(p)
	out := w.push(1, troy.Push{After: commit("a")})
	if out.Result != intake.Ignored || out.Detail != "site-1: locked by token mona: an incident; commit aaaaaaa is held back until it is unlocked" || out.PipelineID == nil {
		t.Errorf("%+v", out)
	}
	w.push(1, troy.Push{Before: commit("a"), After: commit("b")})
	w.push(1, troy.Push{Before: commit("b"), After: commit("c"), Skip: "the message asks for no build"})
	if _, err := w.in.HeadFound(w.ctx(), p.ID, intake.Head{Branch: "main", Commit: commit("c")}); err != nil {
		t.Fatal(err)
	}
	if n := w.count("SELECT count(*) FROM deployments"); n != 0 {
		t.Errorf("%d deployments were made while it was locked", n)
	}
	after, err := w.in.Unlock(w.ctx(), p.ID, "token lisa")
	if err != nil || after.LockedAt != nil || after.LockedBy != "" || after.HeldPush != nil || after.Status != troy.Queued {
		t.Errorf("%+v, %v", after, err)
	}
	if got := w.deployments(); got != "b automated waiting" {
		t.Errorf("the deployments are %q", got)
	}
	w.push(1, troy.Push{Before: commit("c"), After: commit("d")})
	if got := w.deployments(); got != "b automated superseded, d automated waiting" {
		t.Errorf("after the next push the deployments are %q", got)
	}
	if _, err := w.in.Unlock(w.ctx(), p.ID, "token lisa"); err != nil {
		t.Errorf("a pipeline that is not locked: %v", err)
	}
	if n := w.count("SELECT count(*) FROM deployments"); n != 2 {
		t.Errorf("%d deployments, want 2", n)
	}
}

// A lock cancels deployments that are not being published yet, and the pipeline
// rests; unlocking deploys what the lock cancelled.
func TestLockCancels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bound(1)
	w.push(1, troy.Push{After: commit("a")})
	w.exec("UPDATE deployments SET state = 'building', started_at = now()")
	w.exec("UPDATE pipelines SET status = 'deploying'")
	w.push(1, troy.Push{Before: commit("a"), After: commit("b")})
	w.locked(p)
	if got := w.deployments(); got != "a automated cancelled, b automated cancelled" {
		t.Errorf("the deployments are %q", got)
	}
	if n := w.count("SELECT count(*) FROM deployments WHERE cause = 'locked by token mona: an incident'"); n != 2 {
		t.Errorf("%d have the lock as cause, want 2", n)
	}
	if now := w.get(p.ID); now.Status != troy.ReadyForDeployment {
		t.Errorf("it is %s", now.Status)
	}
	if n := w.count("SELECT count(*) FROM work WHERE kind IN ('pipeline:deploy', 'deployment:build')"); n != 0 {
		t.Errorf("%d rows of deploying work are left", n)
	}
	if _, err := w.in.Unlock(w.ctx(), p.ID, "test"); err != nil {
		t.Fatal(err)
	}
	if got := w.deployments(); got != "a automated cancelled, b automated cancelled, b automated waiting" {
		t.Errorf("the deployments are %q", got)
	}
}

// A locked pipeline refuses new deployments but allows rollbacks and promotions.
func TestLockRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bound(1)
	old := w.ended(p, troy.Succeeded, true)
	w.ended(p, troy.Succeeded, true)
	w.put(p, troy.Deployed)
	w.push(1, troy.Push{After: commit("a")})
	f := w.release(p)
	unpublished := w.release(p)
	w.locked(p)
	failed := w.count("UPDATE deployments SET state = 'failed' WHERE state = 'cancelled' RETURNING number")
	w.put(p, troy.FailedToDeploy)
	var automated uuid.UUID
	if err := w.db.QueryRow(w.ctx(), "SELECT id FROM deployments WHERE number = $1", failed).Scan(&automated); err != nil {
		t.Fatal(err)
	}
	const says = "locked by token mona: an incident; to unlock it: troy unlock site-1"
	for name, do := range map[string]func() error{
		"deploy": func() error { _, err := w.in.DeployCommit(w.ctx(), p.ID, "", "test"); return err },
		"retry":  func() error { _, err := w.in.Retry(w.ctx(), p.ID, automated, "test"); return err },
		"ring": func() error {
			_, err := w.in.RingByHand(w.ctx(), "pipeline:deploy", p.ID, "test")
			return err
		},
		"release": func() error { f.Publish = true; _, err := w.in.Finalize(w.ctx(), f); return err },
		"request": func() error {
			_, err := w.in.BuildRequested(w.ctx(), intake.BuildRequest{ID: "1", Pipeline: p.Slug})
			return err
		},
		"lock": func() error { _, err := w.in.Lock(w.ctx(), p.ID, "another", "test"); return err },
	} {
		t.Run(name, func(t *testing.T) { wantKind(t, do(), troy.Conflict, says) })
	}
	d, e := pushTo(1, 0, "")
	out, err := w.in.ForgeEvent(w.ctx(), d, troy.Rerequest{Repository: e.Repository, Commit: commit("a"), Sender: "mona"})
	if err != nil || out.Result != intake.Ignored || out.Detail != "site-1: locked by token mona: an incident" {
		t.Errorf("a re-run: %+v, %v", out, err)
	}
	unpublished.Publish = false
	if _, err := w.in.Finalize(w.ctx(), unpublished); err != nil {
		t.Errorf("an upload: %v", err)
	}
	if _, err := w.in.Rollback(w.ctx(), p.ID, old.ID, "test"); err != nil {
		t.Errorf("a rollback: %v", err)
	}
	if _, err := w.in.Promote(w.ctx(), p.ID, old.ID, "test"); err != nil {
		t.Errorf("a promotion: %v", err)
	}
	if _, err := w.in.Unlock(w.ctx(), p.ID, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.in.Finalize(w.ctx(), f); err != nil {
		t.Errorf("the release after unlocking: %v", err)
	}
	for _, reason := range []string{"", " ", "a\nb"} {
		_, err := w.in.Lock(w.ctx(), p.ID, reason, "test")
		wantKind(t, err, troy.Invalid, "")
	}
}

// A held push to another branch is not deployed, and neither is any push while
// the source can't be read: the branch is then read again.
func TestUnlockAfterAChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bound(1)
	w.locked(p)
	w.push(1, troy.Push{After: commit("a")})
	branch := "next"
	if _, err := w.in.Configure(w.ctx(), p.ID, intake.Configuration{Repository: &intake.RepositoryChange{Branch: &branch}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.in.Unlock(w.ctx(), p.ID, "test"); err != nil {
		t.Fatal(err)
	}
	w.locked(p)
	w.push(1, troy.Push{Name: branch, After: commit("b")})
	var held struct{ Commit string }
	if err := json.Unmarshal(w.get(p.ID).HeldPush, &held); err != nil || held.Commit != commit("b") {
		t.Errorf("the held push is %+v, %v", held, err)
	}
	w.exec("UPDATE pipelines SET source_problem = 'the app was uninstalled'")
	after, err := w.in.Unlock(w.ctx(), p.ID, "test")
	if err != nil || after.HeadCommit != nil {
		t.Errorf("the head is %v, %v", after.HeadCommit, err)
	}
	if got := w.deployments(); got != "" {
		t.Errorf("the deployments are %q", got)
	}
}
