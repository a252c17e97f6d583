package site

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
)

// around is a site with links that lead to the folder beside it.
func around(t *testing.T, links map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"site/index.html": "index", "site/a/b.html": "b", "beside/c.html": "c", "beside/d/e.html": "e", "beside/.netrc": "password",
	})
	for name, target := range links {
		if err := os.Symlink(strings.Replace(target, "DIR", dir, 1), filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "site")
}

func TestLinksThatLeadOutAreFollowed(t *testing.T) {
	t.Parallel()
	folder := around(t, map[string]string{
		"site/c.html": "../beside/c.html", "site/a/out": "DIR/beside", "beside/d/back": "../c.html", "site/in": "a",
	})
	if _, err := OpenSource(t.Context(), folder, Limits{}); !errors.Is(err, ErrLeadsOut) {
		t.Fatalf("without the option: %v, want ErrLeadsOut", err)
	}
	want := map[string]string{
		"index.html": "index", "a/b.html": "b", "c.html": "c", "a/out/c.html": "c", "a/out/d/e.html": "e", "a/out/d/back": "c",
		"in/b.html": "b", "in/out/c.html": "c", "in/out/d/e.html": "e", "in/out/d/back": "c",
	}
	r := remembering{dir: t.TempDir()}
	for range 2 {
		s := r.open(t, folder, FollowingLinksOut())
		wantFiles(t, s, want)
		f, err := s.Open("a/out/c.html")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLinksThatLeadOutAreRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		links  map[string]string
		limits Limits
		want   string
	}{
		"to the folder around":   {map[string]string{"site/up": ".."}, Limits{}, `"up" is a link to "..", a folder that contains it`},
		"to all folders":         {map[string]string{"site/a/all": "/"}, Limits{}, `"a/all" is a link to "/", a folder that contains it`},
		"to the site from there": {map[string]string{"site/out": "../beside", "beside/site": "../site"}, Limits{}, `"out/site" is a link to "../site", a folder that contains it`},
		"in a circle":            {map[string]string{"site/one": "DIR/two", "two": "site/one"}, Limits{}, `"one" is a link to`},
		"to nothing":             {map[string]string{"site/none": "../none"}, Limits{}, `"none" is a link to "../none", which does not exist`},
		"to a device":            {map[string]string{"site/null": "/dev/null"}, Limits{}, `"null" is a link to "/dev/null", which is neither a file nor a folder`},
		"to too many files":      {map[string]string{"site/out": "../beside", "site/more": "../beside"}, Limits{Entries: 9}, "limit of 9 files and folders, including linked ones"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := OpenSource(t.Context(), around(t, test.links), test.limits, FollowingLinksOut())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("OpenSource: %v, want %s", err, test.want)
			}
		})
	}
}

func TestLinksToSecretsAreFound(t *testing.T) {
	t.Parallel()
	folder := around(t, map[string]string{"site/config": "../beside/.netrc"})
	if s := openSource(t, folder, Limits{}, FindingLeaks(), FollowingLinksOut()); len(s.Leaks) != 1 || s.Leaks[0].Path != "config" {
		t.Errorf("the leaks are %v, want config", s.Leaks)
	}
	if s := openSource(t, folder, Limits{}, FindingLeaks("config"), FollowingLinksOut()); len(s.Leaks) != 0 {
		t.Errorf("the leaks are %v, want none: the file is allowed", s.Leaks)
	}
}

func TestFilesThatVanishAreNamed(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	writeFiles(t, folder, map[string]string{"a.html": "a", "b.html": "b"})
	s, err := openTree(t.Context(), folder, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var o sourceOptions
	if err := s.read(t.Context(), DefaultLimits(), &o); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "b.html")); err != nil {
		t.Fatal(err)
	}
	err = s.hash(t.Context(), DefaultLimits(), &o)
	if troy.KindOf(err) != troy.Invalid || !strings.Contains(err.Error(), `"b.html" was removed while the folder was read; try again`) {
		t.Fatalf("the error is %v", err)
	}
}
