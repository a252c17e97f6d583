package edge

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/site"
)

const troyAddress = "https://troy.test"

// signedInBox has two pipelines, whose previews need a session of the
// dashboard. Its clock stands still.
func signedInBox(t *testing.T, change ...func(*Config)) (b *box, blog, shop *hosted, now *time.Time) {
	t.Helper()
	b = newBox(t, append([]func(*Config){func(c *Config) {
		c.Previews, c.TroyURL = site.PreviewHosts{Suffix: "previews.test", Sites: "sites.test"}, troyAddress
	}}, change...)...)
	b.handlerOnly = true // marks are random, and the test moves the clock
	at := time.Now().Truncate(time.Second)
	b.edge.now = func() time.Time { return at }
	files := map[string]string{"index.html": secretText, "docs/index.html": secretText + " docs"}
	for _, host := range []string{"blog.sites.test", "shop.sites.test"} {
		h := b.provision(host)
		d := h.publish(files)
		for _, label := range []string{"pr-7", "d-1", "feature-x"} {
			h.point(label, d)
		}
		h.protect(site.Protection{PreviewKey: secretKey(), PreviewsOnly: true})
		if blog == nil {
			blog = h
		} else {
			shop = h
		}
	}
	return b, blog, shop, &at
}

// previewKey is the key in a distribution's file.
func (h *hosted) previewKey() []byte {
	h.t.Helper()
	host := "pr-7--" + h.host[:4] + ".previews.test"
	l, err := h.edge.catalog.find(host)
	if err != nil || l.access == nil {
		h.t.Fatalf("find %s: %v", host, err)
	}
	return l.access.previewKey
}

func (h *hosted) visitOf(host string) site.PreviewVisit {
	return site.PreviewVisit{Host: host, Distribution: h.distribution}
}

var navigation = []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}

// goTo follows no redirects.
func (b *box) goTo(host, target string, headers ...string) *http.Response {
	b.t.Helper()
	return b.get(host, target, append(headers, navigation...)...)
}

// marked goes to a preview without a session, and returns its cookie and what
// the edge asks of Troy.
func (b *box) marked(host, target string) (cookie, ask, to string) {
	b.t.Helper()
	res := b.goTo(host, target)
	wantStatus(b.t, res, 303)
	u, err := url.Parse(res.Header.Get("Location"))
	all := res.Cookies()
	if err != nil || u.Scheme+"://"+u.Host != troyAddress || u.Path != site.PreviewAsk || u.Query().Get("host") != host || len(all) != 1 {
		b.t.Fatalf("%s%s leads to %s with %v", host, target, res.Header.Get("Location"), all)
	}
	return all[0].Name + "=" + all[0].Value, u.Query().Get("ask"), u.Query().Get("to")
}

