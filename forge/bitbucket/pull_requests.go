package bitbucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/payload"
)

// shortCommit matches an abbreviated commit id, as Bitbucket sends some.
var shortCommit = regexp.MustCompile(`^[0-9a-f]{12,64}$`)

// pullSide is the source or the target of a pull request. The commit and the
// repository are null after their deletion.
type pullSide struct {
	Branch struct {
		Name string `json:"name"`
	} `json:"branch"`
	Commit struct {
		Hash string `json:"hash"`
	} `json:"commit"`
	Repository eventRepository `json:"repository"`
}

// pull is a pull request in events and answers
// (developer.atlassian.com/cloud/bitbucket/rest/api-group-pullrequests).
type pull struct {
	ID          int64     `json:"id"`
	Title       string    `json:"title"`
	State       string    `json:"state"`
	Draft       bool      `json:"draft"`
	Author      eventUser `json:"author"`
	Source      pullSide  `json:"source"`
	Destination pullSide  `json:"destination"`
	UpdatedOn   time.Time `json:"updated_on"`
	Links       struct {
		HTML struct {
			Href string `json:"href"`
		} `json:"html"`
	} `json:"links"`
}

// pullOf checks a pull request's fields. It does not set the members that are
// only in events.
func pullOf(c *payload.Checker, field string, base troy.ForgeRepository, pr pull) troy.PullRequest {
	c.Number(field+".id", pr.ID)
	if hash := pr.Source.Commit.Hash; hash != "" && !shortCommit.MatchString(hash) {
		c.Fail(field+".source.commit.hash", "the value is not a commit id: 12 to 64 lower-case hexadecimal digits")
	}
	out := troy.PullRequest{
		Repository: base,
		Number:     pr.ID,
		Title:      payload.Clean(pr.Title, payload.MaxTitle),
		Head:       c.Ref(field+".source.branch.name", pr.Source.Branch.Name),
		HeadCommit: pr.Source.Commit.Hash,
		Base:       c.Ref(field+".destination.branch.name", pr.Destination.Branch.Name),
		Fork:       !strings.EqualFold(pr.Source.Repository.UUID, base.ID),
		Draft:      pr.Draft,
		Open:       pr.State == "OPEN",
		Author:     userOf(pr.Author),
		URL:        payload.URL(pr.Links.HTML.Href),
		Updated:    pr.UpdatedOn,
	}
	if from := pr.Source.Repository; from.UUID != "" {
		out.HeadRepository = requiredUUID(c, field+".source.repository.uuid", from.UUID)
		out.HeadFullName = payload.Clean(from.FullName, payload.MaxName)
	}
	return out
}

func userOf(u eventUser) troy.ForgeUser {
	out := troy.ForgeUser{Name: u.name(), Bot: u.Type != "" && u.Type != "user"}
	if id, err := uuid.Parse(u.UUID); err == nil {
		out.ID = "{" + id.String() + "}"
	}
	return out
}

func pullRequest(body []byte, action string) (troy.ForgeEvent, error) {
	var e struct {
		common
		PullRequest pull `json:"pullrequest"`
	}
	if err := payload.Decode(body, &e); err != nil {
		return nil, err
	}
	var c payload.Checker
	pr := pullOf(&c, "pullrequest", repositoryOf(&c, "repository", e.Repository), e.PullRequest)
	pr.Action = c.Line("X-Event-Key", action, payload.MaxHeader)
	pr.Sender = e.Actor.name()
	return payload.Result(pr, &c)
}

// commented reads a new comment on a pull request.
func commented(body []byte) (troy.ForgeEvent, error) {
	var e struct {
		common
		PullRequest struct {
			ID int64 `json:"id"`
		} `json:"pullrequest"`
		Comment struct {
			Content struct {
				Raw string `json:"raw"`
			} `json:"content"`
			User      eventUser `json:"user"`
			CreatedOn time.Time `json:"created_on"`
		} `json:"comment"`
	}
	if err := payload.Decode(body, &e); err != nil {
		return nil, err
	}
	commit, command := troy.ParsePreviewCommand(e.Comment.Content.Raw)
	if !command {
		return payload.Ignored("pullrequest:comment_created", ""), nil
	}
	var c payload.Checker
	c.Number("pullrequest.id", e.PullRequest.ID)
	author := userOf(e.Comment.User)
	author.ID = requiredUUID(&c, "comment.user.uuid", e.Comment.User.UUID)
	if e.Comment.CreatedOn.IsZero() {
		c.Fail("comment.created_on", "the value is missing")
	}
	return payload.Result(troy.PullRequestCommand{
		Repository: repositoryOf(&c, "repository", e.Repository),
		Number:     e.PullRequest.ID,
		Author:     author,
		Commit:     commit,
		Time:       e.Comment.CreatedOn,
	}, &c)
}

