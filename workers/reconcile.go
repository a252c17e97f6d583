package workers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// reconcileInterval is both the interval between turns and the time for which a
// row must have been unchanged before a turn repairs it. Repairs are correct
// without that wait, since each check is repeated behind the pipeline's lock;
// it keeps them from delaying work in progress.
const reconcileInterval = 10 * time.Second

const (
	// housekeeping is the multiple of the interval between two turns in which a
	// process does what can wait: it removes what has expired.
	housekeeping = 6
	// reconcileTime bounds one turn. The next turn checks the rest.
	reconcileTime = 5 * time.Second
	// netLockTimeout is how long a turn waits for one pipeline's lock.
	netLockTimeout = "1s"
)

// netActor is the actor in the reconciliation's events.
const netActor = "reconciliation"

// reconcile is the second net under "nothing is stuck". The first is the work
// row, which every transition requests in its own transaction. If such a row is
// missing, for whatever cause, the reconciliation finds the row that waits for
// it, requests the work again, counts it and logs an error. One process takes
// the turn in each interval.
func (w *Workers) reconcile(ctx context.Context) error {
	interval := cmp.Or(w.cfg.Reconcile, reconcileInterval)
	turn, err := w.q.BellReconcile(ctx, interval.Seconds())
	if err != nil || turn == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reconcileTime)
	defer cancel()
	err = errors.Join(w.mendPipelines(ctx), w.restoreWork(ctx, interval), w.restoreCatchUps(ctx), w.restoreNotifications(ctx, interval))
	if time.Since(w.housekept) >= housekeeping*interval {
		w.housekept = time.Now()
		err = errors.Join(err, w.expirePreviews(ctx), w.forget(ctx), w.requestRetention(ctx))
	}
	return err
}

// restoreNotifications requests the work of notifications that have none. They
// need no pipeline's lock: a notification ends before its work does.
func (w *Workers) restoreNotifications(ctx context.Context, grace time.Duration) error {
	n, err := w.q.NotificationsRestore(ctx, (slowGrace * grace).Seconds())
	if err != nil {
		return fmt.Errorf("restore the work of notifications: %w", err)
	}
	if n > 0 {
		w.reconciled(tasks.TypeNotify, "work was missing and has been requested again", "task", tasks.TypeNotify, "notifications", n)
		w.deps.Bell.Ask(tasks.QueueNotifications)
	}
	return nil
}

// requestRetention requests the retention of pipelines that no deployment
// requested for a day. It removes what interrupted work left in the store.
func (w *Workers) requestRetention(ctx context.Context) error {
	n, err := w.q.RetentionRequest(ctx)
	if err != nil {
		return fmt.Errorf("request the daily retention: %w", err)
	}
	if n > 0 {
		w.deps.Bell.Ask(tasks.QueueQuick)
	}
	return nil
}

// forget deletes what has expired: the ids of deliveries and requests, the tokens
// of CI jobs, the marks of used sign-ins, and notifications.
func (w *Workers) forget(ctx context.Context) error {
	if _, err := w.q.DeliveriesExpire(ctx, DeliveriesKept.Seconds()); err != nil {
		return fmt.Errorf("forget old deliveries: %w", err)
	}
	if _, err := w.q.RequestsExpire(ctx); err != nil {
		return fmt.Errorf("forget old Idempotency-Keys: %w", err)
	}
	if _, err := w.q.TokensExpire(ctx); err != nil {
		return fmt.Errorf("forget the expired tokens of CI: %w", err)
	}
	if _, err := w.q.NotificationsExpire(ctx); err != nil {
		return fmt.Errorf("forget old notifications: %w", err)
	}
	if err := w.q.NotifierKeysExpire(ctx); err != nil {
		return fmt.Errorf("forget the earlier keys of notifiers: %w", err)
	}
	if err := w.q.SignInsExpire(ctx); err != nil {
		return fmt.Errorf("forget which tokens of CI were used: %w", err)
	}
	return nil
}

// slowGrace is the multiple of the grace period before a turn restores work
// that no pipeline's next state depends on: reports, removals of ended builds,
// retention. It amounts to minutes, since these follow other work, and since
// workers of an older version record neither reports nor removals.
const slowGrace = 30

func missingWork(grace time.Duration, pipeline *uuid.UUID) queries.WorkMissingParams {
	return queries.WorkMissingParams{GraceSeconds: grace.Seconds(), SlowGraceSeconds: (slowGrace * grace).Seconds(), PipelineID: pipeline}
}

// restoreWork requests missing work again.
func (w *Workers) restoreWork(ctx context.Context, grace time.Duration) error {
	found, err := w.q.WorkMissing(ctx, missingWork(grace, nil))
	if err != nil {
		return fmt.Errorf("look for missing work: %w", err)
	}
	var pipelines []uuid.UUID
	for _, m := range found {
		pipelines = append(pipelines, m.PipelineID)
	}
	for _, id := range slices.Compact(pipelines) { // by id
		if err := w.restoreWorkOf(ctx, id, grace); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("restore the work of pipeline %s: %w", id, err)
			}
			w.log.Warn("restoring the work of a pipeline failed; the next turn retries", "pipeline", id, "error", err)
		}
	}
	return nil
}