func TestPreviewSignIn(t *testing.T) {
	t.Parallel()
	b, blog, _, now := signedInBox(t)
	const host = "pr-7--blog.previews.test"
	// The site itself is public, and has no path of its own for codes.
	wantStatus(t, b.goTo("blog.sites.test", "/"), 200)
	wantStatus(t, b.goTo("blog.sites.test", site.PreviewSignIn), 404)
	for _, host := range []string{"d-1--blog.previews.test", "feature-x--blog.previews.test", "PR-7--Blog.previews.test:8081"} {
		wantStatus(t, b.goTo(host, "/"), 303)
	}
	wantStatus(t, b.goTo("pr-8--blog.previews.test", "/"), 404)

	cookie, ask, to := b.marked(host, "/docs/?a=1&b=%2F")
	if to != "/docs/?a=1&b=%2F" || !site.ValidAsk(ask) || strings.Contains(cookie, ask) {
		t.Errorf("the edge asks %q for %q", ask, to)
	}
	res := b.goTo(host, "/x", "Cookie", cookie)
	wantHeader(t, res, "Clear-Site-Data", `"storage"`)
	if got := res.Cookies()[0]; got.Name+"="+got.Value != cookie || got.MaxAge != 3600 || !got.HttpOnly || got.SameSite != http.SameSiteLaxMode || got.Path != "/" || got.Domain != "" {
		t.Errorf("another tab has the mark %+v", got)
	}
	wantHeader(t, res, "Cache-Control", "private, no-store")

	code := blog.visitOf(host).Code(blog.previewKey(), ask, *now)
	res = b.goTo(host, site.CodeAddress(code, to), "Cookie", cookie)
	wantStatus(t, res, 303)
	wantHeader(t, res, "Location", "/docs/?a=1&b=%2F")
	wantHeader(t, res, "Cache-Control", "private, no-store")
	wantHeader(t, res, "Referrer-Policy", "no-referrer")
	wantHeader(t, res, "Clear-Site-Data", `"storage"`)
	all := res.Cookies()
	if len(all) != 2 || all[0].MaxAge >= 0 || all[1].Name != "troy_preview" || all[1].MaxAge != 12*3600 || !all[1].HttpOnly || all[1].Secure || all[1].SameSite != http.SameSiteLaxMode || all[1].Path != "/" || all[1].Domain != "" {
		t.Fatalf("the cookies are %v", all)
	}
	session := all[1].Name + "=" + all[1].Value
	res = b.goTo(host, "/docs/", "Cookie", session)
	wantStatus(t, res, 200)
	wantHeader(t, res, "Cache-Control", "private, no-cache")
	wantHeader(t, res, "X-Robots-Tag", "noindex")
	wantStatus(t, b.get(host, "/", "Cookie", session), 200) // a script of the page
	wantStatus(t, b.get(host, "/", "method", "HEAD", "Cookie", session), 200)
	wantStatus(t, b.get(host, "/", "method", "POST", "Cookie", session), 405)
	// The button Back, and a second tab.
	res = b.goTo(host, site.CodeAddress(code, to), "Cookie", session)
	wantStatus(t, res, 303)
	wantHeader(t, res, "Location", "/docs/?a=1&b=%2F")
	wantHeader(t, b.goTo(host, site.PreviewSignIn, "Cookie", session), "Location", "/")

	// The session ends.
	*now = now.Add(site.PreviewSession - time.Second)
	wantStatus(t, b.goTo(host, "/", "Cookie", session), 200)
	*now = now.Add(time.Second)
	wantStatus(t, b.goTo(host, "/", "Cookie", session), 303)
	*now = now.Add(-site.PreviewSession)
	wantStatus(t, b.goTo(host, "/", "Cookie", session), 200)
	blog.protect(site.Protection{PreviewKey: secretKey(), PreviewsOnly: true})
	wantStatus(t, b.goTo(host, "/", "Cookie", session), 303)
	// An open preview that is removed.
	blog.point("pr-7", uuid.Nil)
	wantStatus(t, b.goTo(host, "/", "Cookie", session), 404)
	wantStatus(t, b.goTo(host, site.CodeAddress(code, "/")), 404)
}

