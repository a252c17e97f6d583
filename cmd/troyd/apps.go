package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/bitbucket"
	"github.com/troy-iaas/troy/forge/github"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/web/hook"
)

// notSetUp says that there are no credentials for a forge, or not any more. To
// those who read its repositories that is the same as an app that was removed:
// someone may put it right.
type notSetUp string

func (e notSetUp) Error() string { return string(e) }

// Is reports whether target is forge.ErrInstallation.
func (notSetUp) Is(target error) bool { return target == forge.ErrInstallation }

const (
	noGitHub    = notSetUp("GitHub is not set up: troyd github setup")
	noBitbucket = notSetUp("Bitbucket is not set up: TROY_BITBUCKET_TOKEN is not set and no installation of a Connect app sees the repository")
)

func newGitHubApp(cfg config, db queries.DBTX, secrets *secret.Sealer) (credentials.GitHubApp, error) {
	g := credentials.GitHubApp{DB: db, Secrets: secrets}
	if cfg.GitHubClientID == "" {
		return g, nil
	}
	key, err := os.ReadFile(cfg.GitHubKeyFile)
	if err != nil {
		return g, usageError{fmt.Errorf("TROY_GITHUB_KEY_FILE: %w", err)}
	}
	g.Own = &forge.App{ClientID: cfg.GitHubClientID, PrivateKey: string(key), WebhookSecret: cfg.GitHubSecret}
	if cfg.GitHubAppID != "" {
		if g.Own.ID, err = strconv.ParseInt(cfg.GitHubAppID, 10, 64); err != nil {
			return g, usageError{fmt.Errorf("TROY_GITHUB_APP_ID: %q is not a number", cfg.GitHubAppID)}
		}
	}
	return g, nil
}

// githubClient returns the adapter that acts as the app.
func githubClient(cfg config, g credentials.GitHubApp, transport http.RoundTripper) (*github.Client, error) {
	client, err := github.New(github.Config{
		APIURL: cfg.GitHubURL, SiteURL: githubSite(cfg.GitHubURL), Transport: transport,
		App: func(ctx context.Context) (forge.App, error) {
			app, err := g.Current(ctx)
			if err == nil && app.ClientID == "" {
				err = troy.Errorf(troy.Forbidden, "%w", noGitHub)
			}
			return app, err
		},
	})
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_GITHUB_URL: %w", err)}
	}
	return client, nil
}

// githubForge is GitHub also before there is an app: then nothing was sent that
// could have failed.
type githubForge struct {
	*github.Client
	app credentials.GitHubApp
}

// Failed implements forge.Deliveries.
func (g githubForge) Failed(ctx context.Context, since time.Time) ([]forge.FailedDelivery, error) {
	app, err := g.app.Current(ctx)
	if err != nil || app.ClientID == "" {
		return nil, err
	}
	return g.Client.Failed(ctx, since)
}

// bitbucketForge is Bitbucket with an access token, with installations of a
// Connect app, or both.
type bitbucketForge struct {
	*bitbucket.Client
	token   string
	db      queries.DBTX
	secrets *secret.Sealer
}

func newBitbucketForge(cfg config, db queries.DBTX, secrets *secret.Sealer, transport http.RoundTripper) (*bitbucketForge, error) {
	b := &bitbucketForge{token: cfg.BitbucketToken, db: db, secrets: secrets}
	var err error
	b.Client, err = bitbucket.New(bitbucket.Config{
		APIURL: cfg.BitbucketURL, SiteURL: bitbucketSite(cfg.BitbucketURL), Credential: b.credential, Transport: transport,
	})
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_BITBUCKET_URL: %w", err)}
	}
	return b, nil
}

// credential is what to act with for an installation. Where the Connect app
// was removed, and for what none told of, the access token serves.
func (b *bitbucketForge) credential(ctx context.Context, installation string) (bitbucket.Credential, error) {
	if installation != "" && b.secrets != nil {
		kept, ok, err := credentials.ActiveConnect(ctx, b.db, b.secrets, installation)
		if err != nil {
			return bitbucket.Credential{}, err
		}
		if ok {
			return bitbucket.Credential{Sign: func(method, path string, query url.Values) (string, error) {
				return hook.SignConnect(hook.ConnectRequest{Method: method, Path: path, Query: query.Encode()},
					kept.AppKey, installation, []byte(kept.Secrets[0]), time.Now())
			}}, nil
		}
	}
	if b.token == "" {
		return bitbucket.Credential{}, troy.Errorf(troy.Forbidden, "%w", noBitbucket)
	}
	return bitbucket.Credential{AccessToken: b.token}, nil
}

// Repository implements forge.Forge. A repository that no message told of yet
// is looked for with the token, and then by each installation.
func (b *bitbucketForge) Repository(ctx context.Context, r forge.Repository) (forge.Found, error) {
	if r.Installation != "" {
		return b.Client.Repository(ctx, r)
	}
	var failed error = troy.Errorf(troy.Forbidden, "%w", noBitbucket)
	if b.token != "" {
		found, err := b.Client.Repository(ctx, r)
		if err == nil || !elsewhere(err) {
			return found, err
		}
		failed = err
	}
	if b.secrets == nil {
		return forge.Found{}, failed
	}
	installations, err := queries.New(b.db).InstallationList(ctx, string(troy.Bitbucket))
	if err != nil {
		return forge.Found{}, fmt.Errorf("list the installations of the Connect app: %w", err)
	}
	for _, row := range installations {
		if row.State != "active" || row.Credentials == nil {
			continue
		}
		r.Installation = row.ID
		found, err := b.Client.Repository(ctx, r)
		if err == nil || !elsewhere(err) {
			return found, err
		}
	}
	return forge.Found{}, failed
}

// elsewhere reports whether other credentials may see what these don't.
func elsewhere(err error) bool {
	return errors.Is(err, forge.ErrNoRepository) || errors.Is(err, forge.ErrForbidden) || errors.Is(err, forge.ErrInstallation)
}
