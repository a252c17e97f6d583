// Package forge holds the ports to where repositories are: reading a commit's
// source, the heads of branches, reporting back what became of a commit, and
// verifying and parsing what a forge sends. Workers act through an Adapter's
// API, and web serves what an Adapter receives. A package below this one is the
// whole of one forge; what all of them need to speak HTTP safely is here, too.
//
// Every call may be repeated, and honours its context. An error that repeating
// will not mend is a *troy.Error of kind NotFound, Forbidden, Invalid,
// Conflict or TooLarge, and wraps one of the errors below where one fits. One
// that says when to come back has RetryAfter (RateLimitError). Any other may
// pass by itself. No error has a credential in it.
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
	// ErrNoRepository says that the repository is gone, or was taken from what the
	// credentials may read. Forges don't tell the two apart. Kind NotFound.
	ErrNoRepository = errors.New("the repository is gone, or may no longer be read")
	// ErrNoCommit says that the branch or the commit is not there (any more): deleted,
	// or removed by a force-push. Kind NotFound.
	ErrNoCommit = errors.New("no such branch or commit")
	// ErrInstallation says that the app's installation is suspended or removed. Kind
	// Forbidden.
	ErrInstallation = errors.New("the installation is suspended or removed")
	// ErrForbidden says that the credentials lack the permission for this one thing.
	// Kind Forbidden.
	ErrForbidden = errors.New("the credentials lack the permission")
	// ErrUnauthorized says that the forge does not know the credentials: revoked,
	// expired, or signed by a clock that is wrong. Kind Unauthenticated, which
	// is retried, since forges refuse good credentials for moments too.
	ErrUnauthorized = errors.New("the credentials were refused")
	// ErrNoArchive says that the forge hands out no archive to these credentials.
	// Clone instead. Kind Conflict.
	ErrNoArchive = errors.New("the forge offers no archive")
)

// Repository says which repository a call is about.
type Repository struct {
	// Installation is what Troy acts as: the id of the GitHub app's
	// installation, or of the Bitbucket credentials.
	Installation string
	// ID survives renames, as troy.ForgeRepository has it. Calls go by it.
	ID string
	// FullName is "owner/name" as it was known last. Bitbucket wants the
	// owner in addresses; GitHub is asked by it when ID is empty.
	FullName string
}

// Forge is one forge.
type Forge interface {
	// Repository looks a repository up by what of r is known: by ID if there
	// is one, otherwise by FullName. What it returns has its present name, its
	// default branch, and with GitHub the installation that sees it, also
	// when r names none.
	Repository(ctx context.Context, r Repository) (Found, error)

	// Head returns the full id of a branch's newest commit. A renamed branch
	// is ErrNoCommit.
	Head(ctx context.Context, r Repository, branch string) (string, error)

	// Commit looks up a commit by its full id, or by at least seven digits of
	// it.
	Commit(ctx context.Context, r Repository, id string) (Commit, error)

	// Archive returns the files of a commit, by its full id, as a gzipped tar
	// with one top folder, as the forge makes it: without submodules, and with
	// the pointers of LFS instead of its files. Reading fails with a
	// *troy.Error of kind TooLarge past the adapter's limit, and when nothing
	// comes for a minute. The bytes are a stranger's. The caller closes it;
	// ctx governs the reading as well.
	Archive(ctx context.Context, r Repository, commit string) (io.ReadCloser, error)

	// Clone returns what git needs to fetch the repository for the next
	// minutes, for repositories with submodules or LFS and after ErrNoArchive.
	// It can read this repository alone where the forge can narrow it.
	Clone(ctx context.Context, r Repository) (Clone, error)

	// Report tells the forge how a deployment stands. Reporting the same again
	// changes nothing, and a report that comes late does not take back the end
	// of its deployment. Where one part of it fails, the others are done.
	Report(ctx context.Context, r Repository, report Report) error
}

// Found is a repository that was looked up.
type Found struct {
	Repository
	DefaultBranch string // empty for a repository without commits on Bitbucket
	Private       bool
}

// Commit is a commit as its forge tells of it, in UTF-8. The texts are
// bounded but otherwise as their author, who may be a stranger, wrote them.
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
	// Expires is zero when the password is good until someone revokes it.
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

