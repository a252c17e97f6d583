package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/bitbucket"
	"github.com/troy-iaas/troy/forge/github"
	"github.com/troy-iaas/troy/secret"
)

// forges returns the adapters of the forges that are set up.
func forges(cfg config) (map[troy.Provider]forge.Forge, error) {
	out := map[troy.Provider]forge.Forge{}
	if cfg.GitHubClientID != "" {
		key, err := os.ReadFile(cfg.GitHubKeyFile)
		if err != nil {
			return nil, usageError{fmt.Errorf("TROY_GITHUB_KEY_FILE: %w", err)}
		}
		app := forge.App{ClientID: cfg.GitHubClientID, PrivateKey: string(key), WebhookSecret: cfg.GitHubSecret}
		if cfg.GitHubAppID != "" {
			if app.ID, err = strconv.ParseInt(cfg.GitHubAppID, 10, 64); err != nil {
				return nil, usageError{fmt.Errorf("TROY_GITHUB_APP_ID: %q is no number", cfg.GitHubAppID)}
			}
		}
		client, err := github.New(github.Config{
			APIURL: cfg.GitHubURL, SiteURL: githubSite(cfg.GitHubURL),
			App: func(context.Context) (forge.App, error) { return app, nil },
		})
		if err != nil {
			return nil, usageError{fmt.Errorf("TROY_GITHUB_URL: %w", err)}
		}
		out[troy.GitHub] = client
	}
	if cfg.BitbucketToken != "" {
		client, err := bitbucket.New(bitbucket.Config{
			APIURL: cfg.BitbucketURL, SiteURL: bitbucketSite(cfg.BitbucketURL),
			Credential: func(context.Context, string) (bitbucket.Credential, error) {
				return bitbucket.Credential{AccessToken: cfg.BitbucketToken}, nil
			},
		})
		if err != nil {
			return nil, usageError{fmt.Errorf("TROY_BITBUCKET_URL: %w", err)}
		}
		out[troy.Bitbucket] = client
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

func newBuilder(cfg config, log *slog.Logger) (*localcloud.Builder, error) {
	b, err := localcloud.NewBuilder(localcloud.BuilderConfig{
		Root: cfg.cloudRoot(), Isolation: localcloud.Isolation(cfg.BuildIsolation), Log: log,
	})
	if err != nil {
		return nil, errors.Join(errors.New("TROY_BUILD_ISOLATION"), err)
	}
	return b, nil
}
