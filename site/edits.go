package site

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

// Edits are the differences between two lists of files.
type Edits struct {
	Put     []File   // added, or with another digest or size
	Removed []string // paths
}

// Differences returns what turns one list into another, each sorted by path.
func Differences(before, now []File) (e Edits) {
	for len(before) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(before) > 0 && before[0].Path < now[0].Path:
			e.Removed, before = append(e.Removed, before[0].Path), before[1:]
		case len(before) == 0 || now[0].Path < before[0].Path:
			e.Put, now = append(e.Put, now[0]), now[1:]
		default:
			if before[0] != now[0] {
				e.Put = append(e.Put, now[0])
			}
			before, now = before[1:], now[1:]
		}
	}
	return e
}

// Edit returns a manifest with the files of m and e, and nothing else of m. It
// checks them as CheckFiles does; m was checked before, perhaps with other
// limits. The error's Field is a position in e.Put ("files[3].path") or in
// e.Removed ("removed[3]"), or "base" if a file of m exceeds a limit.
func (m Manifest) Edit(e Edits, limits Limits) (Manifest, error) {
	limits = limits.orDefault()
	if len(e.Put) > limits.Files {
		return Manifest{}, troy.Errorf(troy.TooLarge, "%d files are listed; expected at most %d", len(e.Put), limits.Files).At("files")
	}
	for i, f := range e.Put {
		if err := pathError(f.Path); err != nil {
			return Manifest{}, err.At(field(i, "path"))
		}
	}
	put := editsBy(len(e.Put), func(i int) string { return e.Put[i].Path })
	for i := 1; i < len(put); i++ {
		if a := put[i]; a.path == put[i-1].path {
			return Manifest{}, collision(a.path, a.path, a.index)
		}
	}
	files, err := merge(m.Sorted().Files, put, e)
	if err != nil {
		return Manifest{}, err
	}
	if err := checkEdited(files, put, e, limits); err != nil {
		return Manifest{}, err
	}
	edited := Manifest{Files: files}.Fixed()
	edited.list.checked.Store(&limits)
	return edited, nil
}

// editsBy returns paths sorted by their bytes, those in front first among equals.
func editsBy(n int, path func(int) string) []placed {
	order := make([]placed, n)
	for i := range order {
		order[i] = placed{path(i), i}
	}
	slices.SortFunc(order, func(a, b placed) int { return cmp.Or(strings.Compare(a.path, b.path), a.index-b.index) })
	return order
}

// merge applies edits to a sorted list.
func merge(base []File, put []placed, e Edits) ([]File, error) {
	removed := editsBy(len(e.Removed), func(i int) string { return e.Removed[i] })
	for i := 1; i < len(removed); i++ {
		if removed[i].path == removed[i-1].path {
			return nil, troy.Errorf(troy.Invalid, "the path %q appears twice", troy.Clip(removed[i].path)).At(fmt.Sprintf("removed[%d]", removed[i].index))
		}
	}
	files := make([]File, 0, max(len(base)+len(put)-len(removed), 0))
	for _, f := range base {
		for len(put) > 0 && put[0].path < f.Path {
			files, put = append(files, e.Put[put[0].index]), put[1:]
		}
		again := len(put) > 0 && put[0].path == f.Path
		switch {
		case len(removed) > 0 && removed[0].path < f.Path:
			return nil, notThere(removed[0])
		case len(removed) == 0 || removed[0].path != f.Path:
			if !again {
				files = append(files, f)
			}
		case again:
			return nil, troy.Errorf(troy.Invalid, "the path %q is in files, too", f.Path).At(fmt.Sprintf("removed[%d]", removed[0].index))
		default:
			removed = removed[1:]
		}
		if again {
			files, put = append(files, e.Put[put[0].index]), put[1:]
		}
	}
	if len(removed) > 0 {
		return nil, notThere(removed[0])
	}
	for _, p := range put {
		files = append(files, e.Put[p.index])
	}
	return files, nil
}

func notThere(removed placed) error {
	at := fmt.Sprintf("removed[%d]", removed.index)
	if e := pathError(removed.path); e != nil {
		return e.At(at)
	}
	return troy.Errorf(troy.Invalid, "the base has no file %q", removed.path).At(at)
}

// checkEdited checks a list that differs from a valid one only in put.
func checkEdited(files []File, put []placed, e Edits, limits Limits) error {
	if len(files) == 0 {
		return troy.Errorf(troy.Invalid, "the site has no files").At("removed")
	}
	if len(files) > limits.Files {
		return troy.Errorf(troy.TooLarge, "the site has %d files; expected at most %d", len(files), limits.Files).At("files")
	}
	// at returns the field of a file of the list.
	at := func(f File, name string) string {
		i, found := slices.BinarySearchFunc(put, f.Path, func(p placed, path string) int { return strings.Compare(p.path, path) })
		if !found {
			return "base"
		}
		return field(put[i].index, name)
	}
	digests := make(map[Digest]int, len(e.Put))
	for i, f := range e.Put {
		digests[f.SHA256] = i
	}
	var total int64
	for _, f := range files {
		if e := sizeError(f, total, limits); e != nil {
			return e.At(at(f, "size"))
		}
		total += f.Size
		if i, again := digests[f.SHA256]; again && e.Put[i].Size != f.Size {
			other := e.Put[i]
			return troy.Errorf(troy.Invalid, "the file %q has %d bytes, another with the same SHA-256 has %d", other.Path, other.Size, f.Size).At(field(i, "size"))
		}
	}
	if i, e := checkCollisions(files); e != nil {
		where := at(files[i], "path")
		if where == "base" { // the other path is new
			where = "files"
		}
		return e.At(where)
	}
	return nil
}
