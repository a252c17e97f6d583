package awscloud

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/disk"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/site"
)

// received is a file that was read completely.
type received struct {
	io.ReadSeeker
	file   *os.File      // nil in memory
	buffer *bytes.Buffer // nil on disk
}

// buffers holds buffers for received files.
var buffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}

// Close releases the file.
func (r received) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// receive reads a file and verifies its digest.
func receive(temp string, f site.File, r io.Reader) (received, error) {
	sum, limited := sha256.New(), io.LimitReader(r, f.Size+1)
	var out received
	var n int64
	var err error
	if f.Size <= inMemory {
		out.buffer = buffers.Get().(*bytes.Buffer) //nolint:forcetypeassert // it has no others
		out.buffer.Reset()
		n, err = io.Copy(io.MultiWriter(out.buffer, sum), limited)
		out.ReadSeeker = bytes.NewReader(out.buffer.Bytes())
	} else {
		if out.file, err = files.Unnamed(temp); err == nil {
			n, err = io.Copy(io.MultiWriter(out.file, sum), limited)
		}
		if err == nil {
			_, err = out.file.Seek(0, io.SeekStart)
		}
		out.ReadSeeker = out.file
	}
	if disk.IsFull(err) {
		return out, errors.Join(troy.Errorf(troy.Unavailable, "buffer %s: the disk is full", f.Path), out.Close())
	}
	if err != nil {
		return out, errors.Join(fmt.Errorf("read %s: %w", f.Path, err), out.Close())
	}
	if got := site.Digest(sum.Sum(nil)); got != f.SHA256 || n != f.Size {
		return out, errors.Join(&cloud.DigestError{Declared: f.SHA256, Got: got, DeclaredSize: f.Size, GotSize: n}, out.Close())
	}
	return out, nil
}
