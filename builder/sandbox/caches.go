package sandbox

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/internal/files"
)

// cachePlace is where a pipeline's cache for one scope and one package manager
// is: a folder with one folder of content, named by the lockfile's digest.
// Beside it are the lock, which a build holds while it uses the cache, and the
// record.
type cachePlace struct{ dir string }

func (p cachePlace) lock() string   { return p.dir + ".lock" }
func (p cachePlace) record() string { return p.dir + ".json" }

// cacheRecord describes a cache. It is written before a build can write to the
// cache, and again with its size after the build.
type cacheRecord struct {
	Scope string `json:"scope,omitempty"`
	Epoch int64  `json:"epoch,omitempty"`
	// Bytes is -1 while a build uses the cache, and if it was interrupted.
	Bytes int64     `json:"bytes"`
	Used  time.Time `json:"used"`
}

// place returns the cache of a scope. Scopes are names of branches, so they do
// not name folders themselves.
func (b *Builder) place(pipeline uuid.UUID, scope, manager string) cachePlace {
	if scope == "" {
		return cachePlace{b.root.Path("builds", pipeline.String(), "cache", manager)}
	}
	sum := sha256.Sum256([]byte(scope))
	return cachePlace{b.root.Path("builds", pipeline.String(), scopedCaches, hex.EncodeToString(sum[:16]), manager)}
}

// scopedCaches is the folder with the caches of a pipeline's branches and pull
// requests.
const scopedCaches = "caches"

// read returns the record. An earlier version wrote none.
func (p cachePlace) read() (cacheRecord, error) {
	r := cacheRecord{Bytes: -1}
	data, err := os.ReadFile(p.record())
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil && json.Unmarshal(data, &r) != nil {
		// Its epoch is unknown, so the cache is not used.
		r.Epoch = -1
	}
	return r, err
}

func (p cachePlace) write(temp string, r cacheRecord) error {
	return files.WriteJSON(temp, p.record(), r)
}

// contents returns the folders with content.
func (p cachePlace) contents() (dirs []string, err error) {
	entries, err := os.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), discarded) {
			dirs = append(dirs, filepath.Join(p.dir, entry.Name()))
		}
	}
	return dirs, err
}

// sweep removes what is left of content whose removal, or whose copy, was
// interrupted.
func (p cachePlace) sweep(ctx context.Context) error {
	entries, err := os.ReadDir(p.dir)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), discarded) {
			err = errors.Join(err, removeFolder(ctx, filepath.Join(p.dir, entry.Name())))
		}
	}
	return err
}

// try takes the lock unless another build holds it; release is nil then.
func (p cachePlace) try() (release func(), err error) {
	lock := flock.New(p.lock(), flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil || !held {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // remove has removed the folder
		}
		return nil, errors.Join(err, lock.Close())
	}
	// A lock whose file remove has removed meanwhile guards nothing.
	mine, mineErr := lock.Stat()
	named, namedErr := os.Stat(p.lock())
	if mineErr != nil || namedErr != nil || !os.SameFile(mine, named) {
		return nil, lock.Close()
	}
	return func() { _ = lock.Close() }, nil
}

// take takes the lock. The build of a site waits for previews that copy its
// cache; release is nil if another build uses the cache.
func (p cachePlace) take(ctx context.Context, wait bool) (release func(), err error) {
	if release, err = p.try(); err != nil || release != nil || !wait {
		return release, err
	}
	lock := flock.New(p.lock(), flock.SetPermissions(0o600))
	// Who copies shares the lock; who builds does not.
	if shared, err := lock.TryRLock(); err != nil || !shared {
		return nil, errors.Join(err, lock.Close())
	}
	if err := lock.Close(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, copyTime)
	defer cancel()
	release, err = files.Lock(ctx, p.lock(), false)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, nil
	}
	return release, err
}

