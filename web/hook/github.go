package hook

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/watch"
)

// GitHub lists this many commits of a push at most
// (docs.github.com/webhooks/webhook-events-and-payloads#push), and its API
// this many files of a commit
// (docs.github.com/rest/commits/commits#get-a-commit): a list that is as long
// may have been cut.
const (
	maxCommits     = 2048
	maxCommitFiles = 3000
)

// The most paths, and bytes of them, that are kept of a push. Comparing more
// than these with the watch paths would take longer than a build that may not
// have been needed.
const (
	maxPaths     = 10_000
	maxPathBytes = 1_000_000
)

type githubRepository struct {
	ID            int64         `json:"id"`
	Name          string        `json:"name"`
	FullName      string        `json:"full_name"`
	DefaultBranch string        `json:"default_branch"`
	Private       bool          `json:"private"`
	Owner         githubAccount `json:"owner"`
}

type githubAccount struct {
	Login string `json:"login"`
	Slug  string `json:"slug"` // instead of a login, of an enterprise
}

type githubApp struct {
	ID int64 `json:"id"`
}

type githubInstallation struct {
	ID         int64         `json:"id"`
	AppID      int64         `json:"app_id"`
	Account    githubAccount `json:"account"`
	Repository string        `json:"repository_selection"`
}

// githubCommon is what most events have.
type githubCommon struct {
	Action       string             `json:"action"`
	Repository   githubRepository   `json:"repository"`
	Installation githubInstallation `json:"installation"`
	Sender       githubAccount      `json:"sender"`
}

// ParseGitHub reads the body of a delivery of GitHub's that was verified. The
// event is the one that the header names
// (docs.github.com/webhooks/webhook-events-and-payloads). Events and actions
// that Troy does nothing on are Ignored. Errors are *troy.Error of kind Invalid
// with the field at fault.
func ParseGitHub(event string, body []byte) (troy.ForgeEvent, error) {
	switch event {
	case "push":
		return githubPush(body)
	case "installation", "installation_repositories":
		return githubInstallationChange(event, body)
	case "repository":
		return githubRepositoryChange(body)
	case "check_run", "check_suite":
		return githubRerequest(event, body)
	case "pull_request":
		return githubPullRequest(body)
	case "ping":
		return githubPing(body)
	}
	var c checker
	c.line("X-GitHub-Event", event, maxHeader)
	if c.err != nil {
		return nil, c.err
	}
	var e struct {
		Action jsontext.Value `json:"action"`
	}
	if err := decode(body, &e); err != nil {
		return nil, err
	}
	return ignored(event, text(e.Action)), nil
}

func ignored(event, action string) troy.Ignored {
	return troy.Ignored{Name: event, Action: clean(action, maxName), Reason: "nothing is to be done on it"}
}

func (c *checker) githubRepository(field string, r githubRepository) troy.ForgeRepository {
	return troy.ForgeRepository{
		Provider:      troy.GitHub,
		ID:            c.number(field+".id", r.ID),
		FullName:      c.fullName(field+".full_name", r.FullName),
		DefaultBranch: clean(r.DefaultBranch, maxName),
		Private:       r.Private,
	}
}

// optional writes an id of GitHub's that may be missing.
func (c *checker) optional(field string, n int64) string {
	if n == 0 {
		return ""
	}
	return c.number(field, n)
}

type githubCommit struct {
	Message string `json:"message"`
	Author  struct {
		Name     string `json:"name"`
		Username string `json:"username"`
	} `json:"author"`
	Added    []string `json:"added"`
	Removed  []string `json:"removed"`
	Modified []string `json:"modified"`
}

