// Package forge defines the ports to the hosts of repositories: reading a
// commit's source and the heads of branches, reporting the state of a commit,
// and verifying and parsing a forge's messages. Workers use an Adapter's API,
// and web serves its messages. Each package below this one is one forge; what
// all of them need for safe HTTP is here, too.
//
// Every call may be repeated, and honours its context. An error that retries
// can't fix is a *troy.Error of kind NotFound, Forbidden, Invalid, Conflict or
// TooLarge, and wraps one of the errors below if one fits. An error that says
// when to retry has RetryAfter (RateLimitError). Any other may be temporary. No
// error contains a credential.
package forge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/troy-iaas/troy"
)

var (
	// ErrNoRepository means that the repository does not exist, or the
	// credentials have lost access. Forges don't distinguish the two. Kind
	// NotFound.
	ErrNoRepository = errors.New("the repository does not exist, or Troy has lost access to it")
	// ErrNoCommit means that the branch or the commit does not exist (any
	// more): deleted, or removed by a force-push. Kind NotFound.
	ErrNoCommit = errors.New("no such branch or commit")
	// ErrNoPullRequest means that the pull request does not exist. Kind NotFound.
	ErrNoPullRequest = errors.New("no such pull request")
	// ErrInstallation means that the app's installation is suspended or
	// removed. Kind Forbidden.
	ErrInstallation = errors.New("the installation is suspended or removed")
	// ErrForbidden means that the credentials lack the permission for this one
	// action. Kind Forbidden.
	ErrForbidden = errors.New("the credentials lack the permission")
	// ErrUnauthorized means that the forge does not accept the credentials:
	// revoked, expired, or signed by a wrong clock. Kind Unauthenticated, which
	// is retried, since forges refuse good credentials for moments too.
	ErrUnauthorized = errors.New("the credentials were refused")
	// ErrNoArchive means that the forge offers no archive for these
	// credentials. Clone instead. Kind Conflict.
	ErrNoArchive = errors.New("the forge offers no archive")
)

// Repository identifies the repository of a call.
type Repository struct {
	// Installation selects the credentials: the id of the GitHub app's
	// installation, or of the Bitbucket credentials.
	Installation string
	// ID survives renames; see troy.ForgeRepository. Calls use it.
	ID string
	// FullName is "owner/name" as last known. Bitbucket needs the owner in
	// addresses; GitHub uses the name if ID is empty.
	FullName string
}

// Forge is one forge.
type Forge interface {
	// Repository looks up a repository by the known fields of r: by ID if there
	// is one, otherwise by FullName. The result has its current name, its
	// default branch and, with GitHub, the installation with access to it, even
	// if r has none.
	Repository(ctx context.Context, r Repository) (Found, error)

	// Head returns the full id of a branch's newest commit. It returns
	// ErrNoCommit for a renamed branch.
	Head(ctx context.Context, r Repository, branch string) (string, error)

	// Commit looks up a commit by its full id, or by at least seven digits of
	// it.
	Commit(ctx context.Context, r Repository, id string) (Commit, error)

	// Archive returns the files of a commit, by its full id, as the forge's
	// gzipped tar with one top folder: without submodules, and with LFS
	// pointers instead of the files. Reading fails with a *troy.Error of kind
	// TooLarge past the adapter's limit, and if no data arrives for a minute.
	// The bytes are untrusted. The caller closes it; ctx applies to the reading
	// as well.
	Archive(ctx context.Context, r Repository, commit string) (io.ReadCloser, error)

	// Clone returns what git needs to fetch the repository in the next minutes,
	// for repositories with submodules or LFS and after ErrNoArchive. If the
	// forge supports it, it gives access only to this repository.
	Clone(ctx context.Context, r Repository) (Clone, error)

	// Report reports the state of a deployment. Repeating a report changes
	// nothing, and a late report does not revert the end of its deployment. If
	// one part of it fails, the others are still done.
	Report(ctx context.Context, r Repository, report Report) error
}

// Found is the result of a look-up.
type Found struct {
	Repository
	DefaultBranch string // empty for a repository without commits on Bitbucket
	Private       bool
}

// Commit is a commit's description from its forge, in UTF-8. The texts are
// bounded but otherwise untrusted.
type Commit struct {
	ID      string // the full id, in lower case
	Message string // at most troy.MaxMessage bytes of it
	Author  string
	Time    time.Time // the author's date
}

