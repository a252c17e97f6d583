package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/internal/disk"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/internal/walk"
)

// depCache is the folder in which a build's package manager keeps its
// downloads. It belongs to one pipeline, since the next build runs what a build
// writes there.
type depCache struct {
	dir  string
	note string // for the log
	// kept is false for a folder that is removed with the build.
	kept    bool
	cap     int64
	release func()

	place  cachePlace
	record cacheRecord
	temp   string // where the record is written first
}

// openCache opens the build's cache. Without one the build is only slower, so
// whatever is wrong with it is logged.
func (b *Builder) openCache(ctx context.Context, spec builder.Spec, work string, plan build.Plan) (*depCache, error) {
	c, err := b.findCache(ctx, spec, work, plan)
	if err == nil || ctx.Err() != nil || disk.IsFull(err) {
		return c, err
	}
	b.cfg.Log.Warn("a build has no dependency cache", "pipeline", spec.Tree.Pipeline, "deployment", spec.Tree.Deployment, "error", err)
	passing := &depCache{dir: filepath.Join(work, "cache"), note: "No dependency cache: the server can't open it.", release: func() {}}
	return passing, os.MkdirAll(passing.dir, 0o755)
}

// findCache finds the cache for the plan's lockfile. If the lockfile has
// changed, it reuses the previous cache: managers find entries by digest, so
// old ones do no harm. A preview without a cache of its own begins with a copy
// of the site's; it never writes to that.
func (b *Builder) findCache(ctx context.Context, spec builder.Spec, work string, plan build.Plan) (*depCache, error) {
	passing := &depCache{dir: filepath.Join(work, "cache"), release: func() {}}
	if spec.Untrusted {
		passing.note = "No dependency cache: the author of the commit may not push to the repository."
		return passing, os.MkdirAll(passing.dir, 0o755)
	}
	root, err := os.OpenRoot(filepath.Join(work, "repo"))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	manager, file := plan.CacheKey(root.FS())
	if file == "" {
		passing.note = "No dependency cache: the project has neither a lockfile nor a package list."
		return passing, os.MkdirAll(passing.dir, 0o755)
	}
	digest, err := digestFile(root, file)
	if err != nil {
		return nil, err
	}
	if err := b.forget(ctx, spec.Tree.Pipeline, spec.CacheEpoch); err != nil && ctx.Err() == nil {
		b.cfg.Log.Warn("old caches of a pipeline were not removed", "pipeline", spec.Tree.Pipeline, "error", err)
	}
	place := b.place(spec.Tree.Pipeline, spec.CacheScope, manager)
	if err := os.MkdirAll(place.dir, 0o700); err != nil {
		return nil, files.Error(err)
	}
	release, err := place.take(ctx, spec.CacheScope == "")
	if err != nil {
		return nil, err
	}
	if release == nil {
		passing.note = "No dependency cache: another build of the pipeline is using it."
		return passing, os.MkdirAll(passing.dir, 0o755)
	}
	c := &depCache{
		dir: filepath.Join(place.dir, digest), kept: true, cap: b.cfg.CacheBytes, release: release, place: place, temp: b.root.Temp(),
		record: cacheRecord{Scope: spec.CacheScope, Epoch: spec.CacheEpoch, Bytes: -1, Used: time.Now().UTC()},
	}
	if err := c.open(ctx, b, spec, manager, file); err != nil {
		release()
		return nil, files.Error(err)
	}
	return c, nil
}