func githubPush(body []byte) (troy.ForgeEvent, error) {
	var e struct {
		githubCommon
		Ref        string         `json:"ref"`
		Before     string         `json:"before"`
		After      string         `json:"after"`
		Forced     bool           `json:"forced"`
		Deleted    bool           `json:"deleted"`
		HeadCommit githubCommit   `json:"head_commit"`
		Commits    []githubCommit `json:"commits"`
		Pusher     struct {
			Name string `json:"name"`
		} `json:"pusher"`
	}
	if err := decode(body, &e); err != nil {
		return nil, err
	}
	var c checker
	p := troy.Push{
		Before:  c.commitOrNone("before", e.Before),
		After:   c.commitOrNone("after", e.After),
		Forced:  e.Forced,
		Message: message(e.HeadCommit.Message),
		Author:  clean(cmp.Or(e.HeadCommit.Author.Name, e.HeadCommit.Author.Username), maxName),
		Skip:    watch.SkipReason(e.HeadCommit.Message),
	}
	p.Created, p.Deleted = p.Before == "", p.After == "" || e.Deleted
	if branch, ok := strings.CutPrefix(e.Ref, "refs/heads/"); ok {
		p.Kind, p.Name = troy.Branch, c.ref("ref", branch)
	} else if tag, ok := strings.CutPrefix(e.Ref, "refs/tags/"); ok {
		p.Kind, p.Name = troy.Tag, c.ref("ref", tag)
	} else if name := clean(e.Ref, maxName); strings.HasPrefix(name, "refs/") {
		return troy.Ignored{Name: "push", Reason: name + " is neither a branch nor a tag"}, nil
	} else {
		c.fail("ref", "it is missing or no full name of a ref, like refs/heads/main")
	}
	// The commits of a new or forced ref are not all that differs from what
	// was built before.
	p.Paths, p.PathsComplete = changedPaths(e.Commits)
	p.PathsComplete = p.PathsComplete && !p.Created && !p.Deleted && !p.Forced
	pushes := troy.PushEvent{
		Repository:   c.githubRepository("repository", e.Repository),
		Installation: c.optional("installation.id", e.Installation.ID),
		Pusher:       clean(e.Pusher.Name, maxName),
		Pushes:       []troy.Push{p},
		Complete:     true,
	}
	return result(pushes, &c)
}

// result keeps an event that has a wrong field from being used. It reads the
// checker after the event's own fields were checked, whatever the order in
// which a caller's arguments are evaluated.
func result(e troy.ForgeEvent, c *checker) (troy.ForgeEvent, error) {
	if c.err != nil {
		return nil, c.err
	}
	return e, nil
}

