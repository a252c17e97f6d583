package workers

import (
	"regexp"
	"strings"
)

const (
	// logEndBytes and logEndLines bound the last lines of a log that are shown
	// with a failure.
	logEndBytes = 4 << 10
	logEndLines = 20
)

// logEnd keeps the end of a log.
type logEnd struct{ kept []byte }

func (e *logEnd) add(p []byte) {
	e.kept = append(e.kept, p[max(0, len(p)-logEndBytes):]...)
	e.kept = e.kept[max(0, len(e.kept)-logEndBytes):]
}

// controls matches characters that terminals interpret and pages cannot show:
// escape sequences (ECMA-48 §5.4) and control characters except tab.
var controls = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")

// lines returns the last whole lines as plain text.
func (e *logEnd) lines() string {
	text := string(e.kept)
	if len(text) == logEndBytes {
		// The first line is cut off.
		if _, rest, ok := strings.Cut(text, "\n"); ok {
			text = rest
		}
	}
	text = controls.ReplaceAllString(strings.ToValidUTF8(text, "\uFFFD"), "")
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-logEndLines):], "\n")
}
