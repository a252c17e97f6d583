package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
	detect "github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/site"
)

// localSource is what builds get of a folder on this machine. Close it.
type localSource struct {
	dir     string
	root    *os.Root
	entries []localEntry
	bytes   int64
	files   int
	leftOut []string // the first of them
	omitted int

	own    site.IgnoreRules // of site.IgnoreFile
	nested []folderRules    // of .gitignore files, the outermost first
	except string           // a folder that is left out
}

// localEntry is a file, a folder or a link.
type localEntry struct {
	name string
	info fs.FileInfo
}

// folderRules are the rules of a folder's .gitignore.
type folderRules struct {
	folder string
	site.IgnoreRules
}

// maxIgnored is the maximum size of a file with rules, in bytes.
const maxIgnored = 1 << 20

// readSource lists what a build of a folder gets: what git does not ignore by the
// .gitignore files in it, without git's own files, node_modules and .env files.
// The folder's IgnoreFile changes both. except is left out too.
func readSource(ctx context.Context, dir, except string) (*localSource, error) {
	if err := notTooWide(dir); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, troy.Errorf(troy.NotFound, "folder not found: %s", dir)
	}
	if err != nil {
		return nil, troy.Errorf(troy.Invalid, "%w", err)
	}
	s := &localSource{dir: dir, root: root, except: except}
	text, err := s.rules(site.IgnoreFile)
	if err == nil {
		s.own = site.ParseIgnoreRules(text)
		err = s.folder(ctx, ".")
	}
	if err == nil && s.files == 0 {
		err = troy.Errorf(troy.Invalid, "%s has no files to build", dir)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return s, nil
}

// Close releases the folder.
func (s *localSource) Close() error { return s.root.Close() }

// rules reads a file with rules, or "" if there is none.
func (s *localSource) rules(name string) (string, error) {
	info, err := s.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return "", nil
	}
	var f *os.File
	if err == nil {
		f, err = s.root.Open(name)
	}
	if err != nil {
		return "", unreadable(s.dir, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxIgnored+1))
	if err == nil && len(text) > maxIgnored {
		err = troy.Errorf(troy.TooLarge, "%s has more than %d bytes", name, maxIgnored)
	}
	return string(text), err
}

func (s *localSource) folder(ctx context.Context, folder string) error {
	text, err := s.rules(path.Join(folder, ".gitignore"))
	if err != nil {
		return err
	}
	if text != "" {
		s.nested = append(s.nested, folderRules{folder, site.ParseIgnoreRules(text)})
		defer func() { s.nested = s.nested[:len(s.nested)-1] }()
	}
	list, err := fs.ReadDir(s.root.FS(), folder)
	if err != nil {
		return unreadable(s.dir, err)
	}
	for _, e := range list {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name := path.Join(folder, e.Name())
		if !s.takes(name, e.IsDir()) {
			s.omit(name, e.IsDir())
			continue
		}
		info, err := s.root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return unreadable(s.dir, err)
		}
		switch {
		case info.IsDir():
			if err := s.add(name, info); err != nil {
				return err
			}
			if err := s.folder(ctx, name); err != nil {
				return err
			}
		case info.Mode().IsRegular(), info.Mode()&fs.ModeSymlink != 0:
			if err := s.add(name, info); err != nil {
				return err
			}
		default: // a socket, a device
			s.omit(name, false)
		}
	}
	return nil
}

func (s *localSource) add(name string, info fs.FileInfo) error {
	limits := detect.DefaultSourceLimits()
	s.entries = append(s.entries, localEntry{name, info})
	if info.Mode().IsRegular() {
		s.files++
		s.bytes += info.Size()
	}
	if len(s.entries) > limits.Entries || s.bytes > limits.ArchiveBytes {
		return troy.Errorf(troy.TooLarge, "%s has more than %d files and folders or %s; list what the build does not need in %s", s.dir, limits.Entries, troy.Size(limits.ArchiveBytes), site.IgnoreFile)
	}
	return nil
}

func (s *localSource) omit(name string, folder bool) {
	if folder {
		name += "/"
	}
	s.omitted++
	if len(s.leftOut) < maxNamed {
		s.leftOut = append(s.leftOut, name)
	}
}

// takes reports whether a build gets a file or folder. Its parents are taken.
func (s *localSource) takes(name string, folder bool) bool {
	base := path.Base(name)
	if slices.Contains([]string{".git", ".hg", ".svn"}, base) || s.except != "" && filepath.Join(s.dir, filepath.FromSlash(name)) == s.except {
		return false
	}
	if ignored, ruled := s.own.Match(name, folder); ruled {
		return !ignored
	}
	if base == "node_modules" || base == ".DS_Store" || secretEnvironment(base) {
		return false
	}
	for _, rules := range slices.Backward(s.nested) {
		below := name
		if rules.folder != "." {
			below = strings.TrimPrefix(name, rules.folder+"/")
		}
		if ignored, ruled := rules.Match(below, folder); ruled {
			return !ignored
		}
	}
	return true
}

// secretEnvironment reports whether a file of this name holds variables that may
// be secret. Examples of such files do not.
func secretEnvironment(base string) bool {
	if base == ".env" {
		return true
	}
	of, found := strings.CutPrefix(base, ".env.")
	return found && !slices.Contains([]string{"example", "sample", "template", "dist", "defaults"}, of)
}

// describe reports what is left out.
func (a *app) describeSource(s *localSource) {
	if s.omitted == 0 {
		return
	}
	more := ""
	if n := s.omitted - len(s.leftOut); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	_, _ = fmt.Fprintf(a.err, "Left out: %s%s\n", clean(strings.Join(s.leftOut, ", ")), more)
}

// write writes the source as a tar with a single top folder, as forges do.
func (s *localSource) write(ctx context.Context, w io.Writer, tell func(bytes int64)) error {
	archive := tar.NewWriter(w)
	var sent int64
	for _, e := range s.entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := s.writeEntry(archive, e)
		if err != nil {
			return fmt.Errorf("pack %s: %w", e.name, err)
		}
		sent += n
		tell(sent)
	}
	return archive.Close()
}

func (s *localSource) writeEntry(archive *tar.Writer, e localEntry) (int64, error) {
	h := &tar.Header{Name: "source/" + e.name, Mode: 0o644, ModTime: e.info.ModTime(), Format: tar.FormatPAX}
	switch {
	case e.info.IsDir():
		h.Typeflag, h.Mode, h.Name = tar.TypeDir, 0o755, h.Name+"/"
		return 0, archive.WriteHeader(h)
	case e.info.Mode()&fs.ModeSymlink != 0:
		target, err := s.root.Readlink(e.name)
		if err != nil {
			return 0, err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, filepath.ToSlash(target)
		return 0, archive.WriteHeader(h)
	}
	if e.info.Mode()&0o111 != 0 {
		h.Mode = 0o755
	}
	h.Typeflag, h.Size = tar.TypeReg, e.info.Size()
	f, err := s.root.Open(e.name)
	if err != nil {
		return 0, unreadable(s.dir, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	if now, err := f.Stat(); err != nil || !now.Mode().IsRegular() || now.Size() != h.Size {
		return 0, troy.Errorf(troy.Conflict, "the file changed while it was read; try again")
	}
	if err := archive.WriteHeader(h); err != nil {
		return 0, err
	}
	n, err := io.CopyN(archive, f, h.Size)
	if errors.Is(err, io.EOF) {
		err = troy.Errorf(troy.Conflict, "the file changed while it was read; try again")
	}
	return n, err
}
