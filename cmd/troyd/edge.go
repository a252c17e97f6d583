package main

import (
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/edge"
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
			l, err := listen(cmd.Context(), "TROY_EDGE_ADDR", cfg.EdgeAddr)
			if err != nil {
				return err
			}
			log.Info("serving sites", "address", l.Addr().String())
			return server.Serve(cmd.Context(), l, stopTimeout)
		},
	}
}

func newEdge(cfg config, log *slog.Logger) (*edge.Server, error) {
	trusted, err := cfg.edgeProxies()
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_EDGE_PROXIES: %w", err)}
	}
	return edge.New(edge.Config{
		Root: cfg.cloudRoot(), Limits: cfg.readLimits(), IndexBytes: cfg.EdgeIndexMiB << 20,
		NoLoop: !cfg.EdgeLoop, Traffic: cfg.EdgeTraffic, AccessLog: cfg.accessLog(), AccessFormat: edge.AccessFormat(cfg.AccessLogFormat),
		FullAddresses: cfg.AccessLogAddresses == "full", Connections: cfg.EdgeConns, ClientConnections: cfg.EdgePerIP,
		Proxies: trusted, HTTPS: strings.HasPrefix(cfg.SitesURL, "https:"), Logger: log,
	})
}

// urlOf returns the address of a listener for this machine.
func urlOf(l net.Listener) string { return "http://" + l.Addr().String() }
