package workers

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/tasks"
)

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// lockPipeline holds a pipeline's lock until the returned function is called.
func (r *rig) lockPipeline(id uuid.UUID) (unlock func()) {
	r.t.Helper()
	tx, err := r.db.Begin(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	unlock = func() { _ = tx.Rollback(context.WithoutCancel(r.t.Context())) }
	r.t.Cleanup(unlock)
	if _, err := tx.Exec(r.t.Context(), "SELECT 1 FROM pipelines WHERE id = $1 FOR UPDATE", id); err != nil {
		r.t.Fatal(err)
	}
	return unlock
}

// TestARepairThatFails makes the repair of one of two pipelines fail: the
// failure is logged, the other pipeline is repaired, and the first is repaired
// in the next turn. Only repairs are counted.
func TestARepairThatFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status  troy.Status
		repair  func(*Workers, context.Context) error
		warning string
		done    string // is true of a repaired pipeline
	}{
		"work is missing": {
			troy.ProvisionRequest, func(w *Workers, ctx context.Context) error { return w.restoreWork(ctx, 0) },
			"restoring the work of a pipeline failed", "EXISTS (SELECT 1 FROM work w WHERE w.subject_id = p.id AND w.kind = 'pipeline:provision')",
		},
		"a status contradicts the deployments": {
			troy.Deploying, func(w *Workers, ctx context.Context) error { return w.mendPipelines(ctx) },
			"mending a pipeline failed", "p.status = 'ready_for_deployment'",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			w := r.workers()
			var log strings.Builder
			w.log = textLog(&log)
			first, second := r.pipeline("first"), r.pipeline("second")
			if _, err := r.db.Exec(t.Context(), "UPDATE pipelines SET status = $1", string(c.status)); err != nil {
				t.Fatal(err)
			}
			repaired := func(id uuid.UUID) (yes bool) {
				if err := r.db.QueryRow(t.Context(), "SELECT "+c.done+" FROM pipelines p WHERE p.id = $1", id).Scan(&yes); err != nil {
					t.Fatal(err)
				}
				return yes
			}
			unlock := r.lockPipeline(first)
			if err := c.repair(w, t.Context()); err != nil {
				t.Error(err)
			}
			if repaired(first) || !repaired(second) {
				t.Errorf("the locked one is repaired: %t, the other: %t", repaired(first), repaired(second))
			}
			if !strings.Contains(log.String(), c.warning) || !strings.Contains(log.String(), first.String()) || !strings.Contains(log.String(), "lock timeout") {
				t.Errorf("the log says %q", log.String())
			}
			if got := r.reconciled(); !strings.HasSuffix(got, " 1\n") || strings.Count(got, "\n") != 1 {
				t.Errorf("after one repair the metric says %q", got)
			}
			unlock()
			if err := c.repair(w, t.Context()); err != nil || !repaired(first) {
				t.Errorf("in the next turn: %v, repaired: %t", err, repaired(first))
			}
		})
	}
}

