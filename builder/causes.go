package builder

import (
	"fmt"
	"time"
)

// PhaseError means that a phase's command failed.
type PhaseError struct {
	Phase Phase
	Code  int // -1: killed
}

// Error returns the build's cause for users.
func (e *PhaseError) Error() string {
	switch {
	case e.Code < 0, e.Code == 137: // the shell's exit code for SIGKILL
		return fmt.Sprintf("the command of the phase %s was killed", e.Phase)
	case e.Code == 127:
		return fmt.Sprintf("the command of the phase %s was not found (exit code 127)", e.Phase)
	}
	return fmt.Sprintf("the command of the phase %s ended with exit code %d", e.Phase, e.Code)
}

// SourceFailed is the cause of a build whose source could not be fetched, for a
// reason that concerns the operator.
const SourceFailed = "the source could not be fetched"

// DiskFull is the cause of a build that leaves too little space on its worker's
// disk, or gets no more.
const DiskFull = "the builder's disk is full"

// TookLonger returns the cause of a build that ran out of time.
func TookLonger(limit time.Duration) string { return tookLonger + inWords(limit) }

// UsedMore returns the cause of a build whose processes used too much memory.
func UsedMore(limit int64) string { return usedMore + BytesInWords(limit) + " of memory" }

const (
	tookLonger = "the build took longer than "
	usedMore   = "the build used more than "
)

// LogPassed returns the cause of a build that printed too much.
func LogPassed(limit int64) string { return "the log passed " + BytesInWords(limit) }

// BytesInWords formats a size for people: "64 MiB".
func BytesInWords(n int64) string {
	size, unit := float64(n), "bytes"
	for _, next := range []string{"KiB", "MiB", "GiB"} {
		if size < 1024 {
			break
		}
		size, unit = size/1024, next
	}
	if size == float64(int64(size)) {
		return fmt.Sprintf("%d %s", int64(size), unit)
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}

// inWords formats "30 minutes", and other durations as Go does.
func inWords(d time.Duration) string {
	switch {
	case d == time.Minute:
		return "a minute"
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
	return d.String()
}
