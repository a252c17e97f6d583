package workers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/queries"
)

// retention removes a pipeline's unneeded objects: expired uploads, and the
// trees of deployments that are neither live nor among the newest. After a
// pipeline's deletion it removes objects that arrived after the teardown.
func (w *Workers) retention(ctx context.Context, c *claim) error {
	pipeline := c.task.Subject
	p, err := w.q.PipelineGet(ctx, pipeline)
	if errors.Is(err, pgx.ErrNoRows) {
		left, err := w.deps.Cloud.Store.RemoveAll(ctx, pipeline)
		if err != nil {
			return fmt.Errorf("look for objects of a deleted pipeline: %w", err)
		}
		c.log.Info("looked for objects of a deleted pipeline", "pipeline", pipeline, "objects", left)
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the pipeline: %w", err)
	}
	pruned, err := w.giveUpTrees(ctx, pipeline)
	if err != nil {
		return err
	}
	if err := w.addresses(ctx, c, p, pruned); err != nil {
		return err
	}
	// The rows of expired uploads are deleted after their trees, so that a
	// failure between the two is retried.
	var trees []uuid.UUID
	for _, d := range pruned {
		trees = append(trees, d.TreeID)
	}
	expired, err := w.q.ReleasesExpired(ctx, pipeline)
	if err != nil {
		return fmt.Errorf("read the expired uploads: %w", err)
	}
	if gone := append(trees, expired...); len(gone) > 0 {
		if err := w.deps.Cloud.Store.Remove(ctx, pipeline, gone...); err != nil {
			return fmt.Errorf("remove trees: %w", err)
		}
		c.log.Info("removed trees", "pipeline", pipeline, "deployments", len(trees), "uploads", len(expired))
	}
	if err := w.q.ReleasesForget(ctx, expired); err != nil {
		return fmt.Errorf("forget the expired uploads: %w", err)
	}
	next, err := w.q.ReleasesNextExpiry(ctx, pipeline)
	if err != nil {
		return fmt.Errorf("read when the next upload expires: %w", err)
	}
	if next >= 0 {
		return &waitError{delay: time.Duration(next*float64(time.Second)) + time.Second, why: "an upload is under way", fresh: true}
	}
	return nil
}

// giveUpTrees selects the trees to remove, behind the pipeline's lock: a
// rollback to one of them either came first and keeps it, or finds it removed.
func (w *Workers) giveUpTrees(ctx context.Context, pipeline uuid.UUID) (pruned []queries.DeploymentsPruneRow, err error) {
	err = pgx.BeginFunc(ctx, w.deps.DB, func(tx pgx.Tx) error {
		q := queries.New(tx)
		if _, err := q.PipelineLock(ctx, pipeline); err != nil {
			return err
		}
		pruned, err = q.DeploymentsPrune(ctx, pipeline, int32(max(w.cfg.KeepDeployments, 10)))
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errMoved
	}
	if err != nil {
		return nil, fmt.Errorf("select the trees to remove: %w", err)
	}
	return pruned, nil
}

// giveUpRetention leaves the objects in place: the next deployment requests
// retention again.
func (w *Workers) giveUpRetention(ctx context.Context, c *claim, cause string) error {
	c.log.Error("retention was given up; unneeded objects stay in the store", "pipeline", c.task.Subject, "cause", cause)
	_, err := w.q.WorkFinish(ctx, queries.WorkFinishParams{
		Kind: c.task.Kind, SubjectID: c.task.Subject, Epoch: c.epoch, Requested: c.requested,
	})
	return err
}
