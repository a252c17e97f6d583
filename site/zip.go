package site

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/troy-iaas/troy"
)

// ratioGrace is the number of bytes that a zip's files may have whatever the
// ratio: a small site of repetitive pages is not a bomb.
const ratioGrace = 16 << 20

// encrypted is bit 0 of an entry's flags (PKWARE APPNOTE.TXT §4.4.4).
const encrypted = 1

// zipTree keeps little of each entry, because a site may have tens of
// thousands.
type zipTree struct {
	file     io.Closer
	entries  []*zip.File // sorted by name
	stripped string      // the folder that all names begin with and that paths omit
}

// readZip reads the zip's directory and refuses anything but plain files, links
// to them and folders, before it unpacks an entry.
func readZip(ctx context.Context, r io.ReaderAt, size int64, limits Limits) (*zipTree, error) {
	directory := &cappedReaderAt{ctx: ctx, r: r, left: int64(limits.Entries)*512 + 1<<20}
	archive, err := zip.NewReader(directory, size)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case directory.left < 0:
		return nil, troy.Errorf(troy.TooLarge, "the zip's directory is too large for %d entries", limits.Entries)
	case errors.Is(err, zip.ErrFormat):
		return nil, troy.Errorf(troy.Invalid, "it is not a readable zip; was it copied completely?")
	case err != nil && !errors.Is(err, zip.ErrInsecurePath):
		return nil, troy.Errorf(troy.Invalid, "the zip can't be read: %w", err)
	case len(archive.File) > limits.Entries:
		return nil, troy.Errorf(troy.TooLarge, "the zip has %d entries; expected at most %d", len(archive.File), limits.Entries)
	}
	directory.unlimited = true

	z := &zipTree{}
	symlinks := links{kind: "zip"}
	var total uint64
	backslashes := byWindows(archive.File)
	for _, entry := range archive.File {
		if backslashes {
			entry.Name = strings.ReplaceAll(entry.Name, `\`, "/")
		}
		wanted, err := checkEntry(entry)
		if err != nil {
			return nil, err
		}
		if !wanted {
			continue
		}
		if entry.UncompressedSize64 > uint64(limits.FileBytes) {
			return nil, troy.Errorf(troy.TooLarge, "the file %q has %d bytes; expected at most %d", entry.Name, entry.UncompressedSize64, limits.FileBytes)
		}
		if total += entry.UncompressedSize64; total > uint64(limits.TotalBytes) {
			return nil, troy.Errorf(troy.TooLarge, "the zip's files exceed the limit of %d bytes", limits.TotalBytes)
		}
		if entry.Mode()&fs.ModeSymlink != 0 {
			if err := readLink(entry, &symlinks); err != nil {
				return nil, err
			}
			continue
		}
		entry.Extra, entry.Comment = nil, "" // Extra is a slice of the bytes of all three
		z.entries = append(z.entries, entry)
	}
	z.sort()
	if err := z.resolveLinks(&symlinks); err != nil {
		return nil, err
	}
	if err := z.unify(); err != nil {
		return nil, err
	}
	if total > ratioGrace && total/uint64(limits.ZipRatio) > uint64(size) {
		return nil, troy.Errorf(troy.TooLarge, "the zip unpacks to %d times its size; expected at most %d times", total/uint64(size), limits.ZipRatio)
	}
	return z, nil
}

// byWindows reports whether the zip uses backslashes between folders, as old
// Windows programs do against APPNOTE.TXT §4.4.17.1: some names have
// backslashes, and none has a slash, which would make them ambiguous.
func byWindows(entries []*zip.File) bool {
	backslashes := false
	for _, entry := range entries {
		if strings.Contains(entry.Name, "/") {
			return false
		}
		backslashes = backslashes || strings.Contains(entry.Name, `\`)
	}
	return backslashes
}

// hasDrive reports whether the name begins with a Windows drive.
func hasDrive(name string) bool {
	return len(name) > 1 && name[1] == ':' && (name[0]|0x20 >= 'a' && name[0]|0x20 <= 'z')
}

// checkEntry reports whether an entry is a file of the site, and changes its
// name to the path.
func checkEntry(entry *zip.File) (wanted bool, err error) {
	folder := strings.HasSuffix(entry.Name, "/")
	name := entryName(entry.Name)
	if name == "" && folder {
		return false, nil
	}
	switch {
	case !utf8.ValidString(name):
		return false, troy.Errorf(troy.Invalid, "the name %q is not valid UTF-8; make the zip with a program that writes UTF-8 names, such as 7-Zip, bsdtar or zip 3", name)
	case hasDrive(name):
		return false, troy.Errorf(troy.Invalid, "the path %q begins with a drive; expected a path relative to the site's root", name)
	case strings.Contains(name, `\`):
		return false, troy.Errorf(troy.Invalid, "the path %q contains a backslash, and other paths of the zip contain a slash; expected / between folders", name)
	}
	if err := CheckPath(name); err != nil {
		return false, err
	}
	if anySkipped(name) {
		return false, nil
	}
	entry.Name = name
	mode := entry.Mode()
	switch {
	case entry.Flags&encrypted != 0:
		return false, troy.Errorf(troy.Invalid, "%q is encrypted; make the zip without a password", name)
	case folder:
		return false, nil
	case !mode.IsRegular() && mode&fs.ModeSymlink == 0:
		return false, troy.Errorf(troy.Invalid, "%q is neither a file nor a folder; a zip may contain only files and folders", name)
	case entry.Method != zip.Store && entry.Method != zip.Deflate:
		return false, troy.Errorf(troy.Invalid, "%q is compressed with method %d; expected a stored or deflated entry", name, entry.Method)
	}
	return true, nil
}

func (z *zipTree) sort() {
	slices.SortStableFunc(z.entries, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
}

// readLink reads a link's target, which Info-ZIP writes as the entry's content.
func readLink(entry *zip.File, l *links) error {
	r, err := entry.Open()
	if err != nil {
		return fmt.Errorf("read link %q: %w", entry.Name, err)
	}
	defer r.Close()
	target, err := io.ReadAll(io.LimitReader(entryReader{r}, MaxPath+1))
	if err != nil {
		return fmt.Errorf("read link %q: %w", entry.Name, err)
	}
	return l.add(entry.Name, string(target))
}

// resolveLinks replaces the links by entries.
func (z *zipTree) resolveLinks(l *links) error {
	var found []*zip.File
	err := l.each(func(name, leadsTo string) bool {
		i, ok := z.find(leadsTo)
		if !ok {
			return false
		}
		same := *z.entries[i]
		same.Name = name
		found = append(found, &same)
		return true
	})
	z.entries = append(z.entries, found...)
	z.sort()
	return err
}

func (z *zipTree) find(name string) (int, bool) {
	return slices.BinarySearchFunc(z.entries, name, func(entry *zip.File, name string) int { return strings.Compare(entry.Name, name) })
}

// unify removes duplicate entries with equal content and finds the folder that
// contains the site.
func (z *zipTree) unify() error {
	names := make([]string, 0, len(z.entries))
	for i, entry := range z.entries {
		if i > 0 && entry.Name == z.entries[i-1].Name && !sameContent(entry, z.entries[i-1]) {
			return troy.Errorf(troy.Invalid, "the path %q appears twice in the zip, with different content", entry.Name)
		}
		names = append(names, entry.Name)
	}
	z.entries = slices.CompactFunc(z.entries, func(a, b *zip.File) bool { return a.Name == b.Name })
	z.stripped = onlyFolder(names)
	return nil
}

// sameContent compares the directory's sizes and checksums. An entry with a
// false checksum can't be read.
func sameContent(a, b *zip.File) bool {
	return a.CRC32 == b.CRC32 && a.UncompressedSize64 == b.UncompressedSize64
}

// prefix returns the part of the names before the site's path.
func (z *zipTree) prefix() string {
	if z.stripped == "" {
		return ""
	}
	return z.stripped + "/"
}

func (z *zipTree) list(_ context.Context, _ Limits, part *sieve) ([]File, error) {
	files := make([]File, 0, len(z.entries))
	for _, entry := range z.entries {
		if p := entry.Name[len(z.prefix()):]; part.takeFile(p) {
			files = append(files, File{Path: p, Size: int64(entry.UncompressedSize64)})
		}
	}
	return files, nil
}

func (z *zipTree) open(name string) (io.ReadCloser, error) {
	i, ok := z.find(z.prefix() + name)
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

// entryReader wraps read errors as the entry's fault. archive/zip counts the
// bytes and fails if there are more than the directory declares, whose sum was
// checked against the limits; the tests verify that.
type entryReader struct{ io.ReadCloser }

func (e entryReader) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		return n, troy.Errorf(troy.Invalid, "the entry is damaged, or larger than the zip declares: %w", err)
	}
	return n, err
}

// cappedReaderAt bounds the bytes that archive/zip reads, and so holds, while
// it opens a zip whose directory may declare anything.
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
		return 0, fmt.Errorf("read at %d: limit exceeded", off)
	}
	return c.r.ReadAt(p, off)
}
