package edge

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/troy-iaas/troy/certificates"
	"github.com/troy-iaas/troy/internal/network"
	"github.com/troy-iaas/troy/site"
)

// TLS configures HTTPS.
type TLS struct {
	// Directory, Email, Profile, Roots, Wildcards, DNS, Limits, Cached,
	// RenewalRatio and Interval are those of certificates.Config.
	Directory, Email, Profile string
	Roots                     *x509.CertPool
	Wildcards                 []string
	DNS                       *certificates.DNS
	Limits                    *certificates.Limits
	Cached                    int
	RenewalRatio              float64
	Interval                  time.Duration
	// Others are hosts whose certificates another process manages.
	Others []string
	// Redirect means that plain HTTP redirects to HTTPS, for hosts that have a
	// certificate. Port is the public port of HTTPS; 0 means 443.
	Redirect bool
	Port     int
	// HSTS is how long browsers use HTTPS only; 0 means that they are not told
	// to.
	HSTS time.Duration
	// HTTP3 means that browsers are told to use HTTP/3 (ServeHTTP3).
	HTTP3 bool
}

// secure serves HTTPS.
type secure struct {
	certificates *certificates.Manager
	redirect     bool
	port         string // ":port" of redirects, or ""
	hsts         string // the value of Strict-Transport-Security, or ""
	altSvc       string // the value of Alt-Svc, or ""
	proxies      network.Proxies
	handshakes   handshakes
}

// newSecure returns nil if cfg has no TLS.
func newSecure(cfg Config, c *catalog, trusted network.Proxies) (*secure, error) {
	t := cfg.TLS
	if t == nil {
		return nil, nil
	}
	if t.HSTS < 0 {
		return nil, errors.New("edge: TLS.HSTS is negative; expected 0 or more")
	}
	s := &secure{redirect: t.Redirect, proxies: trusted, handshakes: handshakes{slots: make(chan struct{}, max(16, cfg.Connections/4))}}
	if t.Port != 0 && t.Port != 443 {
		s.port = ":" + strconv.Itoa(t.Port)
	}
	if t.HTTP3 {
		s.altSvc = `h3="` + cmp.Or(s.port, ":443") + `"; ma=` + altSvcAge
	}
	if t.HSTS > 0 {
		s.hsts = "max-age=" + strconv.FormatInt(int64(t.HSTS/time.Second), 10)
	}
	var err error
	s.certificates, err = certificates.New(certificates.Config{
		Layout: c.layout, Directory: t.Directory, Email: t.Email, Profile: t.Profile, Roots: t.Roots, Wildcards: t.Wildcards, DNS: t.DNS,
		Limits: t.Limits, Cached: t.Cached, RenewalRatio: t.RenewalRatio, Interval: t.Interval, Logger: cfg.Logger,
		Clean: true, Others: t.Others, Hosts: c.named, Changed: c.recordsChanged, Allows: c.serves,
	})
	return s, err
}

// named lists the hosts that have a record.
func (c *catalog) named() ([]certificates.Host, error) {
	entries, err := os.ReadDir(c.records())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	hosts := make([]certificates.Host, 0, len(entries))
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		info, err := e.Info()
		if !ok || err != nil { // removed meanwhile
			continue
		}
		if parent, ok := strings.CutPrefix(name, "_wildcard."); ok {
			name = "*." + parent
		}
		hosts = append(hosts, certificates.Host{Name: name, Changed: info.ModTime()})
	}
	return hosts, nil
}

func (c *catalog) records() string { return filepath.Dir(c.layout.Record("host")) }

// recordsChanged returns another value after a record was written or removed.
func (c *catalog) recordsChanged() any {
	info, err := os.Stat(c.records())
	if err != nil {
		return false // no site was ever made
	}
	return info.ModTime()
}

// serves reports whether a host has a record of an enabled distribution. It
// reads two small files, and keeps nothing in memory, because anyone may ask for
// any host.
func (c *catalog) serves(host string) bool {
	record, err := site.ReadRecord(c.layout.Record(host))
	id, _, _ := strings.Cut(record.Target, ".")
	if err != nil || record.Host != host || !safeName(id) {
		return false
	}
	distribution, err := site.ReadDistribution(c.layout.Distribution(id))
	if err != nil {
		return false
	}
	return distribution.Enabled && (distribution.Host == host || record.Custom)
}

