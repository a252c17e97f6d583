package workers

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// pollLater leaves a started build to poll-build. If the deployment was
// cancelled meanwhile, that work already exists.
func (w *Workers) pollLater(ctx context.Context, c *claim, deployment uuid.UUID) error {
	return w.handOver(ctx, c, tasks.Task{Kind: tasks.TypePollBuild, Subject: deployment}, w.cfg.BuildPoll)
}

// pollBuild polls once a build that runs without a worker, and comes back.
// build stores the output, because its slots are for long work.
func (w *Workers) pollBuild(ctx context.Context, c *claim) error {
	if w.deps.Builder == nil { // no builder, so nothing is left
		return w.emptied(ctx, c.task.Subject)
	}
	d, err := w.q.DeploymentGet(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("read the deployment: %w", err)
	}
	tree := site.Tree{Pipeline: d.PipelineID, Deployment: d.ID}
	if d.State != troy.Building {
		return w.dropBuild(ctx, c, d)
	}
	_, secrets, err := w.variables(ctx, d)
	if err != nil {
		return err
	}
	r, err := redactorOf(secrets)
	if err != nil {
		return err
	}
	b, logged, err := w.lookAtBuild(ctx, tree, &progress{}, r.Writer)
	switch {
	case errors.Is(err, builder.ErrNotFound):
		c.log.Warn("the builder does not know the build; it is started again")
	case err != nil:
		return err
	case b.State == builder.Running:
		return comeBack(w.cfg.BuildPoll, "the build is running")
	case !logged && b.State != builder.Lost:
		return comeBack(w.cfg.BuildPoll, "the build has ended, and its log is not complete yet")
	}
	kind := tasks.TypeBuild
	if d.PreviewID != nil {
		kind = tasks.TypePreviewBuild
	}
	return w.handOver(ctx, c, tasks.Task{Kind: kind, Subject: d.ID}, 0)
}

// leasesToStart is the number of leases after a deployment's cancellation
// during which a worker may still start its build: it learns of the
// cancellation with its next heartbeat, at the latest when its lease expires.
const leasesToStart = 2

// dropBuild ends a build that is no longer wanted, and removes its resources
// once it has ended.
func (w *Workers) dropBuild(ctx context.Context, c *claim, d queries.Deployment) error {
	starting := w.cfg.BuildPoll > 0 && (d.State == troy.Cancelled || d.State == troy.Superseded) && c.age < leasesToStart*w.cfg.Lease
	if err := w.endBuild(ctx, site.Tree{Pipeline: d.PipelineID, Deployment: d.ID}, starting); err != nil {
		return err
	}
	if starting {
		return comeBack(w.cfg.Lease, "a worker may be about to start the build")
	}
	return w.emptied(ctx, d.ID)
}

// emptied removes a build's uploaded source, and records that nothing of the
// build is left to remove.
func (w *Workers) emptied(ctx context.Context, deployment uuid.UUID) error {
	if err := w.forgetUpload(ctx, deployment); err != nil {
		return err
	}
	if err := w.q.BuildEmptied(ctx, deployment); err != nil {
		return fmt.Errorf("record that the build is removed: %w", err)
	}
	return nil
}

// endBuild stops a build and removes it after its end. starting means that a
// build that does not exist yet may still be started.
func (w *Workers) endBuild(ctx context.Context, tree site.Tree, starting bool) error {
	b, err := builder.Build{}, w.deps.Builder.Stop(ctx, tree)
	if err == nil {
		b, err = w.deps.Builder.Get(ctx, tree)
	}
	switch {
	case errors.Is(err, builder.ErrNotFound): // yet its source may exist
	case err != nil:
		return fmt.Errorf("stop the build: %w", err)
	case b.State == builder.Running, b.State == builder.Lost && starting:
		return comeBack(max(w.cfg.BuildPoll, stopPoll), "the build is being stopped")
	}
	var logged error
	if row, err := w.q.BuildGet(ctx, tree.Deployment); err == nil && row.FinishedAt == nil {
		logged = w.finishLog(ctx, tree.Deployment, builder.Build{State: builder.Stopped})
	}
	// Its source may hold secrets, so it must not outlive a log that can't be
	// stored.
	if err := w.deps.Builder.Remove(ctx, tree); err != nil {
		return errors.Join(fmt.Errorf("remove the build: %w", err), logged)
	}
	return logged
}

// giveUpPoll fails a deployment whose build can't be polled; the next poll then
// stops the build. The resources of an ended build may hold secrets, so their
// removal is retried after a delay.
func (w *Workers) giveUpPoll(ctx context.Context, c *claim, cause string) error {
	d, err := w.q.DeploymentGet(ctx, c.task.Subject)
	if err == nil && d.State == troy.Building {
		return w.failBuild(ctx, c, cause)
	}
	c.log.Error("stopping or removing a build failed repeatedly; its source may hold secrets", "cause", cause)
	return w.anew(ctx, c, anewDelay, cause)
}
