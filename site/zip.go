package site

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

// ratioGrace is how many bytes a zip's files may have whatever its ratio is:
// a small site of repetitive pages is no bomb.
const ratioGrace = 16 << 20

// encrypted is bit 0 of an entry's flags (PKWARE APPNOTE.TXT §4.4.4).
const encrypted = 1

// zipTree keeps little of each entry: a site has up to tens of thousands.
type zipTree struct {
	file     io.Closer
	entries  []*zip.File // sorted by name
	stripped string      // the folder that all names begin with, and paths don't
}

// openZip reads the zip's directory and refuses whatever is no plain file or
// folder, before any entry is unpacked.
func openZip(ctx context.Context, name string, size int64, limits Limits) (*zipTree, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	z, err := readZip(ctx, file, size, limits)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	z.file = file
	return z, nil
}

func readZip(ctx context.Context, r io.ReaderAt, size int64, limits Limits) (*zipTree, error) {
	directory := &cappedReaderAt{ctx: ctx, r: r, left: int64(limits.Entries)*512 + 1<<20}
	archive, err := zip.NewReader(directory, size)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case directory.left < 0:
		return nil, troy.Errorf(troy.TooLarge, "the zip's directory is too large for %d entries", limits.Entries)
	case errors.Is(err, zip.ErrFormat):
		return nil, troy.Errorf(troy.Invalid, "it is neither a folder nor a zip that can be read")
	case err != nil && !errors.Is(err, zip.ErrInsecurePath):
		return nil, troy.Errorf(troy.Invalid, "the zip can't be read: %w", err)
	case len(archive.File) > limits.Entries:
		return nil, troy.Errorf(troy.TooLarge, "the zip has %d entries; at most %d are allowed", len(archive.File), limits.Entries)
	}
	directory.unlimited = true

	z := &zipTree{}
	var total uint64
	for _, entry := range archive.File {
		wanted, err := checkEntry(entry)
		if err != nil {
			return nil, err
		}
		if !wanted {
			continue
		}
		if entry.UncompressedSize64 > uint64(limits.FileBytes) {
			return nil, troy.Errorf(troy.TooLarge, "the file %q has %d bytes; at most %d are allowed", entry.Name, entry.UncompressedSize64, limits.FileBytes)
		}
		if total += entry.UncompressedSize64; total > uint64(limits.TotalBytes) {
			return nil, troy.Errorf(troy.TooLarge, "the zip's files have more than %d bytes; no more are allowed", limits.TotalBytes)
		}
		entry.Extra, entry.Comment = nil, "" // Extra holds the bytes of all three
		z.entries = append(z.entries, entry)
	}
	slices.SortFunc(z.entries, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(z.entries); i++ {
		if z.entries[i].Name == z.entries[i-1].Name {
			return nil, troy.Errorf(troy.Invalid, "the path %q stands twice in the zip", z.entries[i].Name)
		}
	}
	if total > ratioGrace && total/uint64(limits.ZipRatio) > uint64(size) {
		return nil, troy.Errorf(troy.TooLarge, "the zip unpacks to %d times its size; at most %d times are allowed", total/uint64(size), limits.ZipRatio)
	}
	z.strip()
	return z, nil
}

// checkEntry reports whether an entry is a file of the site.
func checkEntry(entry *zip.File) (wanted bool, err error) {
	name := strings.TrimSuffix(entry.Name, "/")
	if err := CheckPath(name); err != nil {
		return false, err
	}
	for segment := range strings.SplitSeq(name, "/") {
		if skipped(segment) {
			return false, nil
		}
	}
	mode := entry.Mode()
	switch {
	case mode&fs.ModeSymlink != 0:
		return false, troy.Errorf(troy.Invalid, "%q is a symbolic link; a zip may have files and folders only", name)
	case entry.Flags&encrypted != 0:
		return false, troy.Errorf(troy.Invalid, "%q is encrypted; make the zip without a password", name)
	case strings.HasSuffix(entry.Name, "/"):
		return false, nil
	case !mode.IsRegular():
		return false, troy.Errorf(troy.Invalid, "%q is no file; a zip may have files and folders only", name)
	case entry.Method != zip.Store && entry.Method != zip.Deflate:
		return false, troy.Errorf(troy.Invalid, "%q is compressed with method %d; only stored and deflated entries can be read", name, entry.Method)
	}
	return true, nil
}

// strip leaves out the one folder that holds everything, if there is one and
// so no index.html beside it. Being sorted, the first and the last tell.
func (z *zipTree) strip() {
	if len(z.entries) == 0 {
		return
	}
	top, _, inside := strings.Cut(z.entries[0].Name, "/")
	if inside && strings.HasPrefix(z.entries[len(z.entries)-1].Name, top+"/") {
		z.stripped = top
	}
}

// prefix is what names have before the site's path.
func (z *zipTree) prefix() string {
	if z.stripped == "" {
		return ""
	}
	return z.stripped + "/"
}

func (z *zipTree) list(context.Context, Limits) ([]File, error) {
	files := make([]File, len(z.entries))
	for i, entry := range z.entries {
		files[i] = File{Path: entry.Name[len(z.prefix()):], Size: int64(entry.UncompressedSize64)}
	}
	return files, nil
}

func (z *zipTree) open(name string) (io.ReadCloser, error) {
	i, ok := slices.BinarySearchFunc(z.entries, z.prefix()+name, func(entry *zip.File, name string) int { return strings.Compare(entry.Name, name) })
	if !ok {
		return nil, fs.ErrNotExist
	}
	entry := z.entries[i]
	r, err := entry.Open()
	if err != nil {
		return nil, err
	}
	return entryReader{r}, nil
}

func (z *zipTree) Close() error { return z.file.Close() }

// entryReader says that an entry is at fault. archive/zip counts the bytes and
// ends with an error when there are more than the directory declares, whose
// sum was held to the limits; the tests make sure of that.
type entryReader struct{ io.ReadCloser }

func (e entryReader) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		return n, troy.Errorf(troy.Invalid, "the entry is damaged, or larger than the zip declares: %w", err)
	}
	return n, err
}

// cappedReaderAt bounds what archive/zip reads, and so holds, while it opens
// a zip whose directory may claim anything.
type cappedReaderAt struct {
	ctx       context.Context
	r         io.ReaderAt
	left      int64
	unlimited bool
}

func (c *cappedReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if c.unlimited {
		return c.r.ReadAt(p, off)
	}
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	if c.left -= int64(len(p)); c.left < 0 {
		return 0, fmt.Errorf("read at %d: over the limit", off)
	}
	return c.r.ReadAt(p, off)
}
