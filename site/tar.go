package site

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/tarend"
)

// maxZstdWindow is the maximum memory for a zstd stream in bytes: the window of
// zstd --long.
const maxZstdWindow = 128 << 20

// tarTree is a tar whose files were copied one after another to a temporary
// file (the spool), because a tar can only be read sequentially.
type tarTree struct {
	spool    *os.File
	named    bool // the spool has a name, which Close removes
	files    map[string]span
	links    links
	stripped string
}

// span is the location of a file's bytes in the spool.
type span struct{ offset, size int64 }

func openTar(ctx context.Context, file *os.File, size int64, compression string, limits Limits) (*Source, error) {
	unpacked, err := decompress(file, compression)
	if err != nil {
		return nil, err
	}
	defer unpacked.Close()
	spool, err := os.CreateTemp("", "troy-tar-*")
	if err != nil {
		return nil, err
	}
	// A file without a name leaves nothing after a crash. Not every system
	// removes the name of an open file.
	named := os.Remove(spool.Name()) != nil
	t := &tarTree{spool: spool, named: named, files: map[string]span{}, links: links{kind: "tar"}}
	capped := &cappedReader{r: canceled{ctx, unpacked}, size: size, limits: limits, compression: compression}
	err = t.readAll(capped, limits)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	if err := t.resolveLinks(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	t.stripped = onlyFolder(slices.Sorted(maps.Keys(t.files)))
	return &Source{tree: t, Stripped: t.stripped}, nil
}

func decompress(file io.Reader, compression string) (io.ReadCloser, error) {
	switch compression {
	case "gzip":
		z, err := gzip.NewReader(file)
		if err != nil {
			return nil, troy.Errorf(troy.Invalid, "it can't be unpacked: %w", err)
		}
		return z, nil
	case "zstd":
		z, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(file), nil
}

// readAll copies the files to the spool.
func (t *tarTree) readAll(r io.Reader, limits Limits) error {
	in := &tarend.Reader{R: r}
	archive := tar.NewReader(in)
	var end int64
	for entries := 0; ; entries++ {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			if err := in.Finish(); err != nil {
				return unreadableTar(err)
			}
			return nil
		case err != nil:
			return unreadableTar(err)
		case entries == limits.Entries:
			return troy.Errorf(troy.TooLarge, "the tar exceeds the limit of %d entries", limits.Entries)
		}
		size, err := t.add(header, archive, end, limits)
		if err != nil {
			return err
		}
		end += size
	}
}

// add adds one entry, and returns the number of bytes that it added to the
// spool.
func (t *tarTree) add(header *tar.Header, content io.Reader, end int64, limits Limits) (int64, error) {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return 0, nil // written by git archive
	}
	name := entryName(header.Name)
	if name == "" && header.Typeflag == tar.TypeDir {
		return 0, nil
	}
	if err := CheckPath(name); err != nil {
		return 0, err
	}
	if anySkipped(name) {
		return 0, nil
	}
	switch header.Typeflag {
	case tar.TypeDir:
		return 0, nil
	case tar.TypeReg:
		t.forget(name)
		return t.copy(name, header.Size, content, end, limits)
	case tar.TypeLink:
		target := entryName(header.Linkname)
		same, ok := t.files[target]
		if !ok {
			return 0, troy.Errorf(troy.Invalid, "%q is a link to %q, which is not an earlier file of the tar", name, header.Linkname)
		}
		t.forget(name)
		t.files[name] = same
	case tar.TypeSymlink:
		t.forget(name)
		return 0, t.links.add(name, header.Linkname)
	default:
		return 0, troy.Errorf(troy.Invalid, "%q is not a file: devices, pipes and sockets can't be published", name)
	}
	return 0, nil
}

// forget removes an earlier entry of the same name: in a tar the last one
// counts.
func (t *tarTree) forget(name string) {
	delete(t.files, name)
	delete(t.links.targets, name)
}

func (t *tarTree) copy(name string, size int64, content io.Reader, end int64, limits Limits) (int64, error) {
	if size > limits.FileBytes {
		return 0, troy.Errorf(troy.TooLarge, "the file %q has %d bytes; expected at most %d", name, size, limits.FileBytes)
	}
	if size > limits.TotalBytes-end {
		return 0, troy.Errorf(troy.TooLarge, "the tar's files exceed the limit of %d bytes", limits.TotalBytes)
	}
	source := &readFailure{r: content}
	n, err := io.Copy(t.spool, source)
	if source.err != nil {
		return 0, unreadableTar(source.err)
	}
	if err != nil {
		return 0, fmt.Errorf("unpack %q to a temporary file: %w", name, err)
	}
	t.files[name] = span{end, n}
	return n, nil
}

// readFailure distinguishes a reader's error from a writer's.
type readFailure struct {
	r   io.Reader
	err error
}

func (f *readFailure) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

func unreadableTar(err error) error {
	if e, ok := errors.AsType[*troy.Error](err); ok {
		return e
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return troy.Errorf(troy.Invalid, "the tar is truncated; was it copied completely?")
	}
	return troy.Errorf(troy.Invalid, "it is not a readable tar: %w", err)
}

// resolveLinks replaces the symbolic links by files.
func (t *tarTree) resolveLinks() error {
	found := map[string]span{}
	err := t.links.each(func(name, target string) bool {
		at, ok := t.files[target]
		found[name] = at
		return ok
	})
	maps.Copy(t.files, found)
	return err
}

func (t *tarTree) prefix() string {
	if t.stripped == "" {
		return ""
	}
	return t.stripped + "/"
}

func (t *tarTree) list(_ context.Context, _ Limits, part *sieve) ([]File, error) {
	files := make([]File, 0, len(t.files))
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		p := name[len(t.prefix()):]
		if part.takeFile(p) {
			files = append(files, File{Path: p, Size: t.files[name].size})
		}
	}
	return files, nil
}

func (t *tarTree) open(name string) (io.ReadCloser, error) {
	at, ok := t.files[t.prefix()+name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(io.NewSectionReader(t.spool, at.offset, at.size)), nil
}

func (t *tarTree) Close() error {
	err := t.spool.Close()
	if t.named {
		err = errors.Join(err, os.Remove(t.spool.Name()))
	}
	return err
}

// cappedReader bounds the unpacked bytes, including skipped entries and the
// padding between entries.
type cappedReader struct {
	r           io.Reader
	size        int64 // of the archive
	limits      Limits
	compression string
	n           int64
}

func (c *cappedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	switch most := c.limits.TotalBytes + int64(c.limits.Entries)*2048 + 1<<20; {
	case c.n > most:
		return 0, troy.Errorf(troy.TooLarge, "the tar exceeds the limit of %d bytes", most)
	case c.n > ratioGrace && c.n/int64(c.limits.ZipRatio) > c.size:
		return 0, troy.Errorf(troy.TooLarge, "the archive unpacks to more than the allowed %d times its size", c.limits.ZipRatio)
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && c.compression != "":
		return n, troy.Errorf(troy.Invalid, "it can't be unpacked: %w", err)
	}
	return n, err
}
