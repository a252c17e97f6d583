package site

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/troy-iaas/troy"
)

func TestCheckPath(t *testing.T) {
	t.Parallel()
	for _, p := range []string{
		"index.html", "assets/app.js", ".well-known/security.txt", "a b/ü/日本.html", "...", "a..b/..c",
		"C:/x", "%2e%2e/x", strings.Repeat("a", MaxPath), "soft\u00adhyphen",
	} {
		if err := CheckPath(p); err != nil {
			t.Errorf("CheckPath(%q) = %v", p, err)
		}
	}
	for p, why := range map[string]string{
		"":                               "is empty",
		"/etc/passwd":                    "absolute",
		"..":                             `the segment ".."`,
		"../x":                           `the segment ".."`,
		"a/../b":                         `the segment ".."`,
		"a/..":                           `the segment ".."`,
		"./a":                            `the segment "."`,
		"a//b":                           "empty segment",
		"a/":                             "empty segment",
		`a\b`:                            "backslash",
		`..\b`:                           "backslash",
		"a\x00b":                         "control character",
		"a\nb":                           "control character",
		"a\x7fb":                         "control character",
		"a\u0085b":                       "control character",
		"a\xffb":                         "UTF-8",
		strings.Repeat("a", MaxPath+1):   "at most 1024",
		strings.Repeat("ü", MaxPath/2+1): "at most 1024",
	} {
		err := CheckPath(p)
		if troy.KindOf(err) != troy.Invalid || !strings.Contains(err.Error(), why) {
			t.Errorf("CheckPath(%q) = %v, want Invalid with %q", p, err, why)
		}
		if err != nil && p != "" && len(p) < 100 && !strings.Contains(err.Error(), fmt.Sprintf("%q", p)) {
			t.Errorf("CheckPath(%q) = %v, which does not quote the path", p, err)
		}
	}
}

func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{"index.html", "a/b/c.js", "../x", "a//b", "/x", "a\\b", "a\x7f", "\xff", "", ".", "a/./b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if CheckPath(p) != nil {
			return
		}
		if p == "" || p != path.Clean(p) || p[0] == '/' || p == ".." || strings.HasPrefix(p, "../") || p == "." ||
			strings.ContainsAny(p, "\\\x00\n\r\x7f") || !utf8.ValidString(p) || len(p) > MaxPath {
			t.Fatalf("CheckPath accepts %q", p)
		}
	})
}

func files(paths ...string) []File {
	out := make([]File, len(paths))
	for i, p := range paths {
		out[i] = File{Path: p, SHA256: Digest{byte(i), 1}, Size: 1}
	}
	return out
}

func TestCheckFiles(t *testing.T) {
	t.Parallel()
	small := Limits{Files: 3, FileBytes: 10, TotalBytes: 15}
	sized := func(sizes ...int64) []File {
		out := files("a", "b", "c", "d")[:len(sizes)]
		for i, size := range sizes {
			out[i].Size = size
		}
		return out
	}
	oneDigest := files("a", "b")
	oneDigest[1].SHA256, oneDigest[1].Size = oneDigest[0].SHA256, 2
	for name, test := range map[string]struct {
		files []File
		kind  troy.ErrorKind
		field string
		says  []string
	}{
		"fine":                  {files("a/b", "a/c", "A/d"), "", "", nil},
		"siblings of a folder":  {files("a", "a.b", "a-b/c"), "", "", nil},
		"none":                  {nil, troy.Invalid, "files", nil},
		"a bad path":            {files("a", "../b"), troy.Invalid, "files[1].path", []string{`"../b"`}},
		"twice":                 {files("b", "a", "b"), troy.Invalid, "files[2].path", []string{`"b"`, "twice"}},
		"case":                  {files("b", "Logo.png", "logo.PNG"), "", "", nil},
		"file and folder":       {files("a/b/c", "a"), troy.Invalid, "files[0].path", []string{`"a"`, `"a/b/c"`, "folder"}},
		"file and folder, case": {files("A", "a/b"), "", "", nil},
		"too many":              {files("a", "b", "c", "d"), troy.TooLarge, "files", []string{"4", "3"}},
		"too large":             {sized(10, 11), troy.TooLarge, "files[1].size", []string{`"b"`, "11", "10"}},
		"too much":              {sized(10, 6), troy.TooLarge, "files[1].size", []string{`"b"`, "15"}},
		"just enough":           {sized(10, 5), "", "", nil},
		"negative":              {sized(10, -1), troy.Invalid, "files[1].size", nil},
		"one digest, two sizes": {oneDigest, troy.Invalid, "files[1].size", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := CheckFiles(test.files, small)
			if test.kind == "" {
				if err != nil {
					t.Fatalf("CheckFiles: %v", err)
				}
				return
			}
			e, ok := errors.AsType[*troy.Error](err)
			if !ok || e.Kind != test.kind || e.Field != test.field {
				t.Fatalf("CheckFiles: %#v, want %s at %s", err, test.kind, test.field)
			}
			for _, part := range test.says {
				if !strings.Contains(e.Message, part) {
					t.Errorf("the message %q does not contain %s", e.Message, part)
				}
			}
		})
	}
}

