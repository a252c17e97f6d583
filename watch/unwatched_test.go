package watch_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/watch"
)

func TestUnwatched(t *testing.T) {
	t.Parallel()
	list := []string{"apps/admin", "packages/charts", ".github", "!**/.env", "!packages/charts/shared/**"}
	for _, c := range []struct {
		name             string
		list, changed    []string
		wantOut, wantIns []string
	}{
		{"nothing", list, nil, nil, nil},
		{"no list", nil, []string{"a", "b/c"}, []string{"a", "b/c"}, nil},
		{"another package", list, []string{"apps/admin/page.js", "apps/admin/a/b/c.js"}, nil, []string{"apps/admin"}},
		{"several", list, []string{"packages/charts/a", ".github/workflows/ci.yml", "apps/admin/b"}, nil, []string{"packages/charts", ".github", "apps/admin"}},
		{"the site", list, []string{"apps/web/a", "apps/admin/b"}, []string{"apps/web/a"}, []string{"apps/admin"}},
		{"a name that begins alike", list, []string{"apps/administration/a", "apps/admi", "apps"}, []string{"apps/administration/a", "apps/admi", "apps"}, nil},
		{"the folder became a link", list, []string{"apps/admin"}, nil, []string{"apps/admin"}},
		{"below another folder", list, []string{"x/apps/admin/a"}, []string{"x/apps/admin/a"}, nil},
		{"a file for all", list, []string{"apps/admin/.env"}, []string{"apps/admin/.env"}, nil},
		{"a folder for all", list, []string{"packages/charts/shared/x.js"}, []string{"packages/charts/shared/x.js"}, nil},
		{"a folder's name is not a pattern", []string{"apps/*", "a[b]"}, []string{"apps/web/a", "a[b]/c", "ab/c"}, []string{"apps/web/a", "ab/c"}, []string{"a[b]"}},
		{"odd paths", list, []string{"", "/", "//apps/admin", "apps//admin/a", "apps/admin//a"}, []string{"", "/", "//apps/admin", "apps//admin/a"}, []string{"apps/admin"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, in := watch.Unwatched(c.list, c.changed)
			if !slices.Equal(out, c.wantOut) || !slices.Equal(in, c.wantIns) {
				t.Errorf("outside are %q, in %q; want %q and %q", out, in, c.wantOut, c.wantIns)
			}
		})
	}
}

// TestUnwatchedCost has more patterns and files than can be matched in time:
// all files count.
func TestUnwatchedCost(t *testing.T) {
	t.Parallel()
	list, changed := []string{"apps/admin"}, make([]string, 10_000)
	for range 100 {
		list = append(list, "!"+strings.Repeat("**a", 80)+"x")
	}
	for i := range changed {
		changed[i] = "apps/admin/" + strings.Repeat("a/", 1000)
	}
	if out, _ := watch.Unwatched(list, changed); len(out) != len(changed) {
		t.Errorf("%d files are outside, want all", len(out))
	}
	if out, in := watch.Unwatched(list[:1], changed); len(out) != 0 || len(in) != 1 {
		t.Errorf("%d files are outside, in %q", len(out), in)
	}
}

func TestIncludes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		patterns []string
		want     bool
	}{{nil, false}, {[]string{" ", "/"}, false}, {[]string{"!docs"}, false}, {[]string{"!docs", "src"}, true}} {
		if got := watch.Includes(c.patterns); got != c.want {
			t.Errorf("Includes(%q) = %t", c.patterns, got)
		}
	}
}
