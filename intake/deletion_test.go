package intake_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

func withGrace(cfg *intake.Config) { cfg.DeleteGrace = 10 * time.Minute }

// TestRestore deletes and restores a pipeline in each status, with and without
// something that is live.
func TestRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withGrace)
	for _, s := range troy.RowStatuses() {
		for _, live := range []bool{false, true} {
			p := w.create("Site")
			if live {
				w.ended(p, troy.Succeeded, true)
			}
			w.put(p, s)
			w.exec("UPDATE pipelines SET cause = 'broken' WHERE id = $1", p.ID)
			w.exec("DELETE FROM work WHERE subject_id = $1", p.ID)
			want, cause := s, "broken"
			switch s {
			case troy.Provisioning:
				want, cause = troy.ProvisionRequest, ""
			case troy.Queued, troy.Deploying:
				if want, cause = troy.ReadyForDeployment, ""; live {
					want = troy.Deployed
				}
			case troy.ScheduledForDeletion, troy.Deleting:
				_, err := w.in.Restore(w.ctx(), p.ID, "token bea")
				wantKind(t, err, troy.Conflict, "has begun and can't be undone")
				continue
			case troy.FailedToDelete:
				_, err := w.in.ScheduleDeletion(w.ctx(), p.ID, "token ana")
				if now := w.get(p.ID); err != nil || now.DeleteDueAt != nil {
					t.Errorf("from %s the deletion is due %v, %v; want at once", s, now.DeleteDueAt, err)
				}
				_, err = w.in.Restore(w.ctx(), p.ID, "token bea")
				wantKind(t, err, troy.Conflict, "requested by token ana")
				continue
			}
			deleted, err := w.in.ScheduleDeletion(w.ctx(), p.ID, "token ana")
			if err != nil || deleted.Status != troy.ScheduledForDeletion || deleted.DeleteDueAt == nil || deleted.DeleteAskedBy != "token ana" || deleted.Cause != "" {
				t.Fatalf("deleted from %s: %+v, %v", s, deleted, err)
			}
			if n := w.count(`SELECT count(*) FROM work w JOIN pipelines p ON p.id = w.subject_id
				WHERE p.id = $1 AND w.kind = 'pipeline:teardown-start' AND w.due_at = p.delete_due_at AND w.since = p.delete_due_at`, p.ID); n != 1 {
				t.Errorf("from %s the work is not due with the deletion", s)
			}
			restored, err := w.in.Restore(w.ctx(), p.ID, "token bea")
			if err != nil || restored.Status != want || restored.Cause != cause || restored.DeleteDueAt != nil || restored.DeleteAskedBy != "" || restored.Version != p.Version+2 {
				t.Errorf("restored from %s, live %t: %+v, %v", s, live, restored, err)
			}
			for _, kind := range append(tasks.OfStatus(want), tasks.TypeRetention) {
				if _, err := w.q.WorkGet(w.ctx(), kind, p.ID); err != nil {
					t.Errorf("restored to %s without %s: %v", want, kind, err)
				}
			}
			if _, err := w.q.WorkGet(w.ctx(), tasks.TypeThumbnail, p.ID); (err == nil) != live {
				t.Errorf("restored to %s, live %t, the work of its picture: %v", want, live, err)
			}
			if _, err := w.q.WorkGet(w.ctx(), tasks.TypeTeardownStart, p.ID); err == nil {
				t.Errorf("restored to %s with the deletion's work", want)
			}
			_, err = w.in.Restore(w.ctx(), p.ID, "token cy")
			wantKind(t, err, troy.Conflict, "token bea restored it at")
		}
	}
	p := w.create("Never deleted")
	_, err := w.in.Restore(w.ctx(), p.ID, "token bea")
	wantKind(t, err, troy.Conflict, "only a pipeline that is Scheduled for Deletion can be restored")
	_, err = w.in.Restore(w.ctx(), uuid.New(), "token bea")
	wantKind(t, err, troy.NotFound, "pipeline not found")
}

