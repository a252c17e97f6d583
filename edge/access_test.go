package edge

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/internal/password"
	"github.com/troy-iaas/troy/site"
)

const (
	secretText = "the plan"
	typed      = "correct horse"
)

// passwordOf returns a password of a site, hashed with little cost.
func passwordOf(text string) site.Password {
	return site.Password{ID: uuid.NewString(), Hash: password.Hash(text, []byte("a salt that tests share")), Key: secretKey()}
}

func secretKey() []byte {
	key := make([]byte, site.MinKey)
	rand.Read(key)
	return key
}

// protect replaces the site's protection.
func (h *hosted) protect(p site.Protection) {
	h.t.Helper()
	h.protected++
	p.Sequence = h.protected
	raw, err := site.EncodeProtection(p)
	if err != nil {
		h.t.Fatal(err)
	}
	h.setProtection(raw)
}

func (h *hosted) setProtection(raw *json.RawMessage) {
	h.t.Helper()
	h.replaceJSON(h.layout.Distribution(h.distribution), site.DistributionFile{
		ID: h.distribution, Domain: site.DistributionDomain(h.distribution), Host: h.host, Enabled: true, Protection: raw,
	})
}

func networks(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// submit sends the form with a password.
func (h *hosted) submit(target, text string, headers ...string) *http.Response {
	h.t.Helper()
	return h.post(target, url.Values{"password": {text}}.Encode(), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
}

func (h *hosted) post(target, body string, headers ...string) *http.Response {
	h.t.Helper()
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	r.Host = h.host
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "from" {
			r.RemoteAddr = headers[i+1]
			continue
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.edge.ServeHTTP(w, r)
	return w.Result()
}

// cookie signs in and returns the cookie as it is sent back.
func (h *hosted) cookie(text string) string {
	h.t.Helper()
	res := h.submit("/", text)
	wantStatus(h.t, res, 303)
	all := res.Cookies()
	if len(all) != 1 {
		h.t.Fatalf("%d cookies are set", len(all))
	}
	return all[0].Name + "=" + all[0].Value
}

func basic(user, text string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, text)
	return r.Header.Get("Authorization")
}

// secretSite publishes a site with every kind of answer.
func secretSite(b *box, host string) *hosted {
	h := b.provision(host)
	asset := h.store("assets/old-BX3kz0aQ.js", secretText+" carried")
	h.publish(map[string]string{
		"index.html": secretText + " home", "about.html": secretText + " about", "docs/index.html": secretText + " docs", "404.html": secretText + " missing",
		"assets/index-BdPEdpqg.js": secretText + " asset", "font.woff2": secretText + " font", "large.txt": strings.Repeat(secretText+" ", 1000),
	}, site.Carried{File: asset, Until: time.Now().Add(time.Hour).Unix()})
	return h
}

// questions are requests that lead to every kind of answer.
func questions() [][]string {
	tag := tag(secretText + " home")
	return [][]string{
		{"/"}, {"/about"}, {"/about/"}, {"/docs"}, {"/docs/"}, {"/missing"}, {"/assets/index-BdPEdpqg.js"}, {"/assets/old-BX3kz0aQ.js"}, {"/large.txt", "Accept-Encoding", "gzip"},
		{"/", "method", "HEAD"}, {"/missing", "method", "HEAD"}, {"/", "method", "OPTIONS"}, {"/font.woff2", "method", "OPTIONS", "Origin", "https://other.example"},
		{"/font.woff2", "Origin", "https://other.example"}, {"/", "If-None-Match", tag}, {"/", "If-Match", `"other"`}, {"/large.txt", "Range", "bytes=0-9"},
		{"/_headers"}, {"/404.html"},
	}
}

// TestNothingIsToldWithoutPassword compares the answers of a protected site with
// those of one that has no files: they must be the same to the byte.
func TestNothingIsToldWithoutPassword(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	full, empty := secretSite(b, "full.localhost"), b.provision("empty.localhost")
	for _, p := range []site.Protection{{Passwords: []site.Password{passwordOf(typed)}}, {Networks: networks("203.0.113.0/24")}} {
		full.protect(p)
		empty.protect(p)
		for _, q := range questions() {
			for _, accept := range []string{"text/html,*/*;q=0.8", "*/*"} {
				headers := append(slices.Clone(q[1:]), "Accept", accept)
				got, want := full.fetch(q[0], headers...), empty.fetch(q[0], headers...)
				text := content(t, got)
				if got.StatusCode != want.StatusCode || fmt.Sprint(got.Header) != fmt.Sprint(want.Header) || text != content(t, want) {
					t.Errorf("%q: %d %v, but %d %v for a site without files", q, got.StatusCode, got.Header, want.StatusCode, want.Header)
				}
				if got.StatusCode != 401 && got.StatusCode != 403 || strings.Contains(text, secretText) {
					t.Errorf("%q: %d %.40q", q, got.StatusCode, text)
				}
				wantHeader(t, got, "Cache-Control", "private, no-store")
				wantHeader(t, got, "Vary", "Cookie, Authorization")
				wantHeader(t, got, "X-Robots-Tag", "noindex")
				wantHeader(t, got, deploymentHeader, "")
				wantHeader(t, got, "Etag", "")
			}
		}
	}
}

// TestNothingProtectedIsShared asks with a password.
func TestNothingProtectedIsShared(t *testing.T) {
	t.Parallel()
	h := secretSite(newBox(t), "shared.localhost")
	h.protect(site.Protection{Passwords: []site.Password{passwordOf(typed)}})
	cookie := h.cookie(typed)
	public := secretSite(h.box, "public.localhost")
	for _, q := range questions() {
		for _, how := range [][]string{{"Cookie", cookie}, {"Authorization", basic("", typed)}} {
			got, want := h.fetch(q[0], append(slices.Clone(q[1:]), how...)...), public.fetch(q[0], q[1:]...)
			if got.StatusCode != want.StatusCode || content(t, got) != content(t, want) {
				t.Errorf("%q: %d, but %d without a protection", q, got.StatusCode, want.StatusCode)
			}
			control := got.Header.Get("Cache-Control")
			if control != "private, no-cache" && control != "private, no-store" {
				t.Errorf("%q: Cache-Control is %q", q, control)
			}
			if all := got.Header.Values("Vary"); !slices.Contains(all, "Cookie, Authorization") {
				t.Errorf("%q: Vary is %q", q, all)
			}
			wantHeader(t, got, "X-Robots-Tag", "noindex")
			for name := range got.Header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%q: another origin may read it: %s", q, name)
				}
			}
		}
	}
}

