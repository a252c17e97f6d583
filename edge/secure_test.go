package edge

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troy-iaas/troy/certificates"
	"github.com/troy-iaas/troy/internal/acmedouble"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
)

// secured is a site with HTTPS.
type secured struct {
	*hosted
	authority *acmedouble.Authority
	clear     net.Listener
	encrypted net.Listener
	ordered   func()
}

// ordering is held until a site has its certificate: certmagic keeps the
// challenges of a process by host, whatever the server, and all tests have the
// same host.
var ordering sync.Mutex

// newSecured starts an edge with a certificate authority. The site at site.test
// has a page.
func newSecured(t *testing.T, change ...func(*Config)) *secured {
	t.Helper()
	s := &secured{clear: listenLoopback(t), encrypted: listenLoopback(t)}
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	s.authority = acmedouble.Start(t, acmedouble.Config{HTTPPort: port(s.clear), TLSPort: port(s.encrypted)})
	b := newBox(t, append([]func(*Config){func(cfg *Config) {
		cfg.TLS = &TLS{
			Directory: s.authority.Directory, Roots: s.authority.APIRoots, Redirect: true, HSTS: time.Hour,
			Port: port(s.encrypted), Interval: time.Second,
		}
	}}, change...)...)
	s.hosted = b.provision("site.test")
	s.publish(map[string]string{
		"index.html": "<!doctype html><title>x</title><body>home", "page.html": strings.Repeat("page ", 5000),
		".well-known/acme-challenge/own": "the site's own file",
	})
	return s
}

func (s *secured) start() {
	s.t.Helper()
	ordering.Lock()
	s.ordered = sync.OnceFunc(ordering.Unlock)
	s.t.Cleanup(s.ordered)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	var group sync.WaitGroup
	group.Go(func() {
		if err := s.edge.Serve(ctx, s.clear, time.Second); err != nil {
			s.t.Errorf("serve HTTP: %v", err)
		}
	})
	group.Go(func() {
		if err := s.edge.ServeTLS(ctx, s.encrypted, s.clear.Addr(), time.Second); err != nil {
			s.t.Errorf("serve HTTPS: %v", err)
		}
	})
	s.t.Cleanup(func() { cancel(); group.Wait() })
}

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func (s *secured) awaitCertificate() {
	s.t.Helper()
	if !poll.Until(s.t.Context(), time.Minute, 10*time.Millisecond, func() bool { return s.edge.Certificates().Active("site.test") }) {
		state, err := s.layout.ReadCertificateState("site.test")
		s.t.Fatalf("no certificate: %+v, %v\n%s", state, err, s.log)
	}
	s.ordered()
}

// get sends a request without following redirects.
func (s *secured) get(address string, header http.Header) (*http.Response, string) {
	s.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		s.t.Fatal(err)
	}
	l := s.clear
	if u.Scheme == "https" {
		l = s.encrypted
	}
	client := &http.Client{
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: s.authority.Roots},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
			},
		},
	}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header = header.Clone()
	res, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(body)
}

