package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkAgainstFileServer sends the same requests over the same number of
// persistent connections to the edge and to net/http's FileServer, and reports
// the ratio of the rates ("x-fileserver").
func BenchmarkAgainstFileServer(b *testing.B) {
	const host = "bench.localhost"
	page := strings.Repeat("<p>Twenty-six bytes here.</p>", 26<<10/29)
	files := map[string]string{"index.html": page, "page.html": page, "large.bin": strings.Repeat("0123456789abcdef", 1<<16)}
	box := newBox(b)
	h := box.provision(host)
	h.publish(files)
	h.settle()
	folder := b.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct{ name, target, headers string }{
		{"page", "/page.html", ""},
		{"gzip", "/page.html", "Accept-Encoding: gzip\r\n"},
		{"large", "/large.bin", ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", c.target, host, c.headers)
			ours := drive(b, box.edge, request)
			b.StopTimer() // the other server's time must not affect b.N
			theirs := drive(b, http.FileServer(http.Dir(folder)), request)
			b.ReportMetric(float64(b.N)/ours.Seconds(), "req/s")
			b.ReportMetric(theirs.Seconds()/ours.Seconds(), "x-fileserver")
		})
	}
}

// drive sends the request b.N times and returns the elapsed time.
func drive(b *testing.B, handler http.Handler, request string) time.Duration {
	const connections = 32
	srv := httptest.NewServer(handler)
	defer srv.Close()
	conns := make([]net.Conn, connections)
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("tcp", srv.Listener.Addr().String()); err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conns[i].Close() }()
	}
	start := time.Now()
	var wg sync.WaitGroup
	for i, conn := range conns {
		wg.Go(func() {
			r := bufio.NewReaderSize(conn, 64<<10)
			for n := i; n < b.N; n += connections {
				if err := exchange(conn, r, request); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// exchange is a cheap client that parses only the length.
func exchange(conn net.Conn, r *bufio.Reader, request string) error {
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		if name := "Content-Length: "; strings.HasPrefix(string(line), name) {
			if _, err := fmt.Sscan(string(line[len(name):]), &length); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("the response has no length")
	}
	_, err := r.Discard(length)
	return err
}

// BenchmarkHandler measures one request without a network.
func BenchmarkHandler(b *testing.B) {
	h := newBox(b).provision("bench.localhost")
	h.publish(map[string]string{"index.html": strings.Repeat("x", 26<<10)})
	h.settle()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Host = h.host
	w := &discard{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		h.edge.ServeHTTP(w, r)
	}
}

// settle makes the site's files old enough to be settled, as for nearly all
// requests.
func (h *hosted) settle() {
	h.t.Helper()
	old := time.Now().Add(-time.Hour)
	for _, path := range []string{h.layout.Record(h.host), h.layout.Distribution(h.distribution), h.layout.Pointer(h.distribution)} {
		if err := os.Chtimes(path, old, old); err != nil {
			h.t.Fatal(err)
		}
	}
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}
