package watch_test

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/watch"
)

func TestConcerns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		patterns []string
		root     string
		changed  []string
		want     bool
	}{
		{"no patterns, no root", nil, "", []string{"a"}, true},
		{"no patterns, no root, no file", nil, "", nil, true},
		{"a root that is all", nil, "./", nil, true},
		{"blank patterns are none", []string{" ", "/"}, "", []string{"a"}, true},

		{"in the root", nil, "site", []string{"x", "site/index.html"}, true},
		{"beside the root", nil, "site", []string{"sites/index.html", "asite/a", "a/site/b"}, false},
		{"the root with slashes", nil, "/site/", []string{"site/a"}, true},
		{"a root that is a link or a submodule", nil, "site", []string{"site"}, true},
		{"a root is not a pattern", nil, "*", []string{"a/b"}, false},
		{"a root named like a pattern", nil, "*", []string{"*/b"}, true},
		{"an empty push and a root", nil, "site", nil, false},

		{"a file", []string{"package.json"}, "", []string{"package.json"}, true},
		{"a file elsewhere", []string{"package.json"}, "", []string{"a/package.json", "package.jsonx", "package-json"}, false},
		{"a folder", []string{"docs"}, "", []string{"docs/a/b.md"}, true},
		{"a folder with a slash", []string{"docs/"}, "", []string{"docs/a/b.md"}, true},
		{"from the top", []string{"/docs"}, "", []string{"docs/a"}, true},
		{"from here", []string{"./docs"}, "", []string{"docs/a"}, true},
		{"another folder", []string{"docs"}, "", []string{"docs2/a", "a/docs/b"}, false},
		{"patterns instead of the root", []string{"docs"}, "site", []string{"site/a"}, false},
		{"patterns are not under the root", []string{"docs"}, "site", []string{"docs/a"}, true},

		{"a star in a name", []string{"*.md"}, "", []string{"README.md"}, true},
		{"a star stops at a slash", []string{"*.md"}, "", []string{"docs/README.md"}, false},
		{"a star for a folder", []string{"packages/*"}, "", []string{"packages/a/b/c"}, true},
		{"a star in the middle", []string{"packages/*/src"}, "", []string{"packages/a/src/b"}, true},
		{"a star for one folder", []string{"packages/*/src"}, "", []string{"packages/a/b/src/c"}, false},
		{"a question mark", []string{"v?"}, "", []string{"v1/a"}, true},
		{"a question mark for one character", []string{"v?"}, "", []string{"v10/a", "v/a"}, false},
		{"a question mark for a character of several bytes", []string{"v?"}, "", []string{"vä"}, true},
		{"two stars at the top", []string{"**/*.md"}, "", []string{"README.md"}, true},
		{"two stars deep down", []string{"**/*.md"}, "", []string{"a/b/c.md"}, true},
		{"two stars and another ending", []string{"**/*.md"}, "", []string{"a/b/c.mdx"}, false},
		{"two stars inside a name", []string{"docs/**.md"}, "", []string{"docs/a/b.md"}, true},
		{"two stars after a name", []string{"a**/b"}, "", []string{"ab"}, false},
		{"two stars after a name, deep", []string{"a**/b"}, "", []string{"axy/z/b"}, true},
		{"two stars at the end", []string{"docs/**"}, "", []string{"docs/a/b"}, true},
		{"two stars between", []string{"a/**/z"}, "", []string{"a/z"}, true},
		{"everything", []string{"**"}, "site", []string{"a/b"}, true},
		{"a line end in a name", []string{"**/z"}, "", []string{"a\nb/z"}, true},
		{"brackets stand for themselves", []string{"app/[id]"}, "", []string{"app/[id]/page.tsx"}, true},
		{"brackets are not a class", []string{"app/[id]"}, "", []string{"app/i/page.tsx"}, false},
		{"a dot is a dot", []string{"a.b"}, "", []string{"axb"}, false},
		{"letters keep their case", []string{"docs"}, "", []string{"Docs/a"}, false},

		{"all but the documentation", []string{"**", "!docs", "!**/*.md"}, "", []string{"docs/a", "README.md", "a/b.md"}, false},
		{"all but the documentation, and more", []string{"**", "!docs"}, "", []string{"docs/a", "index.html"}, true},
		{"the last one decides", []string{"docs", "!docs/old", "docs/old/new"}, "", []string{"docs/old/new/a"}, true},
		{"the order counts", []string{"!docs/old", "docs"}, "", []string{"docs/old/a"}, true},
		{"taken away from everything", []string{"!docs"}, "", []string{"docs/a"}, false},
		{"not taken away from everything", []string{"!docs"}, "", []string{"src/a"}, true},
		{"taken away from the root", []string{"!site/docs"}, "site", []string{"site/docs/a", "b"}, false},
		{"not taken away from the root", []string{"!site/docs"}, "site", []string{"site/a"}, true},
		{"an exclamation mark of a name", []string{"!!a"}, "", []string{"!a"}, false},
		{"a pattern that is not UTF-8", []string{"a\xff"}, "\xff", []string{"b"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := watch.Concerns(c.patterns, c.root, c.changed, true); got != c.want {
				t.Errorf("Watched(%q, %q, %q) = %v, want %v", c.patterns, c.root, c.changed, got, c.want)
			}
			if !watch.Concerns(c.patterns, c.root, c.changed, false) {
				t.Errorf("Watched(%q, %q, %q) is false for a list that may lack files", c.patterns, c.root, c.changed)
			}
		})
	}
}

