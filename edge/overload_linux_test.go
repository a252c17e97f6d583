package edge

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/troy-iaas/troy/internal/network"
	"github.com/troy-iaas/troy/internal/poll"
)

// short makes the time limits short, so that a test sees their end.
func short(s *Server) {
	s.times = times{header: 2 * time.Second, body: 2 * time.Second, write: 2 * time.Second, idle: 3 * time.Second, crowded: time.Second}
}

// until waits for a condition.
func until(t *testing.T, within time.Duration, what string, is func() bool) {
	t.Helper()
	if !poll.Until(t.Context(), within, 20*time.Millisecond, is) {
		t.Fatalf("not within %s: %s", within, what)
	}
}

// open returns how many connections the edge has.
func (c *connections) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// TestSlowClients has clients that send or read too slowly, in each way. The
// edge ends their connections and answers others meanwhile.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	drip := func(stop <-chan struct{}, w io.Writer, first, again string) {
		_, err := io.WriteString(w, first)
		for err == nil {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				_, err = io.WriteString(w, again)
			}
		}
	}
	for name, c := range map[string]struct{ first, again string }{
		"nothing at all":          {"", ""},
		"a slow header":           {"GET / HTTP/1.1\r\nHost: front.localhost\r\n", "X: y\r\n"},
		"a slow first line":       {"GET /", "a"},
		"a slow header elsewhere": {"POST / HTTP/1.1\r\nHost: front.localhost\r\n", "X: y\r\n"},
		"a slow second header":    {plainRequest("/") + "GET / HTTP/1.1\r\n", "X: y\r\n"},
		"a slow body":             {"POST / HTTP/1.1\r\nHost: front.localhost\r\nContent-Length: 100000\r\n\r\n", "y"},
		"slow chunks":             {"POST / HTTP/1.1\r\nHost: front.localhost\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\ny\r\n"},
		"no second request":       {plainRequest("/"), ""},
		"no reading":              {strings.Repeat(plainRequest("/huge.bin"), 4), ""},
		"no reading elsewhere":    {strings.Repeat("GET /huge.bin HTTP/1.1\r\nHost: front.localhost\r\nContent-Length: 0\r\n\r\n", 4), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			short(b.edge)
			h := b.provision("front.localhost")
			// Larger than all buffers between the two, but without additional time.
			h.publish(map[string]string{"index.html": "home", "huge.bin": strings.Repeat("0123456789abcdef", 40<<10)})
			address := b.serve()
			stop := make(chan struct{})
			defer close(stop)
			slow := make([]*connection, 5)
			for i := range slow {
				slow[i] = dial(t, address)
				if tcp, ok := slow[i].conn.(interface{ SetReadBuffer(int) error }); ok {
					_ = tcp.SetReadBuffer(4 << 10)
				}
				go drip(stop, slow[i].conn, c.first, c.again)
			}
			until(t, 30*time.Second, "the slow connections are open", func() bool { return b.edge.limits.open() == len(slow) })
			if res, body, err := dial(t, address).exchange(http.MethodGet, plainRequest("/")); err != nil || res.StatusCode != 200 || body != "home" {
				t.Errorf("a quick client: %v, %q, %v", res, body, err)
			}
			until(t, 60*time.Second, "all connections are closed", func() bool { return b.edge.limits.open() == 0 })
		})
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	_, address, _ := frontSite(t, func(c *Config) { c.Connections = 16 })
	get := func(n *connection) error {
		_, _, err := n.exchange(http.MethodGet, plainRequest("/"))
		return err
	}
	var held []*connection
	for range 16 {
		n := dial(t, address)
		if err := get(n); err != nil {
			t.Fatal(err)
		}
		held = append(held, n)
	}
	if err := get(dial(t, address)); err == nil {
		t.Error("a connection above the bound was answered")
	}
	// Both kinds of connections count.
	_ = held[0].conn.Close()
	until(t, 30*time.Second, "a place becomes free", func() bool {
		n := dial(t, address)
		defer func() { _ = n.conn.Close() }()
		_, _, err := n.exchange(http.MethodGet, "GET / HTTP/1.0\r\nHost: front.localhost\r\n\r\n")
		return err == nil
	})
	if err := get(held[1]); err != nil {
		t.Errorf("an open connection: %v", err)
	}
}

