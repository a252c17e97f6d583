package certificates

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"

	"github.com/troy-iaas/troy/site"
)

// challengeProtocol is the ALPN protocol of TLS-ALPN-01 challenges (RFC 8737).
const challengeProtocol = acmez.ACMETLS1Protocol

// ChallengePath is the start of the paths of HTTP-01 challenges (RFC 8555 §8.3).
const ChallengePath = "/.well-known/acme-challenge/"

// served is a certificate in memory.
type served struct {
	certificate *tls.Certificate
	file        os.FileInfo // that it was read from
	looked      atomic.Int64
}

const (
	// lookInterval is how long a certificate is served before its file is looked
	// at again, because another process may have renewed it.
	lookInterval = 30 * time.Second
	// defaultPatience is how long a handshake waits for an order.
	defaultPatience = 8 * time.Second
)

// certificate is the GetCertificate function of a TLS server. It returns nil for
// names without a certificate, so that clients get the alert unrecognized_name.
func (m *Manager) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == challengeProtocol {
		if !m.running.Load() {
			return nil, nil
		}
		return m.challengeCertificate(hello)
	}
	host, err := site.NormalizeHost(hello.ServerName)
	if err != nil {
		return nil, nil //nolint:nilerr // without a certificate, crypto/tls sends the alert
	}
	name := m.nameOf(host)
	if s, ok := m.served.Get(name); ok {
		if now := time.Now().UnixNano(); now-s.looked.Load() > int64(lookInterval) {
			s.looked.Store(now)
			go m.reload(name, s)
		}
		return s.certificate, nil
	}
	if name == host && !m.cfg.Allows(host) {
		return nil, nil
	}
	s, err := m.load(hello.Context(), name)
	if errors.Is(err, fs.ErrNotExist) && m.await(hello.Context(), name) {
		s, err = m.load(hello.Context(), name)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			m.log.Warn("can't read a certificate", "host", name, "error", err)
		}
		return nil, nil
	}
	return s.certificate, nil
}

// challengeCertificate answers a TLS-ALPN-01 challenge. Any client can ask, so a
// name without a challenge costs one look at the folder and no line in the log.
func (m *Manager) challengeCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if _, err := site.NormalizeHost(hello.ServerName); err != nil {
		return nil, nil //nolint:nilerr // as above
	}
	c, err := m.byHost.GetCertificateWithContext(hello.Context(), hello)
	if err != nil {
		return nil, nil //nolint:nilerr // as above
	}
	return c, nil
}

// Challenge answers the request if it is an HTTP-01 challenge. It returns false
// if it has written nothing.
func (m *Manager) Challenge(w http.ResponseWriter, r *http.Request) bool {
	if !strings.HasPrefix(r.URL.Path, ChallengePath) || !m.running.Load() {
		return false
	}
	host, err := site.NormalizeHost(r.Host)
	if err != nil {
		return false
	}
	// certmagic compares the host with the name of the challenge.
	answered := *r
	answered.Host = host
	return m.byHost.acme.HandleHTTPChallenge(w, &answered)
}

// nameOf returns the name of the certificate for a host: the host, or a
// wildcard.
func (m *Manager) nameOf(host string) string {
	_, parent, found := strings.Cut(host, ".")
	if !found {
		return host
	}
	wildcard := "*." + parent
	if slices.Contains(m.cfg.Wildcards, parent) {
		return wildcard
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, known := m.names[host]; !known && m.names[wildcard] != nil {
		return wildcard
	}
	return host
}

// Active reports whether a host has a certificate that is valid now.
func (m *Manager) Active(host string) bool {
	name := m.nameOf(host)
	m.mu.RLock()
	defer m.mu.RUnlock()
	n := m.names[name]
	now := m.now()
	return n != nil && now.Before(n.notAfter) && now.After(n.notBefore)
}

// load reads a certificate from the folder and keeps it in memory. Calls for the
// same name share the work.
func (m *Manager) load(ctx context.Context, name string) (*served, error) {
	v, err, _ := m.loading.Do(name, func() (any, error) {
		file, err := os.Stat(m.file(name))
		if err != nil {
			return nil, err
		}
		c, err := m.readWhole(context.WithoutCancel(ctx), name)
		if err != nil {
			return nil, err
		}
		s := &served{certificate: m.shared.share(&c.Certificate), file: file}
		s.looked.Store(time.Now().UnixNano())
		m.served.Put(name, s, 1)
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*served), nil
}

const (
	// torn is how long a certificate may not fit its key: another process that
	// renews it replaces one file after the other.
	torn = 500 * time.Millisecond
	// tornPoll is the time between two looks. Processes share nothing but the
	// folder, so the other one can't tell when it is done.
	tornPoll = 50 * time.Millisecond
)

// readWhole reads a certificate, and waits while it is being replaced.
func (m *Manager) readWhole(ctx context.Context, name string) (c certmagic.Certificate, err error) {
	ctx, cancel := context.WithTimeout(ctx, torn)
	defer cancel()
	ticker := time.NewTicker(tornPoll)
	defer ticker.Stop()
	for {
		if c, err = m.read(ctx, name); err == nil || errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return c, err
		case <-ticker.C:
		}
	}
}

// reload loads a certificate again if its file is another one.
func (m *Manager) reload(name string, s *served) {
	file, err := os.Stat(m.file(name))
	if err != nil || file.ModTime().Equal(s.file.ModTime()) && file.Size() == s.file.Size() && os.SameFile(file, s.file) {
		return
	}
	if _, err := m.load(context.Background(), name); err != nil {
		m.log.Warn("can't read a renewed certificate; the old one is still served", "host", name, "error", err)
	}
}

// read reads a certificate with its OCSP response, if it has one.
func (m *Manager) read(ctx context.Context, name string) (certmagic.Certificate, error) {
	c, err := m.issuing(name).CacheManagedCertificate(ctx, name)
	if err == nil {
		// The manager has a cache of its own, which is bounded and evicts the
		// least recently used certificates.
		m.cache.Remove([]string{c.Hash()})
	}
	return c, err
}

// file returns the file of a certificate.
func (m *Manager) file(name string) string {
	return m.storage.Filename(certmagic.StorageKeys.SiteCert(m.byHost.acme.IssuerKey(), name))
}

// shared keeps one copy of each intermediate certificate, because many
// certificates have the same. Its zero value is ready to use.
type shared struct {
	mu    sync.Mutex
	known [][]byte
}

// maxIntermediates is the number of intermediate certificates that are shared.
const maxIntermediates = 32

func (s *shared) share(c *tls.Certificate) *tls.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 1; i < len(c.Certificate); i++ {
		c.Certificate[i] = s.one(c.Certificate[i])
	}
	return c
}

func (s *shared) one(der []byte) []byte {
	for _, k := range s.known {
		if bytes.Equal(k, der) {
			return k
		}
	}
	if len(s.known) < maxIntermediates {
		s.known = append(s.known, der)
	}
	return der
}
