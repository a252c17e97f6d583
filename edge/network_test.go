package edge

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// connection is a client's connection to an edge that serves.
type connection struct {
	conn   net.Conn
	reader *bufio.Reader
}

// serve runs the edge on a port of its own until the test ends, and returns its
// address.
func (b *box) serve() string {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.serveOn(l)
	return l.Addr().String()
}

// serveOn runs the edge on a listener until the test ends.
func (b *box) serveOn(l net.Listener) {
	b.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.edge.Serve(ctx, l, 10*time.Second) }()
	b.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.t.Errorf("the edge stopped: %v", err)
		}
	})
}

// compare sends a request as bytes and compares the response with want, which
// is the handler's.
func (b *box) compare(want *http.Response, sent string, r *http.Request) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.network == nil {
		b.network = dial(b.t, b.serve())
	}
	n := b.network
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Host)
	_ = r.Header.WriteSubset(&out, map[string]bool{"Host": true})
	out.WriteString("\r\n")
	got, body, err := n.exchange(r.Method, out.String())
	if err != nil {
		b.t.Fatalf("%s %s: %v", r.Method, r.RequestURI, err)
	}
	if got.Close {
		b.network = dial(b.t, n.conn.RemoteAddr().String())
	}
	if got.StatusCode != want.StatusCode {
		b.t.Fatalf("%s %s: the network answers %d, the handler %d", r.Method, r.RequestURI, got.StatusCode, want.StatusCode)
	}
	if strings.HasPrefix(want.Header.Get("Content-Type"), "multipart/") {
		return // a boundary is random
	}
	for _, h := range []http.Header{got.Header, want.Header} {
		for name := range h {
			if name != "Date" && name != "X-Request-Id" && name != "Connection" && name != "Content-Length" && h.Get(name) != want.Header.Get(name) || len(got.Header[name]) != len(h[name]) && name != "Content-Length" && name != "Date" && name != "Connection" {
				b.t.Errorf("%s %s: %s is %q over the network, %q from the handler", r.Method, r.RequestURI, name, got.Header[name], want.Header[name])
			}
		}
	}
	if r.Method != http.MethodHead && sent != body {
		b.t.Errorf("%s %s: %d bytes over the network, %d from the handler", r.Method, r.RequestURI, len(body), len(sent))
	}
	if length := got.ContentLength; r.Method != http.MethodHead && got.StatusCode != 304 && got.StatusCode != 204 && length != int64(len(body)) {
		b.t.Errorf("%s %s: Content-Length %d of %d bytes", r.Method, r.RequestURI, length, len(body))
	}
	if got.Header.Get("Date") == "" {
		b.t.Errorf("%s %s: the response has no Date", r.Method, r.RequestURI)
	}
}

func dial(t testing.TB, address string) *connection {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &connection{conn, bufio.NewReader(conn)}
}

// exchange sends bytes and reads one response to a request with this method.
func (n *connection) exchange(method, request string) (*http.Response, string, error) {
	if err := n.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, "", err
	}
	if _, err := io.WriteString(n.conn, request); err != nil {
		return nil, "", err
	}
	return n.receive(method)
}

func (n *connection) receive(method string) (*http.Response, string, error) {
	res, err := http.ReadResponse(n.reader, &http.Request{Method: method})
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}
