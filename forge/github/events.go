package github

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/payload"
	"github.com/troy-iaas/troy/watch"
)

// The maximum number of commits of a push that GitHub lists
// (docs.github.com/webhooks/webhook-events-and-payloads#push), and of files of
// a commit (docs.github.com/rest/commits/commits#get-a-commit): a list of this
// length may be incomplete.
const (
	maxCommits     = 2048
	maxCommitFiles = 3000
)

// The maximum number of paths of a push, and their total bytes. Comparing more
// with the watch paths would take longer than an unnecessary build.
const (
	maxPaths     = 10_000
	maxPathBytes = 1_000_000
)

type eventRepository struct {
	ID            int64   `json:"id"`
	Name          string  `json:"name"`
	FullName      string  `json:"full_name"`
	DefaultBranch string  `json:"default_branch"`
	Private       bool    `json:"private"`
	Owner         account `json:"owner"`
}

type account struct {
	ID    int64  `json:"id"`
	Login string `json:"login"`
	Slug  string `json:"slug"` // instead of a login, for an enterprise
	Type  string `json:"type"`
}

type eventApp struct {
	ID int64 `json:"id"`
}

type eventInstallation struct {
	ID         int64   `json:"id"`
	AppID      int64   `json:"app_id"`
	Account    account `json:"account"`
	Repository string  `json:"repository_selection"`
}

// common is the part of most events.
type common struct {
	Action       string            `json:"action"`
	Repository   eventRepository   `json:"repository"`
	Installation eventInstallation `json:"installation"`
	Sender       account           `json:"sender"`
}

// Parse reads the body of a verified delivery from GitHub. event is the one in
// the header (docs.github.com/webhooks/webhook-events-and-payloads). Events and
// actions that Troy does not use are Ignored. Errors are *troy.Error of kind
// Invalid with the invalid field.
func Parse(event string, body []byte) (troy.ForgeEvent, error) {
	switch event {
	case "push":
		return pushed(body)
	case "installation", "installation_repositories":
		return installationChanged(event, body)
	case "repository":
		return repositoryChanged(body)
	case "check_run", "check_suite":
		return rerequested(event, body)
	case "pull_request":
		return pullRequest(body)
	case "issue_comment":
		return commented(body)
	case "ping":
		return pinged(body)
	}
	var c payload.Checker
	c.Line("X-GitHub-Event", event, payload.MaxHeader)
	if c.Err != nil {
		return nil, c.Err
	}
	var e struct {
		Action jsontext.Value `json:"action"`
	}
	if err := payload.Decode(body, &e); err != nil {
		return nil, err
	}
	return payload.Ignored(event, payload.Text(e.Action)), nil
}

func repositoryOf(c *payload.Checker, field string, r eventRepository) troy.ForgeRepository {
	return troy.ForgeRepository{
		Provider:      troy.GitHub,
		ID:            c.Number(field+".id", r.ID),
		FullName:      c.FullName(field+".full_name", r.FullName),
		DefaultBranch: payload.Clean(r.DefaultBranch, payload.MaxName),
		Private:       r.Private,
	}
}

// optional formats an id that may be missing.
func optional(c *payload.Checker, field string, n int64) string {
	if n == 0 {
		return ""
	}
	return c.Number(field, n)
}

type eventCommit struct {
	Message string `json:"message"`
	Author  struct {
		Name     string `json:"name"`
		Username string `json:"username"`
	} `json:"author"`
	Added    []string `json:"added"`
	Removed  []string `json:"removed"`
	Modified []string `json:"modified"`
}

