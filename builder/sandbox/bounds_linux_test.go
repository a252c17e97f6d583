package sandbox_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
)

// deepOutput is a command that makes a site with folders far deeper than a
// site's path can be.
const deepOutput = makeSite + ` && cd out && perl -e 'for (1..9000) { mkdir "d" or die; chdir "d" or die }'`

// largeOutput makes a site that takes minutes to hash but no disk space.
const largeOutput = makeSite + ` && for i in $(seq 200); do truncate -s 1000M out/$i; done`

func largeSpec(t *testing.T) builder.Spec {
	spec := buildertest.Shell(largeOutput).Spec(t)
	spec.Limits.OutputBytes = 1 << 40
	return spec
}

// soon is far more than the end of a build takes, and far less than its
// completion would.
const soon = 20 * time.Second

func TestDeepOutput(t *testing.T) {
	t.Parallel()
	e, b := isolatedBuilder(t, sandbox.Config{})
	spec := buildertest.Shell(deepOutput).Spec(t)
	build := e.Fails(t, spec, `the output folder "out" can't be published: a path in it is too long`)
	archive := build.Phases[len(build.Phases)-1]
	t.Logf("refused after %s", archive.Ended.Sub(archive.Started))
	if err := b.Remove(t.Context(), spec.Tree); err != nil {
		t.Fatal(err)
	}
}

// TestArchiveEnds ends builds in each possible way while their output is being
// hashed.
func TestArchiveEnds(t *testing.T) {
	t.Parallel()
	archiving := func(t *testing.T, e buildertest.Env, spec builder.Spec) {
		t.Helper()
		if err := e.Builder.Start(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		b := e.Until(t, spec.Tree, func(b builder.Build) bool {
			return b.State != builder.Running || len(b.Phases) > 0 && b.Phases[len(b.Phases)-1].Phase == builder.PhaseArchive
		})
		if b.State != builder.Running {
			t.Fatalf("the build is %s with the cause %q; its log:\n%s", b.State, b.Cause, e.LogOf(t, spec.Tree))
		}
	}
	ended := func(t *testing.T, begun time.Time) {
		t.Helper()
		took := time.Since(begun)
		t.Logf("ended in %s", took)
		if took > soon {
			t.Errorf("ending took %s", took)
		}
	}
	t.Run("stop", func(t *testing.T) {
		t.Parallel()
		e, b := isolatedBuilder(t, sandbox.Config{})
		spec := largeSpec(t)
		archiving(t, e, spec)
		begun := time.Now()
		if err := b.Stop(t.Context(), spec.Tree); err != nil {
			t.Fatal(err)
		}
		ended(t, begun)
		if got := e.Wait(t, spec.Tree); got.State != builder.Stopped {
			t.Fatalf("the build is %s", got.State)
		}
	})
	t.Run("close", func(t *testing.T) {
		t.Parallel()
		root := t.TempDir()
		e, b := isolatedBuilder(t, sandbox.Config{Root: root})
		spec := largeSpec(t)
		archiving(t, e, spec)
		begun := time.Now()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		ended(t, begun)
		if got := e.Wait(t, spec.Tree); got.State != builder.Lost {
			t.Fatalf("the build is %s", got.State)
		}
		// The next Start or Remove deletes its folders.
		_, other := newBuilder(t, sandbox.Config{Root: root})
		if err := other.Remove(t.Context(), spec.Tree); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(root, "builds", spec.Tree.Pipeline.String(), spec.Tree.Deployment.String())
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("its folder still exists: %v", err)
		}
	})
	t.Run("time", func(t *testing.T) {
		t.Parallel()
		e, _ := isolatedBuilder(t, sandbox.Config{})
		// A machine that is too slow to reach the archive gets more time.
		for limit := 10 * time.Second; ; limit *= 2 {
			spec := largeSpec(t)
			spec.Limits.Time = limit
			begun := time.Now()
			got := e.Fails(t, spec, fmt.Sprintf("the build took longer than %v", limit))
			ended(t, begun.Add(limit))
			if got.Phases[len(got.Phases)-1].Phase == builder.PhaseArchive {
				return
			}
			if limit > time.Minute {
				t.Fatalf("within %s the build did not reach the archive: %+v", limit, got.Phases)
			}
		}
	})
}
