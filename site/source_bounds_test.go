package site

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/walk"
)

// TestDeepFolder opens folders that are deeper than a path may be. That must
// take no longer than reading the part that a site may have.
func TestDeepFolder(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{2000, 9000} {
		t.Run(strconv.Itoa(depth), func(t *testing.T) {
			t.Parallel()
			dir := deepFolder(t, depth)
			begun := time.Now()
			wantRefused(t, dir, Limits{}, troy.TooLarge, "a path in it is too long", "1024")
			t.Logf("refused after %s", time.Since(begun))
		})
	}
	t.Run("as deep as allowed", func(t *testing.T) {
		t.Parallel()
		dir := deepFolder(t, 510)
		s := openSource(t, dir, Limits{})
		if len(s.Files) != 1 || len(s.Files[0].Path) != 510*2+len("f") {
			t.Fatalf("the files are %v", s.Files)
		}
	})
	t.Run("wide", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		for i := range 30 {
			writeFiles(t, dir, map[string]string{strconv.Itoa(i) + "/index.html": "x"})
		}
		wantRefused(t, dir, Limits{Entries: 40}, troy.TooLarge, "at most 40")
	})
}

// deepFolder creates nested folders named d, and the file f in the innermost.
func deepFolder(t *testing.T, depth int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "deep")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := walk.Remove(context.Background(), dir); err != nil {
			t.Error(err)
		}
	})
	folder, err := os.OpenRoot(dir)
	for range depth {
		if err != nil {
			t.Fatal(err)
		}
		before := folder
		if err = before.Mkdir("d", 0o755); err == nil {
			folder, err = before.OpenRoot("d")
		}
		err = errors.Join(err, before.Close())
	}
	if err := errors.Join(err, folder.WriteFile("f", []byte("x"), 0o644), folder.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestOpenSourceEnds cancels the reading of a folder and of a zip.
func TestOpenSourceEnds(t *testing.T) {
	t.Parallel()
	const files = 500
	dir, entries := t.TempDir(), make([]entry, files)
	for i := range files {
		large, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err == nil {
			err = errors.Join(large.Truncate(64<<20), large.Close()) // without a block on disk
		}
		if err != nil {
			t.Fatal(err)
		}
		entries[i] = plainEntry(strconv.Itoa(i), strings.Repeat("x", 64<<10))
	}
	stopped := errors.New("stopped")
	for name, source := range map[string]string{"folder": dir, "zip": zipFile(t, makeZip(t, entries...))} {
		t.Run("hashing a "+name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			var begun time.Time
			var hashed int
			s, err := OpenSource(ctx, source, Limits{TotalBytes: 1 << 40, ZipRatio: 1000}, WithProgress(func(n int, _ int64) {
				if hashed = n; n == 3 {
					begun = time.Now()
					cancel(stopped)
				}
			}))
			t.Logf("ended %s after it was canceled", time.Since(begun))
			if !errors.Is(err, stopped) || hashed > files/2 {
				t.Fatalf("OpenSource: %v, %v after %d files; want %v", s, err, hashed, stopped)
			}
		})
		t.Run("opening a "+name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(stopped)
			if s, err := OpenSource(ctx, source, Limits{TotalBytes: 1 << 40, ZipRatio: 1000}); !errors.Is(err, stopped) {
				t.Fatalf("OpenSource: %v, %v; want %v", s, err, stopped)
			}
		})
	}
}

// TestFoldersStayOpenWithinBounds reads the files of more folders than stay open,
// in turns, and links from one folder to another, where a file can't be opened
// with one call.
func TestFoldersStayOpenWithinBounds(t *testing.T) {
	t.Parallel()
	dir, content := t.TempDir(), map[string]string{"index.html": "home"}
	for i := range 3 * mostFolders {
		content["f"+strconv.Itoa(i)+"/page.html"] = strconv.Itoa(i)
	}
	writeFiles(t, dir, content)
	if err := os.Symlink("../f1/page.html", filepath.Join(dir, "f0", "link.html")); err != nil {
		t.Fatal(err)
	}
	content["f0/link.html"] = "1"
	s := openSource(t, dir, Limits{})
	tree := s.tree.(folder)
	if err := tree.top.Close(); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, s, content)
	wantFiles(t, s, content)
	inside := tree.inside
	if n := len(inside.root); n != mostFolders || len(inside.dirs) != n {
		t.Errorf("%d folders are open, want %d", n, mostFolders)
	}
	for dir, root := range inside.root {
		if _, err := root.Stat("page.html"); err != nil {
			t.Errorf("%s is not open: %v", dir, err)
		}
	}
}
