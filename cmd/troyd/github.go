package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge/github"
	"github.com/troy-iaas/troy/queries"
)

func newGitHubCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "github", Short: "Set up Troy's GitHub app", Args: cobra.NoArgs, RunE: help}
	cmd.AddCommand(newGitHubSetupCommand(), newGitHubStatusCommand())
	return cmd
}

func newGitHubSetupCommand() *cobra.Command {
	var replace bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Print the page that makes the GitHub app, and wait for the app",
		Long: "Print the address of the page on which an admin lets GitHub make Troy's app, and wait until its keys are stored.\n" +
			"If there is an app already, say which.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBackend(cmd.Context(), func(cfg config) error {
				if cfg.Forges.GitHub.ClientID != "" {
					return usageError{errors.New("TROY_GITHUB_CLIENT_ID: set, so the app comes from the environment; remove it and the app's other settings to have an app made")}
				}
				if cfg.SecretKey == "" {
					return usageError{errors.New("TROY_SECRET_KEY: not set; the app's keys are sealed with it. openssl rand -base64 32 makes one, for troyd web and troyd work")}
				}
				return nil
			}, func(cfg config, b *backend) error {
				return setUpGitHub(cmd.Context(), cmd.OutOrStdout(), queries.New(b.db), cfg.URL, replace, wait)
			})
		},
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "wait for a new app that replaces the present one")
	cmd.Flags().DurationVar(&wait, "wait", time.Hour, "how long to wait for the app")
	return cmd
}

// lookEvery is the interval between checks for the app.
const lookEvery = time.Second

// setUpGitHub prints the setup page's address and waits for the app.
func setUpGitHub(ctx context.Context, out io.Writer, q *queries.Queries, troyURL string, replace bool, wait time.Duration) error {
	before, err := q.ForgeAppGet(ctx, string(troy.GitHub))
	switch {
	case err == nil && !replace:
		return printLine(out, fmt.Sprintf("The app %s is set up.\nInstall it: %s/installations/new", before.Name, before.Url))
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("read the GitHub app: %w", err)
	}
	if err := printLine(out, fmt.Sprintf("Open %s/setup/github\nThe password is an admin token (troyd token create --role admin). Waiting for the app.", troyURL)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no app was made within %s: %w", wait, ctx.Err())
		case <-tick.C:
		}
		app, err := q.ForgeAppGet(ctx, string(troy.GitHub))
		if errors.Is(err, pgx.ErrNoRows) || err == nil && app.ChangedAt.Equal(before.ChangedAt) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the GitHub app: %w", err)
		}
		return printLine(out, fmt.Sprintf("The app %s is set up.\nInstall it: %s/installations/new", app.Name, app.Url))
	}
}

func newGitHubStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show Troy's GitHub app and where it is installed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBackend(cmd.Context(), nil, func(cfg config, b *backend) error {
				secrets, err := sealer(cfg)
				if err != nil {
					return err
				}
				app, err := cfg.Forges.GitHub.App(b.db, secrets)
				if err != nil {
					return usageError{err}
				}
				return githubStatus(cmd.Context(), cmd.OutOrStdout(), app, cfg.URL)
			})
		},
	}
}

func githubStatus(ctx context.Context, out io.Writer, app github.App, troyURL string) error {
	a, err := app.Current(ctx)
	if err != nil {
		return err
	}
	switch {
	case a.ClientID == "":
		return printLine(out, "GitHub is not set up: troyd github setup")
	case app.Own != nil:
		number := "unknown (TROY_GITHUB_APP_ID)"
		if a.ID != 0 {
			number = strconv.FormatInt(a.ID, 10)
		}
		err = printLine(out, fmt.Sprintf("App: from the environment, client id %s, number %s", a.ClientID, number))
	default:
		err = printLine(out, fmt.Sprintf("App: %s, number %d\nPage: %s", a.Name, a.ID, a.URL))
	}
	if err != nil {
		return err
	}
	if err := printLine(out, "Webhook: "+troyURL+"/hooks/github"); err != nil {
		return err
	}
	return installations(ctx, out, queries.New(app.DB), troy.GitHub)
}

// installations prints an app's installations.
func installations(ctx context.Context, out io.Writer, q *queries.Queries, provider troy.Provider) error {
	rows, err := q.InstallationList(ctx, string(provider))
	if err != nil {
		return fmt.Errorf("list the installations: %w", err)
	}
	if len(rows) == 0 {
		return printLine(out, "Installations: none yet")
	}
	for _, row := range rows {
		account := row.Account
		if account == "" {
			account = "account not known yet"
		}
		if err := printLine(out, fmt.Sprintf("Installation %s: %s, %s", row.ID, account, row.State)); err != nil {
			return err
		}
	}
	return nil
}
