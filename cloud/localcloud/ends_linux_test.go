package localcloud_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/cloud/cloudtest"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/site"
)

var errCanceled = errors.New("canceled by the test")

// interruption is a context that ends in the middle: when tick was called, or
// the context asked, as often as it takes.
type interruption struct {
	context.Context //nolint:containedctx // it is one
	cancel          context.CancelCauseFunc
	left            int
	at              time.Time
}

func interrupt(t *testing.T, after int) *interruption {
	ctx, cancel := context.WithCancelCause(t.Context())
	return &interruption{Context: ctx, cancel: cancel, left: after}
}

func (i *interruption) tick() {
	if i.left--; i.left == 0 {
		i.at = time.Now()
		i.cancel(errCanceled)
	}
}

func (i *interruption) Err() error {
	i.tick()
	return i.Context.Err()
}

// ticking is an endless reader that ticks at each read.
type ticking struct {
	r io.Reader
	i *interruption
}

func (r ticking) Read(p []byte) (int, error) {
	r.i.tick()
	return r.r.Read(p)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// manyEntries is a tar that does not end.
func manyEntries(i *interruption) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		out := tar.NewWriter(w)
		for n := 0; ; n++ {
			err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("top/%d", n), Mode: 0o644})
			if err != nil {
				return // the reader is closed
			}
		}
	}()
	return struct {
		io.Reader
		io.Closer
	}{ticking{r, i}, r}
}

// wideFolder has n files in each of n folders.
func wideFolder(t *testing.T, n int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "wide")
	for i := range n {
		folder := filepath.Join(dir, fmt.Sprint(i))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for j := range n {
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprint(j)), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// TestOperationsEnd cancels in the middle what works on other people's input,
// and prints how long each took to end.
func TestOperationsEnd(t *testing.T) {
	t.Parallel()
	many := func(n int) site.Manifest {
		m := site.Manifest{}
		for i := range n {
			m.Files = append(m.Files, site.File{Path: fmt.Sprintf("%07d", i), SHA256: site.Digest{byte(i >> 16), byte(i >> 8), byte(i)}})
		}
		return m
	}
	var table strings.Builder
	for _, operation := range []struct {
		name  string
		after int
		run   func(t *testing.T, i *interruption) error
	}{
		{"unpack a source", 50, func(t *testing.T, i *interruption) error {
			archive := manyEntries(i)
			defer archive.Close()
			return build.Unpack(i.Context, archive, t.TempDir(), build.SourceLimits{Entries: 1 << 30})
		}},
		{"find the output", 100, func(t *testing.T, i *interruption) error {
			root, err := os.OpenRoot(wideFolder(t, 30))
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			_, err = build.LookWritten(i.Context, root, func(fs.FileInfo) bool { i.tick(); return true })
			return err
		}},
		{"hash the output", 100, func(t *testing.T, i *interruption) error {
			_, err := site.OpenSource(i.Context, wideFolder(t, 30), site.Limits{}, site.WithProgress(func(int, int64) { i.tick() }))
			return err
		}},
		{"begin a tree", 5, func(t *testing.T, i *interruption) error {
			_, err := open(t, t.TempDir(), 0).Store.Begin(i, newTree(), many(20_000))
			return err
		}},
		{"upload a file", 20, func(t *testing.T, i *interruption) error {
			s, tree := open(t, t.TempDir(), 0).Store, newTree()
			m := site.Manifest{Files: []site.File{{Path: "large", Size: 1 << 30}}}
			if _, err := s.Begin(t.Context(), tree, m); err != nil {
				t.Fatal(err)
			}
			return s.Put(i.Context, tree, m.Files[0], ticking{zeros{}, i})
		}},
		{"seal a tree", 5, func(t *testing.T, i *interruption) error {
			s, tree := open(t, t.TempDir(), 0).Store, newTree()
			if _, err := s.Begin(t.Context(), tree, many(20_000)); err != nil {
				t.Fatal(err)
			}
			return s.Seal(i, tree, nil)
		}},
		{"remove a site", 30, func(t *testing.T, i *interruption) error {
			root := t.TempDir()
			s, tree := open(t, root, 0).Store, newTree()
			if _, err := s.Begin(t.Context(), tree, many(1)); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(wideFolder(t, 30), filepath.Join(site.Layout{Root: root}.Site(tree.Pipeline), "blobs", "wide")); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if n, err := s.RemoveAll(context.WithoutCancel(t.Context()), tree.Pipeline); err != nil || n == 0 {
					t.Errorf("the removal was not completed: %d, %v", n, err)
				}
			})
			_, err := s.RemoveAll(i, tree.Pipeline)
			return err
		}},
		{"run a build", 1, func(t *testing.T, i *interruption) error {
			e, b := isolatedBuilder(t, localcloud.BuilderConfig{})
			w := word()
			spec := cloudtest.Shell(daemons(w) + "sleep " + w).Spec(t)
			if err := b.Start(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			e.Until(t, spec.Tree, func(builder.Build) bool { return len(alive(t, "sleep\x00"+w)) >= 4 })
			i.tick()
			err := b.Stop(t.Context(), spec.Tree)
			if left := alive(t, w); len(left) > 0 {
				t.Errorf("these live on: %q", left)
			}
			return errors.Join(err, errCanceled)
		}},
	} {
		t.Run(operation.name, func(t *testing.T) {
			i := interrupt(t, operation.after)
			err := operation.run(t, i)
			took := time.Since(i.at)
			if !errors.Is(err, errCanceled) && !errors.Is(err, context.Canceled) {
				t.Fatalf("it ended with %v", err)
			}
			fmt.Fprintf(&table, "%-20s %12s\n", operation.name, took.Round(time.Microsecond))
			if took > soon {
				t.Errorf("it took %s to end", took)
			}
		})
	}
	t.Logf("from cancel to end:\n%s", table.String())
}
