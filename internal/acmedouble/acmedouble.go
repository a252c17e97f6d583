// Package acmedouble runs a real ACME certificate authority (pebble) for tests,
// with a name server that leads every host to loopback. The first use builds
// pebble, from the Go proxy.
package acmedouble

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/troy-iaas/troy/internal/poll"
)

// Config configures an Authority.
type Config struct {
	// HTTPPort and TLSPort are the ports at which it validates hosts.
	HTTPPort, TLSPort int
	// Env are variables of pebble, like PEBBLE_WFE_NONCEREJECT=50.
	Env []string
	// Names answers its DNS questions; nil starts a server of its own.
	Names *Names
	// OCSP means that the certificates name an OCSP responder.
	OCSP bool
	// Expired means that the certificate of its own address has expired.
	Expired bool
}

// Authority is a running certificate authority. Requests reach it through a
// proxy, which counts orders and can answer in its place.
type Authority struct {
	// Directory is the address of its ACME directory, and APIRoots are the
	// certificates to trust for it.
	Directory string
	APIRoots  *x509.CertPool
	// APICertificate is the one of APIRoots.
	APICertificate *x509.Certificate
	// Roots are the certificates to trust for what it issues.
	Roots *x509.CertPool
	Names *Names

	mu       sync.Mutex
	orders   []Order
	problems map[string]acme.Problem
	down     bool
	ocsp     *responder

	client     *http.Client // of pebble itself
	management string       // its address for tests
}

// Order is a request for a certificate.
type Order struct {
	Identifiers []acme.Identifier `json:"identifiers"`
	Replaces    string            `json:"replaces"`
	Profile     string            `json:"profile"`
}

// NewOrder is the path of requests for certificates.
const NewOrder = "/order-plz"

// Start starts an authority that ends with the test.
func Start(t testing.TB, cfg Config) *Authority {
	t.Helper()
	if cfg.Names == nil {
		cfg.Names = StartNames(t)
	}
	a := &Authority{Names: cfg.Names, problems: map[string]acme.Problem{}}
	dir := t.TempDir()
	api, management := freeAddress(t), freeAddress(t)
	certificate, key := selfSigned(t, dir, time.Now().Add(time.Hour))
	responderURL, algorithm := "", "ecdsa"
	if cfg.OCSP {
		algorithm = "rsa" // pebble shows no other keys
		a.ocsp = startResponder(t)
		responderURL = a.ocsp.url
	}
	config := map[string]any{"pebble": map[string]any{
		"ocspResponderURL": responderURL,
		"listenAddress":    api, "managementListenAddress": management, "certificate": certificate, "privateKey": key,
		"httpPort": cfg.HTTPPort, "tlsPort": cfg.TLSPort, "keyAlgorithm": algorithm, "retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{
			"default":    map[string]any{"description": "the default", "validityPeriod": 7776000},
			"shortlived": map[string]any{"description": "six days", "validityPeriod": 518400},
		},
	}}
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, cfg.Env, file, cfg.Names.Address)
	trusting := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // pebble's own certificate
	a.Roots = x509.NewCertPool()
	a.client, a.management = &http.Client{Transport: trusting, Timeout: 5 * time.Second}, "https://"+management
	a.Roots.AppendCertsFromPEM(a.read(t, "/roots/0"))
	if a.ocsp != nil {
		a.ocsp.use(t, a.read(t, "/intermediates/0"), a.read(t, "/intermediate-keys/0"))
	}
	a.proxy(t, trusting, api, cfg.Expired)
	return a
}

