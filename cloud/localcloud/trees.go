package localcloud

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/google/uuid"
)

// Trees implements cloud.Store. It takes no lock, so that it never waits for a
// Seal or Remove. It reads the sealed trees last, because a tree that is being
// sealed is among them before it is removed from the open ones.
func (s *store) Trees(ctx context.Context, pipeline uuid.UUID) ([]uuid.UUID, error) {
	seen := map[uuid.UUID]bool{}
	var trees []uuid.UUID
	for _, kind := range []string{"open", "trees"} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		entries, err := readDir(filepath.Join(s.layout.Site(pipeline), kind))
		if err != nil {
			return nil, fmt.Errorf("list the trees of %s: %w", pipeline, err)
		}
		for _, entry := range entries {
			id, err := uuid.Parse(entry.Name())
			if err == nil && !seen[id] {
				seen[id] = true
				trees = append(trees, id)
			}
		}
	}
	return trees, nil
}
