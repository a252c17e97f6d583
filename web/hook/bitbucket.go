package hook

import (
	"cmp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/watch"
)

// maxChanges is the most branches and tags that are taken from one push of
// Bitbucket's. Past it the push is not Complete, which reads the branches.
const maxChanges = 1000

type bitbucketRepository struct {
	UUID     string `json:"uuid"`
	FullName string `json:"full_name"`
	Private  bool   `json:"is_private"`
}

type bitbucketUser struct {
	UUID        string `json:"uuid"`
	Type        string `json:"type"`
	DisplayName string `json:"display_name"`
	Username    string `json:"username"`
	Nickname    string `json:"nickname"`
}

func (u bitbucketUser) name() string {
	return clean(cmp.Or(u.DisplayName, u.Nickname, u.Username), maxName)
}

// bitbucketCommon is what all events of a repository have.
type bitbucketCommon struct {
	Repository bitbucketRepository `json:"repository"`
	Actor      bitbucketUser       `json:"actor"`
}

// ParseBitbucket reads the body of a delivery of Bitbucket Cloud's that was
// verified. The event is the one that the header names
// (support.atlassian.com/bitbucket-cloud/docs/event-payloads). A body as
// Connect apps get it, {"event": …, "data": {…}}, is unwrapped; its own event
// counts when the header names none, and must be the header's otherwise.
// Events that Troy does nothing on are Ignored. Errors are *troy.Error of kind
// Invalid with the field at fault.
func ParseBitbucket(event string, body []byte) (troy.ForgeEvent, error) {
	wrapped, body, err := unwrap(body)
	if err != nil {
		return nil, err
	}
	var c checker
	if event != "" && wrapped != "" && event != wrapped {
		c.fail("event", "it is not the event that the header X-Event-Key names")
	}
	event = c.line("X-Event-Key", cmp.Or(event, wrapped), maxHeader)
	if c.err != nil {
		return nil, c.err
	}
	switch kind, action, _ := strings.Cut(event, ":"); {
	case event == "repo:push":
		return bitbucketPush(body)
	case event == "repo:updated":
		return bitbucketUpdate(body)
	case event == "repo:created":
		return bitbucketChange(body, troy.RepositoryCreated)
	case event == "repo:deleted":
		return bitbucketChange(body, troy.RepositoryDeleted)
	case event == "repo:transfer":
		return bitbucketChange(body, troy.RepositoryTransferred)
	case kind == "pullrequest":
		return bitbucketPullRequest(body, action)
	}
	return ignored(event, ""), nil
}

// unwrap takes a Connect app's delivery out of its wrapping; the body of a
// webhook is returned as it is, without an event.
func unwrap(body []byte) (event string, data []byte, err error) {
	var w struct {
		Event jsontext.Value `json:"event"`
		Data  jsontext.Value `json:"data"`
	}
	if err := decode(body, &w); err != nil {
		return "", nil, err
	}
	if event := text(w.Event); event != "" && w.Data.Kind() == '{' {
		return event, w.Data, nil
	}
	return "", body, nil
}

func (c *checker) bitbucketRepository(field string, r bitbucketRepository) troy.ForgeRepository {
	return troy.ForgeRepository{
		Provider: troy.Bitbucket,
		ID:       c.uuid(field+".uuid", r.UUID),
		FullName: c.fullName(field+".full_name", r.FullName),
		Private:  r.Private,
	}
}

type bitbucketRef struct {
	Type   string `json:"type"`
	Name   string `json:"name"`
	Target struct {
		Hash    string `json:"hash"`
		Message string `json:"message"`
		Author  struct {
			Raw  string        `json:"raw"`
			User bitbucketUser `json:"user"`
		} `json:"author"`
	} `json:"target"`
}

func (r bitbucketRef) kind() (kind troy.RefKind, known bool) {
	switch r.Type {
	case "branch", "named_branch":
		return troy.Branch, true
	case "tag", "annotated_tag":
		return troy.Tag, true
	}
	return "", false
}

