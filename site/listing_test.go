package site_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy/site"
)

// tree makes a sorted tree of paths, whose sizes and digests follow from their
// contents: "path=content".
func tree(files ...string) []site.File {
	var out []site.File
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		out = append(out, site.File{Path: name, Size: int64(len(content)), SHA256: site.Digest{byte(len(content)), []byte(content + "-")[0]}})
	}
	slices.SortFunc(out, func(a, b site.File) int { return strings.Compare(a.Path, b.Path) })
	return out
}

func names(entries []site.Entry) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, fmt.Sprintf("%s %d %d", e.Path, e.Files, e.Size))
	}
	return out
}

func TestListFolder(t *testing.T) {
	t.Parallel()
	files := tree("index.html=abc", "a-b=1", "a/x/1=12", "a/x/2=3", "a/y=4567", "a.css=", "é/z=1", "b/only=22")
	for _, c := range []struct {
		folder, after string
		limit         int
		want          []string
		more          bool
	}{
		{"", "", 10, []string{"a/ 3 7", "b/ 1 2", "é/ 1 1", "a-b 1 1", "a.css 1 0", "index.html 1 3"}, false},
		{"", "", 2, []string{"a/ 3 7", "b/ 1 2"}, true},
		{"", "b/", 2, []string{"é/ 1 1", "a-b 1 1"}, true},
		{"", "a-b", 2, []string{"a.css 1 0", "index.html 1 3"}, false},
		{"", "zzz", 2, []string{}, false},
		{"a/", "", 10, []string{"a/x/ 2 3", "a/y 1 4"}, false},
		{"a/x/", "a/x/1", 10, []string{"a/x/2 1 1"}, false},
		{"c/", "", 10, []string{}, false},
	} {
		got, more := site.ListFolder(files, c.folder, c.after, c.limit)
		if diff := cmp.Diff(c.want, names(got)); diff != "" || more != c.more {
			t.Errorf("%q after %q, at most %d: more is %t\n%s", c.folder, c.after, c.limit, more, diff)
		}
	}
	got, more := site.List(files, "a", "a.css", 2)
	if diff := cmp.Diff([]string{"a/x/1 1 2", "a/x/2 1 1"}, names(got)); diff != "" || !more {
		t.Error(diff)
	}
	if got, more := site.List(files, "", "index.html", 5); more || len(got) != 1 || got[0].Path != "é/z" {
		t.Errorf("%v", got)
	}
}

// Page by page, every entry comes once, with the sums of all files.
func TestListFolderByPages(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // repeatable
	var list []string
	for i := range 500 {
		list = append(list, fmt.Sprintf("%c/%c/%d=%s", 'a'+r.IntN(9), 'a'+r.IntN(4), i, strings.Repeat("x", r.IntN(9))), fmt.Sprintf("%d.html=x", i))
	}
	files := tree(list...)
	var total int64
	for _, f := range files {
		total += f.Size
	}
	seen, sum := map[string]bool{}, int64(0)
	for after, more := "", true; more; {
		var page []site.Entry
		page, more = site.ListFolder(files, "", after, 7)
		for _, e := range page {
			if seen[e.Path] {
				t.Errorf("%s comes twice", e.Path)
			}
			seen[e.Path], sum, after = true, sum+e.Size, e.Path
		}
	}
	if len(seen) != 509 || sum != total {
		t.Errorf("%d entries with %d bytes; expected 509 with %d", len(seen), sum, total)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	before := tree("a=1", "b=22", "c=333", "same=x")
	now := tree("a=1", "b=2222", "d=4", "same=x")
	want := []site.Change{{"b", "changed", 4, 2}, {"c", "removed", 0, 3}, {"d", "added", 1, 0}}
	d, changes, more := site.Compare(before, now, "", 10)
	if diff := cmp.Diff(want, changes); diff != "" || more {
		t.Error(diff)
	}
	if diff := cmp.Diff(site.Difference{Added: site.Sum{Files: 1, Bytes: 1}, Changed: site.Sum{Files: 1, Bytes: 4}, Removed: site.Sum{Files: 1, Bytes: 3}, Unchanged: site.Sum{Files: 2, Bytes: 2}}, d); diff != "" {
		t.Error(diff)
	}
	for after, expected := range map[string][]site.Change{"": want[:1], "b": want[1:2], "c": want[2:], "d": nil} {
		again, page, more := site.Compare(before, now, after, 1)
		if diff := cmp.Diff(expected, page); diff != "" || more != (after == "" || after == "b") || again != d {
			t.Errorf("after %q: %s", after, diff)
		}
	}
	if _, changes, _ := site.Compare(nil, now, "", 10); len(changes) != 4 {
		t.Errorf("against nothing there are %d changes", len(changes))
	}
}
