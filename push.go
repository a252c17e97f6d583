package troy

// Provider is a forge: a host of Git repositories.
type Provider string

// The providers, as they appear in rows and JSON. Providers lists all of them.
const (
	GitHub    Provider = "github"
	Bitbucket Provider = "bitbucket"
)

// Providers returns all forges that Troy supports. Each is a package below
// forge, and is registered in cmd/troyd/forges.go.
func Providers() []Provider { return []Provider{GitHub, Bitbucket} }

// ForgeEvent is the content of one verified webhook delivery, in terms common
// to all forges: a PushEvent, InstallationChange, RepositoryChange, Rerequest,
// PullRequest, PullRequestCommand, Ping or Ignored. Its texts are valid UTF-8,
// bounded in length and free of control characters, except for line ends and
// tabs in messages, so they are safe to store and show.
type ForgeEvent interface{ forgeEvent() }

// ForgeRepository is a repository as its forge describes it.
type ForgeRepository struct {
	Provider Provider
	// ID survives renames and transfers. It is GitHub's number in decimal, or
	// Bitbucket's UUID in lower case and braces, as its API expects it.
	ID string
	// FullName is "owner/name" at the time of the event.
	FullName string
	// DefaultBranch is empty if the forge does not send it.
	DefaultBranch string
	// Private is also false if the forge does not send it.
	Private bool
}

// PushEvent describes the changes of one push to a repository's branches and
// tags.
type PushEvent struct {
	Repository ForgeRepository
	// Installation is the id of the GitHub app's installation. It may be empty.
	Installation string
	// Pusher is the forge's name of the user who pushed. It may be empty.
	Pusher string
	// Pushes has one entry for each branch and tag that moved.
	Pushes []Push
	// Complete is false if Pushes may lack some changes. Bitbucket now and then
	// sends a push without any change; the repository's branches have to be
	// read then.
	Complete bool
}

// RefKind distinguishes branches from tags.
type RefKind string

// The kinds of refs.
const (
	Branch RefKind = "branch"
	Tag    RefKind = "tag"
)

// Push is one branch or tag that was created, moved or deleted.
type Push struct {
	Kind RefKind
	// Name is the ref's name without "refs/heads/" or "refs/tags/".
	Name string
	// Before and After are full commit ids, SHA-1 or SHA-256, in lower-case
	// hexadecimal digits. Before is empty for a new ref, After for a deleted
	// one. For an annotated tag GitHub sends the id of the tag object.
	Before, After string
	// Forced: the new commit is not a descendant of Before.
	Created, Deleted, Forced bool
	// Message (at most MaxMessage characters) and Author belong to the commit
	// that the ref now points to.
	Message, Author string
	// Skip is the reason why the commit asks not to be built, or empty. The
	// whole message is searched.
	Skip string
	// Paths are the files that the push added, changed or removed, sorted and
	// without duplicates.
	Paths []string
	// PathsComplete is false if Paths may be incomplete.
	PathsComplete bool
	// Unlisted: the forge does not list the files of a push, so it has to be
	// asked for them.
	Unlisted bool
}

// MaxMessage is the maximum length of a stored commit message, in characters.
const MaxMessage = 1000

// InstallationAction is the kind of an InstallationChange.
type InstallationAction string

// The kinds of changes to an installation.
const (
	InstallationCreated             InstallationAction = "created"
	InstallationDeleted             InstallationAction = "deleted"
	InstallationSuspended           InstallationAction = "suspended"
	InstallationUnsuspended         InstallationAction = "unsuspended"
	InstallationPermissionsAccepted InstallationAction = "permissions_accepted"
	InstallationRepositoriesChanged InstallationAction = "repositories_changed"
)

// InstallationChange is a change to an installation of the GitHub app or to the
// repositories that it can access.
type InstallationChange struct {
	Provider Provider
	Action   InstallationAction
	ID       string // the installation's number in decimal
	AppID    string // the app's number in decimal
	// Account is the name of the user or organization that installed it.
	Account string
	// AllRepositories: it can access all present and future repositories of its
	// account.
	AllRepositories bool
	// Added are the repositories that it can access from now on. For an
	// installation that was created or deleted, or that accepted permissions,
	// Added lists all of its repositories. Removed are the repositories that
	// it can no longer access.
	Added, Removed []ForgeRepository
	// Sender is the forge's name of the user who made the change. It may be
	// empty.
	Sender string
}

// RepositoryAction is the kind of a RepositoryChange.
type RepositoryAction string

// The kinds of changes to a repository.
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

// RepositoryChange is a change to a repository as a whole.
type RepositoryChange struct {
	Repository   ForgeRepository
	Installation string // as in PushEvent
	Action       RepositoryAction
	// OldFullName is the previous name of a renamed or transferred repository.
	// It is empty if the forge does not send it.
	OldFullName string
	// OldDefaultBranch is set when an edit changed the default branch.
	OldDefaultBranch string
}

// Rerequest is a user's request, made on GitHub's page, to check a commit
// again.
type Rerequest struct {
	Repository   ForgeRepository
	Installation string // as in PushEvent
	// AppID is the number of the app that owns the check. Troy ignores the
	// checks of other apps.
	AppID string
	// CheckSuite is the suite's number. CheckRun is the run's number, or empty
	// if the whole suite is requested.
	CheckSuite, CheckRun string
	// ExternalID is the id that Troy gave the run when it created it, or empty.
	ExternalID string
	// Commit is the full id. Branch is empty if GitHub does not know it.
	Commit, Branch string
	// Action is the identifier of the button that was pressed, or empty for the
	// re-run button.
	Action string
	// Sender is the forge's name of the user who requested it. It may be empty.
	Sender string
}

// Ping is the event that GitHub sends after a webhook was created.
type Ping struct {
	Hook  string // the webhook's number in decimal
	AppID string // the app's number, if the webhook is an app's
}

// Ignored is a delivery that requires no action.
type Ignored struct {
	Name   string // the event's name at the forge
	Action string // the event's action, or empty
	Reason string // for people
}

func (PushEvent) forgeEvent()          {}
func (InstallationChange) forgeEvent() {}
func (RepositoryChange) forgeEvent()   {}
func (Rerequest) forgeEvent()          {}
func (PullRequest) forgeEvent()        {}
func (PullRequestCommand) forgeEvent() {}
func (Ping) forgeEvent()               {}
func (Ignored) forgeEvent()            {}
