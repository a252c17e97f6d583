package build

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/troy-iaas/troy"
)

// SourceLimits bounds a commit's source. A field that is zero takes its
// default.
type SourceLimits struct {
	ArchiveBytes int64 // bytes of the archive as it comes
	TotalBytes   int64 // bytes of all files
	Entries      int   // files, folders and links
}

// DefaultSourceLimits is 2 GiB of archive, 8 GiB of files, 500,000 entries.
func DefaultSourceLimits() SourceLimits {
	return SourceLimits{ArchiveBytes: 2 << 30, TotalBytes: 8 << 30, Entries: 500_000}
}

func (l SourceLimits) orDefault() SourceLimits {
	d := DefaultSourceLimits()
	if l.ArchiveBytes <= 0 {
		l.ArchiveBytes = d.ArchiveBytes
	}
	if l.TotalBytes <= 0 {
		l.TotalBytes = d.TotalBytes
	}
	if l.Entries <= 0 {
		l.Entries = d.Entries
	}
	return l
}

// Unpack writes a tar, plain or gzipped, into dir. The one top folder that
// forges put around a repository
// (docs.github.com/rest/repos/contents#download-a-repository-archive-tar) is
// left out. Symbolic links are made as they are, wherever they lead: what
// reads them later must keep them inside, as os.Root does. Nothing is written
// outside dir or through a link: such paths, and what is not a file, folder or
// link, end it with a *troy.Error of kind Invalid; too much of anything is
// TooLarge. Files are 0644 or 0755, folders 0755. What was unpacked before an
// error stays.
func Unpack(ctx context.Context, r io.Reader, dir string, limits SourceLimits) error {
	return unpack(ctx, r, dir, limits, "source")
}

// UnpackOutput is Unpack for what a build left.
func UnpackOutput(ctx context.Context, r io.Reader, dir string, limits SourceLimits) error {
	return unpack(ctx, r, dir, limits, "output")
}

func unpack(ctx context.Context, r io.Reader, dir string, limits SourceLimits, what string) error {
	limits = limits.orDefault()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack into %s: %w", dir, err)
	}
	defer root.Close()
	capped := &cappedReader{ctx: ctx, r: r, left: limits.ArchiveBytes}
	u := unpacking{ctx: ctx, what: what, root: root, limits: limits, folders: map[string]bool{".": true}, links: map[string]bool{}}
	err = u.run(capped)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case capped.left < 0:
		return troy.Errorf(troy.TooLarge, "the source's archive has more than %d bytes; no more are allowed", limits.ArchiveBytes)
	case err == nil || troy.KindOf(err) != troy.Internal:
		return err
	case capped.err != nil:
		return fmt.Errorf("read the source's archive: %w", capped.err)
	case errors.Is(err, tar.ErrHeader), errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.Is(err, io.ErrUnexpectedEOF):
		return troy.Errorf(troy.Invalid, "the source's archive is damaged or cut short: %w", err)
	}
	return fmt.Errorf("unpack the source: %w", err)
}

type unpacking struct {
	ctx     context.Context
	what    string // "source" or "output"
	root    *os.Root
	limits  SourceLimits
	top     string // the folder around everything, left out
	entries int
	bytes   int64
	folders map[string]bool // those that are there
	links   map[string]bool
}

func (u *unpacking) run(r io.Reader) error {
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, err := buffered.Peek(2)
	if err != nil && err != io.EOF {
		return err
	}
	var plain io.Reader = buffered
	if bytes.Equal(head, []byte{0x1f, 0x8b}) { // RFC 1952 §2.3.1
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return err
		}
		plain = z
	}
	// What a small archive unpacks to may take long, and an entry of a sparse
	// file takes nothing of the archive.
	archive := tar.NewReader(canceled{u.ctx, plain})
	for {
		if u.ctx.Err() != nil {
			return context.Cause(u.ctx)
		}
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return err
		}
		if err := u.entry(header, archive); err != nil {
			return err
		}
	}
	if u.entries == 0 {
		return troy.Errorf(troy.Invalid, "the source's archive is empty")
	}
	return nil
}

