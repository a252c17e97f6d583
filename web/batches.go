package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web/reply"
)

const (
	// batchesAtOnce is how many batches a process receives at a time, and
	// batchesOfOne how many of one release. Each takes up to site.BatchWindow
	// of memory, and what the store needs.
	batchesAtOnce = 64
	batchesOfOne  = 16
)

// batches are the batches that this process is receiving.
type batches struct {
	decoders sync.Pool // of *zstd.Decoder

	mu      sync.Mutex
	running map[*batch]struct{}
}

// batch is one request with many files. It reads the request's body.
type batch struct {
	pipeline, release uuid.UUID
	all               *batches
	body              io.Reader
	ended             atomic.Bool   // no more of the body will be read
	end               func()        // ends the body, also a read that is in progress
	files             []site.File   // that it brings
	done              chan struct{} // closed when what arrived is stored
}

func (b *batch) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err != nil {
		b.ended.Store(true)
	}
	return n, err
}

// begin registers a batch. The error is Unavailable if too many are running.
func (bs *batches) begin(pipeline, release uuid.UUID, r *http.Request) (*batch, error) {
	b := &batch{pipeline: pipeline, release: release, all: bs, body: r.Body, end: func() {}, done: make(chan struct{})}
	if body, ok := r.Body.(*body); ok {
		b.end = body.end
	}
	bs.mu.Lock()
	defer bs.mu.Unlock()
	of := 0
	for other := range bs.running {
		if other.release == release {
			of++
		}
	}
	if of >= batchesOfOne || len(bs.running) >= batchesAtOnce {
		return nil, troy.Errorf(troy.Unavailable, "%d batches of files are being received, %d of them of this release; send fewer at a time", len(bs.running), of)
	}
	if bs.running == nil {
		bs.running = map[*batch]struct{}{}
	}
	bs.running[b] = struct{}{}
	return b, nil
}

// declare records which files the batch brings.
func (b *batch) declare(files []site.File) {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	b.files = files
}

// close reports that nothing more will be stored.
func (b *batch) close() {
	b.all.mu.Lock()
	delete(b.all.running, b)
	b.all.mu.Unlock()
	close(b.done)
}

// takeOver ends the batches of a release that bring some of these files, and
// waits until what arrived of them is stored. Otherwise a batch whose
// connection broke without notice could store a file after its sender was told
// that it is missing.
func (bs *batches) takeOver(ctx context.Context, release uuid.UUID, files []site.File) error {
	asked := make(map[site.Digest]struct{}, len(files))
	for _, f := range files {
		asked[f.SHA256] = struct{}{}
	}
	return bs.wait(ctx, func(b *batch) bool {
		brings := b.release == release && slices.ContainsFunc(b.files, func(f site.File) bool {
			_, is := asked[f.SHA256]
			return is
		})
		if brings {
			b.end()
		}
		return brings
	})
}

// settle waits until the batches of a pipeline that have ended are stored.
func (bs *batches) settle(ctx context.Context, pipeline uuid.UUID) error {
	return bs.wait(ctx, func(b *batch) bool { return b.pipeline == pipeline && b.ended.Load() })
}

