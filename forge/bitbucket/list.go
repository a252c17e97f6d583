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
	"github.com/troy-iaas/troy/queries"
)

// listPage is Bitbucket's maximum for a page.
const listPage = 100

// repositories lists the repositories to which an installation or, if it is
// empty, the access token has access, at most limit
// (developer.atlassian.com/cloud/bitbucket/rest/api-group-repositories).
func (c *Client) repositories(ctx context.Context, installation string, limit int) (list []forge.Found, complete bool, err error) {
	for page := 1; len(list) < limit; page++ {
		var answer struct {
			Values []struct {
				UUID       string `json:"uuid"`
				FullName   string `json:"full_name"`
				IsPrivate  bool   `json:"is_private"`
				MainBranch *struct {
					Name string `json:"name"`
				} `json:"mainbranch"`
			} `json:"values"`
			Next string `json:"next"`
		}
		err := c.with(ctx, forge.Repository{Installation: installation}, func(t token) error {
			_, err := c.api.Do(ctx, forge.Call{
				Method: http.MethodGet, Path: "/2.0/repositories", Authorization: bearer(t), Into: &answer,
				Query: url.Values{"role": {"member"}, "pagelen": {strconv.Itoa(listPage)}, "page": {strconv.Itoa(page)}},
			})
			return err
		})
		if err != nil {
			return list, false, failed("bitbucket: the list of repositories", forge.ErrInstallation, err)
		}
		for _, r := range answer.Values {
			found := forge.Found{Private: r.IsPrivate, Repository: forge.Repository{Installation: installation, ID: strings.ToLower(r.UUID), FullName: r.FullName}}
			if r.MainBranch != nil {
				found.DefaultBranch = forge.Line(r.MainBranch.Name, 250)
			}
			list = append(list, found)
		}
		if answer.Next == "" || len(answer.Values) == 0 {
			return list, true, nil
		}
	}
	return list[:limit], false, nil
}

// Repositories implements forge.Lister: those of the access token and of every
// installation of the Connect app.
func (f *Forge) Repositories(ctx context.Context) (list []forge.Found, complete bool, err error) {
	var sources []string
	if f.settings.Token != "" {
		sources = append(sources, "")
	}
	if f.Secrets != nil {
		rows, err := queries.New(f.DB).InstallationList(ctx, string(troy.Bitbucket))
		if err != nil {
			return nil, false, fmt.Errorf("list the installations of the Connect app: %w", err)
		}
		for _, row := range rows {
			if row.State == "active" && row.Credentials != nil {
				sources = append(sources, row.ID)
			}
		}
	}
	if len(sources) == 0 {
		return nil, false, troy.Errorf(troy.Forbidden, "%w", errNotSetUp)
	}
	complete = true
	for _, installation := range sources {
		more, all, err := f.repositories(ctx, installation, forge.MaxListed-len(list))
		list = append(list, more...)
		if err != nil {
			return forge.SortFound(list), false, err
		}
		complete = complete && all
	}
	return forge.SortFound(list), complete, nil
}
