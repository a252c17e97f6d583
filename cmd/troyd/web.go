package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web"
)

func newWebCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "web",
		Short: "Serve the API, the webhooks and Asynqmon",
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
			if cfg.AppsSecret == "" {
				log.Warn("TROY_APPS_SECRET is not set: app events are refused")
			}
			server, err := newWeb(cfg, b, log)
			if err != nil {
				return err
			}
			l, err := listen(cmd.Context(), "TROY_ADDR", cfg.Addr)
			if err != nil {
				return err
			}
			log.Info("serving the API", "address", l.Addr().String())
			g, ctx := errgroup.WithContext(cmd.Context())
			g.Go(func() error { b.bell.Run(ctx); return nil })
			g.Go(func() error { return serve(ctx, l, server) })
			return g.Wait()
		},
	}
}

func (b *backend) intake(cfg config) *intake.Intake {
	unprotected := ""
	if cfg.onAWS() {
		unprotected = "sites on AWS can't be protected yet: CloudFront would serve them to everyone (docs/aws.md)"
	}
	return intake.New(b.db, b.bell, intake.Config{
		SitesSuffix: cfg.SitesSuffix, AutoProvision: cfg.AutoProvision, CarryAssets: cfg.CarryAssets, DeleteGrace: cfg.DeleteGrace,
		NoProtection: unprotected,
	})
}

func newWeb(cfg config, b *backend, log *slog.Logger) (*http.Server, error) {
	sites, err := url.Parse(strings.ReplaceAll(cfg.SitesURL, "{host}", "host"))
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_SITES_URL: %w", err)}
	}
	port := 0
	if text := sites.Port(); text != "" {
		if port, err = strconv.Atoi(text); err != nil {
			return nil, usageError{fmt.Errorf("TROY_SITES_URL: port: %w", err)}
		}
	}
	secrets, err := sealer(cfg)
	if err != nil {
		return nil, err
	}
	known, err := forges(cfg, b, secrets)
	if err != nil {
		return nil, err
	}
	certificate, err := snsCertificate(cfg)
	if err != nil {
		return nil, usageError{err}
	}
	confirm, err := confirmTopic(cfg, b)
	if err != nil {
		return nil, err
	}
	issuer, err := cfg.issuer()
	if err != nil {
		return nil, err
	}
	proxies, err := cfg.edgeProxies()
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_EDGE_PROXIES: %w", err)}
	}
	stopping := make(chan struct{})
	var counts func(uuid.UUID) string
	if cfg.Cloud == "local" {
		counts = site.Layout{Root: cfg.cloudRoot()}.Traffic
	}
	handler, err := web.New(web.Config{
		URL: cfg.URL, SitesScheme: sites.Scheme, SitesPort: port, AppsSecret: cfg.AppsSecret,
		Limits: cfg.limits(), ReleaseValidity: cfg.UploadsValid, SNSTopics: cfg.SNSTopics, Proxies: proxies,
	}, web.Deps{
		DB: b.db, Redis: b.redis, Intake: b.intake(cfg), Store: b.cloud.Store, Functions: b.cloud.Functions, Ready: b.ready(false), Secrets: secrets, Stopping: stopping, Log: log,
		Issuer: issuer, Traffic: counts, System: b.overseer(cfg, issuer), Forges: known, Metrics: b.meters, ConfirmTopic: confirm, SNSCertificate: certificate,
	})
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	// Followed logs would delay a stop.
	server.RegisterOnShutdown(sync.OnceFunc(func() { close(stopping) }))
	return server, nil
}