// restoreWorkOf checks again behind the pipeline's lock: a transition that was
// under way has committed by then.
func (w *Workers) restoreWorkOf(ctx context.Context, pipeline uuid.UUID, grace time.Duration) error {
	var restored []queries.WorkMissingRow
	err := w.behindLock(ctx, pipeline, func(q *queries.Queries) error {
		found, err := q.WorkMissing(ctx, missingWork(grace, &pipeline))
		if err != nil {
			return err
		}
		for _, m := range found {
			n, err := q.WorkRestore(ctx, m.Kind, m.SubjectID)
			if err != nil {
				return err
			}
			if n > 0 {
				restored = append(restored, m)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, m := range restored {
		w.reconciled(m.Kind, "work was missing and has been requested again", "pipeline", m.PipelineID, "task", m.Kind, "subject", m.SubjectID, "state", m.State)
		w.deps.Bell.Ask(tasks.QueueOf(m.Kind))
	}
	return nil
}

// mendPipelines corrects the status of pipelines whose status contradicts their
// deployments.
func (w *Workers) mendPipelines(ctx context.Context) error {
	astray, err := w.q.PipelinesAstray(ctx)
	if err != nil {
		return fmt.Errorf("look for pipelines that contradict their deployments: %w", err)
	}
	for _, id := range astray {
		if err := w.mendPipeline(ctx, id); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("mend pipeline %s: %w", id, err)
			}
			w.log.Warn("mending a pipeline failed; the next turn retries", "pipeline", id, "error", err)
		}
	}
	return nil
}

func (w *Workers) mendPipeline(ctx context.Context, id uuid.UUID) error {
	var abandoned []uuid.UUID
	mended := false
	err := w.behindLock(ctx, id, func(q *queries.Queries) (err error) {
		if abandoned, err = q.DeploymentsAbandon(ctx, id); err != nil {
			return err
		}
		_, err = q.PipelineMend(ctx, queries.PipelineMendParams{ID: id, Cause: "its status contradicted its deployments", Actor: netActor})
		mended = err == nil
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range abandoned {
		w.reconciled("deployment", "ended a deployment that ran or waited in a pipeline that had continued without it", "pipeline", id, "deployment", d)
	}
	if mended {
		w.reconciled("pipeline", "corrected a pipeline's status that contradicted its deployments", "pipeline", id)
	}
	w.deps.Bell.Ask(tasks.QueueQuick)
	return nil
}

// restoreCatchUps checks that the next few pipelines have work that polls their
// branches, and that failed deliveries are checked.
func (w *Workers) restoreCatchUps(ctx context.Context) error {
	rows, err := w.q.CatchUpMissing(ctx, w.catchUpsSeen)
	if err != nil {
		return fmt.Errorf("look for branches that are not checked: %w", err)
	}
	var missing []uuid.UUID
	w.catchUpsSeen = uuid.Nil // after the last page the first
	for _, row := range rows {
		if row.Missing {
			missing = append(missing, row.ID)
		}
		w.catchUpsSeen = row.ID
	}
	for _, id := range missing {
		// The work ends at once for a pipeline that was deleted meanwhile.
		if err := w.restoreCatchUp(ctx, id); err != nil {
			return err
		}
	}
	if len(w.redeliverers()) > 0 {
		_, err := w.q.WorkGet(ctx, tasks.TypeCatchUp, uuid.Nil)
		if errors.Is(err, pgx.ErrNoRows) {
			return w.restoreCatchUp(ctx, uuid.Nil)
		}
		return err
	}
	return nil
}

func (w *Workers) restoreCatchUp(ctx context.Context, subject uuid.UUID) error {
	n, err := w.q.WorkRestore(ctx, tasks.TypeCatchUp, subject)
	if err != nil {
		return fmt.Errorf("restore the checks of a branch: %w", err)
	}
	if n > 0 {
		w.reconciled(tasks.TypeCatchUp, "work was missing and has been requested again", "task", tasks.TypeCatchUp, "subject", subject)
		w.deps.Bell.Ask(tasks.QueueForge)
	}
	return nil
}

// reconciled counts and logs a repair. Each log line of a repair has the
// attribute reconciled.
func (w *Workers) reconciled(what, message string, args ...any) {
	w.deps.Metrics.Reconciled(what)
	w.log.Error(message, append([]any{"reconciled", what}, args...)...) //nolint:sloglint // the callers have constants
}

// behindLock runs f in a transaction behind a pipeline's lock. If the pipeline
// is gone, it returns nil without calling f. An error from f rolls back f's
// writes, so f must return only errors that should.
func (w *Workers) behindLock(ctx context.Context, pipeline uuid.UUID, f func(*queries.Queries) error) error {
	return pgx.BeginFunc(ctx, w.deps.DB, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+netLockTimeout+"'"); err != nil {
			return err
		}
		q := queries.New(tx)
		_, err := q.PipelineLock(ctx, pipeline)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		return f(q)
	})
}
