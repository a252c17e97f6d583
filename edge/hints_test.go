package edge

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/site"
)

// hintedSite has links in its rules, and a page that a user must open.
func hintedSite(t *testing.T, mode EarlyHints) *hosted {
	h := newBox(t, func(c *Config) { c.EarlyHints = mode }).provision("hints.localhost")
	h.handlerOnly = true
	h.publish(map[string]string{
		"index.html": "home", "about.html": "about", "404.html": "none", "app.css": "css", "plain.html": "plain", "secret.html": "secret",
		"_headers":   "/*\n  Link: </app.css>; rel=preload; as=style, </next>; rel=next\n  Link: <https://cdn.example>; rel=\"x preconnect\"\n/plain\n  ! Link\n/secret\n  Basic-Auth: dev:word\n",
		"_redirects": "/old /about\n/gone /about 410\n",
	})
	return h
}

const wantHints = `</app.css>; rel=preload; as=style, <https://cdn.example>; rel="x preconnect"`

// asked is a response and the values of Link in the informational ones before it.
type asked struct {
	*http.Response
	body  string
	early []string
}

// browse sends a request through a client that reads informational responses.
func (h *hosted) browse(client *http.Client, server, target string, headers ...string) asked {
	h.t.Helper()
	r, err := http.NewRequest(http.MethodGet, server+target, http.NoBody)
	if err != nil {
		h.t.Fatal(err)
	}
	r.Host = h.host
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "method" {
			r.Method = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	var got asked
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		if code != http.StatusEarlyHints || len(header) != 1 {
			h.t.Errorf("%s: the informational response is %d %v", target, code, header)
		}
		got.early = append(got.early, header["Link"]...)
		return nil
	}}
	got.Response, err = client.Do(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = got.Body.Close() }()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	got.body = string(body)
	return got
}

// http2 serves the edge over HTTP/2.
func (h *hosted) http2() (client *http.Client, server string) {
	s := httptest.NewUnstartedServer(h.edge)
	s.EnableHTTP2 = true
	s.StartTLS()
	h.t.Cleanup(s.Close)
	client = s.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client, s.URL
}

// TestEarlyHints sends 103 before a page that a browser opens, and before no
// other answer.
func TestEarlyHints(t *testing.T) {
	t.Parallel()
	h := hintedSite(t, "")
	client, server := h.http2()
	navigate := []string{"Sec-Fetch-Mode", "navigate", "Accept", "text/html"}
	with := func(more ...string) []string { return append(slices.Clone(navigate), more...) }
	for _, c := range []struct {
		target  string
		headers []string
		status  int
		hints   bool
	}{
		{"/", navigate, 200, true},
		{"/about", navigate, 200, true},
		{"/about.html", navigate, 200, true}, // its canonical link is not an early hint
		{"/secret", with("Authorization", basic("dev", "word")), 200, true},
		{"/secret", navigate, 401, false},
		{"/secret", with("Authorization", basic("dev", "wrong")), 401, false},
		{"/", nil, 200, false},
		{"/", []string{"Sec-Fetch-Mode", "no-cors"}, 200, false},
		{"/", with("method", "HEAD"), 200, false},
		{"/", with("If-None-Match", tag("home")), 304, false},
		{"/", with("If-None-Match", `"other"`), 200, false},
		{"/", with("Range", "bytes=0-1"), 206, false},
		{"/plain", navigate, 200, false},
		{"/app.css", navigate, 200, false},
		{"/missing", navigate, 404, false},
		{"/gone", navigate, 410, false},
		{"/old", navigate, 301, false},
		{"/", with("method", "OPTIONS"), 204, false},
	} {
		got := h.browse(client, server, c.target, c.headers...)
		if got.ProtoMajor != 2 {
			t.Fatalf("the protocol is %s", got.Proto)
		}
		wantStatus(t, got.Response, c.status)
		var want []string
		if c.hints {
			want = []string{wantHints}
		}
		if !slices.Equal(got.early, want) {
			t.Errorf("%s %v: early hints %q, expected %q", c.target, c.headers, got.early, want)
		}
		if c.hints && (!strings.Contains(strings.Join(got.Header["Link"], ", "), "</next>; rel=next") || got.Header.Get("Etag") == "") {
			t.Errorf("%s: the final header is %v", c.target, got.Header)
		}
	}
}

// TestEarlyHintsOfProtectedSites sends none to visitors who have not signed in.
func TestEarlyHintsOfProtectedSites(t *testing.T) {
	t.Parallel()
	h := hintedSite(t, HintsHTTP2)
	h.protect(site.Protection{Passwords: []site.Password{passwordOf(typed)}})
	client, server := h.http2()
	for authorization, want := range map[string]int{"": 0, basic("x", "wrong"): 0, basic("x", typed): 1} {
		got := h.browse(client, server, "/about", "Sec-Fetch-Mode", "navigate", "Authorization", authorization)
		if len(got.early) != want {
			t.Errorf("%q: status %d after %d early hints, expected %d", authorization, got.StatusCode, len(got.early), want)
		}
	}
}

