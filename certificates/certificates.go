// Package certificates gets TLS certificates from a certificate authority by
// ACME (RFC 8555), renews them and serves them to TLS servers. Several processes
// may share a folder of certificates: its locks make them share each order. It
// reads nothing but that folder and what its caller tells it. The edge uses it
// for the sites, and web for its own host.
package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/sync/singleflight"

	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/site"
)

// LetsEncrypt is the ACME directory of Let's Encrypt.
const LetsEncrypt = certmagic.LetsEncryptProductionCA

// Host is a host that needs a certificate.
type Host struct {
	// Name is the normalized host, or "*." and a normalized host.
	Name string
	// Changed is when its record was written. A failed attempt is repeated at
	// once if the record is newer.
	Changed time.Time
}

// Config configures a Manager.
type Config struct {
	// Layout has the folder of the certificates. It need not exist yet.
	Layout site.Layout
	// Directory is the URL of the ACME directory; "" means Let's Encrypt.
	Directory string
	// Email is the contact of the ACME account; it may be empty.
	Email string
	// Profile is the name of a certificate profile of the authority, like
	// shortlived; "" means the authority's default.
	Profile string
	// Roots are the certificates to trust for the ACME directory; nil means the
	// system's.
	Roots *x509.CertPool
	// Hosts lists the hosts that need certificates. Changed returns a value that
	// differs after each change of the list.
	Hosts   func() ([]Host, error)
	Changed func() any
	// Allows reports whether a host needs a certificate now. It is called for
	// each order and for handshakes with a name that has no certificate, so it
	// must be fast.
	Allows func(host string) bool
	// Clean means that certificates of hosts that were not listed for a day are
	// removed, except for those of Others.
	Clean  bool
	Others []string
	// Wildcards are domains whose hosts with one more label share a certificate.
	// They need DNS.
	Wildcards []string
	// DNS makes the records of DNS-01 challenges, which wildcards need; nil
	// means that Troy gets no wildcard certificates.
	DNS *DNS
	// Limits bound the orders; nil means those that the authority documents.
	Limits *Limits
	// Cached is the maximum number of certificates in memory; 0 means 4,096.
	Cached int
	// Logger gets a line for each certificate and each problem. Nil disables
	// logging.
	Logger *slog.Logger
	// RenewalRatio is the part of a certificate's lifetime that is left when it
	// is renewed, unless the authority suggests a time (RFC 9773); 0 means a
	// third. Interval is the time between two checks of a certificate; 0 means
	// an hour.
	RenewalRatio float64
	Interval     time.Duration
}

// Manager gets, renews and serves the certificates of a folder. It is safe for
// concurrent use.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	storage *storage
	budget  *budget
	cache   *certmagic.Cache
	// byHost solves HTTP-01 and TLS-ALPN-01 challenges, byDNS DNS-01.
	byHost, byDNS *issuing
	served        *lru.Cache[string, *served]
	shared        shared
	loading       singleflight.Group
	running       atomic.Bool   // Run has made the settings for challenges
	wake, free    chan struct{} // for the loop: a name is asked for, a check has ended
	slots         chan struct{} // concurrent checks
	waiting       chan struct{} // handshakes that wait for an order
	patience      time.Duration // of these
	now           func() time.Time

	mu    sync.RWMutex
	names map[string]*name
	gone  map[string]time.Time // since when a host with a state is not listed
}

// issuing is a certmagic configuration with its one issuer.
type issuing struct {
	*certmagic.Config
	acme *certmagic.ACMEIssuer
}

const (
	// defaultCached certificates take about 50 MiB.
	defaultCached = 4096
	// maxChecks is the maximum number of certificates that are checked or
	// ordered at the same time, and maxWaiting of handshakes that wait for an
	// order.
	maxChecks, maxWaiting = 8, 256
	// defaultInterval is the time between two checks of a certificate.
	defaultInterval = time.Hour
)

