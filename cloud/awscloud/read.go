package awscloud

import (
	"context"
	"errors"
	"fmt"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// Read implements cloud.Store. S3 verified the bytes when they were uploaded.
func (s *Store) Read(ctx context.Context, t site.Tree, f site.File) ([]byte, error) {
	if err := cloud.CheckRead(f); err != nil {
		return nil, err
	}
	own, err := s.addresses(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("read %q of tree %s: %w", f.Path, t.Deployment, err)
	}
	data, err := s.sites.Get(ctx, treePrefix(t)+fileKey(f.Path), cloud.MaxRead)
	if key := own.key(f.Path); errors.Is(err, cloud.ErrNotFound) && key != fileKey(f.Path) {
		data, err = s.sites.Get(ctx, treePrefix(t)+key, cloud.MaxRead)
	}
	if !errors.Is(err, cloud.ErrNotFound) {
		return data, err
	}
	// The file may be in this tree under another path, or in another tree.
	m, err := s.manifest(ctx, t)
	if err != nil {
		return nil, err
	}
	have, err := s.present(ctx, t, m)
	if err != nil {
		return nil, err
	}
	for _, other := range m.Files {
		if key := own.held(other, have); other.SHA256 == f.SHA256 && key != "" {
			return s.sites.Get(ctx, treePrefix(t)+key, cloud.MaxRead)
		}
	}
	found, err := s.holders(ctx, t, []site.File{f}, sealedPrefix(t.Pipeline), removedPrefix(t.Pipeline))
	if err != nil {
		return nil, err
	}
	for _, key := range found[f.SHA256] {
		if data, err = s.sites.Get(ctx, key, cloud.MaxRead); !errors.Is(err, cloud.ErrNotFound) {
			return data, err
		}
	}
	return nil, fmt.Errorf("read %q of tree %s: %w", f.Path, t.Deployment, cloud.ErrNotFound)
}
