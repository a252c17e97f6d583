package intake

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// maxPurges is the maximum number of a pipeline's purges that apply at a time.
const maxPurges = 1000

// Purge requests the removal of assets that the site carries from earlier
// deployments: the file at path, the files in a folder if path ends in a slash,
// or all of them if path is empty. The caller has checked the path. It does not
// remove the live deployment's own files.
func (in *Intake) Purge(ctx context.Context, pipeline uuid.UUID, path, actor string) (queries.Pipeline, error) {
	return in.change(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := notInDeletion(p, Purging); err != nil {
			return err
		}
		if err := q.PurgesCover(ctx, p.ID, path); err != nil {
			return fmt.Errorf("remove the purges of pipeline %s that this one covers: %w", p.ID, err)
		}
		n, err := q.PurgeCount(ctx, queries.PurgeCountParams{PipelineID: p.ID, Path: path, CarrySeconds: in.cfg.CarryAssets.Seconds()})
		if err != nil {
			return fmt.Errorf("count the purges of pipeline %s: %w", p.ID, err)
		}
		if n >= maxPurges {
			return troy.Errorf(troy.Conflict, "%d other paths were purged within the time that assets are carried; purge a folder that covers them, or everything", n).At("path")
		}
		if err := q.PurgeRequest(ctx, queries.PurgeRequestParams{PipelineID: p.ID, Path: path, Actor: actor}); err != nil {
			return fmt.Errorf("request a purge of pipeline %s: %w", p.ID, err)
		}
		if err := Audit(ctx, q, Change{Action: Purged, Subject: p.Slug, Detail: path, Actor: actor, Pipeline: &p}); err != nil {
			return err
		}
		return q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypePurge, SubjectID: p.ID})
	})
}
