// Package tarend tells a whole tar from one that was cut off between two
// entries, where archive/tar sees its end. Package site reads releases with it,
// package build sources and outputs.
package tarend

import (
	"archive/tar"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// block is the size of a tar's blocks in bytes. Two blocks of zeros end a tar;
// some programs write only one.
const block = 512

// maxRest is how many bytes may follow the end of a tar. Programs fill its last
// record, of 10 KiB by default, with zeros.
const maxRest = 64 << 20

// Reader passes an uncompressed tar to archive/tar and notes how it ends.
type Reader struct {
	R     io.Reader
	any   bool
	zeros int // at the end of what was read: all of them, or a block
}

func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.R.Read(p)
	r.any = r.any || n > 0
	r.count(p[:n])
	return n, err
}

func (r *Reader) count(p []byte) {
	n := 0
	for n < min(len(p), block) && p[len(p)-1-n] == 0 {
		n++
	}
	if n == len(p) {
		n += r.zeros
	}
	r.zeros = min(n, block)
}

// Finish reads the rest after archive/tar returned io.EOF. It returns
// io.ErrUnexpectedEOF for a tar that ends without the zeros that end one, as
// after a copy that stopped between two entries, and an error for a compressed
// tar whose checksum, which is behind those zeros, is wrong. It ignores what
// follows a compressed tar. A tar of no bytes is whole. It returns tar.ErrHeader if
// more than maxRest bytes follow: zeros without end may be compressed to a few
// bytes.
func (r *Reader) Finish() error {
	if r.any && r.zeros < block {
		return io.ErrUnexpectedEOF
	}
	_, err := io.CopyN(io.Discard, r, maxRest+1)
	switch {
	case err == nil:
		return tar.ErrHeader
	case errors.Is(err, io.EOF), errors.Is(err, gzip.ErrHeader), errors.Is(err, zstd.ErrMagicMismatch):
		return nil
	}
	return err
}
