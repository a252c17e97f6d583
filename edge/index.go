package edge

import (
	"strings"

	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// index is a manifest in a form for lookups. It is immutable, so concurrent
// requests may share it.
type index struct {
	slash   site.TrailingSlash
	files   table
	carried *table // nil if there are none
	// notFound maps a folder ("" is the root) to its 404.html. It is nil if there
	// are none.
	notFound map[string]string
	// deepest is the length of the longest folder in notFound.
	deepest int
	// rules are the site's rules, or nil.
	rules *rules.Matcher
	// spill is the file that has the tables, or nil if they are in memory.
	spill *spill
}

// broken reports whether the index is unreliable because its file can't be
// read.
func (x *index) broken() bool { return x != nil && x.spill != nil && x.spill.failed.Load() }

// table is a sorted list of files in a few large allocations, so that a file
// costs little more than its path and its digest. A nil table is empty.
type table struct {
	paths string // concatenated
	ends  []uint32
	files []file
	until []int64 // of carried assets: the end of their time, in Unix seconds
	// spilled is set if the table is in a file; the other fields are empty
	// then.
	spilled *spilled
}

func (t *table) len() int {
	if t == nil {
		return 0
	}
	if t.spilled != nil {
		return t.spilled.length
	}
	return len(t.ends)
}

func (t *table) file(i int) file {
	if t.spilled != nil {
		_, _, f, _ := t.spilled.entry(i)
		return f
	}
	return t.files[i]
}

func (t *table) over(i int) int64 {
	if t.spilled != nil {
		_, _, _, until := t.spilled.entry(i)
		return until
	}
	return t.until[i]
}

// file is the entry of one path.
type file struct {
	digest site.Digest
	size   int64 // bytes
}

// makeTable returns a table of files, which are sorted by path.
func makeTable(files []site.File) table {
	length := 0
	for _, f := range files {
		length += len(f.Path)
	}
	var paths strings.Builder
	paths.Grow(length)
	t := table{ends: make([]uint32, len(files)), files: make([]file, len(files))}
	for i, f := range files {
		paths.WriteString(f.Path)
		t.ends[i], t.files[i] = uint32(paths.Len()), file{f.SHA256, f.Size}
	}
	t.paths = paths.String()
	return t
}

// makeCarried returns a table of carried assets.
func makeCarried(assets []site.Carried) *table {
	files, until := make([]site.File, len(assets)), make([]int64, len(assets))
	for i, c := range assets {
		files[i], until[i] = c.File, c.Until
	}
	t := makeTable(files)
	t.until = until
	return &t
}

// bytes returns the memory of the table in bytes.
func (t *table) bytes() int64 {
	if t == nil {
		return 0
	}
	const each = 4 + 32 + 8
	return int64(len(t.paths) + each*len(t.ends) + 8*len(t.until))
}

func (t *table) path(i int) string {
	if t.spilled != nil {
		return t.spilled.path(i)
	}
	start := uint32(0)
	if i > 0 {
		start = t.ends[i-1]
	}
	return t.paths[start:t.ends[i]]
}

// find returns the index of the path stem+suffix, or -1.
func (t *table) find(stem, suffix string) int {
	low, high := 0, t.len()
	for low < high {
		middle := int(uint(low+high) >> 1)
		switch order := compareJoined(t.path(middle), stem, suffix); {
		case order == 0:
			return middle
		case order < 0:
			low = middle + 1
		default:
			high = middle
		}
	}
	return -1
}

// compareJoined compares path with stem+suffix.
func compareJoined(path, stem, suffix string) int {
	if len(path) <= len(stem) {
		if order := strings.Compare(path, stem); order != 0 || suffix == "" {
			return order
		}
		return -1
	}
	if order := strings.Compare(path[:len(stem)], stem); order != 0 {
		return order
	}
	return strings.Compare(path[len(stem):], suffix)
}

// newIndex returns an index of a manifest that is sorted, as DecodeManifest
// returns it. It returns an error if the manifest's rules are not valid.
func newIndex(m site.Manifest) (*index, error) {
	x := &index{slash: m.TrailingSlash}
	for _, f := range m.Files {
		if folder, name := split(f.Path); name == "404.html" {
			if x.notFound == nil {
				x.notFound = make(map[string]string)
			}
			x.notFound[strings.Clone(folder)] = strings.Clone(f.Path)
			x.deepest = max(x.deepest, len(folder))
		}
	}
	x.files = makeTable(m.Files)
	if len(m.Carried) > 0 {
		x.carried = makeCarried(m.Carried)
	}
	if m.Rules == nil {
		return x, nil
	}
	compiled, err := rules.Decode(m.Rules)
	if err == nil {
		x.rules, err = rules.New(compiled)
	}
	return x, err
}

// bytes returns the approximate memory of the index in bytes.
func (x *index) bytes() int64 {
	total := x.files.bytes() + x.carried.bytes()
	for folder, page := range x.notFound {
		total += int64(len(folder)+len(page)) + 64
	}
	if x.rules != nil {
		total += x.rules.Bytes()
	}
	return total
}

// file returns the entry of one of the deployment's own files.
func (x *index) file(path string) file {
	i := x.files.find(path, "")
	if i < 0 {
		return file{}
	}
	return x.files.file(i)
}

// owns reports whether a path is one of the deployment's own files, not a
// carried asset, whose time ends.
func (x *index) owns(path string) bool {
	return x.carried.len() == 0 || x.files.find(path, "") >= 0
}

// Find implements site.Paths. It excludes carried assets, which are not pages,
// and files that configure the host, which are not served.
func (x *index) Find(stem, suffix string) (string, bool) {
	i := x.files.find(stem, suffix)
	if i < 0 {
		return "", false
	}
	path := x.files.path(i)
	return path, !site.Private(path)
}

// served returns the entry of a file that resolve or missing returned.
func (x *index) served(path string) file {
	if i := x.files.find(path, ""); i >= 0 {
		return x.files.file(i)
	}
	if i := x.carried.find(path, ""); i >= 0 {
		return x.carried.file(i)
	}
	return file{}
}

// resolve returns the answer to a URL path, which is decoded and begins with a
// slash: the deployment's file, or a carried asset with exactly this path. now
// is in Unix seconds.
func (x *index) resolve(urlPath string, now int64) (site.Answer, file) {
	if a := x.slash.Resolve(x, urlPath); a.Path != "" {
		return a, x.file(a.Path)
	}
	if i := x.carried.find(urlPath[1:], ""); i >= 0 && now < x.carried.over(i) {
		return site.Answer{Path: x.carried.path(i)}, x.carried.file(i)
	}
	return site.Answer{}, file{}
}

// missing returns the 404.html nearest to a URL path: in its folder or in the
// nearest parent that has one.
func (x *index) missing(urlPath string) (name string, f file, ok bool) {
	if len(x.notFound) == 0 {
		return "", file{}, false
	}
	for folder, _ := split(urlPath[1:]); ; folder, _ = split(folder) {
		// Skip longer folders, which have no 404.html. Hashing every folder of
		// a path that consists of slashes would take quadratic time.
		if len(folder) <= x.deepest {
			if name, ok := x.notFound[folder]; ok {
				return name, x.file(name), true
			}
		}
		if folder == "" {
			return "", file{}, false
		}
	}
}

// split splits a path at its last slash.
func split(p string) (folder, name string) {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i], p[i+1:]
	}
	return "", p
}