// TestCrowded fills most places with idle connections, of the loop or of
// net/http, which then have to go.
func TestCrowded(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"loop": plainRequest("/"), "net/http": "GET / HTTP/1.1\r\nHost: front.localhost\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, func(c *Config) { c.Connections = 16 })
			b.edge.times.crowded = time.Second
			b.provision("front.localhost").publish(map[string]string{"index.html": "home"})
			address := b.serve()
			for range 14 {
				if _, _, err := dial(t, address).exchange(http.MethodGet, request); err != nil {
					t.Fatal(err)
				}
			}
			until(t, time.Minute, "places are free", func() bool { return b.edge.limits.open() <= 12 })
		})
	}
}

func TestConnectionsOfAClientAreBounded(t *testing.T) {
	t.Parallel()
	c := newConnections(100, 2, network.Proxies{netip.MustParsePrefix("198.51.100.7/32")})
	for _, step := range []struct {
		from string
		want bool
	}{
		{"192.0.2.1", true}, {"192.0.2.1", true}, {"192.0.2.1", false}, {"::ffff:192.0.2.1", false}, {"192.0.2.2", true},
		{"2001:db8::1", true}, {"2001:db8::2", true}, {"2001:db8::ffff:0:0:1", false}, {"2001:db8:0:1::1", true},
		{"10.0.0.1", true}, {"10.0.0.1", true}, {"10.0.0.1", true}, {"198.51.100.7", true}, {"198.51.100.7", true}, {"198.51.100.7", true},
	} {
		if got := c.admit(netip.MustParseAddr(step.from)); got != step.want {
			t.Errorf("a connection from %s: %v, want %v", step.from, got, step.want)
		}
	}
	c.release(netip.MustParseAddr("192.0.2.1"))
	if !c.admit(netip.MustParseAddr("192.0.2.1")) {
		t.Error("a place that became free is not given again")
	}
	log := &logBuffer{}
	now := time.Now()
	for _, after := range []time.Duration{0, time.Second, 2 * reportInterval} {
		c.report(now.Add(after), slog.New(slog.NewTextHandler(log, nil)))
		c.refuse(noFiles)
	}
	if text := log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "all_open=0 client_has_too_many=3 no_files_or_memory=0") || !strings.Contains(text, "client_has_too_many=0 no_files_or_memory=2") {
		t.Errorf("the log is %q", text)
	}
}

func TestTooFewFiles(t *testing.T) {
	t.Parallel()
	for connections, want := range map[int]bool{16: false, 1 << 30: true} {
		b := newBox(t, func(c *Config) { c.Connections = connections })
		b.edge.checkFiles()
		if got := strings.Contains(b.log.String(), "ulimit"); got != want {
			t.Errorf("%d connections: the log is %q", connections, b.log.String())
		}
	}
}

func TestTimesOfResponses(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64]time.Duration{
		0: time.Minute, int64(largeAnswer): time.Minute, 8 << 20: time.Minute + 512*time.Second,
	} {
		if got := defaultTimes().writing(size); got != want {
			t.Errorf("a response of %d bytes may take %s, expected %s", size, got, want)
		}
	}
}

// TestManyIdleConnections keeps 10,000 connections open, or as many as the
// process may have, which all work.
func TestManyIdleConnections(t *testing.T) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	many := min(10_000, (int(files.Cur)-1000)/2)
	if testing.Short() {
		t.Skip("opens many connections")
	}
	_, address, _ := frontSite(t, func(c *Config) { c.Connections = 2 * many })
	conns := make([]*connection, many)
	for i := range conns {
		conns[i] = dial(t, address)
		conns[i].reader = nil // each would have its own buffer
	}
	for range 2 {
		var wg sync.WaitGroup
		for part := range 8 {
			wg.Go(func() {
				for i := part; i < many; i += 8 {
					if err := askBare(conns[i]); err != nil {
						t.Errorf("connection %d: %v", i, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	var after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d connections; the process, with its clients, has %d KiB of heap and %d KiB of stacks", many, after.HeapInuse>>10, after.StackInuse>>10)
}

// askBare requests the small page without a buffered reader.
func askBare(n *connection) error {
	_ = n.conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(n.conn, plainRequest("/")); err != nil {
		return err
	}
	var answer [2048]byte
	got := 0
	for !strings.HasSuffix(string(answer[:got]), "\r\n\r\nhome") {
		k, err := n.conn.Read(answer[got:])
		if err != nil {
			return fmt.Errorf("after %q: %w", answer[:got], err)
		}
		got += k
	}
	return nil
}
