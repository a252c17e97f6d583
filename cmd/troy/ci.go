package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

const (
	// ciTime bounds the request for a job's ID token.
	ciTime = 30 * time.Second
	// maxIDToken is the maximum size of the answer in bytes.
	maxIDToken = 64 << 10
	// maxEvent is the maximum size of GitHub's description of the event.
	maxEvent = 4 << 20
	// maxCITitle is how many characters of a commit's title a message has.
	maxCITitle = 100
)

// ciJob is the job of CI that a command runs in.
type ciJob struct {
	name string
	// token returns an ID token for the audience; nil if the job may have none.
	token  func(ctx context.Context, audience string) (string, error)
	advice string // what lets the job have one
	commit ciCommit
}

// ciCommit is what a job runs for.
type ciCommit struct{ id, branch, author, title string }

// message describes a commit, or is empty if the job has none.
func (c ciCommit) message() string {
	title, _, _ := strings.Cut(strings.TrimSpace(c.title), "\n")
	var from []string
	if c.id != "" {
		from = append(from, c.id[:min(len(c.id), 7)])
	}
	if c.branch != "" {
		from = append(from, "on "+c.branch)
	}
	if c.author != "" {
		from = append(from, "by "+c.author)
	}
	text := troy.Cut(strings.TrimSpace(title), maxCITitle)
	if len(from) > 0 {
		text += " (" + troy.Cut(strings.Join(from, " "), maxCITitle) + ")"
	}
	return strings.TrimSpace(clean(text))
}

// ciJob returns the job of CI that the environment describes, or nil.
func (a *app) ciJob() *ciJob {
	given := func(name string) func(context.Context, string) (string, error) {
		text := strings.TrimSpace(a.env(name))
		if text == "" {
			return nil
		}
		return func(context.Context, string) (string, error) { return text, nil }
	}
	switch {
	case a.env("GITHUB_ACTIONS") == "true":
		job := &ciJob{name: "GitHub Actions", advice: "give the job the permission id-token: write", commit: a.gitHubCommit()}
		if a.env("ACTIONS_ID_TOKEN_REQUEST_URL") != "" && a.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN") != "" {
			job.token = a.gitHubToken
		}
		return job
	case a.env("GITLAB_CI") == "true":
		return &ciJob{
			name: "GitLab CI", advice: "declare TROY_ID_TOKEN under id_tokens, with the server's address as its aud", token: given("TROY_ID_TOKEN"),
			commit: ciCommit{a.env("CI_COMMIT_SHA"), a.env("CI_COMMIT_REF_NAME"), nameOf(a.env("CI_COMMIT_AUTHOR")), a.env("CI_COMMIT_TITLE")},
		}
	case a.env("BITBUCKET_BUILD_NUMBER") != "":
		return &ciJob{
			name: "Bitbucket Pipelines", advice: "declare oidc for the step, with the server's address as its only audience", token: given("BITBUCKET_STEP_OIDC_TOKEN"),
			commit: ciCommit{id: a.env("BITBUCKET_COMMIT"), branch: a.env("BITBUCKET_BRANCH")},
		}
	}
	return nil
}

// nameOf returns the name of "Ada <ada@example.com>".
func nameOf(author string) string {
	name, _, _ := strings.Cut(author, "<")
	return strings.TrimSpace(name)
}

