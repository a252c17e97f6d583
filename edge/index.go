package edge

import (
	"strings"

	"github.com/troy-iaas/troy/site"
)

// index is a manifest made for look-ups. It never changes, so any number of
// requests may share it.
type index struct {
	slash site.TrailingSlash
	files map[string]file
	// notFound maps a folder ("" is the root) to the 404.html in it.
	notFound map[string]string
	// deepest is the length of the longest folder in notFound.
	deepest int
}

// file is what is known of one path.
type file struct {
	path   string
	digest site.Digest
	size   int64 // bytes
	// until is when a carried asset is over, in Unix seconds; 0 for a file
	// of the deployment itself.
	until int64
}

func newIndex(m site.Manifest) *index {
	x := &index{
		slash:    m.TrailingSlash,
		files:    make(map[string]file, len(m.Files)+len(m.Carried)),
		notFound: make(map[string]string),
	}
	for _, c := range m.Carried {
		// One that never ends would be a file of the deployment.
		x.files[c.Path] = file{path: c.Path, digest: c.SHA256, size: c.Size, until: max(c.Until, 1)}
	}
	for _, f := range m.Files {
		if site.Private(f.Path) {
			continue
		}
		x.files[f.Path] = file{path: f.Path, digest: f.SHA256, size: f.Size}
		if folder, name := split(f.Path); name == "404.html" {
			x.notFound[folder] = f.Path
			x.deepest = max(x.deepest, len(folder))
		}
	}
	return x
}

// Find implements site.Paths: carried assets are no pages.
func (x *index) Find(stem, suffix string) (string, bool) {
	f, ok := x.files[stem]
	if suffix != "" {
		f, ok = x.joined(stem, suffix)
	}
	return f.path, ok && f.until == 0
}

// joined looks up a path that is put together on the stack.
func (x *index) joined(stem, suffix string) (file, bool) {
	var path [site.MaxPath]byte
	if len(stem)+len(suffix) > len(path) {
		return file{}, false
	}
	n := copy(path[:], stem)
	n += copy(path[n:], suffix)
	f, ok := x.files[string(path[:n])]
	return f, ok
}

// resolve finds what answers a URL's path, which is decoded and begins with a
// slash: what the deployment says of it, else a carried asset of that very
// path. now is in Unix seconds.
func (x *index) resolve(urlPath string, now int64) (site.Answer, file) {
	if a := x.slash.Resolve(x, urlPath); a.Path != "" {
		return a, x.files[a.Path]
	}
	if f := x.files[urlPath[1:]]; now < f.until {
		return site.Answer{Path: f.path}, f
	}
	return site.Answer{}, file{}
}

// missing finds the 404.html nearest to a URL's path: in its folder, or in
// the first of the folders above that has one.
func (x *index) missing(urlPath string) (name string, f file, ok bool) {
	if len(x.notFound) == 0 {
		return "", file{}, false
	}
	for folder, _ := split(urlPath[1:]); ; folder, _ = split(folder) {
		// A longer one cannot be there; hashing each folder of a path that is
		// nothing but slashes would take quadratic time.
		if len(folder) <= x.deepest {
			if name, ok := x.notFound[folder]; ok {
				return name, x.files[name], true
			}
		}
		if folder == "" {
			return "", file{}, false
		}
	}
}

// split cuts a path at its last slash.
func split(p string) (folder, name string) {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i], p[i+1:]
	}
	return "", p
}
