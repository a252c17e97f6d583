package localcloud

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/pack"
)

const (
	// maxPack is the size in bytes at which PutAll begins another pack, so that a
	// crash loses no more of a transfer.
	maxPack = 64 << 20
	// placeTimeout is how long PutAll may take to keep what arrived before its
	// context ended.
	placeTimeout = 10 * time.Second
	// readAhead is how much of a transfer PutAll reads at once, at least one small
	// file. What it has read is stored before it sees that the sender is gone.
	readAhead = pack.MaxFile
)

// PutAll writes small files to packs, and large ones as Put does. What arrived
// whole before an error is kept, also if the sender is gone.
func (s *store) PutAll(ctx context.Context, t site.Tree, list []site.File, r io.Reader) (int, error) {
	stored, err := s.putAll(ctx, t, list, r)
	if err != nil {
		err = fmt.Errorf("put %d files into tree %s of %s: %w", len(list), t.Deployment, t.Pipeline, err)
	}
	return stored, err
}

func (s *store) putAll(ctx context.Context, t site.Tree, list []site.File, r io.Reader) (stored int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if declared, err := s.declared(t); err != nil || !declared {
		return 0, cmp.Or(err, cloud.ErrNotFound)
	}
	var w *packWriter // has the small files from stored on
	keep := func(through int) error {
		if w == nil {
			stored = through
			return nil
		}
		full := w
		w = nil
		err := s.placePack(ctx, t, full)
		if err == nil {
			stored = through
		}
		return err
	}
	var total int64
	for _, f := range list {
		total += max(f.Size, 0)
	}
	from := bufio.NewReaderSize(io.LimitReader(&contextReader{ctx, r}, total), readAhead)
	for i, f := range list {
		var content []byte
		if f.Size > pack.MaxFile || f.Size < 0 {
			err = s.putNext(ctx, t, f, from)
		} else if content, err = readNext(ctx, f, from); err == nil {
			if w == nil {
				w, err = s.newPackFor(t.Pipeline, list[i:])
			}
			if err == nil {
				err = files.Error(w.Add(f.SHA256, content))
			}
		}
		if err != nil {
			kept := keep(i)
			return stored, cmp.Or(kept, fmt.Errorf("%q: %w", f.Path, err))
		}
		if w == nil || w.Size() >= maxPack {
			if err := keep(i + 1); err != nil {
				return stored, err
			}
		}
	}
	err = keep(len(list))
	return stored, err
}

// placePack completes a pack and places it, also after the end of ctx.
func (s *store) placePack(ctx context.Context, t site.Tree, w *packWriter) error {
	defer w.discard()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), placeTimeout)
	defer cancel()
	if err := w.finish(); err != nil {
		return err
	}
	return s.place(ctx, t, w.temp, w.name)
}

// readNext reads a small file and verifies it. The bytes are valid until the
// next read.
func readNext(ctx context.Context, f site.File, r *bufio.Reader) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	content, err := r.Peek(int(f.Size))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if got := site.Digest(sha256.Sum256(content)); got != f.SHA256 || int64(len(content)) != f.Size {
		return nil, &cloud.DigestError{Declared: f.SHA256, Got: got, DeclaredSize: f.Size, GotSize: int64(len(content))}
	}
	_, err = r.Discard(len(content))
	return content, err
}

// putNext stores a large file, and reads all of its bytes if the store has it.
func (s *store) putNext(ctx context.Context, t site.Tree, f site.File, r io.Reader) error {
	h := sha256.New()
	limited := &io.LimitedReader{R: io.TeeReader(r, h), N: f.Size}
	if err := s.put(ctx, t, f, limited); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, limited); err != nil {
		return err
	}
	if got := site.Digest(h.Sum(nil)); got != f.SHA256 {
		return &cloud.DigestError{Declared: f.SHA256, Got: got, DeclaredSize: f.Size, GotSize: f.Size - limited.N}
	}
	return nil
}

// packWriter writes a pack to a temporary file.
type packWriter struct {
	*pack.Writer
	file       *os.File
	temp, name string
}

// newPackFor begins a pack if there is room for its files.
func (s *store) newPackFor(pipeline uuid.UUID, list []site.File) (*packWriter, error) {
	var size int64
	for _, f := range list {
		if f.Size <= pack.MaxFile && size < maxPack {
			size += f.Size
		}
	}
	if err := roomFor(s.layout.Site(pipeline), size); err != nil {
		return nil, err
	}
	return s.newPack(pipeline)
}

func (s *store) newPack(pipeline uuid.UUID) (*packWriter, error) {
	name := uuid.Must(uuid.NewV7()).String() + pack.Suffix
	temp := filepath.Join(s.incoming(pipeline), name)
	file, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cloud.ErrNotFound // removed meanwhile
	}
	if err != nil {
		return nil, files.Error(err)
	}
	return &packWriter{pack.NewWriter(newDirect(file)), file, temp, name}, nil
}

// finish completes and closes the file.
func (w *packWriter) finish() error {
	return files.Error(errors.Join(w.Finish(), w.file.Close()))
}

// discard removes the temporary file unless it was placed.
func (w *packWriter) discard() {
	_ = w.file.Close()
	_ = os.Remove(w.temp)
}