// ServeTLS answers HTTPS requests from a listener's connections until ctx is
// done. Then it completes the requests that it has read, but takes no longer
// than grace. clear is the address of Serve's listener, which answers HTTP-01
// challenges; Serve must run too. It fails if the server has no TLS.
func (s *Server) ServeTLS(ctx context.Context, l net.Listener, clear net.Addr, grace time.Duration) error {
	if s.secure == nil {
		return errors.New("edge: the server has no TLS")
	}
	managing, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		if err := s.secure.certificates.Run(managing, clear, l.Addr()); err != nil {
			s.log.Error("certificates are not renewed any more", "error", err)
		}
	})
	defer group.Wait()
	defer stop()
	server := s.HTTPServer()
	server.TLSConfig = s.secure.certificates.TLSConfig("h2", "http/1.1")
	server.ConnState = func(c net.Conn, state http.ConnState) {
		s.secure.handshakes.change(c, state)
		s.limits.others.change(c, state)
	}
	// Failed handshakes are normal on the Internet.
	server.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	return s.serveWith(ctx, server, s.secure.handshakes.listener(s.limits.listener(l)), grace)
}

// handshakes bounds the TLS connections that have not sent a request yet, so
// that slow ones leave room for others.
type handshakes struct{ slots chan struct{} }

// greeting is a connection before its first request.
type greeting struct {
	net.Conn
	once sync.Once
	free func()
}

func (g *greeting) Close() error {
	g.once.Do(g.free)
	return g.Conn.Close()
}

// CloseWrite lets net/http end a connection without losing its last response.
func (g *greeting) CloseWrite() error {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// listener returns a listener that closes connections at once while too many
// are in their handshake.
func (h *handshakes) listener(l net.Listener) net.Listener { return greeted{l, h} }

type greeted struct {
	net.Listener
	handshakes *handshakes
}

func (l greeted) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.handshakes.slots <- struct{}{}:
			return &greeting{Conn: c, free: func() { <-l.handshakes.slots }}, nil
		default:
			_ = c.Close()
		}
	}
}

// change frees the place of a connection that has sent a request.
func (h *handshakes) change(c net.Conn, state http.ConnState) {
	if state == http.StateNew {
		return
	}
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // a tls.Conn
		c = t.NetConn()
	}
	if g, ok := c.(*greeting); ok {
		g.once.Do(g.free)
	}
}

// answered reports whether it has answered a request because of HTTPS: an ACME
// challenge, or plain HTTP that has to redirect.
func (s *secure) answered(w http.ResponseWriter, r *http.Request) bool {
	if r.TLS != nil {
		if s.hsts != "" {
			w.Header()["Strict-Transport-Security"] = []string{s.hsts}
		}
		if s.altSvc != "" && r.ProtoMajor < 3 {
			w.Header()["Alt-Svc"] = []string{s.altSvc}
		}
		return false
	}
	if strings.HasPrefix(r.URL.Path, certificates.ChallengePath) {
		return s.certificates.Challenge(w, r) // never redirected
	}
	host, err := site.NormalizeHost(r.Host)
	if err != nil || !s.redirects(host) || s.behindTLS(r) {
		return false
	}
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", site.CacheControl("index.html"))
	h.Set("Location", "https://"+host+s.port+withQuery(path, r))
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusPermanentRedirect)
	return true
}

// behindTLS reports whether a trusted proxy says that the client uses HTTPS.
func (s *secure) behindTLS(r *http.Request) bool {
	if r.Header.Get("X-Forwarded-Proto") != "https" {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && s.proxies.Contain(peer.Addr())
}

// redirects reports whether plain HTTP redirects to HTTPS for a host.
func (s *secure) redirects(host string) bool {
	return s != nil && s.redirect && s.certificates.Active(host)
}

// Certificates returns what manages the certificates, or nil without TLS.
func (s *Server) Certificates() *certificates.Manager {
	if s.secure == nil {
		return nil
	}
	return s.secure.certificates
}
