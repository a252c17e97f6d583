package walk_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/internal/walk"
)

// chain creates nested folders named d without using a path of their full
// length.
func chain(t testing.TB, dir string, depth int, inEach func(folder *os.Root)) {
	t.Helper()
	folder, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range depth {
		if inEach != nil {
			inEach(folder)
		}
		if err := folder.Mkdir("d", 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := folder.OpenRoot("d")
		if err := errors.Join(err, folder.Close()); err != nil {
			t.Fatal(err)
		}
		folder = next
	}
	if err := folder.Close(); err != nil {
		t.Fatal(err)
	}
}

// wide creates n folders with n files each.
func wide(t testing.TB, dir string, n int) {
	t.Helper()
	for i := range n {
		folder := filepath.Join(dir, fmt.Sprintf("folder%d", i))
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for j := range n {
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("file%d", j)), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func openRoot(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

var roomy = walk.Limits{Entries: 1 << 20, Path: 1 << 20}

func TestFolderFindsWhatWalkDirFinds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wide(t, dir, 20)
	// Three branches in each of more folders than are kept open or read ahead.
	chain(t, dir, 100, func(folder *os.Root) {
		if err := errors.Join(folder.Mkdir("branch", 0o755), folder.Mkdir("other", 0o755), folder.WriteFile("branch/file", nil, 0o644), folder.Symlink("d", "link")); err != nil {
			t.Fatal(err)
		}
	})
	var want, got []string
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(dir, name)
		if name != "." {
			want = append(want, entry.Type().String()+" "+filepath.ToSlash(name))
		}
		return errors.Join(err, relErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{".": true}
	err = walk.Folder(t.Context(), openRoot(t, dir), roomy, func(e walk.Entry) error {
		info, err := e.Info()
		if err != nil {
			return err
		}
		if above := filepath.Dir(e.Path); !seen[above] {
			t.Errorf("%s comes before %s", e.Path, above)
		}
		seen[e.Path] = true
		got = append(got, info.Mode().Type().String()+" "+e.Path)
		return nil
	})
	slices.Sort(want)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("the walk found %d, %v; want %d", len(got), err, len(want))
	}
}

func TestFolderEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wide(t, dir, 20)
	chain(t, dir, 2000, nil)
	t.Cleanup(func() {
		if _, err := walk.Remove(context.Background(), dir); err != nil {
			t.Error(err)
		}
	})
	root := openRoot(t, dir)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	for name, test := range map[string]struct {
		limits walk.Limits
		end    func(count int) error
		want   error
		most   int
	}{
		"by its entries":      {walk.Limits{Entries: 100, Path: 1024}, nil, walk.ErrEntries, 100},
		"by a path":           {walk.Limits{Entries: 1 << 20, Path: 1024}, nil, walk.ErrPath, 420 + 512},
		"by its visitor":      {roomy, func(int) error { return fs.ErrInvalid }, fs.ErrInvalid, 1},
		"by skipping":         {roomy, func(int) error { return fs.SkipDir }, nil, 21},
		"with its context":    {roomy, func(int) error { cancel(stopped); return nil }, stopped, 1},
		"any depth":           {roomy, nil, nil, 2420},
		"with the limit kept": {walk.Limits{Entries: 2420, Path: 3999}, nil, nil, 2420},
	} {
		t.Run(name, func(t *testing.T) {
			count, used := 0, t.Context()
			if errors.Is(test.want, stopped) {
				used = ctx
			}
			begun := time.Now()
			err := walk.Folder(used, root, test.limits, func(walk.Entry) error {
				count++
				if test.end != nil {
					return test.end(count)
				}
				return nil
			})
			t.Logf("%d entries in %s", count, time.Since(begun))
			if !errors.Is(err, test.want) || test.want == nil && err != nil || count > test.most {
				t.Fatalf("the walk ended after %d entries with %v, want at most %d and %v", count, err, test.most, test.want)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
		})
	}
}

func gone(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s is still there: %v", dir, err)
	}
}

// A folder that can't be opened is named by its whole path.
func TestFolderErrorHasTheWholePath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := walk.Folder(t.Context(), openRoot(t, dir), walk.Limits{Entries: 10, Path: 100}, func(e walk.Entry) error {
		if e.Path == "a/b" {
			return os.Remove(filepath.Join(dir, "a", "b"))
		}
		return nil
	})
	e, ok := errors.AsType[*walk.FolderError](err)
	if !ok || e.Path != "a/b" || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `open the folder "a/b"`) {
		t.Errorf("Folder: %v", err)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		make  func(t *testing.T, dir string)
		files int
	}{
		"nothing":  {func(*testing.T, string) {}, 0},
		"a file":   {func(t *testing.T, dir string) { write(t, dir) }, 1},
		"a link":   {func(t *testing.T, dir string) { link(t, outside, dir) }, 1},
		"a folder": {func(t *testing.T, dir string) { mkdir(t, dir) }, 0},
		"a wide folder": {func(t *testing.T, dir string) {
			mkdir(t, dir)
			wide(t, dir, 40)
		}, 1600},
		"links": {func(t *testing.T, dir string) {
			mkdir(t, dir)
			link(t, outside, filepath.Join(dir, "a"))
			link(t, filepath.Dir(outside), filepath.Join(dir, "b"))
			link(t, ".", filepath.Join(dir, "c"))
		}, 3},
		"names like its own": {func(t *testing.T, dir string) {
			mkdir(t, dir)
			write(t, filepath.Join(dir, ".removed-1"))
			mkdir(t, filepath.Join(dir, "1"))
			mkdir(t, filepath.Join(dir, "1", ".removed-1"))
			mkdir(t, filepath.Join(dir, "1", ".removed-1", "1"))
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "removed")
			test.make(t, dir)
			files, err := walk.Remove(t.Context(), dir)
			if err != nil || files != test.files {
				t.Fatalf("Remove: %d, %v; want %d", files, err, test.files)
			}
			gone(t, dir)
			if text, err := os.ReadFile(outside); err != nil || string(text) != "kept" {
				t.Fatalf("outside there is %q, %v", text, err)
			}
		})
	}
}

func write(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, name string) {
	t.Helper()
	if err := os.Mkdir(name, 0o755); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// TestRemoveGoesOn interrupts a removal repeatedly, until one call completes
// it.
func TestRemoveGoesOn(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "removed")
	mkdir(t, dir)
	wide(t, dir, 30)
	chain(t, dir, 1000, nil)
	files := 0
	for call := 0; ; call++ {
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped")
		counting := &countdown{Context: ctx, left: 150, end: func() { cancel(stopped) }}
		n, err := walk.Remove(counting, dir)
		files += n
		if err == nil {
			if call < 5 {
				t.Fatalf("it was not interrupted: %d calls", call)
			}
			break
		}
		if !errors.Is(err, stopped) {
			t.Fatalf("Remove: %v", err)
		}
	}
	if files != 900 {
		t.Fatalf("%d files were removed, want 900", files)
	}
	gone(t, dir)
}

// countdown is a context that is canceled after a number of calls of Err.
type countdown struct {
	context.Context //nolint:containedctx // countdown is a context
	left            int
	end             func()
}

func (c *countdown) Err() error {
	if c.left--; c.left == 0 {
		c.end()
	}
	return c.Context.Err()
}

func TestRemoveQuotesItsFolder(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := filepath.Join(t.TempDir(), "removed")
	mkdir(t, dir)
	write(t, filepath.Join(dir, "a"))
	if _, err := walk.Remove(ctx, dir); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("Remove: %v", err)
	}
}
