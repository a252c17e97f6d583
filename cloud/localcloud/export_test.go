package localcloud

import (
	"context"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
)

// Boot gives a store another id of the machine's start, and another sync.
func Boot(c cloud.Cloud, id string, sync func(dir string) error) {
	s := c.Store.(*store) //nolint:forcetypeassert // New makes no other
	s.boot = id
	if sync != nil {
		s.sync = sync
	}
}

// Collect calls the part of Remove that holds the lock.
func Collect(ctx context.Context, c cloud.Cloud, pipeline uuid.UUID) ([]string, error) {
	return c.Store.(*store).collect(ctx, pipeline) //nolint:forcetypeassert // see above
}

// Compact calls the part of Remove that copies packs.
func Compact(ctx context.Context, c cloud.Cloud, pipeline uuid.UUID, packs []string) error {
	return c.Store.(*store).compact(ctx, pipeline, packs) //nolint:forcetypeassert // see above
}
