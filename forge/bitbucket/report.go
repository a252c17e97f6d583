package bitbucket

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
)

// maxKey is the maximum length of a build status's key in characters.
const maxKey = 40

// Report implements forge.Forge: one build status for each commit and pipeline,
// which the same key overwrites
// (developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses).
// Bitbucket has no state for waiting, superseded or skipped commits. A skipped
// commit succeeds, so that it can be merged.
func (c *Client) Report(ctx context.Context, r forge.Repository, report forge.Report) error {
	if err := forge.CheckCommit(report.Commit); err != nil {
		return err
	}
	base, err := path(r)
	if err != nil {
		return err
	}
	if report.Pipeline == "" || len(report.Pipeline) > maxKey {
		return troy.Errorf(troy.Invalid, "bitbucket: the pipeline's id %q is not a valid key of a build status", troy.Cut(report.Pipeline, 2*maxKey))
	}
	if u, err := url.Parse(report.DetailsURL); err != nil || u.Host == "" {
		return troy.Errorf(troy.Invalid, "bitbucket: a build status needs the address of a page, not %q", troy.Cut(report.DetailsURL, 200))
	}
	description := report.Title
	if report.State == troy.Succeeded && report.SiteURL != "" {
		description = strings.TrimSpace(description + " " + report.SiteURL)
	}
	status := buildStatus{
		Key: report.Pipeline, State: stateOf(report.State), Name: forge.Line(report.Name, 200),
		URL: report.DetailsURL, Description: forge.Line(description, 255),
	}
	what := fmt.Sprintf("bitbucket: report %s of %s", report.Deployment, r.FullName)
	below := "/commit/" + report.Commit + "/statuses/build"
	var old buildStatus
	err = c.get(ctx, r, below+"/"+url.PathEscape(status.Key), nil, &old)
	switch {
	case err != nil && !isNotFound(err):
		return failed(what, forge.ErrNoCommit, err)
	case err == nil && old == status:
		return nil
	case err == nil && old.URL == status.URL && old.State != inProgress && status.State == inProgress:
		// The page belongs to the deployment, so this is its own end.
		return nil
	}
	err = c.with(ctx, r, func(t token) error {
		_, err := c.api.Do(ctx, forge.Call{Method: http.MethodPost, Path: base + below, Authorization: bearer(t), JSON: status})
		return err
	})
	if err != nil {
		return c.lost(ctx, r, what, err)
	}
	return nil
}

type buildStatus struct {
	Key         string `json:"key"`
	State       string `json:"state"`
	Name        string `json:"name"`
	URL         string `json:"url"`
	Description string `json:"description"`
}

const inProgress = "INPROGRESS"

func stateOf(s troy.DeploymentState) string {
	switch s {
	case troy.Succeeded, forge.Skipped:
		return "SUCCESSFUL"
	case troy.Failed:
		return "FAILED"
	case troy.Cancelled, troy.Superseded:
		return "STOPPED"
	}
	return inProgress
}

// webhook is a repository's webhook
// (developer.atlassian.com/cloud/bitbucket/rest/api-group-repositories#api-repositories-workspace-repo-slug-hooks-post).
type webhook struct {
	UUID        string   `json:"uuid,omitempty"`
	Description string   `json:"description"`
	URL         string   `json:"url"`
	Active      bool     `json:"active"`
	Secret      string   `json:"secret,omitempty"` // never in an answer
	Events      []string `json:"events"`
}

// hookEvents are the events that Troy uses. Subscribing needs a token that may
// read the repository and its pull requests, and change its webhooks.
func hookEvents() []string {
	return []string{
		"repo:push", "repo:updated", "pullrequest:created", "pullrequest:updated", "pullrequest:fulfilled", "pullrequest:rejected",
		"pullrequest:comment_created",
	}
}

const (
	hooksPerPage = 100
	maxHookPages = 5
)

// EnsureHook implements forge.Hooks. An existing webhook's secret can't be
// read, so it is always set again.
func (c *Client) EnsureHook(ctx context.Context, r forge.Repository, hook forge.Hook) (string, error) {
	what := "bitbucket: the webhook of " + forge.Line(r.FullName, 200)
	if u, err := url.Parse(hook.URL); err != nil || u.Host == "" || u.User != nil || hook.Secret == "" {
		return "", troy.Errorf(troy.Invalid, "%s: it needs an address and a secret", what)
	}
	base, err := path(r)
	if err != nil {
		return "", err
	}
	old, err := c.hooks(ctx, r, hook.URL)
	if err != nil {
		return "", failed(what, forge.ErrNoRepository, err)
	}
	ask := webhook{Description: "Troy", URL: hook.URL, Active: true, Secret: hook.Secret, Events: hookEvents()}
	method, target := http.MethodPost, base+"/hooks"
	if len(old) > 0 {
		method, target = http.MethodPut, base+"/hooks/"+url.PathEscape(old[0].UUID)
	}
	var made webhook
	err = c.with(ctx, r, func(t token) error {
		_, err := c.api.Do(ctx, forge.Call{Method: method, Path: target, Authorization: bearer(t), JSON: ask, Into: &made})
		return err
	})
	if err != nil {
		return "", failed(what, forge.ErrNoRepository, err)
	}
	return made.UUID, nil
}

// hooks lists the repository's webhooks to an address. It requests pages by
// number and does not follow the addresses in the answers.
func (c *Client) hooks(ctx context.Context, r forge.Repository, address string) ([]webhook, error) {
	var out []webhook
	for page := 1; page <= maxHookPages; page++ {
		var answer struct {
			Values []webhook `json:"values"`
			Next   string    `json:"next"`
		}
		query := url.Values{"pagelen": {strconv.Itoa(hooksPerPage)}, "page": {strconv.Itoa(page)}}
		if err := c.get(ctx, r, "/hooks", query, &answer); err != nil {
			return nil, err
		}
		for _, hook := range answer.Values {
			if hook.URL == address {
				out = append(out, hook)
			}
		}
		if answer.Next == "" {
			break
		}
	}
	return out, nil
}
