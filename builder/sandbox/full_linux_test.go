package sandbox_test

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
)

// endless is a source that hangs until it is closed.
func endless(context.Context, string) (io.ReadCloser, error) {
	r, w := io.Pipe()
	return struct {
		io.Reader
		io.Closer
	}{r, w}, nil
}

// TestFullDiskWhileFetching fills the disk in a phase without commands.
func TestFullDiskWhileFetching(t *testing.T) {
	t.Parallel()
	e, b := newBuilder(t, sandbox.Config{Isolation: sandbox.NoIsolation})
	sandbox.SetMinFree(b, math.MaxInt64)
	spec := buildertest.Shell(makeSite).Spec(t)
	spec.Source = endless
	e.Fails(t, spec, "the builder's disk is full")
}

// TestDiskFullForASource unpacks a source onto a disk that is too small for it.
func TestDiskFullForASource(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting a small disk needs privileges: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	e, b := newBuilder(t, sandbox.Config{Root: root, Isolation: sandbox.NoIsolation})
	sandbox.SetMinFree(b, 0)
	noise := make([]byte, 2<<20)
	if _, err := rand.NewChaCha8([32]byte{}).Read(noise); err != nil {
		t.Fatal(err)
	}
	spec := buildertest.Repository{"index.html": string(noise)}.Spec(t)
	e.Fails(t, spec, "the builder's disk is full")
	// Its space is freed.
	e.Succeeds(t, buildertest.Repository{"index.html": "small"}.Spec(t))
	if err := b.Remove(t.Context(), spec.Tree); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Get(t.Context(), spec.Tree); err == nil {
		t.Fatalf("after its removal the build is %s", got.State)
	}
}
