package builder

import (
	"regexp"
	"strings"

	"github.com/troy-iaas/troy"
)

const (
	// logEndBytes is the part of a log's end in which known failures are
	// searched.
	logEndBytes = 256 << 10
	// tailLines, tailLine and tailBytes bound the last lines of a log that are
	// shown with a failure. tailLine is in characters.
	tailLines = 30
	tailLine  = 500
	tailBytes = 16 << 10
)

// LogEnd keeps the end of a log, in which known failures are searched.
type LogEnd struct {
	kept []byte
	cut  bool // its first line may be a part of one
}

// Add appends a part of the log.
func (e *LogEnd) Add(p []byte) {
	e.kept = append(e.kept, p[max(0, len(p)-logEndBytes):]...)
	e.cut = e.cut || len(p) > logEndBytes
	if len(e.kept) > 4*logEndBytes {
		e.trim()
	}
}

func (e *LogEnd) trim() {
	if rest := len(e.kept) - logEndBytes; rest > 0 {
		e.kept = append(e.kept[:0], e.kept[rest:]...)
		e.cut = true
	}
}

// heading matches Troy's headings of phases.
var heading = regexp.MustCompile(`(?m)^==> (?:Download Source|Install|Build|Test|Archive)(?:: .*)?$`)

// ownLines matches Troy's lines at the end of a log, which a report has in its
// cause and in its table.
var ownLines = regexp.MustCompile(`(?:^|\n)(?:(?:Failed|Advice): |The phase [A-Z][A-Za-z ]+ took )[^\n]*\n*$`)

// Phase returns the log of the last phase as plain text, without its heading
// and without the cause at its end.
func (e *LogEnd) Phase() string {
	e.trim()
	text := PlainLog(e.kept)
	if e.cut {
		if _, rest, ok := strings.Cut(text, "\n"); ok {
			text = rest
		}
	}
	if all := heading.FindAllStringIndex(text, -1); len(all) > 0 {
		text = strings.TrimPrefix(text[all[len(all)-1][1]:], "\n")
	}
	for ownLines.MatchString(text) {
		text = ownLines.ReplaceAllString(text, "")
	}
	return text
}

// Advised reports whether the log ends with an advice.
func (e *LogEnd) Advised() bool {
	lines := strings.Split(strings.TrimRight(string(e.kept), "\n"), "\n")
	return strings.HasPrefix(lines[len(lines)-1], "Advice: ")
}

// Tail returns the last lines of a phase's log, without those that are empty at
// its ends.
func Tail(phase string) string {
	lines := strings.Split(strings.Trim(phase, "\n"), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	size := 0
	for i := len(lines) - 1; i >= 0; i-- {
		lines[i] = strings.TrimRight(troy.Cut(lines[i], tailLine), " \t")
		if size += len(lines[i]) + 1; size > tailBytes {
			lines = lines[i+1:]
			break
		}
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}

// Advice returns what helps against the failure of the build's command, or "" if
// the failure is not known or has another cause. phase is the log of the phase.
func (b Build) Advice(phase string) string {
	if b.State != Failed || len(b.Phases) == 0 {
		return ""
	}
	switch {
	case strings.HasPrefix(b.Cause, tookLonger):
		return "make the build faster, or give it more time with troy pipeline set P --build-minutes, at most the operator's TROY_BUILD_TIME"
	case strings.HasPrefix(b.Cause, usedMore):
		return "build less at a time, or give the build more memory with troy pipeline set P --build-memory, at most the operator's TROY_BUILD_MEMORY_MIB"
	}
	last := b.Phases[len(b.Phases)-1]
	if last.Command == "" || last.ExitCode == nil || *last.ExitCode == 0 {
		return ""
	}
	failed := PhaseError{Phase: last.Phase, Code: *last.ExitCode}
	if b.Cause != failed.Error() {
		return ""
	}
	return Advice(phase, failed.Code)
}
