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

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/secret"
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
			secure, err := listenTLS(ctx, "TROY_TLS_ADDR", cfg.TLS.WebAddr)
			if err != nil {
				return err
			}
			if secure != nil {
				run, err := secureWeb(cfg, server, l, secure, log)
				if err != nil {
					return err
				}
				log.Info("serving the API over HTTPS", "address", secure.Addr().String(), "host", cfg.webHost())
				g.Go(func() error { return run(ctx) })
			}
			g.Go(func() error { b.bell.Run(ctx); return nil })
			g.Go(func() error { return serve(ctx, l, server) })
			return g.Wait()
		},
	}
}

func (b *backend) intake(cfg config) *intake.Intake {
	noDomains := ""
	if b.cloud.Domains == nil {
		noDomains = "custom domains can't be served where this installation serves sites yet (docs/domains.md)"
	}
	noPreviews := ""
	if b.cloud.Previews == nil {
		noPreviews = "previews can't be served where this installation serves sites yet (docs/previews.md)"
	}
	noSignedIn := ""
	if cfg.onAWS() {
		noSignedIn = "previews on AWS can't ask visitors to sign in to Troy; protect them with passwords or networks"
	}
	var previewKey func(uuid.UUID) ([]byte, error)
	if secrets, err := sealer(cfg); err == nil && secrets != nil { // others report the error
		previewKey = func(pipeline uuid.UUID) ([]byte, error) {
			return secrets.Seal(secret.NewSigningKey(), secret.PreviewKey(pipeline))
		}
	}
	return intake.New(b.db, b.bell, intake.Config{
		PreviewKey: previewKey, NoSignedIn: noSignedIn, PreviewsSignedIn: cfg.PreviewAccess == intake.PreviewsSignedIn,
		PreviewSuffix: cfg.previewSuffix(), NoPreviews: noPreviews, PreviewsExpire: cfg.PreviewExpiry, MaxPreviews: cfg.PreviewMax,
		Quota:       intake.Quota{Bytes: cfg.QuotaBytes, Files: cfg.QuotaFiles, OpenReleases: cfg.QuotaReleases},
		SitesSuffix: cfg.SitesSuffix, AutoProvision: cfg.AutoProvision, CarryAssets: cfg.CarryAssets, DeleteGrace: cfg.DeleteGrace,
		NoPasswords: cfg.noPasswords(), NoDomains: noDomains, OwnHosts: cfg.ownHosts(), BuildLimits: cfg.mostOfBuilds(),
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
	addresses, err := cfg.edgeAddresses()
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_EDGE_ADDRESSES: %w", err)}
	}
	checker, err := cfg.dns()
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_DNS_RESOLVERS: %w", err)}
	}
	ciIssuers, err := credentials.ParseCIIssuers(cfg.CIIssuers)
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_CI_ISSUERS: %w", err)}
	}
	private, err := cfg.notifyPrivate()
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_NOTIFY_PRIVATE: %w", err)}
	}
	stopping := make(chan struct{})
	var counts func(uuid.UUID) string
	if cfg.Cloud == "local" {
		counts = site.Layout{Root: cfg.cloudRoot()}.Traffic
	}
	handler, err := web.New(web.Config{
		URL: cfg.URL, SitesScheme: sites.Scheme, SitesPort: port, AppsSecret: cfg.AppsSecret,
		Limits: cfg.limits(), ReleaseValidity: cfg.UploadsValid, SNSTopics: cfg.SNSTopics, Proxies: proxies, EdgeAddresses: addresses,
		AccessLogs: cfg.onAWS() && cfg.AWSLogBucket != "", NotifyPrivate: private, NoEmail: cfg.noEmail(),
	}, web.Deps{
		DB: b.db, Redis: b.redis, Intake: b.intake(cfg), Store: b.cloud.Store, Functions: b.cloud.Functions, Ready: b.ready(false), Secrets: secrets, Stopping: stopping, Log: log,
		Issuer: issuer, CIIssuers: ciIssuers, Traffic: counts, DomainProof: domainProof(checker), System: b.overseer(cfg, issuer), Forges: known, Metrics: b.meters, ConfirmTopic: confirm, SNSCertificate: certificate,
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
