package watch

import (
	"fmt"
	"regexp"
	"strings"
)

// skipMarkers and skipTrailer are GitHub's
// (docs.github.com/actions/how-tos/manage-workflow-runs/skip-workflow-runs).
// Bitbucket uses the first two markers as well.
var skipMarkers = []string{"[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]"}

var skipTrailer = regexp.MustCompile(`(?i)^skip-checks:[ \t]*true[ \t]*$`)

// SkipReason returns the reason why a commit's message asks not to be built, or
// "" if the commit should be built. A message asks so with one of the markers
// [skip ci], [ci skip], [no ci], [skip actions] and [actions skip], in any
// case, or with the trailer "skip-checks: true" at its end.
func SkipReason(message string) string {
	lower := strings.ToLower(message)
	for _, marker := range skipMarkers {
		if strings.Contains(lower, marker) {
			return fmt.Sprintf("the commit's message says %s", marker)
		}
	}
	lines := strings.Split(strings.ReplaceAll(strings.TrimSpace(message), "\r\n", "\n"), "\n")
	// The last paragraph holds the trailers; the first is the subject.
	for i := len(lines) - 1; i > 0 && strings.TrimSpace(lines[i]) != ""; i-- {
		if skipTrailer.MatchString(lines[i]) && hasBlank(lines[:i]) {
			return "the commit's message has the trailer skip-checks: true"
		}
	}
	return ""
}

func hasBlank(lines []string) bool {
	for _, line := range lines {
		if strings.TrimSpace(line) == "" {
			return true
		}
	}
	return false
}
