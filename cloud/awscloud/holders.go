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
			keys := keysOf(m)
			take := func(f site.File) error {
				holders, wanted := found[f.SHA256]
				if !wanted || len(holders) > 1 { // one, and a spare in case it is deleted
					return nil
				}
				if len(holders) == 0 {
					open--
				}
				all, err := keys(f.Path)
				for _, key := range all {
					holders = append(holders, treePrefix(other)+key)
				}
				found[f.SHA256] = holders
				return err
			}
			for _, f := range m.Files {
				if err := take(f); err != nil {
					return nil, err
				}
			}
			for _, c := range m.Carried {
				if err := take(c.File); err != nil {
					return nil, err
				}
			}
		}
	}
	return found, nil
}