// TestHide covers headers that a site's own rules may set.
func TestHide(t *testing.T) {
	t.Parallel()
	h := http.Header{
		"Cache-Control": {"public, max-age=60"}, "Cdn-Cache-Control": {"max-age=60"}, "Netlify-Cdn-Cache-Control": {"max-age=60"}, "Surrogate-Control": {"max-age=60"},
		"Expires": {"Thu, 01 Dec 2033 16:00:00 GMT"}, "Vary": {"Accept-Encoding"}, "Access-Control-Allow-Origin": {"*"}, "X-Robots-Tag": {"all"}, "X-Own": {"kept"},
	}
	hide(h, false)
	want := http.Header{"Cache-Control": {"private, no-cache"}, "Vary": {"Accept-Encoding", "Cookie, Authorization"}, "X-Robots-Tag": {"noindex"}, "X-Own": {"kept"}, "Cross-Origin-Resource-Policy": {"same-origin"}}
	if fmt.Sprint(h) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", h, want)
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	h := secretSite(newBox(t), "form.localhost")
	one, two := passwordOf(typed), passwordOf("battery staple")
	h.protect(site.Protection{Passwords: []site.Password{one, two}})

	res := h.fetch("/about?a=1", "Accept", "text/html")
	wantStatus(t, res, 401)
	wantHeader(t, res, "WWW-Authenticate", "Form")
	wantHeader(t, res, "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	if page := content(t, res); !strings.Contains(page, `<form method="post">`) || !strings.Contains(page, `name="robots" content="noindex"`) || strings.Contains(page, "role=\"alert\"") {
		t.Errorf("the page is %s", page)
	}
	res = h.submit("/about?a=1", "wrong password", "Accept", "text/html")
	wantStatus(t, res, 401)
	if page := content(t, res); !strings.Contains(page, "This password is wrong") || strings.Contains(page, "wrong password") || len(res.Cookies()) > 0 {
		t.Errorf("the answer to a wrong password is %v %s", res.Header, page)
	}
	for _, text := range []string{typed, "battery staple"} {
		res = h.submit("/about?a=1", text)
		wantStatus(t, res, 303)
		wantHeader(t, res, "Location", "/about?a=1")
		wantHeader(t, res, "Cache-Control", "private, no-store")
		c := res.Cookies()[0]
		if c.Name != "troy_access" || c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 7*24*3600 {
			t.Errorf("over plain HTTP the cookie is %+v", c)
		}
		if strings.Contains(fmt.Sprint(res.Header), "horse") || strings.Contains(fmt.Sprint(res.Header), "staple") {
			t.Errorf("the answer contains the password: %v", res.Header)
		}
		res = h.fetch("/about", "Cookie", "theme=dark; "+c.Name+"="+c.Value)
		wantStatus(t, res, 200)
		// A second form of the same browser.
		wantStatus(t, h.submit("/", text, "Cookie", c.Name+"="+c.Value), 303)
		// No other method than before.
		wantStatus(t, h.post("/", "{}", "Content-Type", "application/json", "Cookie", c.Name+"="+c.Value), 405)
		wantStatus(t, h.fetch("/", "method", "DELETE", "Cookie", c.Name+"="+c.Value), 405)
	}
	if strings.Contains(h.log.String(), "horse") || strings.Contains(h.log.String(), "staple") {
		t.Errorf("the log contains a password: %s", h.log)
	}
}

