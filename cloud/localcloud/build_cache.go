package localcloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/cloud"
)

// depCache is where a build's package manager keeps what it has fetched. It
// belongs to one pipeline, since what a build writes there the next one runs.
type depCache struct {
	dir  string
	note string // for the log
	// kept is false for a folder that goes with the build.
	kept    bool
	cap     int64
	release func()
}

// openCache finds the cache for the plan's lockfile. When the lockfile has
// changed, the one before is gone on with: managers look their entries up by
// digests, so that old ones do no harm.
func (b *Builder) openCache(ctx context.Context, pipeline uuid.UUID, work string, plan build.Plan) (*depCache, error) {
	passing := &depCache{dir: filepath.Join(work, "cache"), release: func() {}}
	if plan.Lockfile == "" {
		passing.note = "No dependency cache: there is no lockfile."
		return passing, os.MkdirAll(passing.dir, 0o755)
	}
	digest, err := digestFile(filepath.Join(work, "repo"), plan.Lockfile)
	if err != nil {
		return nil, err
	}
	base := b.state.path("builds", pipeline.String(), "cache", plan.Manager)
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, storeError(err)
	}
	lock := flock.New(base+".lock", flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if !held {
		passing.note = "No dependency cache: another build of the pipeline is using it."
		return passing, errors.Join(os.MkdirAll(passing.dir, 0o755), lock.Close())
	}
	c := &depCache{dir: filepath.Join(base, digest), kept: true, cap: b.cfg.CacheBytes, release: func() { _ = lock.Close() }}
	if c.note, err = c.find(ctx, base, plan.Lockfile); err != nil {
		c.release()
		return nil, storeError(err)
	}
	return c, nil
}

func (c *depCache) find(ctx context.Context, base, lockfile string) (string, error) {
	if _, err := os.Stat(c.dir); err == nil {
		return "Dependency cache: found for " + lockfile + ".", nil
	}
	entries, err := os.ReadDir(base)
	if err != nil {
		return "", err
	}
	note := "Dependency cache: none yet for " + lockfile + "."
	for i, entry := range entries {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		old := filepath.Join(base, entry.Name())
		if i > 0 {
			// Left by a removal that was cut off.
			if err := removeFolder(old); err != nil {
				return "", err
			}
			continue
		}
		if err := os.Rename(old, c.dir); err != nil {
			return "", err
		}
		note = "Dependency cache: of an earlier " + lockfile + "."
	}
	return note, os.MkdirAll(c.dir, 0o755)
}

// close gives the cache back, or removes it when it has grown too large.
func (c *depCache) close() (note string, err error) {
	defer c.release()
	if !c.kept {
		return "", nil
	}
	size, err := treeSize(c.dir)
	if err != nil || size <= c.cap {
		return "", err
	}
	note = fmt.Sprintf("The dependency cache has grown to %s, more than %s; the next build starts with an empty one.", cloud.BytesInWords(size), cloud.BytesInWords(c.cap))
	return note, removeFolder(c.dir)
}

// treeSize is the bytes of all files below a folder.
func treeSize(dir string) (int64, error) {
	var size int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
		}
		return nil
	})
	return size, err
}

// digestFile names a file's content. The file is the repository's, so no link
// of it is followed out.
func digestFile(dir, name string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