// pullPage is Bitbucket's maximum for a page of pull requests.
const pullPage = 50

// OpenPullRequests implements forge.PullRequests
// (developer.atlassian.com/cloud/bitbucket/rest/api-group-pullrequests).
func (c *Client) OpenPullRequests(ctx context.Context, r forge.Repository) (list forge.PullRequestList, err error) {
	base := troy.ForgeRepository{Provider: troy.Bitbucket, ID: r.ID, FullName: r.FullName}
	list.Complete = true
	for page := 1; ; page++ {
		if list.Len() >= forge.MaxPullRequests {
			list.Complete = false
			return list, nil
		}
		var answer struct {
			Values []jsontext.Value `json:"values"`
			Next   string           `json:"next"`
		}
		query := url.Values{"state": {"OPEN"}, "sort": {"id"}, "pagelen": {strconv.Itoa(pullPage)}, "page": {strconv.Itoa(page)}}
		if err := c.get(ctx, r, "/pullrequests", query, &answer); err != nil {
			return list, failed("bitbucket: the open pull requests of "+forge.Line(r.FullName, 200), forge.ErrNoRepository, err)
		}
		for _, value := range answer.Values {
			list.Add(listed(base, value))
		}
		if answer.Next == "" || len(answer.Values) == 0 {
			return list, nil
		}
	}
}

// listed reads one pull request of a list. Without a valid number it returns 0.
func listed(base troy.ForgeRepository, value jsontext.Value) (troy.PullRequest, int64, error) {
	var id struct {
		ID int64 `json:"id"`
	}
	var pr pull
	if err := errors.Join(payload.Decode(value, &id), payload.Decode(value, &pr)); err != nil {
		return troy.PullRequest{}, id.ID, err
	}
	var c payload.Checker
	out := pullOf(&c, "pullrequest", base, pr)
	return out, id.ID, c.Err
}

// PullRequest implements forge.PullRequests
// (developer.atlassian.com/cloud/bitbucket/rest/api-group-pullrequests).
func (c *Client) PullRequest(ctx context.Context, r forge.Repository, number int64) (troy.PullRequest, error) {
	what := fmt.Sprintf("bitbucket: pull request %d of %s", number, forge.Line(r.FullName, 200))
	var answer pull
	if err := c.get(ctx, r, "/pullrequests/"+strconv.FormatInt(number, 10), nil, &answer); err != nil {
		return troy.PullRequest{}, failed(what, forge.ErrNoPullRequest, err)
	}
	var checked payload.Checker
	pr := pullOf(&checked, "pullrequest", troy.ForgeRepository{Provider: troy.Bitbucket, ID: r.ID, FullName: r.FullName}, answer)
	if checked.Err != nil || pr.Number != number {
		return troy.PullRequest{}, fmt.Errorf("%s: the answer is about something else", what)
	}
	return pr, nil
}

// MayWrite implements forge.PullRequests: it reads the highest permission that
// the user has, directly, by a group or by the project
// (developer.atlassian.com/cloud/bitbucket/rest/api-group-workspaces, "List a
// repository permissions for a workspace"). Bitbucket answers 403 unless the
// credentials administer the repository.
func (c *Client) MayWrite(ctx context.Context, r forge.Repository, user troy.ForgeUser) (bool, error) {
	if !idForm.MatchString(user.ID) {
		return false, nil
	}
	owner, repo, err := forge.SplitName(r.FullName)
	if err != nil {
		return false, err
	}
	if idForm.MatchString(r.ID) {
		repo = r.ID
	}
	var answer struct {
		Values []struct {
			Permission string    `json:"permission"`
			User       eventUser `json:"user"`
		} `json:"values"`
	}
	err = c.with(ctx, r, func(t token) error {
		_, err := c.api.Do(ctx, forge.Call{
			Method: http.MethodGet, Path: "/2.0/workspaces/" + owner + "/permissions/repositories/" + url.PathEscape(repo),
			Query: url.Values{"q": {`user.uuid="` + user.ID + `"`}}, Authorization: bearer(t), Into: &answer,
		})
		return err
	})
	if err != nil {
		return false, failed(fmt.Sprintf("bitbucket: the permission of %s on %s", forge.Line(user.Name, 100), r.FullName), forge.ErrNoRepository, err)
	}
	for _, v := range answer.Values {
		if strings.EqualFold(v.User.UUID, user.ID) && (v.Permission == "write" || v.Permission == "admin") {
			return true, nil
		}
	}
	return false, nil
}

