package codebuild_test

import (
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/codebuild"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
)

// A build's temporary files are in the configured folder, and none stay:
// neither after a build nor after a process that died.
func TestScratch(t *testing.T) {
	t.Parallel()
	temp := filepath.Join(t.TempDir(), "data", "tmp")
	leave := func(name string, age time.Duration) {
		t.Helper()
		dir := filepath.Join(temp, name)
		at := time.Now().Add(-age)
		if err := os.MkdirAll(filepath.Join(dir, "repo"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
	}
	leave("troy-source-dead", 72*time.Hour)
	leave("troy-source-alive", time.Hour)
	leave("of-others", 72*time.Hour)
	e, _ := newBuilderIn(t, s3test.Start(t), awsdouble.Config{}, temp)
	spec := buildertest.Shell("mkdir out; echo '<h1>' > out/index.html").Spec(t)
	source, in := spec.Source, ""
	spec.Source = func(ctx context.Context, dir string) (io.ReadCloser, error) {
		in = dir
		return source(ctx, dir)
	}
	e.Succeeds(t, spec)
	if !strings.HasPrefix(in, temp+"/troy-source-") {
		t.Errorf("the source was fetched into %q", in)
	}
	opened := entries(t, temp)
	if len(opened) != 3 || !strings.HasPrefix(opened[1], "troy-output-") {
		t.Errorf("with the output opened there are %q", opened)
	}
	if err := e.Builder.Remove(t.Context(), spec.Tree); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(entries(t, temp), " "); got != "of-others troy-source-alive" {
		t.Errorf("left are %s", got)
	}
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// A full disk ends a build with that cause, in each phase.
func TestScratchIsFull(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	temp := t.TempDir()
	e, _ := newBuilderIn(t, server, awsdouble.Config{}, temp)
	b := e.Builder.(*codebuild.Builder)
	var free atomic.Int64
	codebuild.SetFree(b, free.Load)
	e.Fails(t, buildertest.Shell("true").Spec(t), builder.DiskFull)

	free.Store(math.MaxInt64)
	spec := buildertest.Shell("mkdir out; echo '<h1>' > out/index.html").Spec(t)
	if err := b.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	free.Store(0)
	if got := e.Wait(t, spec.Tree); got.State != builder.Failed || got.Cause != builder.DiskFull {
		t.Errorf("the build is %+v", got)
	}

	// It fills up while the source is fetched.
	free.Store(math.MaxInt64)
	spec = buildertest.Shell("true").Spec(t)
	spec.Source = func(ctx context.Context, _ string) (io.ReadCloser, error) {
		free.Store(0)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	e.Fails(t, spec, builder.DiskFull)
	if left := entries(t, temp); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
}
