package github

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
)

// Repository implements forge.Forge. The answer with a new token has all the
// data, so no other request is needed.
func (c *Client) Repository(ctx context.Context, r forge.Repository) (forge.Found, error) {
	g, err := c.mint(ctx, r, readSource)
	return g.found, err
}

// Head implements forge.Forge. It requests the ref, not the branch, because
// GitHub redirects renamed branches
// (docs.github.com/rest/git/refs#get-a-reference).
func (c *Client) Head(ctx context.Context, r forge.Repository, branch string) (string, error) {
	escaped, err := forge.EscapeBranch(branch)
	if err != nil {
		return "", err
	}
	var answer struct {
		Ref    string `json:"ref"`
		Object struct {
			Type string `json:"type"`
			SHA  string `json:"sha"`
		} `json:"object"`
	}
	what := fmt.Sprintf("github: the head of %s of %s", branch, name(r))
	err = c.with(ctx, r, readSource, func(g grant) error {
		_, err := c.api.Do(ctx, call("GET", repoPath(g)+"/git/ref/heads/"+escaped, "Bearer "+g.token, nil, &answer))
		return err
	})
	if err != nil {
		return "", failed(what, forge.ErrNoCommit, err)
	}
	if answer.Ref != "refs/heads/"+branch || forge.CheckCommit(answer.Object.SHA) != nil {
		return "", fmt.Errorf("%s: the answer has another ref", what)
	}
	return answer.Object.SHA, nil
}

// Commit implements forge.Forge
// (docs.github.com/rest/commits/commits#get-a-commit).
func (c *Client) Commit(ctx context.Context, r forge.Repository, id string) (forge.Commit, error) {
	if err := forge.CheckShortCommit(id); err != nil {
		return forge.Commit{}, err
	}
	var answer struct {
		SHA    string `json:"sha"`
		Commit struct {
			Message string `json:"message"`
			Author  struct {
				Name string    `json:"name"`
				Date time.Time `json:"date"`
			} `json:"author"`
		} `json:"commit"`
	}
	what := fmt.Sprintf("github: commit %s of %s", id, name(r))
	err := c.with(ctx, r, readSource, func(g grant) error {
		get := call("GET", repoPath(g)+"/commits/"+id, "Bearer "+g.token, nil, &answer)
		// The pages list the changed files, which are not needed.
		get.Query = map[string][]string{"per_page": {"1"}}
		_, err := c.api.Do(ctx, get)
		return err
	})
	if err != nil {
		return forge.Commit{}, failed(what, forge.ErrNoCommit, err)
	}
	if forge.CheckCommit(answer.SHA) != nil || !strings.HasPrefix(answer.SHA, id) {
		// A branch may have the name of an abbreviated id.
		return forge.Commit{}, troy.Errorf(troy.NotFound, "%s: %w", what, forge.ErrNoCommit)
	}
	return forge.Commit{
		ID: answer.SHA, Message: troy.Cut(answer.Commit.Message, troy.MaxMessage),
		Author: forge.Line(answer.Commit.Author.Name, 200), Time: answer.Commit.Author.Date,
	}, nil
}

// Archive implements forge.Forge. GitHub answers with a redirect that is valid
// for five minutes and has its own key
// (docs.github.com/rest/repos/contents#download-a-repository-archive-tar).
func (c *Client) Archive(ctx context.Context, r forge.Repository, commit string) (io.ReadCloser, error) {
	if err := forge.CheckCommit(commit); err != nil {
		return nil, err
	}
	var body io.ReadCloser
	what := fmt.Sprintf("github: the archive of commit %s of %s", commit, name(r))
	err := c.with(ctx, r, readSource, func(g grant) (err error) {
		body, err = c.api.Download(ctx, call("GET", repoPath(g)+"/tarball/"+commit, "Bearer "+g.token, nil, nil), c.cfg.ArchiveHosts, c.cfg.MaxArchive)
		return err
	})
	if err != nil {
		return nil, failed(what, forge.ErrNoCommit, err)
	}
	return body, nil
}

// Clone implements forge.Forge
// (docs.github.com, "Authenticating as a GitHub App installation").
func (c *Client) Clone(ctx context.Context, r forge.Repository) (forge.Clone, error) {
	// A new token: a cached one could expire while git uses it.
	g, err := c.mint(ctx, r, readSource)
	if err != nil {
		return forge.Clone{}, err
	}
	return forge.Clone{
		URL:        c.site.String() + "/" + g.found.FullName + ".git",
		Credential: forge.Credential{Username: "x-access-token", Password: g.token},
		Expires:    g.expires,
	}, nil
}

// repoPath returns the API's path of a token's repository, whose name was
// checked when the token was issued.
func repoPath(g grant) string { return "/repos/" + g.found.FullName }
