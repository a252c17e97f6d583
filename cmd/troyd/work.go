package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/health"
	"github.com/troy-iaas/troy/thumbnail"
	"github.com/troy-iaas/troy/workers"
)

func newWorkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "work",
		Short: "Run the workers: provisioning, deployments, teardown, the sweep",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig()
			if err != nil {
				return usageError{err}
			}
			log := cfg.logger()
			b, err := connect(cmd.Context(), cfg, log)
			if err != nil {
				return err
			}
			defer b.close()
			queues, err := consumers(cmd.Context(), cfg, b, log)
			if err != nil {
				return err
			}
			g, ctx := errgroup.WithContext(cmd.Context())
			if cfg.HealthAddr != "" {
				l, err := listen(ctx, "TROY_HEALTH_ADDR", cfg.HealthAddr)
				if err != nil {
					return err
				}
				g.Go(func() error {
					return serve(ctx, l, &http.Server{Handler: health.Handler(b.ready(true), credentials.Tokens{DB: b.db, Log: log}, b.meters), ReadHeaderTimeout: stopTimeout})
				})
			}
			g.Go(func() error { b.bell.Run(ctx); return nil })
			g.Go(func() error { b.watch(ctx); return nil })
			g.Go(func() error { return runWorkers(ctx, cfg, b, log) })
			consume(ctx, g, queues)
			log.Info("working", "slots", cfg.Workers)
			return g.Wait()
		},
	}
}

// thumbnails returns what takes pictures of sites, or nil if this machine can't.
func thumbnails(cfg config, log *slog.Logger) func(context.Context, string, thumbnail.Answers) ([]byte, error) {
	if cfg.Chromium == "off" {
		return nil
	}
	browser, err := thumbnail.New(cfg.Chromium)
	if err != nil {
		log.Info("no thumbnails of sites are taken (TROY_CHROMIUM)", "reason", err)
		return nil
	}
	return browser.Take
}

// consume takes messages from the queues until the context ends.
func consume(ctx context.Context, g *errgroup.Group, queues map[string]workers.Consumer) {
	for setting, c := range queues {
		g.Go(func() error {
			if err := c.Run(ctx); err != nil {
				return usageError{fmt.Errorf("%s: %w", setting, err)}
			}
			return nil
		})
	}
}

func runWorkers(ctx context.Context, cfg config, b *backend, log *slog.Logger) (err error) {
	secrets, err := sealer(cfg)
	if err != nil {
		return err
	}
	known, err := forges(cfg, b, secrets)
	if err != nil {
		return err
	}
	builder, poll, shut, err := openBuilder(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shut()) }()
	if cfg.onAWS() {
		stop, err := startUpkeep(ctx, cfg, b, log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	checker, err := cfg.dns()
	if err != nil {
		return usageError{fmt.Errorf("TROY_DNS_RESOLVERS: %w", err)}
	}
	sender, err := cfg.notifier()
	if err != nil {
		return usageError{fmt.Errorf("TROY_SMTP_URL, TROY_NOTIFY_PRIVATE: %w", err)}
	}
	version, _ := health.Build()
	return workers.New(workers.Config{
		Version: version,
		Slots:   cfg.Workers, BuildSlots: cfg.BuildSlots, PreviewSlots: cfg.PreviewSlots, PreviewSuffix: cfg.previewSuffix(), Lease: cfg.Lease, KeepDeployments: cfg.KeepDeployments,
		CarryAssets: cfg.CarryAssets, UploadsValid: cfg.UploadsValid, Limits: cfg.limits(), BuildLimits: cfg.buildLimits(), BuildPoll: poll,
		Submodules: cfg.Submodules, IssuesCertificates: cfg.TLS.EdgeAddr != "" || cfg.onAWS(), Issuers: cfg.issuers(),
		CatchUp: cfg.CatchUp, URL: cfg.URL, SiteURL: func(host string) string { return strings.ReplaceAll(cfg.SitesURL, "{host}", host) },
	}, workers.Deps{
		DB: b.db, Redis: b.redis, Client: b.client, Bell: b.bell, Cloud: b.cloud, Builder: b.meters.Builder(builder), Forges: forgeAPIs(known),
		Thumbnail: thumbnails(cfg, log), DNS: checker,
		Intake: b.intake(cfg), Secrets: secrets, Notify: sender, Metrics: b.meters, Log: log,
	}).Run(ctx)
}
