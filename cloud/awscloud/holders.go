package awscloud

import (
	"context"
	"errors"
	"path"
	"slices"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

// holders finds objects with the files' bytes in other trees of the pipeline:
// those whose manifests have the prefixes, by prefix and then newest first.
func (s *Store) holders(ctx context.Context, t site.Tree, files []site.File, prefixes ...string) (map[site.Digest][]string, error) {
	found := make(map[site.Digest][]string, len(files))
	for _, f := range files {
		found[f.SHA256] = nil
	}
	open := len(found)
	for _, prefix := range prefixes {
		var keys []string
		if err := s.work.List(ctx, prefix, func(o awsapi.Object) error {
			if path.Base(o.Key) != t.Deployment.String() {
				keys = append(keys, o.Key)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		slices.Sort(keys) // by time, as the ids are
		for _, at := range slices.Backward(keys) {
			if open == 0 {
				return found, nil
			}
			deployment, err := uuid.Parse(path.Base(at))
			if err != nil {
				continue // not Troy's
			}
			other := site.Tree{Pipeline: t.Pipeline, Deployment: deployment}
			m, err := s.read(ctx, at)
			if errors.Is(err, cloud.ErrNotFound) {
				continue // removed meanwhile
			}
			if err != nil {
				return nil, err
			}
			key, err := keysOf(m)
			if err != nil {
				return nil, err
			}
			take := func(f site.File) {
				holders, wanted := found[f.SHA256]
				if wanted && len(holders) < 2 { // one, and a spare in case it is deleted
					if len(holders) == 0 {
						open--
					}
					found[f.SHA256] = append(holders, treePrefix(other)+key(f.Path))
				}
			}
			for _, f := range m.Files {
				take(f)
			}
			for _, c := range m.Carried {
				take(c.File)
			}
		}
	}
	return found, nil
}