// TestCheckFilesAgainstSets compares the check of sorted neighbours with a
// check that uses sets.
func TestCheckFilesAgainstSets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		segment := rapid.SampledFrom([]string{"a", "A", "b", "a.", "a-", "k", "\u212a"})
		paths := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(segment, 1, 3).Draw(t, "segments"), "/")
		}), 1, 6).Draw(t, "paths")
		clash := false
		for i, p := range paths {
			for j, q := range paths {
				n := len(q)
				clash = clash || i != j && p == q
				for k := range n {
					clash = clash || i != j && q[k] == '/' && p == q[:k]
				}
			}
		}
		if err := CheckFiles(files(paths...), Limits{}); (err != nil) != clash {
			t.Fatalf("CheckFiles(%q) = %v, want an error: %v", paths, err, clash)
		}
	})
}

func TestCaseTwins(t *testing.T) {
	t.Parallel()
	got := CaseTwins(files("tag/go/index.html", "b", "tag/Go/index.html", "straſe/é", "STRASE/É", "B.html", "b.HTML", "a/B"))
	want := [][2]string{{"B.html", "b.HTML"}, {"straſe/é", "STRASE/É"}, {"tag/go/index.html", "tag/Go/index.html"}}
	if !slices.Equal(got, want) {
		t.Errorf("CaseTwins: %q, want %q", got, want)
	}
}

func BenchmarkCheckFilesOfDeepPaths(b *testing.B) {
	deep := strings.Repeat("a/", 500)
	many := make([]File, 100_000)
	for i := range many {
		many[i] = File{Path: fmt.Sprintf("%s%d", deep, i), SHA256: Digest{byte(i), byte(i >> 8), byte(i >> 16)}}
	}
	for b.Loop() {
		if err := CheckFiles(many, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNormalizeHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"Blog.Example.COM": "blog.example.com", "blog.localhost:8081": "blog.localhost", "a.b.": "a.b",
		"a.b.:80": "a.b", "xn--bcher-kva.example": "xn--bcher-kva.example", "127.0.0.1:80": "127.0.0.1", "a:": "a",
	} {
		if got, err := NormalizeHost(host); err != nil || got != want {
			t.Errorf("NormalizeHost(%q) = %q, %v; want %q", host, got, err, want)
		}
	}
	for _, host := range []string{
		"", ".", ":80", "..", "a..b", "../a", "a/b", `a\b`, "a.b..", "-a.b", "a-.b", "a_b", "a b", "a\x00", "bücher.example",
		"[::1]:80", "::1", "a:b", "a:123456", "a:80:80", "a@b", strings.Repeat("a", 64) + ".b", strings.Repeat("a.", 127) + "b", "a:-1", "\u212a.example",
	} {
		if got, err := NormalizeHost(host); troy.KindOf(err) != troy.Invalid {
			t.Errorf("NormalizeHost(%q) = %q, %v; want Invalid", host, got, err)
		}
	}
}

func FuzzNormalizeHost(f *testing.F) {
	for _, seed := range []string{"blog.localhost:8081", "A.B.", "../x", "a/b", "a..b", "[::1]:80", "", "a:", strings.Repeat("a", 300)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		got, err := NormalizeHost(host)
		if err != nil {
			return
		}
		if got == "" || len(got) > 253 || strings.Contains(got, "..") || strings.Trim(got, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || got[0] == '.' {
			t.Fatalf("NormalizeHost(%q) = %q", host, got)
		}
		if again, err := NormalizeHost(got); err != nil || again != got {
			t.Fatalf("NormalizeHost(%q) = %q, %v", got, again, err)
		}
	})
}
