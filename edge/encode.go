package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/singleflight"

	"github.com/troy-iaas/troy/site"
)

const (
	// maxJobs is the maximum number of files that wait to be encoded. Requests
	// for others ask again.
	maxJobs = 1024
	// retryEncode is how long a file waits after a failure.
	retryEncode = time.Minute
	// slowBrotli is the size in bytes up to which brotli compresses as well as it
	// can, at about a megabyte per second. Larger files get level 7.
	slowBrotli = 256 << 10
)

// encoder encodes files in the background, one at a time, and keeps the results
// beside the blobs, where restarts and other edges find them. A request never
// waits for it.
type encoder struct {
	blobs *blobs
	log   *slog.Logger
	jobs  chan job
	loads singleflight.Group

	mu       sync.Mutex
	pending  map[blobKey]struct{}
	readOnly sync.Once // logs only once that results can't be kept
}

// job is one file to encode. sibling is the site's own encoded form of it, which
// is used if it decodes to the same bytes; its size is -1 if there is none.
type job struct {
	key     blobKey
	file    file
	sibling file
}

func newEncoder(b *blobs, log *slog.Logger) *encoder {
	return &encoder{blobs: b, log: log, jobs: make(chan job, maxJobs), pending: make(map[blobKey]struct{})}
}

// best returns the form of a file that a client prefers among those that exist.
// final is false if a better one is being made. For coding identity, data is
// nil.
func (e *encoder) best(l *live, name string, f file, accepts codings) (data []byte, c coding, final bool, err error) {
	final = true
	for ; accepts != 0; accepts = accepts.rest() {
		c := accepts.first()
		sibling := file{size: -1}
		if i := l.index.files.find(name, c.suffix()); i >= 0 {
			sibling = l.index.files.file(i)
		}
		if c != codingGzip || sibling.size >= 0 {
			data, known := e.kept(job{blobKey{l.tree.Pipeline, f.digest, c}, f, sibling})
			if len(data) > 0 {
				return data, c, final, nil
			}
			// With a form of its own, the site's gzip form is not the quick one,
			// which would have the same entity tag.
			final = final && known
			continue
		}
		data, err := e.blobs.gzipped(l.tree.Pipeline, f)
		if err != nil || data != nil {
			return data, c, final, err
		}
	}
	return nil, identity, final, nil
}

// kept returns an encoded form from memory or disk. It is empty if the coding
// does not make the file smaller, or if known is false: then the form is being
// made.
func (e *encoder) kept(j job) (data []byte, known bool) {
	if data, ok := e.blobs.memory.Get(j.key); ok {
		return data, true
	}
	if e.waits(j.key) {
		return nil, false
	}
	// Requests for other files don't wait for the disk.
	name := string(j.key.pipeline[:]) + string(j.key.digest[:]) + j.key.coding.name()
	loaded, err, _ := e.loads.Do(name, func() (any, error) {
		data, err := e.blobs.loadEncoded(j.key)
		if err == nil {
			e.blobs.memory.Put(j.key, data, int64(len(data))+blobOverhead)
		}
		return data, err
	})
	if data, ok := loaded.([]byte); ok && err == nil {
		return data, true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if data, ok := e.blobs.memory.Get(j.key); ok { // it was made meanwhile
		return data, true
	}
	if _, waits := e.pending[j.key]; waits {
		return nil, false
	}
	select {
	case e.jobs <- j:
		e.pending[j.key] = struct{}{}
	default:
	}
	return nil, false
}

// waits reports whether a form waits to be made.
func (e *encoder) waits(key blobKey) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, waits := e.pending[key]
	return waits
}

// run encodes until ctx is done. Its thread has the lowest priority, and ends
// with it.
func (e *encoder) run(ctx context.Context) {
	runtime.LockOSThread()
	lowerPriority()
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-e.jobs:
			e.done(j, e.encode(j))
		}
	}
}

func (e *encoder) done(j job, err error) {
	forget := func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.pending, j.key)
	}
	if err == nil {
		forget()
		return
	}
	if !errors.Is(err, fs.ErrNotExist) { // else the site was removed
		e.log.Error("can't encode a file", "pipeline_id", j.key.pipeline, "blob", j.key.digest.String(), "coding", j.key.coding.name(), "error", err)
	}
	time.AfterFunc(retryEncode, forget)
}

