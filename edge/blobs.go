package edge

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/singleflight"

	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/pack"
)

const (
	// maxHot is the maximum size of a file that is kept in memory and written
	// in one call. Larger files go from the page cache to the socket
	// (sendfile).
	maxHot = pack.MaxFile
	// minGzip is the minimum size at which compression saves a packet.
	minGzip = 1 << 10
	// packIndexes is the maximum memory for the indexes of packs in bytes; each
	// file needs about 56. Only files that are not in memory are looked up.
	packIndexes = 8 << 20
	// maxGzip is the maximum size of a file to compress. Both forms are in
	// memory meanwhile. Larger compressible files are mostly data, which
	// clients request in ranges.
	maxGzip = 8 << 20
	// blobOverhead is the approximate cost of a blob in memory besides its
	// bytes.
	blobOverhead = 256
)

// blobs opens the files of sites, and keeps small and compressed files in
// memory. Every key contains the pipeline, so one site never gets another's
// stored files.
type blobs struct {
	layout site.Layout
	packs  *pack.Cache
	log    *slog.Logger
	memory *lru.Cache[blobKey, []byte]
	flight singleflight.Group
	// compressors limits the number of concurrent compressions.
	compressors chan struct{}
}

type blobKey struct {
	pipeline uuid.UUID
	digest   site.Digest
	coding   coding
}

// body is the content of a response: file if it is not nil, otherwise data. The
// receiver closes file.
type body struct {
	data []byte
	file *os.File
	read bool // from disk, for this response
}

func (b body) close() {
	if b.file != nil {
		_ = b.file.Close()
	}
}

// open returns the content of a file. The error is fs.ErrNotExist, wrapped, if
// the content was removed.
func (b *blobs) open(pipeline uuid.UUID, f file) (body, error) {
	key := blobKey{pipeline: pipeline, digest: f.digest}
	if f.size <= maxHot {
		if data, ok := b.memory.Get(key); ok {
			return body{data: data}, nil
		}
	}
	if f.size > maxHot {
		opened, err := b.openFile(pipeline, f)
		return body{file: opened, read: true}, err
	}
	data, err := b.whole(pipeline, f)
	if err != nil {
		return body{}, err
	}
	b.memory.Put(key, data, f.size+blobOverhead)
	return body{data: data, read: true}, nil
}

// gzipped returns the compressed content of a file of at most maxGzip bytes, or
// nil if compression does not make it smaller. It compresses each file once,
// and again only after the file was evicted from memory.
func (b *blobs) gzipped(pipeline uuid.UUID, f file) ([]byte, error) {
	key := blobKey{pipeline, f.digest, quickGzip}
	if data, ok := b.memory.Get(key); ok {
		return data, nil
	}
	v, err, _ := b.flight.Do(string(pipeline[:])+string(f.digest[:]), func() (any, error) {
		b.compressors <- struct{}{}
		defer func() { <-b.compressors }()
		data, err := b.compress(pipeline, f)
		if err != nil {
			return nil, fmt.Errorf("compress blob %s of pipeline %s: %w", f.digest, pipeline, err)
		}
		b.memory.Put(key, data, int64(cap(data))+blobOverhead)
		return data, nil
	})
	data, _ := v.([]byte)
	return data, err
}

func (b *blobs) compress(pipeline uuid.UUID, f file) ([]byte, error) {
	plain, err := b.whole(pipeline, f)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err = z.Write(plain)
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, err
	}
	if int64(out.Len()) >= f.size {
		return nil, nil
	}
	return bytes.Clone(out.Bytes()), nil
}

func (b *blobs) damagedPack(name string, err error) {
	b.log.Error("can't read a pack; repair it with \"troyd store repair\"", "pack", name, "error", err)
}

// whole reads a file of at most maxGzip bytes, and verifies its digest. Small
// files are in packs or, as all were once, in files of their own.
func (b *blobs) whole(pipeline uuid.UUID, f file) ([]byte, error) {
	small, packs := f.size <= pack.MaxFile, b.layout.Packs(pipeline)
	if small {
		data, err := b.packs.Known(packs, f.digest, f.size)
		if !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
	}
	opened, err := b.openFile(pipeline, f)
	if small && errors.Is(err, fs.ErrNotExist) {
		return b.packs.Read(packs, f.digest, f.size)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = opened.Close() }()
	data := make([]byte, f.size)
	if _, err := io.ReadFull(opened, data); err != nil {
		return nil, fmt.Errorf("read blob %s of pipeline %s: %w", f.digest, pipeline, err)
	}
	if sha256.Sum256(data) != f.digest {
		return nil, fmt.Errorf("blob %s of pipeline %s is damaged: its bytes do not match its digest", f.digest, pipeline)
	}
	return data, nil
}

func (b *blobs) openFile(pipeline uuid.UUID, f file) (*os.File, error) {
	opened, err := os.Open(b.layout.Blob(pipeline, f.digest))
	if err != nil {
		return nil, err
	}
	info, err := opened.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != f.size) {
		err = fmt.Errorf("blob %s of pipeline %s is not a file of %d bytes", f.digest, pipeline, f.size)
	}
	if err != nil {
		_ = opened.Close()
		return nil, err
	}
	return opened, nil
}

// reader returns a reader of the body from its start.
func (b body) reader() io.ReadSeeker {
	if b.file != nil {
		return b.file
	}
	return bytes.NewReader(b.data)
}
