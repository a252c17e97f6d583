package watch_test

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy/watch"
)

func TestSkipReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ message, want string }{
		{"", ""},
		{"Add a page", ""},
		{"skip ci", ""},
		{"[skip  ci]", ""},
		{"[skipci] [ci] [skip]", ""},
		{"Add a page [skip ci]", "[skip ci]"},
		{"[CI Skip] Add a page", "[ci skip]"},
		{"Add a page\n\nIt is long.\n[no ci]\n", "[no ci]"},
		{"x[skip actions]y", "[skip actions]"},
		{"[actions skip]", "[actions skip]"},
		{strings.Repeat("long ", 10_000) + "[skip ci]", "[skip ci]"},

		{"Add a page\n\n\nskip-checks: true", "skip-checks: true"},
		{"Add a page\n\n\nskip-checks:true\n\n", "skip-checks: true"},
		{"Add a page\r\n\r\nSkip-Checks: True \r\n", "skip-checks: true"},
		{"Add a page\n\nSigned-off-by: A\nskip-checks: true\nCo-authored-by: B", "skip-checks: true"},
		{"Add a page\n\nskip-checks: false", ""},
		{"Add a page\n\nskip-checks: true, says the documentation", ""},
		{"Add a page\n\nskip-checks: true\n\nMore text follows", ""},
		{"skip-checks: true", ""},
		{"Add a page\nskip-checks: true", ""},
	} {
		got := watch.SkipReason(c.message)
		if (got == "") != (c.want == "") || !strings.HasSuffix(got, c.want) {
			t.Errorf("SkipReason(%.60q) = %q, want one that ends in %q", c.message, got, c.want)
		}
	}
}
