package build

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"

	"github.com/klauspost/compress/gzip"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/tarend"
)

// SourceLimits bounds a commit's source. A field that is zero has its default.
type SourceLimits struct {
	ArchiveBytes int64 // bytes of the compressed archive
	TotalBytes   int64 // bytes of all files
	Entries      int   // files, folders and links
}

// DefaultSourceLimits returns 2 GiB of archive, 8 GiB of files and 500,000
// entries.
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

// Unpack unpacks a tar, plain or gzipped, into dir. It removes the single top
// folder in which forges put a repository
// (docs.github.com/rest/repos/contents#download-a-repository-archive-tar). It
// creates symbolic links whatever their targets, so later readers must keep
// them inside dir, as os.Root does. It never writes outside dir or through a
// link: for such paths, and for entries other than files, folders and links, it
// returns an Invalid error, and beyond a limit a TooLarge error. Files have
// mode 0644 or 0755, folders 0755. After an error, the entries unpacked so far
// remain.
func Unpack(ctx context.Context, r io.Reader, dir string, limits SourceLimits) error {
	return unpack(ctx, r, dir, limits, "source")
}

// UnpackOutput is like Unpack, for a build's output.
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
		return troy.Errorf(troy.TooLarge, "the source's archive exceeds the limit of %d bytes", limits.ArchiveBytes)
	case err == nil || troy.KindOf(err) != troy.Internal:
		return err
	case capped.err != nil:
		return fmt.Errorf("read the source's archive: %w", capped.err)
	case errors.Is(err, tar.ErrHeader), errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.Is(err, io.ErrUnexpectedEOF):
		return troy.Errorf(troy.Invalid, "the source's archive is damaged or truncated: %w", err)
	}
	return fmt.Errorf("unpack the source: %w", err)
}

type unpacking struct {
	ctx     context.Context
	what    string // "source" or "output"
	root    *os.Root
	limits  SourceLimits
	top     string // the folder around everything, removed from paths
	entries int
	bytes   int64
	folders map[string]bool // the folders created
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
		unzipped, stop := inBackground(z)
		defer stop()
		plain = unzipped
	}
	// Unpacking a small archive may take long, and an entry of a sparse file
	// takes no space in the archive.
	in := &tarend.Reader{R: canceled{u.ctx, plain}}
	archive := tar.NewReader(in)
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
	return in.Finish()
}

// inBackground returns what r reads, which a goroutine reads meanwhile. stop ends
// it.
func inBackground(r io.Reader) (content io.Reader, stop func()) {
	out, in := io.Pipe()
	var reading sync.WaitGroup
	reading.Go(func() {
		_, err := io.Copy(in, r)
		_ = in.CloseWithError(err) // never fails
	})
	return out, func() {
		_ = out.Close() // never fails
		reading.Wait()
	}
}

func (u *unpacking) entry(h *tar.Header, content io.Reader) error {
	if u.entries++; u.entries > u.limits.Entries {
		return troy.Errorf(troy.TooLarge, "the %s exceeds the limit of %d files and folders", u.what, u.limits.Entries)
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
	return troy.Errorf(troy.Invalid, "the %s's entry %q is not a file, folder or link", u.what, name)
}

// maxDepth is the maximum number of folders in a path. Resolving a path takes a
// step for each of them.
const maxDepth = 512

// inside returns an entry's path without the top folder, or "" for the top
// folder itself.
func (u *unpacking) inside(name string) (string, error) {
	clean := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if clean == "" || clean == "." {
		return "", nil
	}
	if !validPath(clean) || len(clean) > 4096 {
		return "", troy.Errorf(troy.Invalid, "the %s contains the path %.256q, which leads out of it or is not clean", u.what, name)
	}
	if strings.Count(clean, "/") > maxDepth {
		return "", troy.Errorf(troy.TooLarge, "the %s's path %.256q… has more than %d folders", u.what, name, maxDepth)
	}
	top, rest, _ := strings.Cut(clean, "/")
	if u.top == "" {
		u.top = top
	}
	if top != u.top {
		return "", troy.Errorf(troy.Invalid, "the %s's archive has %q and %q at the top; expected one folder that contains everything", u.what, u.top, top)
	}
	return rest, nil
}

// validPath is like fs.ValidPath, for names in any encoding: names in Latin-1
// are fine if they are not published.
func validPath(name string) bool {
	return fs.ValidPath(strings.ToValidUTF8(name, "?")) && !strings.ContainsRune(name, 0)
}

// folder creates a folder and its parents, and makes sure that none is behind a
// link.
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
		return troy.Errorf(troy.Invalid, "the %s's entry %q is both a folder and something else", u.what, name)
	}
	u.folders[name] = true
	return nil
}

func (u *unpacking) file(name string, h *tar.Header, content io.Reader) error {
	if h.Size > u.limits.TotalBytes-u.bytes {
		return troy.Errorf(troy.TooLarge, "the %s's files exceed the limit of %d bytes", u.what, u.limits.TotalBytes)
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

// damaged returns the error for an entry that can't be created. It is the
// archive's fault if the path appears twice, is both a file and a folder, is
// too long or leads out through a link. A failing disk is not the archive's
// fault.
func (u *unpacking) damaged(name string, err error) error {
	if err == nil {
		return nil
	}
	for _, disk := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE, fs.ErrPermission, fs.ErrClosed} {
		if errors.Is(err, disk) {
			return err
		}
	}
	return troy.Errorf(troy.Invalid, "can't create the %s's entry %q: %w", u.what, name, err)
}

// canceled is a reader that fails when its context is done.
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

// cappedReader fails when its context is done or its limit is exceeded.
type cappedReader struct {
	ctx  context.Context
	r    io.Reader
	left int64
	err  error // the source's error other than io.EOF
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
