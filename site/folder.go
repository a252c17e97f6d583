package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/walk"
)

// folder is a folder on disk as a tree.
type folder struct{ root *os.Root }

func (f folder) list(ctx context.Context, limits Limits, part *sieve) ([]File, error) {
	l := lister{root: f.root, limits: limits, part: part}
	for l.pending = []string{"."}; len(l.pending) > 0; {
		next := l.pending[0]
		l.pending = l.pending[1:]
		if err := l.folder(ctx, next); err != nil {
			return nil, err
		}
	}
	return l.files, nil
}

func (f folder) open(name string) (io.ReadCloser, error) { return f.root.Open(name) }

func (f folder) Close() error { return f.root.Close() }

// lister lists the files of a folder. A link to a folder is walked after what
// it lies in, as a folder of the link's name. All walks together keep to the
// limits, so that links to folders of links to folders do not multiply
// without end.
type lister struct {
	root    *os.Root
	limits  Limits
	part    *sieve
	files   []File
	entries int
	pending []string // links to folders, yet to be walked
}

func (l *lister) folder(ctx context.Context, name string) error {
	root, prefix := l.root, ""
	if name != "." {
		var err error
		if root, err = l.root.OpenRoot(name); err != nil {
			return fmt.Errorf("open the folder %q: %w", name, err)
		}
		defer root.Close()
		prefix = name + "/"
	}
	limits := walk.Limits{Entries: l.limits.Entries - l.entries, Path: MaxPath - len(prefix)}
	err := walk.Folder(ctx, root, limits, func(e walk.Entry) error {
		l.entries++
		return l.entry(e, prefix+e.Path)
	})
	switch {
	case errors.Is(err, walk.ErrEntries) && prefix != "":
		return troy.Errorf(troy.TooLarge, "it has more than %d files and folders, those behind links counted; no more are allowed", l.limits.Entries)
	case errors.Is(err, walk.ErrEntries) || errors.Is(err, walk.ErrPath):
		return troy.Errorf(troy.TooLarge, "%w", err)
	}
	return err
}

func (l *lister) entry(e walk.Entry, name string) error {
	switch {
	case !l.part.take(name, e.IsDir()):
		if e.IsDir() {
			return fs.SkipDir
		}
		return nil
	case e.IsDir():
		return nil
	}
	info, err := l.stat(e, name)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		if l.part.take(name, true) {
			l.pending = append(l.pending, name)
		}
		return nil
	case len(l.files) == l.limits.Files:
		return troy.Errorf(troy.TooLarge, "it has more than %d files; no more are allowed", l.limits.Files)
	}
	l.files = append(l.files, File{Path: name, Size: info.Size()})
	return nil
}

// stat looks at a file, and through a link that stays in the folder.
func (l *lister) stat(e walk.Entry, name string) (fs.FileInfo, error) {
	if e.Type()&fs.ModeSymlink == 0 {
		if !e.Type().IsRegular() {
			return nil, troy.Errorf(troy.Invalid, "%q is not a file: devices, pipes and sockets can't be published", name)
		}
		return e.Info()
	}
	target, err := e.Folder.Readlink(e.Name())
	if err != nil {
		return nil, fmt.Errorf("read link %q: %w", name, err)
	}
	info, err := l.root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, troy.Errorf(troy.Invalid, "%q is a link to %q, which does not exist", name, target)
	case err != nil:
		return nil, troy.Errorf(troy.Invalid, "%q is a link to %q, which is not inside the folder: only relative links that stay in it are followed", name, target)
	case info.IsDir():
		circle, err := l.contains(info, name)
		if err != nil {
			return nil, err
		}
		if circle {
			return nil, troy.Errorf(troy.Invalid, "%q is a link to %q, a folder that contains it: links may not lead in a circle", name, target)
		}
	case !info.Mode().IsRegular():
		return nil, troy.Errorf(troy.Invalid, "%q is a link to %q, which is neither a file nor a folder", name, target)
	}
	return info, nil
}

// contains reports whether a folder is one of those above a path.
func (l *lister) contains(dir fs.FileInfo, name string) (bool, error) {
	for above := path.Dir(name); ; above = path.Dir(above) {
		info, err := l.root.Stat(above)
		if err != nil {
			return false, fmt.Errorf("look at the folder %q: %w", above, err)
		}
		if os.SameFile(dir, info) {
			return true, nil
		}
		if above == "." {
			return false, nil
		}
	}
}
