package workers

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// teardownWork returns the work row of a requested deletion.
func (r *rig) teardownWork(id uuid.UUID) (queries.Work, error) {
	return r.q.WorkGet(r.t.Context(), tasks.TypeTeardownStart, id)
}

// TestDeletionWaitsForItsGrace rings the deletion early, loses its work row and
// empties its due time: the site stays up until the time in the pipeline's row.
func TestDeletionWaitsForItsGrace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.grace = time.Hour
	w, _ := r.start()
	id := r.pipeline("blog")
	r.requestProvision(id)
	r.release(id, map[string]string{"index.html": "one"})
	live := r.waitFor(id, troy.Deployed)
	if _, err := r.in.ScheduleDeletion(t.Context(), id, "token ana"); err != nil {
		t.Fatal(err)
	}
	rung := func(what, sql string) {
		t.Helper()
		before, _ := r.teardownWork(id)
		if _, err := r.db.Exec(t.Context(), sql, id); err != nil {
			t.Fatal(err)
		}
		// The net restores work that is missing.
		if err := w.restoreWork(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		w.deps.Bell.Ask(tasks.QueueQuick)
		eventually(t, func() bool {
			row, err := r.teardownWork(id)
			return err == nil && row.Epoch != before.Epoch && row.LeaseUntil == nil && time.Until(row.DueAt) > 50*time.Minute && row.Attempt == 0 && time.Until(row.Since) > 50*time.Minute
		}, func() string { return what + " did not come back later" })
		p, err := r.q.PipelineGet(t.Context(), id)
		if err != nil || p.Status != troy.ScheduledForDeletion || p.DeleteDueAt == nil {
			t.Fatalf("%s: the pipeline is %s, due %v, %v", what, p.Status, p.DeleteDueAt, err)
		}
		if d, err := r.cloud.CDN.Get(t.Context(), *live.DistributionID); err != nil || !d.Enabled {
			t.Fatalf("%s: the distribution is %+v, %v; want it enabled", what, d, err)
		}
	}
	rung("an early ring", "UPDATE work SET due_at = now(), ring_id = NULL WHERE subject_id = $1 AND kind = 'pipeline:teardown-start'")
	rung("lost work", "DELETE FROM work WHERE subject_id = $1 AND kind = 'pipeline:teardown-start'")

	if _, err := r.in.Restore(t.Context(), id, "token bea"); err != nil {
		t.Fatal(err)
	}
	if p := r.waitFor(id, troy.Deployed); *p.LiveDeploymentID != *live.LiveDeploymentID || p.DeleteAskedBy != "" {
		t.Errorf("restored, it is %+v", p)
	}
	if _, err := r.teardownWork(id); err == nil {
		t.Error("the work of the undone deletion is left")
	}

	// The deletion begins by itself at the time in the row, and then can't be
	// undone.
	if _, err := r.in.ScheduleDeletion(t.Context(), id, "token ana"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Exec(t.Context(), "UPDATE pipelines SET delete_due_at = now() WHERE id = $1", id); err != nil {
		t.Fatal(err)
	}
	if _, err := r.in.Restore(t.Context(), id, "token bea"); troy.KindOf(err) != troy.Conflict {
		t.Errorf("an undo that is too late: %v", err)
	}
	if _, err := r.db.Exec(t.Context(), "UPDATE work SET due_at = now() WHERE subject_id = $1", id); err != nil {
		t.Fatal(err)
	}
	w.deps.Bell.Ask(tasks.QueueQuick)
	r.waitFor(id, troy.Deleted)
}

// TestDeletionCanFailAfterItsGrace fails the first call after a grace period
// that is longer than the deadline of the task: it is retried.
func TestDeletionCanFailAfterItsGrace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.grace = time.Hour
	var once sync.Once
	r.cloud.CDN = &failingDisable{CDN: r.cloud.CDN, once: &once}
	w, _ := r.start()
	id := r.provisioned("blog")
	if _, err := r.in.ScheduleDeletion(t.Context(), id, "token ana"); err != nil {
		t.Fatal(err)
	}
	// Ten hours pass.
	for _, sql := range []string{
		"UPDATE pipelines SET delete_due_at = delete_due_at - interval '2 hours', delete_asked_at = delete_asked_at - interval '11 hours' WHERE id = $1",
		"UPDATE work SET due_at = due_at - interval '1 hour', since = since - interval '1 hour' WHERE subject_id = $1 AND kind = 'pipeline:teardown-start'",
	} {
		if _, err := r.db.Exec(t.Context(), sql, id); err != nil {
			t.Fatal(err)
		}
	}
	w.deps.Bell.Ask(tasks.QueueQuick)
	r.waitFor(id, troy.Deleted)
	for _, s := range r.path(id) {
		if s == string(troy.FailedToDelete) {
			t.Errorf("the deletion was given up: %v", r.path(id))
		}
	}
}

type failingDisable struct {
	cloud.CDN
	once *sync.Once
}

