package site

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/troy-iaas/troy"
)

func pathSet(paths ...string) PathSet { return NewPathSet(files(paths...)) }

// addressTree has every kind of page that Resolve distinguishes.
var addressTree = []string{
	"index.html", "about.html", "docs/index.html", "docs/next.html", "docs/style.css", "main.css", "404.html",
	"both.html", "both/index.html", "taken", "taken.html", "a b/ü+%.html", "index/index.html", "deep/index/index.html",
	".html", "docs/.html", "_redirects", "_headers", "docs/_redirects",
}

func TestResolve(t *testing.T) {
	t.Parallel()
	paths := pathSet(addressTree...)
	for _, c := range []struct{ path, auto, always, never string }{
		// A file; > means a redirect; a file, a space and an address mean a
		// canonical link.
		{"/", "index.html", "index.html", "index.html"},
		{"/index.html", "index.html /", "index.html /", "index.html /"},
		{"/index", ">/", ">/", ">/"},
		{"/about", "about.html", ">/about/", "about.html"},
		{"/about/", ">/about", "about.html", ">/about"},
		{"/about.html", "about.html /about", "about.html /about/", "about.html /about"},
		{"/docs", ">/docs/", ">/docs/", "docs/index.html"},
		{"/docs/", "docs/index.html", "docs/index.html", ">/docs"},
		{"/docs/index.html", "docs/index.html /docs/", "docs/index.html /docs/", "docs/index.html /docs"},
		{"/docs/index", ">/docs/", ">/docs/", ">/docs"},
		{"/docs/index/", ">/docs/", ">/docs/", ">/docs"},
		{"/docs/next", "docs/next.html", ">/docs/next/", "docs/next.html"},
		{"/docs/style.css", "docs/style.css", "docs/style.css", "docs/style.css"},
		{"/docs/style.css/", "", "", ""},
		{"/both", "both.html", "both.html", "both.html"},
		{"/both/", "both/index.html", "both/index.html", "both/index.html"},
		{"/both.html", "both.html /both", "both.html /both", "both.html /both"},
		{"/taken", "taken", "taken", "taken"},
		{"/taken/", ">/taken.html", "taken.html", ">/taken.html"},
		{"/taken.html", "taken.html", "taken.html /taken/", "taken.html"},
		{"/a b/ü+%", "a b/ü+%.html", ">/a%20b/%C3%BC+%25/", "a b/ü+%.html"},
		{"/a b/ü+%/", ">/a%20b/%C3%BC+%25", "a b/ü+%.html", ">/a%20b/%C3%BC+%25"},
		{"/index/", "index/index.html", "index/index.html", "index/index.html"},
		{"/deep/index", ">/deep/index/", ">/deep/index/", "deep/index/index.html"},
		{"/.html", ".html", ".html", ".html"},
		{"/docs/.html", "docs/.html", "docs/.html", "docs/.html"},
		{"/404", "404.html", ">/404/", "404.html"},
		{"/_redirects", "", "", ""},
		{"/_headers", "", "", ""},
		{"/docs/_redirects", "docs/_redirects", "docs/_redirects", "docs/_redirects"},
		{"//", "", "", ""},
		{"//about", "", "", ""},
		{"/docs//", "", "", ""},
		{`/\about`, "", "", ""},
		{"/%61bout", "", "", ""},
		{"/About", "", "", ""},
		{"/missing", "", "", ""},
		{"/missing/", "", "", ""},
	} {
		for policy, want := range map[TrailingSlash]string{"": c.auto, SlashAuto: c.auto, SlashAlways: c.always, SlashNever: c.never} {
			a := policy.Resolve(paths, c.path)
			got := a.Path
			if a.Redirect {
				got = ">" + a.Address()
			} else if a.Alias {
				got += " " + a.Address()
			}
			if got != want {
				t.Errorf("%s under %q: %q, want %q", c.path, policy, got, want)
			}
		}
	}
}