func (bs *batches) wait(ctx context.Context, concerns func(*batch) bool) error {
	var waits []*batch
	bs.mu.Lock()
	for b := range bs.running {
		if concerns(b) {
			waits = append(waits, b)
		}
	}
	bs.mu.Unlock()
	for _, b := range waits {
		select {
		case <-b.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// partly is an error after some of a batch's files were stored.
type partly struct {
	error
	stored int
}

func (p *partly) Unwrap() error { return p.error }

// releaseBatch stores the files of a batch. Those before the first that can't be
// stored stay, also if the connection breaks.
func (s *server) releaseBatch(c *gin.Context, who caller) error {
	refuse, err := refusesSecrets(c)
	if err != nil {
		return err
	}
	if most := s.cfg.Batch.MostBody(); c.Request.ContentLength > most {
		return troy.Errorf(troy.TooLarge, "the body has %d bytes; expected at most %d", c.Request.ContentLength, most).At("Content-Length")
	}
	u, id, err := s.upload(c, who)
	if err != nil {
		return err
	}
	b, err := s.batches.begin(u.pipeline, id, c.Request)
	if err != nil {
		return &partly{err, 0}
	}
	stored, err := s.storeBatch(c, u, id, b, refuse)
	b.close()
	if err != nil {
		// A sender that is still writing would see a reset instead of the
		// answer.
		_, _ = io.CopyN(io.Discard, c.Request.Body, discardedOfUpload)
	}
	if errors.Is(err, cloud.ErrNotFound) {
		s.uploads.forget(id)
		err = noRelease(id)
	}
	if err != nil {
		s.relieve(c.Request.Context(), err)
		return &partly{fmt.Errorf("store a batch of release %s: %w", id, err), stored}
	}
	reply.JSON(c.Writer, http.StatusOK, struct {
		Stored int `json:"stored"`
	}{stored})
	return nil
}

func (s *server) storeBatch(c *gin.Context, u *upload, id uuid.UUID, b *batch, refuse bool) (stored int, err error) {
	r := io.Reader(http.MaxBytesReader(c.Writer, io.NopCloser(s.touching(c.Request.Context(), id, b)), s.cfg.Batch.MostBody()))
	switch encoding := c.GetHeader("Content-Encoding"); encoding {
	case "", "identity":
	case "zstd":
		decoder, err := s.batches.decoder(r)
		if err != nil {
			return 0, err
		}
		defer s.batches.release(decoder)
		r = decoder
	default:
		return 0, troy.Errorf(troy.Invalid, "it is %q; expected zstd, or nothing", troy.Clip(encoding)).At("Content-Encoding")
	}
	files, err := site.ReadBatchTable(r, s.cfg.Batch)
	if err != nil {
		return 0, err
	}
	for i, f := range files {
		declared, ok := u.file(f.SHA256)
		switch {
		case !ok:
			return 0, troy.Errorf(troy.NotFound, "the release declares no file with the SHA-256 %s", f.SHA256).At(site.BatchField(i))
		case f.Size != declared.Size:
			return 0, troy.Errorf(troy.Invalid, "the file has %d bytes; expected %d as declared", f.Size, declared.Size).At(site.BatchField(i))
		}
		files[i] = declared
	}
	b.declare(files)
	bytes := r
	if refuse {
		bytes = &leakFree{r: r, files: files}
	}
	// The end of the connection ends the context, and must not keep from being
	// stored what arrived before. The body's deadlines bound the time.
	stored, err = s.deps.Store.PutAll(context.WithoutCancel(c.Request.Context()), site.Tree{Pipeline: u.pipeline, Deployment: id}, files, bytes)
	s.uploads.arrived(id, u, files[:stored]...)
	if err != nil {
		return stored, ofFile(err, stored)
	}
	var more [1]byte
	switch _, err := io.ReadFull(r, more[:]); {
	case err == nil:
		return stored, troy.Errorf(troy.Invalid, "the body continues after the last file; the files were stored")
	case !errors.Is(err, io.EOF):
		return stored, err
	}
	return stored, nil
}

// ofFile names the file of a batch in an error about it.
func ofFile(err error, i int) error {
	if e, ok := errors.AsType[*cloud.DigestError](err); ok {
		return troy.Errorf(troy.Invalid, "%s; the files before it were stored", e.Error()).At(site.BatchField(i))
	}
	if e, ok := errors.AsType[*troy.Error](err); ok {
		if e.Field == "" {
			named := *e
			return named.At(site.BatchField(i))
		}
		return e
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return troy.Errorf(troy.Invalid, "the body ended within the file; the files before it were stored").At(site.BatchField(i))
	}
	return err
}

// decoder returns a reader of the Zstandard stream r, for release.
func (bs *batches) decoder(r io.Reader) (*batchDecoder, error) {
	d := &batchDecoder{source: &sourceError{r: r}}
	var err error
	if d.zstd, _ = bs.decoders.Get().(*zstd.Decoder); d.zstd == nil {
		d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(site.BatchWindow))
	}
	if err == nil {
		err = d.zstd.Reset(d.source)
	}
	return d, err
}

func (bs *batches) release(d *batchDecoder) {
	if d.zstd.Reset(nil) == nil {
		bs.decoders.Put(d.zstd)
	}
}

// batchDecoder returns Invalid errors for what is not Zstandard, and the errors
// of its source as they are.
type batchDecoder struct {
	zstd   *zstd.Decoder
	source *sourceError
}

func (d *batchDecoder) Read(p []byte) (int, error) {
	n, err := d.zstd.Read(p)
	switch {
	case err == nil, errors.Is(err, io.EOF):
	case d.source.err != nil && !errors.Is(d.source.err, io.EOF):
		err = d.source.err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		err = troy.Errorf(troy.Invalid, "the Zstandard stream needs a window of more than %d bytes", site.BatchWindow).At("Content-Encoding")
	default:
		err = troy.Errorf(troy.Invalid, "the body is not a complete Zstandard stream").At("Content-Encoding")
	}
	return n, err
}

// sourceError remembers the error that ended r.
type sourceError struct {
	r   io.Reader
	err error
}

func (s *sourceError) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil {
		s.err = err
	}
	return n, err
}

// leakFree reads the files of a batch until one contains a secret.
type leakFree struct {
	r     io.Reader
	files []site.File // those that were not begun
	now   io.Reader
}

func (l *leakFree) Read(p []byte) (int, error) {
	for {
		if l.now == nil {
			if len(l.files) == 0 {
				return 0, io.EOF
			}
			l.now = site.RefuseLeaks(io.LimitReader(l.r, l.files[0].Size), l.files[0])
			l.files = l.files[1:]
		}
		n, err := l.now.Read(p)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		l.now = nil
		if n > 0 {
			return n, nil
		}
	}
}

// refusesSecrets reads the query's secrets.
func refusesSecrets(c *gin.Context) (bool, error) {
	switch secrets := c.Query("secrets"); secrets {
	case "refuse":
		return true, nil
	case "":
		return false, nil
	default:
		return false, troy.Errorf(troy.Invalid, "it is %q; expected refuse, or nothing", troy.Clip(secrets)).At("secrets")
	}
}

// releaseMissing tells which of some files are missing, when the batches that
// bring them have ended.
func (s *server) releaseMissing(c *gin.Context, who caller) error {
	most := s.cfg.Batch.Files
	var body struct {
		Files []string `json:"files"`
	}
	if err := decode(c, maxJSON+80*int64(most), &body); err != nil {
		return err
	}
	if len(body.Files) == 0 || len(body.Files) > most {
		return troy.Errorf(troy.Invalid, "got %d; expected 1 to %d", len(body.Files), most).At("files")
	}
	u, id, err := s.upload(c, who)
	if err != nil {
		return err
	}
	files, err := u.declared(body.Files)
	if err != nil {
		return err
	}
	ctx := c.Request.Context()
	if err := s.batches.takeOver(ctx, id, files); err != nil {
		return err
	}
	all, err := s.missing(ctx, site.Tree{Pipeline: u.pipeline, Deployment: id})
	if err != nil {
		return err
	}
	lacks := make(map[site.Digest]struct{}, len(all))
	for _, f := range all {
		lacks[f.SHA256] = struct{}{}
	}
	answer := struct {
		Missing []site.Digest `json:"missing"`
	}{[]site.Digest{}}
	for _, f := range files {
		if _, missing := lacks[f.SHA256]; missing {
			answer.Missing = append(answer.Missing, f.SHA256)
		}
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

// declared returns the release's files with these digests.
func (u *upload) declared(digests []string) ([]site.File, error) {
	files := make([]site.File, len(digests))
	for i, text := range digests {
		digest, err := site.ParseDigest(text)
		if err != nil {
			return nil, troy.Errorf(troy.Invalid, "%w", err).At(site.BatchField(i))
		}
		f, declared := u.file(digest)
		if !declared {
			return nil, troy.Errorf(troy.NotFound, "the release declares no file with the SHA-256 %s", digest).At(site.BatchField(i))
		}
		files[i] = f
	}
	return files, nil
}
