package troy

// Provider is a forge that repositories are at.
type Provider string

// The providers, as rows and JSON write them.
const (
	GitHub    Provider = "github"
	Bitbucket Provider = "bitbucket"
)

// ForgeEvent is what one verified delivery of a forge's webhook says, in words
// that are the same for all forges: PushEvent, InstallationChange,
// RepositoryChange, Rerequest, PullRequest, Ping or Ignored. Texts in it are
// UTF-8, bounded, and without control characters but the line ends and tabs of
// messages, so that they can be stored and shown.
type ForgeEvent interface{ forgeEvent() }

// ForgeRepository is a repository as its forge tells of it.
type ForgeRepository struct {
	Provider Provider
	// ID survives renames and transfers: GitHub's number in decimal, or
	// Bitbucket's UUID in lower case and braces, as its API takes it.
	ID string
	// FullName is "owner/name" at the time of the event.
	FullName string
	// DefaultBranch is empty when the forge does not say it.
	DefaultBranch string
	// Private is false also when the forge does not say it.
	Private bool
}

// PushEvent is what one push did to the branches and tags of a repository.
type PushEvent struct {
	Repository ForgeRepository
	// Installation is the id of the GitHub app's installation, or empty.
	Installation string
	// Pusher is the forge's name of who pushed, or empty.
	Pusher string
	// Pushes has one entry for each branch and tag that moved.
	Pushes []Push
	// Complete is false when more may have moved than Pushes lists (Bitbucket
	// sends a push without any change now and then): the repository's branches
	// have to be read.
	Complete bool
}

// RefKind tells branches from tags.
type RefKind string

// The kinds of refs that are told of.
const (
	Branch RefKind = "branch"
	Tag    RefKind = "tag"
)

// Push is one branch or tag that was made, moved or deleted.
type Push struct {
	Kind RefKind
	// Name is the ref's name without "refs/heads/" or "refs/tags/".
	Name string
	// Before and After are full commit ids in lower-case hexadecimal digits,
	// of SHA-1 or SHA-256. Before is empty when the ref is new, After when it
	// was deleted. (GitHub gives the id of the tag itself for annotated tags.)
	Before, After string
	// Forced: the ref moved to something that is not a descendant of Before.
	Created, Deleted, Forced bool
	// Message, at most MaxMessage characters of it, and Author are those of
	// the commit that the ref is at now.
	Message, Author string
	// Skip says in words why the commit asks not to be built, or is empty. It
	// is found in the whole message.
	Skip string
	// Paths are the files that the push added, changed or removed, sorted,
	// each once.
	Paths []string
	// PathsComplete is false when Paths may lack some.
	PathsComplete bool
}

// MaxMessage is the most characters of a commit's message that are kept.
const MaxMessage = 1000

// InstallationAction is what happened to an installation of the GitHub app.
type InstallationAction string

// What can happen to an installation.
const (
	InstallationCreated             InstallationAction = "created"
	InstallationDeleted             InstallationAction = "deleted"
	InstallationSuspended           InstallationAction = "suspended"
	InstallationUnsuspended         InstallationAction = "unsuspended"
	InstallationPermissionsAccepted InstallationAction = "permissions_accepted"
	InstallationRepositoriesChanged InstallationAction = "repositories_changed"
)

// InstallationChange is something that happened to an installation of the
// GitHub app or to the repositories that it may see.
type InstallationChange struct {
	Action InstallationAction
	ID     string // the installation's number in decimal
	AppID  string // the app's number in decimal
	// Account is the name of the user or organization that it is installed
	// for.
	Account string
	// AllRepositories: it sees whatever its account has, now and later.
	AllRepositories bool
	// Added are the repositories that it sees from now on; for an
	// installation that was created or deleted, or accepted permissions, all
	// that it sees or saw. Removed are those that it no longer sees.
	Added, Removed []ForgeRepository
	// Sender is the forge's name of who did it, or empty.
	Sender string
}

// RepositoryAction is what happened to a repository.
type RepositoryAction string

// What can happen to a repository.
const (
	RepositoryCreated     RepositoryAction = "created"
	RepositoryRenamed     RepositoryAction = "renamed"
	RepositoryTransferred RepositoryAction = "transferred"
	RepositoryDeleted     RepositoryAction = "deleted"
	RepositoryArchived    RepositoryAction = "archived"
	RepositoryUnarchived  RepositoryAction = "unarchived"
	RepositoryPrivatized  RepositoryAction = "privatized"
	RepositoryPublicized  RepositoryAction = "publicized"
	RepositoryEdited      RepositoryAction = "edited"
)

// RepositoryChange is something that happened to a repository as a whole.
type RepositoryChange struct {
	Repository   ForgeRepository
	Installation string // as in PushEvent
	Action       RepositoryAction
	// OldFullName is what a renamed or transferred repository was called, or
	// empty when the forge does not say it.
	OldFullName string
	// OldDefaultBranch is set when an edit changed the default branch.
	OldDefaultBranch string
}

// Rerequest is someone's wish, on GitHub's page, to have a commit checked
// again.
type Rerequest struct {
	Repository   ForgeRepository
	Installation string // as in PushEvent
	// AppID is the number of the app whose check it is: another app's checks
	// are none of Troy's business.
	AppID string
	// CheckSuite is the suite's number; CheckRun is the run's, or empty when
	// the whole suite is wished for.
	CheckSuite, CheckRun string
	// ExternalID is what Troy gave the run when it made it, or empty.
	ExternalID string
	// Commit is the full id. Branch is empty when GitHub does not know it.
	Commit, Branch string
	// Action is the identifier of the button that was pressed, or empty for
	// the re-run button.
	Action string
	// Sender is the forge's name of who wishes it, or empty.
	Sender string
}

// PullRequest is something that happened to a pull request. Repository is the
// one that it asks to be merged into.
type PullRequest struct {
	Repository   ForgeRepository
	Installation string // as in PushEvent
	// Action is the forge's own word: "synchronize", "fulfilled".
	Action string
	Number int64
	Title  string
	// Head is the branch that is offered; HeadCommit is the id of its newest
	// commit, which Bitbucket shortens to twelve digits.
	Head, HeadCommit string
	// Base is the branch that it would be merged into.
	Base string
	// Fork: the head is in another repository, or in one that is gone, so its
	// author may be a stranger.
	Fork bool
	// Open is false when it was merged or declined.
	Open bool
	// Sender is the forge's name of who did it, or empty.
	Sender string
}

// Ping is what GitHub sends when a webhook was set up.
type Ping struct {
	Hook  string // the webhook's number in decimal
	AppID string // the app's, when the webhook is an app's
}

// Ignored is a delivery that calls for nothing.
type Ignored struct {
	Name   string // the event, as the forge calls it
	Action string // the event's action, or empty
	Reason string // in words
}

func (PushEvent) forgeEvent()          {}
func (InstallationChange) forgeEvent() {}
func (RepositoryChange) forgeEvent()   {}
func (Rerequest) forgeEvent()          {}
func (PullRequest) forgeEvent()        {}
func (Ping) forgeEvent()               {}
func (Ignored) forgeEvent()            {}
