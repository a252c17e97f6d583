package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/payload"
)

var (
	readPulls  = access{"pull_requests", "read"}
	writePulls = access{"pull_requests", "write"}
)

// pullSide is the source or the target of a pull request. The repository is
// null after its deletion.
type pullSide struct {
	Ref        string          `json:"ref"`
	SHA        string          `json:"sha"`
	Repository eventRepository `json:"repo"`
}

// pull is a pull request in events and answers
// (docs.github.com/rest/pulls/pulls#get-a-pull-request).
type pull struct {
	Number    int64     `json:"number"`
	State     string    `json:"state"`
	Title     string    `json:"title"`
	Draft     bool      `json:"draft"`
	User      account   `json:"user"`
	Head      pullSide  `json:"head"`
	Base      pullSide  `json:"base"`
	URL       string    `json:"html_url"`
	UpdatedAt time.Time `json:"updated_at"`
}

// pullOf checks a pull request's fields. It does not set the members that are
// only in events.
func pullOf(c *payload.Checker, field string, base troy.ForgeRepository, pr pull) troy.PullRequest {
	c.Number(field+".number", pr.Number)
	out := troy.PullRequest{
		Repository: base,
		Number:     pr.Number,
		Title:      payload.Clean(pr.Title, payload.MaxTitle),
		Head:       c.Ref(field+".head.ref", pr.Head.Ref),
		HeadCommit: c.Commit(field+".head.sha", pr.Head.SHA),
		Base:       c.Ref(field+".base.ref", pr.Base.Ref),
		Draft:      pr.Draft,
		Open:       pr.State == "open",
		Author:     userOf(pr.User),
		URL:        payload.URL(pr.URL),
		Updated:    pr.UpdatedAt,
	}
	if from := pr.Head.Repository; from.ID > 0 {
		out.HeadRepository = strconv.FormatInt(from.ID, 10)
		out.HeadFullName = payload.Clean(from.FullName, payload.MaxName)
	}
	out.Fork = out.HeadRepository != base.ID
	return out
}

func userOf(a account) troy.ForgeUser {
	u := troy.ForgeUser{Name: payload.Clean(a.Login, payload.MaxName), Bot: a.Type == "Bot"}
	if a.ID > 0 {
		u.ID = strconv.FormatInt(a.ID, 10)
	}
	return u
}

func pullRequest(body []byte) (troy.ForgeEvent, error) {
	var e struct {
		common
		PullRequest pull `json:"pull_request"`
	}
	if err := payload.Decode(body, &e); err != nil {
		return nil, err
	}
	var c payload.Checker
	pr := pullOf(&c, "pull_request", repositoryOf(&c, "repository", e.Repository), e.PullRequest)
	pr.Installation = optional(&c, "installation.id", e.Installation.ID)
	pr.Action = c.Line("action", e.Action, payload.MaxName)
	pr.Sender = payload.Clean(e.Sender.Login, payload.MaxName)
	return payload.Result(pr, &c)
}

// commented reads a comment on an issue or a pull request. Troy uses only new
// comments with a command, so an edited comment is not a command.
func commented(body []byte) (troy.ForgeEvent, error) {
	var e struct {
		common
		Issue struct {
			Number int64     `json:"number"`
			Pull   *struct{} `json:"pull_request"`
		} `json:"issue"`
		Comment struct {
			Body      string    `json:"body"`
			User      account   `json:"user"`
			CreatedAt time.Time `json:"created_at"`
		} `json:"comment"`
	}
	if err := payload.Decode(body, &e); err != nil {
		return nil, err
	}
	var c payload.Checker
	c.Line("action", e.Action, payload.MaxName)
	commit, command := troy.ParsePreviewCommand(e.Comment.Body)
	if e.Action != "created" || e.Issue.Pull == nil || !command {
		return payload.Result(payload.Ignored("issue_comment", e.Action), &c)
	}
	c.Number("issue.number", e.Issue.Number)
	c.Number("comment.user.id", e.Comment.User.ID)
	c.Line("comment.user.login", e.Comment.User.Login, payload.MaxName)
	if e.Comment.CreatedAt.IsZero() {
		c.Fail("comment.created_at", "the value is missing")
	}
	return payload.Result(troy.PullRequestCommand{
		Repository:   repositoryOf(&c, "repository", e.Repository),
		Installation: optional(&c, "installation.id", e.Installation.ID),
		Number:       e.Issue.Number,
		Author:       userOf(e.Comment.User),
		Commit:       commit,
		Time:         e.Comment.CreatedAt,
	}, &c)
}

