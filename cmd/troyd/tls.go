package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/certificates"
	"github.com/troy-iaas/troy/edge"
	"github.com/troy-iaas/troy/site"
)

// tlsSettings are the settings of HTTPS.
type tlsSettings struct {
	EdgeAddr      string        `env:"TROY_EDGE_TLS_ADDR"`
	EdgeRedirect  bool          `env:"TROY_EDGE_HTTPS_REDIRECT" envDefault:"true"`
	EdgeHSTS      time.Duration `env:"TROY_EDGE_HSTS"`
	EdgeHTTP3     bool          `env:"TROY_EDGE_HTTP3" envDefault:"false"`
	WebAddr       string        `env:"TROY_TLS_ADDR"`
	ACMEDirectory string        `env:"TROY_ACME_DIRECTORY" envDefault:"https://acme-v02.api.letsencrypt.org/directory"`
	ACMEEmail     string        `env:"TROY_ACME_EMAIL"`
	ACMECAFile    string        `env:"TROY_ACME_CA_FILE"`
	ACMEProfile   string        `env:"TROY_ACME_PROFILE"`
	ACMEDNS       string        `env:"TROY_ACME_DNS"`
	ACMEDNSServer string        `env:"TROY_ACME_DNS_SERVER"`
	ACMEDNSKey    string        `env:"TROY_ACME_DNS_KEY"`
	ACMEDNSZone   string        `env:"TROY_ACME_DNS_ZONE"`
}

// check reports what is wrong with the settings of HTTPS.
func (t tlsSettings) check(c config, wrong wrongly) {
	for setting, addr := range map[string]string{"TROY_EDGE_TLS_ADDR": t.EdgeAddr, "TROY_TLS_ADDR": t.WebAddr} {
		if addr != "" {
			checkAddress(setting, addr, wrong)
		}
	}
	if t.EdgeHSTS < 0 || t.EdgeHSTS > 2*365*24*time.Hour || t.EdgeHSTS%time.Second != 0 {
		wrong("TROY_EDGE_HSTS", "%s is not whole seconds from 0 to 17520h", duration(t.EdgeHSTS))
	}
	if t.EdgeHTTP3 && t.EdgeAddr == "" {
		wrong("TROY_EDGE_HTTP3", "HTTP/3 needs TROY_EDGE_TLS_ADDR")
	}
	if u, err := url.Parse(t.ACMEDirectory); err != nil || u.Scheme != "https" || u.Host == "" {
		wrong("TROY_ACME_DIRECTORY", "%q is not an https address", t.ACMEDirectory)
	}
	if t.ACMEEmail != "" && !strings.Contains(t.ACMEEmail, "@") {
		wrong("TROY_ACME_EMAIL", "%q is not an e-mail address", t.ACMEEmail)
	}
	if t.ACMECAFile != "" {
		if _, err := t.roots(); err != nil {
			wrong("TROY_ACME_CA_FILE", "%s", err)
		}
	}
	if t.WebAddr != "" && c.webHost() == "" {
		wrong("TROY_TLS_ADDR", "web has a certificate for the host of TROY_URL, but %q has no name", c.URL)
	}
	t.checkDNS(wrong)
}

func (t tlsSettings) checkDNS(wrong wrongly) {
	switch t.ACMEDNS {
	case "":
		if t.ACMEDNSServer != "" || t.ACMEDNSKey != "" || t.ACMEDNSZone != "" {
			wrong("TROY_ACME_DNS", "not set, but TROY_ACME_DNS_… are; expected route53 or rfc2136")
		}
	case "route53":
		if t.ACMEDNSServer != "" || t.ACMEDNSKey != "" {
			wrong("TROY_ACME_DNS", "route53 uses the credentials of AWS, and neither TROY_ACME_DNS_SERVER nor TROY_ACME_DNS_KEY")
		}
	case "rfc2136":
		if _, err := certificates.RFC2136(t.ACMEDNSServer, t.ACMEDNSKey); err != nil {
			wrong("TROY_ACME_DNS", "rfc2136 needs TROY_ACME_DNS_SERVER and TROY_ACME_DNS_KEY: %s", err)
		}
	default:
		wrong("TROY_ACME_DNS", "%q is neither route53 nor rfc2136", t.ACMEDNS)
	}
}

// checkAddress checks an address to listen on.
func checkAddress(setting, addr string, wrong wrongly) {
	if _, port, err := net.SplitHostPort(addr); err != nil {
		wrong(setting, "%q is not host:port", addr)
	} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		wrong(setting, "%q has no port from 0 to 65535", addr)
	}
}

// roots returns the certificates to trust for the ACME directory, or nil for the
// system's.
func (t tlsSettings) roots() (*x509.CertPool, error) {
	if t.ACMECAFile == "" {
		return nil, nil
	}
	data, err := os.ReadFile(t.ACMECAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s has no certificate in PEM form", t.ACMECAFile)
	}
	return pool, nil
}

// dns returns what makes the records of DNS-01 challenges, or nil.
func (t tlsSettings) dns(c config) (*certificates.DNS, error) {
	switch t.ACMEDNS {
	case "route53":
		return c.route53()
	case "rfc2136":
		return certificates.RFC2136(t.ACMEDNSServer, t.ACMEDNSKey)
	}
	return nil, nil
}

