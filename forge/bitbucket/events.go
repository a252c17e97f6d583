package bitbucket

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/payload"
	"github.com/troy-iaas/troy/watch"
)

// maxChanges is the maximum number of branches and tags that are read from one
// push. A push with more is not Complete, so the branches are read.
const maxChanges = 1000

type eventRepository struct {
	UUID     string `json:"uuid"`
	FullName string `json:"full_name"`
	Private  bool   `json:"is_private"`
}

type eventUser struct {
	UUID        string `json:"uuid"`
	Type        string `json:"type"`
	DisplayName string `json:"display_name"`
	Username    string `json:"username"`
	Nickname    string `json:"nickname"`
}

func (u eventUser) name() string {
	return payload.Clean(cmp.Or(u.DisplayName, u.Nickname, u.Username), payload.MaxName)
}

// common is the part of all events of a repository.
type common struct {
	Repository eventRepository `json:"repository"`
	Actor      eventUser       `json:"actor"`
}

// Parse reads the body of a verified delivery from Bitbucket Cloud. event is
// the one in the header
// (support.atlassian.com/bitbucket-cloud/docs/event-payloads). Parse unwraps a
// Connect app's body, {"event": …, "data": {…}}; its own event counts if the
// header has none, and must equal the header's otherwise. Events that Troy does
// not use are Ignored. Errors are *troy.Error of kind Invalid with the invalid
// field.
func Parse(event string, body []byte) (troy.ForgeEvent, error) {
	wrapped, body, err := unwrap(body)
	if err != nil {
		return nil, err
	}
	var c payload.Checker
	if event != "" && wrapped != "" && event != wrapped {
		c.Fail("event", "the event differs from the header X-Event-Key")
	}
	event = c.Line("X-Event-Key", cmp.Or(event, wrapped), payload.MaxHeader)
	if c.Err != nil {
		return nil, c.Err
	}
	switch kind, action, _ := strings.Cut(event, ":"); {
	case event == "repo:push":
		return pushed(body)
	case event == "repo:updated":
		return updated(body)
	case event == "repo:created":
		return changed(body, troy.RepositoryCreated)
	case event == "repo:deleted":
		return changed(body, troy.RepositoryDeleted)
	case event == "repo:transfer":
		return changed(body, troy.RepositoryTransferred)
	case event == "pullrequest:comment_created":
		return commented(body)
	case kind == "pullrequest":
		return pullRequest(body, action)
	}
	return payload.Ignored(event, ""), nil
}

// unwrap unwraps a Connect app's delivery; it returns the body of a webhook
// unchanged, without an event.
func unwrap(body []byte) (event string, data []byte, err error) {
	var w struct {
		Event jsontext.Value `json:"event"`
		Data  jsontext.Value `json:"data"`
	}
	if err := payload.Decode(body, &w); err != nil {
		return "", nil, err
	}
	if event := payload.Text(w.Event); event != "" && w.Data.Kind() == '{' {
		return event, w.Data, nil
	}
	return "", body, nil
}

func repositoryOf(c *payload.Checker, field string, r eventRepository) troy.ForgeRepository {
	return troy.ForgeRepository{
		Provider: troy.Bitbucket,
		ID:       requiredUUID(c, field+".uuid", r.UUID),
		FullName: c.FullName(field+".full_name", r.FullName),
		Private:  r.Private,
	}
}

// requiredUUID is a required id of Bitbucket's, in the form of
// troy.ForgeRepository.
func requiredUUID(c *payload.Checker, field, s string) string {
	id, err := uuid.Parse(s)
	if err != nil || len(s) != len("{}")+36 {
		c.Fail(field, "the value is missing or not a UUID in braces")
	}
	return "{" + id.String() + "}"
}

type eventRef struct {
	Type   string `json:"type"`
	Name   string `json:"name"`
	Target struct {
		Hash    string `json:"hash"`
		Message string `json:"message"`
		Author  struct {
			Raw  string    `json:"raw"`
			User eventUser `json:"user"`
		} `json:"author"`
	} `json:"target"`
}

