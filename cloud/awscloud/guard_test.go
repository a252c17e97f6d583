package awscloud_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
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

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/cloud/cloudtest"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

const (
	lifetime   = 7 * 24 * time.Hour
	sessionOf  = "__Host-troy_access"
	markOf     = "__Host-troy_ask"
	asBrowser  = "text/html,*/*;q=0.8"
	secretHost = "secret.sites.test"
)

// session signs a session as the function does.
func session(host string, w site.Password, until time.Time) string {
	expiry := fmt.Sprint(until.Unix())
	mac := hmac.New(sha256.New, []byte(w.FunctionKey()))
	_, _ = mac.Write([]byte(strings.Join([]string{"session", host, w.FunctionID(), expiry}, "\n")))
	return w.FunctionID() + "." + expiry + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (h *ruledHost) protect(t *testing.T, p site.Protection) {
	t.Helper()
	if err := h.cloud.CDN.(cloud.Protector).Protect(t.Context(), h.d.ID, p); err != nil {
		t.Fatal(err)
	}
}

// secretSite publishes a site behind passwords.
func secretSite(t *testing.T, cfg awsdouble.Config, in rules.Input, files ...string) (*ruledHost, *cloudtest.Visitors) {
	t.Helper()
	h := newRuledHost(t, newAccount(t, s3test.Start(t), cfg).withPreviews("sites.test"), secretHost)
	v := cloudtest.NewVisitors(session, lifetime)
	h.protect(t, v.Protection(cloudtest.AccessCase{Passwords: true}, 1))
	h.publish(t, in, append(files, "index.html", "about.html")...)
	return h, v
}

// admitted returns the header of a visitor who is signed in.
func admitted(v *cloudtest.Visitors) []string {
	return []string{"Cookie", sessionOf + "=" + session(secretHost, v.First, time.Now().Add(time.Hour))}
}

// TestAccessCases runs the table that the edge runs too, with goja and with
// Node.js.
func TestAccessCases(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var runs []awsdouble.Run
	h, v := secretSite(t, awsdouble.Config{Ran: func(r awsdouble.Run) {
		mu.Lock()
		defer mu.Unlock()
		runs = append(runs, r)
	}}, rules.Input{})
	preview := h.preview(t, "pr-1", 1)
	check := func(c cloudtest.AccessCase, h *ruledHost) {
		w := httptest.NewRecorder()
		h.double.Edge().ServeHTTP(w, v.Request(t, c, h.host, sessionOf))
		got := map[int]string{401: "password", 403: "network"}[w.Code]
		switch {
		case w.Code == http.StatusFound && strings.HasPrefix(w.Header().Get("Location"), troyAddress+"/access/"+h.host+"?ask=") && c.Accept != "":
			got = "password"
		case slices.Contains([]int{200, 204, 404}, w.Code):
			got = "admitted"
		}
		want := c.Want
		if c.Function != "" {
			want = c.Function
		}
		if got != want {
			t.Errorf("%s, %s: %d %v, which means %q, expected %q", h.host, c.Name, w.Code, w.Header(), got, want)
		}
		if got != "admitted" {
			if control := w.Header().Get("Cache-Control"); control != "private, no-store" || strings.Contains(w.Body.String(), ".html") {
				t.Errorf("%s: Cache-Control %q, body %q", c.Name, control, w.Body)
			}
			if (w.Header().Get("WWW-Authenticate") != "") != (w.Code == http.StatusUnauthorized) {
				t.Errorf("%s: %d with the challenge %q", c.Name, w.Code, w.Header().Get("WWW-Authenticate"))
			}
		}
	}
	for i, c := range cloudtest.AccessCases(t) {
		p := v.Protection(c, 2*int64(i)+2)
		h.protect(t, p)
		check(c, h)
		check(c, preview)
		h.protect(t, site.Protection{Sequence: p.Sequence + 1, Passwords: p.Passwords, Networks: p.Networks, PreviewsOnly: true})
		check(c, preview)
		c.Want, c.Function = "admitted", ""
		check(c, h)
	}
	t.Run("Node.js", func(t *testing.T) { repeatInNode(t, runs) })
}

// visit requests an address of the protected site as a browser.
func (h *ruledHost) visit(target string, cookies ...string) *httptest.ResponseRecorder {
	header := []string{"Accept", asBrowser}
	if len(cookies) > 0 {
		header = append(header, "Cookie", strings.Join(cookies, "; "))
	}
	return h.get(target, header...)
}

// asked visits an address without a session, and returns what the redirect to
// Troy says, with the cookie that marks the browser.
func (h *ruledHost) asked(t *testing.T, target string, cookies ...string) (ask, to, mark string) {
	t.Helper()
	w := h.visit(target, cookies...)
	u, err := url.Parse(w.Header().Get("Location"))
	all := w.Result().Cookies()
	if err != nil || w.Code != http.StatusFound || u.Scheme+"://"+u.Host != troyAddress || u.Path != "/access/"+h.host || len(all) != 1 {
		t.Fatalf("%s: %d %v", target, w.Code, w.Header())
	}
	c := all[0]
	if c.Name != markOf || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("the mark is %+v", c)
	}
	return u.Query().Get("ask"), u.Query().Get("to"), c.Name + "=" + c.Value
}

