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

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1<<20 - 60: "1023.9 KiB", 1<<20 - 1: "1.0 MiB", 5 << 20: "5.0 MiB", 3 << 30: "3.0 GiB", 1 << 41: "2.0 TiB",
	} {
		if got := troy.Size(n); got != want {
			t.Errorf("Size(%d) is %q, want %q", n, got, want)
		}
	}
	if got := troy.Count(1, "file", "files") + ", " + troy.Count(int64(0), "file", "files"); got != "1 file, 0 files" {
		t.Errorf("Count says %q", got)
	}
}
