package workers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// retentionDelay is the time between a deployment's going live and the cleanup
// of its pipeline's storage: readers of the previous page may still fetch its
// files.
const retentionDelay = 5 * time.Minute

// deploy publishes the deployment for which a pipeline is Queued or Deploying:
// it completes the tree and then flips the pointer.
func (w *Workers) deploy(ctx context.Context, c *claim) error {
	p, d, live, err := w.deploymentOf(ctx, c)
	if err != nil {
		return err
	}
	log := c.log.With("pipeline", p.ID, "deployment", d.ID)
	if d.ExpectLive != nil && *d.ExpectLive != liveName(p.LiveDeploymentID) {
		return troy.Errorf(troy.Moved, "it was to replace deployment %s, but %s is live", *d.ExpectLive, liveName(p.LiveDeploymentID))
	}
	if p.DistributionID == nil {
		return troy.Errorf(troy.Conflict, "the pipeline has no distribution")
	}

	tree := site.Tree{Pipeline: p.ID, Deployment: d.TreeID}
	pointer := site.Pointer{Sequence: *d.Sequence, Pipeline: p.ID, Deployment: d.TreeID}
	// The tree of an earlier deployment is complete. It gets the assets of what is
	// live now.
	if d.SealedAt == nil || d.TreeID != d.ID {
		carried, err := w.carried(ctx, p, live, tree)
		if err != nil {
			return err
		}
		if err := w.seal(ctx, d, tree, carried); err != nil {
			return err
		}
	}
	if d.SealedAt == nil {
		n, err := w.q.DeploymentRecordSealed(ctx, d.ID, c.epoch)
		if err != nil {
			return fmt.Errorf("record that the files are complete: %w", err)
		}
		if n == 0 {
			return errMoved
		}
	}
	if err := w.flip(ctx, c, p.ID, d, *p.DistributionID, pointer); err != nil {
		return fmt.Errorf("flip the pointer: %w", err)
	}
	w.addressing(ctx, c, *p.DistributionID, d)
	log.Info("live", "sequence", *d.Sequence, "kind", d.Kind)
	return move(ctx, w, p.ID, (*queries.Queries).DeploymentSucceed, queries.DeploymentSucceedParams{
		PipelineID: p.ID, ID: d.ID, Epoch: c.epoch, Actor: actor, RetentionSeconds: retentionDelay.Seconds(),
	})
}

// seal completes the tree of a deployment.
func (w *Workers) seal(ctx context.Context, d queries.Deployment, tree site.Tree, carried []site.Carried) (err error) {
	var rules []byte // nil keeps those of an earlier deployment's tree
	if d.TreeID == d.ID {
		if rules, err = intake.CompileRules(ctx, w.q, w.deps.Cloud.Store, tree, w.deps.Cloud.Functions); err != nil {
			return err
		}
	}
	if err := w.deps.Cloud.Store.Seal(ctx, tree, carried, rules); err != nil {
		return fmt.Errorf("complete the files: %w", err)
	}
	return nil
}

// flip moves the pointer. If the pointer has a sequence that this database
// never issued, the database was restored from a backup: the deployment gets a
// higher sequence.
func (w *Workers) flip(ctx context.Context, c *claim, pipeline uuid.UUID, d queries.Deployment, distribution string, pointer site.Pointer) error {
	err := w.deps.Cloud.CDN.Flip(ctx, distribution, pointer)
	stale, ok := errors.AsType[*cloud.StalePointerError](err)
	if !ok {
		return err
	}
	now, readErr := w.q.PipelineGet(ctx, pipeline)
	if readErr != nil {
		return fmt.Errorf("read the pipeline: %w", readErr)
	}
	if stale.InForce <= now.LastSequence && stale.InForce != pointer.Sequence {
		return err // a later deployment in this history
	}
	pointer.Sequence, readErr = w.q.DeploymentResequence(ctx, queries.DeploymentResequenceParams{InForce: stale.InForce, PipelineID: pipeline, Epoch: c.epoch, ID: d.ID})
	if errors.Is(readErr, pgx.ErrNoRows) {
		return errMoved
	}
	if readErr != nil {
		return fmt.Errorf("take a later sequence for the deployment: %w", readErr)
	}
	c.log.Warn("the pointer has a later sequence than the database; was the database restored from a backup?", "in_force", stale.InForce, "sequence", pointer.Sequence)
	return w.deps.Cloud.CDN.Flip(ctx, distribution, pointer)
}

