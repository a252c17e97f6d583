package main

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/troy-iaas/troy/internal/acmedouble"
	"github.com/troy-iaas/troy/internal/poll"
)

// TestSecureWeb gets a certificate for the host of TROY_URL, and serves HTTPS
// and the challenge beside the handler.
func TestSecureWeb(t *testing.T) {
	t.Parallel()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	clear, secure := listen(), listen()
	authority := acmedouble.Start(t, acmedouble.Config{HTTPPort: clear.Addr().(*net.TCPAddr).Port, TLSPort: secure.Addr().(*net.TCPAddr).Port})
	cfg := defaults(t)
	cfg.DataDir, cfg.URL = t.TempDir(), "https://troy.test"
	cfg.TLS.WebAddr, cfg.TLS.ACMEDirectory = secure.Addr().String(), authority.Directory
	cfg.TLS.ACMECAFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(cfg.TLS.ACMECAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.APICertificate.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	})}
	run, err := secureWeb(cfg, server, clear, secure, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 2)
	go func() { ended <- run(ctx) }()
	go func() { ended <- serve(ctx, clear, server) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: authority.Roots, ServerName: "troy.test"},
	}}
	defer client.CloseIdleConnections()
	body := ""
	if !poll.Until(t.Context(), time.Minute, 20*time.Millisecond, func() bool {
		res, err := client.Get("https://" + secure.Addr().String() + "/")
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		data, err := io.ReadAll(res.Body)
		body = string(data)
		return err == nil
	}) || body != "HTTP/2.0" {
		t.Fatalf("HTTPS answered %q; expected HTTP/2.0", body)
	}
}

func TestWildcards(t *testing.T) {
	t.Parallel()
	for preview, want := range map[string][]string{"": {"sites.test"}, "sites.test": {"sites.test"}, "previews.test": {"sites.test", "previews.test"}} {
		c := defaults(t)
		c.SitesSuffix, c.PreviewSuffix, c.TLS.EdgeAddr = "sites.test", preview, ":8443"
		c.TLS.ACMEDNS, c.TLS.ACMEDNSServer, c.TLS.ACMEDNSKey = "rfc2136", "127.0.0.1:53", "troy.:c2VjcmV0"
		s, err := c.edgeTLS()
		if err != nil || !slices.Equal(s.Wildcards, want) {
			t.Errorf("previews under %q: wildcards %v, %v; want %q", preview, s, err, want)
		}
	}
}