// OpenPullRequests implements forge.PullRequests
// (docs.github.com/rest/pulls/pulls#list-pull-requests).
func (c *Client) OpenPullRequests(ctx context.Context, r forge.Repository) (list forge.PullRequestList, err error) {
	list.Complete = true
	for page := 1; ; page++ {
		if list.Len() >= forge.MaxPullRequests {
			list.Complete = false
			return list, nil
		}
		var answer []jsontext.Value
		var base troy.ForgeRepository
		err := c.with(ctx, r, readPulls, func(g grant) error {
			base = troy.ForgeRepository{Provider: troy.GitHub, ID: g.found.ID, FullName: g.found.FullName}
			get := call(http.MethodGet, repoPath(g)+"/pulls", "Bearer "+g.token, nil, &answer)
			get.Query = pageOf(page)
			get.Query.Set("state", "open")
			// The order does not change while the pages are read.
			get.Query.Set("sort", "created")
			get.Query.Set("direction", "asc")
			_, err := c.api.Do(ctx, get)
			return err
		})
		if err != nil {
			return list, failed("github: the open pull requests of "+name(r), forge.ErrNoRepository, err)
		}
		for _, value := range answer {
			list.Add(listed(base, value))
		}
		if len(answer) < pageSize {
			return list, nil
		}
	}
}

// listed reads one pull request of a list. Without a valid number it returns 0.
func listed(base troy.ForgeRepository, value jsontext.Value) (troy.PullRequest, int64, error) {
	var id struct {
		Number int64 `json:"number"`
	}
	var pr pull
	if err := errors.Join(payload.Decode(value, &id), payload.Decode(value, &pr)); err != nil {
		return troy.PullRequest{}, id.Number, err
	}
	var c payload.Checker
	out := pullOf(&c, "pull_request", base, pr)
	return out, id.Number, c.Err
}

// PullRequest implements forge.PullRequests
// (docs.github.com/rest/pulls/pulls#get-a-pull-request).
func (c *Client) PullRequest(ctx context.Context, r forge.Repository, number int64) (pr troy.PullRequest, err error) {
	what := fmt.Sprintf("github: pull request %d of %s", number, name(r))
	var answer pull
	var base troy.ForgeRepository
	err = c.with(ctx, r, readPulls, func(g grant) error {
		base = troy.ForgeRepository{Provider: troy.GitHub, ID: g.found.ID, FullName: g.found.FullName}
		_, err := c.api.Do(ctx, call(http.MethodGet, repoPath(g)+"/pulls/"+strconv.FormatInt(number, 10), "Bearer "+g.token, nil, &answer))
		return err
	})
	if err != nil {
		return pr, failed(what, forge.ErrNoPullRequest, err)
	}
	var checked payload.Checker
	pr = pullOf(&checked, "pull_request", base, answer)
	if checked.Err != nil || pr.Number != number {
		return troy.PullRequest{}, fmt.Errorf("%s: the answer is about something else", what)
	}
	return pr, nil
}

// MayWrite implements forge.PullRequests
// (docs.github.com/rest/collaborators/collaborators#get-repository-permissions-for-a-user).
// The answer's legacy permission is "write" also for people who maintain the
// repository.
func (c *Client) MayWrite(ctx context.Context, r forge.Repository, user troy.ForgeUser) (bool, error) {
	if user.Name == "" {
		return false, nil
	}
	var answer struct {
		Permission string  `json:"permission"`
		User       account `json:"user"`
	}
	err := c.with(ctx, r, readMetadata, func(g grant) error {
		_, err := c.api.Do(ctx, call(http.MethodGet, repoPath(g)+"/collaborators/"+url.PathEscape(user.Name)+"/permission", "Bearer "+g.token, nil, &answer))
		return err
	})
	if status, ok := errors.AsType[*forge.StatusError](err); ok && status.Status == http.StatusNotFound {
		return false, nil // there is no such user, or the user is not a collaborator
	}
	if err != nil {
		return false, failed(fmt.Sprintf("github: the permission of %s on %s", forge.Line(user.Name, 100), name(r)), forge.ErrNoRepository, err)
	}
	if user.ID != "" && strconv.FormatInt(answer.User.ID, 10) != user.ID {
		return false, nil // another account has the name by now
	}
	return answer.Permission == "admin" || answer.Permission == "write", nil
}

