package troy

import (
	"strings"
	"unicode"
)

// maxBranch is the maximum length of a branch's name in bytes. Forges allow no
// more.
const maxBranch = 250

// CheckBranch returns a *Error of kind Invalid at "branch" if name is not a
// valid name of a branch or tag (git-check-ref-format(1)). It refuses a name
// that begins with a hyphen as well: git would read it as an option.
func CheckBranch(name string) error {
	bad := name == "" || len(name) > maxBranch || name == "@" || strings.HasPrefix(name, "-") ||
		strings.HasSuffix(name, ".") || strings.Contains(name, "..") || strings.Contains(name, "@{") ||
		strings.ContainsAny(name, " ~^:?*[\\") || strings.ContainsFunc(name, unicode.IsControl)
	for part := range strings.SplitSeq(name, "/") {
		bad = bad || part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock")
	}
	if bad {
		return Errorf(Invalid, "%q is not a valid branch name", name[:min(len(name), 100)]).At("branch")
	}
	return nil
}
