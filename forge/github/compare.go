package github

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/troy-iaas/troy/forge"
)

// mostCompared is the maximum number of files in a GitHub comparison.
const mostCompared = 300

// Compare implements forge.Comparer
// (docs.github.com/rest/commits/commits#compare-two-commits). GitHub compares
// with the commits' common ancestor, so the list is complete only if head
// descends from base.
func (c *Client) Compare(ctx context.Context, r forge.Repository, base, head string) (paths []string, complete bool, err error) {
	for _, commit := range []string{base, head} {
		if err := forge.CheckCommit(commit); err != nil {
			return nil, false, err
		}
	}
	var answer struct {
		Status string `json:"status"`
		Files  []struct {
			Name     string `json:"filename"`
			Previous string `json:"previous_filename"`
		} `json:"files"`
	}
	what := fmt.Sprintf("github: the files between %s and %s of %s", base, head, name(r))
	err = c.with(ctx, r, readSource, func(g grant) error {
		get := call("GET", repoPath(g)+"/compare/"+base+"..."+head, "Bearer "+g.token, nil, &answer)
		// The first page has the files, whatever the pages of the commits.
		get.Query = map[string][]string{"per_page": {"1"}}
		_, err := c.api.Do(ctx, get)
		return err
	})
	if err != nil {
		return nil, false, failed(what, forge.ErrNoCommit, err)
	}
	seen := map[string]bool{}
	for _, f := range answer.Files {
		seen[f.Name] = true
		if f.Previous != "" {
			seen[f.Previous] = true
		}
	}
	complete = (answer.Status == "ahead" || answer.Status == "identical") && len(answer.Files) < mostCompared
	return slices.Sorted(maps.Keys(seen)), complete, nil
}
