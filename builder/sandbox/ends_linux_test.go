package sandbox_test

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
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
)

// ticking is an endless reader that ticks at each read.
type ticking struct {
	r io.Reader
	i *poll.Interruption
}

func (r ticking) Read(p []byte) (int, error) {
	r.i.Tick()
	return r.r.Read(p)
}

// manyEntries is an endless tar.
func manyEntries(i *poll.Interruption) io.ReadCloser {
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

// TestOperationsEnd cancels operations on outside input while they run, and
// prints how long each took to end.
func TestOperationsEnd(t *testing.T) {
	t.Parallel()
	var table strings.Builder
	for _, operation := range []struct {
		name  string
		after int
		run   func(t *testing.T, i *poll.Interruption) error
	}{
		{"unpack a source", 50, func(t *testing.T, i *poll.Interruption) error {
			archive := manyEntries(i)
			defer archive.Close()
			return build.Unpack(i.Context, archive, t.TempDir(), build.SourceLimits{Entries: 1 << 30})
		}},
		{"find the output", 100, func(t *testing.T, i *poll.Interruption) error {
			root, err := os.OpenRoot(wideFolder(t, 30))
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			_, err = build.LookWritten(i.Context, root, func(fs.FileInfo) bool { i.Tick(); return true })
			return err
		}},
		{"hash the output", 100, func(t *testing.T, i *poll.Interruption) error {
			_, err := site.OpenSource(i.Context, wideFolder(t, 30), site.Limits{}, site.WithProgress(func(int, int64) { i.Tick() }))
			return err
		}},
		{"run a build", 1, func(t *testing.T, i *poll.Interruption) error {
			e, b := isolatedBuilder(t, sandbox.Config{})
			w := word()
			spec := buildertest.Shell(daemons(w) + "sleep " + w).Spec(t)
			if err := b.Start(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			e.Until(t, spec.Tree, func(builder.Build) bool { return len(alive(t, "sleep\x00"+w)) >= 4 })
			i.Tick()
			err := b.Stop(t.Context(), spec.Tree)
			if left := alive(t, w); len(left) > 0 {
				t.Errorf("these live on: %q", left)
			}
			return errors.Join(err, poll.ErrInterrupted)
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
