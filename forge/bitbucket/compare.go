package bitbucket

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"github.com/troy-iaas/troy/forge"
)

// mostCompared is how many files are requested, the maximum on one page of
// Bitbucket's.
const mostCompared = 500

// Compare implements forge.Comparer
// (developer.atlassian.com/cloud/bitbucket/rest/api-group-commits, "diffstat").
// It compares the two commits themselves, not with their common ancestor.
func (c *Client) Compare(ctx context.Context, r forge.Repository, base, head string) (paths []string, complete bool, err error) {
	for _, commit := range []string{base, head} {
		if err := forge.CheckCommit(commit); err != nil {
			return nil, false, err
		}
	}
	type file struct {
		Path string `json:"path"`
	}
	var answer struct {
		Next   string `json:"next"`
		Values []struct {
			Old *file `json:"old"`
			New *file `json:"new"`
		} `json:"values"`
	}
	what := fmt.Sprintf("bitbucket: the files between %s and %s of %s", base, head, r.FullName)
	query := url.Values{"topic": {"false"}, "pagelen": {strconv.Itoa(mostCompared)}, "fields": {"next,values.old.path,values.new.path"}}
	if err := c.get(ctx, r, "/diffstat/"+head+".."+base, query, &answer); err != nil {
		return nil, false, c.lost(ctx, r, what, err)
	}
	seen := map[string]bool{}
	for _, v := range answer.Values {
		for _, f := range []*file{v.Old, v.New} {
			if f != nil && f.Path != "" {
				seen[f.Path] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen)), answer.Next == "", nil
}
