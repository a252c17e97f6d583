package client

import (
	"context"
	"net/url"
	"strings"

	"github.com/troy-iaas/troy"
)

// AppRepository is a repository to which an app of Troy has access.
type AppRepository struct {
	Provider      troy.Provider `json:"provider"`
	FullName      string        `json:"full_name"`
	DefaultBranch string        `json:"default_branch"` // empty without commits
	Private       bool          `json:"private"`
}

// AppRepositories are the repositories that a search found.
type AppRepositories struct {
	Repositories []AppRepository `json:"repositories"`
	Complete     bool            `json:"complete"` // whether the list has every match
	Problems     []string        `json:"problems"` // which forges could not list theirs, and why
	Apps         int             `json:"apps"`     // the forges that are set up
}

// Inspection is how the newest commit of a branch would be built.
type Inspection struct {
	AppRepository
	Branch   string    `json:"branch"`
	Commit   string    `json:"commit"`
	Detected *Detected `json:"detected"` // nil if there is a Problem
	Problem  string    `json:"problem,omitempty"`
}

// Detected is what the files of a repository say about its build.
type Detected struct {
	Generator string   `json:"generator,omitempty"`
	Root      string   `json:"root"`
	Install   string   `json:"install"`
	Build     string   `json:"build"`
	Test      string   `json:"test"`
	Outputs   []string `json:"outputs"`
	Why       string   `json:"why"`
	Notes     []string `json:"notes,omitempty"`
}

// Repositories returns at most 100 repositories of the installed apps, those
// whose names contain search.
func (c *Client) Repositories(ctx context.Context, search string) (AppRepositories, error) {
	var found AppRepositories
	return found, c.get(ctx, "/v1/repositories", url.Values{"search": {search}}, &found)
}

// InspectRepository looks into a repository, "owner/name". An empty branch is
// the default one, an empty root the whole repository.
func (c *Client) InspectRepository(ctx context.Context, provider troy.Provider, name, branch, root string) (Inspection, error) {
	var found Inspection
	owner, short, _ := strings.Cut(name, "/")
	path := "/v1/repositories/" + url.PathEscape(string(provider))
	for _, part := range []string{owner, short} {
		p, err := segment("repository", part)
		if err != nil {
			return found, troy.Errorf(troy.Invalid, "it is %q; expected OWNER/NAME", troy.Clip(name)).At("repository")
		}
		path += "/" + p
	}
	query := url.Values{}
	for key, value := range map[string]string{"branch": branch, "root": root} {
		if value != "" {
			query.Set(key, value)
		}
	}
	return found, c.get(ctx, path, query, &found)
}