func bitbucketPush(body []byte) (troy.ForgeEvent, error) {
	var e struct {
		bitbucketCommon
		Push struct {
			Changes []struct {
				Old    *bitbucketRef `json:"old"`
				New    *bitbucketRef `json:"new"`
				Forced bool          `json:"forced"`
			} `json:"changes"`
		} `json:"push"`
	}
	if err := decode(body, &e); err != nil {
		return nil, err
	}
	var c checker
	pushes := troy.PushEvent{
		Repository: c.bitbucketRepository("repository", e.Repository),
		Pusher:     e.Actor.name(),
	}
	changes := e.Push.Changes
	pushes.Complete = len(changes) > 0 && len(changes) <= maxChanges
	for _, change := range changes[:min(len(changes), maxChanges)] {
		// What a push says of the files that changed is nothing, so
		// PathsComplete stays false.
		p := troy.Push{Forced: change.Forced}
		at, side := change.New, "push.changes.new"
		if at == nil {
			at, side, p.Deleted = change.Old, "push.changes.old", true
		}
		if at == nil {
			pushes.Complete = false
			continue
		}
		var known bool
		if p.Kind, known = at.kind(); !known {
			pushes.Complete = false
			continue
		}
		p.Name = c.ref(side+".name", at.Name)
		if change.Old == nil {
			p.Created = true
		} else {
			p.Before = c.commit("push.changes.old.target.hash", change.Old.Target.Hash)
		}
		if !p.Deleted {
			p.After = c.commit("push.changes.new.target.hash", at.Target.Hash)
			p.Message = message(at.Target.Message)
			p.Skip = watch.SkipReason(at.Target.Message)
			// The raw author is git's own: "name <address>".
			name, _, _ := strings.Cut(at.Target.Author.Raw, " <")
			p.Author = cmp.Or(clean(name, maxName), at.Target.Author.User.name())
		}
		pushes.Pushes = append(pushes.Pushes, p)
	}
	return result(pushes, &c)
}

func bitbucketUpdate(body []byte) (troy.ForgeEvent, error) {
	type change struct {
		Old string `json:"old"`
		New string `json:"new"`
	}
	var e struct {
		bitbucketCommon
		Changes struct {
			FullName change `json:"full_name"`
		} `json:"changes"`
	}
	if err := decode(body, &e); err != nil {
		return nil, err
	}
	var c checker
	r := troy.RepositoryChange{
		Repository: c.bitbucketRepository("repository", e.Repository),
		Action:     troy.RepositoryEdited,
	}
	if old := e.Changes.FullName.Old; old != "" && old != e.Changes.FullName.New {
		r.Action = troy.RepositoryRenamed
		r.OldFullName = c.fullName("changes.full_name.old", old)
	}
	return result(r, &c)
}

func bitbucketChange(body []byte, action troy.RepositoryAction) (troy.ForgeEvent, error) {
	var e bitbucketCommon
	if err := decode(body, &e); err != nil {
		return nil, err
	}
	var c checker
	return result(troy.RepositoryChange{
		Repository: c.bitbucketRepository("repository", e.Repository),
		Action:     action,
	}, &c)
}

func bitbucketPullRequest(body []byte, action string) (troy.ForgeEvent, error) {
	type side struct {
		Branch struct {
			Name string `json:"name"`
		} `json:"branch"`
		Commit struct {
			Hash string `json:"hash"`
		} `json:"commit"`
		Repository bitbucketRepository `json:"repository"`
	}
	var e struct {
		bitbucketCommon
		PullRequest struct {
			ID          int64  `json:"id"`
			Title       string `json:"title"`
			State       string `json:"state"`
			Source      side   `json:"source"`
			Destination side   `json:"destination"`
		} `json:"pullrequest"`
	}
	if err := decode(body, &e); err != nil {
		return nil, err
	}
	var c checker
	pr := e.PullRequest
	c.number("pullrequest.id", pr.ID)
	// The commit and the repository are null once they were deleted.
	if hash := pr.Source.Commit.Hash; hash != "" && !shortCommit.MatchString(hash) {
		c.fail("pullrequest.source.commit.hash", "it is not a commit's id: 12 to 64 lower-case hexadecimal digits")
	}
	return result(troy.PullRequest{
		Repository: c.bitbucketRepository("repository", e.Repository),
		Action:     c.line("X-Event-Key", action, maxHeader),
		Number:     pr.ID,
		Title:      clean(pr.Title, maxTitle),
		Head:       c.ref("pullrequest.source.branch.name", pr.Source.Branch.Name),
		HeadCommit: pr.Source.Commit.Hash,
		Base:       c.ref("pullrequest.destination.branch.name", pr.Destination.Branch.Name),
		Fork:       !strings.EqualFold(pr.Source.Repository.UUID, e.Repository.UUID),
		Open:       pr.State == "OPEN",
		Sender:     e.Actor.name(),
	}, &c)
}