// encode makes one form. A panic of a library is an error, because it would end
// all sites, and again after each restart.
func (e *encoder) encode(j job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	plain, err := e.blobs.whole(j.key.pipeline, j.file)
	if err != nil {
		return err
	}
	data := e.fromSibling(j)
	if data == nil {
		if data, err = compress(plain, j.key.coding); err != nil {
			return err
		}
	}
	if len(data) >= len(plain) {
		data = []byte{}
	}
	if err := e.blobs.saveEncoded(j.key, data); err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.readOnly.Do(func() {
			e.log.Warn("can't keep encoded files in the data folder; they are made again after a restart", "error", err)
		})
	}
	e.blobs.memory.Put(j.key, data, int64(len(data))+blobOverhead)
	return nil
}

// fromSibling returns the site's own encoded form if it decodes to the same
// bytes, otherwise nil.
func (e *encoder) fromSibling(j job) []byte {
	if j.sibling.size < 0 || j.sibling.size > maxGzip {
		return nil
	}
	data, err := e.blobs.whole(j.key.pipeline, j.sibling)
	if err != nil {
		return nil
	}
	sum, err := decodedDigest(data, j.key.coding, j.file.size)
	if err != nil || sum != j.file.digest {
		return nil
	}
	return data
}

// decodedDigest returns the digest of the bytes that data decodes to. It reads at
// most one byte more than size.
func decodedDigest(data []byte, c coding, size int64) (site.Digest, error) {
	var r io.Reader
	switch c {
	case codingBrotli:
		r = brotli.NewReader(bytes.NewReader(data))
	case codingZstd:
		z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return site.Digest{}, err
		}
		defer z.Close()
		r = z
	default:
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return site.Digest{}, err
		}
		r = z
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(r, size+1)); err != nil {
		return site.Digest{}, err
	}
	return site.Digest(sum.Sum(nil)), nil
}

func compress(plain []byte, c coding) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	switch c {
	case codingBrotli:
		level := brotli.BestCompression
		if len(plain) > slowBrotli {
			level = 7
		}
		w = brotli.NewWriterLevel(&out, level)
	case codingZstd:
		z, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
		if err != nil {
			return nil, err
		}
		w = z
	default:
		z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		w = z
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return bytes.Clone(out.Bytes()), nil
}

// An encoded file begins with encodedMagic, its coding, the digest of the plain
// bytes, the digest of the encoded bytes and their number. If the coding did not
// make the file smaller, there are none.
const (
	encodedMagic  = "troy-enc"
	encodedHeader = len(encodedMagic) + 1 + 2*sha256.Size + 8
)

func encodedHead(key blobKey, data []byte) []byte {
	head := append([]byte(encodedMagic), byte(key.coding))
	head = append(head, key.digest[:]...)
	sum := sha256.Sum256(data)
	head = append(head, sum[:]...)
	return binary.BigEndian.AppendUint64(head, uint64(len(data)))
}

// loadEncoded reads an encoded file and checks that it is complete and of the
// right file.
func (b *blobs) loadEncoded(key blobKey) ([]byte, error) {
	f, err := os.Open(b.layout.Encoded(key.pipeline, key.digest, key.coding.name()))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	all, err := io.ReadAll(io.LimitReader(f, int64(encodedHeader+maxGzip+1)))
	if err != nil {
		return nil, err
	}
	if len(all) < encodedHeader || !bytes.Equal(all[:encodedHeader], encodedHead(key, all[encodedHeader:])) {
		return nil, fmt.Errorf("the %s form of blob %s is damaged", key.coding.name(), key.digest)
	}
	return all[encodedHeader:], nil
}

// saveEncoded writes an encoded file whole or not at all. It is not synced: after
// a crash of the machine the digest tells whether it is complete.
func (b *blobs) saveEncoded(key blobKey, data []byte) error {
	f, err := os.CreateTemp(b.layout.Incoming(key.pipeline), "encoded-")
	if err != nil {
		return err
	}
	_, err = f.Write(append(encodedHead(key, data), data...))
	if err == nil {
		err = f.Chmod(0o644)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		name := b.layout.Encoded(key.pipeline, key.digest, key.coding.name())
		if err = os.Rename(f.Name(), name); errors.Is(err, fs.ErrNotExist) { // the file is in a pack
			if err = os.Mkdir(filepath.Dir(name), 0o755); err == nil || errors.Is(err, fs.ErrExist) {
				err = os.Rename(f.Name(), name)
			}
		}
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