func TestSignInOverHTTPS(t *testing.T) {
	t.Parallel()
	h := secretSite(newBox(t, func(c *Config) { c.HTTPS = true }), "https.localhost")
	h.protect(site.Protection{Passwords: []site.Password{passwordOf(typed)}})
	c := h.submit("/", typed).Cookies()[0]
	if c.Name != "__Host-troy_access" || !c.Secure || c.Path != "/" || c.Domain != "" {
		t.Errorf("the cookie is %+v", c)
	}
	wantStatus(t, h.fetch("/", "Cookie", "__Host-troy_access="+c.Value), 200)
	// Another host of the domain could have set this one.
	wantStatus(t, h.fetch("/", "Cookie", "troy_access="+c.Value), 401)
}

// TestWhereSignInLeads checks that the form never leads to another host.
func TestWhereSignInLeads(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"/": "/", "/a%20b?q=1&r=%2F": "/a%20b?q=1&r=%2F", "//evil.example/x": "/evil.example/x", "///evil.example": "/evil.example", `/\evil.example`: "/%5Cevil.example",
		"/%2Fevil.example": "/%2Fevil.example", "/?to=//evil.example": "/?to=//evil.example", "/?a b": "/?a%20b", "http://evil.example/x": "/x",
		"/a\r\nSet-Cookie: x": "", "/?x=\r\n": "",
	} {
		u, err := url.ParseRequestURI(target) // as net/http does
		if err != nil {
			if want != "" {
				t.Errorf("%q: %v", target, err)
			}
			continue // net/http refuses it too
		}
		if got := back(u); got != want {
			t.Errorf("back(%q) = %q, want %q", target, got, want)
		}
	}
}

func TestHostileForms(t *testing.T) {
	t.Parallel()
	h := secretSite(newBox(t), "hostile.localhost")
	h.protect(site.Protection{Passwords: []site.Password{passwordOf(typed)}})
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	for name, c := range map[string]struct {
		body    string
		headers []string
		status  int
	}{
		"a large one":        {"password=" + strings.Repeat("x", 10<<20), form, 400},
		"no password":        {"user=x", form, 400},
		"an empty one":       {"", form, 400},
		"a malformed one":    {"password=%zz", form, 400},
		"a semicolon":        {"a;password=x", form, 400},
		"of another site":    {"password=" + url.QueryEscape(typed), append(form, "Sec-Fetch-Site", "cross-site"), 403},
		"of another origin":  {"password=" + url.QueryEscape(typed), append(form, "Origin", "https://evil.example"), 403},
		"another form":       {"password=" + url.QueryEscape(typed), []string{"Content-Type", "multipart/form-data; boundary=x"}, 401},
		"no type":            {"password=" + url.QueryEscape(typed), nil, 401},
		"with a NUL":         {"password=%00", form, 401},
		"not UTF-8":          {"password=%ff%fe", form, 401},
		"longer than any":    {"password=" + strings.Repeat("x", password.MaxBytes+1), form, 401},
		"of the same origin": {"password=" + url.QueryEscape(typed), append(form, "Sec-Fetch-Site", "same-origin", "Origin", "http://hostile.localhost"), 303},
	} {
		if res := h.post("/", c.body, c.headers...); res.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d", name, res.StatusCode, c.status)
		}
	}
	// A password in the address is not one.
	wantStatus(t, h.fetch("/?password="+url.QueryEscape(typed)), 401)
	wantStatus(t, h.post("/?password="+url.QueryEscape(typed), "", form...), 400)
}

