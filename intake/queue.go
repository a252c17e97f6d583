package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

func checkQueue(queue string) error {
	_, queues := tasks.Queues()
	if !slices.Contains(queues, queue) {
		slices.Sort(queues)
		return troy.Errorf(troy.Invalid, "queue not found: %q; expected one of %s", troy.Clip(queue), strings.Join(slices.Compact(queues), ", ")).At("queue")
	}
	return nil
}

// PauseQueue stops workers from claiming work of a queue. What they hold
// continues. The pause is a row, so it outlives Redis. It returns Conflict if
// another pause holds the queue.
func (in *Intake) PauseQueue(ctx context.Context, queue, reason, actor string) error {
	if err := checkQueue(queue); err != nil {
		return err
	}
	if err := troy.CheckText("reason", reason, maxReason); err != nil {
		return err
	}
	err := transaction(ctx, in.db, func(_ pgx.Tx, q *queries.Queries) error {
		n, err := q.PauseAdd(ctx, queries.PauseAddParams{Queue: queue, Actor: actor, Reason: reason})
		if err != nil {
			return err
		}
		if n == 0 {
			p, err := q.PauseGet(ctx, queue)
			if err != nil {
				return err
			}
			if p.Actor == actor && p.Reason == reason {
				return nil
			}
			return troy.Errorf(troy.Conflict, "the queue %s is already paused by %s: %s", queue, p.Actor, p.Reason)
		}
		return Audit(ctx, q, Change{Action: QueuePause, Subject: queue, Detail: reason, Actor: actor})
	})
	if err != nil {
		return fmt.Errorf("pause the queue %s: %w", queue, err)
	}
	return nil
}

// ResumeQueue lets workers claim work of a queue again, also if it was paused in
// Redis. The deadlines of the work that waited do not count the pause. It does
// nothing if the queue is not paused.
func (in *Intake) ResumeQueue(ctx context.Context, queue, actor string) error {
	if err := checkQueue(queue); err != nil {
		return err
	}
	err := transaction(ctx, in.db, func(_ pgx.Tx, q *queries.Queries) error {
		at, err := q.PauseRemove(ctx, queue)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := q.WorkPostpone(ctx, at, tasks.KindsOf(queue)); err != nil {
			return fmt.Errorf("postpone the deadlines: %w", err)
		}
		return Audit(ctx, q, Change{Action: QueueResume, Subject: queue, Detail: "paused for " + time.Since(at).Round(time.Second).String(), Actor: actor})
	})
	if err != nil {
		return fmt.Errorf("resume the queue %s: %w", queue, err)
	}
	in.bell.Resume(ctx, queue)
	return nil
}

// HurryWork makes work that waits due at once and describes the result. With
// afresh, the work also gets all of its attempts and a new deadline. It returns
// NotFound if there is no such work, and Conflict if a worker runs it or it is
// a deletion that can still be undone.
func (in *Intake) HurryWork(ctx context.Context, kind string, subject uuid.UUID, afresh bool, actor string) (result string, err error) {
	action, hurry := WorkRing, (*queries.Queries).WorkHurry
	if afresh {
		action, hurry = WorkRetry, (*queries.Queries).WorkAfresh
	}
	err = in.commit(ctx, func(_ pgx.Tx, q *queries.Queries) error {
		remember(ctx, subject)
		w, err := q.WorkGet(ctx, kind, subject)
		if errors.Is(err, pgx.ErrNoRows) {
			return troy.Errorf(troy.NotFound, "there is no such work: it is done, or it was never requested")
		}
		if err != nil {
			return err
		}
		if err := refuseGrace(ctx, q, w); err != nil {
			return err
		}
		n, err := hurry(q, ctx, kind, subject)
		if err != nil {
			return err
		}
		if n == 0 {
			return troy.Errorf(troy.Conflict, "a worker runs it now")
		}
		result, err = rungResult(ctx, q, w)
		if err != nil {
			return err
		}
		return auditWork(ctx, q, w, action, actor)
	})
	if err != nil {
		return "", fmt.Errorf("ring %s of %s: %w", kind, subject, err)
	}
	return result, nil
}

// refuseGrace returns Conflict if the work is a deletion in its grace period,
// which does not begin earlier.
func refuseGrace(ctx context.Context, q *queries.Queries, w queries.Work) error {
	if w.Kind != tasks.TypeTeardownStart {
		return nil
	}
	p, err := q.PipelineGet(ctx, w.SubjectID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if p.DeleteDueAt == nil {
		return nil
	}
	return troy.Errorf(troy.Conflict, "the deletion of the pipeline %s begins at %s; to delete it at once: troy pipeline delete %s --now", p.Name, minute(*p.DeleteDueAt), p.Slug)
}

func rungResult(ctx context.Context, q *queries.Queries, w queries.Work) (string, error) {
	p, err := q.PauseGet(ctx, tasks.QueueOf(w.Kind))
	if errors.Is(err, pgx.ErrNoRows) {
		return "the work is rung", nil
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("the work is due, and runs when the queue %s is resumed; it is paused by %s: %s", p.Queue, p.Actor, p.Reason), nil
}

// auditWork records an action on work, and on the pipeline if it still exists.
func auditWork(ctx context.Context, q *queries.Queries, w queries.Work, action, actor string) error {
	change := Change{Action: action, Subject: w.Kind, Actor: actor}
	if w.PipelineID != nil {
		p, err := q.PipelineGet(ctx, *w.PipelineID)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if err == nil {
			change.Pipeline = &p
		}
		if err == nil && p.ID != w.SubjectID {
			d, err := q.DeploymentGet(ctx, w.SubjectID)
			if err != nil && !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			change.Deployment = d.ID
		}
	}
	return Audit(ctx, q, change)
}
