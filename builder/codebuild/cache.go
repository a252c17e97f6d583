package codebuild

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

// A dependency cache is one object in the work bucket, a tar. The role of
// builds can neither read nor write it: a build downloads it by a signed
// address, and puts the new one beside its output, from where Troy copies it if
// the build has succeeded. So no build can write to the cache of another branch.

const (
	// cacheName is the name of the file that a build puts beside its output. It
	// is empty if there is nothing to keep.
	cacheName = "cache.tar"
	// defaultCacheBytes bounds one cache.
	defaultCacheBytes = 2 << 30
	// cacheSigned is how long the address of a cache is valid, if the
	// credentials that sign it are: as long as a build may wait for a machine.
	cacheSigned = queuedMinutes*time.Minute + time.Hour
	// packAgain is the age from which a build stores a cache again that it did
	// not change: the time of the object is when the cache was last used.
	packAgain = 24 * time.Hour
)

// cacheKey returns the key of a cache. Scopes are names of branches.
func cacheKey(pipeline uuid.UUID, epoch int64, scope, manager string) string {
	return cachesPrefix(pipeline) + strconv.FormatInt(epoch, 10) + "/" + scopeMark + base64.RawURLEncoding.EncodeToString([]byte(scope)) + "/" + manager
}

// scopeMark begins a scope in a key, so that none is empty.
const scopeMark = "_"

// readCacheKey returns what a key says about its cache.
func readCacheKey(key string) (c builder.Cache, ok bool) {
	parts := strings.Split(key, "/")
	if len(parts) != 5 || parts[0]+"/" != caches {
		return c, false
	}
	pipeline, err := uuid.Parse(parts[1])
	epoch, epochErr := strconv.ParseInt(parts[2], 10, 64)
	scope, scopeErr := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(parts[3], scopeMark))
	return builder.Cache{Pipeline: pipeline, Epoch: epoch, Scope: string(scope), Manager: parts[4]}, errors.Join(err, epochErr, scopeErr) == nil
}

// cache is what a build gets of the caches.
type cache struct {
	key  string // where its own is kept; empty if it keeps none
	url  string // of the one that it begins with, or empty
	pack bool   // store it again even if it did not change: it is old
	note string // for the log
	// modules is the key of node_modules in the cache, or empty.
	modules string
}

// openCache finds the cache for a build: the one of its scope, or else the
// site's. Without one the build is only slower, so whatever is wrong is said in
// the log.
func (b *Builder) openCache(ctx context.Context, spec builder.Spec, plan build.Plan, repo fs.FS) (cache, error) {
	if plan.Install+plan.Build+plan.Test == "" {
		return cache{}, nil
	}
	manager, file := plan.CacheKey(repo)
	if file == "" {
		return cache{note: "No dependency cache: the project has neither a lockfile nor a package list."}, nil
	}
	c, err := b.findCache(ctx, spec, manager)
	if err != nil && ctx.Err() == nil {
		c, err = cache{note: "No dependency cache: Troy can't read it (" + awsapi.Words(err) + ")."}, nil
	}
	if c.key != "" {
		c.modules = plan.ModulesKey(repo, b.every.environment, spec.Variables)
	}
	return c, err
}

func (b *Builder) findCache(ctx context.Context, spec builder.Spec, manager string) (cache, error) {
	var old []string
	kept := map[string]awsapi.Object{}
	err := b.work.List(ctx, cachesPrefix(spec.Tree.Pipeline), func(o awsapi.Object) error {
		if is, ok := readCacheKey(o.Key); ok && is.Epoch < spec.CacheEpoch {
			old = append(old, o.Key) // from before the caches were cleared
		} else if o.Size <= b.cacheBytes {
			kept[o.Key] = o
		}
		return nil
	})
	if err == nil {
		err = b.work.Remove(ctx, old...)
	}
	if err != nil {
		return cache{}, err
	}
	c := cache{key: cacheKey(spec.Tree.Pipeline, spec.CacheEpoch, spec.CacheScope, manager)}
	from, found := kept[c.key]
	switch sites, ok := kept[cacheKey(spec.Tree.Pipeline, spec.CacheEpoch, "", manager)]; {
	case found:
		c.note = "Dependency cache: " + describeCache(from) + "."
		c.pack = time.Since(from.Modified) > packAgain
	case ok:
		from = sites
		c.note = "Dependency cache: a copy of the site's, because the branch has none yet; " + describeCache(from) + "."
	default:
		c.note = "Dependency cache: none yet."
		return c, nil
	}
	c.url, err = b.work.SignGet(ctx, from.Key, cacheSigned)
	return c, err
}

