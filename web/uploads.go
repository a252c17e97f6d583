package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// upload is the data of a release that each of its files needs.
type upload struct {
	pipeline uuid.UUID
	slug     string
	count    int      // of the files
	lacks    *lacking // nil: unknown
	all      func() map[site.Digest]site.File
	expires  time.Time
	checked  time.Time // when the rows were read
}

// lacking are the files that the store lacked when the release began, and which
// of them arrived through this process. The store keeps what arrived for the
// declared tree.
type lacking struct {
	files  []site.File
	places map[site.Digest]int32 // in files

	mu      sync.Mutex
	arrived []bool
	left    int
}

func newLacking(missing []site.File) *lacking {
	l := &lacking{files: missing, places: make(map[site.Digest]int32, len(missing)), arrived: make([]bool, len(missing)), left: len(missing)}
	for i, f := range missing {
		l.places[f.SHA256] = int32(i) //nolint:gosec // a site has no more files
	}
	return l
}

func (l *lacking) file(d site.Digest) (f site.File, ok bool) {
	if l == nil {
		return f, false
	}
	i, ok := l.places[d]
	if ok {
		f = l.files[i]
	}
	return f, ok
}

// note records that files were stored, and reports whether the store now has all
// of the release.
func (l *lacking) note(files ...site.File) (all bool) {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range files {
		if i, ok := l.places[f.SHA256]; ok && !l.arrived[i] {
			l.arrived[i] = true
			l.left--
		}
	}
	return l.left == 0
}

// checkedFor is how long the rows of a release are not read again: releases
// have tens of thousands of files.
const checkedFor = 5 * time.Second

// newUpload returns the upload of a release, of which these files are missing or,
// if missing is nil, unknown ones.
func newUpload(p queries.Pipeline, r queries.ReleaseGetRow, m site.Manifest, missing []site.File) *upload {
	u := &upload{
		pipeline: p.ID, slug: p.Slug, expires: r.ExpiresAt, checked: time.Now(), count: len(m.Files),
		all: sync.OnceValue(func() map[site.Digest]site.File { return byDigest(m.Files) }),
	}
	if missing != nil {
		u.lacks = newLacking(missing)
	}
	return u
}

// byDigest returns the first file with each digest.
func byDigest(files []site.File) map[site.Digest]site.File {
	found := make(map[site.Digest]site.File, len(files))
	for _, f := range files {
		if _, again := found[f.SHA256]; !again {
			found[f.SHA256] = f
		}
	}
	return found
}

// file returns a declared file with this digest. Mostly it is a missing one.
func (u *upload) file(d site.Digest) (site.File, bool) {
	f, ok := u.lacks.file(d)
	if !ok {
		f, ok = u.all()[d]
	}
	return f, ok
}

// isAll reports whether the release has this number of digests.
func (u *upload) isAll(digests int) bool {
	return digests == u.count || digests == len(u.all())
}

// fresh reports whether u can be used for a path with this pipeline.
func (u *upload) fresh(ref string, now time.Time) bool {
	return (ref == u.slug || ref == u.pipeline.String()) && now.Sub(u.checked) < checkedFor && now.Before(u.expires)
}

// uploads caches the releases that got files last, with a limit on their total
// number of files.
type uploads struct {
	flight singleflight.Group
	byID   *lru.Cache[uuid.UUID, *upload]
	// whole has releases of which the store has all files.
	whole *lru.Cache[uuid.UUID, struct{}]
}

// mostWhole bounds what a process remembers of releases that it did not finalize.
const mostWhole = 10_000

func newUploads(most int) *uploads {
	return &uploads{byID: lru.New[uuid.UUID, *upload](int64(most)), whole: lru.New[uuid.UUID, struct{}](mostWhole)}
}

func (u *uploads) get(id uuid.UUID) *upload {
	up, _ := u.byID.Get(id)
	return up
}

func (u *uploads) keep(id uuid.UUID, up *upload) { u.byID.Put(id, up, int64(up.count)) }

func (u *uploads) complete(id uuid.UUID) { u.whole.Put(id, struct{}{}, 1) }

func (u *uploads) isComplete(id uuid.UUID) bool {
	_, ok := u.whole.Get(id)
	return ok
}

