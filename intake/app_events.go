package intake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// sourceApps is the source of app events in deliveries.
const sourceApps = "apps"

// maxAhead is how far the clock of an app event's sender may be ahead.
const maxAhead = 10 * time.Minute

// Result is the result of an app event or a build request.
type Result string

// The results.
const (
	// Created: a pipeline was made.
	Created Result = "created"
	// DeletionScheduled: the deletion of the app's pipeline was scheduled.
	DeletionScheduled Result = "deletion_scheduled"
	// BuildStarted: a deployment was made.
	BuildStarted Result = "build_started"
	// Ignored: the event was recorded and changed nothing; the detail says
	// why.
	Ignored Result = "ignored"
	// Duplicate: the event was accepted before.
	Duplicate Result = "duplicate"
)

// Outcome describes what an app event or a build request did.
type Outcome struct {
	Result     Result     `json:"outcome"`
	Detail     string     `json:"detail"`
	PipelineID *uuid.UUID `json:"pipeline_id,omitempty"`

	asked bool   // whether work was requested; may be true for Ignored and Duplicate
	first string // the queue to ring first, if any
}

// AppEvent accepts an event in one transaction. Repeating an id changes
// nothing. Events of one app may come in any order and concurrently: their
// times decide the end state.
func (in *Intake) AppEvent(ctx context.Context, e AppEvent) (Outcome, error) {
	var out Outcome
	err := in.commit(ctx, func(tx pgx.Tx, q *queries.Queries) error {
		fresh, err := in.recordDelivery(ctx, q, queries.DeliveryRecordParams{Source: sourceApps, ID: e.ID, Type: string(e.Type)})
		if err == nil && !fresh {
			out, err = duplicate(ctx, q, e)
			return err
		}
		if err != nil {
			return err
		}
		ahead, err := q.AheadSeconds(ctx, e.Time)
		if err != nil {
			return err
		}
		if ahead > maxAhead.Seconds() {
			return troy.Errorf(troy.Invalid, "the time is %s ahead of Troy's clock; expected at most %s, since later events would be ignored until then",
				time.Duration(ahead*float64(time.Second)).Round(time.Second), maxAhead).At("time")
		}
		app, err := q.AppLock(ctx, e.App.ID)
		if err != nil {
			return err
		}
		if e.Type == AppCreated {
			out, err = in.appCreated(ctx, tx, app, e)
		} else {
			out, err = in.appDeleted(ctx, q, app, e)
		}
		if err != nil {
			return err
		}
		return q.DeliverySettle(ctx, queries.DeliverySettleParams{
			Source: sourceApps, ID: e.ID, Outcome: string(out.Result), Detail: out.Detail, PipelineID: out.PipelineID,
		})
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("accept app event %s of app %s: %w", e.ID, e.App.ID, err)
	}
	return out, nil
}

func duplicate(ctx context.Context, q *queries.Queries, e AppEvent) (Outcome, error) {
	first, err := q.DeliveryGet(ctx, sourceApps, e.ID)
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{
		Result:     Duplicate,
		Detail:     fmt.Sprintf("the event was accepted before (%s): %s", first.Outcome, first.Detail),
		PipelineID: first.PipelineID,
	}, nil
}

func (in *Intake) appCreated(ctx context.Context, tx pgx.Tx, app queries.App, e AppEvent) (Outcome, error) {
	q := queries.New(tx)
	if err := q.AppSawCreated(ctx, e.Time, app.ID); err != nil {
		return Outcome{}, err
	}
	if app.DeletedTime != nil && !e.Time.After(*app.DeletedTime) {
		return ignored(nil, "the app was deleted at %s, not before this event's time", stamp(*app.DeletedTime)), nil
	}
	p, err := q.PipelineGetByApp(ctx, app.ID)
	switch {
	case err == nil:
		return ignored(&p.ID, "the app has the pipeline %s, which is %s", p.Slug, p.Status), nil
	case !errors.Is(err, pgx.ErrNoRows):
		return Outcome{}, err
	}
	if app.CreatedTime != nil && !e.Time.After(*app.CreatedTime) {
		// An operator has deleted its pipeline since.
		return ignored(nil, "a later creation of the app, at %s, was accepted before", stamp(*app.CreatedTime)), nil
	}
	p, err = in.create(ctx, tx, NewPipeline{
		Name: e.App.Name, AppID: app.ID, Repository: e.App.Repository, Provision: in.cfg.AutoProvision,
	}, actorOf(e))
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{Result: Created, Detail: fmt.Sprintf("the pipeline %s was made; it is %s", p.Slug, p.Status), PipelineID: &p.ID}, nil
}

func (in *Intake) appDeleted(ctx context.Context, q *queries.Queries, app queries.App, e AppEvent) (Outcome, error) {
	if err := q.AppSawDeleted(ctx, e.Time, app.ID); err != nil {
		return Outcome{}, err
	}
	if app.CreatedTime != nil && e.Time.Before(*app.CreatedTime) {
		return ignored(nil, "the app was created at %s, after this event's time", stamp(*app.CreatedTime)), nil
	}
	if app.DeletedTime != nil && !e.Time.After(*app.DeletedTime) {
		return ignored(nil, "a later deletion of the app, at %s, was accepted before", stamp(*app.DeletedTime)), nil
	}
	hurried, err := endGraces(ctx, q, app.ID, actorOf(e))
	if err != nil {
		return Outcome{}, err
	}
	p, err := q.PipelineGetByApp(ctx, app.ID)
	if errors.Is(err, pgx.ErrNoRows) && hurried != nil {
		return Outcome{Result: DeletionScheduled, Detail: fmt.Sprintf("the deletion of the pipeline %s, requested by %s, begins at once", hurried.Slug, hurried.DeleteAskedBy), PipelineID: &hurried.ID}, nil
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return ignored(nil, "the app has no pipeline, or its deletion is under way"), nil
	}
	if err != nil {
		return Outcome{}, err
	}
	if _, err := q.PipelineLock(ctx, p.ID); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Outcome{}, err
	}
	_, err = q.PipelineScheduleDeletion(ctx, queries.PipelineScheduleDeletionParams{
		ID: p.ID, Cause: "the app was deleted", Actor: actorOf(e),
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return ignored(&p.ID, "the deletion of the pipeline %s is under way", p.Slug), nil
	}
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{Result: DeletionScheduled, Detail: fmt.Sprintf("the deletion of the pipeline %s is scheduled", p.Slug), PipelineID: &p.ID}, nil
}

// endGraces lets the deletions of an app's pipelines begin that wait for their
// grace period. It returns the last of them, or nil.
func endGraces(ctx context.Context, q *queries.Queries, app, actor string) (last *queries.Pipeline, err error) {
	waiting, err := q.PipelinesDeleteDue(ctx, app)
	if err != nil {
		return nil, fmt.Errorf("list the app's pipelines whose deletion is due later: %w", err)
	}
	for _, p := range waiting {
		if p, err = q.PipelineLock(ctx, p.ID); errors.Is(err, pgx.ErrNoRows) || err == nil && p.DeleteDueAt == nil {
			continue // restored, or its deletion began meanwhile
		}
		if err != nil {
			return nil, err
		}
		if err := endGrace(ctx, q, p, "the app was deleted", actor); err != nil {
			return nil, err
		}
		last = &p
	}
	return last, nil
}

func ignored(pipeline *uuid.UUID, format string, args ...any) Outcome {
	return Outcome{Result: Ignored, Detail: fmt.Sprintf(format, args...), PipelineID: pipeline}
}

func actorOf(e AppEvent) string { return "app event " + e.ID }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
