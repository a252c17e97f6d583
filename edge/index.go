package edge

import (
	"strings"

	"github.com/troy-iaas/troy/site"
)

// index is a manifest made for look-ups. It never changes, so any number of
// requests may share it.
type index struct {
	files map[string]file
	// notFound maps a folder ("" is the root) to the 404.html in it.
	notFound map[string]string
	// deepest is the length of the longest folder in notFound.
	deepest int
}

// file is what is known of one path.
type file struct {
	digest site.Digest
	size   int64 // bytes
	// until is when a carried asset is over, in Unix seconds; 0 for a file
	// of the deployment itself.
	until int64
}

func newIndex(m site.Manifest) *index {
	x := &index{
		files:    make(map[string]file, len(m.Files)+len(m.Carried)),
		notFound: make(map[string]string),
	}
	for _, c := range m.Carried {
		// One that never ends would be a file of the deployment.
		x.files[c.Path] = file{digest: c.SHA256, size: c.Size, until: max(c.Until, 1)}
	}
	for _, f := range m.Files {
		x.files[f.Path] = file{digest: f.SHA256, size: f.Size}
		if folder, name := split(f.Path); name == "404.html" {
			x.notFound[folder] = f.Path
			x.deepest = max(x.deepest, len(folder))
		}
	}
	return x
}

// resolve finds the file that answers a URL's path, which is decoded and
// begins with a slash: the file of that very name, else the page whose clean
// URL it is. Whatever the path says, only a file of the manifest comes out.
// now is in Unix seconds.
func (x *index) resolve(urlPath string, now int64) (name string, f file, ok bool) {
	name = urlPath[1:]
	if f, ok = x.files[name]; ok {
		return name, f, f.until == 0 || now < f.until
	}
	if name == "" {
		return x.page("index.html")
	}
	base, folder := strings.CutSuffix(name, "/")
	if base == "" || strings.HasSuffix(base, "/") {
		return "", file{}, false
	}
	first, second := base+".html", base+"/index.html"
	if folder {
		first, second = second, first
	}
	if name, f, ok = x.page(first); ok {
		return name, f, true
	}
	return x.page(second)
}

// page looks up a file of the deployment itself; carried assets answer to
// their own paths alone.
func (x *index) page(name string) (string, file, bool) {
	f, ok := x.files[name]
	return name, f, ok && f.until == 0
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
