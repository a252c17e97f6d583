package forge

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

var (
	fullNameForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$`)
	commitForm   = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	shortForm    = regexp.MustCompile(`^[0-9a-f]{7,64}$`)
)

// SplitName splits "owner/name"; it returns an Invalid error for anything else.
func SplitName(full string) (owner, name string, err error) {
	owner, name, _ = strings.Cut(full, "/")
	if !fullNameForm.MatchString(full) || owner == "." || owner == ".." || name == "." || name == ".." {
		return "", "", troy.Errorf(troy.Invalid, "%q is not a repository name; expected owner/name", troy.Cut(full, 200)).At("repository")
	}
	return owner, name, nil
}

// CheckCommit returns an Invalid error if id is not the full id of a commit,
// with SHA-1 or SHA-256.
func CheckCommit(id string) error {
	if !commitForm.MatchString(id) {
		return troy.Errorf(troy.Invalid, "%q is not a full commit id", troy.Cut(id, 100)).At("commit")
	}
	return nil
}

// CheckShortCommit is CheckCommit for at least seven digits of an id.
func CheckShortCommit(id string) error {
	if !shortForm.MatchString(id) {
		return troy.Errorf(troy.Invalid, "%q is not a commit id; expected at least seven hexadecimal digits", troy.Cut(id, 100)).At("commit")
	}
	return nil
}

// EscapeBranch checks a branch's name (git-check-ref-format(1)) and escapes it
// for a URL's path, except for its slashes.
func EscapeBranch(branch string) (string, error) {
	if err := troy.CheckBranch(branch); err != nil {
		return "", err
	}
	parts := strings.Split(branch, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/"), nil
}

// SortFound sorts the repositories of a Lister by name and removes repetitions
// and those whose names are not valid.
func SortFound(list []Found) []Found {
	list = slices.DeleteFunc(list, func(f Found) bool {
		_, _, err := SplitName(f.FullName)
		return err != nil
	})
	slices.SortFunc(list, func(a, b Found) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.FullName), strings.ToLower(b.FullName)), strings.Compare(a.FullName, b.FullName))
	})
	return slices.CompactFunc(list, func(a, b Found) bool { return a.FullName == b.FullName })
}