// Clone is what git needs to fetch a repository over HTTPS.
type Clone struct {
	URL        string // without credentials
	Credential Credential
	// Expires is zero if the password is valid until it is revoked.
	Expires time.Time
}

// Credential is a user and password for git. Formatting and logging don't show
// it.
type Credential struct{ Username, Password string }

// Format implements fmt.Formatter for every verb.
func (Credential) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[hidden]") }

// MarshalText keeps it out of JSON and structured logs.
func (Credential) MarshalText() ([]byte, error) { return []byte("[hidden]"), nil }

// Skipped is the state of a report on a commit that is not built. No deployment
// has it.
const Skipped troy.DeploymentState = "skipped"

// NeedsApproval is the state of a report on a pull request's commit that is
// built once a collaborator approves it. No deployment has it.
const NeedsApproval troy.DeploymentState = "needs_approval"

// Report is the state of a deployment for people who view its commit. For a
// commit that is not built it has the reason.
type Report struct {
	// Deployment is the deployment's id: GitHub has one check run and at most
	// one deployment for each. A skipped commit has its own id.
	Deployment string
	// Pipeline is the pipeline's id: Bitbucket has one build status for each
	// commit and pipeline, which a later deployment of the commit overwrites.
	Pipeline string
	Commit   string // the full id
	// Name is the line's name, the same for all of a pipeline's: "Troy: blog".
	Name  string
	State troy.DeploymentState
	// Title is one short line, Summary a few sentences in Markdown: the state,
	// or the cause of the failure.
	Title, Summary string
	// Text has details in Markdown: the phases of the build and the last lines
	// of its log. It may be empty.
	Text string
	// DetailsURL is Troy's page of the deployment, SiteURL the site itself. A
	// skipped commit has no page; its DetailsURL is the site.
	DetailsURL, SiteURL string
	// Environment is GitHub's name for the target: "production". If it is
	// empty, the report makes no GitHub deployment.
	Environment string
	// Transient: the environment ends with its pull request.
	Transient      bool
	Started, Ended time.Time // zero when not yet
}

// MaxPullRequests is the maximum number of pull requests of a list.
const MaxPullRequests = 1000

// PullRequestList is what a forge answers about its open pull requests.
type PullRequestList struct {
	Open []troy.PullRequest
	// Unreadable are the numbers of those that have an invalid member, such as
	// a commit that is null.
	Unreadable []int64
	// Complete is false if there may be others.
	Complete bool
}

// Len counts all that were listed.
func (l PullRequestList) Len() int { return len(l.Open) + len(l.Unreadable) }

// Add appends a pull request, or only its number if err says that it is
// unreadable.
func (l *PullRequestList) Add(pr troy.PullRequest, number int64, err error) {
	switch {
	case err == nil:
		l.Open = append(l.Open, pr)
	case number > 0:
		l.Unreadable = append(l.Unreadable, number)
	default:
		l.Complete = false
	}
}

// PullRequests is implemented by forges with pull requests.
type PullRequests interface {
	// OpenPullRequests lists the open pull requests of a repository, whatever
	// their target branch, at most MaxPullRequests.
	OpenPullRequests(ctx context.Context, r Repository) (PullRequestList, error)
	// PullRequest looks up one, open or not. It returns ErrNoPullRequest if
	// there is none with this number.
	PullRequest(ctx context.Context, r Repository, number int64) (troy.PullRequest, error)
	// MayWrite reports whether a user may push to a repository. It returns false
	// for a user that the forge does not know.
	MayWrite(ctx context.Context, r Repository, user troy.ForgeUser) (bool, error)
	// Comment writes the one comment with a mark on a pull request, updates it,
	// or, if text is empty, deletes it. It changes no comment of others. text is
	// Markdown; mark is an identifier in it that people do not see.
	Comment(ctx context.Context, r Repository, number int64, mark, text string) error
	// Retract removes what a report left outside of its commit when the site is
	// gone: GitHub's deployment.
	Retract(ctx context.Context, r Repository, report Report) error
}

