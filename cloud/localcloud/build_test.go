package localcloud_test

import (
	"testing"
	"time"

	"github.com/troy-iaas/troy/cloud/cloudtest"
	"github.com/troy-iaas/troy/cloud/localcloud"
)

// newBuilder opens a builder that ends with the test.
func newBuilder(t testing.TB, cfg localcloud.BuilderConfig) (cloudtest.BuilderEnv, *localcloud.Builder) {
	t.Helper()
	if cfg.Root == "" {
		cfg.Root = t.TempDir()
	}
	b, err := localcloud.NewBuilder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return cloudtest.BuilderEnv{Builder: b, Deadline: 4 * time.Minute, Poll: 10 * time.Millisecond, Sinks: true}, b
}

// isolatedBuilder skips where builds can't be isolated.
func isolatedBuilder(t testing.TB, cfg localcloud.BuilderConfig) (cloudtest.BuilderEnv, *localcloud.Builder) {
	t.Helper()
	cfg.Isolation = localcloud.Bubblewrap
	e, b := newBuilder(t, cfg)
	if err := e.Builder.Start(t.Context(), cloudtest.Shell("true").Spec(t)); err != nil {
		t.Skipf("builds can't be isolated here: %v", err)
	}
	return e, b
}

func TestBuilderConformance(t *testing.T) {
	t.Parallel()
	for _, isolation := range []localcloud.Isolation{localcloud.Bubblewrap, localcloud.NoIsolation} {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			cloudtest.RunBuilder(t, func(t *testing.T) cloudtest.BuilderEnv {
				if isolation == localcloud.NoIsolation {
					e, _ := newBuilder(t, localcloud.BuilderConfig{Isolation: isolation})
					return e
				}
				e, _ := isolatedBuilder(t, localcloud.BuilderConfig{})
				return e
			})
		})
	}
}
