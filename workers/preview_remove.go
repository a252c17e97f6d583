package workers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
)

// previewRemove removes the addresses of a closed preview and of its
// deployments, and the caches of its builds. Retention then removes the files.
func (w *Workers) previewRemove(ctx context.Context, c *claim) error {
	v, err := w.q.PreviewGet(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("read the preview: %w", err)
	}
	p, err := w.q.PipelineGet(ctx, v.PipelineID)
	if errors.Is(err, pgx.ErrNoRows) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("read the pipeline: %w", err)
	}
	// The pipeline was read before: if the preview is opened again from here on,
	// its deployments have higher numbers.
	if v, err = w.q.PreviewGet(ctx, v.ID); err == nil && (v.ClosedAt == nil || v.RemovedAt != nil) || errors.Is(err, pgx.ErrNoRows) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("read the preview: %w", err)
	}
	busy, err := w.q.PreviewPublishing(ctx, v.ID)
	if err != nil {
		return fmt.Errorf("look for a deployment that is publishing: %w", err)
	}
	if busy {
		return comeBack(previewBusy, "a deployment of the preview is being published")
	}
	if p.DistributionID != nil && w.deps.Cloud.Previews != nil {
		if err := w.unpoint(ctx, *p.DistributionID, p, v); err != nil {
			return err
		}
	}
	if w.deps.Builder != nil {
		// Its builds have been stopped. What one of them stores later, and what other
		// machines keep, is removed within the hour.
		if err := w.deps.Builder.RemoveCaches(ctx, p.ID, scopeOf(v), time.Time{}); err != nil {
			return fmt.Errorf("remove the preview's caches: %w", err)
		}
		w.reportCaches(ctx, c)
	}
	c.log.Info("preview removed", "pipeline", p.ID, "preview", v.Label, "cause", v.ClosedCause)
	return move(ctx, w, p.ID, (*queries.Queries).PreviewMarkRemoved, queries.PreviewMarkRemovedParams{ID: v.ID, PipelineID: p.ID, Epoch: c.epoch, UpTo: p.LastNumber})
}

// unpoint removes the addresses of a closed preview, unless it was opened again.
func (w *Workers) unpoint(ctx context.Context, distribution string, p queries.Pipeline, v queries.Preview) error {
	err := w.deps.Cloud.Previews.Unpoint(ctx, distribution, v.Label, previewSequence(p.LastNumber)+1)
	if errors.Is(err, cloud.ErrStalePointer) {
		now, readErr := w.q.PreviewGet(ctx, v.ID)
		if readErr != nil {
			return fmt.Errorf("read the preview: %w", readErr)
		}
		if now.ClosedAt == nil {
			return errMoved
		}
		// The database was restored from an older backup.
		err = w.deps.Cloud.Previews.Unpoint(ctx, distribution, v.Label, math.MaxInt64)
	}
	if err != nil {
		return fmt.Errorf("remove the preview's address: %w", err)
	}
	numbers, err := w.q.PreviewNumbers(ctx, v.ID, p.LastNumber)
	if err != nil {
		return fmt.Errorf("list the deployments of the preview: %w", err)
	}
	for _, number := range numbers {
		if err := w.deps.Cloud.Previews.Unpoint(ctx, distribution, troy.DeploymentLabel(number), math.MaxInt64); err != nil {
			return fmt.Errorf("remove the address of deployment %d: %w", number, err)
		}
	}
	return nil
}

// giveUpPreviewRemove starts again after a delay: a closed preview never stays.
func (w *Workers) giveUpPreviewRemove(ctx context.Context, c *claim, cause string) error {
	c.log.Error("a closed preview could not be removed repeatedly; its address may still work", "preview", c.task.Subject, "cause", cause)
	return w.anew(ctx, c, accessAnewDelay, cause)
}

// expirePreviews closes the previews that expired.
func (w *Workers) expirePreviews(ctx context.Context) error {
	expired, err := w.q.PreviewsToExpire(ctx)
	if err != nil {
		return fmt.Errorf("look for expired previews: %w", err)
	}
	for _, v := range expired {
		if err := w.deps.Intake.ExpirePreview(ctx, v.PipelineID, v.ID); err != nil {
			if ctx.Err() != nil {
				return err
			}
			w.log.Warn("closing an expired preview failed; the next turn retries", "pipeline", v.PipelineID, "preview", v.ID, "error", err)
		}
	}
	return nil
}
