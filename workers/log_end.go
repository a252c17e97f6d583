package workers

import (
	"regexp"
	"strings"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
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

// logEnd keeps the end of a log.
type logEnd struct {
	kept []byte
	cut  bool // its first line may be a part of one
}

func (e *logEnd) add(p []byte) {
	e.kept = append(e.kept, p[max(0, len(p)-logEndBytes):]...)
	e.cut = e.cut || len(p) > logEndBytes
	if len(e.kept) > 4*logEndBytes {
		e.trim()
	}
}

func (e *logEnd) trim() {
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

// phase returns the log of the last phase as plain text, without its heading
// and without the cause at its end.
func (e *logEnd) phase() string {
	e.trim()
	text := builder.PlainLog(e.kept)
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

// advised reports whether the log ends with an advice.
func (e *logEnd) advised() bool {
	lines := strings.Split(strings.TrimRight(string(e.kept), "\n"), "\n")
	return strings.HasPrefix(lines[len(lines)-1], "Advice: ")
}

// tail returns the last lines of a phase's log, without those that are empty at
// its ends.
func tail(phase string) string {
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

// advice returns what helps against the failure of a build's command, or "" if
// the failure is not known or has another cause.
func advice(b builder.Build, phase string) string {
	if b.State != builder.Failed || len(b.Phases) == 0 {
		return ""
	}
	last := b.Phases[len(b.Phases)-1]
	if last.Command == "" || last.ExitCode == nil || *last.ExitCode == 0 {
		return ""
	}
	failed := builder.PhaseError{Phase: last.Phase, Code: *last.ExitCode}
	if b.Cause != failed.Error() {
		return ""
	}
	return builder.Advice(phase, failed.Code)
}
