package edge

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/troy-iaas/troy/site"
)

func TestNetworks(t *testing.T) {
	t.Parallel()
	b := newBox(t, func(c *Config) { c.Proxies = networks("10.0.0.0/8", "fd00::/8") })
	h := secretSite(b, "networks.localhost")
	h.protect(site.Protection{Networks: networks("203.0.113.0/24", "2001:db8::/32", "198.51.100.7/32")})
	for _, c := range []struct {
		from, forwarded string
		status          int
	}{
		{"203.0.113.9:1", "", 200}, {"198.51.100.7:1", "", 200}, {"198.51.100.8:1", "", 403}, {"[2001:db8::5]:1", "", 200}, {"[2001:db9::5]:1", "", 403},
		{"[::ffff:203.0.113.9]:1", "", 200},
		{"198.51.100.8:1", "203.0.113.9", 403},                                                                                    // not a proxy
		{"10.0.0.1:1", "203.0.113.9", 200}, {"10.0.0.1:1", "198.51.100.8", 403}, {"10.0.0.1:1", "203.0.113.9, 198.51.100.8", 403}, // the client wrote the first
		{"10.0.0.1:1", "198.51.100.8, 203.0.113.9", 200}, {"10.0.0.1:1", "198.51.100.8, 203.0.113.9, 10.2.3.4, fd00::1", 200},
		{"10.0.0.1:1", "203.0.113.9:4711", 200}, {"10.0.0.1:1", "[2001:db8::5]:4711", 200}, {"10.0.0.1:1", "203.0.113.9, unknown", 403},
		{"10.0.0.1:1", "203.0.113.9,", 403}, {"10.0.0.1:1", "", 403}, {"10.0.0.1:1", ",,,", 403}, {"10.0.0.1:1", "203.0.113.9, 10.1.1.1", 200},
		{"@", "203.0.113.9", 403}, {"[fd00::1]:1", strings.Repeat("203.0.113.9,", 2000) + "198.51.100.8", 403},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host, r.RemoteAddr = h.host, c.from
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		w := httptest.NewRecorder()
		b.edge.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("from %s for %.60q: status %d, want %d", c.from, c.forwarded, w.Code, c.status)
		}
	}
	// Several lines are one list (RFC 9110 §5.3).
	r := httptest.NewRequest("GET", "/", nil)
	r.Host, r.RemoteAddr = h.host, "10.0.0.1:1"
	r.Header["X-Forwarded-For"] = []string{"203.0.113.9", "198.51.100.8"}
	w := httptest.NewRecorder()
	b.edge.ServeHTTP(w, r)
	if w.Code != 403 {
		t.Errorf("two lines: status %d", w.Code)
	}
	// Both: the network and the password.
	h.protect(site.Protection{Networks: networks("203.0.113.0/24"), Passwords: []site.Password{passwordOf(typed)}})
	wantStatus(t, h.submit("/", typed, "from", "198.51.100.8:1"), 403)
	wantStatus(t, h.submit("/", typed, "from", "203.0.113.9:1"), 303)
	wantStatus(t, h.submit("/", "wrong password", "from", "203.0.113.9:1"), 401)
	h.protect(site.Protection{Networks: networks("203.0.113.0/24")})
	wantStatus(t, h.submit("/", typed, "from", "203.0.113.9:1"), 405)
}

// TestUnreadableProtectionIsNotPublic covers every way in which it can't be
// read.
func TestUnreadableProtectionIsNotPublic(t *testing.T) {
	t.Parallel()
	h := secretSite(newBox(t), "unreadable.localhost")
	wantStatus(t, h.fetch("/"), 200)
	for _, text := range []string{`{}`, `[]`, `"x"`, `{"version":2,"sequence":1}`, `{"version":1,"sequence":1,"networks":["x"]}`, `{"version":1,"sequence":1,"passwords":[{}]}`,
		`{"version":1,"sequence":1,"passwords":[{"id":"x","hash":"plain","key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}`} {
		raw := json.RawMessage(text)
		h.setProtection(&raw)
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST"} {
			res := h.fetch("/", "method", method)
			wantStatus(t, res, 503)
			wantHeader(t, res, "Cache-Control", "no-store")
			if text := content(t, res); strings.Contains(text, secretText) {
				t.Errorf("%s shows the site", method)
			}
		}
	}
	h.replace(h.layout.Distribution(h.distribution), []byte(`{"id":"`+h.distribution+`","enabled":tr`))
	wantStatus(t, h.fetch("/"), 500)
	h.protect(site.Protection{})
	wantStatus(t, h.fetch("/"), 200)
}

// TestProtectionHoldsAtOnce turns the protection on and off while readers read.
// After it was on, no request that begins sees the content, and after it was
// off, none is refused.
func TestProtectionHoldsAtOnce(t *testing.T) {
	t.Parallel()
	h := secretSite(newBox(t), "toggled.localhost")
	server := httptest.NewServer(h.edge)
	t.Cleanup(server.Close)
	on := site.Protection{Networks: networks("203.0.113.0/24")}
	var mu sync.RWMutex // held to change: every request of a phase ends in it
	isOn := false
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var readers sync.WaitGroup
	var seen sync.Map // the phases in which a reader read
	for i := range 8 {
		readers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				q := questions()[(i+n)%len(questions())]
				mu.RLock()
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+q[0], nil)
				if err != nil {
					t.Error(err)
				}
				r.Host = h.host
				res, err := server.Client().Transport.RoundTrip(r)
				if err != nil {
					t.Error(err)
					mu.RUnlock()
					return
				}
				body, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if got := res.StatusCode == 403; got != isOn || isOn && strings.Contains(string(body), secretText) {
					t.Errorf("%s: status %d while it is on: %v", q[0], res.StatusCode, isOn)
				}
				seen.Store(h.protected, true)
				mu.RUnlock()
			}
		})
	}
	for phase := range int64(100) {
		mu.Lock()
		p := site.Protection{}
		if isOn = phase%2 == 0; isOn {
			p = on
		}
		h.protect(p)
		now := h.protected
		mu.Unlock()
		for ctx.Err() == nil && !t.Failed() {
			if _, ok := seen.Load(now); ok {
				break
			}
		}
	}
	cancel()
	readers.Wait()
}