// Report is how a deployment stands, for people who look at its commit. Of a
// commit that is not built it says why.
type Report struct {
	// Deployment is the deployment's id: GitHub has one check run and at most
	// one deployment for each. A skipped commit has an id of its own.
	Deployment string
	// Pipeline is the pipeline's id: Bitbucket has one build status for each
	// commit and pipeline, which a later deployment of the commit overwrites.
	Pipeline string
	Commit   string // the full id
	// Name is the line's name, the same for all of a pipeline's: "Troy: blog".
	Name  string
	State troy.DeploymentState
	// Title is one short line, Summary a few sentences in Markdown: how it
	// stands, or the cause of its failure.
	Title, Summary string
	// DetailsURL is Troy's page of the deployment, SiteURL the site itself. A
	// skipped commit has no page; its DetailsURL is the site.
	DetailsURL, SiteURL string
	// Environment is GitHub's name for where it is deployed: "production". If
	// it is empty, the report leaves GitHub's deployments alone.
	Environment    string
	Started, Ended time.Time // zero when not yet
}

// Deliveries is for forges that keep what they could not deliver and send it
// again when asked: GitHub.
type Deliveries interface {
	// Failed lists the deliveries since then of which no attempt succeeded,
	// the oldest first and each once, with its latest attempt. What was
	// delivered in the last minute is left out: an attempt may be under way.
	// With an error it returns what it had found by then.
	Failed(ctx context.Context, since time.Time) ([]FailedDelivery, error)
	// Redeliver asks for an attempt to be repeated, which GitHub does for
	// those of the last three days.
	Redeliver(ctx context.Context, attempt int64) error
}

// FailedDelivery is a webhook's message that did not arrive.
type FailedDelivery struct {
	ID       string // the same in all attempts, and in the message when it arrives
	Attempt  int64  // the latest attempt's number
	Attempts int    // how many there were since
	Event    string // "push"
	Time     time.Time
	Status   int // what Troy answered, 0 when it could not be reached
}

// Comparer is for forges that tell which files differ between two commits.
type Comparer interface {
	// Compare lists the files that differ between two commits, given by their
	// full ids: sorted, each once, a renamed one by both names. complete is
	// false if there may be others, as after a force-push. ErrNoCommit says
	// that one of the commits is gone.
	Compare(ctx context.Context, r Repository, base, head string) (paths []string, complete bool, err error)
}

// Installations is for forges where Troy acts as an app's installation alone,
// which has to be looked up before a repository can be read: GitHub.
type Installations interface {
	NeedsInstallation() bool
}

// Hooks is for forges where each repository has webhooks of its own, which
// credentials with the permission may change: Bitbucket.
type Hooks interface {
	// EnsureHook makes the repository's webhook to an address, or brings the
	// one that is there up to date. It returns its id. ErrForbidden asks for
	// it to be made by hand.
	EnsureHook(ctx context.Context, r Repository, hook Hook) (string, error)
	// RemoveHook removes the webhook to an address. None is not an error.
	RemoveHook(ctx context.Context, r Repository, url string) error
}

// Hook is a webhook.
type Hook struct {
	URL    string
	Secret string // signs what is sent; never empty
}

// AppSetup is for forges where an app is made by handing over a manifest in
// the browser: GitHub.
type AppSetup interface {
	// Manifest returns the address that the browser posts the form to, and the
	// value of its only field, "manifest".
	Manifest(req AppRequest) (action string, manifest []byte, err error)
	// Convert trades the code that the browser comes back with, once and
	// within an hour, for the app.
	Convert(ctx context.Context, code string) (App, error)
}

// AppRequest is what an app is to be like.
type AppRequest struct {
	Name string
	// Organization is where the app is made, or empty for the user's own
	// account.
	Organization string
	// State comes back with the browser; the caller compares it.
	State string
	// URL is Troy's page, HookURL where events go, RedirectURL where the
	// browser comes back to with the code, and SetupURL where it goes once
	// the app is installed.
	URL, HookURL, RedirectURL, SetupURL string
}

// App is a GitHub app with its credentials, to be sealed as JSON. Formatting
// shows its names alone.
type App struct {
	ID            int64  `json:"id"`
	ClientID      string `json:"client_id"`
	Slug          string `json:"slug"`
	Name          string `json:"name"`
	URL           string `json:"url"`         // its page, where it is installed from
	PrivateKey    string `json:"private_key"` // RSA, PEM
	WebhookSecret string `json:"webhook_secret"`
	ClientSecret  string `json:"client_secret"`
}

// Format implements fmt.Formatter for every verb.
func (a App) Format(s fmt.State, _ rune) { _, _ = fmt.Fprintf(s, "app %d (%s)", a.ID, a.Slug) }

// RateLimitError says that the forge wants to be left alone for a while.
type RateLimitError struct {
	Wait time.Duration
	What string // the call that it answered
}

func (e *RateLimitError) Error() string {
	return fmt.Sprintf("%s: the forge's rate limit is reached; it asks to wait %s", e.What, e.Wait.Round(time.Second))
}

// RetryAfter is how long to wait, between a second and an hour.
func (e *RateLimitError) RetryAfter() time.Duration { return e.Wait }
