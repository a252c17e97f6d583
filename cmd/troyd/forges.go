package main

import (
	"fmt"
	"strings"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/metrics"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
)

// forges returns the adapters of the forges that are set up, or can be while
// this process runs. Their requests are counted.
func forges(cfg config, db queries.DBTX, secrets *secret.Sealer, meters *metrics.Metrics) (map[troy.Provider]forge.Forge, error) {
	out := map[troy.Provider]forge.Forge{}
	app, err := newGitHubApp(cfg, db, secrets)
	if err != nil {
		return nil, err
	}
	if app.Possible() {
		client, err := githubClient(cfg, app, meters.Forge(troy.GitHub, forge.Transport()))
		if err != nil {
			return nil, err
		}
		out[troy.GitHub] = githubForge{client, app}
	}
	if cfg.BitbucketToken != "" || secrets != nil {
		if out[troy.Bitbucket], err = newBitbucketForge(cfg, db, secrets, meters.Forge(troy.Bitbucket, forge.Transport())); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// githubSite is where people and git go, beside the API's address: a GitHub
// Enterprise Server has both on one host.
func githubSite(api string) string {
	site, enterprise := strings.CutSuffix(strings.TrimSuffix(api, "/"), "/api/v3")
	if !enterprise {
		return ""
	}
	return site
}

// bitbucketSite is where people and git go: of Bitbucket's own API the
// adapter's default, of another the same host.
func bitbucketSite(api string) string {
	if strings.HasPrefix(api, "https://api.bitbucket.org") {
		return ""
	}
	return api
}

// sealer returns nil without TROY_SECRET_KEY.
func sealer(cfg config) (*secret.Sealer, error) {
	if cfg.SecretKey == "" {
		return nil, nil
	}
	s, err := secret.New(cfg.SecretKey)
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_SECRET_KEY: %w", err)}
	}
	return s, nil
}
