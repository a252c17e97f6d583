package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/bitbucket"
	"github.com/troy-iaas/troy/queries"
)

func newBitbucketCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "bitbucket", Short: "Set up Bitbucket: webhooks and existing Connect apps", Args: cobra.NoArgs, RunE: help}
	cmd.AddCommand(newBitbucketHookCommand(), newBitbucketConnectCommand(), newBitbucketImportCommand(), newBitbucketStatusCommand())
	return cmd
}

func newBitbucketHookCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "hook PIPELINE",
		Short: "Make the webhook of a pipeline's repository, signed with TROY_BITBUCKET_SECRET",
		Long: "Make the webhook of a pipeline's repository, or update it. The access token needs the scope webhook;\n" +
			"without it, the command prints what to enter by hand, with exit status 1.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withBackend(cmd.Context(), func(cfg config) error {
				if cfg.Forges.Bitbucket.Secret == "" {
					return usageError{errors.New("TROY_BITBUCKET_SECRET: not set; the webhook is signed with it. openssl rand -hex 32 makes one, for troyd web too")}
				}
				return nil
			}, func(cfg config, b *backend) error {
				id, err := subject(cmd.Context(), b, args[0])
				if err != nil {
					return usageError{err}
				}
				q := queries.New(b.db)
				p, err := q.PipelineGet(cmd.Context(), id)
				if err != nil {
					return fmt.Errorf("read pipeline %s: %w", args[0], err)
				}
				if p.RepositoryProvider == nil || p.RepositoryFullName == nil || *p.RepositoryProvider != string(troy.Bitbucket) {
					return usageError{fmt.Errorf("the pipeline %s is not built from a repository at Bitbucket", p.Slug)}
				}
				// It uses the access token even if a Connect app has access: a
				// Connect app's scopes exclude webhooks.
				client, err := bitbucket.NewForge(cfg.Forges.Bitbucket, bitbucket.Options{URL: cfg.URL, DB: b.db})
				if err != nil {
					return usageError{err}
				}
				r := forge.Repository{FullName: *p.RepositoryFullName}
				if p.RepositoryID != nil {
					r.ID = *p.RepositoryID
				}
				return ensureHook(cmd.Context(), cmd.OutOrStdout(), client, r, forge.Hook{URL: cfg.URL + "/hooks/bitbucket", Secret: cfg.Forges.Bitbucket.Secret})
			})
		},
	}
}

// ensureHook makes a repository's webhook, or explains how to make it by hand.
func ensureHook(ctx context.Context, out io.Writer, hooks forge.Hooks, r forge.Repository, hook forge.Hook) error {
	id, err := hooks.EnsureHook(ctx, r, hook)
	if err == nil {
		return printLine(out, fmt.Sprintf("The webhook %s of %s sends its pushes to %s", id, r.FullName, hook.URL))
	}
	if !errors.Is(err, forge.ErrForbidden) && !errors.Is(err, forge.ErrInstallation) {
		return fmt.Errorf("make the webhook of %s: %w", r.FullName, err)
	}
	manual := fmt.Sprintf("Make the webhook by hand: Repository settings, Webhooks, Add webhook.\n"+
		"  URL:      %s\n"+
		"  Secret:   the value of TROY_BITBUCKET_SECRET\n"+
		"  Triggers: Repository push and updated; Pull request created, updated, merged, declined and comment created", hook.URL)
	return errors.Join(fmt.Errorf("the webhook of %s was not made: %w", r.FullName, err), printLine(out, manual))
}

func newBitbucketConnectCommand() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "connect",
		Short: "Print an address for installing the Connect app once, within an hour",
		Long: "Print the address of the Connect app's descriptor. It is valid for one first installation within an hour, so keep it\n" +
			"secret until then; afterwards it belongs to that installation. Bitbucket accepts no new Connect apps since 2026-02-02\n" +
			"(docs/bitbucket.md).",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withConnect(cmd, &key, func(_ config, b *backend) (credentials.State, error) {
				return bitbucket.IssueConnect(cmd.Context(), b.db, key, "operator "+username())
			})
		},
	}
	appKeyFlag(cmd, &key)
	return cmd
}