// New validates cfg and returns a Manager. Errors name the field.
func New(cfg Config) (*Manager, error) {
	if cfg.Directory == "" {
		cfg.Directory = LetsEncrypt
	}
	u, err := url.Parse(cfg.Directory)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("certificates: Directory is %q; expected the https address of an ACME directory", cfg.Directory)
	case cfg.Layout.Root == "":
		return nil, errors.New("certificates: Layout is empty; expected the data folder's cloud folder")
	case cfg.Hosts == nil || cfg.Allows == nil || cfg.Changed == nil:
		return nil, errors.New("certificates: Hosts, Changed or Allows is nil")
	case len(cfg.Wildcards) > 0 && cfg.DNS == nil:
		return nil, errors.New("certificates: Wildcards need DNS")
	case cfg.Cached < 0:
		return nil, errors.New("certificates: Cached is negative; expected 0 or more")
	}
	if cfg.Cached == 0 {
		cfg.Cached = defaultCached
	}
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Limits == nil {
		limits := documented(u.Host)
		cfg.Limits = &limits
	}
	folder := cfg.Layout.Certificates()
	m := &Manager{
		cfg: cfg, log: cfg.Logger,
		storage: &storage{FileStorage: &certmagic.FileStorage{Path: folder}},
		served:  lru.New[string, *served](int64(cfg.Cached)),
		wake:    make(chan struct{}, 1),
		free:    make(chan struct{}, 1),
		slots:   make(chan struct{}, maxChecks),
		waiting: make(chan struct{}, maxWaiting),
		names:   make(map[string]*name),
		gone:    make(map[string]time.Time),

		patience: defaultPatience, now: time.Now,
	}
	m.budget = &budget{folder: filepath.Join(folder, "state"), authority: u.Host, limits: *cfg.Limits}
	logger := zapLogger(cfg.Logger)
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(c certmagic.Certificate) (*certmagic.Config, error) {
			if len(c.Names) == 0 {
				return nil, errors.New("the certificate has no name")
			}
			return m.issuing(c.Names[0]).Config, nil
		},
		Logger: logger,
	})
	m.byHost = m.newIssuing(nil)
	if cfg.DNS != nil {
		m.byDNS = m.newIssuing(cfg.DNS.solver(logger))
	}
	return m, nil
}

// newIssuing returns a configuration that uses a DNS-01 solver, or without one
// the challenges that need no change of DNS.
func (m *Manager) newIssuing(solver *certmagic.DNS01Solver) *issuing {
	logger := zapLogger(m.log)
	config := certmagic.New(m.cache, certmagic.Config{
		Storage: m.storage, Logger: logger, OnEvent: m.event, RenewalWindowRatio: m.cfg.RenewalRatio,
	})
	template := certmagic.ACMEIssuer{
		CA: m.cfg.Directory, Email: m.cfg.Email, Agreed: true, Profile: m.cfg.Profile,
		TrustedRoots: m.cfg.Roots, Logger: logger,
	}
	if solver != nil {
		template.DNS01Solver = solver
	}
	issuer := certmagic.NewACMEIssuer(config, template)
	config.Issuers = []certmagic.Issuer{issuer}
	return &issuing{config, issuer}
}

// issuing returns the configuration for a name.
func (m *Manager) issuing(name string) *issuing {
	if m.byDNS != nil && strings.HasPrefix(name, "*.") {
		return m.byDNS
	}
	return m.byHost
}

// Run gets and renews the certificates until ctx is done. clear and secure are
// the addresses on which this process answers HTTP and TLS; nil means that it
// does not, so the challenge of that kind is not used.
func (m *Manager) Run(ctx context.Context, clear, secure net.Addr) error {
	defer m.cache.Stop()
	for _, dir := range []string{m.cfg.Layout.Certificates(), m.budget.folder} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			m.log.Error("can't write certificates; HTTPS works with those that exist", "error", err)
		}
	}
	// certmagic listens itself unless something does already.
	issuer := m.byHost.acme
	issuer.ListenHost, issuer.AltHTTPPort = split(clear)
	issuer.DisableHTTPChallenge = clear == nil
	host, port := split(secure)
	issuer.AltTLSALPNPort, issuer.DisableTLSALPNChallenge = port, secure == nil
	if issuer.ListenHost == "" {
		issuer.ListenHost = host
	}
	m.running.Store(true)
	m.loop(ctx)
	return nil
}

// split returns the host and the port of an address.
func split(a net.Addr) (string, int) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || tcp == nil {
		return "", 0
	}
	if tcp.IP.IsUnspecified() {
		return "", tcp.Port
	}
	return tcp.IP.String(), tcp.Port
}

// TLSConfig returns the configuration of a TLS server with the certificates. It
// answers TLS-ALPN-01 challenges too.
func (m *Manager) TLSConfig(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: m.certificate,
		NextProtos:     append(protocols, challengeProtocol),
	}
}
