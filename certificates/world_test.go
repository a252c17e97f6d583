package certificates_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/troy-iaas/troy/certificates"
	"github.com/troy-iaas/troy/internal/acmedouble"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
)

// world is a certificate authority, and a folder that all nodes share.
type world struct {
	t             *testing.T
	layout        site.Layout
	authority     *acmedouble.Authority
	clear, secure net.Listener // at which the authority validates hosts
	log           *lines
	clock         func() time.Time // of the nodes that start; nil means the true one

	mu      sync.Mutex
	hosts   []certificates.Host
	changes atomic.Int64
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newWorld(t *testing.T, env ...string) *world {
	t.Helper()
	return newWorldWith(t, acmedouble.Config{Env: env})
}

func newWorldWith(t *testing.T, cfg acmedouble.Config) *world {
	t.Helper()
	w := &world{t: t, layout: site.Layout{Root: t.TempDir()}, log: &lines{}, clear: listen(t), secure: listen(t)}
	cfg.HTTPPort, cfg.TLSPort = port(w.clear), port(w.secure)
	w.authority = acmedouble.Start(t, cfg)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", w.log)
		}
	})
	return w
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// want makes hosts need certificates.
func (w *world) want(hosts ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts = nil
	for _, h := range hosts {
		w.hosts = append(w.hosts, certificates.Host{Name: h, Changed: time.Now()})
	}
	w.changes.Add(1)
}

func (w *world) allows(host string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.hosts, func(h certificates.Host) bool { return h.Name == host })
}

// node is a process with a manager.
type node struct {
	*certificates.Manager
	w       *world
	address string // of HTTPS
	stop    func()
}

// start starts a manager that solves challenges over HTTP if clear is not nil,
// and over TLS if secure is not nil. It serves HTTPS in any case.
//
// certmagic keeps the challenges of a process by host, whatever the manager. So
// no two tests that run at the same time may want a certificate for one host.
func (w *world) start(clear, secure net.Listener, change ...func(*certificates.Config)) *node {
	w.t.Helper()
	cfg := certificates.Config{
		Layout: w.layout, Directory: w.authority.Directory, Roots: w.authority.APIRoots, Interval: time.Second,
		Logger:  slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Changed: func() any { return w.changes.Load() },
		Hosts: func() ([]certificates.Host, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Clone(w.hosts), nil
		},
		Allows: w.allows,
	}
	for _, f := range change {
		f(&cfg)
	}
	m, err := certificates.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	m.SetPatience(time.Minute)
	if w.clock != nil {
		m.SetClock(w.clock)
	}
	n := &node{Manager: m, w: w}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	var group sync.WaitGroup
	serve := func(s *http.Server, l net.Listener, encrypted bool) {
		s.ReadHeaderTimeout = time.Minute
		s.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
		group.Go(func() {
			if encrypted {
				_ = s.ServeTLS(l, "", "")
			} else {
				_ = s.Serve(l)
			}
		})
		group.Go(func() {
			<-ctx.Done()
			_ = s.Close()
		})
	}
	var clearAddr, secureAddr net.Addr
	if clear != nil {
		clearAddr = clear.Addr()
		serve(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !m.Challenge(w, r) {
				http.NotFound(w, r)
			}
		})}, clear, false)
	}
	l := secure
	if l == nil {
		l = listen(w.t)
	} else {
		secureAddr = l.Addr()
	}
	n.address = l.Addr().String()
	serve(&http.Server{TLSConfig: m.TLSConfig("h2", "http/1.1"), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+r.Host)
	})}, l, true)
	group.Go(func() { _ = m.Run(ctx, clearAddr, secureAddr) })
	n.stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	w.t.Cleanup(n.stop)
	return n
}

// handshake makes a TLS connection and returns the server's certificate.
func (n *node) handshake(host string) (*x509.Certificate, error) {
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute}, Config: &tls.Config{ServerName: host, RootCAs: n.w.authority.Roots}}
	if host == "" {
		d.Config.InsecureSkipVerify = true
	}
	c, err := d.DialContext(n.w.t.Context(), "tcp", n.address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// client returns an HTTP client that finds every host at the node.
func (n *node) client() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: n.w.authority.Roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, n.address)
		},
	}}
}

// state waits until a host's state satisfies ok.
func (w *world) state(host string, ok func(site.CertificateState) bool) site.CertificateState {
	w.t.Helper()
	var state site.CertificateState
	var err error
	if !poll.Until(w.t.Context(), time.Minute, 20*time.Millisecond, func() bool {
		state, err = w.layout.ReadCertificateState(host)
		return err == nil && ok(state)
	}) {
		w.t.Fatalf("the state of %s is %+v, error %v", host, state, errors.Join(err, w.t.Context().Err()))
	}
	return state
}

func active(s site.CertificateState) bool { return s.State == site.CertificateActive }
func failed(s site.CertificateState) bool { return s.State == site.CertificateFailed }
