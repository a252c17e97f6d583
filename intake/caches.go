package intake

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// ClearCaches makes the next builds of a pipeline and its previews start without
// a dependency cache. A build that runs keeps its cache to the end, and no later
// build uses that.
func (in *Intake) ClearCaches(ctx context.Context, pipeline uuid.UUID, actor string) error {
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := notInDeletion(p, ClearingCache); err != nil {
			return err
		}
		cleared, err := q.BuildCachesClear(ctx, p.ID)
		if err != nil {
			return err
		}
		detail := "none"
		if cleared.Caches > 0 {
			detail = troy.Count(int(cleared.Caches), "cache", "caches") + ", " + troy.Size(cleared.Bytes)
		}
		return Audit(ctx, q, Change{Action: CacheCleared, Subject: p.Slug, Detail: detail, Actor: actor, Pipeline: &p})
	})
	if err != nil {
		return fmt.Errorf("clear the caches of pipeline %s: %w", pipeline, err)
	}
	return nil
}