// gitHubCommit reads GitHub's description of the event.
func (a *app) gitHubCommit() ciCommit {
	c := ciCommit{id: a.env("GITHUB_SHA"), branch: a.env("GITHUB_REF_NAME"), author: a.env("GITHUB_ACTOR")}
	f, err := os.Open(a.env("GITHUB_EVENT_PATH"))
	if err != nil {
		return c
	}
	defer f.Close()
	var event struct {
		Head *struct {
			Message string `json:"message"`
			Author  struct {
				Name string `json:"name"`
			} `json:"author"`
		} `json:"head_commit"`
		Pull *struct {
			Title string `json:"title"`
			Head  struct {
				SHA string `json:"sha"`
				Ref string `json:"ref"`
			} `json:"head"`
		} `json:"pull_request"`
	}
	if json.NewDecoder(io.LimitReader(f, maxEvent)).Decode(&event) != nil {
		return c
	}
	switch {
	case event.Pull != nil: // GITHUB_SHA is a merge commit of its own
		c.id, c.branch, c.title = event.Pull.Head.SHA, event.Pull.Head.Ref, event.Pull.Title
	case event.Head != nil:
		c.title = event.Head.Message
		if event.Head.Author.Name != "" {
			c.author = event.Head.Author.Name
		}
	}
	return c
}

// gitHubToken asks the runner for an ID token. No error quotes an answer, which
// could have the token.
func (a *app) gitHubToken(ctx context.Context, audience string) (string, error) {
	u, err := url.Parse(a.env("ACTIONS_ID_TOKEN_REQUEST_URL"))
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return "", troy.Errorf(troy.Invalid, "it is not an address with https").At("ACTIONS_ID_TOKEN_REQUEST_URL")
	}
	query := u.Query()
	query.Set("audience", audience)
	u.RawQuery = query.Encode()
	ctx, cancel := context.WithTimeout(ctx, ciTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", troy.Errorf(troy.Invalid, "it is not an address").At("ACTIONS_ID_TOKEN_REQUEST_URL")
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(a.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN")))
	req.Header.Set("Accept", "application/json")
	web := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := web.Do(req)
	if err != nil {
		return "", troy.Errorf(troy.Unavailable, "cannot reach %s for the job's ID token", u.Host)
	}
	defer resp.Body.Close()
	var answer struct {
		Value string `json:"value"`
	}
	if resp.StatusCode != http.StatusOK {
		return "", troy.Errorf(troy.Unavailable, "%s answered %s when asked for the job's ID token", u.Host, status(resp.StatusCode))
	}
	if json.NewDecoder(io.LimitReader(resp.Body, maxIDToken)).Decode(&answer) != nil || answer.Value == "" {
		return "", troy.Errorf(troy.Unavailable, "the answer of %s has no ID token", u.Host)
	}
	return answer.Value, nil
}

func status(code int) string { return strings.TrimSpace(fmt.Sprint(code, " ", http.StatusText(code))) }

// connectFor is connect for a command that a job of CI may run on a pipeline.
// Without another token, the job exchanges its ID token for one.
func (a *app) connectFor(ctx context.Context, pipeline string) (*client.Client, error) {
	c, err := a.connect()
	job := a.ciJob()
	if troy.KindOf(err) != troy.Unauthenticated || err == nil || job == nil {
		return c, err
	}
	if job.token == nil {
		return nil, troy.Errorf(troy.Unauthenticated, "TROY_TOKEN is not set, and %s has no ID token for the job: %s", job.name, job.advice)
	}
	given, field := a.givenURL()
	if given == "" {
		return nil, troy.Errorf(troy.Invalid, "it is not set; expected the server's address").At("TROY_URL")
	}
	if c, err = newClient(endpoint{url: given, field: field}); err != nil {
		return nil, err
	}
	token, err := job.token(ctx, c.BaseURL)
	if err != nil {
		return nil, err
	}
	got, err := c.ExchangeToken(ctx, pipeline, token)
	if err != nil {
		return nil, fmt.Errorf("the server refused the ID token of %s: %w", job.name, err)
	}
	limit := ""
	if got.PreviewsOnly {
		limit = ", for previews only"
	}
	_, _ = fmt.Fprintf(a.err, "%s signed in to %s: a token of %s until %s%s.\n",
		job.name, clean(c.BaseURL), clean(got.Pipeline), got.ExpiresAt.UTC().Format("15:04 UTC"), limit)
	if c, err = newClient(endpoint{url: given, token: got.Token, field: field, from: job.name}); err != nil {
		return nil, err
	}
	return a.use(c, given, job.name)
}
