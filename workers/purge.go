package workers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// purge seals the live tree again without the purged carried assets, and flips
// the pointer to it, so that the CDN fetches it again.
func (w *Workers) purge(ctx context.Context, c *claim) error {
	p, err := w.pipeline(ctx, c)
	if err != nil {
		return err
	}
	purges, err := w.purges(ctx, p.ID)
	if err != nil {
		return err
	}
	open := slices.DeleteFunc(slices.Clone(purges), func(x queries.Purge) bool { return x.DoneAt != nil })
	if len(open) == 0 || p.Status.InDeletion() {
		return nil
	}
	if p.LiveDeploymentID != nil && p.DistributionID != nil {
		if err := w.purgeLive(ctx, c, p, purges); err != nil {
			return err
		}
	}
	seen := slices.MaxFunc(open, func(a, b queries.Purge) int { return a.RequestedAt.Compare(b.RequestedAt) })
	if err := w.q.PurgesFinish(ctx, queries.PurgesFinishParams{PipelineID: p.ID, CarrySeconds: w.cfg.CarryAssets.Seconds(), Seen: seen.RequestedAt}); err != nil {
		return fmt.Errorf("record that the purge is done: %w", err)
	}
	c.log.Info("purged carried assets", "pipeline", p.ID, "paths", len(open))
	return nil
}

func (w *Workers) purgeLive(ctx context.Context, c *claim, p queries.Pipeline, purges []queries.Purge) error {
	live, err := w.q.DeploymentGet(ctx, *p.LiveDeploymentID)
	if err != nil {
		return fmt.Errorf("read the live deployment: %w", err)
	}
	tree := site.Tree{Pipeline: p.ID, Deployment: live.TreeID}
	m, err := w.deps.Cloud.Store.Manifest(ctx, tree)
	if err != nil {
		return fmt.Errorf("read the live manifest: %w", err)
	}
	if err := w.deps.Cloud.Store.Seal(ctx, tree, withoutPurged(m.Carried, purges), nil); err != nil {
		return fmt.Errorf("seal the live tree without the purged assets: %w", err)
	}
	sequence, err := w.purgeSequence(ctx, c, live)
	if err != nil {
		return err
	}
	err = w.deps.Cloud.CDN.Flip(ctx, *p.DistributionID, site.Pointer{Sequence: sequence, Pipeline: p.ID, Deployment: live.TreeID})
	if errors.Is(err, cloud.ErrStalePointer) {
		// Another deployment went live meanwhile. It may have read the list of
		// purges before this one was on it.
		return comeBack(purgeDelay, "another deployment went live")
	}
	if err != nil {
		return fmt.Errorf("flip the pointer: %w", err)
	}
	return nil
}

// purgeDelay is how long a purge waits for a deployment that is being published.
const purgeDelay = 2 * time.Second

// purgeSequence takes a sequence for the live tree behind the pipeline's lock:
// a deployment that starts to publish later has a higher one.
func (w *Workers) purgeSequence(ctx context.Context, c *claim, live queries.Deployment) (sequence int64, err error) {
	err = pgx.BeginFunc(ctx, w.deps.DB, func(tx pgx.Tx) error {
		q := queries.New(tx)
		if _, err := q.PipelineLock(ctx, live.PipelineID); err != nil {
			return err
		}
		sequence, err = q.PurgeNextSequence(ctx, queries.PurgeNextSequenceParams{ID: live.PipelineID, Live: &live.ID, Epoch: c.epoch})
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, comeBack(purgeDelay, "a deployment is being published")
	}
	if err != nil {
		return 0, fmt.Errorf("take a sequence: %w", err)
	}
	return sequence, nil
}

// purges lists a pipeline's purged paths, which must not be carried.
func (w *Workers) purges(ctx context.Context, pipeline uuid.UUID) ([]queries.Purge, error) {
	purges, err := w.q.PurgeList(ctx, pipeline, w.cfg.CarryAssets.Seconds())
	if err != nil {
		return nil, fmt.Errorf("read the purges: %w", err)
	}
	return purges, nil
}

func withoutPurged(carried []site.Carried, purges []queries.Purge) []site.Carried {
	return slices.DeleteFunc(slices.Clone(carried), func(c site.Carried) bool {
		return slices.ContainsFunc(purges, func(p queries.Purge) bool { return site.Covers(p.Path, c.Path) })
	})
}

// giveUpPurge starts again after a delay: an accepted purge is never dropped.
// Until then, the next deployment does not carry its paths.
func (w *Workers) giveUpPurge(ctx context.Context, c *claim, cause string) error {
	c.log.Error("a purge failed repeatedly; the live site still serves the purged paths", "pipeline", c.task.Subject, "cause", cause)
	return w.anew(ctx, c, anewDelay, cause)
}
