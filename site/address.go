package site

import (
	"iter"
	"net/url"
	"strings"

	"github.com/troy-iaas/troy"
)

// TrailingSlash says which one of a page's possible addresses is its own. The
// zero value is SlashAuto.
type TrailingSlash string

// The policies. With all of them the root's index.html is "/", and a file that
// is not a page has its path as its address.
const (
	// SlashAuto follows the files: docs/index.html is /docs/ and about.html is
	// /about, so relative links mean what they mean on the author's disk.
	SlashAuto TrailingSlash = "auto"
	// SlashAlways ends every page's address in a slash: about.html is /about/.
	SlashAlways TrailingSlash = "always"
	// SlashNever ends none in a slash: docs/index.html is /docs.
	SlashNever TrailingSlash = "never"
)

// ParseTrailingSlash reads a policy; "" is SlashAuto. Any other word is a
// *troy.Error of kind Invalid.
func ParseTrailingSlash(s string) (TrailingSlash, error) {
	switch policy := TrailingSlash(s); policy {
	case "":
		return SlashAuto, nil
	case SlashAuto, SlashAlways, SlashNever:
		return policy, nil
	}
	return "", troy.Errorf(troy.Invalid, "the trailing slash policy is %q; it must be auto, always or never", troy.Clip(s))
}

// Paths is the set of a tree's paths, carried assets left out.
type Paths interface {
	// Find returns the path that is stem followed by suffix, if the tree has
	// it. The two parts save the caller an allocation.
	Find(stem, suffix string) (path string, ok bool)
}

// PathSet is a set of paths in memory.
type PathSet map[string]struct{}

// NewPathSet returns the paths of files.
func NewPathSet(files []File) PathSet {
	set := make(PathSet, len(files))
	for _, f := range files {
		set[f.Path] = struct{}{}
	}
	return set
}

// Find implements Paths.
func (s PathSet) Find(stem, suffix string) (string, bool) {
	path := stem + suffix
	_, ok := s[path]
	return path, ok
}

// Private reports whether a file of a tree configures the host and is never
// served: _redirects and _headers in the tree's root.
func Private(path string) bool { return path == "_redirects" || path == "_headers" }

// Answer is what a request's path means in a tree.
type Answer struct {
	// Path is the file that answers, "" if none does.
	Path string
	// Redirect says that the client is to ask for Address instead, with the
	// query that it sent. The status is 301.
	Redirect bool
	// Alias says that the file answers although its own address is another
	// one: the response names that in a canonical link (RFC 6596).
	Alias bool
	slash slash
}

// slash is how an address is made of a page's path.
type slash uint8

const (
	asIs    slash = iota // the path itself
	without              // about.html is /about, docs/index.html is /docs
	with                 // about.html is /about/, docs/index.html is /docs/
)

// Address is the escaped path of the canonical address of the answer's file:
// what Location and Link carry. It comes from the tree alone, never from the
// request, so that it always begins with one slash and stays on the host.
func (a Answer) Address() string {
	return (&url.URL{Path: a.plainAddress()}).EscapedPath()
}

func (a Answer) plainAddress() string {
	stem, _, page := cutPage(a.Path)
	switch {
	case a.slash == asIs || !page:
		return "/" + a.Path
	case stem == "":
		return "/"
	case a.slash == with:
		return "/" + stem + "/"
	}
	return "/" + stem
}

// is reports whether address, decoded, is the answer's own.
func (a Answer) is(address string) bool {
	stem, _, page := cutPage(a.Path)
	name := address[1:]
	switch {
	case a.slash == asIs || !page:
		return name == a.Path
	case stem == "":
		return name == ""
	case a.slash == with:
		return len(name) == len(stem)+1 && name[len(stem)] == '/' && name[:len(stem)] == stem
	}
	return name == stem
}

// cutPage takes a page's path apart: "about" of about.html, "docs" of
// docs/index.html, "" of index.html. Other files are not pages, and neither is
// one that is called .html.
func cutPage(path string) (stem string, index, page bool) {
	base, html := strings.CutSuffix(path, ".html")
	switch {
	case !html || base == "" || strings.HasSuffix(base, "/"):
		return "", false, false
	case base == "index":
		return "", true, true
	}
	if stem, index = strings.CutSuffix(base, "/index"); index {
		return stem, true, true
	}
	return base, false, true
}

// own returns the answer that serves path, with the address that it has in
// the tree under the policy. Where two files would have one address, both keep
// those of SlashAuto.
func (s TrailingSlash) own(paths Paths, path string) Answer {
	a := Answer{Path: path}
	stem, index, page := cutPage(path)
	if !page || stem == "" {
		if page {
			a.slash = with
		}
		return a
	}
	sibling := ".html"
	if !index {
		sibling = "/index.html"
	}
	// docs/index.html is the index of docs, not a page that is called index.
	_, shared := paths.Find(stem, sibling)
	if !index {
		if s == SlashAlways && !shared {
			a.slash = with
			return a
		}
	} else if s != SlashNever || shared {
		a.slash = with
		return a
	}
	if _, taken := paths.Find(stem, ""); taken {
		if index {
			a.slash = with
		}
		return a
	}
	a.slash = without
	return a
}

// Resolve finds what answers a request. urlPath is decoded and begins with a
// slash. Whatever it says, only a path of the tree comes out, and following
// redirects ends after one. Resolve allocates nothing if paths.Find does not.
//
// A file answers to its own path. A page (a file whose name ends in .html)
// also answers to its canonical address, and the other spellings of that
// redirect to it. /about.html and /docs/index.html don't: generators write
// such links, and a redirect at each click would cost more than it mends.
func (s TrailingSlash) Resolve(paths Paths, urlPath string) Answer {
	name := urlPath[1:]
	if name == "" {
		if path, ok := paths.Find("index.html", ""); ok {
			return s.own(paths, path)
		}
		return Answer{}
	}
	if Private(name) {
		return Answer{}
	}
	if path, ok := paths.Find(name, ""); ok {
		a := s.own(paths, path)
		a.Alias = !a.is(urlPath)
		return a
	}
	base, folder := strings.CutSuffix(name, "/")
	if base == "" || strings.HasSuffix(base, "/") {
		return Answer{}
	}
	first, second := ".html", "/index.html"
	if folder {
		first, second = second, first
	}
	path, ok := paths.Find(base, first)
	if !ok {
		path, ok = paths.Find(base, second)
	}
	if !ok {
		return Answer{}
	}
	a := s.own(paths, path)
	a.Redirect = !a.is(urlPath)
	return a
}

// Addresses lists the paths that answer beside those of the files themselves:
// each page's canonical address and what redirects to it. It is for stores
// that have no logic of their own. Addresses are decoded, begin with a slash
// and come once.
func (s TrailingSlash) Addresses(paths Paths, files iter.Seq[string]) iter.Seq2[string, Answer] {
	return func(yield func(string, Answer) bool) {
		for path := range files {
			stem, index, page := cutPage(path)
			if !page {
				continue
			}
			var all []string
			if stem == "" {
				all = []string{"/", "/index", "/index/"}
			} else if all = []string{"/" + stem, "/" + stem + "/"}; index {
				all = append(all, "/"+stem+"/index", "/"+stem+"/index/")
			}
			for _, address := range all {
				// An address that two pages could have comes with its owner.
				if a := s.Resolve(paths, address); a.Path == path && address[1:] != path && !yield(address, a) {
					return
				}
			}
		}
	}
}