func taken(token, to string) string {
	u, err := url.Parse(site.SignedInAddress("https://"+secretHost, token, to))
	if err != nil {
		panic(err)
	}
	return u.RequestURI()
}

// TestSignIn follows a browser from the site to Troy and back.
func TestSignIn(t *testing.T) {
	t.Parallel()
	h, v := secretSite(t, awsdouble.Config{}, rules.Input{})
	ask, to, mark := h.asked(t, "/about?a=1&b=%2F")
	if !site.ValidAsk(ask) || to != "/about?a=1&b=%2F" {
		t.Fatalf("the browser is sent with %q, to return to %q", ask, to)
	}
	if again, _, same := h.asked(t, "/", mark); again != ask || same != mark {
		t.Errorf("a second tab gets the mark %q", same)
	}
	token := v.First.Token(h.host, ask, time.Now())
	w := h.visit(taken(token, to), mark)
	all := w.Result().Cookies()
	if w.Code != http.StatusFound || w.Header().Get("Location") != to || len(all) != 1 || w.Header().Get("Cache-Control") != "private, no-store" {
		t.Fatalf("the token: %d %v", w.Code, w.Header())
	}
	c := all[0]
	if c.Name != sessionOf || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != int(lifetime/time.Second) {
		t.Errorf("the session is %+v", c)
	}
	signedIn := c.Name + "=" + c.Value
	if w := h.visit("/about", signedIn); w.Code != http.StatusOK || w.Body.String() != "about.html" {
		t.Errorf("with the session: %d %q", w.Code, w.Body)
	}
	// The token again, when signed in already.
	if w := h.visit(taken("x", to), signedIn); w.Code != http.StatusFound || w.Header().Get("Location") != to || len(w.Result().Cookies()) > 0 {
		t.Errorf("a used address: %d %v", w.Code, w.Header())
	}
	_, _, stranger := h.asked(t, "/")
	for what, c := range map[string]struct{ token, mark string }{
		"without the mark":         {token, "x=y"},
		"in another browser":       {token, stranger},
		"of another host":          {v.First.Token("other."+h.host, ask, time.Now()), mark},
		"of another password":      {v.Changed.Token(h.host, ask, time.Now()), mark},
		"of another browser":       {v.First.Token(h.host, strings.Repeat("x", 43), time.Now()), mark},
		"that has ended":           {v.First.Token(h.host, ask, time.Now().Add(-site.TokenLifetime-time.Second)), mark},
		"that ends too late":       {v.First.Token(h.host, ask, time.Now().Add(time.Hour)), mark},
		"that is a session":        {session(h.host, v.First, time.Now().Add(time.Minute)), mark},
		"cut off":                  {token[:len(token)-1], mark},
		"with something after it":  {token + "x", mark},
		"of an id and no password": {"aaaaaaaaaaaa" + token[12:], mark},
	} {
		if w := h.visit(taken(c.token, to), c.mark); !strings.HasPrefix(w.Header().Get("Location"), troyAddress) || strings.Contains(fmt.Sprint(w.Header()), sessionOf) {
			t.Errorf("a token %s: %d %v", what, w.Code, w.Header())
		}
	}
	// A token is not a session.
	if w := h.visit("/", sessionOf+"="+token); w.Code != http.StatusFound {
		t.Errorf("a token in place of a session: %d", w.Code)
	}
	// The clock.
	h.double.Advance(site.TokenLifetime + time.Second)
	if w := h.visit(taken(token, to), mark); !strings.HasPrefix(w.Header().Get("Location"), troyAddress) {
		t.Errorf("the token after its end: %d %v", w.Code, w.Header())
	}
	h.double.Advance(lifetime)
	if w := h.visit("/", signedIn); w.Code != http.StatusFound {
		t.Errorf("the session after its end: %d", w.Code)
	}
}

