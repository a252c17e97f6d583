package builder_test

import (
	"testing"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/site"
)

// The hashed files of each framework are kept by browsers, as package site
// decides by their names.
func TestAssetsOfFrameworks(t *testing.T) {
	t.Parallel()
	for _, f := range build.Frameworks() {
		if f.Asset != "" && !site.Hashed(f.Asset) {
			t.Errorf("%s: %s is not taken for a hashed file", f.Name, f.Asset)
		}
	}
}
