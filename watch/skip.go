package watch

import (
	"fmt"
	"regexp"
	"strings"
)

// skipMarkers and the trailer are those of GitHub
// (docs.github.com/actions/how-tos/manage-workflow-runs/skip-workflow-runs).
// The first two are Bitbucket's as well.
var skipMarkers = []string{"[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]"}

var skipTrailer = regexp.MustCompile(`(?i)^skip-checks:[ \t]*true[ \t]*$`)

// SkipReason says in words why a commit's message asks not to be built: it has
// one of the markers [skip ci], [ci skip], [no ci], [skip actions] and
// [actions skip], in whatever case, or "skip-checks: true" among the trailers
// at its end. It is empty for a commit that is to be built.
func SkipReason(message string) string {
	lower := strings.ToLower(message)
	for _, marker := range skipMarkers {
		if strings.Contains(lower, marker) {
			return fmt.Sprintf("the commit's message says %s", marker)
		}
	}
	lines := strings.Split(strings.ReplaceAll(strings.TrimSpace(message), "\r\n", "\n"), "\n")
	// Trailers are the last paragraph, and the first is the subject.
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
