package site

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/troy-iaas/troy"
)

// MaxPath is the maximum length of a file's path in bytes. It is S3's limit for
// a key (docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
const MaxPath = 1024

// Limits bounds a site. A field that is zero or negative has its default.
type Limits struct {
	Files      int   // number of files
	FileBytes  int64 // bytes of one file
	TotalBytes int64 // bytes of all files
	// ZipRatio is the maximum ratio of the size of a zip's files to the size of
	// the zip. Deflate reaches at most 1032; whole sites stay below 20.
	ZipRatio int
	Entries  int // entries of a folder or a zip, including folders
}

// DefaultLimits returns 100,000 files of 1 GiB each and 10 GiB together,
// 200,000 entries and, for a zip, a ratio of 200.
func DefaultLimits() Limits {
	return Limits{Files: 100_000, FileBytes: 1 << 30, TotalBytes: 10 << 30, ZipRatio: 200, Entries: 200_000}
}

// orDefault returns l with defaults for the unset fields.
func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	if l.Files <= 0 {
		l.Files = d.Files
	}
	if l.FileBytes <= 0 {
		l.FileBytes = d.FileBytes
	}
	if l.TotalBytes <= 0 {
		l.TotalBytes = d.TotalBytes
	}
	if l.ZipRatio <= 0 {
		l.ZipRatio = d.ZipRatio
	}
	if l.Entries <= 0 {
		l.Entries = d.Entries
	}
	return l
}

// CheckPath returns an Invalid error that quotes p if p is not a valid path of
// a site's file. A valid path is relative, slash-separated, clean and valid
// UTF-8, has no control characters and at most MaxPath bytes.
func CheckPath(p string) error {
	if e := pathError(p); e != nil {
		return e
	}
	return nil
}

func pathError(p string) *troy.Error {
	if plain(p) {
		return nil
	}
	switch {
	case p == "":
		return troy.Errorf(troy.Invalid, "the path is empty")
	case len(p) > MaxPath:
		return troy.Errorf(troy.Invalid, "the path %q… has %d bytes; expected at most %d", p[:64], len(p), MaxPath)
	case !utf8.ValidString(p):
		return troy.Errorf(troy.Invalid, "the path %q is not valid UTF-8; rename it, such as to %q", p, inUTF8(p))
	case p[0] == '/':
		return troy.Errorf(troy.Invalid, "the path %q is absolute; expected a path relative to the site's root", p)
	case strings.ContainsRune(p, '\\'):
		return troy.Errorf(troy.Invalid, "the path %q contains a backslash; expected / between folders", p)
	case strings.ContainsFunc(p, unicode.IsControl):
		return troy.Errorf(troy.Invalid, "the path %q contains a control character; rename it", p)
	}
	for segment := range strings.SplitSeq(p, "/") {
		switch segment {
		case "":
			return troy.Errorf(troy.Invalid, "the path %q has an empty segment", p)
		case ".", "..":
			return troy.Errorf(troy.Invalid, "the path %q contains the segment %q", p, segment)
		}
	}
	return nil
}

