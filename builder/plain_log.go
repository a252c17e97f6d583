package builder

import (
	"regexp"
	"strings"
	"unicode"
)

// controls matches sequences that terminals interpret (ECMA-48 §5.4 and §8.3:
// CSI, OSC and other strings, and two-character escapes).
var controls = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b[\\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?|\x1b[ -/]*[0-~]")

// PlainLog returns a log as plain text: without control sequences, control
// characters and characters that change the direction of text. Of a line that
// was redrawn, as a progress bar is, it keeps what was drawn last.
func PlainLog(log []byte) string {
	text := controls.ReplaceAllString(strings.ToValidUTF8(string(log), "\uFFFD"), "")
	if strings.Contains(text, "\r") {
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			line = strings.TrimRight(line, "\r")
			lines[i] = line[strings.LastIndexByte(line, '\r')+1:]
		}
		text = strings.Join(lines, "\n")
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029', r == '\ufeff':
			return -1
		}
		return r
	}, text)
}