func TestCookies(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	now := time.Now().Truncate(time.Second) // as in a cookie
	b.handlerOnly = true                    // the test moves the clock
	b.edge.now = func() time.Time { return now }
	h, other := secretSite(b, "cookies.localhost"), secretSite(b, "other.localhost")
	one, two := passwordOf(typed), passwordOf("battery staple")
	p := site.Protection{Passwords: []site.Password{one, two}}
	h.protect(p)
	other.protect(p) // with the same keys, so that only the host differs
	cookie, second := h.cookie(typed), h.cookie("battery staple")
	name, value, _ := strings.Cut(cookie, "=")
	parts := strings.Split(value, ".")

	wantStatus(t, other.fetch("/", "Cookie", cookie), 401)
	for what, bad := range map[string]string{
		"empty": "", "dots": "..", "cut off": value[:len(value)-1], "another password": two.ID + "." + parts[1] + "." + parts[2],
		"a later end": parts[0] + ".9" + parts[1] + "." + parts[2], "no signature": parts[0] + "." + parts[1] + ".", "the signature of another": parts[0] + "." + parts[1] + "." + strings.Split(second, ".")[2],
		"long": strings.Repeat("x", 4000), "an unknown id": uuid.NewString() + "." + parts[1] + "." + parts[2], "an end far away": forged(h.host, one, now.Add(100*24*time.Hour)),
		"an end that is not a number": one.ID + ".x." + parts[2],
	} {
		if res := h.fetch("/", "Cookie", name+"="+bad); res.StatusCode != 401 {
			t.Errorf("%s: status %d", what, res.StatusCode)
		}
	}
	// Cookies that another host of the domain set do not get in the way.
	wantStatus(t, h.fetch("/", "Cookie", strings.Repeat(name+"=x; ", maxCookies-1)+cookie), 200)
	wantStatus(t, h.fetch("/", "Cookie", strings.Repeat(name+"=x; ", maxCookies)+cookie), 401)

	// The clock.
	start := now
	now = start.Add(SessionLifetime - time.Second)
	wantStatus(t, h.fetch("/", "Cookie", cookie), 200)
	now = start.Add(SessionLifetime)
	wantStatus(t, h.fetch("/", "Cookie", cookie), 401)
	now = start.Add(-clockSkew + time.Second)
	wantStatus(t, h.fetch("/", "Cookie", cookie), 200)
	now = start.Add(-clockSkew)
	wantStatus(t, h.fetch("/", "Cookie", cookie), 401)
	now = start

	// A changed or removed password ends its sessions, and no others.
	h.protect(site.Protection{Passwords: []site.Password{passwordOf(typed), two}})
	wantStatus(t, h.fetch("/", "Cookie", cookie), 401)
	wantStatus(t, h.fetch("/", "Cookie", second), 200)
	h.protect(site.Protection{Passwords: []site.Password{two}})
	wantStatus(t, h.submit("/", typed), 401)
	wantStatus(t, h.fetch("/", "Cookie", second), 200)
	h.protect(site.Protection{Passwords: []site.Password{one}})
	wantStatus(t, h.fetch("/", "Cookie", second), 401)
}

func forged(host string, w site.Password, until time.Time) string {
	s := &Server{now: func() time.Time { return until.Add(-SessionLifetime) }}
	return s.session(httptest.NewRequest("GET", "/", nil), &access{host: host}, w).Value
}

