package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTamer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, colour, plain string }{
		{"text", "a\tb\nä 🚀\n", "a\tb\nä 🚀\n", "a\tb\nä 🚀\n"},
		{"colours", "\x1b[31mred\x1b[0m\n", "\x1b[31mred\x1b[0m\n", "red\n"},
		{"colours with colons", "\x1b[38:2::1:2:3mx\n", "\x1b[38:2::1:2:3mx\n" + reset, "x\n"},
		{"an open colour", "\x1b[31mred", "\x1b[31mred" + reset + "\n", "red\n"},
		{"private parameters", "\x1b[?25l\x1b[>4;2mx\n", "x\n", "x\n"},
		{"moves and erasures", "a\x1b[2J\x1b[1;1H\x1b[Kb\n", "ab\n", "ab\n"},
		{"a title", "\x1b]0;evil\abc\n", "bc\n", "bc\n"},
		{"a link", "\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\\n", "text\n", "text\n"},
		{"a device string", "\x1bPevil\x1b\\a\n", "a\n", "a\n"},
		{"a string without its end", "\x1b]0;evil\nb\n", "\nb\n", "\nb\n"},
		{"a sequence without its end", "\x1b[31\nb\n", "\nb\n", "\nb\n"},
		{"a sequence within another", "\x1b[3\x1b[2Jb\n", "b\n", "b\n"},
		{"C1", "a\u009b2Jb\u0085c\u009d0;evil\u009cd\n", "abcd\n", "abcd\n"},
		{"a charset", "\x1b(0a\x1b(B\n", "a\n", "a\n"},
		{"a full reset", "\x1bca\n", "a\n", "a\n"},
		{"carriage returns", "10%\r20%\r\nend\n", "10%\n20%\nend\n", "10%\n20%\nend\n"},
		{"bells and backspaces", "a\a\b\x7fb\x00\n", "ab\n", "ab\n"},
		{"directions", "a\u202eb\u2066c\n", "abc\n", "abc\n"},
		{"no UTF-8", "a\xffb\n", "a\ufffdb\n", "a\ufffdb\n"},
		{"a long sequence", "\x1b[" + strings.Repeat("1", 100) + "mx\n", strings.Repeat("1", 36) + "mx\n", strings.Repeat("1", 36) + "mx\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for colour, want := range map[bool]string{true: c.colour, false: c.plain} {
				// The result does not depend on how the text is split.
				for size := 1; size <= len(c.in); size++ {
					var out bytes.Buffer
					tame := &tamer{w: &out, colour: colour}
					for rest := []byte(c.in); len(rest) > 0; {
						n := min(size, len(rest))
						if wrote, err := tame.Write(rest[:n]); wrote != n || err != nil {
							t.Fatalf("Write: %d, %v", wrote, err)
						}
						rest = rest[n:]
					}
					tame.end()
					if out.String() != want {
						t.Fatalf("in parts of %d: %q, want %q", size, out.String(), want)
					}
				}
			}
		})
	}
}

func FuzzTamer(f *testing.F) {
	for _, seed := range []string{"\x1b[31mred\x1b[0m", "\x1b]0;x\a", "\u009b2J", "a\r\nb", "\x1b[1\x1b]8;;\x1b\\\xff"} {
		f.Add(seed, 3)
	}
	f.Fuzz(func(t *testing.T, text string, size int) {
		size = max(1, size)
		var out bytes.Buffer
		tame := &tamer{w: &out}
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			_, _ = tame.Write(rest[:n])
			rest = rest[n:]
		}
		tame.end()
		for _, r := range out.String() {
			if r != '\n' && r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0) {
				t.Fatalf("%q comes out as %q", text, out.String())
			}
		}
	})
}
