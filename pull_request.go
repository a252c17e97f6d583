package troy

import (
	"regexp"
	"strings"
	"time"
)

// PullRequest is a pull request as its forge describes it, in an event or an
// answer. Repository is the target repository.
type PullRequest struct {
	Repository   ForgeRepository
	Installation string // as in PushEvent
	// Action is the forge's own term, such as "synchronize" or "fulfilled". It
	// is empty in answers.
	Action string
	Number int64
	Title  string
	// Head is the source branch. HeadCommit is the id of its newest commit,
	// which Bitbucket shortens to twelve digits. It may be empty for a pull
	// request that is not open.
	Head, HeadCommit string
	// HeadRepository is the id of the repository of the source branch, and
	// HeadFullName its name. Both are empty if it was deleted.
	HeadRepository, HeadFullName string
	// Base is the target branch.
	Base string
	// Fork: the source branch is in another repository, or in a deleted one, so
	// strangers may push to it.
	Fork bool
	// Draft: its author marked it as not ready for review.
	Draft bool
	// Open is false if the pull request was merged or declined.
	Open bool
	// Author opened it.
	Author ForgeUser
	// URL is its page at the forge, or empty.
	URL string
	// Updated is when it changed, by the forge's clock. It may be zero.
	Updated time.Time
	// Sender is the forge's name of the user who made the change. It may be
	// empty.
	Sender string
}

// ForgeUser is a user's account at a forge.
type ForgeUser struct {
	// ID survives renames. It is GitHub's number in decimal, or Bitbucket's UUID
	// in lower case and braces. It may be empty.
	ID string
	// Name is GitHub's login, or the name that Bitbucket shows. It may be empty.
	Name string
	// Bot: the account is a program's.
	Bot bool
}

// PullRequestCommand is a comment on a pull request that asks Troy to build its
// preview: "/troy preview", alone on a line. A commit id may follow it.
type PullRequestCommand struct {
	Repository   ForgeRepository
	Installation string // as in PushEvent
	Number       int64
	// Author wrote the comment.
	Author ForgeUser
	// Commit is the commit that the comment names, at least seven digits of its
	// id, or empty.
	Commit string
	// Time is when the comment was written.
	Time time.Time
}

var previewCommand = regexp.MustCompile(`(?m)^[ \t]*/troy[ \t]+preview(?:[ \t]+([0-9a-f]{7,64}))?[ \t\r]*$`)

// ParsePreviewCommand finds the first command "/troy preview" in a comment's
// text, and returns the commit that it names, or "". A quoted line is not a
// command.
func ParsePreviewCommand(text string) (commit string, ok bool) {
	if !strings.Contains(text, "/troy") {
		return "", false
	}
	found := previewCommand.FindStringSubmatch(text)
	if found == nil {
		return "", false
	}
	return found[1], true
}