func (r eventRef) kind() (kind troy.RefKind, known bool) {
	switch r.Type {
	case "branch", "named_branch":
		return troy.Branch, true
	case "tag", "annotated_tag":
		return troy.Tag, true
	}
	return "", false
}

func pushed(body []byte) (troy.ForgeEvent, error) {
	var e struct {
		common
		Push struct {
			Changes []struct {
				Old    *eventRef `json:"old"`
				New    *eventRef `json:"new"`
				Forced bool      `json:"forced"`
			} `json:"changes"`
		} `json:"push"`
	}
	if err := payload.Decode(body, &e); err != nil {
		return nil, err
	}
	var c payload.Checker
	pushes := troy.PushEvent{
		Repository: repositoryOf(&c, "repository", e.Repository),
		Pusher:     e.Actor.name(),
	}
	changes := e.Push.Changes
	pushes.Complete = len(changes) > 0 && len(changes) <= maxChanges
	for _, change := range changes[:min(len(changes), maxChanges)] {
		p := troy.Push{Forced: change.Forced, Unlisted: true}
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
		p.Name = c.Ref(side+".name", at.Name)
		if change.Old == nil {
			p.Created = true
		} else {
			p.Before = c.Commit("push.changes.old.target.hash", change.Old.Target.Hash)
		}
		if !p.Deleted {
			p.After = c.Commit("push.changes.new.target.hash", at.Target.Hash)
			p.Message = payload.Message(at.Target.Message)
			p.Skip = watch.SkipReason(at.Target.Message)
			// The raw author has git's format: "name <address>".
			name, _, _ := strings.Cut(at.Target.Author.Raw, " <")
			p.Author = cmp.Or(payload.Clean(name, payload.MaxName), at.Target.Author.User.name())
		}
		pushes.Pushes = append(pushes.Pushes, p)
	}
	return payload.Result(pushes, &c)
}

func updated(body []byte) (troy.ForgeEvent, error) {
	type change struct {
		Old string `json:"old"`
		New string `json:"new"`
	}
	var e struct {
		common
		Changes struct {
			FullName change `json:"full_name"`
		} `json:"changes"`
	}
	if err := payload.Decode(body, &e); err != nil {
		return nil, err
	}
	var c payload.Checker
	r := troy.RepositoryChange{
		Repository: repositoryOf(&c, "repository", e.Repository),
		Action:     troy.RepositoryEdited,
	}
	if old := e.Changes.FullName.Old; old != "" && old != e.Changes.FullName.New {
		r.Action = troy.RepositoryRenamed
		r.OldFullName = c.FullName("changes.full_name.old", old)
	}
	return payload.Result(r, &c)
}

func changed(body []byte, action troy.RepositoryAction) (troy.ForgeEvent, error) {
	var e common
	if err := payload.Decode(body, &e); err != nil {
		return nil, err
	}
	var c payload.Checker
	return payload.Result(troy.RepositoryChange{
		Repository: repositoryOf(&c, "repository", e.Repository),
		Action:     action,
	}, &c)
}

// Headers reads the headers of a Bitbucket request that is signed with the
// webhook's secret
// (support.atlassian.com/bitbucket-cloud/docs/manage-webhooks). Its errors are
// those of forge.Webhook.
func Headers(h http.Header) (forge.Delivery, error) {
	return forge.ReadDelivery(h, "X-Hub-Signature", "X-Event-Key", "X-Request-UUID")
}

// ConnectHeaders reads the headers of a Bitbucket request to a Connect app,
// whose signature is a token (ConnectToken). Its errors are those of
// forge.Webhook.
func ConnectHeaders(h http.Header) (forge.Delivery, error) {
	return forge.ReadDelivery(h, "", "X-Event-Key", "X-Request-UUID")
}
