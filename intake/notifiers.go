package intake

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// maxNotifiers is how many notifiers a pipeline may have, and how many may be of
// all pipelines.
const maxNotifiers = 20

// notifierChange runs a change of a notifier in one transaction. It locks the
// notifier's pipeline, if it has one.
func (in *Intake) notifierChange(ctx context.Context, pipeline *uuid.UUID, f func(q *queries.Queries, p *queries.Pipeline) error) error {
	return in.commit(ctx, func(_ pgx.Tx, q *queries.Queries) error {
		if pipeline == nil {
			return f(q, nil)
		}
		p, err := lock(ctx, q, *pipeline)
		if err != nil {
			return err
		}
		return f(q, &p)
	})
}

func noNotifier(id uuid.UUID) error {
	return troy.Errorf(troy.NotFound, "notifier not found: %s", id)
}

// AddNotifier adds a notifier, whose target is checked and sealed. It returns
// Conflict if there are too many.
func (in *Intake) AddNotifier(ctx context.Context, n queries.NotifierAddParams) (queries.Notifier, error) {
	var added queries.Notifier
	err := in.notifierChange(ctx, n.PipelineID, func(q *queries.Queries, p *queries.Pipeline) error {
		remember(ctx, n.ID)
		if p != nil {
			if err := notInDeletion(*p, Configuring); err != nil {
				return err
			}
		}
		// The pipeline's lock makes those who add notifiers of one take turns.
		if p == nil {
			if err := q.LockName(ctx, "notifiers"); err != nil {
				return err
			}
		}
		count, err := q.NotifierCount(ctx, n.PipelineID)
		if err != nil {
			return err
		}
		if count >= maxNotifiers {
			return troy.Errorf(troy.Conflict, "there are %d notifiers; no more are allowed for a pipeline, or for all", count)
		}
		if added, err = q.NotifierAdd(ctx, n); err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: NotifierAdd, Subject: n.Kind + " " + n.Label, Detail: n.ID.String(), Pipeline: p})
	})
	if err != nil {
		return added, fmt.Errorf("add a notifier: %w", err)
	}
	return added, nil
}

// RemoveNotifier removes a notifier with its notifications.
func (in *Intake) RemoveNotifier(ctx context.Context, n queries.Notifier) error {
	err := in.notifierChange(ctx, n.PipelineID, func(q *queries.Queries, p *queries.Pipeline) error {
		if _, err := q.NotifierRemove(ctx, n.ID); errors.Is(err, pgx.ErrNoRows) {
			return noNotifier(n.ID)
		} else if err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: NotifierRemove, Subject: n.Kind + " " + n.Label, Detail: n.ID.String(), Pipeline: p})
	})
	if err != nil {
		return fmt.Errorf("remove notifier %s: %w", n.ID, err)
	}
	return nil
}

// EnableNotifier enables a notifier that was disabled.
func (in *Intake) EnableNotifier(ctx context.Context, n queries.Notifier) (queries.Notifier, error) {
	var enabled queries.Notifier
	err := in.notifierChange(ctx, n.PipelineID, func(q *queries.Queries, p *queries.Pipeline) (err error) {
		remember(ctx, n.ID)
		if enabled, err = q.NotifierEnable(ctx, n.ID); errors.Is(err, pgx.ErrNoRows) {
			return noNotifier(n.ID)
		} else if err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: NotifierEnable, Subject: n.Kind + " " + n.Label, Detail: n.ID.String(), Pipeline: p})
	})
	if err != nil {
		return enabled, fmt.Errorf("enable notifier %s: %w", n.ID, err)
	}
	return enabled, nil
}

// RotateNotifier stores a notifier's new key with the earlier ones. It returns
// Conflict if the notifier was changed since it was read.
func (in *Intake) RotateNotifier(ctx context.Context, n queries.Notifier, fresh queries.NotifierRotateParams) (queries.Notifier, error) {
	var rotated queries.Notifier
	err := in.notifierChange(ctx, n.PipelineID, func(q *queries.Queries, p *queries.Pipeline) (err error) {
		remember(ctx, n.ID)
		if rotated, err = q.NotifierRotate(ctx, fresh); errors.Is(err, pgx.ErrNoRows) {
			if _, err := q.NotifierGet(ctx, n.ID); errors.Is(err, pgx.ErrNoRows) {
				return noNotifier(n.ID)
			} else if err != nil {
				return err
			}
			return troy.Errorf(troy.Conflict, "the notifier was changed at the same time; try again")
		} else if err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: NotifierRotate, Subject: n.Kind + " " + n.Label, Detail: n.ID.String(), Pipeline: p})
	})
	if err != nil {
		return rotated, fmt.Errorf("rotate the key of notifier %s: %w", n.ID, err)
	}
	return rotated, nil
}

// TestNotifier sends a test message to a notifier. It returns Conflict if the
// notifier is disabled.
func (in *Intake) TestNotifier(ctx context.Context, n queries.Notifier, event string) (queries.Notification, error) {
	return in.send(ctx, n, uuid.New(), func(q *queries.Queries, id uuid.UUID) error {
		return q.NotificationAdd(ctx, queries.NotificationAddParams{ID: id, NotifierID: n.ID, PipelineID: n.PipelineID, Event: event, Details: []byte(`{}`)})
	})
}

// Redeliver sends an ended notification again, with the same id. It returns
// Conflict if the notification has not ended or the notifier is disabled.
func (in *Intake) Redeliver(ctx context.Context, n queries.Notifier, id uuid.UUID) (queries.Notification, error) {
	return in.send(ctx, n, id, func(q *queries.Queries, id uuid.UUID) error {
		again, err := q.NotificationAgain(ctx, id, n.ID)
		if err != nil || again > 0 {
			return err
		}
		if _, err := q.NotificationGet(ctx, id, n.ID); errors.Is(err, pgx.ErrNoRows) {
			return troy.Errorf(troy.NotFound, "the notifier has no delivery %s", id)
		} else if err != nil {
			return err
		}
		return troy.Errorf(troy.Conflict, "the delivery %s is being sent already", id)
	})
}

func (in *Intake) send(ctx context.Context, n queries.Notifier, id uuid.UUID, make func(*queries.Queries, uuid.UUID) error) (queries.Notification, error) {
	var made queries.Notification
	err := in.notifierChange(ctx, n.PipelineID, func(q *queries.Queries, _ *queries.Pipeline) error {
		remember(ctx, id)
		now, err := q.NotifierGet(ctx, n.ID)
		if errors.Is(err, pgx.ErrNoRows) {
			return noNotifier(n.ID)
		}
		if err != nil {
			return err
		}
		if now.Notifier.DisabledAt != nil {
			return troy.Errorf(troy.Conflict, "the notifier is disabled (%s); enable it first", now.Notifier.DisabledReason)
		}
		if err := make(q, id); err != nil {
			return err
		}
		if err := q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeNotify, SubjectID: id}); err != nil {
			return err
		}
		made, err = q.NotificationGet(ctx, id, n.ID)
		return err
	})
	if err != nil {
		return made, fmt.Errorf("send to notifier %s: %w", n.ID, err)
	}
	return made, nil
}