func describeCache(o awsapi.Object) string {
	return builder.BytesInWords(o.Size) + ", stored at " + o.Modified.UTC().Format("2006-01-02 15:04") + " UTC"
}

// keepCache makes the cache that a successful build left that of its scope, and
// adds what happened to the log. The cache that another build stores at the same
// time may take its place.
func (b *Builder) keepCache(ctx context.Context, t site.Tree, r *record) error {
	if r.Cache == "" {
		return nil
	}
	note, err := b.storeCache(ctx, t, *r)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		note = "The dependency cache was not kept (" + awsapi.Words(err) + ")."
	}
	r.Tail += line(note)
	return nil
}

func (b *Builder) storeCache(ctx context.Context, t site.Tree, r record) (note string, err error) {
	size, err := b.work.Size(ctx, r.cacheKey(t))
	if errors.Is(err, awsapi.ErrNotFound) || err == nil && size == 0 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if size > b.cacheBytes {
		return fmt.Sprintf("The dependency cache was not kept: it has %s, more than %s.", builder.BytesInWords(size), builder.BytesInWords(b.cacheBytes)), nil
	}
	if err := b.work.Copy(ctx, r.cacheKey(t), r.Cache, size); err != nil {
		return "", err
	}
	if err := b.work.Remove(ctx, r.cacheKey(t)); err != nil {
		return "", err
	}
	return "Dependency cache: kept " + builder.BytesInWords(size) + ".", b.trimCaches(ctx)
}

// trimCaches removes the caches that were not used for the longest time until
// all together are within the limit.
func (b *Builder) trimCaches(ctx context.Context) error {
	all, total := []awsapi.Object{}, int64(0)
	err := b.work.List(ctx, caches, func(o awsapi.Object) error {
		all, total = append(all, o), total+o.Size
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(x, y awsapi.Object) int {
		return cmp.Or(x.Modified.Compare(y.Modified), cmp.Compare(x.Key, y.Key))
	})
	var gone []string
	for _, o := range all {
		if total <= b.allCachesBytes {
			break
		}
		gone, total = append(gone, o.Key), total-o.Size
	}
	return b.work.Remove(ctx, gone...)
}

// RemoveCaches implements builder.Builder. Builds download their cache before
// they begin, so none uses one.
func (b *Builder) RemoveCaches(ctx context.Context, pipeline uuid.UUID, scope string, unusedSince time.Time) error {
	var gone []string
	err := b.work.List(ctx, cachesPrefix(pipeline), func(o awsapi.Object) error {
		if c, ok := readCacheKey(o.Key); ok && c.Scope == scope && (unusedSince.IsZero() || o.Modified.Before(unusedSince)) {
			gone = append(gone, o.Key)
		}
		return nil
	})
	if err == nil {
		err = b.work.Remove(ctx, gone...)
	}
	if err != nil {
		return fmt.Errorf("remove caches of pipeline %s: %w", pipeline, err)
	}
	return nil
}

// Caches implements builder.Builder.
func (b *Builder) Caches(ctx context.Context) (builder.Caches, error) {
	out := builder.Caches{Keeper: "s3:" + b.work.Name}
	err := b.work.List(ctx, caches, func(o awsapi.Object) error {
		if c, ok := readCacheKey(o.Key); ok {
			c.Bytes, c.Used = o.Size, o.Modified.UTC()
			out.All = append(out.All, c)
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("list the caches of builds: %w", err)
	}
	return out, nil
}