// webHost returns the host of TROY_URL, or "" if it is an address or has no
// normal form.
func (c config) webHost() string {
	u, err := url.Parse(c.URL)
	if err != nil || net.ParseIP(u.Hostname()) != nil {
		return ""
	}
	host, err := site.NormalizeHost(u.Hostname())
	if err != nil {
		return ""
	}
	return host
}

// edgeTLS returns the edge's settings of HTTPS, or nil if it is off.
func (c config) edgeTLS() (*edge.TLS, error) {
	t := c.TLS
	if t.EdgeAddr == "" {
		return nil, nil
	}
	roots, err := t.roots()
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_ACME_CA_FILE: %w", err)}
	}
	dns, err := t.dns(c)
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_ACME_DNS: %w", err)}
	}
	s := &edge.TLS{
		Directory: t.ACMEDirectory, Email: t.ACMEEmail, Profile: t.ACMEProfile, Roots: roots, DNS: dns,
		Redirect: t.EdgeRedirect, HSTS: t.EdgeHSTS, HTTP3: t.EdgeHTTP3, Port: c.httpsPort(), Others: []string{c.webHost()},
	}
	if dns != nil {
		s.Wildcards = slices.Compact([]string{c.SitesSuffix, c.previewSuffix()})
	}
	return s, nil
}

// httpsPort returns the public port of the sites' HTTPS: that of TROY_SITES_URL,
// or else that on which the edge listens.
func (c config) httpsPort() int {
	var port string
	if u, err := url.Parse(strings.ReplaceAll(c.SitesURL, "{host}", "host")); err == nil && u.Scheme == "https" {
		port = cmp.Or(u.Port(), "443")
	} else {
		_, port, _ = net.SplitHostPort(c.TLS.EdgeAddr)
	}
	n, _ := strconv.Atoi(port)
	return n
}

// sites are what the edge listens on. secure is nil without HTTPS, and packets
// without HTTP/3.
type sites struct {
	clear, secure net.Listener
	packets       net.PacketConn
}

// listenSites listens on the edge's addresses.
func listenSites(ctx context.Context, cfg config) (l sites, err error) {
	if l.clear, err = listen(ctx, "TROY_EDGE_ADDR", cfg.EdgeAddr); err != nil {
		return l, err
	}
	if l.secure, err = listenTLS(ctx, "TROY_EDGE_TLS_ADDR", cfg.TLS.EdgeAddr); err == nil && l.secure != nil && cfg.TLS.EdgeHTTP3 {
		l.packets, err = listenPackets(ctx, l.secure.Addr().String())
	}
	if err != nil {
		l.close()
	}
	return l, err
}

// close closes what is open.
func (l sites) close() {
	_ = l.clear.Close()
	if l.secure != nil {
		_ = l.secure.Close()
	}
	if l.packets != nil {
		_ = l.packets.Close()
	}
}

// listenPackets listens on the UDP port of HTTP/3, which is that of HTTPS.
func listenPackets(ctx context.Context, addr string) (net.PacketConn, error) {
	var lc net.ListenConfig
	packets, err := lc.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return nil, fmt.Errorf("TROY_EDGE_HTTP3: cannot listen on %s (UDP): %w; stop the server there or unset the variable", addr, err)
	}
	return packets, nil
}

// serveEdge serves sites on everything that l has.
func serveEdge(ctx context.Context, server *edge.Server, l sites) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Serve(ctx, l.clear, stopTimeout) })
	if l.secure != nil {
		g.Go(func() error { return server.ServeTLS(ctx, l.secure, l.clear.Addr(), stopTimeout) })
	}
	if l.packets != nil {
		g.Go(func() error { return server.ServeHTTP3(ctx, l.packets, stopTimeout) })
	}
	return g.Wait()
}

// listenTLS listens on an address of HTTPS; it returns nil if the address is
// empty.
func listenTLS(ctx context.Context, setting, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	return listen(ctx, setting, addr)
}

// secureWeb makes a server of web serve HTTPS too, with a certificate for the
// host of TROY_URL. run serves until its context is done.
func secureWeb(cfg config, server *http.Server, clear, secure net.Listener, log *slog.Logger) (run func(context.Context) error, err error) {
	roots, err := cfg.TLS.roots()
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_ACME_CA_FILE: %w", err)}
	}
	host := cfg.webHost()
	m, err := certificates.New(certificates.Config{
		Layout: site.Layout{Root: cfg.cloudRoot()}, Directory: cfg.TLS.ACMEDirectory, Email: cfg.TLS.ACMEEmail, Profile: cfg.TLS.ACMEProfile,
		Roots: roots, Logger: log,
		Hosts:   func() ([]certificates.Host, error) { return []certificates.Host{{Name: host}}, nil },
		Changed: func() any { return true },
		Allows:  func(name string) bool { return name == host },
	})
	if err != nil {
		return nil, err
	}
	handler := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !m.Challenge(w, r) {
			handler.ServeHTTP(w, r)
		}
	})
	encrypted := &http.Server{
		Handler: handler, ReadHeaderTimeout: server.ReadHeaderTimeout, IdleTimeout: server.IdleTimeout, MaxHeaderBytes: server.MaxHeaderBytes,
		ErrorLog: server.ErrorLog, TLSConfig: m.TLSConfig("h2", "http/1.1"),
		// The maximum. All uploads of a client share one connection.
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerConnection: 4<<20 - 1},
	}
	return func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return m.Run(ctx, clear.Addr(), secure.Addr()) })
		g.Go(func() error { return serve(ctx, secure, encrypted) })
		return g.Wait()
	}, nil
}