// TestWhoIsSentToTroy tells people who open a page from everything else.
func TestWhoIsSentToTroy(t *testing.T) {
	t.Parallel()
	b, blog, _, _ := signedInBox(t)
	const host = "pr-7--blog.previews.test"
	for _, c := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"a browser", navigation, 303},
		{"an old browser", []string{"Accept", "text/html,*/*"}, 303},
		{"a look at the header", append([]string{"method", "HEAD"}, navigation...), 303},
		{"curl", []string{"Accept", "*/*"}, 401},
		{"nothing", nil, 401},
		{"a script of a page", []string{"Accept", "text/html", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, 401},
		{"an image", []string{"Accept", "image/*", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, 401},
		{"a frame", []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 401},
		{"a form", append([]string{"method", "POST"}, navigation...), 401},
		{"OPTIONS", append([]string{"method", "OPTIONS"}, navigation...), 401},
		{"a token of Troy", []string{"Accept", "*/*", "Authorization", "Bearer troy_x"}, 401},
		{"another method", []string{"method", "DELETE"}, 405},
	} {
		res := b.get(host, "/docs/", c.headers...)
		text := content(t, res)
		if res.StatusCode != c.status || strings.Contains(text, secretText) {
			t.Errorf("%s: %d %s", c.name, res.StatusCode, text)
		}
		if c.status != 401 {
			continue
		}
		wantHeader(t, res, "Cache-Control", "private, no-store")
		wantHeader(t, res, "WWW-Authenticate", "Form")
		if len(res.Cookies()) != 0 || res.Header.Get("Location") != "" || !strings.Contains(text, "signed in to Troy") {
			t.Errorf("%s: %v %s", c.name, res.Header, text)
		}
	}
	// Networks hold, and programs may send a password.
	blog.protect(site.Protection{PreviewKey: secretKey(), PreviewsOnly: true, Passwords: []site.Password{passwordOf(typed)}})
	wantStatus(t, b.goTo(host, "/"), 303)
	wantHeader(t, b.get(host, "/"), "WWW-Authenticate", basicChallenge)
	wantStatus(t, b.get(host, "/", "Authorization", basic("", typed)), 200)
	wantStatus(t, b.get(host, "/", "Authorization", basic("", "wrong password")), 401)
	form := func(host string) int {
		r := httptest.NewRequest("POST", "/", strings.NewReader("password="+url.QueryEscape(typed)))
		r.Host = host
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		b.edge.ServeHTTP(w, r)
		return w.Code
	}
	if got := form(host); got != 401 {
		t.Errorf("a password typed in a form of a preview: %d", got)
	}
	key := secretKey()
	blog.protect(site.Protection{PreviewKey: key, Passwords: []site.Password{passwordOf(typed)}, Networks: networks("203.0.113.0/24")})
	session := "troy_preview=" + blog.visitOf(host).Session(key, b.edge.now())
	wantStatus(t, b.goTo(host, "/", "Cookie", session), 403)
	wantStatus(t, b.goTo(host, site.PreviewSignIn+"?code=x"), 403)
	blog.protect(site.Protection{PreviewKey: key, Passwords: []site.Password{passwordOf(typed)}, Networks: networks("192.0.2.0/24")}) // httptest's
	wantStatus(t, b.goTo(host, "/", "Cookie", session), 200)
	// A session of previews is not one of the site, and the reverse.
	wantStatus(t, b.goTo("blog.sites.test", "/", "Cookie", session), 401)
	wantStatus(t, b.goTo("blog.sites.test", "/", "Cookie", strings.Replace(session, "preview", "access", 1)), 401)
	if got := form("blog.sites.test"); got != 303 {
		t.Errorf("the password of the site: %d", got)
	}

	// An edge that does not know Troy shows it to no one, nor one that can't
	// read the key.
	b.edge.troyURL = ""
	wantStatus(t, b.goTo(host, "/"), 503)
	wantStatus(t, b.get(host, "/"), 503)
	raw, err := site.EncodeProtection(site.Protection{Sequence: 99, PreviewKey: key})
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{`"version":2`, `"version":3`}, {`"version":2`, `"version":1`}, {`"preview_key"`, `"key"`}, {`"preview_key":"`, `"preview_key":"","x":"`}} {
		damaged := []byte(strings.Replace(string(*raw), change[0], change[1], 1))
		blog.setProtection((*json.RawMessage)(&damaged))
		wantStatus(t, b.goTo(host, "/", "Cookie", session), 503)
	}
}

// TestNeighboursOfPreviews has requests that pages of other hosts make a browser
// send, with its session.
func TestNeighboursOfPreviews(t *testing.T) {
	t.Parallel()
	b, blog, _, now := signedInBox(t)
	const host = "pr-7--blog.previews.test"
	session := "troy_preview=" + blog.visitOf(host).Session(blog.previewKey(), *now)
	for _, c := range []struct {
		fetch, mode, dest string
		status            int
	}{
		{"same-origin", "no-cors", "script", 200},
		{"same-origin", "cors", "empty", 200},
		{"none", "navigate", "document", 200},
		{"same-site", "navigate", "document", 200},
		{"cross-site", "navigate", "document", 200},
		{"", "", "", 200},
		{"same-site", "no-cors", "script", 401},
		{"same-site", "no-cors", "image", 401},
		{"same-site", "cors", "empty", 401},
		{"same-site", "navigate", "iframe", 401},
		{"cross-site", "navigate", "object", 401},
		{"cross-site", "no-cors", "style", 401},
	} {
		headers := []string{"Cookie", session, "Accept", "text/html,*/*"}
		for _, h := range [][2]string{{"Sec-Fetch-Site", c.fetch}, {"Sec-Fetch-Mode", c.mode}, {"Sec-Fetch-Dest", c.dest}} {
			if h[1] != "" {
				headers = append(headers, h[0], h[1])
			}
		}
		res := b.get(host, "/docs/", headers...)
		if text := content(t, res); res.StatusCode != c.status || (c.status != 200) == strings.Contains(text, secretText) {
			t.Errorf("%+v: %d %s", c, res.StatusCode, text)
		}
		wantHeader(t, res, "Cross-Origin-Resource-Policy", "same-origin")
	}
}

