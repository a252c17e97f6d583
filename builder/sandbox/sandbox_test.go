package sandbox_test

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
	"github.com/troy-iaas/troy/site"
)

// newBuilder opens a builder that ends with the test.
func newBuilder(t testing.TB, cfg sandbox.Config) (buildertest.Env, *sandbox.Builder) {
	t.Helper()
	if cfg.Root == "" {
		cfg.Root = t.TempDir()
	}
	b, err := sandbox.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return buildertest.Env{Builder: b, Deadline: 4 * time.Minute, Poll: 10 * time.Millisecond, Redacts: true}, b
}

// isolatedBuilder skips the test if builds can't be isolated.
func isolatedBuilder(t testing.TB, cfg sandbox.Config) (buildertest.Env, *sandbox.Builder) {
	t.Helper()
	cfg.Isolation = sandbox.Bubblewrap
	e, b := newBuilder(t, cfg)
	if err := e.Builder.Start(t.Context(), buildertest.Shell("true").Spec(t)); err != nil {
		t.Skipf("builds can't be isolated here: %v", err)
	}
	return e, b
}

func TestBuilderConformance(t *testing.T) {
	t.Parallel()
	for _, isolation := range []sandbox.Isolation{sandbox.Bubblewrap, sandbox.NoIsolation} {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			buildertest.Run(t, func(t *testing.T) buildertest.Env {
				if isolation == sandbox.NoIsolation {
					e, _ := newBuilder(t, sandbox.Config{Isolation: isolation})
					return e
				}
				e, _ := isolatedBuilder(t, sandbox.Config{})
				return e
			})
		})
	}
}

// An artifact is what was found when the build ended: no process reads it
// again, and a store refuses files that have changed since.
func TestArtifactIsNotReadAgain(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	e, _ := newBuilder(t, sandbox.Config{Root: root, Isolation: sandbox.NoIsolation})
	spec := buildertest.Repository{"index.html": "as built"}.Spec(t)
	e.Succeeds(t, spec)
	dir := filepath.Join(root, "builds", spec.Tree.Pipeline.String(), spec.Tree.Deployment.String())
	if err := os.WriteFile(filepath.Join(dir, "output", "index.html"), []byte("replaced"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, other := newBuilder(t, sandbox.Config{Root: root, Isolation: sandbox.NoIsolation})
	s, err := other.Artifact(t.Context(), spec.Tree)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if want := site.Digest(sha256.Sum256([]byte("as built"))); len(s.Files) != 1 || s.Files[0].SHA256 != want {
		t.Errorf("the artifact has %+v, want the digest %s", s.Files, want)
	}
	// An earlier version wrote no list.
	if err := os.Remove(filepath.Join(dir, "files")); err != nil {
		t.Fatal(err)
	}
	if got := e.Output(t, spec.Tree); got["index.html"] != "replaced" {
		t.Errorf("without a list the output is %q", got)
	}
}
