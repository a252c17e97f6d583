package localcloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/internal/walk"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/pack"
)

func (s *store) Remove(ctx context.Context, pipeline uuid.UUID, deployments ...uuid.UUID) error {
	if err := s.remove(ctx, pipeline, deployments); err != nil {
		return fmt.Errorf("remove %d trees of %s: %w", len(deployments), pipeline, err)
	}
	return nil
}

func (s *store) remove(ctx context.Context, pipeline uuid.UUID, deployments []uuid.UUID) error {
	release, err := s.lock(ctx, pipeline, false)
	if errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	sparse, err := func() ([]string, error) {
		defer release()
		for _, deployment := range deployments {
			t := site.Tree{Pipeline: pipeline, Deployment: deployment}
			if err := errors.Join(files.Remove(s.layout.Tree(t)), files.Remove(s.layout.OpenTree(t))); err != nil {
				return nil, err
			}
		}
		if err := files.RemoveStale(s.incoming(pipeline), time.Now().Add(-staleAfter)); err != nil {
			return nil, err
		}
		return s.collect(ctx, pipeline)
	}()
	if err != nil || len(sparse) == 0 {
		return err
	}
	return s.compact(ctx, pipeline, sparse)
}

// collect removes the blobs and packs that no tree needs, and returns the packs
// to compact. Each Remove calls it, which completes an interrupted one.
func (s *store) collect(ctx context.Context, pipeline uuid.UUID) (sparse []string, err error) {
	needed, err := s.needed(ctx, pipeline)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(s.layout.Site(pipeline), "blobs")
	folders, err := readDir(root)
	if err != nil {
		return nil, err
	}
	for _, folder := range folders {
		if err := s.collectBlobs(ctx, filepath.Join(root, folder.Name()), "", needed); err != nil {
			return nil, err
		}
	}
	if err := s.collectBlobs(ctx, s.layout.Unsynced(pipeline), s.boot+".", needed); err != nil {
		return nil, err
	}
	return s.collectPacks(ctx, pipeline, needed)
}

// collectBlobs removes the blobs of a folder that are not needed. Their names
// begin with prefix.
func (s *store) collectBlobs(ctx context.Context, dir, prefix string, needed map[site.Digest]struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	blobs, err := readDir(dir)
	if err != nil {
		return err
	}
	for _, blob := range blobs {
		name, own := strings.CutPrefix(blob.Name(), prefix)
		if !own || strings.HasSuffix(name, pack.Suffix) {
			continue
		}
		// The edge keeps a file's encoded forms beside the blob.
		name, _, _ = strings.Cut(name, ".")
		digest, err := site.ParseDigest(name)
		if _, keep := needed[digest]; err == nil && keep {
			continue
		}
		if err := os.Remove(filepath.Join(dir, blob.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// needed returns every digest in the pipeline's trees. It returns an error for
// an unreadable manifest: without it nothing may be removed.
func (s *store) needed(ctx context.Context, pipeline uuid.UUID) (map[site.Digest]struct{}, error) {
	needed := map[site.Digest]struct{}{}
	for _, kind := range []string{"trees", "open"} {
		dir := filepath.Join(s.layout.Site(pipeline), kind)
		trees, err := readDir(dir)
		if err != nil {
			return nil, err
		}
		for _, tree := range trees {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			m, err := s.readManifest(filepath.Join(dir, tree.Name()))
			if err != nil {
				return nil, err
			}
			for _, f := range m.Files {
				needed[f.SHA256] = struct{}{}
			}
			for _, c := range m.Carried {
				needed[c.SHA256] = struct{}{}
			}
		}
	}
	return needed, nil
}

// readDir lists a folder; a missing one is empty.
func readDir(dir string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

func (s *store) RemoveAll(ctx context.Context, pipeline uuid.UUID) (int, error) {
	n, err := s.removeAll(ctx, pipeline)
	if err != nil {
		return n, fmt.Errorf("remove everything of %s: %w", pipeline, err)
	}
	return n, nil
}

// removedFolder holds removed sites until they are deleted.
const removedFolder = "removed"

// removeAll renames the site under its lock, which ends it at once for every
// process, and deletes it under the new name, together with the leftovers of
// earlier calls.
func (s *store) removeAll(ctx context.Context, pipeline uuid.UUID) (int, error) {
	folder, trash := s.layout.Site(pipeline), filepath.Join(s.layout.Root, removedFolder)
	release, err := s.lock(ctx, pipeline, false)
	switch {
	case errors.Is(err, cloud.ErrNotFound):
	case err != nil:
		return 0, err
	default:
		err := os.Rename(folder, filepath.Join(trash, pipeline.String()+"."+uuid.NewString()))
		release()
		if err != nil {
			return 0, err
		}
	}
	removed, err := readDir(trash)
	if err != nil {
		return 0, err
	}
	total := 0
	for _, entry := range removed {
		if !strings.HasPrefix(entry.Name(), pipeline.String()) {
			continue
		}
		n, err := removeTree(ctx, filepath.Join(trash, entry.Name()))
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, files.SyncFolder(filepath.Dir(folder))
}

// removeTree removes a folder and returns the number of a site's files in it,
// without the lock.
func removeTree(ctx context.Context, dir string) (int, error) {
	if err := os.Remove(filepath.Join(dir, "lock")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	return walk.Remove(ctx, dir)
}