// empty removes the content of a cache whose lock is held, so that a part of it
// is never used.
func (p cachePlace) empty(ctx context.Context) error {
	gone := filepath.Join(filepath.Dir(p.dir), discarded+uuid.NewString())
	if err := os.Rename(p.dir, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(files.Remove(p.record()), removeFolder(ctx, gone))
}

// scoped reports whether the cache is that of a branch or a pull request.
func (p cachePlace) scoped() bool {
	return filepath.Base(filepath.Dir(filepath.Dir(p.dir))) == scopedCaches
}

// remove removes a cache whose lock is held. The number of branches has no bound,
// so nothing of a branch's cache stays.
func (p cachePlace) remove(ctx context.Context) error {
	err := p.empty(ctx)
	if err != nil || !p.scoped() {
		return err
	}
	if err := files.Remove(p.lock()); err != nil {
		return err
	}
	// The folder stays if the branch has a cache of another package manager.
	if err := os.Remove(filepath.Dir(p.dir)); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// copyTime bounds the copy of the site's cache for a preview's. A build of the
// site waits for it at most that long.
const copyTime = 30 * time.Second

// copySite makes the newest content of the site's cache that of a new cache of a
// preview. It copies nothing while a build of the site uses it.
func (b *Builder) copySite(ctx context.Context, pipeline uuid.UUID, manager string, epoch int64, into string) (copied bool, err error) {
	from := b.place(pipeline, "", manager)
	lock := flock.New(from.lock(), flock.SetPermissions(0o600))
	defer lock.Close()
	if held, err := lock.TryRLock(); err != nil || !held {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return false, err
	}
	record, err := from.read()
	if err != nil || record.Epoch != epoch {
		return false, err
	}
	contents, err := from.contents()
	if err != nil || len(contents) == 0 {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, copyTime)
	defer cancel()
	// The name of a copy that is not complete is one that is removed.
	part := filepath.Join(filepath.Dir(into), discarded+uuid.NewString())
	cmd := exec.CommandContext(ctx, "cp", "-a", "--", contents[0], part)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return false, errors.Join(fmt.Errorf("copy the site's cache: %w: %.300s", err, out), removeFolder(context.WithoutCancel(ctx), part))
	}
	return true, os.Rename(part, into)
}

// allCaches finds the caches of all pipelines.
func (b *Builder) allCaches(pipeline string) ([]cachePlace, error) {
	var all []cachePlace
	for _, pattern := range []string{filepath.Join("cache", "*"), filepath.Join(scopedCaches, "*", "*")} {
		found, err := filepath.Glob(filepath.Join(globEscape(b.root.Path("builds")), pipeline, pattern))
		if err != nil {
			return nil, err
		}
		for _, dir := range found {
			name := filepath.Base(dir)
			if info, err := os.Lstat(dir); err == nil && info.IsDir() && !strings.HasPrefix(name, discarded) {
				all = append(all, cachePlace{dir})
			}
		}
	}
	return all, nil
}

// globEscape returns a pattern that matches the path alone.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// Caches implements builder.Builder.
func (b *Builder) Caches(ctx context.Context) (builder.Caches, error) {
	out, err := b.caches(ctx)
	if err != nil {
		return out, fmt.Errorf("list the caches of builds: %w", err)
	}
	return out, nil
}

func (b *Builder) caches(ctx context.Context) (out builder.Caches, err error) {
	if out.Keeper, err = b.keeper(); err != nil {
		return out, err
	}
	places, err := b.allCaches("*")
	if err != nil {
		return out, err
	}
	for _, p := range places {
		pipeline, err := uuid.Parse(pipelineOf(b.root, p))
		if err != nil {
			continue
		}
		r, err := b.sized(ctx, p)
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		if err != nil {
			b.cfg.Log.Warn("a cache of builds can't be read", "cache", p.dir, "error", err)
			continue
		}
		out.All = append(out.All, builder.Cache{Pipeline: pipeline, Scope: r.Scope, Manager: filepath.Base(p.dir), Epoch: r.Epoch, Bytes: max(r.Bytes, 0), Used: r.Used})
	}
	return out, nil
}

// pipelineOf returns the name of the pipeline's folder that contains a cache.
func pipelineOf(root files.Root, p cachePlace) string {
	rel, err := filepath.Rel(root.Path("builds"), p.dir)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
	return first
}

// keeper is the id of this data folder, so that several machines can report
// their caches.
func (b *Builder) keeper() (string, error) {
	file := b.root.Path("builds", "keeper")
	data, err := os.ReadFile(file)
	if id, parseErr := uuid.ParseBytes(data); err == nil && parseErr == nil {
		return id.String(), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	id := uuid.NewString()
	return id, files.Write(b.root.Temp(), file, []byte(id))
}

// sized returns a cache's record. It measures a cache whose size is not known,
// because its build was interrupted or an earlier version made it, unless a
// build uses it.
func (b *Builder) sized(ctx context.Context, p cachePlace) (cacheRecord, error) {
	r, err := p.read()
	if err != nil || r.Bytes >= 0 {
		return r, err
	}
	if r.Used.IsZero() {
		if info, err := os.Stat(p.dir); err == nil {
			r.Used = info.ModTime().UTC()
		}
	}
	release, err := p.try()
	if err != nil || release == nil {
		return r, err
	}
	defer release()
	if r.Bytes, err = treeSize(ctx, p.dir); err != nil {
		r.Bytes = -1
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		// It can't be measured, so it is not kept.
		return r, p.remove(ctx)
	}
	return r, p.write(b.root.Temp(), r)
}

// trimCaches removes the caches of branches without builds for a month, those that
// were not used for the longest time until all together are within the limit, and
// what is left of removed ones.
func (b *Builder) trimCaches(ctx context.Context) error {
	places, err := b.allCaches("*")
	if err != nil {
		return err
	}
	type one struct {
		cachePlace
		cacheRecord
	}
	var all []one
	var total int64
	for _, p := range places {
		r, err := b.sized(ctx, p)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			b.cfg.Log.Warn("a cache of builds can't be read", "cache", p.dir, "error", err)
			continue
		}
		total += max(r.Bytes, 0)
		all = append(all, one{p, r})
	}
	slices.SortFunc(all, func(x, y one) int { return cmp.Compare(x.Used.UnixNano(), y.Used.UnixNano()) })
	for _, c := range all {
		unused := c.scoped() && time.Since(c.Used) > builder.CacheUnused
		if total <= b.cfg.AllCachesBytes && !unused {
			continue
		}
		release, err := c.try()
		if err != nil {
			return err
		}
		if release == nil {
			continue // a build uses it
		}
		err = c.remove(ctx)
		release()
		if err != nil {
			return err
		}
		total -= max(c.Bytes, 0)
		b.cfg.Log.Info("a cache was removed", "cache", c.dir, "bytes", c.Bytes, "used", c.Used, "unused", unused)
	}
	return b.sweepCaches(ctx)
}

// sweepCaches removes caches whose removal was interrupted.
func (b *Builder) sweepCaches(ctx context.Context) error {
	for _, pattern := range []string{filepath.Join("cache", discarded+"*"), filepath.Join(scopedCaches, "*", discarded+"*")} {
		left, err := filepath.Glob(filepath.Join(globEscape(b.root.Path("builds")), "*", pattern))
		if err != nil {
			return err
		}
		for _, dir := range left {
			if err := removeFolder(ctx, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// RemoveCaches implements builder.Builder.
func (b *Builder) RemoveCaches(ctx context.Context, pipeline uuid.UUID, scope string, unusedSince time.Time) error {
	folder := filepath.Dir(b.place(pipeline, scope, "any").dir)
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	managers := map[string]bool{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), discarded) {
			err = errors.Join(err, removeFolder(ctx, filepath.Join(folder, entry.Name())))
			continue
		}
		// An interrupted removal leaves a lock or a record without a cache.
		managers[strings.TrimSuffix(strings.TrimSuffix(entry.Name(), ".lock"), ".json")] = true
	}
	for manager := range managers {
		err = errors.Join(err, cachePlace{filepath.Join(folder, manager)}.expire(ctx, unusedSince))
	}
	if err != nil {
		return fmt.Errorf("remove caches of pipeline %s: %w", pipeline, files.Error(err))
	}
	return nil
}

// expire removes a cache that no build uses or has used since a time.
func (p cachePlace) expire(ctx context.Context, unusedSince time.Time) error {
	release, err := p.try()
	if err != nil || release == nil {
		return err
	}
	defer release()
	if r, err := p.read(); err != nil || !unusedSince.IsZero() && !r.Used.Before(unusedSince) {
		return err
	}
	return p.remove(ctx)
}

// forget removes the caches of a pipeline that were made before its caches were
// cleared, except for those in use: the next build with them finds that too.
func (b *Builder) forget(ctx context.Context, pipeline uuid.UUID, epoch int64) error {
	places, err := b.allCaches(pipeline.String())
	for _, p := range places {
		err = errors.Join(err, p.forget(ctx, epoch))
	}
	return err
}

func (p cachePlace) forget(ctx context.Context, epoch int64) error {
	if r, err := p.read(); err != nil || r.Epoch == epoch {
		return err
	}
	release, err := p.try()
	if err != nil || release == nil {
		return err
	}
	defer release()
	// Another build may have used it between the two.
	if r, err := p.read(); err != nil || r.Epoch == epoch {
		return err
	}
	return p.remove(ctx)
}
