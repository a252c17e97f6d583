package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/bitbucket"
	"github.com/troy-iaas/troy/forge/github"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/secret"
)

// Only this file registers the forges: their settings, their adapters and the
// commands that set them up. troy.Providers lists the same forges.

type forgeSettings struct {
	GitHub    github.Settings
	Bitbucket bitbucket.Settings
}

func (s forgeSettings) check(wrong wrongly) {
	s.GitHub.Check(wrong)
	s.Bitbucket.Check(wrong)
}

func forgeCommands() []*cobra.Command {
	return []*cobra.Command{newGitHubCommand(), newBitbucketCommand()}
}

// forges returns the adapters of all forges, set up or not. It counts their
// requests.
func forges(cfg config, b *backend, secrets *secret.Sealer) (all []forge.Adapter, err error) {
	app, err := cfg.Forges.GitHub.App(b.db, secrets)
	if err != nil {
		return nil, usageError{err}
	}
	gitHub, err := github.NewForge(app, github.Options{
		APIURL: cfg.Forges.GitHub.URL, URL: cfg.URL, Transport: b.meters.Forge(troy.GitHub, forge.Transport()), Log: b.log,
	})
	if err != nil {
		return nil, usageError{err}
	}
	bitBucket, err := bitbucket.NewForge(cfg.Forges.Bitbucket, bitbucket.Options{
		URL: cfg.URL, DB: b.db, Secrets: secrets, Intake: b.intake(cfg),
		Transport: b.meters.Forge(troy.Bitbucket, forge.Transport()), Log: b.log,
	})
	if err != nil {
		return nil, usageError{err}
	}
	return []forge.Adapter{gitHub.Adapter(), bitBucket.Adapter()}, nil
}

// forgeAPIs returns the APIs of the forges that are set up, or can be while
// this process runs.
func forgeAPIs(all []forge.Adapter) map[troy.Provider]forge.Forge {
	out := map[troy.Provider]forge.Forge{}
	for _, a := range all {
		if a.API != nil {
			out[a.Provider] = a.API
		}
	}
	return out
}

// sealer returns nil without TROY_SECRET_KEY.
func sealer(cfg config) (*secret.Sealer, error) {
	switch {
	case cfg.SecretKey == "" && cfg.PreviewAccess == intake.PreviewsSignedIn:
		return nil, usageError{errors.New("TROY_PREVIEW_ACCESS: is signed-in, which needs TROY_SECRET_KEY")}
	case cfg.SecretKey == "":
		return nil, nil
	}
	s, err := secret.New(cfg.SecretKey)
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_SECRET_KEY: %w", err)}
	}
	return s, nil
}