// TestAbandonedDeploymentIsReported ends a build that its pipeline left behind:
// the forge gets a report, by work that the same statement requests.
func TestAbandonedDeploymentIsReported(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.reconcile = time.Hour // no net
	_, stop := r.start()
	p := r.building("blog")
	r.head("blog", commitID("first"))
	r.pushed("blog", "", commitID("first"))
	r.restsWith(p.ID, commitID("first"))
	stop()
	id := uuid.Must(uuid.NewV7())
	if _, err := r.db.Exec(t.Context(), `INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, commit_sha, actor, started_at, reported_state)
		VALUES ($1, $2, 9, 'automated', 'building', $1, $3, 'test', now(), 'building')`, id, p.ID, commitID("left behind")); err != nil {
		t.Fatal(err)
	}
	w := r.workers()
	if err := w.mendPipelines(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.q.WorkGet(t.Context(), tasks.TypeReport, id); err != nil {
		t.Errorf("no report is requested: %v", err)
	}
	r.start()
	eventually(t, func() bool {
		told := r.toldOf(commitID("left behind"))
		return len(told) == 1 && told[0].State == troy.Failed && told[0].Summary != ""
	}, func() string { return "the forge got no report" })
}

// lastAttempt makes a work row due for its last attempt.
func (r *rig) lastAttempt(kind string, subject uuid.UUID) {
	r.t.Helper()
	policy, _ := tasks.PolicyOf(kind)
	eventually(r.t, func() bool {
		tag, err := r.db.Exec(r.t.Context(), "UPDATE work SET attempt = $3, due_at = now() WHERE kind = $1 AND subject_id = $2 AND lease_until IS NULL", kind, subject, policy.Attempts-1)
		return err == nil && tag.RowsAffected() == 1
	}, func() string { return "there is no " + kind })
}

// putAway reports whether a build's log is compressed and its resources are
// removed.
func (r *rig) putAway(id uuid.UUID) (yes bool) {
	r.t.Helper()
	if err := r.db.QueryRow(r.t.Context(), "SELECT finished_at IS NOT NULL AND emptied FROM builds WHERE deployment_id = $1", id).Scan(&yes); err != nil {
		r.t.Fatal(err)
	}
	return yes
}

// TestAPollIsGivenUp breaks the builder while a build runs: the deployment
// fails, and the next poll stops and removes the build. If that is given up
// too, it is retried later.
func TestAPollIsGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.buildPoll = 100 * time.Millisecond
	w, _ := r.start()
	p := r.building("blog")
	r.builder.hold(p.ID)
	r.head("blog", commitID("first"))
	r.pushed("blog", "", commitID("first"))
	id := <-r.builder.started
	r.builder.breaks("the builder is away")
	r.lastAttempt(tasks.TypePollBuild, id)
	w.deps.Bell.Ask(tasks.QueueQuick, tasks.QueueForge)
	failed := r.waitFor(p.ID, troy.FailedToDeploy)
	if !strings.Contains(failed.Cause, "the builder is away") {
		t.Errorf("the cause is %q", failed.Cause)
	}
	r.lastAttempt(tasks.TypePollBuild, id)
	w.deps.Bell.Ask(tasks.QueueQuick, tasks.QueueForge)
	eventually(t, func() bool {
		var later bool
		err := r.db.QueryRow(t.Context(), "SELECT due_at > now() + interval '30 minutes' FROM work WHERE kind = 'deployment:poll-build' AND subject_id = $1", id).Scan(&later)
		return err == nil && later
	}, func() string { return "its removal is not retried later" })
	if n := r.builder.kept(p.ID); n != 1 {
		t.Fatalf("%d builds, want the one that could not be removed", n)
	}
	r.builder.breaks("")
	r.lastAttempt(tasks.TypePollBuild, id)
	w.deps.Bell.Ask(tasks.QueueQuick, tasks.QueueForge)
	eventually(t, func() bool { return r.putAway(id) && r.builder.kept(p.ID) == 0 }, func() string { return "the build is kept" })
	if got := r.builder.did(); !strings.HasSuffix(got, "stop, remove") && !strings.HasSuffix(got, "stop, stop, remove") {
		t.Errorf("the calls to the builder were %s; want it to stop the build before it removes it", got)
	}
}

// TestBuildIsRemovedWithoutItsLog makes the compression of a stopped build's
// log fail. The build's resources may hold secrets, so they are removed all the
// same, and the log is retried.
func TestBuildIsRemovedWithoutItsLog(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	w, _ := r.start()
	p := r.building("blog")
	var id uuid.UUID
	if err := pgx.BeginFunc(t.Context(), r.db, func(tx pgx.Tx) error {
		id = uuid.Must(uuid.NewV7())
		_, err := tx.Exec(t.Context(), `WITH d AS (
			INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, commit_sha, actor, started_at, finished_at, reported_state)
			VALUES ($1, $2, 9, 'automated', 'failed', $1, 'c', 'test', now(), now(), 'failed') RETURNING id)
			INSERT INTO builds (deployment_id, attempt) SELECT id, 1 FROM d`, id, p.ID)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no log is compressed'; END $$`,
		`CREATE TRIGGER refuse BEFORE UPDATE ON builds FOR EACH ROW WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION refuse()`,
	} {
		if _, err := r.db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	r.builder.adopt(p.ID, id)
	if _, err := r.db.Exec(t.Context(), "INSERT INTO work (kind, subject_id) VALUES ('deployment:poll-build', $1)", id); err != nil {
		t.Fatal(err)
	}
	w.deps.Bell.Ask(tasks.QueueQuick, tasks.QueueForge)
	eventually(t, func() bool { return r.builder.kept(p.ID) == 0 }, func() string { return "the build is kept" })
	eventually(t, func() bool {
		row, err := r.q.WorkGet(t.Context(), tasks.TypePollBuild, id)
		return err == nil && strings.Contains(row.Cause, "no log is compressed")
	}, func() string { return "the log is not retried" })
	if _, err := r.db.Exec(t.Context(), "DROP TRIGGER refuse ON builds"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return r.putAway(id) }, func() string { return "the log is not compressed" })
}