// TestHTTPS serves a site over HTTP until it has a certificate, and over HTTPS
// afterwards. The responses that were kept before are not used any more.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	for name, noLoop := range map[string]bool{"loop": false, "net/http": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSecured(t, func(cfg *Config) { cfg.NoLoop = noLoop })
			s.authority.SetDown(true)
			s.start()
			for range 3 {
				if res, body := s.get("http://site.test/page", http.Header{}); res.StatusCode != http.StatusOK || len(body) != 25000 {
					t.Fatalf("before the certificate: %d, %d bytes", res.StatusCode, len(body))
				}
			}
			if !poll.Until(t.Context(), time.Minute, 10*time.Millisecond, func() bool {
				state, err := s.layout.ReadCertificateState("site.test")
				return err == nil && state.State == site.CertificateFailed
			}) {
				t.Fatalf("the state names no problem\n%s", s.log)
			}
			s.authority.SetDown(false)
			s.replaceJSON(s.layout.Record("site.test"), site.Record{Host: "site.test", Target: site.DistributionDomain(s.distribution)})
			s.awaitCertificate()
			base := fmt.Sprintf("https://site.test:%d", s.encrypted.Addr().(*net.TCPAddr).Port)
			for _, header := range []http.Header{{}, {"Connection": {"close"}}, {"X-Forwarded-Proto": {"http"}}} {
				for _, target := range []string{"/page?q=1%202", "/page"} {
					res, _ := s.get("http://site.test"+target, header)
					if res.StatusCode != http.StatusPermanentRedirect || res.Header.Get("Location") != base+target || res.Header.Get("Strict-Transport-Security") != "" {
						t.Errorf("plain HTTP %s %v: %d, %v; expected 308 to %s", target, header, res.StatusCode, res.Header, base+target)
					}
				}
			}
			if res, _ := s.get("http://site.test/page", http.Header{"X-Forwarded-Proto": {"https"}}); res.StatusCode != http.StatusOK {
				t.Errorf("behind a proxy with TLS: %d; expected 200", res.StatusCode)
			}
			if res, body := s.get("http://site.test"+certificates.ChallengePath+"own", http.Header{}); res.StatusCode != http.StatusOK || body != "the site's own file" {
				t.Errorf("a path of challenges: %d %q; expected no redirect", res.StatusCode, body)
			}
			res, body := s.get("https://site.test/page", http.Header{})
			if res.StatusCode != http.StatusOK || len(body) != 25000 || res.ProtoMajor != 2 || res.Header.Get("Strict-Transport-Security") != "max-age=3600" {
				t.Errorf("HTTPS: %d over HTTP/%d, %d bytes, %v", res.StatusCode, res.ProtoMajor, len(body), res.Header)
			}
			for _, host := range []string{"other.test", ""} {
				_, err := tls.Dial("tcp", s.encrypted.Addr().String(), &tls.Config{ServerName: host, InsecureSkipVerify: true})
				if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
					t.Errorf("TLS for %q: %v; expected the alert unrecognized_name", host, err)
				}
			}
			if n := len(s.authority.Orders()); n != 1 {
				t.Errorf("%d orders; expected 1", n)
			}
		})
	}
}

// TestSlowHandshakes opens connections that send nothing. They take a quarter of
// the places at most, and end in time.
func TestSlowHandshakes(t *testing.T) {
	t.Parallel()
	s := newSecured(t, func(cfg *Config) { cfg.Connections = 80 })
	s.edge.times.header = 5 * time.Second
	s.start()
	s.awaitCertificate()
	conns := make([]net.Conn, 40)
	var closed sync.WaitGroup
	ended := make(chan time.Duration, len(conns))
	start := time.Now()
	for i := range conns {
		c, err := net.Dial("tcp", s.encrypted.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		conns[i] = c
		closed.Go(func() {
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			_, _ = io.Copy(io.Discard, c)
			ended <- time.Since(start)
		})
	}
	closed.Wait()
	close(ended)
	late := 0
	for d := range ended {
		if d >= s.edge.times.header {
			late++
		}
		if d > 50*time.Second {
			t.Errorf("a connection that sends nothing was open for %s", d)
		}
	}
	if late != 20 {
		t.Errorf("%d slow connections were accepted; expected 20", late)
	}
	if res, _ := s.get("https://site.test/", http.Header{}); res.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %d", res.StatusCode)
	}
}

// TestBrowserOverHTTPS loads a site in Chromium, which trusts its certificate
// and uses HTTP/2.
func TestBrowserOverHTTPS(t *testing.T) {
	t.Parallel()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	s := newSecured(t)
	s.publish(map[string]string{"index.html": `<!doctype html><title>Site</title><p id="p">no script</p><script>
		document.getElementById("p").textContent = "over " + performance.getEntriesByType("navigation")[0].nextHopProtocol + " at " + location.host</script>`})
	s.start()
	s.awaitCertificate()
	c, err := tls.Dial("tcp", s.encrypted.Addr().String(), &tls.Config{ServerName: "site.test", RootCAs: s.authority.Roots})
	if err != nil {
		t.Fatal(err)
	}
	key := sha256.Sum256(c.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	_ = c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	// The plain address leads to HTTPS.
	out, err := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--user-data-dir="+t.TempDir(),
		"--host-resolver-rules=MAP * 127.0.0.1", "--ignore-certificate-errors-spki-list="+base64.StdEncoding.EncodeToString(key[:]),
		"--virtual-time-budget=2000", "--dump-dom", "http://site.test:"+fmt.Sprint(s.clear.Addr().(*net.TCPAddr).Port)+"/").Output()
	want := "over h2 at site.test:" + fmt.Sprint(s.encrypted.Addr().(*net.TCPAddr).Port)
	if err != nil || !strings.Contains(string(out), want) {
		t.Fatalf("Chromium: %v; expected %q in\n%s", err, want, out)
	}
}
