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

// NothingLive replaces a deployment's id where none is live yet.
const NothingLive = "none"

// Finalization turns an upload into the deployment of the same id. The store
// has all of its files; if Publish is set the tree need not be sealed yet.
type Finalization struct {
	Pipeline, Release uuid.UUID
	// Publish requests that the deployment go live.
	Publish bool
	// ExpectLive, if not empty, is the id of the deployment that must be live,
	// or NothingLive.
	ExpectLive string
	// Preview, if not empty, is the label of the preview that is to show the
	// deployment. Publish is not set then.
	Preview string
	Actor   string
}

// Finalize makes a deployment of a complete release. Repeating it returns the
// same deployment. It returns Moved if another deployment than ExpectLive is
// live, and Conflict if the release has expired.
func (in *Intake) Finalize(ctx context.Context, f Finalization) (queries.Deployment, error) {
	if f.ExpectLive != "" && f.ExpectLive != NothingLive {
		id, err := uuid.Parse(f.ExpectLive)
		if err != nil || len(f.ExpectLive) != 36 {
			return queries.Deployment{}, troy.Errorf(troy.Invalid, "expected a deployment id or %q", NothingLive).At("expect_live")
		}
		f.ExpectLive = id.String()
	}
	var d queries.Deployment
	err := in.locked(ctx, f.Pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		remember(ctx, f.Release)
		r, err := q.ReleaseGet(ctx, f.Release, f.Pipeline)
		if errors.Is(err, pgx.ErrNoRows) {
			return troy.Errorf(troy.NotFound, "release not found: %s; it may have expired", f.Release)
		}
		if err != nil {
			return err
		}
		if r.FinalizedAt == nil {
			if err := in.finalize(ctx, q, p, r, f); err != nil {
				return err
			}
		}
		d, err = q.DeploymentGet(ctx, f.Release)
		return err
	})
	if err != nil {
		return queries.Deployment{}, fmt.Errorf("finalize release %s of pipeline %s: %w", f.Release, f.Pipeline, err)
	}
	return d, nil
}

func (in *Intake) finalize(ctx context.Context, q *queries.Queries, p queries.Pipeline, r queries.ReleaseGetRow, f Finalization) error {
	if err := notInDeletion(p, Deploy); err != nil {
		return err
	}
	if f.Publish {
		if err := refuseLocked(p); err != nil {
			return err
		}
	}
	if f.Preview != "" {
		if err := troy.CheckPreviewLabel(f.Preview, p.Slug); err != nil {
			return err
		}
	}
	if other, err := q.SourceOfRelease(ctx, r.ID); err == nil {
		return troy.Errorf(troy.Conflict, "the release is the source of deployment %s and can't be finalized", other.DeploymentID)
	} else if !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if live := liveName(p); f.ExpectLive != "" && f.ExpectLive != live {
		return troy.Errorf(troy.Moved, "the live deployment is %s, expected %s", live, f.ExpectLive).At("expect_live")
	}
	_, err := q.ReleaseFinalize(ctx, r.ID, p.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return troy.Errorf(troy.Conflict, "the release expired at %s; start a new one", stamp(r.ExpiresAt))
	}
	if err != nil {
		return err
	}
	if f.Preview != "" {
		v, err := in.OpenPreview(ctx, q, p, PreviewSource{Kind: troy.ReleasePreview, Label: f.Preview, Author: f.Actor, Title: r.Message, Trusted: true}, f.Actor)
		if err != nil {
			return err
		}
		_, err = in.deployPreview(ctx, q, p, v, queries.PreviewDeploymentCreateParams{
			ID: r.ID, Message: r.Message, Actor: f.Actor, ManifestDigest: &r.ManifestDigest, Files: r.Files, Bytes: r.Bytes,
		})
		return err
	}
	if !f.Publish {
		_, err = q.DeploymentCreateUnpublished(ctx, queries.DeploymentCreateUnpublishedParams{
			ID: r.ID, PipelineID: p.ID, Message: r.Message, Actor: f.Actor,
			ManifestDigest: &r.ManifestDigest, Files: r.Files, Bytes: r.Bytes,
		})
		if err := guarded(ctx, q, p.ID, Deploy, err); err != nil {
			return err
		}
		// Retention gives the deployment its address.
		return q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeRetention, SubjectID: p.ID})
	}
	_, err = q.DeploymentCreate(ctx, queries.DeploymentCreateParams{
		ID: r.ID, PipelineID: p.ID, Kind: troy.Release, TreeID: r.ID, Message: r.Message, Actor: f.Actor,
		ManifestDigest: &r.ManifestDigest, Files: r.Files, Bytes: r.Bytes, ExpectLive: optional(f.ExpectLive),
	})
	return guarded(ctx, q, p.ID, Deploy, err)
}

func liveName(p queries.Pipeline) string {
	if p.LiveDeploymentID == nil {
		return NothingLive
	}
	return p.LiveDeploymentID.String()
}

