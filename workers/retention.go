package workers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// retention removes a pipeline's unneeded objects by mark and sweep. It marks
// the rows of expired uploads, and of deployments that are neither live nor
// among the newest; no upload or rollback can use those any more. Then it
// removes what the store has and no row needs, and counts the rest. After a
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
	pruned, expired, err := w.giveUpTrees(ctx, pipeline)
	if err != nil {
		return err
	}
	if err := w.addresses(ctx, c, p, pruned); err != nil {
		return err
	}
	if err := w.sweepTrees(ctx, c, p, expired); err != nil {
		return err
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

// sweepTrees removes the trees that the store has and no row needs. It lists
// the store before it reads the rows. An upload's row is written before its
// tree, so a tree in the list that gets a row has it by then. The rows of
// expired uploads are deleted after their trees, so that a failure between the
// two is retried.
func (w *Workers) sweepTrees(ctx context.Context, c *claim, p queries.Pipeline, expired []uuid.UUID) error {
	store := w.deps.Cloud.Store
	listed, err := store.Trees(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("list the trees in the store: %w", err)
	}
	sorted, err := w.q.TreesSort(ctx, p.ID, listed)
	if err != nil {
		return fmt.Errorf("read which trees are needed: %w", err)
	}
	var gone []uuid.UUID
	for _, tree := range sorted {
		if tree.Unneeded {
			gone = append(gone, tree.TreeID)
		}
	}
	stored, err := w.q.StorageGet(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("read when the storage was counted: %w", err)
	}
	// Remove also removes bytes that no tree has, so it is called once a day
	// without any.
	if len(gone) > 0 || stored.CountedAt != nil && time.Since(*stored.CountedAt) > 24*time.Hour {
		if err := store.Remove(ctx, p.ID, gone...); err != nil {
			return fmt.Errorf("remove trees: %w", err)
		}
		c.log.Info("removed trees", "pipeline", p.ID, "trees", len(gone), "uploads", len(expired))
	}
	if err := w.q.ReleasesForget(ctx, expired); err != nil {
		return fmt.Errorf("forget the expired uploads: %w", err)
	}
	if err := w.q.TreesForget(ctx, p.ID, slices.Concat(gone, expired)); err != nil {
		return fmt.Errorf("forget the trees that counted: %w", err)
	}
	if err := w.deps.Intake.Recount(ctx, store, p.ID); err != nil {
		return err
	}
	return w.noteQuota(ctx, p.ID)
}

// giveUpTrees marks what is not needed, behind the pipeline's lock: a rollback
// to one of the deployments either came first and keeps it, or finds it given
// up. The same holds for the end of an upload.
func (w *Workers) giveUpTrees(ctx context.Context, pipeline uuid.UUID) (pruned []queries.DeploymentsPruneRow, expired []uuid.UUID, err error) {
	err = pgx.BeginFunc(ctx, w.deps.DB, func(tx pgx.Tx) error {
		q := queries.New(tx)
		if _, err := q.PipelineLock(ctx, pipeline); err != nil {
			return err
		}
		if pruned, err = q.DeploymentsPrune(ctx, pipeline, int32(max(w.cfg.KeepDeployments, intake.KeepAtLeast))); err != nil {
			return err
		}
		expired, err = q.ReleasesGiveUp(ctx, pipeline)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, errMoved
	}
	if err != nil {
		return nil, nil, fmt.Errorf("select the trees to remove: %w", err)
	}
	return pruned, expired, nil
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
