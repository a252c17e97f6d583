package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// KeepAtLeast is the number of newest deployments that are never pruned.
const KeepAtLeast = 10

// Pruning is what a prune removes.
type Pruning struct {
	Deployments []queries.DeploymentsPrunableRow
	// Files and Bytes are those that no other tree of the pipeline has.
	Files, Bytes int64
}

// PlanPrune returns what Prune would remove.
func (in *Intake) PlanPrune(ctx context.Context, store Trees, pipeline uuid.UUID, keep int) (Pruning, error) {
	if keep < KeepAtLeast || keep > 10_000 {
		return Pruning{}, troy.Errorf(troy.Invalid, "it is %d; expected from %d to 10000", keep, KeepAtLeast).At("keep")
	}
	q := queries.New(in.db)
	rows, err := q.DeploymentsPrunable(ctx, pipeline, int32(keep))
	if err != nil {
		return Pruning{}, fmt.Errorf("find the deployments of pipeline %s to prune: %w", pipeline, err)
	}
	plan := Pruning{Deployments: rows}
	if len(rows) == 0 {
		return plan, nil
	}
	going := map[uuid.UUID]bool{}
	for _, d := range rows {
		going[d.TreeID] = true
	}
	listed, err := store.Trees(ctx, pipeline)
	if err != nil {
		return plan, fmt.Errorf("list the trees of pipeline %s: %w", pipeline, err)
	}
	var kept site.Usage
	var gone []site.Manifest
	for _, tree := range listed {
		m, err := store.Manifest(ctx, site.Tree{Pipeline: pipeline, Deployment: tree})
		switch {
		case errors.Is(err, cloud.ErrNotFound): // removed meanwhile
		case err != nil:
			return plan, fmt.Errorf("read the files of tree %s: %w", tree, err)
		case going[tree]:
			gone = append(gone, m)
		default:
			kept.Add(m)
		}
	}
	var freed site.Usage
	for _, m := range gone {
		for _, f := range m.Carried {
			m.Files = append(m.Files, f.File)
		}
		for f := range kept.Lacking(m.Files) {
			freed.AddFile(f)
		}
	}
	plan.Files, plan.Bytes = freed.Files, freed.Bytes
	return plan, nil
}

// pruneAttempts is how often a plan is made again because the deployments
// changed meanwhile.
const pruneAttempts = 5

// Prune gives up the files of a pipeline's deployments, except those of the
// live one, of the newest keep, of running ones and of those that open previews
// show. Retention removes them. A rollback to one of them either comes first
// and keeps it, or finds it given up.
func (in *Intake) Prune(ctx context.Context, store Trees, pipeline uuid.UUID, keep int, actor string) (Pruning, error) {
	for range pruneAttempts {
		plan, err := in.PlanPrune(ctx, store, pipeline, keep)
		if err != nil {
			return plan, err
		}
		done := false
		err = in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
			if err := notInDeletion(p, Pruned); err != nil {
				return err
			}
			now, err := q.DeploymentsPrunable(ctx, p.ID, int32(keep))
			if err != nil {
				return err
			}
			id := func(d queries.DeploymentsPrunableRow) uuid.UUID { return d.ID }
			ids := mapped(now, id)
			if done = slices.Equal(ids, mapped(plan.Deployments, id)); !done || len(ids) == 0 {
				return nil
			}
			if err := q.DeploymentsGiveUp(ctx, p.ID, ids); err != nil {
				return err
			}
			if err := Audit(ctx, q, Change{
				Action: DeploymentsPruned, Subject: p.Slug, Detail: fmt.Sprintf("%s, %s", troy.Count(len(ids), "deployment", "deployments"), troy.Size(plan.Bytes)), Actor: actor, Pipeline: &p,
			}); err != nil {
				return err
			}
			return q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeRetention, SubjectID: p.ID})
		})
		if err != nil {
			return plan, fmt.Errorf("prune the deployments of pipeline %s: %w", pipeline, err)
		}
		if done {
			return plan, nil
		}
	}
	return Pruning{}, troy.Errorf(troy.Unavailable, "the pipeline's deployments kept changing; try again")
}

func mapped[T, U any](list []T, f func(T) U) []U {
	out := make([]U, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}