// Rollback publishes an earlier live deployment again; uuid.Nil means the one
// that was live before the current one. It returns the new deployment.
func (in *Intake) Rollback(ctx context.Context, pipeline, target uuid.UUID, actor string) (queries.Deployment, error) {
	return in.republish(ctx, pipeline, target, troy.Rollback, actor, func(q *queries.Queries, p queries.Pipeline, found found) (queries.Deployment, error) {
		if target == uuid.Nil {
			return beforeLive(ctx, q, p)
		}
		d, err := found.of(pipeline, target, "deployment")
		if err == nil && d.LiveAt == nil {
			err = troy.Errorf(troy.Conflict, "deployment %d was never live; expected one that was, or use promote for any that succeeded", d.Number).At("deployment")
		}
		return d, err
	})
}

// Promote publishes any successful deployment without a build. It returns the
// new deployment.
func (in *Intake) Promote(ctx context.Context, pipeline, target uuid.UUID, actor string) (queries.Deployment, error) {
	return in.republish(ctx, pipeline, target, troy.Promotion, actor, func(_ *queries.Queries, _ queries.Pipeline, found found) (queries.Deployment, error) {
		d, err := found.of(pipeline, target, "deployment")
		if err == nil && d.State != troy.Succeeded {
			err = troy.Errorf(troy.Conflict, "deployment %d is %s; only a %s one can be promoted", d.Number, d.State, troy.Succeeded).At("deployment")
		}
		return d, err
	})
}

// Seen is what a page showed of a pipeline.
type Seen struct {
	Live   string // the live deployment's id, or NothingLive
	Newest int64  // the number of the newest deployment
}

// GoBack is Rollback to a deployment, or Promote if it was never live. The
// error is Moved if another deployment went live, or is on its way, that the
// page did not show.
func (in *Intake) GoBack(ctx context.Context, d queries.Deployment, seen Seen, actor string) (queries.Deployment, error) {
	what := troy.Promotion
	if d.LiveAt != nil {
		what = troy.Rollback
	}
	return in.republish(ctx, d.PipelineID, d.ID, what, actor, func(q *queries.Queries, p queries.Pipeline, found found) (queries.Deployment, error) {
		if err := notMoved(ctx, q, p, seen); err != nil {
			return d, err
		}
		d, err := found.of(p.ID, d.ID, "deployment")
		if err == nil && d.State != troy.Succeeded {
			err = troy.Errorf(troy.Conflict, "deployment %d is %s; only a %s one can be published again", d.Number, d.State, troy.Succeeded).At("deployment")
		}
		return d, err
	})
}

// notMoved returns a Moved error if a pipeline, which is locked, is not as seen
// any more.
func notMoved(ctx context.Context, q *queries.Queries, p queries.Pipeline, seen Seen) error {
	if liveName(p) != seen.Live {
		return troy.Errorf(troy.Moved, "another deployment is live than when you opened the page; nothing was done")
	}
	d, err := q.DeploymentOnItsWay(ctx, p.ID, seen.Newest)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find newer deployments: %w", err)
	}
	return troy.Errorf(troy.Moved, "since you opened the page, %s began deployment %d, which is %s; nothing was done", d.Actor, d.Number, d.State)
}

// choose returns the deployment to publish again. found is the one that was asked
// for, if any.
type choose func(q *queries.Queries, p queries.Pipeline, found found) (queries.Deployment, error)

// republish makes a deployment with the tree of an earlier one. id is the one that
// was asked for, or uuid.Nil.
func (in *Intake) republish(ctx context.Context, pipeline, id uuid.UUID, what troy.DeploymentKind, actor string, target choose) (queries.Deployment, error) {
	var made queries.Deployment
	err := transaction(ctx, in.db, func(tx pgx.Tx, q *queries.Queries) error {
		var e queries.Exchange
		locked := queries.Ask(&e, (*queries.Queries).PipelineLock, pipeline)
		asked := queries.Ask(&e, (*queries.Queries).DeploymentGet, id)
		live := queries.Ask(&e, (*queries.Queries).DeploymentLive, pipeline)
		if err := e.Send(ctx, tx); err != nil {
			return fmt.Errorf("lock pipeline %s: %w", pipeline, err)
		}
		if locked.Err != nil {
			return noPipeline(pipeline)
		}
		p := locked.Row
		remember(ctx, pipeline)
		action := GoBack
		if what == troy.Promotion {
			action = Promoting
		}
		if err := notInDeletion(p, action); err != nil {
			return err
		}
		d, err := target(q, p, found(*asked))
		if err != nil {
			return err
		}
		if d.PrunedAt != nil {
			return troy.Errorf(troy.Conflict, "the files of deployment %d were removed at %s; release them again", d.Number, stamp(*d.PrunedAt)).At("deployment")
		}
		if err := notLive(p, live.Row, d); err != nil {
			return err
		}
		made, err = repeat(ctx, q, d, what, fmt.Sprintf("%s of deployment %d", what, d.Number), actor)
		return err
	})
	if err != nil {
		return queries.Deployment{}, fmt.Errorf("%s in pipeline %s: %w", what, pipeline, err)
	}
	in.ask(tasks.QueueQuick)
	return made, nil
}

