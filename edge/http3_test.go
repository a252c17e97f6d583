package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
)

// quicked is a site with HTTP/3.
type quicked struct {
	*secured
	packets net.PacketConn
	stop    func()
}

func newQuicked(t *testing.T, change ...func(*Config)) *quicked {
	t.Helper()
	q := &quicked{secured: newSecured(t, append([]func(*Config){func(cfg *Config) { cfg.TLS.HTTP3 = true }}, change...)...)}
	q.start()
	q.awaitCertificate()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	q.packets = packets
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	group.Go(func() {
		if err := q.edge.ServeHTTP3(ctx, packets, time.Minute); err != nil {
			t.Errorf("serve HTTP/3: %v", err)
		}
	})
	q.stop = sync.OnceFunc(func() { cancel(); group.Wait(); _ = packets.Close() })
	t.Cleanup(q.stop)
	return q
}

// client returns a client of HTTP/3 alone that finds every host at the edge.
func (q *quicked) client() *http.Client {
	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{RootCAs: q.authority.Roots},
		Dial: func(ctx context.Context, _ string, t *tls.Config, c *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, q.packets.LocalAddr().String(), t, c)
		},
	}
	q.t.Cleanup(func() { _ = transport.Close() })
	return &http.Client{Timeout: 20 * time.Second, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (q *quicked) read(c *http.Client, method, path string, header http.Header) (*http.Response, string) {
	q.t.Helper()
	r, err := http.NewRequestWithContext(q.t.Context(), method, "https://site.test"+path, nil)
	if err != nil {
		q.t.Fatal(err)
	}
	r.Header = header
	res, err := c.Do(r)
	if err != nil {
		q.t.Fatalf("%s %s: %v\n%s", method, path, err, q.log)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		q.t.Fatalf("%s %s: %v", method, path, err)
	}
	return res, string(body)
}

// TestHTTP3 compares the answers over HTTP/3 with those over HTTP/2, and lets the
// server stop while a response is on its way.
func TestHTTP3(t *testing.T) {
	t.Parallel()
	q := newQuicked(t)
	large := strings.Repeat("0123456789abcdef", 1<<19) // 8 MiB
	q.publish(map[string]string{"index.html": "home", "page.html": strings.Repeat("page ", 5000), "large.bin": large, "_redirects": "/old/* /page?from=:splat 302\n"})
	c := q.client()
	alternative := fmt.Sprintf(`h3=":%d"; ma=86400`, q.encrypted.Addr().(*net.TCPAddr).Port)
	// The encoded form of a page is made after its first request.
	if !poll.Until(t.Context(), 20*time.Second, 10*time.Millisecond, func() bool {
		res, _ := q.get("https://site.test/page", http.Header{"Accept-Encoding": {"br"}})
		return res.Header.Get("Content-Encoding") == "br"
	}) {
		t.Fatal("the page is not encoded")
	}
	for _, r := range []struct {
		path   string
		header http.Header
		status int
	}{
		{"/", http.Header{}, 200},
		{"/page", http.Header{"Accept-Encoding": {"br"}}, 200},
		{"/page", http.Header{"Range": {"bytes=0-9"}}, 206},
		{"/old/x", http.Header{}, 302},
		{"/none", http.Header{}, 404},
		{"/a%00b", http.Header{}, 400},
		{"/large.bin", http.Header{}, 200},
	} {
		two, body2 := q.get("https://site.test"+r.path, r.header)
		three, body3 := q.read(c, "GET", r.path, r.header.Clone())
		if two.StatusCode != r.status || three.StatusCode != r.status || two.ProtoMajor != 2 || three.ProtoMajor != 3 {
			t.Errorf("%s: %d over HTTP/%d and %d over HTTP/%d; expected %d", r.path, two.StatusCode, two.ProtoMajor, three.StatusCode, three.ProtoMajor, r.status)
		}
		if body2 != body3 && !strings.Contains(body2, "<!doctype") { // pages of errors have ids
			t.Errorf("%s: the bodies differ: %d and %d bytes", r.path, len(body2), len(body3))
		}
		for _, name := range []string{"Content-Type", "Cache-Control", "ETag", "Location", "Strict-Transport-Security", "Content-Range"} {
			if two.Header.Get(name) != three.Header.Get(name) {
				t.Errorf("%s: %s is %q over HTTP/2 and %q over HTTP/3", r.path, name, two.Header.Get(name), three.Header.Get(name))
			}
		}
		if two.Header.Get("Alt-Svc") != alternative || three.Header.Get("Alt-Svc") != "" {
			t.Errorf("%s: Alt-Svc is %q over HTTP/2 and %q over HTTP/3; expected %q and none", r.path, two.Header.Get("Alt-Svc"), three.Header.Get("Alt-Svc"), alternative)
		}
	}
	if res, _ := q.read(c, "DELETE", "/", http.Header{}); res.StatusCode != 405 {
		t.Errorf("DELETE answers %d; expected 405", res.StatusCode)
	}

	// The site gets a password.
	q.protect(site.Protection{Passwords: []site.Password{passwordOf("open sesame")}})
	if !poll.Until(t.Context(), time.Minute, 10*time.Millisecond, func() bool {
		res, _ := q.read(c, "GET", "/page", http.Header{})
		return res.StatusCode == 401
	}) {
		t.Error("a protected site is readable over HTTP/3")
	}
	signed := http.Header{"Authorization": {"Basic Om9wZW4gc2VzYW1l"}}
	if res, body := q.read(c, "GET", "/page", signed); res.StatusCode != 200 || len(body) != 25000 {
		t.Errorf("with the password: %d, %d bytes", res.StatusCode, len(body))
	}

	// A name without a site has no certificate.
	other := &http.Client{Timeout: 20 * time.Second, Transport: c.Transport}
	if _, err := other.Get("https://other.test/"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("QUIC for another host: %v; expected the alert unrecognized_name", err)
	}

	// Stopping completes what has begun.
	r, err := http.NewRequestWithContext(t.Context(), "GET", "https://site.test/large.bin", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = signed
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	stopped := make(chan struct{})
	go func() { q.stop(); close(stopped) }()
	if n, err := io.Copy(io.Discard, res.Body); err != nil || n != int64(len(large)) {
		t.Errorf("while the server stops: %d bytes, %v; expected %d", n, err, len(large))
	}
	c.CloseIdleConnections()
	<-stopped
}

// TestHTTP3Limits opens more QUIC connections than the edge has places. Those
// that end make room.
func TestHTTP3Limits(t *testing.T) {
	t.Parallel()
	q := newQuicked(t, func(cfg *Config) { cfg.Connections = 80 })
	dial := func() (*quic.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		return quic.DialAddr(ctx, q.packets.LocalAddr().String(), &tls.Config{ServerName: "site.test", RootCAs: q.authority.Roots, NextProtos: []string{"h3"}}, nil)
	}
	var open []*quic.Conn
	for len(open) < 80 {
		conn, err := dial()
		if err != nil {
			var refused *quic.TransportError
			if !errors.As(err, &refused) || refused.ErrorCode != quic.ConnectionRefused {
				t.Fatalf("connection %d: %v; expected CONNECTION_REFUSED", len(open), err)
			}
			break
		}
		open = append(open, conn)
	}
	// A quarter is left to TCP. The certificate's own check may hold some.
	if len(open) < 50 || len(open) > 61 {
		t.Errorf("%d QUIC connections were accepted; expected 61 and no more", len(open))
	}
	if res, _ := q.get("https://site.test/", http.Header{}); res.StatusCode != 200 {
		t.Errorf("meanwhile HTTP/2 answers %d", res.StatusCode)
	}
	for _, conn := range open {
		_ = conn.CloseWithError(0, "")
	}
	if !poll.Until(t.Context(), time.Minute, 10*time.Millisecond, func() bool {
		q.edge.limits.mu.Lock()
		defer q.edge.limits.mu.Unlock()
		return q.edge.limits.total == 0 && len(q.edge.secure.handshakes.slots) == 0
	}) {
		t.Errorf("after all have ended %d connections and %d handshakes count", q.edge.limits.total, len(q.edge.secure.handshakes.slots))
	}
	conn, err := dial()
	if err != nil {
		t.Fatalf("afterwards: %v", err)
	}
	_ = conn.CloseWithError(0, "")
}
