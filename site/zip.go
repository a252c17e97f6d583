package site

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/troy-iaas/troy"
)

// ratioGrace is how many bytes a zip's files may have whatever its ratio is:
// a small site of repetitive pages is no bomb.
const ratioGrace = 16 << 20

// encrypted is bit 0 of an entry's flags (PKWARE APPNOTE.TXT §4.4.4).
const encrypted = 1

type zipTree struct {
	file     io.Closer
	entries  map[string]*zip.File // by the site's path
	paths    []string
	stripped string
}

// openZip reads the zip's directory and refuses whatever is no plain file or
// folder, before any entry is unpacked.
func openZip(name string, size int64, limits Limits) (*zipTree, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	z, err := readZip(file, size, limits)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	z.file = file
	return z, nil
}

func readZip(r io.ReaderAt, size int64, limits Limits) (*zipTree, error) {
	directory := &cappedReaderAt{r: r, left: int64(limits.ZipEntries)*512 + 1<<20}
	archive, err := zip.NewReader(directory, size)
	switch {
	case directory.left < 0:
		return nil, troy.Errorf(troy.TooLarge, "the zip's directory is too large for %d entries", limits.ZipEntries)
	case errors.Is(err, zip.ErrFormat):
		return nil, troy.Errorf(troy.Invalid, "it is neither a folder nor a zip that can be read")
	case err != nil && !errors.Is(err, zip.ErrInsecurePath):
		return nil, troy.Errorf(troy.Invalid, "the zip can't be read: %w", err)
	case len(archive.File) > limits.ZipEntries:
		return nil, troy.Errorf(troy.TooLarge, "the zip has %d entries; at most %d are allowed", len(archive.File), limits.ZipEntries)
	}
	directory.unlimited = true

	z := &zipTree{entries: map[string]*zip.File{}}
	var total uint64
	for _, entry := range archive.File {
		wanted, err := checkEntry(entry)
		if err != nil {
			return nil, err
		}
		if !wanted {
			continue
		}
		if _, again := z.entries[entry.Name]; again {
			return nil, troy.Errorf(troy.Invalid, "the path %q stands twice in the zip", entry.Name)
		}
		if entry.UncompressedSize64 > uint64(limits.FileBytes) {
			return nil, troy.Errorf(troy.TooLarge, "the file %q has %d bytes; at most %d are allowed", entry.Name, entry.UncompressedSize64, limits.FileBytes)
		}
		if total += entry.UncompressedSize64; total > uint64(limits.TotalBytes) {
			return nil, troy.Errorf(troy.TooLarge, "the zip's files have more than %d bytes; no more are allowed", limits.TotalBytes)
		}
		z.entries[entry.Name] = entry
		z.paths = append(z.paths, entry.Name)
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

// strip leaves out the one folder that holds everything, if the zip has no
// index.html of its own.
func (z *zipTree) strip() {
	var top string
	for i, p := range z.paths {
		first, _, inside := strings.Cut(p, "/")
		if !inside || i > 0 && first != top {
			return
		}
		top = first
	}
	// Without files, or with an index.html at the root, top is empty or the
	// loop returned.
	if top == "" {
		return
	}
	entries := make(map[string]*zip.File, len(z.entries))
	for i, p := range z.paths {
		short := p[len(top)+1:]
		entries[short] = z.entries[p]
		z.paths[i] = short
	}
	z.entries, z.stripped = entries, top
}

func (z *zipTree) list(Limits) ([]File, error) {
	files := make([]File, len(z.paths))
	for i, p := range z.paths {
		files[i] = File{Path: p, Size: int64(z.entries[p].UncompressedSize64)}
	}
	return files, nil
}

func (z *zipTree) open(name string) (io.ReadCloser, error) {
	entry, ok := z.entries[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
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
	r         io.ReaderAt
	left      int64
	unlimited bool
}

func (c *cappedReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if c.unlimited {
		return c.r.ReadAt(p, off)
	}
	if c.left -= int64(len(p)); c.left < 0 {
		return 0, fmt.Errorf("read at %d: over the limit", off)
	}
	return c.r.ReadAt(p, off)
}
