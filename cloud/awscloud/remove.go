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

// Trees implements cloud.Store.
func (s *Store) Trees(ctx context.Context, pipeline uuid.UUID) ([]uuid.UUID, error) {
	seen := map[uuid.UUID]bool{}
	var trees []uuid.UUID
	add := func(name string) {
		if id, err := uuid.Parse(name); err == nil && !seen[id] {
			seen[id] = true
			trees = append(trees, id)
		}
	}
	if err := s.sites.Folders(ctx, sitePrefix(pipeline), add); err != nil {
		return nil, err
	}
	err := s.work.List(ctx, manifestPrefix(pipeline), func(o awsapi.Object) error {
		add(path.Base(o.Key))
		return nil
	})
	return trees, err
}

// Remove implements cloud.Store. An upload may count on the files of a tree
// that is being removed, because Begin found them there. So Remove first
// withdraws the tree's manifest, so that no later Begin finds it, and only then
// looks for the trees that are open. Each of those gets its own copies of what
// it needs. Begin writes the open tree's manifest before it looks for files, so
// Remove sees every tree that was promised any.
//
// Until its objects are gone, a tree's manifest is kept under another key. A
// Remove that was interrupted goes on from there.
func (s *Store) Remove(ctx context.Context, pipeline uuid.UUID, deployments ...uuid.UUID) error {
	if len(deployments) == 0 {
		return ctx.Err()
	}
	for _, deployment := range deployments {
		if err := s.withdraw(ctx, site.Tree{Pipeline: pipeline, Deployment: deployment}); err != nil {
			return err
		}
	}
	if err := s.leaveFiles(ctx, pipeline); err != nil {
		return err
	}
	for _, deployment := range deployments {
		t := site.Tree{Pipeline: pipeline, Deployment: deployment}
		if _, err := s.sites.RemoveAll(ctx, treePrefix(t)); err != nil {
			return err
		}
		if err := s.work.Remove(ctx, removedKey(t)); err != nil {
			return err
		}
	}
	return nil
}

// withdraw moves a tree's manifest to where neither readers nor uploads look.
func (s *Store) withdraw(ctx context.Context, t site.Tree) error {
	s.listed.take(t)
	s.declared.forget(t.Pipeline, t.Deployment)
	sealed, err := s.work.Get(ctx, sealedKey(t), maxManifest)
	switch {
	case errors.Is(err, cloud.ErrNotFound):
	case err != nil:
		return err
	default:
		if err := s.work.Put(ctx, removedKey(t), sealed, "application/zstd", false); err != nil {
			return err
		}
	}
	return s.work.Remove(ctx, sealedKey(t), openKey(t), servedKey(t))
}

// leaveFiles copies to the open trees what they need and what only trees that
// are being removed have.
func (s *Store) leaveFiles(ctx context.Context, pipeline uuid.UUID) error {
	var open []uuid.UUID
	if err := s.work.List(ctx, openPrefix(pipeline), func(o awsapi.Object) error {
		if id, err := uuid.Parse(path.Base(o.Key)); err == nil {
			open = append(open, id)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, id := range open {
		if err := s.leaveFilesTo(ctx, site.Tree{Pipeline: pipeline, Deployment: id}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) leaveFilesTo(ctx context.Context, t site.Tree) error {
	m, err := s.read(ctx, openKey(t))
	if errors.Is(err, cloud.ErrNotFound) {
		return nil // sealed or removed meanwhile
	}
	if err != nil {
		return err
	}
	have, err := s.present(ctx, t, m)
	if err != nil {
		return err
	}
	own := addressesOf(m)
	needed := absent(m, own, have)
	if len(needed) == 0 {
		return nil
	}
	elsewhere, err := s.holders(ctx, t, needed, sealedPrefix(t.Pipeline))
	if err != nil {
		return err
	}
	needed = slices.DeleteFunc(needed, func(f site.File) bool { return len(elsewhere[f.SHA256]) > 0 })
	holders, err := s.holders(ctx, t, needed, removedPrefix(t.Pipeline))
	if err != nil {
		return err
	}
	c := copies{store: s, tree: t, own: own, have: have, holders: holders}
	return c.run(ctx, needed, own.key)
}

// RemoveAll implements cloud.Store.
func (s *Store) RemoveAll(ctx context.Context, pipeline uuid.UUID) (int, error) {
	s.declared.forget(pipeline)
	manifests, err := s.work.RemoveAll(ctx, manifestPrefix(pipeline))
	if err != nil {
		return manifests, err
	}
	files, err := s.sites.RemoveAll(ctx, sitePrefix(pipeline))
	return manifests + files, err
}
