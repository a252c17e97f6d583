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
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// holderDelay is how long a deletion waits for a worker that holds other work of
// the pipeline or of its previews.
const holderDelay = time.Second

// teardownStart disables the distribution of a pipeline that is Scheduled for
// Deletion, and leaves the wait to the poll.
func (w *Workers) teardownStart(ctx context.Context, c *claim) error {
	p, err := w.pipeline(ctx, c)
	if err != nil {
		return err
	}
	if p.Status != troy.ScheduledForDeletion {
		return errMoved
	}
	left, err := w.q.PipelineBeginDeletion(ctx, p.ID, c.epoch)
	if errors.Is(err, pgx.ErrNoRows) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("begin the deletion: %w", err)
	}
	if left > 0 {
		// Something rang early. The grace period is not an attempt.
		return &waitError{delay: time.Duration(left * float64(time.Second)), why: "the deletion is due later and can be undone until then", fresh: true}
	}
	holders, err := w.q.WorkHeldByOthers(ctx, p.ID, c.task.Kind)
	if err != nil {
		return fmt.Errorf("check for other claims on the pipeline: %w", err)
	}
	if holders > 0 {
		return comeBack(holderDelay, "another worker still holds work of the pipeline")
	}
	d, err := w.findDistribution(ctx, c, p)
	if errors.Is(err, cloud.ErrNotFound) {
		return w.markDeleting(ctx, c, p.ID, "there is no distribution")
	}
	if err != nil {
		return err
	}
	if d.Enabled {
		if err := w.deps.Cloud.CDN.Disable(ctx, d.ID, d.ETag); err != nil && !errors.Is(err, cloud.ErrNotFound) {
			return fmt.Errorf("disable the distribution %s: %w", d.ID, err)
		}
		c.log.Info("disabling the distribution", "pipeline", p.ID, "distribution", d.ID)
	} else if d.Deployed {
		return w.markDeleting(ctx, c, p.ID, "the distribution is disabled")
	}
	return w.handOver(ctx, c, tasks.Task{Kind: tasks.TypePollDistroDisabled, Subject: p.ID}, w.deps.Cloud.PropagationDelay)
}

// findDistribution reads the pipeline's distribution. It also finds, and then
// records, one that was made but never recorded.
func (w *Workers) findDistribution(ctx context.Context, c *claim, p queries.Pipeline) (cloud.Distribution, error) {
	if p.DistributionID != nil {
		d, err := w.deps.Cloud.CDN.Get(ctx, *p.DistributionID)
		if err != nil {
			return d, fmt.Errorf("read the distribution %s: %w", *p.DistributionID, err)
		}
		return d, nil
	}
	d, err := w.deps.Cloud.CDN.Find(ctx, reference(p.ID))
	if err != nil {
		return d, fmt.Errorf("look for a distribution: %w", err)
	}
	return d, w.recordDistribution(ctx, c, d)
}

func (w *Workers) markDeleting(ctx context.Context, c *claim, pipeline uuid.UUID, cause string) error {
	return move(ctx, w, pipeline, (*queries.Queries).PipelineMarkDeleting, queries.PipelineMarkDeletingParams{
		ID: pipeline, Kind: c.task.Kind, Epoch: c.epoch, Cause: cause, Actor: actor,
	})
}

// failDelete is giveUp of the three teardown tasks.
func (w *Workers) failDelete(ctx context.Context, c *claim, cause string) error {
	return move(ctx, w, c.task.Subject, (*queries.Queries).PipelineFailDelete, queries.PipelineFailDeleteParams{
		ID: c.task.Subject, Kind: c.task.Kind, Epoch: c.epoch, Cause: cause, Actor: actor,
	})
}
