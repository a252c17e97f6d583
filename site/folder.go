package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/walk"
)

// folder is a tree in a folder on disk.
type folder struct {
	root     *os.Root
	top      *os.File // the root, to open files in it, or nil
	digests  *digests // may be nil
	anywhere bool     // links may lead out of it
	inside   *folders // those that were opened last
}

func newFolder(root *os.Root) folder {
	top, _ := root.Open(".") // nil: root itself opens the files
	return folder{root: root, top: top, inside: &folders{root: map[string]*os.Root{}}}
}

func (f folder) list(ctx context.Context, limits Limits, part *sieve) ([]File, error) {
	l := lister{tree: f, limits: limits, part: part}
	if f.digests != nil {
		l.files = make([]File, 0, len(f.digests.files))
	}
	for l.pending = []string{"."}; len(l.pending) > 0; {
		next := l.pending[0]
		l.pending = l.pending[1:]
		if err := l.folder(ctx, next); err != nil {
			return nil, err
		}
	}
	return l.files, nil
}

// open opens a regular file. What was one when the folder was listed may be
// something else by now.
func (f folder) open(name string) (io.ReadCloser, error) {
	file, err := f.openAny(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = troy.Errorf(troy.Invalid, "%q is %s; expected a file", name, kindOfEntry(info.Mode()))
	}
	if err != nil {
		_ = file.Close() // nothing was read
		return nil, err
	}
	return file, nil
}

// openToRead does not wait for the other end of a pipe.
const openToRead = os.O_RDONLY | syscall.O_NONBLOCK

func (f folder) openAny(name string) (*os.File, error) {
	if f.anywhere {
		return unlessLeased(func(flag int) (*os.File, error) { return os.OpenFile(f.path(name), flag, 0) })
	}
	if fd := beneath(f.top, name); fd >= 0 {
		return os.NewFile(uintptr(fd), name), nil
	}
	if dir, base := path.Split(name); dir != "" {
		if file, err := f.inside.open(f.root, path.Clean(dir), base); err == nil {
			return file, nil
		}
	}
	return unlessLeased(func(flag int) (*os.File, error) { return f.root.OpenFile(name, flag, 0) })
}

// unlessLeased opens a file without waiting, unless another program, such as a
// file server, has a lease on it (fcntl(2)): it then waits until the program has
// written what it kept.
func unlessLeased(open func(flag int) (*os.File, error)) (*os.File, error) {
	file, err := open(openToRead)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return open(os.O_RDONLY)
	}
	return file, err
}

func (f folder) stat(name string) (fs.FileInfo, error) {
	if f.anywhere {
		return os.Stat(f.path(name))
	}
	return f.root.Stat(name)
}

func (f folder) openRoot(name string) (*os.Root, error) {
	if f.anywhere {
		return os.OpenRoot(f.path(name))
	}
	return f.root.OpenRoot(name)
}

func (f folder) path(name string) string {
	return filepath.Join(f.root.Name(), filepath.FromSlash(name))
}

func (f folder) Close() error {
	f.inside.close()
	if f.top != nil {
		_ = f.top.Close() // it was only read
	}
	return f.root.Close()
}

// mostFolders is how many folders stay open for the files in them.
const mostFolders = 16

// folders keeps folders open. os.Root opens each folder of a path anew for each
// file, and the files of a folder are read one after another.
type folders struct {
	mu   sync.Mutex
	dirs []string // of roots, in the order in which they were opened
	root map[string]*os.Root
}

// open opens a file of a folder. It fails for a link that leads out of that
// folder: the caller then follows it from the outermost one.
func (f *folders) open(outermost *os.Root, dir, base string) (*os.File, error) {
	root, err := f.get(outermost, dir)
	if err != nil {
		return nil, err
	}
	return root.OpenFile(base, openToRead, 0) // fails if root was closed meanwhile
}

func (f *folders) get(outermost *os.Root, dir string) (*os.Root, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if root := f.root[dir]; root != nil {
		return root, nil
	}
	root, err := outermost.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if len(f.dirs) == mostFolders {
		_ = f.root[f.dirs[0]].Close() // it was only read
		delete(f.root, f.dirs[0])
		f.dirs = f.dirs[1:]
	}
	f.dirs = append(f.dirs, dir)
	f.root[dir] = root
	return root, nil
}

func (f *folders) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, root := range f.root {
		_ = root.Close() // it was only read
	}
	f.root, f.dirs = map[string]*os.Root{}, nil
}

// lister lists the files of a folder. It walks a linked folder after the folder
// that contains the link, under the link's name. The limits apply to all walks
// together, so links to folders with links can't multiply the work.
type lister struct {
	tree    folder
	limits  Limits
	part    *sieve
	files   []File
	entries int
	pending []string // links to folders that are not walked yet
}

