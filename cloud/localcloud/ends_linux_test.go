package localcloud_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
)

// soon is far more than the end of an operation takes.
const soon = 20 * time.Second

// ticking is an endless reader that ticks at each read.
type ticking struct {
	r io.Reader
	i *poll.Interruption
}

func (r ticking) Read(p []byte) (int, error) {
	r.i.Tick()
	return r.r.Read(p)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

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

// TestOperationsEnd cancels operations on outside input while they run, and
// prints how long each took to end.
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
		run   func(t *testing.T, i *poll.Interruption) error
	}{
		{"begin a tree", 5, func(t *testing.T, i *poll.Interruption) error {
			_, err := open(t, t.TempDir(), 0).Store.Begin(i, newTree(), many(20_000))
			return err
		}},
		{"upload a file", 20, func(t *testing.T, i *poll.Interruption) error {
			s, tree := open(t, t.TempDir(), 0).Store, newTree()
			m := site.Manifest{Files: []site.File{{Path: "large", Size: 1 << 30}}}
			if _, err := s.Begin(t.Context(), tree, m); err != nil {
				t.Fatal(err)
			}
			return s.Put(i.Context, tree, m.Files[0], ticking{zeros{}, i})
		}},
		{"seal a tree", 5, func(t *testing.T, i *poll.Interruption) error {
			s, tree := open(t, t.TempDir(), 0).Store, newTree()
			if _, err := s.Begin(t.Context(), tree, many(20_000)); err != nil {
				t.Fatal(err)
			}
			return s.Seal(i, tree, nil, nil)
		}},
		{"remove a site", 30, func(t *testing.T, i *poll.Interruption) error {
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
	} {
		t.Run(operation.name, func(t *testing.T) {
			i := poll.Interrupt(t.Context(), operation.after)
			err := operation.run(t, i)
			took := time.Since(i.At)
			if !errors.Is(err, poll.ErrInterrupted) && !errors.Is(err, context.Canceled) {
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