// TestSessionsEnd changes passwords.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	h, v := secretSite(t, awsdouble.Config{}, rules.Input{})
	until := time.Now().Add(time.Hour)
	first, second := sessionOf+"="+session(h.host, v.First, until), sessionOf+"="+session(h.host, v.Second, until)
	status := func(want1, want2 int) {
		t.Helper()
		if w1, w2 := h.visit("/", first), h.visit("/", second); w1.Code != want1 || w2.Code != want2 {
			t.Errorf("the sessions answer %d and %d, expected %d and %d", w1.Code, w2.Code, want1, want2)
		}
	}
	status(200, 200)
	h.protect(t, site.Protection{Sequence: 2, Passwords: []site.Password{v.Changed, v.Second}})
	status(302, 200)
	// Another network leaves the sessions, but not the visitors from elsewhere.
	h.protect(t, site.Protection{Sequence: 3, Passwords: []site.Password{v.Second}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	status(302, 200)
	h.protect(t, site.Protection{Sequence: 4, Passwords: []site.Password{v.Second}, Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
	status(403, 403)
	h.protect(t, site.Protection{Sequence: 5})
	status(200, 200)
}

// TestSignInStaysOnTheSite sends tokens with addresses of other hosts.
func TestSignInStaysOnTheSite(t *testing.T) {
	t.Parallel()
	h, v := secretSite(t, awsdouble.Config{}, rules.Input{})
	ask, _, mark := h.asked(t, "/")
	for to, want := range map[string]string{
		"/": "/", "/a%20b?q=1&r=%2F#x": "/a%20b?q=1&r=%2F#x", "": "/", "about": "/", "//evil.example": "/", `/\evil.example`: "/", "https://evil.example/": "/",
		"/\r\nSet-Cookie: x=y": "/", "/a b": "/", "/\tx": "/", "javascript:alert(1)": "/", "/é": "/", "/" + strings.Repeat("x", 2000): "/", "/%2Fevil.example": "/%2Fevil.example",
	} {
		target := site.FunctionSignIn + "?token=" + v.First.Token(h.host, ask, time.Now()) + "&to=" + url.QueryEscape(to)
		if got := h.visit(strings.ReplaceAll(target, "+", "%20"), mark).Header().Get("Location"); got != want {
			t.Errorf("the function leads from %q to %q, expected %q", to, got, want)
		}
		if got := site.LocalAddress(to); got != want {
			t.Errorf("LocalAddress(%q) = %q, expected %q", to, got, want)
		}
	}
	// Where browsers are asked to return to.
	for _, target := range []string{"//evil.example/x", `/%5Cevil.example`, "/?to=//evil.example", "/" + strings.Repeat("x", 3000)} {
		if _, to, _ := h.asked(t, target); to != site.LocalAddress(to) || strings.HasPrefix(to, "//") {
			t.Errorf("%s is to return to %q", target, to)
		}
	}
	if w := h.visit(site.FunctionSignIn+"?token=x&to=%zz", mark); !strings.HasPrefix(w.Header().Get("Location"), troyAddress) {
		t.Errorf("a malformed address: %d %v", w.Code, w.Header())
	}
}

// TestProtectionFailsClosed breaks what the function reads.
func TestProtectionFailsClosed(t *testing.T) {
	t.Parallel()
	h, v := secretSite(t, awsdouble.Config{}, rules.Input{})
	p := site.Protection{Sequence: 2, Passwords: []site.Password{v.First}}
	for i := range site.MaxNetworks {
		p.Networks = append(p.Networks, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32))
	}
	h.protect(t, p)
	arn := h.cfg.KeyValueStoreARN
	want := func(what string, status int) {
		t.Helper()
		if w := h.visit("/", admitted(v)[1]); w.Code != status {
			t.Errorf("%s: %d, expected %d", what, w.Code, status)
		}
		if w := h.visit("/"); w.Code == http.StatusOK {
			t.Errorf("%s: the site is public", what)
		}
	}
	want("all is well", 200)
	h.double.BreakStores(true)
	want("a store that can't be read", 503)
	h.double.BreakStores(false)
	for what, c := range map[string]struct {
		key   string
		value func(stored string) string
	}{
		"a protection that is lost":        {"/a", nil},
		"one that is cut off":              {"/a", func(stored string) string { return stored[:100] }},
		"one that is empty":                {"/a", func(string) string { return "2 1 {}" }},
		"one of an unknown form":           {"/a", func(string) string { return `2 1 {"v":2}` }},
		"one without a head":               {"/a", func(string) string { return `{"v":1}` }},
		"one that is not an object":        {"/a", func(string) string { return "2 1 null" }},
		"a part that is lost":              {"/a1", nil},
		"a part of another protection":     {"/a1", func(stored string) string { return "0" + stored }},
		"passwords that are not a list":    {"/a", func(string) string { return `2 1 {"v":1,"w":{"x":1}}` }},
		"networks that are not a list":     {"/a", func(string) string { return `2 1 {"v":1,"n":7}` }},
		"a network that can't be compared": {"/a", func(string) string { return `2 1 {"v":1,"n":[7]}` }},
	} {
		key := h.d.ID + c.key
		stored := h.double.Pointers()[key]
		if c.value == nil {
			h.double.RemoveValue(arn, key)
		} else {
			h.double.SetValue(arn, key, c.value(stored))
		}
		want(what, 503)
		if c.value == nil {
			h.protect(t, p) // the same again
			if got := h.double.Pointers()[key]; got != stored {
				t.Errorf("after %s and Protect, %s is %q", what, key, got)
			}
		}
		p.Sequence++
		h.protect(t, p)
		want("repaired after "+what, 200)
	}
	// A version of Troy without protections writes pointers without the mark.
	pointer := h.double.Pointers()[h.d.ID]
	unmarked := strings.Replace(pointer, fmt.Sprintf(`,"a":%d`, len(h.guards())), "", 1)
	if unmarked == pointer {
		t.Fatalf("the pointer %s has no mark for %q", pointer, h.guards())
	}
	h.double.SetValue(arn, h.d.ID, unmarked)
	want("without the mark", 200)
	h.protect(t, p)
	if got := h.double.Pointers()[h.d.ID]; got != pointer {
		t.Errorf("after Protect the pointer is %s", got)
	}
	// A flip keeps it.
	h.publish(t, rules.Input{Redirects: "/a/* /b/:splat\n"}, "index.html")
	want("after a flip", 200)
	h.double.RemoveValue(arn, h.d.ID+"/a")
	want("a protection that is lost after a flip", 503)
}

// guards returns the host's keys of its protection.
func (h *ruledHost) guards() []string {
	return slices.DeleteFunc(h.keys(), func(key string) bool { return !strings.HasPrefix(key, "/a") })
}

// TestLargestProtection has as many passwords and networks as a site may have.
func TestLargestProtection(t *testing.T) {
	t.Parallel()
	h, v := secretSite(t, awsdouble.Config{}, rules.Input{})
	p := site.Protection{Sequence: 2}
	for range site.MaxPasswords {
		w := v.First
		w.ID = uuid.NewString()
		p.Passwords = append(p.Passwords, w)
	}
	for i := range site.MaxNetworks {
		p.Networks = append(p.Networks, netip.MustParsePrefix(fmt.Sprintf("2001:db8:ffff:ffff:ffff:ffff:ffff:%x/128", 0xff00+i)))
	}
	p.Networks[site.MaxNetworks-1] = netip.MustParsePrefix("192.0.2.1/32")
	h.protect(t, p)
	values, err := awscloud.GuardValues(p, h.host)
	if got := h.guards(); err != nil || len(got) != len(values) || len(values) < 3 {
		t.Errorf("the store has %q for %d values, %v", got, len(values), err)
	}
	t.Logf("the largest protection has %d values", len(values))
	for _, w := range []site.Password{p.Passwords[0], p.Passwords[site.MaxPasswords-1]} {
		if a := h.visit("/", sessionOf+"="+session(h.host, w, time.Now().Add(time.Hour))); a.Code != http.StatusOK {
			t.Errorf("a session answers %d", a.Code)
		}
	}
	h.protect(t, site.Protection{Sequence: 3})
	if got := h.guards(); !slices.Equal(got, []string{"/a"}) {
		t.Errorf("without a protection the store has %q", got)
	}
	h.protect(t, site.Protection{Sequence: 4, Passwords: p.Passwords[:1]})
	// Deletion removes it.
	h.remove(t, h.host)
	if got := h.keys(); len(got) > 0 {
		t.Errorf("after the deletion the store has %q", got)
	}
}

// TestProtectedBeforeTheFirstFlip protects a site that has no pointer.
func TestProtectedBeforeTheFirstFlip(t *testing.T) {
	t.Parallel()
	h := newRuledHost(t, newAccount(t, s3test.Start(t), awsdouble.Config{}), secretHost)
	v := cloudtest.NewVisitors(session, lifetime)
	if w := h.visit("/"); w.Code != http.StatusNotFound {
		t.Errorf("before: %d", w.Code)
	}
	p := v.Protection(cloudtest.AccessCase{Passwords: true}, 1)
	h.protect(t, p)
	if w := h.visit("/"); w.Code != http.StatusFound {
		t.Errorf("a stranger gets %d", w.Code)
	}
	if w := h.get("/", admitted(v)...); w.Code != http.StatusNotFound {
		t.Errorf("a visitor gets %d", w.Code)
	}
	h.publish(t, rules.Input{}, "index.html")
	if w := h.get("/", admitted(v)...); w.Code != http.StatusOK {
		t.Errorf("after the flip a visitor gets %d", w.Code)
	}
	h.double.RemoveValue(h.cfg.KeyValueStoreARN, h.d.ID+"/a")
	if w := h.visit("/"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("without the protection: %d", w.Code)
	}
	h.protect(t, p)
	h.remove(t, h.host)
	if got := h.keys(); len(got) > 0 {
		t.Errorf("after the deletion the store has %q", got)
	}
}

// TestProtectedAnswersArePrivate asks for each kind of answer.
func TestProtectedAnswersArePrivate(t *testing.T) {
	t.Parallel()
	in := rules.Input{
		Config:    troyToml("[site]\nspa = true\nimmutable = [\"fixed/**\"]\n[site.cors]\n\"open/**\" = \"*\"\n"),
		Redirects: "/old /about\n/old/* /new/:splat 308\n/hidden /about 200!\n/removed /gone.html 410\n",
		Headers:   "/*\n  Cache-Control: public, max-age=60\n  CDN-Cache-Control: max-age=60\n  Expires: Thu, 01 Dec 2033 16:00:00 GMT\n  Vary: X-One\n  X-Robots-Tag: all\n",
	}
	files := []string{"gone.html", "docs/index.html", "open/a.json", "fixed/a.txt", "a.woff2", "404.html"}
	h, v := secretSite(t, awsdouble.Config{}, in, files...)
	plain, plainVisitors := secretSite(t, awsdouble.Config{}, rules.Input{}, files...)
	for _, c := range []struct {
		target, want string
		header       []string
	}{
		{"/", "200 index.html", nil}, {"/about", "200 about.html", nil}, {"/hidden", "200 about.html", nil}, {"/old", "301 /about", nil}, {"/old/x", "308 /new/x", nil},
		{"/docs", "301 /docs/", nil}, {"/removed", "410 gone.html", nil}, {"/fixed/a.txt", "200 fixed/a.txt", nil}, {"/deep/link", "200 index.html", []string{"Accept", "text/html"}},
		{"/open/a.json", "200 open/a.json", []string{"Origin", "https://a.example"}}, {"/a.woff2", "200 a.woff2", []string{"Origin", "https://a.example"}}, {"/missing.js", "404 404.html", nil},
		{"/a.woff2", "204 ", []string{"method", "OPTIONS", "Origin", "https://a.example"}},
	} {
		if w := h.ask(c.target, c.header...); w.Code == 200 || strings.Contains(w.Body.String(), ".html") {
			t.Errorf("%s %q is open: %d", c.target, c.header, w.Code)
		}
		for _, at := range []struct {
			h *ruledHost
			v *cloudtest.Visitors
		}{{h, v}, {plain, plainVisitors}} {
			w := at.h.ask(c.target, append(slices.Clone(c.header), admitted(at.v)...)...)
			if got := outcome(w); at.h == h && got != c.want {
				t.Errorf("%s %q answers %q, expected %q", c.target, c.header, got, c.want)
			}
			if w.Code == http.StatusNotFound && at.h == plain {
				continue // CloudFront's own answer
			}
			control := w.Header().Get("Cache-Control")
			if control != "private, no-cache" && control != "private, no-store" || w.Header().Get("X-Robots-Tag") != "noindex" || !strings.HasSuffix(w.Header().Get("Vary"), "Cookie, Authorization") {
				t.Errorf("%s %q: %v", c.target, c.header, w.Header())
			}
			for name := range w.Header() {
				if strings.HasPrefix(name, "Access-Control-") || name == "Expires" || strings.HasSuffix(name, "-Cache-Control") {
					t.Errorf("%s %q has %s", c.target, c.header, name)
				}
			}
		}
	}
}
