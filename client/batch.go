package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

const (
	// largeFile is the size from which a file that can't be compressed is sent
	// in a request of its own.
	largeFile = 4 << 20
	// batchBytes and batchFiles bound a batch. In a small release they are
	// smaller, so that some batches can be sent at a time.
	batchBytes, leastBatchBytes = 8 << 20, 1 << 20
	batchFiles, leastBatchFiles = 2000, 250
	// mostBatches is how many requests are sent at a time to a server that
	// accepts batches.
	mostBatches = 8
)

// parcel is what one request sends.
type parcel struct {
	files      []site.File
	batch      bool // of files; otherwise one file
	compressed bool
}

// parcels divides files into the batches and single files to send, the large
// ones first.
func parcels(files []site.File, most site.BatchLimits, compress bool) []parcel {
	var total int64
	for _, f := range files {
		total += f.Size
	}
	bytes := min(max(leastBatchBytes, min(batchBytes, total/mostBatches)), most.Bytes)
	count := min(max(leastBatchFiles, min(batchFiles, len(files)/mostBatches)), most.Files)

	var out []parcel
	var groups [2][]site.File // those that can't be compressed, and the others
	for _, f := range files {
		shrinks := compress && site.Compressible(site.ContentType(f.Path))
		switch {
		case f.Size <= min(largeFile, bytes) && shrinks:
			groups[1] = append(groups[1], f)
		case f.Size <= min(largeFile, bytes):
			groups[0] = append(groups[0], f)
		case shrinks && f.Size <= most.Bytes:
			out = append(out, parcel{files: []site.File{f}, batch: true, compressed: true})
		default:
			out = append(out, parcel{files: []site.File{f}})
		}
	}
	for i, group := range groups {
		for len(group) > 0 {
			n, size := 0, int64(0)
			for n < min(count, len(group)) && size+group[n].Size <= bytes {
				size += group[n].Size
				n++
			}
			out = append(out, parcel{files: group[:n], batch: true, compressed: i == 1})
			group = group[n:]
		}
	}
	return out
}

// sendBatch sends the files of a batch. After a failure it sends those that are
// still missing.
func (s *sending) sendBatch(ctx context.Context, p parcel) error {
	left := p.files
	var last *batchBody
	k := call{
		method:     http.MethodPost,
		path:       s.release + "/files",
		header:     http.Header{"Content-Type": {"application/octet-stream"}},
		size:       batchSize(p),
		repeatable: true,
		upload:     true,
		patient:    true,
		failed:     s.gate.failed,
	}
	if p.compressed {
		k.header.Set("Content-Encoding", "zstd")
	}
	k.body = func() (io.Reader, error) {
		last = &batchBody{upload: s.u, files: left, table: site.BatchTable(left)}
		if p.compressed {
			return s.compressed(last)
		}
		return last, nil
	}
	k.again = func(ctx context.Context, f *failure) (int64, error) {
		missing := left
		if f.stored != nil {
			missing = left[min(max(0, *f.stored), len(left)):]
		} else if !f.unsent {
			var err error
			if missing, err = s.missing(ctx, left); err != nil {
				return 0, err
			}
		}
		if last != nil {
			last.undo()
		}
		s.u.Progress(len(left)-len(missing), bytesOf(left)-bytesOf(missing))
		left = missing
		return batchSize(parcel{files: left, compressed: p.compressed}), nil
	}
	err := s.c.do(ctx, k, nil)
	if err == nil {
		return nil
	}
	if last != nil {
		defer last.undo()
	}
	return s.aboutFile(err, left, last)
}

// batchSize returns the size of the request's body, -1 if it is not known
// before, or 0 if there is nothing to send.
func batchSize(p parcel) int64 {
	switch {
	case len(p.files) == 0:
		return 0
	case p.compressed:
		return -1
	}
	return int64(len(site.BatchTable(nil))) + int64(len(p.files))*site.BatchEntry + bytesOf(p.files)
}

func bytesOf(files []site.File) (total int64) {
	for _, f := range files {
		total += f.Size
	}
	return total
}

// missing asks which of some files the server lacks. The server ends requests
// that still send them, and answers when it has stored what arrived.
func (s *sending) missing(ctx context.Context, files []site.File) ([]site.File, error) {
	var ask struct {
		Files []site.Digest `json:"files"`
	}
	for _, f := range files {
		ask.Files = append(ask.Files, f.SHA256)
	}
	k, err := jsonCall(http.MethodPost, s.release+"/missing", ask)
	if err != nil {
		return nil, err
	}
	k.repeatable, k.patient = true, true
	var answer struct {
		Missing []site.Digest `json:"missing"`
	}
	if err := s.c.do(ctx, k, &answer); err != nil {
		return nil, err
	}
	lacks := make(map[site.Digest]bool, len(answer.Missing))
	for _, digest := range answer.Missing {
		lacks[digest] = true
	}
	var missing []site.File
	for _, f := range files {
		if lacks[f.SHA256] {
			missing = append(missing, f)
		}
	}
	return missing, nil
}