// TestHostilePreviewCodes tries codes and sessions where they don't belong.
func TestHostilePreviewCodes(t *testing.T) {
	t.Parallel()
	b, blog, shop, now := signedInBox(t)
	const host, other, foreign = "pr-7--blog.previews.test", "d-1--blog.previews.test", "pr-7--shop.previews.test"
	key := blog.previewKey()
	cookie, ask, _ := b.marked(host, "/")
	stranger, _, _ := b.marked(host, "/")
	code := func() string { return blog.visitOf(host).Code(key, ask, *now) }
	used := code()
	wantHeader(t, b.goTo(host, site.CodeAddress(used, "/docs/"), "Cookie", cookie), "Location", "/docs/")
	session := blog.visitOf(host).Session(key, *now)
	expired := blog.visitOf(host).Code(key, ask, now.Add(-site.TokenLifetime))
	late := blog.visitOf(host).Code(key, ask, now.Add(site.TokenLifetime+10*time.Minute))
	forgedMark := "troy_mark=" + strings.Repeat("A", 26)
	for _, c := range []struct{ name, host, code, cookie string }{
		{"again", host, used, cookie},
		{"without the mark", host, code(), ""},
		{"in another browser", host, code(), stranger},
		{"with a forged mark", host, code(), forgedMark},
		{"with the ask as the mark", host, code(), "troy_mark=" + ask},
		{"at another preview", other, code(), cookie},
		{"at another pipeline", foreign, code(), cookie},
		{"of another pipeline's key", host, shop.visitOf(host).Code(shop.previewKey(), ask, *now), cookie},
		{"of another distribution", host, site.PreviewVisit{Host: host, Distribution: shop.distribution}.Code(key, ask, *now), cookie},
		{"after its end", host, expired, cookie},
		{"from the future", host, late, cookie},
		{"a session as a code", host, session, cookie},
		{"cut off", host, code()[:40], cookie},
		{"empty", host, "", cookie},
		{"dots", host, "..", cookie},
		{"long", host, strings.Repeat("x", 8<<10), cookie},
		{"a later end", host, strings.Replace(code(), ".", ".9", 1), cookie},
	} {
		res := b.goTo(c.host, site.CodeAddress(c.code, "/docs/"), "Cookie", c.cookie)
		wantStatus(t, res, 303)
		if to := res.Header.Get("Location"); to != site.PreviewSignIn || len(res.Cookies()) != 0 {
			t.Errorf("%s: leads to %q with %v", c.name, to, res.Cookies())
		}
		// There it ends.
		res = b.goTo(c.host, site.PreviewSignIn, "Cookie", c.cookie)
		wantStatus(t, res, 403)
		if text := content(t, res); !strings.Contains(text, "Allow cookies") || res.Header.Get("Location") != "" {
			t.Errorf("%s: the page is %s", c.name, text)
		}
	}
	// A mark that other hosts of the domain set does not get in the way.
	wantHeader(t, b.goTo(host, site.CodeAddress(code(), "/docs/"), "Cookie", stranger+"; "+forgedMark+"; "+cookie), "Location", "/docs/")
	wantStatus(t, b.get(host, site.CodeAddress(code(), "/"), append([]string{"method", "HEAD", "Cookie", cookie}, navigation...)...), 405)

	for name, c := range map[string][2]string{
		"at another preview":  {other, session},
		"at another pipeline": {foreign, session},
		"a code as a session": {host, code()},
		"of another key":      {host, shop.visitOf(host).Session(shop.previewKey(), *now)},
		"far away":            {host, blog.visitOf(host).Session(key, now.Add(24*time.Hour))},
		"empty":               {host, ""},
		"a long one":          {host, strings.Repeat("x", 4000)},
		"a later end":         {host, strings.Replace(session, ".", ".9", 1)},
	} {
		if res := b.goTo(c[0], "/", "Cookie", "troy_preview="+c[1]); res.StatusCode != 303 {
			t.Errorf("a session %s: %d", name, res.StatusCode)
		}
	}
	wantStatus(t, b.goTo(host, "/", "Cookie", strings.Repeat("troy_preview=x; ", maxCookies)+"troy_preview="+session), 303)

	// Tricks with the host lead to the same host as before, or nowhere.
	for spelled, status := range map[string]int{
		"PR-7--BLOG.previews.test.": 303, "pr-7--blog.previews.test:99": 303, "pr-7--blog.previews.test@evil.example": 400, "evil.example": 404,
		"pr-7--blog.previews.test/evil.example": 400, "pr-7--blog.previews.test.evil.example": 404, "a--pr-7--blog.previews.test": 404, "": 404,
	} {
		res := b.goTo(spelled, "/", "X-Forwarded-Host", "evil.example", "Forwarded", "host=evil.example")
		wantStatus(t, res, status)
		if to := res.Header.Get("Location"); status == 303 && !strings.HasPrefix(to, troyAddress+site.PreviewAsk+"?ask=") || strings.Contains(to, "evil") || strings.Contains(to, "%3A99") {
			t.Errorf("the host %q leads to %q", spelled, to)
		}
	}
	// So do tricks with the path.
	for target, want := range map[string]string{
		"/a%20b?q=%2F": "/a%20b?q=%2F", "//evil.example/x": "/evil.example/x", "/%5Cevil.example": "/%5Cevil.example", "/%0d%0aSet-Cookie:%20x": "/%0d%0aSet-Cookie:%20x",
		"/" + strings.Repeat("x", 8<<10): "/", "/" + strings.Repeat("x", 1990): "/" + strings.Repeat("x", 1990), "/ä?ö": "/%C3%A4?%C3%B6",
	} {
		if _, _, to := b.marked(host, target); to != want {
			t.Errorf("%.40q comes back to %.40q, want %.40q", target, to, want)
		}
	}
	for _, to := range []string{"//evil.example", `/\evil.example`, "https://evil.example", "evil.example", "/\r\nSet-Cookie: x=y", "/" + strings.Repeat("x", 8<<10), "", "/\x00", "/ä"} {
		cookie, ask, _ := b.marked(host, "/")
		code := blog.visitOf(host).Code(key, ask, *now)
		res := b.goTo(host, site.PreviewSignIn+"?"+url.Values{"code": {code}, "to": {to}}.Encode(), "Cookie", cookie)
		wantStatus(t, res, 303)
		wantHeader(t, res, "Location", "/")
	}
	if log := b.log.String(); strings.Contains(log, used) || strings.Contains(log, session) {
		t.Errorf("the log has a code or a session: %s", log)
	}
}