// TestConcernsCost matches patterns that would take minutes and match nothing.
// Concerns stops early and returns true.
func TestConcernsCost(t *testing.T) {
	t.Parallel()
	changed := make([]string, 10_000)
	for i := range changed {
		changed[i] = strings.Repeat("a", 95)
	}
	hard := make([]string, watch.MaxPaths)
	for i := range hard {
		hard[i] = strings.Repeat("**a", 84) + "x"
	}
	if err := watch.Check(hard); err != nil {
		t.Fatal(err)
	}
	if !watch.Concerns(hard, "", changed, true) {
		t.Error("Concerns is false for a push that is too costly to match")
	}
	usual := []string{"packages/*/src/**", "package.json", "**/*.md", "!docs", "apps/web"}
	if watch.Concerns(usual, "", changed[:5000], true) {
		t.Error("a large push and a few patterns exceed the cost limit")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	many := make([]string, watch.MaxPaths+1)
	for i := range many {
		many[i] = "a"
	}
	for _, c := range []struct {
		name     string
		patterns []string
		want     string
	}{
		{"none", nil, ""},
		{"the most", many[1:], ""},
		{"too many", many, "51 watch paths; expected at most 50"},
		{"usual ones", []string{"docs/", "/src", "!**/*.md", "app/[id]", "a/../b"}, ""},
		{"the longest", []string{strings.Repeat("a", watch.MaxPath)}, ""},
		{"too long", []string{strings.Repeat("a", watch.MaxPath+1)}, "256 bytes; expected at most 255"},
		{"empty", []string{"a", ""}, "is empty"},
		{"nothing to take away", []string{"!/"}, "is empty"},
		{"this folder", []string{"."}, "is empty"},
		{"a control character", []string{"a\x00b"}, "control character"},
		{"not UTF-8", []string{"a\xff"}, "not valid UTF-8"},
		{"several in one", []string{"docs/**", "a/**,b/**"}, `"a/**,b/**" contains a comma; repeat the flag for each pattern, like --watch 'docs/**' --watch 'src/**'`},
		{"a question mark for a comma", []string{"a?b"}, ""},
		{"out of the repository", []string{"!../a"}, "leads out"},
		{"out of it by a detour", []string{"a/../../b"}, "leads out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := watch.Check(c.patterns)
			if c.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || troy.KindOf(err) != troy.Invalid {
				t.Errorf("CheckWatchPaths(%.40q) = %v, want one with %q", c.patterns, err, c.want)
			}
		})
	}
}

func FuzzConcerns(f *testing.F) {
	f.Add("docs/**", "!**/*.md", "site", "docs/a.md")
	f.Add("a**/b?", "", "", "a/b")
	f.Add("[", "(", "*", "\xff\n")
	f.Add("33\u2006", "", "", "33")
	f.Fuzz(func(t *testing.T, first, second, root, file string) {
		watch.Concerns([]string{first, second}, root, []string{file}, true)
		if watch.Check([]string{first}) == nil && !strings.ContainsAny(first, "!*? \\") && !strings.Contains(first, "//") {
			plain := strings.Trim(strings.TrimSpace(first), "/")
			if !strings.Contains(plain, ".") && !watch.Concerns([]string{first}, root, []string{plain + "/x"}, true) {
				t.Errorf("%q does not watch what is in %q", first, plain)
			}
		}
	})
}
