package localcloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/site"
)

// previews keeps each label as a pointer that the edge reads.
type previews struct{ *cdn }

func (v *previews) Point(ctx context.Context, id, label string, p site.Pointer) error {
	if err := v.point(ctx, id, label, p); err != nil {
		return fmt.Errorf("point %s of distribution %s to deployment %s: %w", troy.Clip(label), id, p.Deployment, err)
	}
	return nil
}

func (v *previews) point(ctx context.Context, id, label string, p site.Pointer) error {
	if err := site.CheckPreviewLabel(label); err != nil {
		return err
	}
	release, err := v.Lock(ctx, "distribution", id)
	if err != nil {
		return err
	}
	defer release()
	if _, err := v.read(id); err != nil {
		return err
	}
	file := v.layout.PreviewPointer(id, label)
	folder := filepath.Dir(file)
	inForce, err := site.ReadPointer(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case inForce == p:
		// An earlier call may have been interrupted between its rename and the
		// sync of the folder.
		v.bump()
		return files.SyncFolder(folder)
	case inForce.Sequence >= p.Sequence:
		return &cloud.StalePointerError{InForce: inForce.Sequence}
	}
	if err := os.Mkdir(folder, 0o755); err == nil {
		if err := files.SyncFolder(filepath.Dir(folder)); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return files.Error(err)
	}
	return v.write(file, p)
}

func (v *previews) Unpoint(ctx context.Context, id, label string, sequence int64) error {
	if err := v.unpoint(ctx, id, label, sequence); err != nil {
		return fmt.Errorf("remove %s of distribution %s: %w", troy.Clip(label), id, err)
	}
	return nil
}

func (v *previews) unpoint(ctx context.Context, id, label string, sequence int64) error {
	if err := site.CheckPreviewLabel(label); err != nil {
		return err
	}
	if !validID(id) {
		return nil
	}
	release, err := v.Lock(ctx, "distribution", id)
	if err != nil {
		return err
	}
	defer release()
	file := v.layout.PreviewPointer(id, label)
	switch inForce, err := site.ReadPointer(file); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case inForce.Sequence > sequence:
		return &cloud.StalePointerError{InForce: inForce.Sequence}
	}
	return v.remove(file)
}

// removePreviews removes all labels of a distribution.
func (c *cdn) removePreviews(id string) error {
	defer c.bump()
	folder := filepath.Dir(c.layout.PreviewPointer(id, "label"))
	if err := os.RemoveAll(folder); err != nil {
		return files.Error(err)
	}
	return files.SyncFolder(filepath.Dir(folder))
}