// TestPreviewSignInOverHTTPS has cookies that no other host of the domain can
// set.
func TestPreviewSignInOverHTTPS(t *testing.T) {
	t.Parallel()
	b, blog, _, now := signedInBox(t, func(c *Config) { c.HTTPS = true })
	const host = "pr-7--blog.previews.test"
	cookie, ask, _ := b.marked(host, "/")
	if !strings.HasPrefix(cookie, "__Host-troy_mark=") {
		t.Errorf("the mark is %s", cookie)
	}
	code := blog.visitOf(host).Code(blog.previewKey(), ask, *now)
	if got := b.goTo(host, site.CodeAddress(code, "/"), "Cookie", strings.TrimPrefix(cookie, "__Host-")).Cookies(); len(got) != 0 {
		t.Errorf("a mark that another host may have set signs in: %v", got)
	}
	all := b.goTo(host, site.CodeAddress(code, "/"), "Cookie", cookie).Cookies()
	if len(all) != 2 || all[1].Name != "__Host-troy_preview" || !all[1].Secure || !all[0].Secure {
		t.Fatalf("the cookies are %v", all)
	}
	wantStatus(t, b.goTo(host, "/", "Cookie", all[1].Name+"="+all[1].Value), 200)
	wantStatus(t, b.goTo(host, "/", "Cookie", "troy_preview="+all[1].Value), 303)
}

// TestPreviewSessionOverTheNetwork checks that no answer is kept for others.
func TestPreviewSessionOverTheNetwork(t *testing.T) {
	t.Parallel()
	b, blog, _, _ := signedInBox(t)
	b.handlerOnly = false
	const host = "pr-7--blog.previews.test"
	session := "troy_preview=" + blog.visitOf(host).Session(blog.previewKey(), b.edge.now())
	for range 3 {
		wantStatus(t, b.get(host, "/", "Cookie", session), 200)
		wantStatus(t, b.get(host, "/"), 401)
		wantStatus(t, b.get(host, "/docs/", "Accept", "text/html", "Sec-Fetch-Mode", "cors"), 401)
	}
}