const (
	maxCommentPages = 10
	maxComment      = 30_000
)

type comment struct {
	ID      int64 `json:"id"`
	Deleted bool  `json:"deleted"`
	Content struct {
		Raw string `json:"raw"`
	} `json:"content"`
}

// Comment implements forge.PullRequests
// (developer.atlassian.com/cloud/bitbucket/rest/api-group-pullrequests). The
// mark is a link definition, which Bitbucket does not show. Bitbucket refuses to
// change the comments of others, which may have the mark too.
func (c *Client) Comment(ctx context.Context, r forge.Repository, number int64, mark, text string) error {
	what := fmt.Sprintf("bitbucket: the comment on pull request %d of %s", number, forge.Line(r.FullName, 200))
	hidden := "[//]: # (" + mark + ")"
	found, err := c.findComments(ctx, r, number, hidden)
	if err != nil {
		return failed(what, forge.ErrNoPullRequest, err)
	}
	below := "/pullrequests/" + strconv.FormatInt(number, 10) + "/comments"
	body := troy.Cut(text, maxComment) + "\n\n" + hidden
	for _, old := range found {
		if old.Content.Raw == body {
			return nil
		}
		method, ask := http.MethodPut, commentBody(body)
		if text == "" {
			method, ask = http.MethodDelete, nil
		}
		err := c.write(ctx, r, method, below+"/"+strconv.FormatInt(old.ID, 10), ask)
		status, refused := errors.AsType[*forge.StatusError](err)
		if !refused || status.Status != http.StatusForbidden && status.Status != http.StatusNotFound {
			return failed(what, forge.ErrNoPullRequest, err)
		}
	}
	if text == "" {
		return nil
	}
	return failed(what, forge.ErrNoPullRequest, c.write(ctx, r, http.MethodPost, below, commentBody(body)))
}

func commentBody(text string) any {
	return map[string]any{"content": map[string]string{"raw": text}}
}

// write makes a call about a repository that changes something.
func (c *Client) write(ctx context.Context, r forge.Repository, method, below string, body any) error {
	base, err := path(r)
	if err != nil {
		return err
	}
	return c.with(ctx, r, func(t token) error {
		_, err := c.api.Do(ctx, forge.Call{Method: method, Path: base + below, Authorization: bearer(t), JSON: body})
		return err
	})
}

// findComments returns the comments that end with the mark.
func (c *Client) findComments(ctx context.Context, r forge.Repository, number int64, hidden string) (found []comment, err error) {
	for page := 1; page <= maxCommentPages; page++ {
		var answer struct {
			Values []comment `json:"values"`
			Next   string    `json:"next"`
		}
		query := url.Values{"pagelen": {strconv.Itoa(listPage)}, "page": {strconv.Itoa(page)}}
		if err := c.get(ctx, r, "/pullrequests/"+strconv.FormatInt(number, 10)+"/comments", query, &answer); err != nil {
			return nil, err
		}
		for _, one := range answer.Values {
			if !one.Deleted && strings.HasSuffix(strings.TrimSpace(one.Content.Raw), hidden) {
				found = append(found, one)
			}
		}
		if answer.Next == "" || len(answer.Values) == 0 {
			break
		}
	}
	return found, nil
}

// Retract implements forge.PullRequests. Bitbucket can't delete the build
// status of a commit, and Troy makes no deployment there.
func (c *Client) Retract(context.Context, forge.Repository, forge.Report) error { return nil }