func pushed(body []byte) (troy.ForgeEvent, error) {
	var e struct {
		common
		Ref        string        `json:"ref"`
		Before     string        `json:"before"`
		After      string        `json:"after"`
		Forced     bool          `json:"forced"`
		Deleted    bool          `json:"deleted"`
		HeadCommit eventCommit   `json:"head_commit"`
		Commits    []eventCommit `json:"commits"`
		Pusher     struct {
			Name string `json:"name"`
		} `json:"pusher"`
	}
	if err := payload.Decode(body, &e); err != nil {
		return nil, err
	}
	var c payload.Checker
	p := troy.Push{
		Before:  c.CommitOrNone("before", e.Before),
		After:   c.CommitOrNone("after", e.After),
		Forced:  e.Forced,
		Message: payload.Message(e.HeadCommit.Message),
		Author:  payload.Clean(cmp.Or(e.HeadCommit.Author.Name, e.HeadCommit.Author.Username), payload.MaxName),
		Skip:    watch.SkipReason(e.HeadCommit.Message),
	}
	p.Created, p.Deleted = p.Before == "", p.After == "" || e.Deleted
	if branch, ok := strings.CutPrefix(e.Ref, "refs/heads/"); ok {
		p.Kind, p.Name = troy.Branch, c.Ref("ref", branch)
	} else if tag, ok := strings.CutPrefix(e.Ref, "refs/tags/"); ok {
		p.Kind, p.Name = troy.Tag, c.Ref("ref", tag)
	} else if name := payload.Clean(e.Ref, payload.MaxName); strings.HasPrefix(name, "refs/") {
		return troy.Ignored{Name: "push", Reason: name + " is neither a branch nor a tag"}, nil
	} else {
		c.Fail("ref", "expected the full name of a ref, like refs/heads/main")
	}
	// The commits of a new or forced ref are not the whole difference from the
	// previous build.
	p.Paths, p.PathsComplete = changedPaths(e.Commits)
	p.PathsComplete = p.PathsComplete && !p.Created && !p.Deleted && !p.Forced
	pushes := troy.PushEvent{
		Repository:   repositoryOf(&c, "repository", e.Repository),
		Installation: optional(&c, "installation.id", e.Installation.ID),
		Pusher:       payload.Clean(e.Pusher.Name, payload.MaxName),
		Pushes:       []troy.Push{p},
		Complete:     true,
	}
	return payload.Result(pushes, &c)
}