// changedPaths lists what commits changed, and whether that is all.
func changedPaths(commits []githubCommit) (paths []string, complete bool) {
	complete = len(commits) > 0 && len(commits) < maxCommits
	seen := map[string]struct{}{}
	bytes := 0
	for _, commit := range commits {
		// GitHub leaves the lists away where it does not look at the files.
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

func githubInstallationChange(event string, body []byte) (troy.ForgeEvent, error) {
	var e struct {
		githubCommon
		Repositories []githubRepository `json:"repositories"`
		Added        []githubRepository `json:"repositories_added"`
		Removed      []githubRepository `json:"repositories_removed"`
	}
	if err := decode(body, &e); err != nil {
		return nil, err
	}
	change := troy.InstallationChange{}
	var c checker
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
		c.line("action", e.Action, maxName)
		return result(ignored(event, e.Action), &c)
	}
	change.ID = c.number("installation.id", e.Installation.ID)
	change.AppID = c.number("installation.app_id", e.Installation.AppID)
	change.Account = c.line("installation.account.login", cmp.Or(e.Installation.Account.Login, e.Installation.Account.Slug), maxName)
	change.AllRepositories = e.Installation.Repository == "all"
	change.Sender = clean(e.Sender.Login, maxName)
	change.Added = c.githubRepositories("repositories", e.Repositories)
	if event == "installation_repositories" {
		change.Added = c.githubRepositories("repositories_added", e.Added)
		change.Removed = c.githubRepositories("repositories_removed", e.Removed)
	}
	return result(change, &c)
}

func (c *checker) githubRepositories(field string, list []githubRepository) []troy.ForgeRepository {
	var out []troy.ForgeRepository
	for _, r := range list {
		out = append(out, c.githubRepository(field, r))
	}
	return out
}

func githubRepositoryChange(body []byte) (troy.ForgeEvent, error) {
	type from struct {
		From string `json:"from"`
	}
	var e struct {
		githubCommon
		Changes struct {
			Repository struct {
				Name from `json:"name"`
			} `json:"repository"`
			Owner struct {
				From struct {
					User         githubAccount `json:"user"`
					Organization githubAccount `json:"organization"`
				} `json:"from"`
			} `json:"owner"`
			DefaultBranch from `json:"default_branch"`
		} `json:"changes"`
	}
	if err := decode(body, &e); err != nil {
		return nil, err
	}
	var c checker
	change := troy.RepositoryChange{
		Repository:   c.githubRepository("repository", e.Repository),
		Installation: c.optional("installation.id", e.Installation.ID),
		Action:       troy.RepositoryAction(e.Action),
	}
	owner, name, _ := strings.Cut(change.Repository.FullName, "/")
	switch change.Action {
	case troy.RepositoryRenamed:
		change.OldFullName = c.fullName("changes.repository.name.from", owner+"/"+e.Changes.Repository.Name.From)
	case troy.RepositoryTransferred:
		old := cmp.Or(e.Changes.Owner.From.User.Login, e.Changes.Owner.From.Organization.Login)
		change.OldFullName = c.fullName("changes.owner.from", old+"/"+name)
	case troy.RepositoryEdited:
		change.OldDefaultBranch = clean(e.Changes.DefaultBranch.From, maxName)
	case troy.RepositoryCreated, troy.RepositoryDeleted, troy.RepositoryArchived, troy.RepositoryUnarchived,
		troy.RepositoryPrivatized, troy.RepositoryPublicized:
	default:
		c.line("action", e.Action, maxName)
		return result(ignored("repository", e.Action), &c)
	}
	return result(change, &c)
}

func githubRerequest(event string, body []byte) (troy.ForgeEvent, error) {
	type suite struct {
		ID         int64     `json:"id"`
		HeadSHA    string    `json:"head_sha"`
		HeadBranch string    `json:"head_branch"`
		App        githubApp `json:"app"`
	}
	var e struct {
		githubCommon
		Suite suite `json:"check_suite"`
		Run   struct {
			ID         int64     `json:"id"`
			HeadSHA    string    `json:"head_sha"`
			ExternalID string    `json:"external_id"`
			App        githubApp `json:"app"`
			Suite      suite     `json:"check_suite"`
		} `json:"check_run"`
		Requested struct {
			Identifier string `json:"identifier"`
		} `json:"requested_action"`
	}
	if err := decode(body, &e); err != nil {
		return nil, err
	}
	var c checker
	button := event == "check_run" && e.Action == "requested_action"
	if e.Action != "rerequested" && !button {
		c.line("action", e.Action, maxName)
		return result(ignored(event, e.Action), &c)
	}
	r := troy.Rerequest{
		Repository:   c.githubRepository("repository", e.Repository),
		Installation: c.optional("installation.id", e.Installation.ID),
		Sender:       clean(e.Sender.Login, maxName),
	}
	if event == "check_suite" {
		r.CheckSuite = c.number("check_suite.id", e.Suite.ID)
		r.Commit = c.commit("check_suite.head_sha", e.Suite.HeadSHA)
		r.AppID = c.number("check_suite.app.id", e.Suite.App.ID)
		r.Branch = clean(e.Suite.HeadBranch, maxName)
	} else {
		r.CheckRun = c.number("check_run.id", e.Run.ID)
		r.CheckSuite = c.number("check_run.check_suite.id", e.Run.Suite.ID)
		r.Commit = c.commit("check_run.head_sha", e.Run.HeadSHA)
		r.AppID = c.number("check_run.app.id", e.Run.App.ID)
		r.Branch = clean(e.Run.Suite.HeadBranch, maxName)
		r.ExternalID = clean(e.Run.ExternalID, maxName)
	}
	if button {
		r.Action = c.line("requested_action.identifier", e.Requested.Identifier, maxName)
	}
	return result(r, &c)
}

func githubPullRequest(body []byte) (troy.ForgeEvent, error) {
	type side struct {
		Ref        string           `json:"ref"`
		SHA        string           `json:"sha"`
		Repository githubRepository `json:"repo"`
	}
	var e struct {
		githubCommon
		PullRequest struct {
			Number int64  `json:"number"`
			State  string `json:"state"`
			Title  string `json:"title"`
			Head   side   `json:"head"`
			Base   side   `json:"base"`
		} `json:"pull_request"`
	}
	if err := decode(body, &e); err != nil {
		return nil, err
	}
	var c checker
	pr := e.PullRequest
	c.number("pull_request.number", pr.Number)
	return result(troy.PullRequest{
		Repository:   c.githubRepository("repository", e.Repository),
		Installation: c.optional("installation.id", e.Installation.ID),
		Action:       c.line("action", e.Action, maxName),
		Number:       pr.Number,
		Title:        clean(pr.Title, maxTitle),
		Head:         c.ref("pull_request.head.ref", pr.Head.Ref),
		HeadCommit:   c.commit("pull_request.head.sha", pr.Head.SHA),
		Base:         c.ref("pull_request.base.ref", pr.Base.Ref),
		// The head's repository is null once it was deleted.
		Fork:   pr.Head.Repository.ID != e.Repository.ID,
		Open:   pr.State == "open",
		Sender: clean(e.Sender.Login, maxName),
	}, &c)
}

func githubPing(body []byte) (troy.ForgeEvent, error) {
	var e struct {
		HookID int64 `json:"hook_id"`
		Hook   struct {
			AppID int64 `json:"app_id"`
		} `json:"hook"`
	}
	if err := decode(body, &e); err != nil {
		return nil, err
	}
	var c checker
	return result(troy.Ping{
		Hook:  c.number("hook_id", e.HookID),
		AppID: c.optional("hook.app_id", e.Hook.AppID),
	}, &c)
}
