package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

const (
	// DefaultParallel is the default maximum number of concurrent requests.
	DefaultParallel = 64
	// firstParallel is the number of concurrent requests at first.
	firstParallel, firstBatches = 16, 4
	// smallFile is the maximum size of a file that is read into memory and sent
	// with its headers in one write. Larger files are streamed.
	smallFile = 64 << 10
	// stallTimeout ends an attempt to send a file without progress.
	stallTimeout = time.Minute
)

// Upload are the options of Client.Upload.
type Upload struct {
	// Open opens a file of the release by its path. It is called from several
	// goroutines, and again for each attempt.
	Open func(path string) (io.ReadCloser, error)
	// Parallel is the maximum number of concurrent requests; 0 means
	// DefaultParallel. Upload begins with fewer, and sends more at a time while
	// that is faster. To a server that accepts batches it sends at most eight.
	Parallel int
	// Progress, if not nil, is called with the numbers of files and bytes sent
	// since the last call. They are negative if files start again. It is called
	// from several goroutines.
	Progress func(files int, bytes int64)
}

// Upload sends the missing files of the release. It retries while that can
// help, and while the server is away for up to two minutes. The first file that
// can't be sent ends the upload, with an error that names the file. Files that
// were sent stay; another call sends only the rest.
func (c *Client) Upload(ctx context.Context, pipeline string, r Release, u Upload) error {
	path, err := releasePath(pipeline, r.ID)
	if err != nil {
		return err
	}
	if u.Progress == nil {
		u.Progress = func(int, int64) {}
	}
	parallel, first := u.Parallel, firstParallel
	if parallel <= 0 {
		parallel = DefaultParallel
	}
	s := &sending{c: c, release: path, u: u}
	n := len(r.Missing)
	if r.Batch != nil && r.Batch.Files > 0 && !r.Direct {
		s.parcels = parcels(r.Missing, *r.Batch, c.compress)
		n, first, parallel = len(s.parcels), firstBatches, min(parallel, mostBatches)
	} else if r.Direct {
		s.straight = &direct{c: c, release: path, missing: r.Missing}
	}
	s.gate = newGate(first, parallel)
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(parallel, n) {
		group.Go(func() error {
			for {
				if err := s.gate.enter(ctx); err != nil {
					return err
				}
				i := int(next.Add(1) - 1)
				if i >= n {
					s.gate.leave(0, 0)
					return nil
				}
				p := parcel{files: r.Missing[min(i, len(r.Missing)-1):][:1]}
				if s.parcels != nil {
					p = s.parcels[i]
				}
				err := s.send(ctx, i, p)
				s.gate.leave(len(p.files), bytesOf(p.files))
				if err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// sending is one call of Upload.
type sending struct {
	c        *Client
	release  string // the release's path
	u        Upload
	gate     *gate
	parcels  []parcel // nil: each file on its own
	straight *direct  // nil: through the server
	encoders sync.Pool
}

// send sends the i-th parcel.
func (s *sending) send(ctx context.Context, i int, p parcel) error {
	if p.batch {
		return s.sendBatch(ctx, p)
	}
	f := p.files[0]
	if s.straight != nil {
		began := time.Now()
		if s.straight.put(ctx, i, s.u) {
			return nil
		}
		s.gate.failed(began)
	}
	if err := s.put(ctx, f); err != nil {
		return fmt.Errorf("upload %s: %w", f.Path, err)
	}
	return nil
}

// put sends one file through the server.
func (s *sending) put(ctx context.Context, f site.File) error {
	c, u := s.c, s.u
	k := putCall(s.release, f)
	k.failed = s.gate.failed
	if f.Size <= smallFile {
		content, err := readSmall(f, u)
		if err != nil {
			return err
		}
		k.body = func() (io.Reader, error) { return bytes.NewReader(content), nil }
		if err := c.do(ctx, k, nil); err != nil {
			return err
		}
		u.Progress(1, f.Size)
		return nil
	}
	var last *sentBody
	k.body = func() (io.Reader, error) {
		if last != nil {
			u.Progress(0, -last.stop())
		}
		content, err := open(f, u)
		if err != nil {
			return nil, err
		}
		last = &sentBody{ReadCloser: content, file: f, progress: u.Progress}
		return last, nil
	}
	if err := c.do(ctx, k, nil); err != nil {
		return err
	}
	u.Progress(1, 0)
	return nil
}

func open(f site.File, u Upload) (io.ReadCloser, error) {
	content, err := u.Open(f.Path)
	if err != nil {
		return nil, troy.Errorf(troy.Invalid, "read the file: %w", err)
	}
	return content, nil
}

// readSmall reads a whole file and checks its declared size.
func readSmall(f site.File, u Upload) ([]byte, error) {
	r, err := open(f, u)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	// One byte more than declared detects a file that has grown.
	content := make([]byte, f.Size+1)
	n, err := io.ReadFull(r, content)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, troy.Errorf(troy.Invalid, "read the file: %w", err)
	}
	if int64(n) != f.Size {
		return nil, changed(f)
	}
	return content[:n], nil
}

func changed(f site.File) error {
	return troy.Errorf(troy.Invalid, "the file changed during the upload; expected %d bytes; try again when no other program writes to it", f.Size)
}

// sentBody counts the bytes sent of a large file, and checks its declared size.
type sentBody struct {
	io.ReadCloser
	file     site.File
	progress func(files int, bytes int64)

	mu      sync.Mutex
	sent    int64
	stopped bool
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	sent := b.count(int64(n))
	switch {
	case sent > b.file.Size, errors.Is(err, io.EOF) && sent < b.file.Size:
		return 0, changed(b.file)
	case err != nil && !errors.Is(err, io.EOF):
		return n, troy.Errorf(troy.Invalid, "read the file: %w", err)
	}
	return n, err
}

func (b *sentBody) count(n int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent += n
	if !b.stopped && n > 0 {
		b.progress(0, n)
	}
	return b.sent
}

// stop ends the counting and returns the count. The transport may still be
// reading.
func (b *sentBody) stop() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	return b.sent
}
