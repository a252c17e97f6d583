package toolchain

import (
	"context"
	"errors"
	"os"
	"path"

	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/internal/walk"
)

// syncsAtOnce is how many files are made durable at a time. A file system writes
// the journal once for several.
const syncsAtOnce = 64

// syncTree makes a folder's content durable.
func syncTree(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(syncsAtOnce)
	err = walk.Folder(ctx, root, walk.Limits{Entries: unpacked.Entries + 100, Path: 4096}, func(e walk.Entry) error {
		if !e.IsDir() && !e.Type().IsRegular() {
			return nil // a link is durable with its folder
		}
		name := e.Path
		group.Go(func() error {
			f, err := root.Open(name)
			if err != nil {
				return err
			}
			return files.Error(errors.Join(f.Sync(), f.Close()))
		})
		return nil
	})
	if err = errors.Join(err, group.Wait()); err != nil {
		return err
	}
	return files.SyncFolder(path.Clean(dir))
}