// Deliveries is implemented by forges that keep failed deliveries and send them
// again on request: GitHub.
type Deliveries interface {
	// Failed lists the deliveries since then without a successful attempt,
	// oldest first and each once, with its latest attempt. It leaves out
	// deliveries of the last minute, since an attempt may be under way. With an
	// error it returns those found so far.
	Failed(ctx context.Context, since time.Time) ([]FailedDelivery, error)
	// Redeliver requests that an attempt be repeated, which GitHub does for
	// those of the last three days.
	Redeliver(ctx context.Context, attempt int64) error
}

// FailedDelivery is a webhook's message that did not arrive.
type FailedDelivery struct {
	ID       string // the same in all attempts, and in the message when it arrives
	Attempt  int64  // the latest attempt's number
	Attempts int    // number of attempts
	Event    string // "push"
	Time     time.Time
	Status   int // Troy's answer, 0 if it was unreachable
}

// Comparer is implemented by forges that can compare two commits.
type Comparer interface {
	// Compare lists the files that differ between two commits, given by their
	// full ids: sorted, each once, a renamed file with both names. complete is
	// false if there may be others, as after a force-push. It returns
	// ErrNoCommit if one of the commits does not exist.
	Compare(ctx context.Context, r Repository, base, head string) (paths []string, complete bool, err error)
}

// MaxListed is the maximum number of repositories of a Lister.
const MaxListed = 2000

// Lister is implemented by forges that can list the repositories to which Troy
// has access.
type Lister interface {
	// Repositories lists them, sorted by name, each once and at most MaxListed.
	// complete is false if there are others. With an error it returns those
	// found so far.
	Repositories(ctx context.Context) (list []Found, complete bool, err error)
}

// Installations is implemented by forges where Troy acts only as an app's
// installation, which must be looked up before a repository can be read:
// GitHub.
type Installations interface {
	NeedsInstallation() bool
}

// Hooks is implemented by forges where each repository has its own webhooks,
// which Troy may change with the right permission: Bitbucket.
type Hooks interface {
	// EnsureHook makes the repository's webhook to an address, or updates it,
	// and returns its id. After ErrForbidden, it has to be made by hand.
	EnsureHook(ctx context.Context, r Repository, hook Hook) (string, error)
}

// Hook is a webhook.
type Hook struct {
	URL    string
	Secret string // signs the deliveries; never empty
}

// AppSetup is implemented by forges where an app is made from a manifest in the
// browser: GitHub.
type AppSetup interface {
	// Manifest returns the address to which the browser posts the form, and the
	// value of its only field, "manifest".
	Manifest(req AppRequest) (action string, manifest []byte, err error)
	// Convert exchanges the browser's code, once and within an hour, for the
	// app.
	Convert(ctx context.Context, code string) (App, error)
}

// AppRequest describes the app to make.
type AppRequest struct {
	Name string
	// Organization is the app's owner, or empty for the user's own account.
	Organization string
	// State comes back with the browser; the caller compares it.
	State string
	// URL is Troy's page, HookURL receives events, RedirectURL is where the
	// browser returns with the code, and SetupURL where it goes once the app is
	// installed.
	URL, HookURL, RedirectURL, SetupURL string
}

// App is a GitHub app with its credentials, to be sealed as JSON. Formatting
// shows only its names.
type App struct {
	ID            int64  `json:"id"`
	ClientID      string `json:"client_id"`
	Slug          string `json:"slug"`
	Name          string `json:"name"`
	URL           string `json:"url"`         // its page, from which it is installed
	PrivateKey    string `json:"private_key"` // RSA, PEM
	WebhookSecret string `json:"webhook_secret"`
	ClientSecret  string `json:"client_secret"`
}

// Format implements fmt.Formatter for every verb.
func (a App) Format(s fmt.State, _ rune) { _, _ = fmt.Fprintf(s, "app %d (%s)", a.ID, a.Slug) }

// RateLimitError means that the forge's rate limit is reached.
type RateLimitError struct {
	Wait time.Duration
	What string // the call that it answered
}

func (e *RateLimitError) Error() string {
	return fmt.Sprintf("%s: the forge's rate limit is reached; it asks to wait %s", e.What, e.Wait.Round(time.Second))
}

// RetryAfter returns how long to wait, between a second and an hour.
func (e *RateLimitError) RetryAfter() time.Duration { return e.Wait }