// changedPaths lists the files that commits changed, and reports whether the
// list is complete.
func changedPaths(commits []eventCommit) (paths []string, complete bool) {
	complete = len(commits) > 0 && len(commits) < maxCommits
	seen := map[string]struct{}{}
	bytes := 0
	for _, commit := range commits {
		// GitHub omits the lists if it does not examine the files.
		if commit.Added == nil && commit.Removed == nil && commit.Modified == nil {
			complete = false
		}
		for _, list := range [][]string{commit.Added, commit.Removed, commit.Modified} {
			if len(list) >= maxCommitFiles {
				complete = false
			}
			for _, path := range list {
				if _, ok := seen[path]; ok {
					continue
				}
				if bytes += len(path); len(seen) == maxPaths || bytes > maxPathBytes {
					return slices.Sorted(maps.Keys(seen)), false
				}
				seen[path] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(seen)), complete
}

func installationChanged(event string, body []byte) (troy.ForgeEvent, error) {
	var e struct {
		common
		Repositories []eventRepository `json:"repositories"`
		Added        []eventRepository `json:"repositories_added"`
		Removed      []eventRepository `json:"repositories_removed"`
	}
	if err := payload.Decode(body, &e); err != nil {
		return nil, err
	}
	change := troy.InstallationChange{Provider: troy.GitHub}
	var c payload.Checker
	switch event + " " + e.Action {
	case "installation created":
		change.Action = troy.InstallationCreated
	case "installation deleted":
		change.Action = troy.InstallationDeleted
	case "installation suspend":
		change.Action = troy.InstallationSuspended
	case "installation unsuspend":
		change.Action = troy.InstallationUnsuspended
	case "installation new_permissions_accepted":
		change.Action = troy.InstallationPermissionsAccepted
	case "installation_repositories added", "installation_repositories removed":
		change.Action = troy.InstallationRepositoriesChanged
	default:
		c.Line("action", e.Action, payload.MaxName)
		return payload.Result(payload.Ignored(event, e.Action), &c)
	}
	change.ID = c.Number("installation.id", e.Installation.ID)
	change.AppID = c.Number("installation.app_id", e.Installation.AppID)
	change.Account = c.Line("installation.account.login", cmp.Or(e.Installation.Account.Login, e.Installation.Account.Slug), payload.MaxName)
	change.AllRepositories = e.Installation.Repository == "all"
	change.Sender = payload.Clean(e.Sender.Login, payload.MaxName)
	change.Added = repositoriesOf(&c, "repositories", e.Repositories)
	if event == "installation_repositories" {
		change.Added = repositoriesOf(&c, "repositories_added", e.Added)
		change.Removed = repositoriesOf(&c, "repositories_removed", e.Removed)
	}
	return payload.Result(change, &c)
}

func repositoriesOf(c *payload.Checker, field string, list []eventRepository) []troy.ForgeRepository {
	var out []troy.ForgeRepository
	for _, r := range list {
		out = append(out, repositoryOf(c, field, r))
	}
	return out
}

func repositoryChanged(body []byte) (troy.ForgeEvent, error) {
	type from struct {
		From string `json:"from"`
	}
	var e struct {
		common
		Changes struct {
			Repository struct {
				Name from `json:"name"`
			} `json:"repository"`
			Owner struct {
				From struct {
					User         account `json:"user"`
					Organization account `json:"organization"`
				} `json:"from"`
			} `json:"owner"`
			DefaultBranch from `json:"default_branch"`
		} `json:"changes"`
	}
	if err := payload.Decode(body, &e); err != nil {
		return nil, err
	}
	var c payload.Checker
	change := troy.RepositoryChange{
		Repository:   repositoryOf(&c, "repository", e.Repository),
		Installation: optional(&c, "installation.id", e.Installation.ID),
		Action:       troy.RepositoryAction(e.Action),
	}
	owner, name, _ := strings.Cut(change.Repository.FullName, "/")
	switch change.Action {
	case troy.RepositoryRenamed:
		change.OldFullName = c.FullName("changes.repository.name.from", owner+"/"+e.Changes.Repository.Name.From)
	case troy.RepositoryTransferred:
		old := cmp.Or(e.Changes.Owner.From.User.Login, e.Changes.Owner.From.Organization.Login)
		change.OldFullName = c.FullName("changes.owner.from", old+"/"+name)
	case troy.RepositoryEdited:
		change.OldDefaultBranch = payload.Clean(e.Changes.DefaultBranch.From, payload.MaxName)
	case troy.RepositoryCreated, troy.RepositoryDeleted, troy.RepositoryArchived, troy.RepositoryUnarchived,
		troy.RepositoryPrivatized, troy.RepositoryPublicized:
	default:
		c.Line("action", e.Action, payload.MaxName)
		return payload.Result(payload.Ignored("repository", e.Action), &c)
	}
	return payload.Result(change, &c)
}

func rerequested(event string, body []byte) (troy.ForgeEvent, error) {
	type suite struct {
		ID         int64    `json:"id"`
		HeadSHA    string   `json:"head_sha"`
		HeadBranch string   `json:"head_branch"`
		App        eventApp `json:"app"`
	}
	var e struct {
		common
		Suite suite `json:"check_suite"`
		Run   struct {
			ID         int64    `json:"id"`
			HeadSHA    string   `json:"head_sha"`
			ExternalID string   `json:"external_id"`
			App        eventApp `json:"app"`
			Suite      suite    `json:"check_suite"`
		} `json:"check_run"`
		Requested struct {
			Identifier string `json:"identifier"`
		} `json:"requested_action"`
	}
	if err := payload.Decode(body, &e); err != nil {
		return nil, err
	}
	var c payload.Checker
	button := event == "check_run" && e.Action == "requested_action"
	if e.Action != "rerequested" && !button {
		c.Line("action", e.Action, payload.MaxName)
		return payload.Result(payload.Ignored(event, e.Action), &c)
	}
	r := troy.Rerequest{
		Repository:   repositoryOf(&c, "repository", e.Repository),
		Installation: optional(&c, "installation.id", e.Installation.ID),
		Sender:       payload.Clean(e.Sender.Login, payload.MaxName),
	}
	if event == "check_suite" {
		r.CheckSuite = c.Number("check_suite.id", e.Suite.ID)
		r.Commit = c.Commit("check_suite.head_sha", e.Suite.HeadSHA)
		r.AppID = c.Number("check_suite.app.id", e.Suite.App.ID)
		r.Branch = payload.Clean(e.Suite.HeadBranch, payload.MaxName)
	} else {
		r.CheckRun = c.Number("check_run.id", e.Run.ID)
		r.CheckSuite = c.Number("check_run.check_suite.id", e.Run.Suite.ID)
		r.Commit = c.Commit("check_run.head_sha", e.Run.HeadSHA)
		r.AppID = c.Number("check_run.app.id", e.Run.App.ID)
		r.Branch = payload.Clean(e.Run.Suite.HeadBranch, payload.MaxName)
		r.ExternalID = payload.Clean(e.Run.ExternalID, payload.MaxName)
	}
	if button {
		r.Action = c.Line("requested_action.identifier", e.Requested.Identifier, payload.MaxName)
	}
	return payload.Result(r, &c)
}

func pinged(body []byte) (troy.ForgeEvent, error) {
	var e struct {
		HookID int64 `json:"hook_id"`
		Hook   struct {
			AppID int64 `json:"app_id"`
		} `json:"hook"`
	}
	if err := payload.Decode(body, &e); err != nil {
		return nil, err
	}
	var c payload.Checker
	return payload.Result(troy.Ping{
		Hook:  c.Number("hook_id", e.HookID),
		AppID: optional(&c, "hook.app_id", e.Hook.AppID),
	}, &c)
}

// Headers reads the headers of a GitHub request
// (docs.github.com/webhooks/webhook-events-and-payloads#delivery-headers). It
// ignores a SHA-1 signature. Its errors are those of forge.Webhook.
func Headers(h http.Header) (forge.Delivery, error) {
	return forge.ReadDelivery(h, "X-Hub-Signature-256", "X-GitHub-Event", "X-GitHub-Delivery")
}
