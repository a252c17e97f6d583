package troy_test

import (
	"testing"

	"github.com/troy-iaas/troy"
)

func TestCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"", 3, ""}, {"üüü", 3, "üüü"}, {"üüüü", 3, "üü…"}, {"abc", 1, "…"}, {"a\xffb", 2, "ab"}, {"a\xff", 1, "a"}, {"日本語です", 4, "日本語…"},
	} {
		if got := troy.Cut(c.text, c.most); got != c.want {
			t.Errorf("Cut(%q, %d): %q, want %q", c.text, c.most, got, c.want)
		}
	}
}
