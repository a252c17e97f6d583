package troy_test

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
)

func TestCheckBranch(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"main", "feature/x", "release-1.2", "v1", "ünïcode", "a@b"} {
		if err := troy.CheckBranch(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "-x", "--upload-pack=x", "x..y", "x/", "/x", "x//y", ".x", "x/.y", "x.lock", "x.", "@", "x@{1}", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", `a\b`, "a\x00b",
		strings.Repeat("x", 251),
	} {
		if err := troy.CheckBranch(bad); troy.KindOf(err) != troy.Invalid || err == nil {
			t.Errorf("%q: %v, want it refused", bad, err)
		}
	}
}