// TestRestoreDeploysAgain cancels a deployment of each state by a deletion, and
// one by hand: the undo requests again what the deletion cancelled.
func TestRestoreDeploysAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withGrace)
	p := w.bound(1)
	d, push := pushTo(1, 1, "hello")
	if _, err := w.in.ForgeEvent(w.ctx(), d, push); err != nil {
		t.Fatal(err)
	}
	published := w.ended(p, troy.Publishing, false)
	w.exec("UPDATE deployments SET expect_live = 'none' WHERE id = $1", published.ID)
	w.ended(p, troy.Cancelled, false)
	w.put(p, troy.Deploying)
	if _, err := w.in.ScheduleDeletion(w.ctx(), p.ID, "token ana"); err != nil {
		t.Fatal(err)
	}
	if n := w.count("SELECT count(*) FROM deployments WHERE pipeline_id = $1 AND state = 'cancelled'", p.ID); n != 3 {
		t.Fatalf("%d deployments are cancelled, want 3", n)
	}
	// A commit that is pushed meanwhile is not forgotten.
	d, push = pushTo(1, 2, "later")
	if _, err := w.in.ForgeEvent(w.ctx(), d, push); err != nil {
		t.Fatal(err)
	}
	if now := w.get(p.ID); *now.HeadCommit == push.Pushes[0].After {
		t.Error("a push during the grace period counts as known, so it will not be built after an undo")
	}
	after, err := w.in.Restore(w.ctx(), p.ID, "token bea")
	if err != nil || after.Status != troy.Queued {
		t.Fatalf("restored: %+v, %v", after, err)
	}
	rows, err := w.q.DeploymentList(w.ctx(), queries.DeploymentListParams{PipelineID: p.ID, PageLimit: 10})
	if err != nil || len(rows) != 5 {
		t.Fatalf("%d deployments, %v; want the three and two new ones", len(rows), err)
	}
	release, build := rows[0], rows[1]
	if build.Kind != troy.Automated || build.State != troy.Waiting || *build.CommitSha != *rows[4].CommitSha || build.Actor != rows[4].Actor {
		t.Errorf("the commit is built again by %+v", build)
	}
	if release.Kind != troy.Release || release.State != troy.Waiting || release.TreeID != published.ID || *release.ExpectLive != "none" || release.Actor != published.Actor {
		t.Errorf("the release is published again by %+v", release)
	}
	if _, err := w.q.WorkGet(w.ctx(), tasks.TypeCatchUp, p.ID); err != nil {
		t.Errorf("the branch is not checked: %v", err)
	}
}

// TestDuringTheGracePeriod sends each other request to a pipeline whose
// deletion can be undone.
func TestDuringTheGracePeriod(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withGrace)
	doomed := func(name string) queries.Pipeline {
		t.Helper()
		p := w.create(name)
		w.put(p, troy.Deployed)
		p, err := w.in.ScheduleDeletion(w.ctx(), p.ID, "token ana")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := doomed("Blog")
	_, err := w.in.ScheduleDeletion(w.ctx(), p.ID, "token bea")
	wantKind(t, err, troy.Conflict, "(requested by token ana); the deletion begins at "+p.DeleteDueAt.UTC().Format(time.RFC3339)+"; to undo it: troy restore blog; to delete at once: troy pipeline delete blog --now")
	_, err = w.in.Finalize(w.ctx(), w.release(p))
	wantKind(t, err, troy.Conflict, "does not allow releases; the deletion begins at")
	for what, do := range map[string]func() error{
		"provisioning":                 func() error { _, err := w.in.RequestProvision(w.ctx(), p.ID, "token bea"); return err },
		"retries":                      func() error { _, err := w.in.Retry(w.ctx(), p.ID, uuid.New(), "token bea"); return err },
		"rollbacks":                    func() error { _, err := w.in.Rollback(w.ctx(), p.ID, uuid.Nil, "token bea"); return err },
		"promotions":                   func() error { _, err := w.in.Promote(w.ctx(), p.ID, uuid.New(), "token bea"); return err },
		"locks":                        func() error { _, err := w.in.Lock(w.ctx(), p.ID, "why", "token bea"); return err },
		"purges":                       func() error { _, err := w.in.Purge(w.ctx(), p.ID, "", "token bea"); return err },
		"changes to its configuration": func() error { _, err := w.in.Configure(w.ctx(), p.ID, intake.Configuration{}); return err },
		"changes to its variables": func() error {
			_, err := w.in.SetVariable(w.ctx(), p.ID, intake.Variable{Name: "NAME", Seal: func(string) ([]byte, error) { return []byte("v"), nil }})
			return err
		},
	} {
		err := do()
		wantKind(t, err, troy.Conflict, "which does not allow "+what+"; the deletion begins at")
		wantKind(t, err, troy.Conflict, "; to undo it: troy restore blog")
	}
	_, err = w.in.CreatePipeline(w.ctx(), intake.NewPipeline{Name: "Blog", Slug: "blog"}, "token bea")
	wantKind(t, err, troy.Conflict, "taken")
	said, err := w.in.RingByHand(w.ctx(), tasks.TypeTeardownStart, p.ID, "token bea")
	if err != nil || !contains(said, "nothing was rung") {
		t.Errorf("a ring says %q, %v", said, err)
	}
	for _, afresh := range []bool{false, true} {
		_, err = w.in.HurryWork(w.ctx(), tasks.TypeTeardownStart, p.ID, afresh, "token bea")
		wantKind(t, err, troy.Conflict, "begins at "+p.DeleteDueAt.UTC().Format(time.RFC3339)+"; to delete it at once: troy pipeline delete blog --now")
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action LIKE 'work.%'"); n != 0 {
		t.Errorf("%d refused rings are recorded", n)
	}
	if n := w.count("SELECT count(*) FROM work WHERE subject_id = $1 AND due_at > now() + interval '9 minutes'", p.ID); n != 1 {
		t.Error("a request during the grace period changed the deletion's work")
	}

	now, err := w.in.DeleteNow(w.ctx(), p.ID, "token bea")
	if err != nil || now.Status != troy.ScheduledForDeletion || now.DeleteDueAt != nil || now.DeleteAskedBy != "token ana" {
		t.Errorf("deleted at once: %+v, %v", now, err)
	}
	if n := w.count("SELECT count(*) FROM work WHERE subject_id = $1 AND kind = 'pipeline:teardown-start' AND due_at <= now()", p.ID); n != 1 {
		t.Error("deleted at once, its work is not due")
	}
	if n := w.count("SELECT count(*) FROM audit WHERE pipeline_id = $1 AND action = 'pipeline.delete-now' AND actor = 'token bea'", p.ID); n != 1 {
		t.Errorf("%d entries of the audit trail, want 1", n)
	}
	_, err = w.in.DeleteNow(w.ctx(), p.ID, "token bea")
	wantKind(t, err, troy.Conflict, "wait for the end of its deletion")
	if p, err = w.in.DeleteNow(w.ctx(), w.create("Shop").ID, "token bea"); err != nil || p.DeleteDueAt != nil {
		t.Errorf("deleted without a grace period: %+v, %v", p, err)
	}
}

