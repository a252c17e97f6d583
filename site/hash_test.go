package site

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKeepingContents changes files after they were hashed: those whose content
// was kept are read as they were, and others from the folder.
func TestKeepingContents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	before := map[string]string{"index.html": "home", "a/empty": "", "a/page.html": strings.Repeat("page", 100), "large.bin": strings.Repeat("x", wholeFile+1)}
	writeFiles(t, dir, before)
	s := openSource(t, dir, Limits{}, KeepingContents(1<<20))
	none := openSource(t, dir, Limits{}, KeepingContents(3))
	after := map[string]string{"index.html": "HOME", "a/empty": "", "a/page.html": strings.Repeat("PAGE", 100), "large.bin": strings.Repeat("y", wholeFile+1)}
	writeFiles(t, dir, after)
	for _, test := range []struct {
		source *Source
		path   string
		want   string
	}{
		{s, "index.html", before["index.html"]}, {s, "a/page.html", before["a/page.html"]}, {s, "a/empty", ""},
		{s, "large.bin", after["large.bin"]}, {none, "index.html", after["index.html"]}, {none, "a/page.html", after["a/page.html"]},
	} {
		if got := contentOf(t, test.source, test.path); got != test.want {
			t.Errorf("%s: %.20q, want %.20q", test.path, got, test.want)
		}
	}
	if _, err := s.Open("a/absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open an absent file: %v", err)
	}
	if _, err := s.Open("../a/page.html"); err == nil {
		t.Error("a path that leads out was opened")
	}
}

func contentOf(t *testing.T, s *Source, path string) string {
	t.Helper()
	r, err := s.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestWholeFiles reads files of sizes around that of the buffer, with a limit and
// through links, in one call where the system can.
func TestWholeFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	content := map[string]string{"index.html": "home", "empty": ""}
	for name, size := range map[string]int{"less": wholeFile - 1, "same": wholeFile, "more": wholeFile + 1} {
		content["sizes/"+name] = strings.Repeat("z", size)
	}
	writeFiles(t, dir, content)
	if err := os.Symlink("../index.html", filepath.Join(dir, "sizes", "link")); err != nil {
		t.Fatal(err)
	}
	content["sizes/link"] = "home"
	wantFiles(t, openSource(t, dir, Limits{}, FindingLeaks(), RememberingDigests(t.TempDir())), content)
	if _, err := OpenSource(t.Context(), dir, Limits{FileBytes: wholeFile - 1}); err == nil {
		t.Error("a file over the limit was accepted")
	}
	secret := "ghp_" + made(1, 36, alnum)
	writeFiles(t, dir, map[string]string{"sizes/less": strings.Repeat("z\n", 1000) + secret})
	s := openSource(t, dir, Limits{}, FindingLeaks())
	if len(s.Leaks) != 1 || s.Leaks[0] != (Leak{"sizes/less", "a GitHub token on line 1001"}) {
		t.Errorf("the secrets are %v", s.Leaks)
	}
}

// TestReadWholeRefuses reads what is not a file in the folder.
func TestReadWholeRefuses(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	writeFiles(t, dir, map[string]string{"in/page.html": "page"})
	writeFiles(t, outside, map[string]string{"secret": "secret"})
	for name, target := range map[string]string{"out": filepath.Join(outside, "secret"), "in/up": "../../" + filepath.Base(outside) + "/secret", "self": "self"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	tree := newFolder(root)
	defer tree.Close()
	buffer := make([]byte, 8)
	for _, name := range []string{"out", "in/up", "self", "in", "absent", "../" + filepath.Base(outside) + "/secret", filepath.Join(outside, "secret")} {
		if n, _, ok := tree.readWhole(name, buffer); ok {
			t.Errorf("%s: %q was read", name, buffer[:n])
		}
		if r, err := tree.open(name); err == nil {
			t.Errorf("%s was opened", name)
			_ = r.Close()
		}
	}
	if _, _, ok := tree.readWhole("in/page.html", buffer[:3]); ok {
		t.Error("a file was read that does not fit")
	}
}