// TestEarlyHintsOverHTTP1 sends none by default, and before each response if all
// clients get them, from the event loop too.
func TestEarlyHintsOverHTTP1(t *testing.T) {
	t.Parallel()
	for mode, want := range map[EarlyHints]int{"": 0, HintsHTTP2: 0, HintsOff: 0, HintsAll: 1} {
		h := hintedSite(t, mode)
		server := "http://" + h.serve()
		for range 3 { // kept responses would have none
			if got := h.browse(http.DefaultClient, server, "/about", "Sec-Fetch-Mode", "navigate"); len(got.early) != want || got.body != "about" {
				t.Errorf("%q: %d early hints before %q, expected %d", mode, len(got.early), got.body, want)
			}
			if got := h.browse(http.DefaultClient, server, "/about"); len(got.early) != 0 {
				t.Errorf("%q: a client that does not navigate gets %q", mode, got.early)
			}
		}
	}
	h := hintedSite(t, HintsOff)
	client, server := h.http2()
	if got := h.browse(client, server, "/", "Sec-Fetch-Mode", "navigate"); got.early != nil {
		t.Errorf("switched off: %q", got.early)
	}
	if _, err := New(Config{Root: t.TempDir(), EarlyHints: "http3"}); err == nil {
		t.Error("an unknown value is accepted")
	}
}

// TestEarlyLinks splits values of Link.
func TestEarlyLinks(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][]string{
		"</a>; rel=preload": {"</a>; rel=preload"},
		"</a,b;c>; rel=\"preload\"; title=\"x, <y>; rel=none\\\", z\" , </b>;rel=modulepreload": {"</a,b;c>; rel=\"preload\"; title=\"x, <y>; rel=none\\\", z\"", "</b>;rel=modulepreload"},
		"</a>; REL=PreLoad; as=font; crossorigin":                                               {"</a>; REL=PreLoad; as=font; crossorigin"},
		"<https://a.example>; rel=\"dns preconnect\"":                                           {"<https://a.example>; rel=\"dns preconnect\""},
		"</a>; rel=next; rel=preload":                                                           nil,
		"</a>; xrel=preload":                                                                    nil,
		"</a>; title=\"; rel=preload\"":                                                         nil,
		"/a; rel=preload":                                                                       nil,
		"<>; rel=preload":                                                                       nil,
		"</a":                                                                                   nil,
		"\"":                                                                                    nil,
		", ,</a>; rel=preload,":                                                                 {"</a>; rel=preload"},
	} {
		if got := earlyLinks([]string{value}); !slices.Equal(got, want) {
			t.Errorf("%q: %q, expected %q", value, got, want)
		}
	}
	if n := len(earlyLinks([]string{strings.Repeat("</a>; rel=preload,", 100), "</b>; rel=preload"})); n != maxHints {
		t.Errorf("%d links, expected %d", n, maxHints)
	}
}

// TestServerTiming adds it to files alone, and only if it is switched on.
func TestServerTiming(t *testing.T) {
	t.Parallel()
	h := newBox(t, func(c *Config) { c.ServerTiming = true }).provision("timing.localhost")
	h.handlerOnly = true
	large := strings.Repeat("0123456789", 20_000)
	h.publish(map[string]string{"index.html": "home", "a.txt": strings.Repeat("compressible ", 500), "large.bin": large, "secret.html": "x", "_headers": "/secret\n  Basic-Auth: dev:word\n"})
	for _, c := range []struct{ target, encoding, want string }{
		{"/", "", "disk"}, {"/", "", "memory"}, {"/large.bin", "", "disk"}, {"/large.bin", "", "disk"}, {"/a.txt", "gzip", "compressed"},
	} {
		got := h.fetch(c.target, "Accept-Encoding", c.encoding).Header.Get("Server-Timing")
		if lookup, from, ok := strings.Cut(got, ", cache;desc="); !ok || from != c.want || !strings.HasPrefix(lookup, "lookup;dur=") {
			t.Errorf("%s: %q, expected %q", c.target, got, c.want)
		}
	}
	for _, target := range []string{"/missing", "/secret"} {
		wantHeader(t, h.fetch(target), "Server-Timing", "")
	}
	server := "http://" + h.serve()
	for range 3 {
		got := h.browse(http.DefaultClient, server, "/").Header.Get("Server-Timing")
		if got != keptTiming && !strings.HasSuffix(got, "memory") {
			t.Errorf("over the network: %q", got)
		}
	}
	if got := h.browse(http.DefaultClient, server, "/").Header.Get("Server-Timing"); got != keptTiming {
		t.Errorf("a kept response: %q, expected %q", got, keptTiming)
	}
	off := newBox(t).provision("off.localhost")
	off.publish(map[string]string{"index.html": "home"})
	wantHeader(t, off.fetch("/"), "Server-Timing", "")
}
