package build_test

import (
	"testing"

	"github.com/troy-iaas/troy/build"
)

// TestCacheVariablesOfPnpm names pnpm's store as versions until 10 and since 11
// read it, and only for pnpm.
func TestCacheVariablesOfPnpm(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"npm_config_store_dir", "pnpm_config_store_dir", "pnpm_config_cache_dir"} {
		if folder := (build.Plan{Manager: "pnpm"}).CacheVariables()[name]; folder == "" {
			t.Errorf("%s is not set", name)
		}
		if folder := (build.Plan{Manager: "npm"}).CacheVariables()[name]; folder != "" {
			t.Errorf("%s is %s for npm, which warns about it", name, folder)
		}
	}
}