// aboutFile names the file that an error of a batch is about.
func (s *sending) aboutFile(err error, files []site.File, body *batchBody) error {
	if body != nil {
		if f, cause := body.failure(); cause != nil {
			return fmt.Errorf("upload %s: %w", f.Path, cause)
		}
	}
	e, ok := errors.AsType[*troy.Error](err)
	if !ok {
		return err
	}
	number, found := strings.CutPrefix(strings.TrimSuffix(e.Field, "]"), "files[")
	i, parseErr := strconv.Atoi(number)
	if !found || parseErr != nil || i < 0 || i >= len(files) {
		return err
	}
	f := files[i]
	if e.Kind == troy.Invalid && !s.unchanged(f) {
		return fmt.Errorf("upload %s: %w", f.Path, changed(f))
	}
	plain := *e
	plain.Field = ""
	return fmt.Errorf("upload %s: %w", f.Path, &plain)
}

// unchanged reports whether a file still has its digest.
func (s *sending) unchanged(f site.File) bool {
	r, err := open(f, s.u)
	if err != nil {
		return false
	}
	defer func() { _ = r.Close() }()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(r, f.Size+1))
	return err == nil && n == f.Size && site.Digest(h.Sum(nil)) == f.SHA256
}

// batchBody reads the table and the files of a batch, and counts what it read.
type batchBody struct {
	upload Upload
	files  []site.File
	table  []byte // the rest of it
	next   int    // the file to open
	now    io.ReadCloser
	left   int64 // of the file that is open

	reading     sync.Mutex // the transport may close the body during a read
	mu          sync.Mutex
	countFiles  int
	countBytes  int64
	stopped     bool
	failed      site.File
	failedCause error
}

// Read fills p with as many files as fit.
func (b *batchBody) Read(p []byte) (n int, err error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	n = copy(p, b.table)
	b.table = b.table[n:]
	files, bytes := 0, int64(0)
	for n < len(p) && err == nil {
		if b.now == nil {
			if b.next == len(b.files) {
				err = io.EOF
				break
			}
			f := b.files[b.next]
			if b.now, err = open(f, b.upload); err != nil {
				b.now = nil
				return n, b.fail(f, err)
			}
			b.left = f.Size
		}
		var m int
		if m, err = b.readFile(p[n:]); err != nil {
			return n, b.fail(b.files[b.next], err)
		}
		n, bytes = n+m, bytes+int64(m)
		if b.now == nil {
			b.next++
			files++
		}
	}
	b.count(files, bytes)
	return n, err
}

// readFile reads a part of the open file, and closes it at its end.
func (b *batchBody) readFile(p []byte) (int, error) {
	f := b.files[b.next]
	n, err := b.now.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return n, troy.Errorf(troy.Invalid, "read the file: %w", err)
	case b.left > 0 && err != nil:
		return n, changed(f)
	case b.left > 0:
		return n, nil
	}
	var more [1]byte
	if m, _ := io.ReadFull(b.now, more[:]); m > 0 {
		return n, changed(f)
	}
	err = b.now.Close()
	b.now = nil
	if err != nil {
		return n, troy.Errorf(troy.Invalid, "read the file: %w", err)
	}
	return n, nil
}

func (b *batchBody) fail(f site.File, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed, b.failedCause = f, err
	return err
}

func (b *batchBody) failure() (site.File, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed, b.failedCause
}

func (b *batchBody) count(files int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return
	}
	b.countFiles += files
	b.countBytes += bytes
	b.upload.Progress(files, bytes)
}

// undo takes back what was counted. The transport may still be reading.
func (b *batchBody) undo() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.stopped {
		b.upload.Progress(-b.countFiles, -b.countBytes)
	}
	b.stopped = true
}

// Close closes the open file.
func (b *batchBody) Close() error {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.now == nil {
		return nil
	}
	err := b.now.Close()
	b.now = nil
	b.next = len(b.files)
	return err
}

// compressedBody compresses a batch with Zstandard while it is read.
type compressedBody struct {
	*batchBody
	encoders *sync.Pool
	encoder  *zstd.Encoder
	out      bytes.Buffer
	piece    []byte
	ended    bool
}

func (s *sending) compressed(b *batchBody) (*compressedBody, error) {
	c := &compressedBody{batchBody: b, encoders: &s.encoders, piece: make([]byte, 64<<10)}
	if c.encoder, _ = s.encoders.Get().(*zstd.Encoder); c.encoder == nil {
		var err error
		c.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
		if err != nil {
			return nil, err
		}
	}
	c.encoder.Reset(&c.out)
	return c, nil
}

func (c *compressedBody) Read(p []byte) (int, error) {
	for c.out.Len() == 0 {
		if c.ended {
			return 0, io.EOF
		}
		n, err := c.batchBody.Read(c.piece)
		if _, err := c.encoder.Write(c.piece[:n]); err != nil {
			return 0, err
		}
		switch {
		case errors.Is(err, io.EOF):
			c.ended = true
			if err := c.encoder.Close(); err != nil {
				return 0, err
			}
			c.encoders.Put(c.encoder)
			c.encoder = nil
		case err != nil:
			return 0, err
		}
	}
	return c.out.Read(p)
}
