package sandbox_test

import (
	"testing"
	"time"

	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
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
	return buildertest.Env{Builder: b, Deadline: 4 * time.Minute, Poll: 10 * time.Millisecond, Sinks: true}, b
}

// isolatedBuilder skips where builds can't be isolated.
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
