package workers

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/tasks"
)

// TestIdleLooks lets workers become idle. Rows that were never rung are found
// at the next look, and soon after a wake-up or a request.
func TestIdleLooks(t *testing.T) {
	t.Parallel()
	for what, wake := range map[string]func(*rig, *Workers) error{
		"a look at an interval": nil,
		"a wake-up by another process": func(r *rig, w *Workers) error {
			return tasks.NewClient(r.redis).Ring(t.Context(), tasks.Task{Kind: tasks.TypeReport, Subject: uuid.New()}, uuid.New(), 0)
		},
		"a request by an operator": func(r *rig, w *Workers) error { return tasks.NewClient(r.redis).Sweep(t.Context()) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.reconcile = time.Hour
			if r.idle = time.Hour; wake == nil {
				r.idle = 3 * time.Second
			}
			w, _ := r.start()
			id := r.pipeline("blog")
			// The start requests a check of deliveries, and its retention follows.
			eventually(t, func() bool {
				found, err := r.q.BellLook(t.Context(), tasks.Kinds())
				return err == nil && !found.Due && !found.Outstanding
			}, func() string { return "the workers do not become idle" })
			var swept time.Time
			eventually(t, func() bool {
				before := swept
				err := r.db.QueryRow(t.Context(), "SELECT swept_at FROM bell").Scan(&swept)
				return err == nil && time.Since(swept) > sweepInterval && swept.Equal(before)
			}, func() string { return "the workers sweep while there is nothing to do" })
			r.requestProvision(id)
			if wake != nil {
				if err := wake(r, w); err != nil {
					t.Fatal(err)
				}
			}
			r.waitFor(id, troy.ReadyForDeployment)
		})
	}
}

// TestOneSweeps has many processes look at the same time. One of them sweeps in
// each interval.
func TestOneSweeps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	turns := make(chan int64, 20)
	for range cap(turns) {
		go func() {
			n, err := r.q.BellSweep(t.Context(), time.Hour.Seconds())
			if err != nil {
				t.Error(err)
			}
			turns <- n
		}()
	}
	sum := int64(0)
	for range cap(turns) {
		sum += <-turns
	}
	if sum != 1 {
		t.Errorf("%d of %d processes have the turn to sweep, want 1", sum, cap(turns))
	}
	if n, err := r.q.BellSweep(t.Context(), 0); err != nil || n != 1 {
		t.Errorf("after the interval %d have it (%v), want 1", n, err)
	}
	// However often there is a reconciliation, it takes no turn from a sweep.
	if _, err := r.db.Exec(t.Context(), "UPDATE bell SET swept_at = now() - interval '3 seconds'"); err != nil {
		t.Fatal(err)
	}
	if n, err := r.q.BellReconcile(t.Context(), 0); err != nil || n != 1 {
		t.Errorf("%d reconcile (%v), want 1", n, err)
	}
	if n, err := r.q.BellSweep(t.Context(), 2); err != nil || n != 1 {
		t.Errorf("after a reconciliation %d have the turn to sweep (%v), want 1", n, err)
	}
}

// TestClockSetBack finds times from before the clock was set back by a day. The
// sweep and the reconciliation don't wait for it to pass.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if _, err := r.db.Exec(t.Context(), "INSERT INTO bell (swept_at, reconciled_at) VALUES (now() + interval '1 day', now() + interval '1 day')"); err != nil {
		t.Fatal(err)
	}
	found, err := r.q.BellLook(t.Context(), tasks.Kinds())
	if err != nil || found.ReconciledSecondsAgo < time.Hour.Seconds() {
		t.Errorf("the last reconciliation seems to be %f s old: %v", found.ReconciledSecondsAgo, err)
	}
	if n, err := r.q.BellSweep(t.Context(), sweepInterval.Seconds()); err != nil || n != 1 {
		t.Errorf("%d processes have the turn to sweep (%v), want 1", n, err)
	}
	if n, err := r.q.BellReconcile(t.Context(), reconcileInterval.Seconds()); err != nil || n != 1 {
		t.Errorf("%d processes have the turn to reconcile (%v), want 1", n, err)
	}
}
