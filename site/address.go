package site

import (
	"iter"
	"net/url"
	"strings"

	"github.com/troy-iaas/troy"
)

// TrailingSlash is the policy that selects a page's canonical address. The zero
// value is SlashAuto.
type TrailingSlash string

// The policies. Under each of them the root's index.html is "/", and a file
// that is not a page has its path as its address.
const (
	// SlashAuto follows the files: docs/index.html is /docs/ and about.html is
	// /about, so relative links work as they do on the author's disk.
	SlashAuto TrailingSlash = "auto"
	// SlashAlways ends every page address with a slash: about.html is /about/.
	SlashAlways TrailingSlash = "always"
	// SlashNever ends no page address with a slash: docs/index.html is /docs.
	SlashNever TrailingSlash = "never"
)

// ParseTrailingSlash parses a policy. "" means SlashAuto. It returns an Invalid
// error for any other word.
func ParseTrailingSlash(s string) (TrailingSlash, error) {
	switch policy := TrailingSlash(s); policy {
	case "":
		return SlashAuto, nil
	case SlashAuto, SlashAlways, SlashNever:
		return policy, nil
	}
	return "", troy.Errorf(troy.Invalid, "the trailing slash policy is %q; expected auto, always or never", troy.Clip(s))
}

// Paths is the set of a tree's paths, without carried assets.
type Paths interface {
	// Find returns the path stem+suffix if the tree has it. Passing two parts
	// saves the caller an allocation.
	Find(stem, suffix string) (path string, ok bool)
}

// PathSet is a set of paths in memory.
type PathSet map[string]struct{}

// NewPathSet returns the set of the files' paths.
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

// Private reports whether a file configures the host and is never served:
// _redirects and _headers in the tree's root.
func Private(path string) bool { return path == "_redirects" || path == "_headers" }

// Answer is the result of resolving a request's path in a tree.
type Answer struct {
	// Path is the file that answers, or "" if there is none.
	Path string
	// Redirect means that the response is a 301 to Address with the request's
	// query.
	Redirect bool
	// Alias means that the file has another canonical address. The response
	// names it in a canonical link (RFC 6596).
	Alias bool
	slash slash
}

// slash is the form of an address made from a page's path.
type slash uint8

const (
	asIs    slash = iota // the path itself
	without              // about.html is /about, docs/index.html is /docs
	with                 // about.html is /about/, docs/index.html is /docs/
)

// Address returns the escaped path of the canonical address of the answer's
// file, for Location and Link. It depends only on the tree, never on the
// request, so it always begins with one slash and stays on the host.
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

// is reports whether the decoded address is the answer's own.
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

// cutPage splits a page's path: it returns "about" for about.html, "docs" for
// docs/index.html, and "" for index.html. Other files are not pages, nor is a
// file called .html.
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

// own returns the answer that serves path, with its canonical address under the
// policy. If two files would share an address, both keep their addresses of
// SlashAuto.
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
	// docs/index.html is the index of docs, not a page called index.
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

// Resolve returns the answer to a request. urlPath is decoded and begins with a
// slash. The answer's path is always in the tree, and a redirect leads to an
// address that does not redirect again. Resolve does not allocate unless
// paths.Find does.
//
// A file answers to its own path. A page (a file whose name ends in .html) also
// answers to its canonical address, and other spellings of that address
// redirect to it. /about.html and /docs/index.html don't redirect: generators
// write such links, and a redirect for each click would cost more than it
// gains.
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

// Addresses returns the paths that answer in addition to the files' own: each
// page's canonical address and the spellings that redirect to it. It is for
// stores without logic of their own. Addresses are decoded, begin with a slash
// and appear once.
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
				// An address that two pages could have appears with its owner.
				if a := s.Resolve(paths, address); a.Path == path && address[1:] != path && !yield(address, a) {
					return
				}
			}
		}
	}
}
