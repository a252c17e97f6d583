// Package walk walks and removes folders with untrusted content, which may have
// any depth, width and modes. It works without recursion, with few file
// descriptors, in linear time, and stops when the context is done. Package
// site, the builders and the forges use it for sources, outputs, caches and
// clones.
package walk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// Limits bounds a walk.
type Limits struct {
	Entries int // files, folders, links and others
	Path    int // bytes of a path, relative to the walk's root
}

// The errors of a walk that exceeds its limits. The wrapping error quotes the
// path.
var (
	ErrEntries = errors.New("it has too many files and folders")
	ErrPath    = errors.New("a path in it is too long")
)

// FolderError is the error of a folder that can't be opened or read.
type FolderError struct {
	Op   string // open or read
	Path string // slash-separated, relative to the walk's root
	Err  error
}

func (e *FolderError) Error() string {
	return fmt.Sprintf("%s the folder %.256q: %v", e.Op, e.Path, e.Err)
}

func (e *FolderError) Unwrap() error { return e.Err }

// Entry is a file, folder or link that a walk found. Its Info is from when its
// folder was read, and does not follow links.
type Entry struct {
	fs.DirEntry
	Path   string   // slash-separated, relative to the walk's root
	Folder *os.Root // contains the entry; valid during the call
}

// openFolders is the maximum number of folders above the current one that a
// walk keeps open. It reopens others when it returns to them.
const openFolders = 64

// batch is the number of names to read at once.
const batch = 256

// mostAhead is the maximum number of folders whose first names are read while
// others are visited, and levelAhead that of one level. The outer levels are
// read ahead first and needed last.
const mostAhead, levelAhead = 24, 3

// Folder calls visit for everything below root, a folder before its content,
// otherwise in no particular order. It does not follow links. visit returns
// fs.SkipDir to skip a folder; any other error ends the walk. A folder that
// disappears meanwhile is an error.
func Folder(ctx context.Context, root *os.Root, limits Limits, visit func(Entry) error) error {
	w := walker{ctx: ctx, root: root, limits: limits, visit: visit}
	defer w.close()
	return w.run()
}

type walker struct {
	ctx     context.Context
	root    *os.Root
	limits  Limits
	visit   func(Entry) error
	entries int
	above   []*level // with folders yet to be walked, innermost last
	ahead   int      // folders that are read ahead
}

// level is a folder that was read. The walk's own root is never closed.
type level struct {
	path   string
	root   *os.Root       // nil while it is closed
	inside []string       // folders in it that are yet to be walked
	ahead  []chan *opened // get the last folders of inside, the last one first
}

// opened is a folder of which the first names were read.
type opened struct {
	level   *level
	file    *os.File
	entries []fs.DirEntry
	err     error // of reading them
}

func (w *walker) run() error {
	current := open(&level{path: ".", root: w.root})
	for {
		if err := w.read(current); err != nil {
			w.shut(current.level)
			return err
		}
		if len(current.level.inside) > 0 {
			w.push(current.level)
		} else {
			w.shut(current.level)
		}
		if len(w.above) == 0 {
			return nil
		}
		var err error
		if current, err = w.next(); err != nil {
			return err
		}
	}
}

// push keeps a level for later. It closes all but the outermost.
func (w *walker) push(l *level) {
	w.above = append(w.above, l)
	if len(w.above) > openFolders {
		w.shut(l)
	}
}

// next opens the next folder of the innermost level, and drops the level with
// its last folder, so that a chain of folders of any length keeps only one
// open. It begins to read the folders after the next one.
func (w *walker) next() (*opened, error) {
	innermost := w.above[len(w.above)-1]
	last := len(innermost.inside) - 1
	var next *opened
	if len(innermost.ahead) > 0 {
		next, innermost.ahead = <-innermost.ahead[0], innermost.ahead[1:]
		w.ahead--
	} else {
		next = w.folder(innermost, innermost.inside[last])
	}
	innermost.inside = innermost.inside[:last]
	if last == 0 {
		w.above = w.above[:len(w.above)-1]
		w.shut(innermost)
	}
	if next.level.root == nil {
		return nil, next.err
	}
	for w.ahead < mostAhead && len(innermost.ahead) < min(last, levelAhead) {
		w.ahead++
		ahead, name := make(chan *opened, 1), innermost.inside[last-1-len(innermost.ahead)]
		innermost.ahead = append(innermost.ahead, ahead)
		go func() { ahead <- w.folder(innermost, name) }()
	}
	return next, nil
}

// folder opens a folder of a level and reads its first names. If it can't be
// opened, its root is nil.
func (w *walker) folder(in *level, name string) *opened {
	l := &level{path: path.Join(in.path, name)}
	var err error
	if in.root != nil {
		l.root, err = in.root.OpenRoot(name)
	} else {
		l.root, err = w.root.OpenRoot(l.path)
	}
	if err != nil {
		return &opened{level: l, err: &FolderError{"open", l.path, err}}
	}
	return open(l)
}

// open reads the first names of a folder.
func open(l *level) *opened {
	o := &opened{level: l}
	if o.file, o.err = l.root.Open("."); o.err != nil {
		o.err = &FolderError{"open", l.path, o.err}
		return o
	}
	o.entries, o.err = o.file.ReadDir(batch)
	return o
}

// read visits all entries of a folder.
func (w *walker) read(o *opened) error {
	defer o.close()
	for {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		for _, entry := range o.entries {
			if err := w.entry(o.level, entry); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(o.err, io.EOF):
			return nil
		case o.file == nil:
			return o.err
		case o.err != nil:
			return &FolderError{"read", o.level.path, o.err}
		}
		o.entries, o.err = o.file.ReadDir(batch)
	}
}

func (o *opened) close() {
	if o.file != nil {
		_ = o.file.Close() // it was only read
	}
}

func (w *walker) entry(l *level, entry fs.DirEntry) error {
	name := entry.Name()
	if l.path != "." {
		name = l.path + "/" + name
	}
	if w.entries++; w.entries > w.limits.Entries {
		return fmt.Errorf("%w at %.256q: expected at most %d", ErrEntries, name, w.limits.Entries)
	}
	if len(name) > w.limits.Path {
		return fmt.Errorf("%w, the one that begins with %.64q: expected at most %d bytes", ErrPath, name, w.limits.Path)
	}
	err := w.visit(Entry{DirEntry: entry, Path: name, Folder: l.root})
	switch {
	case errors.Is(err, fs.SkipDir) && entry.IsDir():
		return nil
	case err != nil:
		return err
	case entry.IsDir():
		l.inside = append(l.inside, entry.Name())
	}
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return nil
}

func (w *walker) shut(l *level) {
	if l.root != nil && l.root != w.root {
		_ = l.root.Close() // it was only read
		l.root = nil
	}
}

func (w *walker) close() {
	for _, l := range w.above {
		for _, ahead := range l.ahead {
			o := <-ahead
			o.close()
			w.shut(o.level)
		}
		w.shut(l)
	}
}
