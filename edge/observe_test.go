package edge

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/traffic"
)

// observedSite is a site whose edge logs to a buffer and counts.
func observedSite(t *testing.T, change func(*Config)) (*hosted, *logBuffer) {
	t.Helper()
	var log logBuffer
	b := newBox(t, func(c *Config) {
		c.AccessLog, c.Traffic = &log, true
		change(c)
	})
	if err := os.MkdirAll(filepath.Join(b.layout.Root, "locks"), 0o700); err != nil {
		t.Fatal(err)
	}
	h := b.provision("observed.localhost")
	h.publish(map[string]string{"index.html": "home", "large.bin": noise(maxHot + 1)})
	return h, &log
}

// flush writes what the edge has observed.
func (h *hosted) flush() {
	h.edge.observer.log.flush(nil)
	h.edge.observer.counter.Flush(h.t.(*testing.T).Context())
}

// TestAccessLogLines compares the lines of the handler, of the loop and of
// net/http, which have to be the same.
func TestAccessLogLines(t *testing.T) {
	t.Parallel()
	h, log := observedSite(t, func(*Config) {})
	const fields = "User-Agent: \"a\" \r\nReferer: https://user:secret@other.example/page?token=secret\r\nX-Forwarded-For: 198.51.100.77\r\n"
	n := dial(t, h.serve())
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: observed.localhost\r\n" + fields + "\r\n", // from the handler
		"GET / HTTP/1.1\r\nHost: observed.localhost\r\n" + fields + "\r\n", // kept
		"GET /?password=secret HTTP/1.1\r\nHost: observed.localhost\r\n" + fields + "\r\n",
		"GET /large.bin HTTP/1.1\r\nHost: observed.localhost\r\n" + fields + "\r\n",
		"HEAD / HTTP/1.1\r\nHost: observed.localhost\r\n" + fields + "\r\n",
		"GET / HTTP/1.1\r\nHost: observed.localhost\r\nIf-None-Match: " + tag("home") + "\r\n" + fields + "\r\n",
		"GET /a%0A\" HTTP/1.1\r\nHost: observed.localhost\r\n" + fields + "\r\n",
		"GET / HTTP/1.1\r\nHost: observed.localhost\r\nContent-Length: 0\r\n" + fields + "\r\n", // net/http
		"GET / HTTP/1.1\r\nHost: nowhere.localhost\r\n" + fields + "\r\n",
	} {
		method, _, _ := strings.Cut(request, " ")
		if _, _, err := n.exchange(method, request); err != nil {
			t.Fatal(err)
		}
	}
	until(t, 30*time.Second, "nine lines", func() bool {
		h.flush()
		return strings.Count(log.String(), "\n") >= 9
	})
	text := log.String()
	if strings.Contains(text, "secret") || strings.Contains(text, "198.51.100.77") {
		t.Errorf("the log says too much: %s", text)
	}
	type line struct {
		Host, Client, Method, Path, Protocol, Referrer, Agent string
		Status, Bytes                                         int
	}
	want := func(method, path string, status, bytes int) line {
		return line{h.host, "198.51.100.0", method, path, "HTTP/1.1", "https://other.example/page", `"a"`, status, bytes}
	}
	expected := []line{
		want("GET", "/", 200, 4), want("GET", "/", 200, 4), want("GET", "/", 200, 4), want("GET", "/large.bin", 200, maxHot+1),
		want("HEAD", "/", 200, 0), want("GET", "/", 304, 0), want("GET", "/a%0A%22", 404, 1351), want("GET", "/", 200, 4),
	}
	got := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, w := range expected {
		var l line
		if err := json.Unmarshal([]byte(got[i]), &l); err != nil {
			t.Fatalf("line %d is %q: %v", i, got[i], err)
		}
		if w.Status == 404 {
			w.Bytes = l.Bytes
		}
		if l != w {
			t.Errorf("line %d: %+v, want %+v", i, l, w)
		}
	}
	if !strings.Contains(got[8], `"host":"nowhere.localhost"`) || strings.Contains(got[8], "pipeline_id") {
		t.Errorf("the line of an unknown host: %s", got[8])
	}

	s, err := traffic.Read(h.layout.Traffic(h.pipeline), time.Now(), 2)
	if err != nil || s.Requests != 8 || s.NotFound != 1 || s.Bytes < int64(maxHot) {
		t.Errorf("counted %+v, %v; want 8 requests, 1 of a missing path", s.Total, err)
	}
	if len(s.Paths) != 2 || s.Paths[0].Path != "/" || s.Paths[0].Requests != 6 || len(s.Missing) != 1 || s.Missing[0].Referrer != "other.example/page" {
		t.Errorf("the paths are %+v, the missing ones %+v", s.Paths, s.Missing)
	}
}

func TestCombinedAccessLog(t *testing.T) {
	t.Parallel()
	h, log := observedSite(t, func(c *Config) { c.AccessFormat, c.FullAddresses = AccessCombined, true })
	h.handlerOnly = true
	h.fetch("/?password=secret", "User-Agent", "x\n\"forged\"", "Referer", "https://secret@other.example/?q=secret", "X-Forwarded-For", "2001:db8:1:2::3")
	h.get("forged host\n", "/")
	h.flush()
	lines := strings.Split(log.String(), "\n")
	if len(lines) != 3 || strings.Contains(log.String(), "secret") {
		t.Fatalf("the log is %q", log)
	}
	begin, rest, _ := strings.Cut(lines[0], " [")
	_, end, _ := strings.Cut(rest, "] ")
	if begin != "observed.localhost 192.0.2.1 - -" || end != `"GET / HTTP/1.1" 200 4 "https://other.example/" "x\n\"forged\""` {
		t.Errorf("the line is %q", lines[0])
	}
	if !strings.HasPrefix(lines[1], "forged%20host%0A 192.0.2.1 - - [") {
		t.Errorf("the second line is %q", lines[1])
	}
}

func TestAnonymousAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.77": "192.0.2.0", "::ffff:192.0.2.77": "192.0.2.0", "2001:db8:1:2:3:4:5:6": "2001:db8:1::", "fe80::1%eth0": "fe80::",
	} {
		if got := anonymous(netip.MustParseAddr(address)).String(); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	if anonymous(netip.Addr{}).IsValid() {
		t.Error("an unknown address is known")
	}
}

// TestSlowAccessLog blocks the log's writer. Requests are answered, and the log
// says how many lines it lost.
func TestSlowAccessLog(t *testing.T) {
	t.Parallel()
	h, log := observedSite(t, func(*Config) {})
	h.handlerOnly = true
	long := "/" + strings.Repeat("x", 60_000)
	count := maxAccess/len(long) + 20
	for range count {
		wantStatus(t, h.fetch(long), 404)
	}
	h.flush()
	written := strings.Count(log.String(), "\n")
	if written >= count || log.Len() > maxAccess+2*len(long) {
		t.Errorf("%d of %d lines were kept, with %d bytes", written, count, log.Len())
	}
	if want := fmt.Sprintf("dropped_lines=%d", count-written); !strings.Contains(h.log.String(), want) {
		t.Errorf("the edge's log is %s, want %s", h.log, want)
	}
}
