package codebuild

import (
	"context"

	"github.com/google/uuid"
)

// Pipelines lists the builds' objects in the work bucket by pipeline: "objects
// under records/… in troy-work".
func (b *Builder) Pipelines(ctx context.Context) (map[uuid.UUID][]string, error) {
	found := map[uuid.UUID][]string{}
	for _, prefix := range []string{records, builds, caches} {
		err := b.work.Folders(ctx, prefix, func(name string) {
			if pipeline, err := uuid.Parse(name); err == nil {
				found[pipeline] = append(found[pipeline], "objects under "+prefix+name+"/ in "+b.work.Name)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