// notLive refuses a deployment that is already live. While another deployment
// is on its way none counts as live: a rollback to the live one then follows
// that one.
func notLive(p queries.Pipeline, live, d queries.Deployment) error {
	if p.LiveDeploymentID == nil || p.Status == troy.Queued || p.Status == troy.Deploying || live.TreeID != d.TreeID {
		return nil
	}
	if live.ID == d.ID {
		return troy.Errorf(troy.Conflict, "deployment %d is already live", d.Number).At("deployment")
	}
	return troy.Errorf(troy.Conflict, "the files of deployment %d are already live, by deployment %d", d.Number, live.Number).At("deployment")
}

// repeat makes a deployment with the tree of d.
func repeat(ctx context.Context, q *queries.Queries, d queries.Deployment, kind troy.DeploymentKind, cause, actor string) (queries.Deployment, error) {
	return repeatIf(ctx, q, d, kind, nil, cause, actor)
}

// repeatIf is repeat for a deployment that may require what is live.
func repeatIf(ctx context.Context, q *queries.Queries, d queries.Deployment, kind troy.DeploymentKind, expectLive *string, cause, actor string) (queries.Deployment, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return queries.Deployment{}, err
	}
	remember(ctx, id)
	made, err := q.DeploymentMake(ctx, queries.DeploymentCreateParams{
		ID: id, PipelineID: d.PipelineID, Kind: kind, TreeID: d.TreeID, SourceDeploymentID: &d.ID,
		CommitSha: d.CommitSha, Branch: d.Branch, Author: d.Author, Message: d.Message, Actor: actor,
		ManifestDigest: d.ManifestDigest, Files: d.Files, Bytes: d.Bytes, ExpectLive: expectLive, Cause: cause,
	})
	return made, guarded(ctx, q, d.PipelineID, GoBack, err)
}

func beforeLive(ctx context.Context, q *queries.Queries, p queries.Pipeline) (queries.Deployment, error) {
	if p.LiveDeploymentID == nil {
		return queries.Deployment{}, troy.Errorf(troy.Conflict, "the pipeline %s is %s and has no live deployment, so it can't be rolled back", p.Name, p.Status)
	}
	d, err := q.DeploymentBeforeLive(ctx, p.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, troy.Errorf(troy.Conflict, "the pipeline %s has no other deployment that was live, or its files were removed", p.Name)
	}
	return d, err
}

// deployment reads one of the pipeline's deployments. It returns NotFound for
// another pipeline's.
func deployment(ctx context.Context, q *queries.Queries, pipeline, id uuid.UUID, field string) (queries.Deployment, error) {
	d, err := q.DeploymentGet(ctx, id)
	return found{Row: d, Err: err}.of(pipeline, id, field)
}

// found is a deployment that was looked up by its id.
type found queries.Answer[queries.Deployment]

// of returns the deployment if it is the pipeline's.
func (f found) of(pipeline, id uuid.UUID, field string) (queries.Deployment, error) {
	if errors.Is(f.Err, pgx.ErrNoRows) || f.Err == nil && f.Row.PipelineID != pipeline {
		return queries.Deployment{}, troy.Errorf(troy.NotFound, "the pipeline has no deployment %s", id).At(field)
	}
	return f.Row, f.Err
}

// CancelDeployment cancels a deployment that waits or is being built. It
// returns Conflict if the deployment is being published or has ended.
func (in *Intake) CancelDeployment(ctx context.Context, pipeline, id uuid.UUID, actor string) (queries.Deployment, error) {
	var d queries.Deployment
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := notInDeletion(p, Cancel); err != nil {
			return err
		}
		remember(ctx, id)
		before, err := deployment(ctx, q, pipeline, id, "")
		if err != nil {
			return err
		}
		if before.Kind == troy.Preview {
			_, err = q.PreviewDeploymentCancel(ctx, "cancelled by "+actor, id)
		} else {
			_, err = q.DeploymentCancel(ctx, queries.DeploymentCancelParams{
				ID: id, PipelineID: pipeline, Cause: "cancelled by " + actor, Actor: actor,
			})
		}
		switch {
		case errors.Is(err, pgx.ErrNoRows) && before.State == troy.Publishing:
			return troy.Errorf(troy.Conflict, "deployment %d is %s and can't be cancelled any more; roll back when it is live", before.Number, before.State)
		case errors.Is(err, pgx.ErrNoRows):
			return troy.Errorf(troy.Conflict, "deployment %d is %s; only a %s or %s one can be cancelled", before.Number, before.State, troy.Waiting, troy.Building)
		case err != nil:
			return err
		}
		if err := Audit(ctx, q, Change{Action: DeploymentCancel, Subject: fmt.Sprint(before.Number), Actor: actor, Pipeline: &p, Deployment: id}); err != nil {
			return err
		}
		d, err = q.DeploymentGet(ctx, id)
		return err
	})
	if err != nil {
		return queries.Deployment{}, fmt.Errorf("cancel deployment %s of pipeline %s: %w", id, pipeline, err)
	}
	return d, nil
}
