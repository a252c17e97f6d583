package workers

import (
	"fmt"
	"strings"
	"testing"
)

func TestLogEnd(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&many, "line %d\n", i)
	}
	for name, test := range map[string]struct {
		log   string
		first string
		last  string
		lines int
	}{
		"nothing":              {"", "", "", 1},
		"a few lines":          {"a\nb\n", "a", "b", 2},
		"many":                 {many.String(), "line 980", "line 999", logEndLines},
		"long lines":           {strings.Repeat(strings.Repeat("x", 999)+"\n", 30), strings.Repeat("x", 999), strings.Repeat("x", 999), 4},
		"one very long line":   {strings.Repeat("y", 10_000), strings.Repeat("y", logEndBytes), strings.Repeat("y", logEndBytes), 1},
		"colours":              {"\x1b[1;31mred\x1b[0m\r\nnext\x07\n", "red", "next", 2},
		"half a letter in UTF": {"caf\xe9\nend\n", "caf\uFFFD", "end", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, part := range []int{1, 7, len(test.log) + 1} {
				var e logEnd
				for rest := test.log; rest != ""; {
					n := min(part, len(rest))
					e.add([]byte(rest[:n]))
					rest = rest[n:]
				}
				lines := strings.Split(e.lines(), "\n")
				if len(lines) != test.lines || lines[0] != test.first || lines[len(lines)-1] != test.last {
					t.Fatalf("in parts of %d: %d lines from %.40q to %.40q", part, len(lines), lines[0], lines[len(lines)-1])
				}
			}
		})
	}
}

func TestEveryday(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"production": true, "v22.12.0": true, "https://api.example.com": true, "http://localhost:3000/": true,
		"s3cret-value": false, "https://hooks.example.com/services/T0/B0": false, "https://u:p@example.com": false,
		"https://example.com/?key=1": false, "1234567890": false, "productionkey": false, "": false,
	} {
		if got := everyday(value); got != want {
			t.Errorf("everyday(%q) is %t, want %t", value, got, want)
		}
	}
}
