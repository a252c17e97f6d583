package intake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// ScheduleDeletion requests a pipeline's deletion, which begins after
// Config.DeleteGrace. Until then the site stays up, and Restore undoes it. A
// pipeline that is Failed to Delete is deleted at once. ScheduleDeletion
// returns Conflict if the deletion is already requested.
func (in *Intake) ScheduleDeletion(ctx context.Context, id uuid.UUID, actor string) (queries.Pipeline, error) {
	return in.change(ctx, id, func(q *queries.Queries, _ queries.Pipeline) error {
		_, err := q.PipelineScheduleDeletion(ctx, queries.PipelineScheduleDeletionParams{ID: id, GraceSeconds: in.cfg.DeleteGrace.Seconds(), Actor: actor})
		return guarded(ctx, q, id, Delete, err)
	})
}

// DeleteGrace is how long a deletion by a person can be undone.
func (in *Intake) DeleteGrace() time.Duration { return in.cfg.DeleteGrace }

// DeleteNow is ScheduleDeletion without a grace period. It ends the one of an
// earlier request.
func (in *Intake) DeleteNow(ctx context.Context, id uuid.UUID, actor string) (queries.Pipeline, error) {
	return in.change(ctx, id, func(q *queries.Queries, p queries.Pipeline) error {
		if p.DeleteDueAt != nil {
			return endGrace(ctx, q, p, "", actor)
		}
		_, err := q.PipelineScheduleDeletion(ctx, queries.PipelineScheduleDeletionParams{ID: id, Actor: actor})
		return guarded(ctx, q, id, Delete, err)
	})
}

// endGrace lets the requested deletion of a locked pipeline begin at once.
func endGrace(ctx context.Context, q *queries.Queries, p queries.Pipeline, cause, actor string) error {
	if _, err := q.PipelineDeleteNow(ctx, p.ID); err != nil {
		return guarded(ctx, q, p.ID, Delete, err)
	}
	return Audit(ctx, q, Change{Action: DeletedNow, Subject: p.Slug, Detail: cause, Actor: actor, Pipeline: &p})
}

// Restore undoes the deletion of a pipeline before it begins. The pipeline
// returns to the status that it had, and what was waiting, building or being
// published is deployed again. Restore returns Conflict if the deletion has
// begun, if none was requested, and if the app has another pipeline by now.
func (in *Intake) Restore(ctx context.Context, id uuid.UUID, actor string) (queries.Pipeline, error) {
	after, err := in.change(ctx, id, func(q *queries.Queries, p queries.Pipeline) error {
		_, err := q.PipelineRestore(ctx, queries.PipelineRestoreParams{ID: id, Cause: "its deletion was undone", Actor: actor})
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return notRestored(ctx, q, p)
		case anotherOfApp(err):
			return troy.Errorf(troy.Conflict, "the app %s has another pipeline by now, so %s can't be restored; delete the other pipeline first", text(nil, p.AppID), p.Slug)
		case err != nil:
			return err
		}
		return in.redo(ctx, q, p)
	})
	if err != nil {
		return after, fmt.Errorf("restore pipeline %s: %w", id, err)
	}
	return after, nil
}

// notRestored explains why a pipeline can't be restored, and who was faster.
func notRestored(ctx context.Context, q *queries.Queries, p queries.Pipeline) error {
	if p.Status.InDeletion() {
		return troy.Errorf(troy.Conflict, "the pipeline %s is %s%s; its deletion has begun and can't be undone", p.Name, p.Status, askedBy(p))
	}
	events, err := q.EventsLatest(ctx, p.ID, 20)
	if err != nil {
		return fmt.Errorf("read the events of pipeline %s: %w", p.ID, err)
	}
	for _, e := range events {
		if e.FromStatus != nil && *e.FromStatus == troy.ScheduledForDeletion {
			return troy.Errorf(troy.Conflict, "the pipeline %s is %s; %s restored it at %s", p.Name, p.Status, e.Actor, minute(e.Time))
		}
	}
	return troy.Errorf(troy.Conflict, "the pipeline %s is %s; only a pipeline that is %s can be restored", p.Name, p.Status, troy.ScheduledForDeletion)
}

// anotherOfApp reports whether a statement failed because the app has another
// pipeline.
func anotherOfApp(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "23505" && pg.ConstraintName == "pipelines_one_per_app"
}

// redo requests again what the deletion of a pipeline cancelled, for those who
// had requested it. Some of it may have gone live while it was being cancelled,
// so this also makes the site and the rows agree.
func (in *Intake) redo(ctx context.Context, q *queries.Queries, p queries.Pipeline) error {
	if p.DeleteAskedAt == nil {
		return nil
	}
	cancelled, err := q.DeploymentsCancelledAt(ctx, p.ID, *p.DeleteAskedAt)
	if err != nil {
		return fmt.Errorf("list the cancelled deployments: %w", err)
	}
	for _, d := range cancelled {
		cause := fmt.Sprintf("deployment %d was cancelled by a deletion that was undone", d.Number)
		if d.Kind == troy.Preview {
			err = in.redoPreview(ctx, q, p, d)
		} else if d.Kind == troy.Automated && d.ManifestDigest == nil {
			if _, err = buildAgain(ctx, q, d, cause, d.Actor); troy.KindOf(err) == troy.Conflict {
				err = nil // it was built from an upload, which is not kept
			}
		} else {
			_, err = repeatIf(ctx, q, d, d.Kind, d.ExpectLive, cause, d.Actor)
		}
		if err != nil {
			return fmt.Errorf("deploy %d again: %w", d.Number, err)
		}
	}
	remember(ctx, p.ID)
	return nil
}

// askedBy says who requested a pipeline's deletion, in parentheses.
func askedBy(p queries.Pipeline) string {
	if p.DeleteAskedBy == "" {
		return ""
	}
	return fmt.Sprintf(" (requested by %s)", p.DeleteAskedBy)
}

// refuseDeleting returns the Conflict for an action on a pipeline whose
// deletion can still be undone.
func refuseDeleting(p queries.Pipeline, a Action) error {
	if a == Delete {
		return troy.Errorf(troy.Conflict, "the pipeline %s is %s%s; the deletion begins at %s; to undo it: troy restore %s; to delete at once: troy pipeline delete %s --now",
			p.Name, p.Status, askedBy(p), minute(*p.DeleteDueAt), p.Slug, p.Slug)
	}
	return troy.Errorf(troy.Conflict, "the pipeline %s is %s%s, which does not allow %s; the deletion begins at %s; to undo it: troy restore %s",
		p.Name, p.Status, askedBy(p), a, minute(*p.DeleteDueAt), p.Slug)
}

func minute(t time.Time) string { return t.UTC().Format(time.RFC3339) }
