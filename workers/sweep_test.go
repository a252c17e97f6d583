package workers

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
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

// TestWorkFollowsAClockSetBack gives work the times that a clock which was a
// day ahead gave it: none of it may wait for that day.
func TestWorkFollowsAClockSetBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.workers()
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := r.db.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	held, delayed, rung, later := uuid.New(), uuid.New(), uuid.New(), uuid.New()
	exec("INSERT INTO bell (swept_at, reconciled_at) VALUES (now() + interval '1 day' - interval '1 minute', now() + interval '1 day' - interval '10 seconds')")
	for _, id := range []uuid.UUID{held, delayed, rung} {
		exec("INSERT INTO work (kind, subject_id, due_at, since) VALUES ($1, $2, now() + interval '1 day', now() + interval '1 day')", tasks.TypeProvision, id)
	}
	exec("INSERT INTO work (kind, subject_id, due_at) VALUES ($1, $2, now() + interval '25 hours')", tasks.TypeProvision, later)
	exec("UPDATE work SET lease_until = now() + interval '1 day', epoch = 7 WHERE subject_id = $1", held)
	exec("UPDATE work SET ring_id = gen_random_uuid(), ring_at = now() + interval '1 day' WHERE subject_id = $1", rung)
	for range 2 { // the second changes nothing
		if _, err := w.lookOnce(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what, where string
		want        int
	}{
		{"is due within 11 seconds", "due_at <= now() + interval '11 seconds' AND since <= now() + interval '11 seconds' AND subject_id <> $1", 3},
		{"is still held, for one lease", "lease_until > now() AND lease_until <= now() + make_interval(secs => 4) AND subject_id <> $1", 1},
		{"is due in an hour", "due_at > now() + interval '59 minutes' AND due_at <= now() + interval '61 minutes' AND subject_id = $1", 1},
		{"is checked by the next sweep", "(ring_id IS NULL OR ring_at <= now() + interval '5 seconds') AND subject_id <> $1 AND lease_until IS NULL", 2},
	} {
		var n int
		if err := r.db.QueryRow(t.Context(), "SELECT count(*) FROM work WHERE "+c.where, later).Scan(&n); err != nil || n != c.want {
			t.Errorf("%d rows of work %s (%v), want %d", n, c.what, err, c.want)
		}
	}
	var ahead bool
	if err := r.db.QueryRow(t.Context(), "SELECT greatest(swept_at, reconciled_at) > now() FROM bell").Scan(&ahead); err != nil || ahead {
		t.Errorf("the last sweep lies in the future: %t, %v", ahead, err)
	}
}

// TestTakenBackLeaseIsHeld takes back the lease of a worker that stood still. If
// it seemed to have lost its claim, it would end it, and with it the work.
func TestTakenBackLeaseIsHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	subject := uuid.New()
	if err := r.q.WorkRequest(t.Context(), queries.WorkRequestParams{Kind: tasks.TypeDeploy, SubjectID: subject}); err != nil {
		t.Fatal(err)
	}
	claim := queries.WorkClaimParams{Kind: tasks.TypeDeploy, SubjectID: subject, LeaseSeconds: -1, Queue: tasks.QueueQuick}
	first, err := r.q.WorkClaim(t.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.q.WorkExpire(t.Context()); err != nil || n != 1 {
		t.Fatalf("%d leases expired (%v), want 1", n, err)
	}
	is := queries.WorkHeldParams{Kind: tasks.TypeDeploy, SubjectID: subject, Epoch: first.Epoch}
	if held, err := r.q.WorkHeld(t.Context(), is); err != nil || !held {
		t.Errorf("a claim whose lease was taken back is held: %t (%v), want true", held, err)
	}
	if _, err := r.q.WorkClaim(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	if held, err := r.q.WorkHeld(t.Context(), is); err != nil || held {
		t.Errorf("a claim that another followed is held: %t (%v), want false", held, err)
	}
}