func (c *failingDisable) Disable(ctx context.Context, id, etag string) (err error) {
	c.once.Do(func() { err = errors.New("the CDN is away") })
	if err != nil {
		return err
	}
	return c.CDN.Disable(ctx, id, etag)
}

// TestUndoWhileWorkIsInFlight requests a deletion and undoes it while a worker
// is inside a call: before or after the call's effect, and with the undo before
// or after the worker learns of the deletion.
func TestUndoWhileWorkIsInFlight(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ flip, effect, late bool }{
		"flip, before its effect":                   {true, false, false},
		"flip, after its effect":                    {true, true, false},
		"flip, after its effect, undone afterwards": {true, true, true},
		"create, before its effect":                 {false, false, false},
		"create, after its effect":                  {false, true, false},
		"create, after its effect, undone after it": {false, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.grace = time.Hour
			inside, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			pause := func() { once.Do(func() { close(inside); <-goOn }) }
			var mu sync.Mutex
			var pointer site.Pointer
			r.cloud.CDN = &hookedCDN{
				CDN: r.cloud.CDN,
				flip: func(_ context.Context, p site.Pointer, real func() error) error {
					if c.flip && !c.effect {
						pause()
					}
					err := real()
					if err == nil {
						mu.Lock()
						pointer = p
						mu.Unlock()
					}
					if c.flip && c.effect {
						pause()
					}
					return err
				},
				create: func(_ context.Context, real func() (cloud.Distribution, error)) (cloud.Distribution, error) {
					if !c.flip && !c.effect {
						pause()
					}
					d, err := real()
					if !c.flip && c.effect {
						pause()
					}
					return d, err
				},
			}
			r.start()
			id := r.pipeline("blog")
			r.requestProvision(id)
			first := r.release(id, map[string]string{"index.html": "one"})
			<-inside
			if _, err := r.in.ScheduleDeletion(t.Context(), id, "token ana"); err != nil {
				t.Fatal(err)
			}
			if d, err := r.q.DeploymentGet(t.Context(), first); err != nil || d.State != troy.Cancelled {
				t.Fatalf("the deployment is %s, %v", d.State, err)
			}
			if c.late {
				close(goOn)
				kind := tasks.TypeProvision
				if c.flip {
					kind = tasks.TypeDeploy
				}
				eventually(t, func() bool { _, err := r.q.WorkGet(t.Context(), kind, id); return err != nil }, func() string { return "the worker does not stop" })
			}
			if _, err := r.in.Restore(t.Context(), id, "token bea"); err != nil {
				t.Fatal(err)
			}
			if !c.late {
				close(goOn)
			}
			p := r.waitFor(id, troy.Deployed)
			d, err := r.q.DeploymentGet(t.Context(), *p.LiveDeploymentID)
			if err != nil || d.TreeID != first || d.ID == first {
				t.Errorf("live is %+v, %v; want another deployment of the same files", d, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if pointer.Deployment != first || pointer.Sequence != *d.Sequence {
				t.Errorf("the pointer is %+v, want deployment %s with sequence %d", pointer, first, *d.Sequence)
			}
		})
	}
}

// TestDeletionEndsNoClaim deletes a pipeline while another worker has begun to
// look at its branch, after the deletion stopped waiting for such claims.
func TestDeletionEndsNoClaim(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	id := r.pipeline("blog")
	r.requestProvision(id)
	r.release(id, map[string]string{"index.html": "one"})
	r.waitFor(id, troy.Deployed)
	eventually(t, func() bool { return r.count("SELECT count(*) FROM work WHERE kind = 'pipeline:thumbnail'") == 0 }, func() string { return "no picture was taken" })
	if _, err := r.db.Exec(t.Context(), "UPDATE pipelines SET status = 'deleting', version = version + 1 WHERE id = $1", id); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Exec(t.Context(), `INSERT INTO work (kind, subject_id, epoch, lease_until) VALUES
		('forge:catch-up', $1, 1, now() + interval '1 hour'), ('report', $1, 0, NULL), ('pipeline:teardown', $1, 2, now() + interval '1 hour')`, id); err != nil {
		t.Fatal(err)
	}
	if _, err := r.q.PipelineMarkDeleted(t.Context(), queries.PipelineMarkDeletedParams{ID: id, Epoch: 2, Actor: "workers", Cause: "nothing is left"}); err != nil {
		t.Fatal(err)
	}
	var left []string
	if err := r.db.QueryRow(t.Context(), "SELECT array_agg(kind ORDER BY kind) FROM work WHERE subject_id = $1 AND kind <> 'retention'", id).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || left[0] != "forge:catch-up" {
		t.Errorf("the pipeline's deletion leaves the work %q, want only the claim of another", left)
	}

	// The lease ends, and the work with it.
	if _, err := r.db.Exec(t.Context(), "UPDATE work SET lease_until = now() - interval '1 second' WHERE subject_id = $1 AND kind = 'forge:catch-up'", id); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		_, err := r.q.WorkGet(t.Context(), tasks.TypeCatchUp, id)
		return errors.Is(err, pgx.ErrNoRows)
	}, func() string { return "the work of a deleted pipeline is left" })
}
