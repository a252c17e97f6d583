package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/troy-iaas/troy/internal/generation"
	"github.com/troy-iaas/troy/site"
)

const (
	// edgeTLSVariable is the address at which the benchmarks' edge answers HTTPS.
	edgeTLSVariable = "TROY_BENCH_EDGE_TLS"
	// benchAuthority is never asked, because all certificates are valid.
	benchAuthority = "https://ca.invalid/dir"
	// certified is the number of sites with certificates.
	certified = 10_000
)

// selfSigned returns a certificate for a host and its key, in PEM form.
func selfSigned(b *testing.B, host string) (certificate, key []byte) {
	b.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		b.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		b.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
}

// certify writes a certificate for a host to a data folder.
func certify(b *testing.B, layout site.Layout, host string) (certificate, key []byte) {
	b.Helper()
	certificate, key = selfSigned(b, host)
	const issuer = "ca.invalid-dir"
	for name, data := range map[string][]byte{
		certmagic.StorageKeys.SiteCert(issuer, host):       certificate,
		certmagic.StorageKeys.SitePrivateKey(issuer, host): key,
		certmagic.StorageKeys.SiteMeta(issuer, host):       fmt.Appendf(nil, `{"sans":[%q],"issuer_data":{}}`, host),
	} {
		path := filepath.Join(layout.Certificates(), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return certificate, key
}

// clientTLS offers what all of the compared servers know.
func clientTLS(host string, protocols ...string) *tls.Config {
	return &tls.Config{ServerName: host, InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}, NextProtos: protocols} //nolint:gosec // only speed counts
}

// during calls work in n goroutines for some seconds, and returns the calls per
// CPU-second of the server.
func (p *peer) during(b *testing.B, n int, work func(context.Context) error) float64 {
	b.Helper()
	end := time.Now().Add(3 * time.Second)
	var calls atomic.Int64
	var group sync.WaitGroup
	before := p.cpu(b)
	for range n {
		group.Go(func() {
			for time.Now().Before(end) {
				if err := work(b.Context()); err != nil {
					b.Errorf("%s: %v", p.name, err)
					return
				}
				calls.Add(1)
			}
		})
	}
	group.Wait()
	spent := p.cpu(b) - before
	if spent == 0 {
		b.Fatalf("%s used no CPU time", p.name)
	}
	return float64(calls.Load()) / spent.Seconds()
}

// BenchmarkTLS compares the edge with nginx and Caddy: full TLS 1.3 handshakes
// with a P-256 certificate, and requests for a page of 26 KB over HTTP/2 on 8
// connections with 8 streams each, by CPU-second of the server.
func BenchmarkTLS(b *testing.B) {
	if _, err := exec.LookPath("nginx"); err != nil {
		b.Skip("nginx is not installed")
	}
	dir := b.TempDir()
	folder := filepath.Join(dir, "html")
	page := edgeFiles()["page.html"]
	if err := os.MkdirAll(folder, 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "page.html"), page, 0o644); err != nil { //nolint:gosec // nginx may run as another user
		b.Fatal(err)
	}
	layout := site.Layout{Root: filepath.Join(dir, "cloud")}
	writeSite(b, layout, edgeHost, map[string][]byte{"page.html": page})
	certificate, key := certify(b, layout, edgeHost)
	if err := generation.Bump(layout.Generation()); err != nil {
		b.Fatal(err)
	}
	peers := startTLSPeers(b, dir, folder, layout, certificate, key)
	for _, p := range peers {
		if err := p.shake(b.Context()); err != nil {
			b.Fatalf("%s: %v", p.name, err)
		}
	}
	for _, work := range []struct {
		name string
		rate func(*peer) float64
	}{
		{"handshakes", func(p *peer) float64 { return p.during(b, 32, p.shake) }},
		{"26 KB over HTTP-2", func(p *peer) float64 {
			clients := make(chan *http.Client, 64)
			for range 8 {
				c := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: clientTLS(edgeHost), DisableCompression: true}}
				defer c.CloseIdleConnections()
				for range 8 {
					clients <- c
				}
			}
			return p.during(b, 64, func(ctx context.Context) error {
				c := <-clients
				defer func() { clients <- c }()
				return p.fetch(ctx, c, len(page))
			})
		}},
	} {
		b.Run(work.name, func(b *testing.B) {
			rates := make([][]float64, len(peers))
			for range edgePasses {
				for i, p := range peers {
					rates[i] = append(rates[i], work.rate(p))
				}
			}
			for i, p := range peers {
				b.ReportMetric(median(rates[i]), p.name+"-per-cpu-s")
				if i > 0 && median(rates[i]) > 0 {
					b.ReportMetric(median(rates[0])/median(rates[i]), "x-"+p.name)
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// shake makes one TLS connection.
func (p *peer) shake(ctx context.Context) error {
	c, err := (&tls.Dialer{Config: clientTLS(edgeHost)}).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return err
	}
	// Otherwise the client's ports run out.
	if tcp, ok := c.(*tls.Conn).NetConn().(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close() // the server may have closed it
	return nil
}

// fetch requests the page over HTTP/2.
func (p *peer) fetch(ctx context.Context, c *http.Client, size int) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+p.address+"/page.html", nil)
	if err != nil {
		return err
	}
	r.Host = edgeHost
	res, err := c.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && (res.ProtoMajor != 2 || res.StatusCode != http.StatusOK || n != int64(size)) {
		err = fmt.Errorf("HTTP/%d, %s, %d bytes", res.ProtoMajor, res.Status, n)
	}
	return err
}

func startTLSPeers(b *testing.B, dir, folder string, layout site.Layout, certificate, key []byte) []*peer {
	b.Helper()
	chain, secret := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, data := range map[string][]byte{chain: certificate, secret: key} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	troy := &peer{name: "troy", address: freeAddress(b)}
	troy.environment = []string{edgeRootVariable + "=" + layout.Root, edgeAddressVariable + "=" + freeAddress(b), edgeTLSVariable + "=" + troy.address}
	troy.command = []string{os.Args[0], "-test.run=^TestServeEdge$"}
	troy.start(b)
	nginx := &peer{name: "nginx", address: freeAddress(b)}
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`user root root; worker_processes 1; worker_rlimit_nofile 16000; daemon off; pid %[1]s/nginx.pid; error_log stderr;
events { worker_connections 4096; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; include /etc/nginx/mime.types;
open_file_cache max=10000 inactive=60s; open_file_cache_valid 60s;
ssl_certificate %[4]s; ssl_certificate_key %[5]s; ssl_protocols TLSv1.2 TLSv1.3;
client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
server { listen %[2]s ssl http2; root %[3]s; } }
`, dir, nginx.address, folder, chain, secret)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	nginx.command = []string{"nginx", "-c", conf}
	nginx.start(b)
	peers := []*peer{troy, nginx}
	if _, err := exec.LookPath("caddy"); err == nil {
		caddy := &peer{name: "caddy", address: freeAddress(b)}
		_, port, err := net.SplitHostPort(caddy.address)
		if err != nil {
			b.Fatal(err)
		}
		caddyfile := filepath.Join(dir, "Caddyfile")
		text := fmt.Sprintf("{\n admin off\n auto_https disable_redirects\n}\nhttps://%s:%s {\n tls %s %s\n root * %s\n file_server\n}\n", edgeHost, port, chain, secret, folder)
		if err := os.WriteFile(caddyfile, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		caddy.environment = []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
		caddy.command = []string{"caddy", "run", "--config", caddyfile}
		caddy.start(b)
		peers = append(peers, caddy)
	}
	return peers
}

// BenchmarkManyCertificates makes the first handshake of each of many sites.
func BenchmarkManyCertificates(b *testing.B) {
	layout := site.Layout{Root: filepath.Join(b.TempDir(), "cloud")}
	host := func(i int) string { return fmt.Sprintf("site-%d.bench.test", i) }
	for i := range certified {
		writeSite(b, layout, host(i), map[string][]byte{"index.html": []byte("home")})
		certify(b, layout, host(i))
	}
	if err := generation.Bump(layout.Generation()); err != nil {
		b.Fatal(err)
	}
	p := &peer{name: "troy", address: freeAddress(b)}
	p.environment = []string{edgeRootVariable + "=" + layout.Root, edgeAddressVariable + "=" + freeAddress(b), edgeTLSVariable + "=" + p.address}
	p.command = []string{os.Args[0], "-test.run=^TestServeEdge$"}
	p.start(b)
	before := p.memory(b)
	var times []time.Duration
	for i := range certified {
		start := time.Now()
		c, err := (&tls.Dialer{Config: clientTLS(host(i))}).DialContext(b.Context(), "tcp", p.address)
		if err != nil {
			b.Fatalf("%s: %v", host(i), err)
		}
		times = append(times, time.Since(start))
		_ = c.Close()
	}
	slices.Sort(times)
	b.ReportMetric(quantile(times, 0.5), "first-p50-ms")
	b.ReportMetric(quantile(times, 0.99), "first-p99-ms")
	b.ReportMetric(float64(p.memory(b))/(1<<20), "MiB")
	b.ReportMetric(float64(p.memory(b)-before)/(1<<20), "MiB-grown")
	b.ReportMetric(0, "ns/op")
}