// inUTF8 returns a path with each invalid byte read as Latin-1.
func inUTF8(p string) string {
	var b strings.Builder
	for i, r := range p {
		if _, size := utf8.DecodeRuneInString(p[i:]); r == utf8.RuneError && size == 1 {
			if r = rune(p[i]); unicode.IsControl(r) {
				r = '_'
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}

// plain reports whether p consists of printable ASCII and no segment is empty
// or begins with a dot. It accepts most paths quickly; a path that it does not
// accept may still be valid.
func plain(p string) bool {
	if len(p) > MaxPath {
		return false
	}
	last := byte('/')
	for i := range len(p) {
		c := p[i]
		if c < ' ' || c > '~' || c == '\\' || last == '/' && (c == '/' || c == '.') {
			return false
		}
		last = c
	}
	return last != '/'
}

// CheckFiles returns an error if files is not a valid site: a bad path, a path
// that appears twice, a path that is both a file and a folder (which some
// stores can't hold), one digest with two sizes, or anything over a limit.
// Paths that differ only in case are different.
// The error is a *troy.Error of kind TooLarge for a limit and Invalid
// otherwise. Its Field is the position in the list ("files[3].path").
func CheckFiles(files []File, limits Limits) error {
	if _, e := checkFiles(files, limits, true); e != nil {
		return e
	}
	return nil
}

// checkFiles returns the error and the index of the invalid file, or -1. Files
// that are not hashed yet have no digests to check.
func checkFiles(files []File, limits Limits, hashed bool) (int, *troy.Error) {
	limits = limits.orDefault()
	if len(files) == 0 {
		return -1, troy.Errorf(troy.Invalid, "the site has no files").At("files")
	}
	if len(files) > limits.Files {
		return -1, troy.Errorf(troy.TooLarge, "the site has %d files; expected at most %d", len(files), limits.Files).At("files")
	}
	var total int64
	sizes := map[Digest]int64{}
	if hashed {
		sizes = make(map[Digest]int64, len(files))
	}
	for i, f := range files {
		if e := pathError(f.Path); e != nil {
			return i, e.At(field(i, "path"))
		}
		if e := sizeError(f, total, limits); e != nil {
			return i, e.At(field(i, "size"))
		}
		total += f.Size
		if !hashed {
			continue
		}
		if known, again := sizes[f.SHA256]; again && known != f.Size {
			return i, troy.Errorf(troy.Invalid, "the file %q has %d bytes, another with the same SHA-256 has %d", f.Path, f.Size, known).At(field(i, "size"))
		}
		sizes[f.SHA256] = f.Size
	}
	return checkCollisions(files)
}

// sizeError returns an error if a file is too large, alone or with those before
// it.
func sizeError(f File, before int64, limits Limits) *troy.Error {
	switch {
	case f.Size < 0:
		return troy.Errorf(troy.Invalid, "the size of %q is %d; expected 0 or more", f.Path, f.Size)
	case f.Size > limits.FileBytes:
		return troy.Errorf(troy.TooLarge, "the file %q has %d bytes; expected at most %d", f.Path, f.Size, limits.FileBytes)
	case f.Size > limits.TotalBytes-before:
		return troy.Errorf(troy.TooLarge, "the site exceeds the limit of %d bytes with the file %q", limits.TotalBytes, f.Path)
	}
	return nil
}

// Checked checks the files of m as CheckFiles does, and returns m as Fixed. It does
// not check again what it returned.
func (m Manifest) Checked(limits Limits) (Manifest, error) {
	limits = limits.orDefault()
	if m.known() {
		if done := m.list.checked.Load(); done != nil && done.Files <= limits.Files && done.FileBytes <= limits.FileBytes && done.TotalBytes <= limits.TotalBytes {
			return m, nil
		}
	}
	if err := CheckFiles(m.Files, limits); err != nil {
		return Manifest{}, err
	}
	m = m.Fixed()
	m.list.checked.Store(&limits)
	return m, nil
}

// checkCollisions looks for paths that appear twice, and for files that are
// folders in another path.
func checkCollisions(files []File) (int, *troy.Error) {
	// In the order of the paths' bytes, what begins with a path follows it. above
	// has the paths with which the last one begins, itself included.
	var above []string
	for i, f := range files {
		for len(above) > 0 && !strings.HasPrefix(f.Path, above[len(above)-1]) {
			above = above[:len(above)-1]
		}
		for _, first := range above {
			if len(first) == len(f.Path) || f.Path[len(first)] == '/' {
				return i, collision(first, f.Path, i)
			}
		}
		if i > 0 && f.Path < files[i-1].Path {
			return checkUnsorted(files)
		}
		above = append(above, f.Path)
	}
	return -1, nil
}

// checkUnsorted sorts the paths with / before every other byte, so the content
// of a folder directly follows a file with the folder's name, and comparing
// neighbours is enough.
func checkUnsorted(files []File) (int, *troy.Error) {
	order := sortedBy(files, func(f File) string { return f.Path })
	for i := 1; i < len(order); i++ {
		index := order[i].index
		if e := collision(order[i-1].path, order[i].path, index); e != nil {
			return index, e
		}
	}
	return -1, nil
}

// collision returns an error if two paths can't both be files. second is that of
// the file with this index.
func collision(first, second string, index int) *troy.Error {
	switch {
	case first == second:
		return troy.Errorf(troy.Invalid, "the path %q appears twice", second).At(field(index, "path"))
	case strings.HasPrefix(second, first) && second[len(first)] == '/':
		return troy.Errorf(troy.Invalid, "the path %q is a file, and a folder in %q; rename one of the two", first, second).At(field(index, "path"))
	}
	return nil
}

// CaseTwins returns pairs of paths that differ only in case, each path with the
// next one. They are different files of the site, but a disk that ignores case
// can hold only one of them.
func CaseTwins(files []File) [][2]string {
	// Of two twins, one has a letter that is not a small one of ASCII.
	folded := map[string]bool{}
	for _, f := range files {
		if strings.ContainsFunc(f.Path, func(r rune) bool { return 'A' <= r && r <= 'Z' || r >= utf8.RuneSelf }) {
			folded[fold(f.Path)] = true
		}
	}
	if len(folded) == 0 {
		return nil
	}
	some := make([]File, 0, 2*len(folded))
	for _, f := range files {
		if folded[fold(f.Path)] {
			some = append(some, f)
		}
	}
	var twins [][2]string
	order := sortedBy(some, func(f File) string { return fold(f.Path) })
	for i := 1; i < len(order); i++ {
		if a, b := order[i-1], order[i]; a.path == b.path {
			twins = append(twins, [2]string{some[a.index].Path, some[b.index].Path})
		}
	}
	return twins
}

type placed struct {
	path  string
	index int // in the list of files
}

func sortedBy(files []File, path func(File) string) []placed {
	order := make([]placed, len(files))
	for i, f := range files {
		order[i] = placed{path(f), i}
	}
	slices.SortFunc(order, func(a, b placed) int { return cmp.Or(comparePaths(a.path, b.path), a.index-b.index) })
	return order
}

func comparePaths(a, b string) int {
	const step = 32
	n, i := min(len(a), len(b)), 0
	for i+step <= n && a[i:i+step] == b[i:i+step] {
		i += step // neighbours mostly share their folders
	}
	for ; i < n; i++ {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' {
			return -1
		}
		if b[i] == '/' {
			return 1
		}
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}

// fold maps paths that differ only in case to the same string, by Unicode's
// simple case folding. It returns a path of small letters of ASCII as it is.
func fold(p string) string {
	return strings.Map(func(r rune) rune {
		least := r
		if r >= utf8.RuneSelf {
			for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
				least = min(least, next)
			}
		}
		// The smallest rune in the orbit of an ASCII letter is its capital.
		if 'A' <= least && least <= 'Z' {
			least += 'a' - 'A'
		}
		return least
	}, p)
}

func field(i int, name string) string { return fmt.Sprintf("files[%d].%s", i, name) }
