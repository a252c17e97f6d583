package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// frontSite is a box with a site that has a small, a large and a very large
// file. Serve answers requests to it.
func frontSite(t *testing.T, change ...func(*Config)) (h *hosted, address string, files map[string]string) {
	t.Helper()
	b := newBox(t, change...)
	h = b.provision("front.localhost")
	files = map[string]string{
		"index.html": "home", "page.html": strings.Repeat("page ", 5000),
		"large.bin": noise(maxHot + 100), "huge.bin": strings.Repeat("0123456789abcdef", 1<<20),
	}
	h.publish(files)
	return h, b.serve(), files
}

func plainRequest(target string, fields ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: front.localhost\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// TestRequestsInPieces sends requests in every way that TCP can deliver them.
func TestRequestsInPieces(t *testing.T) {
	t.Parallel()
	_, address, files := frontSite(t)
	want := func(n *connection, target string) {
		t.Helper()
		res, body, err := n.receive(http.MethodGet)
		if err != nil || res.StatusCode != 200 || body != files[target[1:]] {
			t.Fatalf("GET %s: %v, %d bytes, error %v", target, res, len(body), err)
		}
	}
	for _, target := range []string{"/page.html", "/large.bin", "/huge.bin"} {
		request := plainRequest(target, "User-Agent: test")
		n := dial(t, address)
		for i := range len(request) { // one byte at a time
			if _, err := io.WriteString(n.conn, request[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
		want(n, target)
		// Many at once, ending in the middle of one.
		all := strings.Repeat(request, 10)
		go func() { _, _ = io.WriteString(n.conn, all+request[:len(request)/2]) }()
		for range 10 {
			want(n, target)
		}
		if _, err := io.WriteString(n.conn, request[len(request)/2:]); err != nil {
			t.Fatal(err)
		}
		want(n, target)
		// Then one that net/http has to read, and a plain one after it.
		other := "GET " + target + " HTTP/1.1\r\nHost: front.localhost\r\nContent-Length: 3\r\n\r\nabc"
		if _, err := io.WriteString(n.conn, request+other+request); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			want(n, target)
		}
	}
	// More pipelined requests than a loop reads at once.
	n := dial(t, address)
	go func() { _, _ = io.WriteString(n.conn, strings.Repeat(plainRequest("/page.html"), 2000)) }()
	for range 2000 {
		want(n, "/page.html")
	}
}

// TestKeptResponsesAllocateNothing counts the allocations of the process while it
// answers with a kept response. It is not parallel, because other tests allocate.
func TestKeptResponsesAllocateNothing(t *testing.T) {
	h, address, files := frontSite(t)
	n := dial(t, address)
	request, answer := []byte(plainRequest("/page.html")), make([]byte, 64<<10)
	exchange := func() {
		if _, err := n.conn.Write(request); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < len(files["page.html"]); {
			k, err := n.conn.Read(answer[got:])
			if err != nil {
				t.Fatal(err)
			}
			got += k
			if end := bytes.Index(answer[:got], []byte("\r\n\r\n")); end >= 0 && got == end+4+len(files["page.html"]) {
				return
			}
		}
	}
	for range 100 {
		exchange()
	}
	a, ok := h.edge.hot.answers.Get(hotKey{"front.localhost", "/page.html", accepted("")})
	if !ok || a.file == nil {
		t.Fatal("the response is not kept in a file")
	}
	const requests = 5000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range requests {
		exchange()
	}
	runtime.ReadMemStats(&after)
	// The clock and the timers of the server allocate a little.
	if n := after.Mallocs - before.Mallocs; n > requests/10 {
		t.Errorf("%d allocations for %d requests", n, requests)
	}
}

// TestAmbiguousRequests checks that requests that two servers could understand
// differently are refused, or are answered once and end the connection, and that
// none of their bytes become another request.
func TestAmbiguousRequests(t *testing.T) {
	t.Parallel()
	_, address, _ := frontSite(t)
	const smuggled = "GET /page.html HTTP/1.1\r\nHost: front.localhost\r\n\r\n"
	for name, c := range map[string]struct {
		request  string
		statuses []int
	}{
		// The transfer coding overrides the length (RFC 9112 §6.3).
		"length and chunks":         {"GET / HTTP/1.1\r\nHost: front.localhost\r\nContent-Length: " + fmt.Sprint(len(smuggled)+5) + "\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled), []int{200, 400}},
		"two lengths":               {"GET / HTTP/1.1\r\nHost: front.localhost\r\nContent-Length: 0\r\nContent-Length: " + fmt.Sprint(len(smuggled)) + "\r\n\r\n" + smuggled, []int{400}},
		"a body in a length":        {"GET / HTTP/1.1\r\nHost: front.localhost\r\nContent-Length: " + fmt.Sprint(len(smuggled)) + "\r\n\r\n" + smuggled, []int{200}},
		"a body in chunks":          {"GET / HTTP/1.1\r\nHost: front.localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled), []int{200}},
		"an odd transfer coding":    {"GET / HTTP/1.1\r\nHost: front.localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", []int{501}},
		"a space before the colon":  {"GET / HTTP/1.1\r\nHost: front.localhost\r\nContent-Length : 5\r\n\r\nhello", []int{400}},
		"a folded line":             {"GET / HTTP/1.1\r\nHost: front.localhost\r\nX: a\r\n b\r\n\r\n", []int{200, 400}},
		"two hosts":                 {"GET / HTTP/1.1\r\nHost: front.localhost\r\nHost: other.localhost\r\n\r\n", []int{400}},
		"no host":                   {"GET / HTTP/1.1\r\n\r\n", []int{400}},
		"a host with a space":       {"GET / HTTP/1.1\r\nHost: front localhost\r\n\r\n", []int{400}},
		"a NUL in a field":          {"GET / HTTP/1.1\r\nHost: front.localhost\r\nX: a\x00b\r\n\r\n", []int{400}},
		"a CR in a field":           {"GET / HTTP/1.1\r\nHost: front.localhost\r\nX: a\rContent-Length: 5\r\n\r\n", []int{400}},
		"a field without a name":    {"GET / HTTP/1.1\r\nHost: front.localhost\r\n: x\r\n\r\n", []int{400}},
		"a space in the target":     {"GET / / HTTP/1.1\r\nHost: front.localhost\r\n\r\n", []int{400}},
		"an unknown version":        {"GET / HTTP/1.2\r\nHost: front.localhost\r\n\r\n", []int{200, 400, 505}},
		"a CR at the end":           {"GET / HTTP/1.1\r\r\n\r\n", []int{400}},
		"a CR alone":                {"\r\r\n\r\n", []int{400}},
		"no version":                {"GET /\r\n\r\n", []int{400}},
		"lines that end in LF":      {"GET / HTTP/1.1\nHost: front.localhost\n\n", []int{200}},
		"HTTP/2 without an upgrade": {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{405, 400, 505}},
		"a TLS handshake":           {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 600), []int{400}},
		"an end of the connection":  {"GET / HTTP/1.1\r\nHost: front.localhost\r\nConnection: close\r\n\r\n", []int{200}},
		"HTTP/1.0":                  {"GET / HTTP/1.0\r\nHost: front.localhost\r\n\r\n", []int{200}},
		"100-continue":              {"GET / HTTP/1.1\r\nHost: front.localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", []int{100, 200}},
		"an absolute target":        {"GET http://front.localhost/ HTTP/1.1\r\nHost: other.localhost\r\n\r\n", []int{200}},
		"too many fields":           {"GET / HTTP/1.1\r\nHost: front.localhost\r\n" + strings.Repeat("X: y\r\n", 100) + "\r\n", []int{200}},
		"a long header":             {"GET / HTTP/1.1\r\nHost: front.localhost\r\nX: " + strings.Repeat("y", 20_000) + "\r\n\r\n", []int{200}},
		"too long a header":         {"GET / HTTP/1.1\r\nHost: front.localhost\r\nX: " + strings.Repeat("y", 60_000) + "\r\n\r\n", []int{431}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := dial(t, address)
			// The second request must be answered as itself or not at all.
			for _, before := range []string{"", plainRequest("/")} {
				_, _ = io.WriteString(n.conn, before+c.request)
				if tcp, ok := n.conn.(*net.TCPConn); ok && name != "100-continue" {
					_ = tcp.CloseWrite()
				}
				if before != "" {
					if res, _, err := n.receive(http.MethodGet); err != nil || res.StatusCode != 200 {
						t.Fatalf("the plain request: %v, %v", res, err)
					}
				}
				_ = n.conn.SetDeadline(time.Now().Add(30 * time.Second))
				answers := 0
				for {
					res, body, err := n.receive(http.MethodGet)
					if err != nil {
						break
					}
					if res.StatusCode == http.StatusContinue {
						continue
					}
					answers++
					known := false
					for _, s := range c.statuses {
						known = known || s == res.StatusCode
					}
					if !known || strings.Contains(body, "page ") {
						t.Errorf("status %d with %.40q, want one of %v", res.StatusCode, body, c.statuses)
					}
					if name == "100-continue" {
						break
					}
				}
				if answers != 1 {
					t.Errorf("%d answers, want 1", answers)
				}
				_ = n.conn.Close()
				n = dial(t, address)
			}
		})
	}
}

// TestWithoutLoop checks that the edge answers without its loop, which would
// close the listener and accept connections from a copy.
func TestWithoutLoop(t *testing.T) {
	t.Parallel()
	b := newBox(t, func(c *Config) { c.NoLoop = true })
	b.provision("front.localhost").publish(map[string]string{"index.html": "home"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.serveOn(l)
	res, body, err := dial(t, l.Addr().String()).exchange(http.MethodGet, plainRequest("/"))
	if err != nil || res.StatusCode != http.StatusOK || body != "home" {
		t.Fatalf("GET /: %v, %q, error %v", res, body, err)
	}
	if err := l.(*net.TCPListener).SetDeadline(time.Time{}); err != nil {
		t.Errorf("net/http does not accept the connections: %v", err)
	}
}

// TestPanicInLoop checks that a panic of the loop ends only the connection that
// caused it.
func TestPanicInLoop(t *testing.T) {
	t.Parallel()
	h, address, _ := frontSite(t)
	other := dial(t, address)
	if _, _, err := other.exchange(http.MethodGet, plainRequest("/page.html")); err != nil {
		t.Fatal(err)
	}
	// A kept response without sources.
	h.edge.hot.answers.Put(hotKey{"front.localhost", "/broken.html", accepted("")}, &hotAnswer{}, 1)
	for range 3 {
		if res, _, err := dial(t, address).exchange(http.MethodGet, plainRequest("/broken.html")); err == nil {
			t.Errorf("GET /broken.html: status %d, expected the end of the connection", res.StatusCode)
		}
	}
	if _, _, err := other.exchange(http.MethodGet, plainRequest("/page.html")); err != nil {
		t.Errorf("another connection: %v", err)
	}
	if !strings.Contains(h.log.String(), "a request failed") {
		t.Error("the panic is not logged")
	}
	until(t, 30*time.Second, "the broken connections don't count", func() bool { return h.edge.limits.open() == 1 })
}

// TestStopDuringAResponse stops the edge while clients read large responses.
// They get all of them, also one that asked for another file meanwhile, and
// everything else ends at once.
func TestStopDuringAResponse(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	body := strings.Repeat("0123456789abcdef", 1<<20)
	b.provision("front.localhost").publish(map[string]string{"index.html": "home", "huge.bin": body})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- b.edge.Serve(ctx, l, time.Minute) }()
	waiting, reading, more := dial(t, address), dial(t, address), dial(t, address)
	if _, _, err := waiting.exchange(http.MethodGet, plainRequest("/")); err != nil {
		t.Fatal(err)
	}
	for n, request := range map[*connection]string{reading: plainRequest("/huge.bin"), more: plainRequest("/huge.bin") + plainRequest("/")} {
		if _, err := io.WriteString(n.conn, request); err != nil {
			t.Fatal(err)
		}
		if _, err := n.reader.Peek(1); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	_ = waiting.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := waiting.reader.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("a connection without a request: %v, expected its end", err)
	}
	until(t, 30*time.Second, "new connections are refused", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	for _, n := range []*connection{reading, more} {
		_ = n.conn.SetDeadline(time.Now().Add(50 * time.Second))
		if _, got, err := n.receive(http.MethodGet); err != nil || got != body {
			t.Errorf("%d of %d bytes of the response, error %v", len(got), len(body), err)
		}
	}
	if res, got, err := more.receive(http.MethodGet); err != nil || got != "home" || !res.Close {
		t.Errorf("the second response: %v, %q, error %v", res, got, err)
	}
	for _, n := range []*connection{reading, more} {
		if _, err := n.reader.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("the connection after its responses: %v, expected its end", err)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("the edge stopped: %v", err)
	}
	if n := b.edge.limits.open(); n != 0 {
		t.Errorf("%d connections are open after the end", n)
	}
}

// TestHalfClosed has clients that send a request and close their side.
func TestHalfClosed(t *testing.T) {
	t.Parallel()
	h, address, _ := frontSite(t)
	for i := range 40 {
		n := dial(t, address)
		if _, err := io.WriteString(n.conn, plainRequest("/page.html")); err != nil {
			t.Fatal(err)
		}
		_ = n.conn.(*net.TCPConn).CloseWrite()
		_ = n.conn.SetDeadline(time.Now().Add(30 * time.Second))
		if res, _, err := n.receive(http.MethodGet); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("request %d: %v, %v", i, res, err)
		}
		if _, err := n.reader.ReadByte(); !errors.Is(err, io.EOF) {
			t.Fatalf("request %d: %v, expected the end of the connection", i, err)
		}
	}
	until(t, 30*time.Second, "all connections are closed", func() bool { return h.edge.limits.open() == 0 })
}

// TestFileWithoutSendfile writes a file that sendfile refuses to read, like
// those of some file systems.
func TestFileWithoutSendfile(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.edge.clock.tick()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	client := os.NewFile(uintptr(ends[1]), "client")
	defer func() { _ = client.Close() }()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	if _, err := to.WriteString("home and more"); err != nil {
		t.Fatal(err)
	}
	_ = to.Close()
	c := &conn{loop: &loop{front: &front{server: b.edge}}, fd: ends[0]}
	w := &reply{conn: c, header: http.Header{"Content-Length": {"4"}}, deadline: time.Now().Add(time.Minute)}
	w.WriteHeader(http.StatusOK)
	if n, err := io.CopyN(w, from, 4); n != 4 || err != nil {
		t.Errorf("%d bytes, error %v", n, err)
	}
	if !w.finish() {
		t.Error("the response is not complete")
	}
	_ = unix.Close(ends[0])
	got, err := io.ReadAll(client)
	if err != nil || !strings.HasSuffix(string(got), "\r\n\r\nhome") {
		t.Errorf("the client read %q, error %v", got, err)
	}
}