// proxy starts the address that clients use.
func (a *Authority) proxy(t testing.TB, transport http.RoundTripper, api string, expired bool) {
	t.Helper()
	target := &url.URL{Scheme: "https", Host: api}
	forward := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}, ModifyResponse: func(r *http.Response) error { return nil }}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		problem, found := a.saw(r)
		switch {
		case a.isDown():
			panic(http.ErrAbortHandler)
		case found:
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Replay-Nonce", base64.RawURLEncoding.EncodeToString([]byte(time.Now().String())))
			w.WriteHeader(problem.Status)
			_ = json.NewEncoder(w).Encode(problem)
		default:
			forward.ServeHTTP(w, r)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if expired {
		dir := t.TempDir()
		pair, err := tls.LoadX509KeyPair(selfSigned(t, dir, time.Now().Add(-time.Minute)))
		if err != nil {
			t.Fatal(err)
		}
		server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	a.Directory = server.URL + "/dir"
	a.APIRoots = x509.NewCertPool()
	a.APICertificate = server.Certificate()
	a.APIRoots.AddCert(a.APICertificate)
}

// saw records a request. It returns the problem with which to answer it.
func (a *Authority) saw(r *http.Request) (acme.Problem, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	problem, found := a.problems[r.URL.Path]
	if r.URL.Path != NewOrder || r.Method != http.MethodPost {
		return problem, found
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return problem, found
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	var signed struct {
		Payload string `json:"payload"`
	}
	var o Order
	if json.Unmarshal(body, &signed) == nil {
		if payload, err := base64.RawURLEncoding.DecodeString(signed.Payload); err == nil && json.Unmarshal(payload, &o) == nil {
			a.orders = append(a.orders, o)
		}
	}
	return problem, found
}

// Orders returns the orders so far. With rejected nonces, an order may be sent
// more than once.
func (a *Authority) Orders() []Order {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Order(nil), a.orders...)
}

// Fail answers requests to a path with a problem, until the status is 0.
func (a *Authority) Fail(path string, p acme.Problem) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.Status == 0 {
		delete(a.problems, path)
		return
	}
	a.problems[path] = p
}

// SetDown closes the connections of all requests, or no longer does.
func (a *Authority) SetDown(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
}

func (a *Authority) isDown() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.down
}

// read waits until pebble answers a request for tests and returns the answer.
func (a *Authority) read(t testing.TB, path string) []byte {
	t.Helper()
	var data []byte
	var err error
	if !poll.Until(t.Context(), time.Minute, 20*time.Millisecond, func() bool {
		data, err = get(a.client, a.management+path)
		return err == nil
	}) {
		t.Fatalf("pebble does not answer: %v", err)
	}
	return data
}

// RenewAtOnce makes the authority want a certificate to be renewed at once, in the
// form in which Let's Encrypt wants it of revoked certificates.
func (a *Authority) RenewAtOnce(t testing.TB, c *x509.Certificate) {
	t.Helper()
	start := time.Now().UTC().Add(-time.Hour)
	window, err := json.Marshal(map[string]any{"suggestedWindow": map[string]any{"start": start, "end": start.Add(30 * time.Minute)}})
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"Certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})), "ARIResponse": string(window)})
	if err != nil {
		t.Fatal(err)
	}
	res, err := a.client.Post(a.management+"/set-renewal-info/", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("pebble answers %s", res.Status)
	}
}

func get(client *http.Client, address string) ([]byte, error) {
	res, err := client.Get(address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return data, err
}

// run runs pebble until the test ends.
func run(t testing.TB, dir string, env []string, config, names string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	pebble, err := program()
	if err != nil {
		t.Fatalf("build pebble: %v", err)
	}
	cmd := exec.CommandContext(ctx, pebble, "-config", config, "-dnsserver", names)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0"), env...)
	output, err := os.Create(filepath.Join(dir, "pebble.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		_ = output.Close()
		if text, err := os.ReadFile(output.Name()); err == nil && t.Failed() {
			t.Logf("pebble's last lines:\n%s", text[max(0, len(text)-8000):])
		}
	})
}

// program builds pebble once. The go command caches it.
var program = sync.OnceValues(func() (string, error) {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", err
	}
	root := filepath.Dir(strings.TrimSpace(string(mod)))
	cmd := exec.Command("go", "tool", "-modfile="+filepath.Join(root, "tools/acme/go.mod"), "-n", "pebble")
	cmd.Dir = root
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
})

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// selfSigned writes a certificate for loopback and its key.
func selfSigned(t testing.TB, dir string, notAfter time.Time) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pebble"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(fmt.Errorf("write %s: %w", name, err))
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", bytes)
}
