package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/internal/devstack"
	"github.com/troy-iaas/troy/secret"
	schema "github.com/troy-iaas/troy/sql"
)

func newDevCommand() *cobra.Command {
	var sample string
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything in one process, with a private Postgres and Redis",
		Long: "Run web, work and edge in one process. TROY_DATABASE_URL and TROY_REDIS_URL are used when set; otherwise private\n" +
			"servers are started, with their data in TROY_DATA_DIR.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig()
			if err != nil {
				return usageError{err}
			}
			return runDev(cmd.Context(), cfg, sample)
		},
	}
	cmd.AddCommand(newSeedCommand())
	cmd.Flags().StringVar(&sample, "sample", "", "make a sample app and release this folder as its site")
	return cmd
}

func runDev(ctx context.Context, cfg config, sample string) (err error) {
	log := cfg.logger()
	// Open the addresses first, to report one that is in use before a database
	// starts.
	api, err := listen(ctx, "TROY_ADDR", cfg.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = api.Close() }()
	sites, err := listenSites(ctx, cfg)
	if err != nil {
		return err
	}
	defer sites.close()
	// A port of 0 is known now.
	cfg.Addr, cfg.EdgeAddr = api.Addr().String(), sites.clear.Addr().String()
	if sites.secure != nil {
		cfg.TLS.EdgeAddr = sites.secure.Addr().String()
	}
	if os.Getenv("TROY_URL") == "" {
		cfg.URL = urlOf(api)
	}
	if os.Getenv("TROY_SITES_URL") == "" {
		cfg.SitesURL = cfg.sitesURL()
	}

	stack, err := devstack.Start(ctx, devstack.Config{
		Dir: cfg.DataDir, DatabaseURL: cfg.DatabaseURL, RedisURL: cfg.RedisURL, Logger: log,
	})
	if err != nil {
		return err
	}
	defer func() {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(err, stack.Stop(stopCtx))
	}()
	cfg.DatabaseURL, cfg.RedisURL = stack.DatabaseURL, stack.RedisURL
	if _, err := schema.Up(ctx, cfg.DatabaseURL); err != nil {
		return err
	}
	if cfg.AppsSecret == "" {
		if cfg.AppsSecret, err = keptSecret(cfg.DataDir, "apps-secret", func() (string, error) { return rand.Text() + rand.Text(), nil }); err != nil {
			return err
		}
	}
	if cfg.SecretKey == "" {
		if cfg.SecretKey, err = keptSecret(cfg.DataDir, "secret-key", func() (string, error) { return secret.NewKey(), nil }); err != nil {
			return err
		}
	}
	b, err := connect(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer b.close()
	token, err := devToken(ctx, cfg, b)
	if err != nil {
		return err
	}
	server, err := newWeb(cfg, b, log)
	if err != nil {
		return err
	}
	edge, err := newEdge(cfg, log)
	if err != nil {
		return err
	}

	withdraw, err := cfg.announce()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, withdraw()) }()

	queues, err := consumers(ctx, cfg, b, log)
	if err != nil {
		return err
	}

	g, ctx := errgroup.WithContext(ctx)
	consume(ctx, g, queues)
	g.Go(func() error { b.bell.Run(ctx); return nil })
	g.Go(func() error { b.watch(ctx); return nil })
	g.Go(func() error { return runWorkers(ctx, cfg, b, log) })
	g.Go(func() error { return serve(ctx, api, server) })
	g.Go(func() error { return serveEdge(ctx, edge, sites) })
	g.Go(func() error {
		live := ""
		if sample != "" {
			var err error
			live, err = releaseSample(ctx, cfg, token, sample, log)
			select {
			case <-ctx.Done(): // this fails the release too
				return nil
			default:
			}
			if err != nil {
				return fmt.Errorf("sample site: %w", err)
			}
		}
		link, err := credentials.Sessions{DB: b.db, Log: log}.IssueLink(ctx, token)
		if err != nil {
			return err
		}
		fmt.Print(addresses(cfg.URL, link, token, live))
		return nil
	})
	err = g.Wait()
	log.Info("stopped")
	return err
}

// addresses are the last lines of output: the addresses of everything.
func addresses(url, link, token, live string) string {
	lines := [][2]string{{"Dashboard", url + link}, {"API", url}, {"Monitor", url + "/monitor"}, {"Admin token", token}}
	if live != "" {
		lines = append(lines, [2]string{"Site live", live})
	}
	out := ""
	for _, l := range lines {
		out += fmt.Sprintf("%-13s%s\n", l[0]+":", l[1])
	}
	return out
}

// devToken returns the folder's admin token; it makes one if the database does
// not have it.
func devToken(ctx context.Context, cfg config, b *backend) (string, error) {
	make := func() (string, error) {
		return credentials.Token{Name: "troyd dev", Role: credentials.Admin}.Create(ctx, b.db)
	}
	token, err := keptSecret(cfg.DataDir, "admin-token", make)
	if err != nil {
		return "", err
	}
	known, err := credentials.Known(ctx, b.db, token)
	if err != nil || known {
		return token, err
	}
	// The folder is older than the database.
	if err := os.Remove(filepath.Join(cfg.DataDir, "admin-token")); err != nil {
		return "", err
	}
	return keptSecret(cfg.DataDir, "admin-token", make)
}

// keptSecret returns the secret in a file of the data folder, which only its
// owner may read; it makes the file if it does not exist.
func keptSecret(dir, name string, make func() (string, error)) (string, error) {
	file := filepath.Join(dir, name)
	kept, err := os.ReadFile(file)
	if err == nil {
		return strings.TrimSpace(string(kept)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	secret, err := make()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", err
	}
	// A project that Troy runs in must not commit its secrets.
	if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("*\n"), 0o600); err != nil {
		return "", err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(secret + "\n")
	return secret, errors.Join(err, f.Close())
}
