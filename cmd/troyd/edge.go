package main

import (
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/edge"
	"github.com/troy-iaas/troy/site"
)

func newEdgeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "edge",
		Short: "Serve the sites of TROY_DATA_DIR; needs neither Postgres nor Redis",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig()
			if err != nil {
				return usageError{err}
			}
			log := cfg.logger()
			server, err := newEdge(cfg, log)
			if err != nil {
				return err
			}
			l, err := listenSites(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer l.close()
			log.Info("serving sites", "address", l.clear.Addr().String())
			if l.secure != nil {
				log.Info("serving sites over HTTPS", "address", l.secure.Addr().String(), "authority", cfg.TLS.ACMEDirectory, "http3", l.packets != nil)
			}
			return serveEdge(cmd.Context(), server, l)
		},
	}
}

func newEdge(cfg config, log *slog.Logger) (*edge.Server, error) {
	trusted, err := cfg.edgeProxies()
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_EDGE_PROXIES: %w", err)}
	}
	encrypted, err := cfg.edgeTLS()
	if err != nil {
		return nil, err
	}
	return edge.New(edge.Config{
		TLS:      encrypted,
		TroyURL:  cfg.URL,
		Previews: site.PreviewHosts{Suffix: cfg.previewSuffix(), Sites: cfg.SitesSuffix},
		Root:     cfg.cloudRoot(), Limits: cfg.readLimits(), IndexBytes: cfg.EdgeIndexMiB << 20,
		EarlyHints: edge.EarlyHints(cfg.EdgeHints), ServerTiming: cfg.EdgeTiming,
		NoLoop: !cfg.EdgeLoop, Traffic: cfg.EdgeTraffic, AccessLog: cfg.accessLog(), AccessFormat: edge.AccessFormat(cfg.AccessLogFormat),
		FullAddresses: cfg.AccessLogAddresses == "full", Connections: cfg.EdgeConns, ClientConnections: cfg.EdgePerIP,
		Proxies: trusted, HTTPS: strings.HasPrefix(cfg.SitesURL, "https:"), Logger: log,
	})
}

// urlOf returns the address of a listener for this machine.
func urlOf(l net.Listener) string { return "http://" + l.Addr().String() }