// open makes the cache's folder ready. The record comes first: what a build
// writes has the build's epoch.
func (c *depCache) open(ctx context.Context, b *Builder, spec builder.Spec, manager, file string) error {
	was, err := c.place.read()
	if err != nil {
		return err
	}
	if was.Epoch != spec.CacheEpoch { // forget saw another build
		if err := c.place.empty(ctx); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(c.place.dir, 0o700); err != nil { // trimCaches removes it
		return err
	}
	if err := c.place.write(c.temp, c.record); err != nil {
		return err
	}
	if err := c.place.sweep(ctx); err != nil {
		return err
	}
	contents, err := c.place.contents()
	if err != nil {
		return err
	}
	if spec.CacheScope == "" || len(contents) > 0 {
		c.note, err = c.find(ctx, c.place.dir, file)
		return err
	}
	copied, err := b.copySite(ctx, spec.Tree.Pipeline, manager, spec.CacheEpoch, c.dir)
	if err != nil && ctx.Err() == nil && !disk.IsFull(err) {
		b.cfg.Log.Warn("a preview's cache does not begin with the site's", "pipeline", spec.Tree.Pipeline, "error", err)
		copied, err = false, nil
	}
	if copied {
		c.note = "Dependency cache: a copy of the site's, because the branch has none yet."
		return err
	}
	c.note = "Dependency cache: none yet for this branch."
	return errors.Join(err, os.MkdirAll(c.dir, 0o755))
}

func (c *depCache) find(ctx context.Context, base, lockfile string) (string, error) {
	if _, err := os.Stat(c.dir); err == nil {
		return c.found(ctx, lockfile)
	}
	entries, err := os.ReadDir(base)
	if err != nil {
		return "", err
	}
	note := "Dependency cache: none yet for " + lockfile + "."
	adopted := false
	for _, entry := range entries {
		old := filepath.Join(base, entry.Name())
		if adopted {
			if err := removeFolder(ctx, old); err != nil {
				return "", err
			}
			continue
		}
		if err := os.Rename(old, c.dir); err != nil {
			return "", err
		}
		adopted = true
		note = "Dependency cache: of an earlier " + lockfile + "."
	}
	return note, os.MkdirAll(c.dir, 0o755)
}

// found measures an existing cache: the previous build may have been
// interrupted.
func (c *depCache) found(ctx context.Context, lockfile string) (string, error) {
	note, err := c.trim(ctx)
	if err != nil {
		return "", err
	}
	if note == "" {
		return "Dependency cache: found for " + lockfile + ".", nil
	}
	return note, os.MkdirAll(c.dir, 0o755)
}

// discarded is the name prefix of a cache that is being removed, so that an
// incomplete one is not used.
const discarded = "discarded-"

// discard removes the cache. If its context ends first, a later build does.
func (c *depCache) discard(ctx context.Context) error {
	gone := filepath.Join(filepath.Dir(c.dir), discarded+uuid.NewString())
	if err := os.Rename(c.dir, gone); err != nil {
		return err
	}
	return removeFolder(ctx, gone)
}

// cacheLimits bounds a cache's folders. Package managers stay well below.
var cacheLimits = walk.Limits{Entries: 2_000_000, Path: 4096}

// close returns the cache, or removes it if it has grown too large. If its
// context ends first, it returns the cache unchanged.
func (c *depCache) close(ctx context.Context) (note string, err error) {
	defer c.release()
	if !c.kept {
		return "", nil
	}
	if note, err = c.trim(ctx); err != nil {
		return note, err
	}
	c.record.Used = time.Now().UTC()
	return note, c.place.write(c.temp, c.record)
}

// trim measures the cache, and removes one that has grown too large.
func (c *depCache) trim(ctx context.Context) (note string, err error) {
	size, err := treeSize(ctx, c.dir)
	if err == nil {
		c.record.Bytes = size
	}
	switch {
	case errors.Is(err, walk.ErrEntries) || errors.Is(err, walk.ErrPath):
		note = "The dependency cache has too many or too deep folders"
	case err != nil || size <= c.cap:
		return "", err
	default:
		note = fmt.Sprintf("The dependency cache has grown to %s, more than %s", builder.BytesInWords(size), builder.BytesInWords(c.cap))
	}
	c.record.Bytes = 0
	return note + "; a build starts with an empty one.", c.discard(ctx)
}

// treeSize returns the total size of the files below a folder in bytes.
func treeSize(ctx context.Context, dir string) (int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	var size int64
	err = walk.Folder(ctx, root, cacheLimits, func(e walk.Entry) error {
		if e.IsDir() {
			return nil
		}
		info, err := e.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// digestFile hashes a file's content. The file is the repository's, so it does
// not follow links out of it.
func digestFile(root *os.Root, name string) (string, error) {
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
