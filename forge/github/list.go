package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/troy-iaas/troy/forge"
)

// readMetadata is a permission that every app has.
var readMetadata = access{"metadata", "read"}

// Repositories implements forge.Lister: those of every installation of the app
// (docs.github.com/rest/apps/apps#list-installations-for-the-authenticated-app,
// docs.github.com/rest/apps/installations#list-repositories-accessible-to-the-app-installation).
func (c *Client) Repositories(ctx context.Context) (list []forge.Found, complete bool, err error) {
	signed, err := c.sign(ctx)
	if err != nil {
		return nil, false, err
	}
	var installations []struct {
		ID        int64   `json:"id"`
		Suspended *string `json:"suspended_at"`
	}
	get := call(http.MethodGet, "/app/installations", signed, nil, &installations)
	get.Query = pageOf(1)
	if _, err := c.api.Do(ctx, get); err != nil {
		return nil, false, failed("github: the installations of the app", forge.ErrInstallation, err)
	}
	complete = len(installations) < pageSize
	for _, i := range installations {
		if i.Suspended != nil {
			continue
		}
		more, all, err := c.repositoriesOf(ctx, signed, strconv.FormatInt(i.ID, 10), forge.MaxListed-len(list))
		list = append(list, more...)
		if err != nil {
			return forge.SortFound(list), false, err
		}
		complete = complete && all
	}
	return forge.SortFound(list), complete, nil
}

func pageOf(n int) url.Values {
	return url.Values{"per_page": {strconv.Itoa(pageSize)}, "page": {strconv.Itoa(n)}}
}

// repositoriesOf lists at most limit repositories of an installation, with a
// token that reads their metadata alone.
func (c *Client) repositoriesOf(ctx context.Context, signed, installation string, limit int) (list []forge.Found, complete bool, err error) {
	var granted struct {
		Token string `json:"token"`
	}
	ask := map[string]any{"permissions": map[string]string{readMetadata.permission: readMetadata.level}}
	if _, err := c.api.Do(ctx, call(http.MethodPost, "/app/installations/"+installation+"/access_tokens", signed, ask, &granted)); err != nil {
		return nil, false, mintFailed(forge.Repository{Installation: installation, FullName: "all repositories"}, readMetadata, forge.ErrForbidden, err)
	}
	for page := 1; len(list) < limit; page++ {
		var answer struct {
			Total        int          `json:"total_count"`
			Repositories []repository `json:"repositories"`
		}
		get := call(http.MethodGet, "/installation/repositories", "Bearer "+granted.Token, nil, &answer)
		get.Query = pageOf(page)
		if _, err := c.api.Do(ctx, get); err != nil {
			return list, false, failed(fmt.Sprintf("github: the repositories of installation %s", installation), forge.ErrInstallation, err)
		}
		for _, r := range answer.Repositories {
			list = append(list, forge.Found{
				Repository:    forge.Repository{Installation: installation, ID: strconv.FormatInt(r.ID, 10), FullName: r.FullName},
				DefaultBranch: forge.Line(r.DefaultBranch, 250), Private: r.Private,
			})
		}
		if len(answer.Repositories) < pageSize {
			return list, true, nil
		}
	}
	return list[:limit], false, nil
}