const (
	maxCommentPages = 10
	// maxComment is less than GitHub's 65,536 characters.
	maxComment = 60_000
)

// Comment implements forge.PullRequests
// (docs.github.com/rest/issues/comments). It changes only comments of this app,
// since anyone may write the mark.
func (c *Client) Comment(ctx context.Context, r forge.Repository, number int64, mark, text string) error {
	app, err := c.cfg.App(ctx)
	if err != nil {
		return fmt.Errorf("github: %w", err)
	}
	hidden := "<!-- " + mark + " -->"
	body := within(text, maxComment) + "\n\n" + hidden
	err = c.with(ctx, r, writePulls, func(g grant) error {
		old, err := c.findComment(ctx, g, app, number, hidden)
		if err != nil {
			return err
		}
		base := repoPath(g) + "/issues/"
		write := call(http.MethodPost, base+strconv.FormatInt(number, 10)+"/comments", "Bearer "+g.token, map[string]string{"body": body}, nil)
		switch {
		case old.ID == 0 && text == "", old.ID != 0 && old.Body == body:
			return nil
		case text == "":
			write = call(http.MethodDelete, base+"comments/"+strconv.FormatInt(old.ID, 10), "Bearer "+g.token, nil, nil)
		case old.ID != 0:
			write.Method, write.Path = http.MethodPatch, base+"comments/"+strconv.FormatInt(old.ID, 10)
		}
		_, err = c.api.Do(ctx, write)
		if status, ok := errors.AsType[*forge.StatusError](err); ok && text == "" && status.Status == http.StatusNotFound {
			return nil
		}
		return err
	})
	return failed(fmt.Sprintf("github: the comment on pull request %d of %s", number, name(r)), forge.ErrNoPullRequest, err)
}

type issueComment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
	App  *struct {
		ID       int64  `json:"id"`
		ClientID string `json:"client_id"`
	} `json:"performed_via_github_app"`
}

// findComment returns the app's own comment with the mark, or the zero comment.
func (c *Client) findComment(ctx context.Context, g grant, app forge.App, number int64, hidden string) (issueComment, error) {
	for page := 1; page <= maxCommentPages; page++ {
		var answer []issueComment
		list := call(http.MethodGet, repoPath(g)+"/issues/"+strconv.FormatInt(number, 10)+"/comments", "Bearer "+g.token, nil, &answer)
		list.Query = pageOf(page)
		if _, err := c.api.Do(ctx, list); err != nil {
			return issueComment{}, err
		}
		for _, one := range answer {
			ours := one.App != nil && (app.ID != 0 && one.App.ID == app.ID || app.ClientID != "" && one.App.ClientID == app.ClientID)
			if ours && strings.HasSuffix(strings.TrimSpace(one.Body), hidden) {
				return one, nil
			}
		}
		if len(answer) < pageSize {
			break
		}
	}
	return issueComment{}, nil
}

// Retract implements forge.PullRequests: it sets the GitHub deployment of a
// report inactive, and then deletes it, which GitHub refuses for an active one
// (docs.github.com/rest/deployments/deployments#delete-a-deployment).
func (c *Client) Retract(ctx context.Context, r forge.Repository, report forge.Report) error {
	if err := forge.CheckCommit(report.Commit); err != nil {
		return err
	}
	err := c.with(ctx, r, writeDeployments, func(g grant) error {
		id, err := c.findDeployment(ctx, g, report)
		if err != nil || id == 0 {
			return err
		}
		path := repoPath(g) + "/deployments/" + strconv.FormatInt(id, 10)
		ended := deploymentStatus{State: "inactive", Description: forge.Line(report.Title, 140)}
		if _, err := c.api.Do(ctx, call(http.MethodPost, path+"/statuses", "Bearer "+g.token, ended, nil)); err != nil && !isGone(err) {
			return err
		}
		_, err = c.api.Do(ctx, call(http.MethodDelete, path, "Bearer "+g.token, nil, nil))
		if isGone(err) {
			return nil
		}
		return err
	})
	return failed(fmt.Sprintf("github: delete the deployment of %s on %s", report.Deployment, name(r)), forge.ErrNoCommit, err)
}

// isGone reports whether a call failed since its object does not exist.
func isGone(err error) bool {
	status, ok := errors.AsType[*forge.StatusError](err)
	return ok && status.Status == http.StatusNotFound
}