func TestBasic(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.handlerOnly = true // the test moves the clock and counts
	now := time.Now()
	b.edge.now = func() time.Time { return now }
	h := secretSite(b, "basic.localhost")
	one := passwordOf(typed)
	h.protect(site.Protection{Passwords: []site.Password{one, passwordOf("with: a colon")}})

	res := h.fetch("/", "Accept", "*/*")
	wantStatus(t, res, 401)
	wantHeader(t, res, "WWW-Authenticate", `Basic realm="protected site", charset="UTF-8"`)
	// A browser would open a window for a page's image.
	wantHeader(t, h.fetch("/x.png", "Accept", "image/*", "Sec-Fetch-Mode", "no-cors"), "WWW-Authenticate", "Form")
	for auth, want := range map[string]int{
		basic("", typed): 200, basic("anyone", typed): 200, basic("x", "with: a colon"): 200, basic(typed, ""): 401, basic("", "wrong password"): 401,
		"Basic !!!": 401, "Basic": 401, "Bearer " + typed: 401, "Digest x": 401,
	} {
		wantStatus(t, h.fetch("/", "Authorization", auth), want)
	}
	wantStatus(t, h.fetch("/", "Authorization", basic("", typed), "method", "POST"), 405)

	// A correct password is hashed once for a client and some minutes.
	hashes := b.edge.keeper.Hashes
	before := hashes()
	for range 50 {
		wantStatus(t, h.fetch("/", "Authorization", basic("", typed)), 200)
	}
	if n := hashes() - before; n != 0 {
		t.Errorf("%d hashes for known credentials", n)
	}
	now = now.Add(password.VerifiedFor)
	wantStatus(t, h.fetch("/", "Authorization", basic("", typed)), 200)
	if n := hashes() - before; n != 1 {
		t.Errorf("%d hashes after the end of the memory, want 1", n)
	}
	// A removed password is refused at once.
	h.protect(site.Protection{Passwords: []site.Password{passwordOf("another one")}})
	wantStatus(t, h.fetch("/", "Authorization", basic("", typed)), 401)
}

// TestParallelBasic sends a program's requests, which come at once.
func TestParallelBasic(t *testing.T) {
	t.Parallel()
	h := secretSite(newBox(t), "parallel.localhost")
	h.handlerOnly = true // the test counts
	h.protect(site.Protection{Passwords: []site.Password{passwordOf(typed)}})
	var group sync.WaitGroup
	for range 5 * password.AttemptsBurst {
		group.Go(func() { wantStatus(t, h.fetch("/", "Authorization", basic("", typed)), 200) })
	}
	group.Wait()
	if n := h.edge.keeper.Hashes(); n > password.AttemptsBurst {
		t.Errorf("%d hashes", n)
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.handlerOnly = true // the test moves the clock and counts
	now := time.Now()
	b.edge.now = func() time.Time { return now }
	h, other := secretSite(b, "bounded.localhost"), secretSite(b, "another.localhost")
	h.protect(site.Protection{Passwords: []site.Password{passwordOf(typed)}})
	other.protect(site.Protection{Passwords: []site.Password{passwordOf(typed)}})
	const attacker, neighbour, visitor = "[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff::9]:2", "[2001:db8:1:3::1]:3"
	cookie := h.cookie(typed)
	// The password is remembered for the attacker's network.
	wantStatus(t, h.submit("/", typed, "from", neighbour), 303)
	for range password.AttemptsBurst {
		wantStatus(t, h.submit("/", "wrong password", "from", attacker), 401)
	}
	before := b.edge.keeper.Hashes()
	res := h.submit("/", "wrong password", "from", attacker, "Accept", "text/html")
	wantStatus(t, res, 429)
	wantHeader(t, res, "Retry-After", "10")
	if page := content(t, res); !strings.Contains(page, "too many wrong passwords") {
		t.Errorf("the page is %s", page)
	}
	// Whether a password is correct is not told any more, by no way.
	wantStatus(t, h.submit("/", typed, "from", attacker), 429)
	wantStatus(t, h.submit("/", typed, "from", neighbour), 429)
	if n := b.edge.keeper.Hashes() - before; n != 0 {
		t.Errorf("%d hashes for refused attempts", n)
	}
	// Others are not locked out, nor is the client of another site.
	wantStatus(t, h.submit("/", typed, "from", visitor), 303)
	wantStatus(t, other.submit("/", typed, "from", attacker), 303)
	wantStatus(t, h.post("/", "{}", "Cookie", cookie, "from", attacker), 405) // signed in
	now = now.Add(password.AttemptsEvery)
	wantStatus(t, h.submit("/", typed, "from", attacker), 303)
	// Correct ones don't count.
	for range 2 * password.AttemptsBurst {
		now = now.Add(password.VerifiedFor)
		wantStatus(t, h.submit("/", typed, "from", visitor), 303)
	}
}

// TestBusy answers an attempt for which there is no room.
func TestBusy(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	newBox(t).edge.refuse(w, httptest.NewRequest("GET", "/", nil), password.ErrBusy)
	wantStatus(t, w.Result(), 503)
	wantHeader(t, w.Result(), "Retry-After", "5")
}