func (l *lister) folder(ctx context.Context, name string) error {
	root, prefix := l.tree.root, ""
	if name != "." {
		var err error
		if root, err = l.tree.openRoot(name); err != nil {
			return &walk.FolderError{Op: "open", Path: name, Err: err}
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
		return troy.Errorf(troy.TooLarge, "it exceeds the limit of %d files and folders, including linked ones", l.limits.Entries)
	case errors.Is(err, walk.ErrEntries) || errors.Is(err, walk.ErrPath):
		return troy.Errorf(troy.TooLarge, "%w", err)
	}
	if denied, ok := errors.AsType[*walk.FolderError](err); ok {
		denied.Path = prefix + denied.Path
		if errors.Is(err, fs.ErrNotExist) {
			return vanished(denied.Path)
		}
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
		return troy.Errorf(troy.TooLarge, "it exceeds the limit of %d files", l.limits.Files)
	}
	l.files = append(l.files, l.tree.digests.find(name, info, len(l.files)))
	return nil
}

// stat returns the info of a file, or of the target of a link that stays in the
// folder.
func (l *lister) stat(e walk.Entry, name string) (fs.FileInfo, error) {
	if e.Type()&fs.ModeSymlink == 0 {
		if !e.Type().IsRegular() {
			return nil, l.noFile(name, e.Type())
		}
		return e.Info()
	}
	target, err := e.Folder.Readlink(e.Name())
	if err != nil {
		return nil, fmt.Errorf("read link %q: %w", name, err)
	}
	if reason := NamedLeak(filepath.ToSlash(target)); reason != "" && l.tree.anywhere && l.part.findLeaks && !l.part.allowed[name] {
		l.part.leaks = append(l.part.leaks, Leak{name, reason})
	}
	info, err := l.tree.stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, troy.Errorf(troy.Invalid, "%q is a link to %q, which does not exist", name, target)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("follow the link %q: %w", name, err)
	case err != nil && l.tree.anywhere:
		return nil, troy.Errorf(troy.Invalid, "%q is a link to %q, which can't be followed: %w", name, target, err)
	case err != nil:
		return nil, leadsOut(name, target, "folder")
	case info.IsDir():
		circle, err := l.contains(info, name)
		if err != nil {
			return nil, err
		}
		if circle {
			return nil, troy.Errorf(troy.Invalid, "%q is a link to %q, a folder that contains it; links must not form a cycle", name, target)
		}
	case !info.Mode().IsRegular():
		return nil, troy.Errorf(troy.Invalid, "%q is a link to %q, which is neither a file nor a folder", name, target)
	}
	return info, nil
}

// vanished returns the error for a path that was listed and then removed.
func vanished(name string) error {
	return troy.Errorf(troy.Invalid, "%q was removed while the folder was read; try again when no other program writes to it", name)
}

// noFile returns the error for an entry that is neither a file nor a folder.
func (l *lister) noFile(name string, mode fs.FileMode) error {
	advice := "remove it"
	if l.part.leaveOut {
		advice += " or list it in " + IgnoreFile
	}
	return troy.Errorf(troy.Invalid, "%q is %s, which can't be published; %s", name, kindOfEntry(mode), advice)
}

// kindOfEntry names what is not a file.
func kindOfEntry(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// Denied reports whether OpenSource failed because it was not permitted to read
// a path, and returns that path: the source's name, or a path inside it.
func Denied(err error) (string, bool) {
	if !errors.Is(err, fs.ErrPermission) {
		return "", false
	}
	if e, ok := errors.AsType[*walk.FolderError](err); ok {
		return e.Path, true
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Path, true
	}
	return "", false
}

// contains reports whether dir is a parent folder of name.
func (l *lister) contains(dir fs.FileInfo, name string) (bool, error) {
	for above := path.Dir(name); ; above = path.Dir(above) {
		info, err := l.tree.stat(above)
		if err != nil {
			return false, fmt.Errorf("stat the folder %q: %w", above, err)
		}
		if os.SameFile(dir, info) {
			return true, nil
		}
		if above == "." {
			return l.tree.anywhere && l.above(dir), nil
		}
	}
}

// above reports whether dir is a parent of the whole folder.
func (l *lister) above(dir fs.FileInfo) bool {
	place, err := filepath.Abs(l.tree.root.Name())
	if err == nil {
		place, err = filepath.EvalSymlinks(place)
	}
	for err == nil && filepath.Dir(place) != place {
		place = filepath.Dir(place)
		if info, err := os.Stat(place); err == nil && os.SameFile(dir, info) {
			return true
		}
	}
	return false
}