func (u *unpacking) entry(h *tar.Header, content io.Reader) error {
	if u.entries++; u.entries > u.limits.Entries {
		return troy.Errorf(troy.TooLarge, "the %s has more than %d files and folders; no more are allowed", u.what, u.limits.Entries)
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // git archive writes the commit's id there
	}
	name, err := u.inside(h.Name)
	if err != nil || name == "" {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		return u.folder(name)
	}
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return u.file(name, h, content)
	case tar.TypeSymlink:
		u.links[name] = true
		return u.damaged(name, u.root.Symlink(h.Linkname, name))
	case tar.TypeLink:
		target, err := u.inside(h.Linkname)
		if err == nil {
			err = u.folder(path.Dir(target)) // not behind a link
		}
		if err != nil {
			return err
		}
		return u.damaged(name, u.root.Link(target, name))
	}
	return troy.Errorf(troy.Invalid, "the %s's %q is not a file, folder or link", u.what, name)
}

// maxDepth is how many folders a path may have. To resolve one takes a step
// for each of them.
const maxDepth = 512

// inside returns an entry's path without the top folder; it is empty for the
// top folder itself.
func (u *unpacking) inside(name string) (string, error) {
	clean := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if clean == "" || clean == "." {
		return "", nil
	}
	if !validPath(clean) || len(clean) > 4096 {
		return "", troy.Errorf(troy.Invalid, "the %s has the path %.256q, which leads out of it or is not a clean path", u.what, name)
	}
	if strings.Count(clean, "/") > maxDepth {
		return "", troy.Errorf(troy.TooLarge, "the %s's path %.256q… has more than %d folders", u.what, name, maxDepth)
	}
	top, rest, _ := strings.Cut(clean, "/")
	if u.top == "" {
		u.top = top
	}
	if top != u.top {
		return "", troy.Errorf(troy.Invalid, "the %s's archive has %q and %q side by side; one folder with the repository in it is expected", u.what, u.top, top)
	}
	return rest, nil
}

// validPath is fs.ValidPath for names of any bytes: those of Latin-1 are fine
// as long as they are not published.
func validPath(name string) bool {
	return fs.ValidPath(strings.ToValidUTF8(name, "?")) && !strings.ContainsRune(name, 0)
}

// folder makes a folder and those above it, none of them behind a link.
func (u *unpacking) folder(name string) error {
	if u.folders[name] {
		return nil
	}
	if u.links[name] {
		return troy.Errorf(troy.Invalid, "the %s's archive has entries behind the link %q", u.what, name)
	}
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	if err := u.root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return u.damaged(name, err)
	}
	if info, err := u.root.Lstat(name); err != nil || !info.IsDir() {
		return troy.Errorf(troy.Invalid, "the %s's %q is a folder and something else at once", u.what, name)
	}
	u.folders[name] = true
	return nil
}

func (u *unpacking) file(name string, h *tar.Header, content io.Reader) error {
	if h.Size > u.limits.TotalBytes-u.bytes {
		return troy.Errorf(troy.TooLarge, "the %s's files have more than %d bytes; no more are allowed", u.what, u.limits.TotalBytes)
	}
	u.bytes += h.Size
	mode := fs.FileMode(0o644)
	if h.Mode&0o100 != 0 {
		mode = 0o755
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return u.damaged(name, err)
	}
	_, err = io.Copy(f, canceled{u.ctx, content})
	return errors.Join(err, f.Close())
}

// damaged says of an entry that can't be made that the archive is wrong: its
// path appears twice, is a file and a folder at once, is too long or goes
// through a link that leads out. A failing disk is not the archive's fault.
func (u *unpacking) damaged(name string, err error) error {
	if err == nil {
		return nil
	}
	for _, disk := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE, fs.ErrPermission, fs.ErrClosed} {
		if errors.Is(err, disk) {
			return err
		}
	}
	return troy.Errorf(troy.Invalid, "the %s's %q can't be made: %w", u.what, name, err)
}

// canceled is a reader that ends with its context.
type canceled struct {
	ctx context.Context
	r   io.Reader
}

func (c canceled) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// cappedReader ends with its context, and when more comes than is allowed.
type cappedReader struct {
	ctx  context.Context
	r    io.Reader
	left int64
	err  error // what the source of the bytes ended with, if not its end
}

var errTooMuch = errors.New("more bytes than allowed")

func (c *cappedReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, errTooMuch
	}
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}