func newBitbucketImportCommand() *cobra.Command {
	var key, clientKey, account string
	cmd := &cobra.Command{
		Use:   "import --client-key KEY",
		Short: "Import an installation of a Connect app; its shared secret is read from standard input",
		Long: "Import an installation of a Connect app that was made for another server. Its shared secret is read from standard\n" +
			"input. The command prints the new address of the descriptor; the app must be moved to it.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !printable(clientKey) {
				return usageError{errors.New("--client-key is missing or invalid; expected the clientKey that Bitbucket sent with the installation")}
			}
			return withConnect(cmd, &key, func(cfg config, b *backend) (credentials.State, error) {
				secrets, err := sealer(cfg)
				if err != nil {
					return "", err
				}
				shared, err := readSecret(cmd.InOrStdin())
				if err != nil {
					return "", usageError{err}
				}
				if account == "" {
					account = clientKey
				}
				sealed, err := bitbucket.Connect{AppKey: key, Secrets: []string{shared}}.Seal(secrets, clientKey)
				if err != nil {
					return "", err
				}
				state := credentials.NewState()
				return state, b.intake(cfg).ConnectImport(cmd.Context(), state.Hash(), key, clientKey, account, "operator "+username(), sealed)
			})
		},
	}
	appKeyFlag(cmd, &key)
	cmd.Flags().StringVar(&clientKey, "client-key", "", "the clientKey of the installation")
	cmd.Flags().StringVar(&account, "account", "", "the owner of the installation, for display")
	return cmd
}

func appKeyFlag(cmd *cobra.Command, key *string) {
	cmd.Flags().StringVar(key, "app-key", "", "the key of the Connect app (default: TROY_URL's host reversed, as in com.example.troy)")
}

// withConnect runs f, which makes the state of a Connect app, and prints the
// address of its descriptor.
func withConnect(cmd *cobra.Command, key *string, f func(config, *backend) (credentials.State, error)) error {
	cfg, err := commandConfig()
	if err != nil {
		return err
	}
	if cfg.SecretKey == "" {
		return usageError{errors.New("TROY_SECRET_KEY: not set; the installation's secret is sealed with it. openssl rand -base64 32 makes one, for troyd web and troyd work")}
	}
	if *key == "" {
		if *key = appKey(cfg.URL); *key == "" {
			return usageError{fmt.Errorf("--app-key is missing, and no key can be derived from TROY_URL %s", cfg.URL)}
		}
	}
	// Report what Bitbucket would refuse before issuing anything.
	if _, err := bitbucket.Describe(*key, cfg.URL); err != nil {
		return usageError{err}
	}
	b, err := connect(cmd.Context(), cfg, cfg.logger())
	if err != nil {
		return err
	}
	defer b.close()
	state, err := f(cfg, b)
	if err != nil {
		return err
	}
	return printLine(cmd.OutOrStdout(), cfg.URL+bitbucket.DescriptorPath(state))
}

// appKey derives a Connect app's key from Troy's host, which is unique:
// "com.example.troy". It returns the empty string for IP addresses and single
// names.
func appKey(troyURL string) string {
	u, err := url.Parse(troyURL)
	if err != nil || net.ParseIP(u.Hostname()) != nil || !strings.Contains(u.Hostname(), ".") {
		return ""
	}
	labels := strings.Split(u.Hostname(), ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".")
}

// printable reports whether a copied key is valid.
func printable(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Minimum and maximum length of a Connect installation's shared secret, in
// characters.
const (
	minShared = 16
	maxShared = 255
)

// readSecret reads a secret of one line. Its errors don't quote it.
func readSecret(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the secret from standard input: %w", err)
	}
	line = strings.TrimSpace(line)
	if len(line) < minShared || len(line) > maxShared {
		return "", fmt.Errorf("the secret on standard input has %d characters; expected one line of %d to %d", len(line), minShared, maxShared)
	}
	if !printable(line) {
		return "", errors.New("the secret on standard input has a space or another character that is not printable ASCII; expected the shared secret alone")
	}
	return line, nil
}

func newBitbucketStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the credentials that Troy uses at Bitbucket",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBackend(cmd.Context(), nil, func(cfg config, b *backend) error {
				token := "not set"
				if cfg.Forges.Bitbucket.Token != "" {
					token = "set"
				}
				signed := "not set, so webhooks are refused"
				if cfg.Forges.Bitbucket.Secret != "" {
					signed = "set"
				}
				if err := printLine(cmd.OutOrStdout(), fmt.Sprintf("TROY_BITBUCKET_TOKEN: %s\nTROY_BITBUCKET_SECRET: %s\nWebhook: %s/hooks/bitbucket", token, signed, cfg.URL)); err != nil {
					return err
				}
				return installations(cmd.Context(), cmd.OutOrStdout(), queries.New(b.db), troy.Bitbucket)
			})
		},
	}
}