// TestAddresses checks for any tree that each page has one address that answers
// 200, that every redirect leads there directly, and that Addresses agrees with
// Resolve.
func TestAddresses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		segment := rapid.SampledFrom([]string{"a", "b", "index", "index.html", "a.html", "a.html.html", "b.css", "é ?", "..html", "%2f"})
		paths := pathSet(rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(segment, 1, 3).Draw(t, "segments"), "/")
		}), 1, 8, rapid.ID).Draw(t, "paths")...)
		policy := rapid.SampledFrom([]TrailingSlash{SlashAuto, SlashAlways, SlashNever}).Draw(t, "policy")
		listed := maps.Collect(policy.Addresses(paths, maps.Keys(paths)))
		for path := range paths {
			own := policy.Resolve(paths, "/"+path)
			if own.Path != path || own.Redirect {
				t.Fatalf("/%s answers %+v", path, own)
			}
			if again := follow(t, policy, paths, own); again.Path != path {
				t.Fatalf("the address of %q is %s, where %+v answers", path, own.Address(), again)
			}
		}
		for _, try := range everyAddress(paths) {
			a := policy.Resolve(paths, try)
			entry, found := listed[try]
			if _, file := paths[try[1:]]; a.Path == "" || file {
				if found {
					t.Fatalf("%q is listed as %+v", try, entry)
				}
				continue
			}
			if !found || entry != a {
				t.Fatalf("%q is listed as %+v (%v), want %+v", try, entry, found, a)
			}
			if a.Redirect && follow(t, policy, paths, a).Path != a.Path {
				t.Fatalf("%q leads to %s, the address of another file", try, a.Address())
			}
		}
		for address := range listed {
			if !slices.Contains(everyAddress(paths), address) {
				t.Fatalf("%q is listed", address)
			}
		}
	})
}

// follow resolves an answer's address, which has to be a path on the same host
// that does not redirect.
func follow(t *rapid.T, policy TrailingSlash, paths PathSet, a Answer) Answer {
	address := a.Address()
	u, err := url.Parse(address)
	if err != nil || u.Host != "" || u.Scheme != "" || u.RawQuery != "" || strings.HasPrefix(address, "//") || strings.ContainsAny(address, "\\ \n\"<>") {
		t.Fatalf("the address %q is not a plain path: %v", address, err)
	}
	again := policy.Resolve(paths, u.Path)
	if again.Redirect || again.Alias {
		t.Fatalf("%s answers %+v", address, again)
	}
	return again
}

func everyAddress(paths PathSet) []string {
	out := []string{"/", "/index", "/index/"}
	for path := range paths {
		stem := "/" + path
		out = append(out, stem, stem+"/")
		for _, suffix := range []string{".html", "/index.html", "/index"} {
			if cut, ok := strings.CutSuffix(stem, suffix); ok && cut != "" {
				out = append(out, cut, cut+"/", cut+"/index", cut+"/index/")
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestParseTrailingSlash(t *testing.T) {
	t.Parallel()
	if got, err := ParseTrailingSlash(""); err != nil || got != SlashAuto {
		t.Errorf("no policy: %q, %v", got, err)
	}
	for _, s := range []string{"Auto", "yes", "always\n"} {
		if _, err := ParseTrailingSlash(s); troy.KindOf(err) != troy.Invalid {
			t.Errorf("ParseTrailingSlash(%q): %v, want Invalid", s, err)
		}
	}
}

func FuzzResolveAddress(f *testing.F) {
	paths := pathSet(addressTree...)
	for _, p := range addressTree {
		f.Add(p)
	}
	f.Add(`\\evil.com/`)
	f.Add("/evil.com/..")
	f.Fuzz(func(t *testing.T, p string) {
		for _, policy := range []TrailingSlash{SlashAuto, SlashAlways, SlashNever} {
			a := policy.Resolve(paths, "/"+p)
			if _, ok := paths[a.Path]; a.Path != "" && !ok {
				t.Fatalf("%q resolves to %q, which is not a file", p, a.Path)
			}
			if !a.Redirect {
				continue
			}
			u, err := url.Parse(a.Address())
			if err != nil || u.Host != "" || policy.Resolve(paths, u.Path).Redirect {
				t.Fatalf("%q leads to %q", p, a.Address())
			}
		}
	})
}
