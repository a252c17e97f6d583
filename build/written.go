package build

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/walk"
)

// Written records the folders of the repository that a build's commands wrote
// to. The zero value belongs to a build that ran nothing.
type Written struct {
	folders map[string]bool // folders in which a file was written directly
	sites   map[string]bool // folders whose index.html was written
}

const (
	// maxWritten is the maximum number of folders.
	maxWritten = 200_000
	// maxWrittenName is the maximum length of a folder's path in a list, in
	// bytes.
	maxWrittenName = 8 << 10
)

// LookWritten walks the repository after the build. fresh reports whether a
// file, given its Lstat result, was written since the build began. LookWritten
// skips folders named node_modules and .git.
func LookWritten(ctx context.Context, root *os.Root, fresh func(fs.FileInfo) bool) (Written, error) {
	w := Written{folders: map[string]bool{}, sites: map[string]bool{}}
	limits := walk.Limits{Entries: 4 << 20, Path: maxWrittenName}
	err := walk.Folder(ctx, root, limits, func(entry walk.Entry) error {
		if entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git") {
			return fs.SkipDir
		}
		info, err := entry.Info()
		switch {
		case err != nil:
			return err
		case !fresh(info):
			return nil
		case entry.IsDir():
			return w.add(entry.Path, false) // it may have been moved here with old files
		}
		return w.add(path.Dir(entry.Path), entry.Name() == indexName)
	})
	if err != nil && ctx.Err() == nil && troy.KindOf(err) == troy.Internal {
		return w, troy.Errorf(troy.Invalid, "can't read the build's files: %w", err)
	}
	return w, err
}

// ReadWritten parses a list of the folders that were written to. Each entry
// ends with a NUL: "f" and the path of a folder with a fresh file, or "i" and
// the path of a folder with a fresh index.html. Paths may begin with "./".
func ReadWritten(r io.Reader) (Written, error) {
	w := Written{folders: map[string]bool{}, sites: map[string]bool{}}
	list := bufio.NewScanner(r)
	list.Buffer(nil, maxWrittenName)
	list.Split(func(data []byte, _ bool) (int, []byte, error) {
		if end := bytes.IndexByte(data, 0); end >= 0 {
			return end + 1, data[:end], nil
		}
		return 0, nil, nil // ignore a truncated entry
	})
	for list.Scan() {
		kind, name := list.Text(), ""
		if kind != "" {
			kind, name = kind[:1], path.Clean(kind[1:])
		}
		if kind != "f" && kind != "i" || !validPath(name) {
			return w, troy.Errorf(troy.Invalid, "the list of the folders that the build wrote to is damaged")
		}
		if err := w.add(name, kind == "i"); err != nil {
			return w, err
		}
	}
	if errors.Is(list.Err(), bufio.ErrTooLong) {
		return w, troy.Errorf(troy.Invalid, "the build wrote to a folder whose path has more than %d bytes", maxWrittenName)
	}
	return w, list.Err()
}

func (w Written) add(folder string, site bool) error {
	if w.folders[folder] = true; site {
		w.sites[folder] = true
	}
	if len(w.folders) > maxWritten {
		return troy.Errorf(troy.TooLarge, "the build wrote to more than %d folders", maxWritten)
	}
	return nil
}

// below reports whether anything in the folder was written.
func (w Written) below(folder string) bool {
	for name := range w.folders {
		if within(name, folder) {
			return true
		}
	}
	return false
}

// elsewhere returns the topmost folders, sorted, that got an index.html and are
// not part of a candidate that has one.
func (w Written) elsewhere(candidates []candidate) []string {
	covered := map[string]bool{}
	for _, c := range candidates {
		covered[c.folder] = c.index
	}
	var names []string
	for name := range w.sites {
		above := name
		for above != "." && !covered[above] {
			above = path.Dir(above)
		}
		if above == "." {
			names = append(names, name)
		}
	}
	return topmost(names)
}

// top returns the folders directly below root that were written to, and the
// repository's other top folders that were, sorted.
func (w Written) top(root string) []string {
	names := map[string]bool{}
	for name := range w.folders {
		above := ""
		if root != "." && within(name, root) {
			above, name = root, strings.TrimPrefix(strings.TrimPrefix(name, root), "/")
		}
		first, _, _ := strings.Cut(name, "/")
		names[path.Join(above, first)] = true
	}
	if delete(names, "."); len(names) > 1 {
		delete(names, root)
	}
	return slices.Sorted(maps.Keys(names))
}

// topmost returns the folders, sorted, without those inside another.
func topmost(names []string) []string {
	slices.Sort(names)
	var top []string
	kept := map[string]bool{}
	for _, name := range names {
		above := name
		for above != "." && !kept[above] {
			above = path.Dir(above)
		}
		if !kept[above] {
			top, kept[name] = append(top, name), true
		}
	}
	return top
}

// within reports whether name is folder or inside it.
func within(name, folder string) bool {
	return folder == "." || name == folder || strings.HasPrefix(name, folder+"/")
}
