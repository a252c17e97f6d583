package workers

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// due makes a pipeline's schedule due since a time ago. Its work stays as it is.
func (r *rig) due(id uuid.UUID, ago string) {
	r.t.Helper()
	if _, err := r.db.Exec(r.t.Context(), "UPDATE schedules SET next_at = now() - $2::interval WHERE pipeline_id = $1", id, ago); err != nil {
		r.t.Fatal(err)
	}
}

// carriedOut waits until a schedule was carried out and is due again later.
func (r *rig) carriedOut(id uuid.UUID) (s queries.Schedule) {
	r.t.Helper()
	eventually(r.t, func() bool {
		var err error
		s, err = r.q.ScheduleGet(r.t.Context(), id)
		return err == nil && s.LastAt != nil && s.NextAt.After(time.Now())
	}, func() string { return "the schedule was not carried out" })
	return s
}

func (r *rig) scheduled() (n int) {
	r.t.Helper()
	return r.count("SELECT count(*) FROM deployments WHERE actor = 'schedule'")
}

// TestSchedule carries a schedule out when its work rings, when its work was lost
// and when the pipeline is locked, and then removes it.
func TestSchedule(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.reconcile = 100 * time.Millisecond
	r.start()
	p := r.building("blog")
	r.caughtUp(p.ID)
	r.head("blog", commitID("first"))
	r.pushed("blog", "", commitID("first"))
	r.restsWith(p.ID, commitID("first"))
	if _, err := r.in.SetSchedule(t.Context(), p.ID, "0 0 1 1 *", "Europe/Berlin", "test"); err != nil {
		t.Fatal(err)
	}
	if n := r.count("SELECT count(*) FROM work WHERE kind = 'pipeline:schedule' AND due_at > now() + interval '1 minute' AND due_at <= now() + interval '24 hours'"); n != 1 {
		t.Errorf("%d rows of work, want one that is due within a day", n)
	}

	// Two years of missed times make one deployment, of the branch's head.
	r.due(p.ID, "2 years")
	if _, err := r.q.WorkHurry(t.Context(), tasks.TypeSchedule, p.ID); err != nil {
		t.Fatal(err)
	}
	if s := r.carriedOut(p.ID); s.Problem != "" || s.NextAt.In(time.UTC).Format("01-02T15:04") != "12-31T23:00" {
		t.Errorf("%+v", s)
	}
	r.restsWith(p.ID, commitID("first"))
	if n := r.scheduled(); n != 1 {
		t.Errorf("%d deployments, want 1", n)
	}

	// Lost work is found.
	if _, err := r.db.Exec(t.Context(), "DELETE FROM work WHERE kind = 'pipeline:schedule'"); err != nil {
		t.Fatal(err)
	}
	r.head("blog", commitID("second"))
	r.due(p.ID, "1 hour")
	r.carriedOut(p.ID)
	r.restsWith(p.ID, commitID("second"))
	if n := r.scheduled(); n != 2 || !strings.Contains(r.reconciled(), "pipeline:schedule") {
		t.Errorf("%d deployments, and the net found\n%s", n, r.reconciled())
	}

	// A lock skips the time and says so.
	if _, err := r.in.Lock(t.Context(), p.ID, "an incident", "test"); err != nil {
		t.Fatal(err)
	}
	r.due(p.ID, "1 hour")
	if _, err := r.q.WorkHurry(t.Context(), tasks.TypeSchedule, p.ID); err != nil {
		t.Fatal(err)
	}
	if s := r.carriedOut(p.ID); !strings.Contains(s.Problem, "an incident") || r.scheduled() != 2 {
		t.Errorf("%+v", s)
	}

	// An earlier time replaces a later one, and removing the schedule ends it.
	if _, err := r.in.SetSchedule(t.Context(), p.ID, "@hourly", "", "test"); err != nil {
		t.Fatal(err)
	}
	if n := r.count("SELECT count(*) FROM schedules WHERE zone = 'UTC' AND problem = '' AND next_at <= now() + interval '1 hour'"); n != 1 {
		t.Error("the schedule was not replaced")
	}
	if err := r.in.RemoveSchedule(t.Context(), p.ID, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.q.WorkHurry(t.Context(), tasks.TypeSchedule, p.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return r.hasNoWork(tasks.TypeSchedule, p.ID) }, func() string { return "the work of the removed schedule stays" })
	if n := r.scheduled(); n != 2 {
		t.Errorf("%d deployments after the removal, want 2", n)
	}
}

func TestScheduleIsNeverDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.giveUp(tasks.TypeSchedule, r.pipeline("blog"))
}