// TestAppEventsDuringTheGracePeriod deletes the app of a pipeline whose
// deletion can be undone, and creates the app again.
func TestAppEventsDuringTheGracePeriod(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withGrace)
	first := w.event(event("evt-1", intake.AppCreated, 0), intake.Created)
	if _, err := w.in.ScheduleDeletion(w.ctx(), *first.PipelineID, "token ana"); err != nil {
		t.Fatal(err)
	}
	second := w.event(event("evt-2", intake.AppCreated, time.Hour), intake.Created)
	if p := w.get(*second.PipelineID); p.Slug != "blog-2" {
		t.Errorf("the app's next pipeline is %s", p.Slug)
	}
	_, err := w.in.Restore(w.ctx(), *first.PipelineID, "token ana")
	wantKind(t, err, troy.Conflict, "has another pipeline by now")
	if p := w.get(*first.PipelineID); p.Status != troy.ScheduledForDeletion || p.DeleteDueAt == nil {
		t.Errorf("refused, but the pipeline is %+v", p)
	}
	if _, err := w.in.ScheduleDeletion(w.ctx(), *second.PipelineID, "token ana"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.in.Restore(w.ctx(), *first.PipelineID, "token ana"); err != nil {
		t.Fatal(err)
	}
	out := w.event(event("evt-3", intake.AppDeleted, 2*time.Hour), intake.DeletionScheduled)
	if *out.PipelineID != *first.PipelineID {
		t.Errorf("the outcome is about %s", out.PipelineID)
	}
	for _, id := range []uuid.UUID{*first.PipelineID, *second.PipelineID} {
		p := w.get(id)
		if p.Status != troy.ScheduledForDeletion || p.DeleteDueAt != nil {
			t.Errorf("%s is %s, due %v; want its deletion to begin at once", p.Slug, p.Status, p.DeleteDueAt)
		}
		if n := w.count("SELECT count(*) FROM work WHERE subject_id = $1 AND kind = 'pipeline:teardown-start' AND due_at <= now()", id); n != 1 {
			t.Errorf("%s: its work is not due", p.Slug)
		}
	}
	w.event(event("evt-4", intake.AppDeleted, 3*time.Hour), intake.Ignored)
}

// TestRestoreAndDeleteAtOnce races an undo against a deletion without delay:
// one of them wins, and the other one says so.
func TestRestoreAndDeleteAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withGrace)
	for range 10 {
		p := w.create("Blog")
		w.put(p, troy.Deployed)
		if _, err := w.in.ScheduleDeletion(w.ctx(), p.ID, "token ana"); err != nil {
			t.Fatal(err)
		}
		var undone, again error
		var both sync.WaitGroup
		both.Go(func() { _, undone = w.in.Restore(w.ctx(), p.ID, "token bea") })
		both.Go(func() { _, again = w.in.DeleteNow(w.ctx(), p.ID, "token ana") })
		both.Wait()
		now := w.get(p.ID)
		if again != nil || now.Status != troy.ScheduledForDeletion || now.DeleteDueAt != nil {
			t.Errorf("the pipeline is %s, due %v; the deletion says %v", now.Status, now.DeleteDueAt, again)
		}
		if undone != nil {
			wantKind(t, undone, troy.Conflict, "has begun")
		}
	}
}