// deploymentOf returns the claimed pipeline with the deployment that is under way
// and the live one, if any; it starts the next deployment if there is none.
func (w *Workers) deploymentOf(ctx context.Context, c *claim) (p queries.Pipeline, d queries.Deployment, live *queries.Deployment, err error) {
	var e queries.Exchange
	pipeline := queries.Ask(&e, (*queries.Queries).PipelineGet, c.task.Subject)
	alive := queries.Ask(&e, (*queries.Queries).DeploymentLive, c.task.Subject)
	running := queries.Ask(&e, (*queries.Queries).DeploymentRunning, c.task.Subject)
	next := queries.Ask(&e, (*queries.Queries).DeploymentNextWaiting, c.task.Subject)
	// A claim that Postgres lost in a crash may be another worker's by now.
	held := queries.Ask(&e, (*queries.Queries).WorkHeld, queries.WorkHeldParams{Kind: c.task.Kind, SubjectID: c.task.Subject, Epoch: c.epoch})
	if err := e.Send(ctx, w.deps.DB); err != nil {
		return p, d, nil, fmt.Errorf("read the pipeline and its deployments: %w", ofDatabase(err))
	}
	p = pipeline.Row
	if alive.Err == nil {
		live = &alive.Row
	}
	switch {
	case pipeline.Err != nil, !held.Row:
		return p, d, live, errMoved
	case p.Status == troy.Queued && next.Err == nil:
		d, err = w.startDeployment(ctx, c, next.Row)
		return p, d, live, err
	case p.Status == troy.Deploying && running.Err == nil && running.Row.State == troy.Publishing:
		return p, running.Row, live, nil
	}
	// Either nothing is under way, or it is being built; the end of the build
	// requests this task again.
	return p, d, live, errMoved
}

// startDeployment starts the next deployment.
func (w *Workers) startDeployment(ctx context.Context, c *claim, next queries.Deployment) (queries.Deployment, error) {
	if next.Kind == troy.Automated && next.ManifestDigest == nil {
		return next, w.handOverBuild(ctx, c, next)
	}
	var e queries.Exchange
	queries.Ask(&e, (*queries.Queries).PipelineLock, next.PipelineID)
	moved := queries.Ask(&e, (*queries.Queries).DeploymentStart, queries.DeploymentStartParams{PipelineID: next.PipelineID, ID: next.ID, Epoch: c.epoch, Actor: actor})
	d := queries.Ask(&e, (*queries.Queries).DeploymentGet, next.ID)
	if err := e.Send(ctx, w.deps.DB); err != nil {
		return next, fmt.Errorf("start the next deployment: %w", ofDatabase(err))
	}
	if moved.Err != nil || d.Err != nil {
		return next, errMoved
	}
	return d.Row, nil
}

// handOverBuild requests the build of the next deployment.
func (w *Workers) handOverBuild(ctx context.Context, c *claim, d queries.Deployment) error {
	n, err := w.q.BuildHandOver(ctx, queries.BuildHandOverParams{PipelineID: d.PipelineID, Epoch: c.epoch, Requested: c.requested, ID: d.ID})
	if err != nil {
		return fmt.Errorf("hand over to the build: %w", err)
	}
	if n == 0 {
		return errMoved
	}
	w.deps.Bell.Ask(tasks.QueueBuilds)
	return errHandedOver
}

// carried lists the hashed assets that pages of earlier deployments, still open
// in a browser, may request: those of the live tree for the full time from now,
// and those that it carries for the rest of their time.
func (w *Workers) carried(ctx context.Context, p queries.Pipeline, live *queries.Deployment, next site.Tree) ([]site.Carried, error) {
	settings, err := settingsOf(p)
	if err != nil || settings.DropAssets || live == nil {
		return nil, err
	}
	if live.TreeID == next.Deployment {
		return nil, nil
	}
	m, err := w.deps.Cloud.Store.Manifest(ctx, site.Tree{Pipeline: p.ID, Deployment: live.TreeID})
	if errors.Is(err, cloud.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the live manifest: %w", err)
	}
	now := time.Now()
	var carried []site.Carried
	for _, f := range m.Files {
		if site.Carries(f.Path) {
			carried = append(carried, site.Carried{File: f, Until: now.Add(w.cfg.CarryAssets).Unix()})
		}
	}
	for _, f := range m.Carried {
		if f.Until > now.Unix() {
			carried = append(carried, f)
		}
	}
	if len(carried) == 0 {
		return nil, nil
	}
	purges, err := w.purges(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	return withoutPurged(carried, purges), nil
}

// failDeploy marks the deployment as failed. If its pointer may have flipped,
// it first restores the previous pointer, so that the live site does not
// change.
func (w *Workers) failDeploy(ctx context.Context, c *claim, cause string) error {
	p, d, live, err := w.deploymentOf(ctx, c)
	if err != nil {
		return err
	}
	if d.SealedAt != nil && p.DistributionID != nil {
		if err := w.putBack(ctx, c, p, live); err != nil {
			return fmt.Errorf("restore the live deployment after %s: %w", cause, err)
		}
	}
	return move(ctx, w, p.ID, (*queries.Queries).DeploymentFail, queries.DeploymentFailParams{
		PipelineID: p.ID, ID: d.ID, Kind: c.task.Kind, SubjectID: c.task.Subject, Epoch: c.epoch, Cause: cause, Actor: actor,
	})
}

// putBack points the distribution at the live deployment's tree, or at none.
func (w *Workers) putBack(ctx context.Context, c *claim, p queries.Pipeline, live *queries.Deployment) error {
	var tree uuid.UUID
	if live != nil {
		tree = live.TreeID
	}
	sequence, err := w.q.PipelineNextSequence(ctx, p.ID, c.epoch)
	if errors.Is(err, pgx.ErrNoRows) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("take a sequence: %w", err)
	}
	return w.deps.Cloud.CDN.Flip(ctx, *p.DistributionID, site.Pointer{Sequence: sequence, Pipeline: p.ID, Deployment: tree})
}

// liveName formats the live deployment as expect_live does.
func liveName(id *uuid.UUID) string {
	if id == nil {
		return "none"
	}
	return id.String()
}
