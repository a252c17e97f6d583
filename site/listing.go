package site

import (
	"cmp"
	"slices"
	"strings"
)

// Entry is a file of a tree, or a folder with everything below it.
type Entry struct {
	Path   string // a folder's ends with a slash
	Files  int    // files below a folder; 1 for a file
	Size   int64  // bytes
	SHA256 Digest // of a file
}

// IsFolder reports whether the entry is a folder.
func (e Entry) IsFolder() bool { return strings.HasSuffix(e.Path, "/") }

// List returns the first files after a path whose paths begin with prefix, at
// most limit. files must be sorted by path, as in a manifest. more reports
// whether there are others.
func List(files []File, prefix, after string, limit int) (entries []Entry, more bool) {
	files = below(files, prefix)
	at, found := slices.BinarySearchFunc(files, after, comparePath)
	if found {
		at++
	}
	for _, f := range files[at:] {
		if len(entries) == limit {
			return entries, true
		}
		entries = append(entries, Entry{f.Path, 1, f.Size, f.SHA256})
	}
	return entries, false
}

// ListFolder returns the first entries of a folder after the entry with the
// path after, at most limit: its folders, then its files, each sorted by path.
// The folder is "" for the root and ends with a slash otherwise. files must be
// sorted by path. more reports whether there are others.
func ListFolder(files []File, folder, after string, limit int) (entries []Entry, more bool) {
	files = below(files, folder)
	afterFile := after != "" && !strings.HasSuffix(after, "/")
	var plain []Entry
	for i := 0; i < len(files); {
		name := files[i].Path
		slash := strings.IndexByte(name[len(folder):], '/')
		if slash < 0 {
			if len(plain) <= limit && (!afterFile || name > after) {
				plain = append(plain, Entry{name, 1, files[i].Size, files[i].SHA256})
			}
			i++
			continue
		}
		e := Entry{Path: name[:len(folder)+slash+1]}
		for ; i < len(files) && strings.HasPrefix(files[i].Path, e.Path); i++ {
			e.Files++
			e.Size += files[i].Size
		}
		if len(entries) <= limit && !afterFile && e.Path > after {
			entries = append(entries, e)
		}
	}
	entries = append(entries, plain...)
	if len(entries) > limit {
		return entries[:limit], true
	}
	return entries, false
}

// below returns the files whose paths begin with prefix.
func below(files []File, prefix string) []File {
	if prefix == "" {
		return files
	}
	from, _ := slices.BinarySearchFunc(files, prefix, comparePath)
	files = files[from:]
	to, _ := slices.BinarySearchFunc(files, prefix, func(f File, prefix string) int {
		if strings.HasPrefix(f.Path, prefix) {
			return -1
		}
		return 1
	})
	return files[:to]
}

func comparePath(f File, p string) int { return cmp.Compare(f.Path, p) }

// Sum is a number of files and their bytes.
type Sum struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (s *Sum) add(f File) {
	s.Files++
	s.Bytes += f.Size
}

// Change says how a file differs between two trees: "added", "changed" or
// "removed".
type Change struct {
	Path   string `json:"path"`
	Change string `json:"change"`
	Size   int64  `json:"size"`        // bytes now; 0 if it was removed
	Before int64  `json:"size_before"` // bytes before; 0 if it was added
}

// Difference sums up how a tree differs from the one before.
type Difference struct {
	Added     Sum `json:"added"`
	Changed   Sum `json:"changed"` // with the bytes now
	Removed   Sum `json:"removed"`
	Unchanged Sum `json:"unchanged"`
}

// Compare compares two trees, each sorted by path. It returns the first changes
// after a path, at most limit, sorted by path, and reports whether there are
// others. The difference is always that of the whole trees.
func Compare(before, now []File, after string, limit int) (d Difference, changes []Change, more bool) {
	note := func(sum *Sum, f File, c Change) {
		sum.add(f)
		switch {
		case c.Path <= after:
		case len(changes) == limit:
			more = true
		default:
			changes = append(changes, c)
		}
	}
	for len(before) > 0 || len(now) > 0 {
		order := -1 // the file before comes first
		switch {
		case len(before) == 0:
			order = 1
		case len(now) > 0:
			order = cmp.Compare(before[0].Path, now[0].Path)
		}
		switch {
		case order < 0:
			note(&d.Removed, before[0], Change{before[0].Path, "removed", 0, before[0].Size})
			before = before[1:]
		case order > 0:
			note(&d.Added, now[0], Change{now[0].Path, "added", now[0].Size, 0})
			now = now[1:]
		default:
			if before[0].SHA256 == now[0].SHA256 {
				d.Unchanged.add(now[0])
			} else {
				note(&d.Changed, now[0], Change{now[0].Path, "changed", now[0].Size, before[0].Size})
			}
			before, now = before[1:], now[1:]
		}
	}
	return d, changes, more
}