// arrived records that files of a release were stored.
func (u *uploads) arrived(id uuid.UUID, up *upload, files ...site.File) {
	if up.lacks.note(files...) {
		u.complete(id)
	}
}

func (u *uploads) forget(id uuid.UUID) {
	u.byID.Remove(id)
	u.whole.Remove(id)
}

// upload finds the declaration of the path's release. It finds only open
// releases.
func (s *server) upload(c *gin.Context, who caller) (*upload, uuid.UUID, error) {
	id, err := pathID(c, "release")
	if err != nil {
		return nil, id, err
	}
	ref := c.Param("pipeline")
	if u := s.uploads.get(id); u != nil && u.fresh(ref, time.Now()) {
		if !who.Sees(u.pipeline) {
			return nil, id, noPipeline(ref)
		}
		note(c.Request.Context()).pipeline = u.pipeline.String()
		return u, id, nil
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), quick)
	defer cancel()
	p, r, err := s.release(ctx, c, who)
	if err == nil {
		err = open(p, r)
	}
	if err != nil {
		return nil, id, err
	}
	u, err := s.load(ctx, p, r)
	if err == nil {
		s.touch(ctx, id, 0)
	}
	return u, id, err
}

// touch records that files are sent to a release, or may be for some time. An
// upload does not fail if that can't be recorded.
func (s *server) touch(ctx context.Context, id uuid.UUID, ahead time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	if err := s.q.ReleaseTouch(ctx, ahead.Seconds(), id); err != nil {
		s.deps.Log.WarnContext(ctx, "could not record that files are sent to a release", "release", id, "error", err)
	}
}

// toucher records at most once a minute that files are sent to a release.
type toucher struct {
	touch func()
	next  atomic.Int64 // in nanoseconds since 1970
}

func (s *server) toucher(ctx context.Context, id uuid.UUID) *toucher {
	return &toucher{touch: func() { s.touch(ctx, id, 0) }}
}

func (t *toucher) note() {
	now, next := time.Now(), t.next.Load()
	if now.UnixNano() > next && t.next.CompareAndSwap(next, now.Add(time.Minute).UnixNano()) {
		t.touch()
	}
}

// touching returns r, whose reading records that files are sent to a release.
func (s *server) touching(ctx context.Context, id uuid.UUID, r io.Reader) io.Reader {
	return newTouchingReader(r, s.toucher(ctx, id))
}

// newTouchingReader begins in a minute, because upload has recorded that files are
// sent.
func newTouchingReader(r io.Reader, t *toucher) *touchingReader {
	t.next.Store(time.Now().Add(time.Minute).UnixNano())
	return &touchingReader{r, t}
}

type touchingReader struct {
	io.Reader
	*toucher
}

func (t *touchingReader) Read(p []byte) (int, error) {
	t.note()
	return t.Reader.Read(p)
}

// load makes the entry of an open release. Many files of one release arrive
// concurrently; one of them reads the manifest.
func (s *server) load(ctx context.Context, p queries.Pipeline, r queries.ReleaseGetRow) (*upload, error) {
	if u := s.uploads.get(r.ID); u != nil {
		again := *u
		again.checked = time.Now()
		s.uploads.keep(r.ID, &again)
		return &again, nil
	}
	ctx = context.WithoutCancel(ctx) // the others wait for it, too
	v, err, _ := s.uploads.flight.Do(r.ID.String(), func() (any, error) {
		tree := site.Tree{Pipeline: p.ID, Deployment: r.ID}
		m, err := s.deps.Store.Manifest(ctx, tree)
		if errors.Is(err, cloud.ErrNotFound) {
			return nil, notDeclared()
		}
		if err != nil {
			return nil, fmt.Errorf("read the manifest of release %s: %w", r.ID, err)
		}
		if err := s.counted(ctx, r, m); err != nil {
			return nil, err
		}
		u := newUpload(p, r, m, nil)
		s.uploads.keep(r.ID, u)
		return u, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*upload), nil
}

func paths(files []site.File) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.Path
	}
	return out
}

func missingFiles(paths []string) *troy.Error {
	e := troy.Errorf(troy.Conflict, "%s; upload what is missing and finalize again", troy.Count(len(paths), "file is missing", "files are missing"))
	e.Details = paths
	return e
}
