package main

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/web"
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
			g, ctx := errgroup.WithContext(cmd.Context())
			if cfg.HealthAddr != "" {
				l, err := listen(ctx, "TROY_HEALTH_ADDR", cfg.HealthAddr)
				if err != nil {
					return err
				}
				g.Go(func() error {
					return serve(ctx, l, &http.Server{Handler: web.Health(b.ready(), log), ReadHeaderTimeout: stopTimeout})
				})
			}
			g.Go(func() error { b.bell.Run(ctx); return nil })
			g.Go(func() error { return runWorkers(ctx, cfg, b, log) })
			log.Info("working", "slots", cfg.Workers)
			return g.Wait()
		},
	}
}

func runWorkers(ctx context.Context, cfg config, b *backend, log *slog.Logger) error {
	return workers.New(workers.Config{
		Slots: cfg.Workers, Lease: cfg.Lease, KeepDeployments: cfg.KeepDeployments,
		CarryAssets: cfg.CarryAssets, UploadsValid: cfg.UploadsValid,
	}, workers.Deps{
		DB: b.db, Redis: b.redis, Client: b.client, Bell: b.bell, Cloud: b.cloud, Log: log,
	}).Run(ctx)
}
