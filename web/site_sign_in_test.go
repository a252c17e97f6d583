package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/troy-iaas/troy/site"
)

// onCloudFront makes a world whose sites CloudFront serves.
func onCloudFront(t *testing.T) *world {
	t.Helper()
	return newWorld(t, sealed(t), func(w *world) {
		w.deps.Functions = true
		w.cfg.SitesScheme, w.cfg.SitesPort = "https", 0
	})
}

var mark = strings.Repeat("m", 43)

// TestSiteSignIn signs in to a site on CloudFront.
func TestSiteSignIn(t *testing.T) {
	t.Parallel()
	w := onCloudFront(t)
	p := w.create("Blog")
	const api, text, at = "/v1/pipelines/blog/access", "correct horse battery", "/access/blog.sites.test"
	if a := w.visit("GET", at+"?ask="+mark, nil, ""); a.status != 404 {
		t.Errorf("a site that was never protected: %d", a.status)
	}
	w.send("POST", api+"/networks", `{"network":"10.0.0.0/8"}`).into(t, 202, nil)
	leads := func(a answer, status int, to string) {
		t.Helper()
		if a.status != status || a.header.Get("Location") != to {
			t.Errorf("%d to %q, expected %d to %q\n%s", a.status, a.header.Get("Location"), status, to, a.body)
		}
	}
	leads(w.visit("GET", at+"?ask="+mark, nil, ""), 303, "https://blog.sites.test/") // it has no password
	w.send("PUT", api+"/passwords/client", map[string]string{"password": text}).into(t, 202, nil)
	for _, path := range []string{"/access/other.sites.test", "/access/blog.sites.test.evil.example", "/access/%00", "/access/x%2Fy", "/access/blog"} {
		if a := w.visit("GET", path+"?ask="+mark, nil, ""); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	// Without a mark a browser gets one at the site first.
	leads(w.visit("GET", at+"?to=/about%3Fa=1", nil, ""), 303, "https://blog.sites.test/about?a=1")
	leads(w.visit("POST", at+"?to=/about", url.Values{"password": {text}}, ""), 303, "https://blog.sites.test/about")
	for _, to := range []string{"//evil.example", `/\evil.example`, "@evil.example", ".evil.example", "https://evil.example", "/\r\nx"} {
		leads(w.visit("GET", at+"?to="+url.QueryEscape(to), nil, ""), 303, "https://blog.sites.test/")
	}

	form := at + "?ask=" + mark + "&to=" + url.QueryEscape("/about?a=1&b=%2F")
	a := w.visit("GET", form, nil, "")
	policy := a.header.Get("Content-Security-Policy")
	if a.status != 200 || !strings.Contains(string(a.body), "Enter the password of blog.sites.test to continue.") || !strings.Contains(string(a.body), `<form method="post">`) ||
		!strings.HasSuffix(policy, "form-action 'self' https://blog.sites.test") || !strings.Contains(policy, "style-src 'sha256-") || strings.Contains(policy, "unsafe") || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the page: %d %v\n%s", a.status, a.header, a.body)
	}
	a = w.visit("POST", form, url.Values{"password": {"a wrong password"}}, "")
	if a.status != 401 || !strings.Contains(string(a.body), "This password is wrong. Try again.") || strings.Contains(string(a.body), "a wrong password") || a.header.Get("Location") != "" {
		t.Errorf("a wrong password: %d %v\n%s", a.status, a.header, a.body)
	}
	a = w.visit("POST", form, url.Values{"password": {text}}, "")
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != 303 || u.Scheme != "https" || u.Host != "blog.sites.test" || u.Path != site.FunctionSignIn || u.Query().Get("to") != "/about?a=1&b=%2F" {
		t.Fatalf("the right password: %d %v", a.status, a.header)
	}
	token := u.Query().Get("token")
	expiry, err := strconv.ParseInt(strings.Split(token, ".")[1], 10, 64)
	if want := w.protection(p).Passwords[0].Token("blog.sites.test", mark, time.Unix(expiry, 0).Add(-site.TokenLifetime)); err != nil || token != want {
		t.Errorf("the token is %s, expected %s", token, want)
	}
	if left := time.Until(time.Unix(expiry, 0)); left <= 0 || left > site.TokenLifetime {
		t.Errorf("the token is valid for %s", left)
	}

	for what, c := range map[string]struct {
		body    string
		options []option
		status  int
	}{
		"a large form":     {"password=" + strings.Repeat("x", 1<<20), nil, 413},
		"no password":      {"user=x", nil, 400},
		"a malformed form": {"password=%zz", nil, 400},
		"of another site":  {"password=" + url.QueryEscape(text), []option{header("Sec-Fetch-Site", "cross-site")}, 403},
	} {
		options := append(c.options, header("Content-Type", "application/x-www-form-urlencoded"), header("Authorization", ""))
		if a := w.send("POST", form, c.body, options...); a.status != c.status {
			t.Errorf("%s: %d, expected %d: %s", what, a.status, c.status, a.body)
		}
	}
	// A changed password.
	w.send("PUT", api+"/passwords/client", map[string]string{"password": "another " + text}).into(t, 202, nil)
	if a := w.visit("POST", form, url.Values{"password": {text}}, ""); a.status != 401 {
		t.Errorf("the earlier password: %d", a.status)
	}
	for range 20 {
		a = w.visit("POST", form, url.Values{"password": {"a wrong password"}}, "")
	}
	if a.status != 429 || a.header.Get("Retry-After") != "10" || !strings.Contains(string(a.body), "too many wrong passwords") {
		t.Errorf("after many attempts: %d %v", a.status, a.header)
	}
	if log := w.log.String(); strings.Contains(log, text) || strings.Contains(log, "a wrong password") || strings.Contains(log, token) {
		t.Errorf("the log contains a password or a token: %s", log)
	}
	// Only CloudFront's sites sign in here.
	w.deps.Functions = false
	if a := w.second().visit("GET", form, nil, ""); a.status != 404 {
		t.Errorf("on one machine: %d", a.status)
	}
}

// TestPreviewSignIn signs in to previews of a site on CloudFront, each for itself.
func TestPreviewSignIn(t *testing.T) {
	t.Parallel()
	w := onCloudFront(t)
	p := w.create("Blog")
	const api, text, host = "/v1/pipelines/blog/access", "correct horse battery", "pr-1--blog.sites.test"
	w.send("PUT", api+"/passwords/client", map[string]string{"password": text}).into(t, 202, nil)
	signIn := func(host, password string) answer {
		return w.visit("POST", "/access/"+host+"?ask="+mark+"&to=/about", url.Values{"password": {password}}, "")
	}
	for _, scope := range []string{"site", "previews"} {
		if scope == "previews" {
			w.send("PUT", api+"/scope", `{"scope":"previews"}`).into(t, 202, nil)
		}
		u, err := url.Parse(signIn(host, text).header.Get("Location"))
		if err != nil || u.Scheme != "https" || u.Host != host || u.Path != site.FunctionSignIn {
			t.Fatalf("with the scope %s the password leads to %s", scope, u)
		}
		token := u.Query().Get("token")
		expiry, err := strconv.ParseInt(strings.Split(token, ".")[1], 10, 64)
		if want := w.protection(p).Passwords[0].Token(host, mark, time.Unix(expiry, 0).Add(-site.TokenLifetime)); err != nil || token != want {
			t.Errorf("the token is %s, expected that of the preview's host", token)
		}
	}
	if a := signIn("blog.sites.test", text); a.status != 303 || a.header.Get("Location") != "https://blog.sites.test/about" {
		t.Errorf("the site, which everyone may see: %d to %q", a.status, a.header.Get("Location"))
	}
	for _, other := range []string{"pr-1--other.sites.test", "pr-1--blog.sites.test.evil.example", "x.pr-1--blog.sites.test", "--blog.sites.test", "a--b--blog.sites.test"} {
		if a := signIn(other, text); a.status != 404 {
			t.Errorf("%s: %d", other, a.status)
		}
	}
	// The bound for wrong passwords is the site's: other labels don't raise it.
	status := 0
	for i := range 20 {
		status = signIn(fmt.Sprintf("x%d--blog.sites.test", i), "a wrong password").status
	}
	if status != 429 {
		t.Errorf("after many attempts at many previews: %d", status)
	}
}

// TestSiteSignInInABrowser types the password at Troy for a site at another
// origin. A stand-in gives the marks and takes the tokens there.
func TestSiteSignInInABrowser(t *testing.T) {
	t.Parallel()
	var troy, origin string
	stand := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := r.Cookie("session")
		switch {
		case r.URL.Path == site.FunctionSignIn && r.URL.Query().Get("token") != "":
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "x", Path: "/"})
			http.Redirect(w, r, site.LocalAddress(r.URL.Query().Get("to")), http.StatusFound)
		case err != nil:
			http.Redirect(w, r, troy+"/access/blog.localhost?ask="+mark+"&to="+url.QueryEscape(r.URL.RequestURI()), http.StatusFound)
		default:
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprint(w, `<link rel="icon" href="data:,"><h1>The plan</h1>`)
		}
	}))
	t.Cleanup(stand.Close)
	u, err := url.Parse(stand.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, sealed(t), func(w *world) {
		w.deps.Functions, w.cfg.SitesScheme, w.cfg.SitesPort = true, "http", port
	})
	p := w.create("Blog")
	w.exec("UPDATE domains SET host = 'blog.localhost' WHERE pipeline_id = $1", p.ID)
	w.send("PUT", "/v1/pipelines/blog/access/passwords/client", map[string]string{"password": "correct horse"}).into(t, 202, nil)
	troy, origin = w.server.URL, "http://blog.localhost:"+u.Port()
	b := browse(t)
	b.do(chromedp.Navigate(origin + "/docs?from=mail"))
	b.shows("h1", "This site is protected")
	enter := func(text string) {
		t.Helper()
		// In one step, because the form leads to another document.
		b.number(`(document.querySelector("#password").value = "` + text + `", document.querySelector("button").click(), 1)`)
	}
	enter("wrong password")
	b.shows("[role=alert]", "This password is wrong")
	enter("correct horse")
	b.shows("h1", "The plan")
	b.eventually("the browser is back", func() bool {
		at, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.href"))
		return err == nil && at == origin+"/docs?from=mail"
	})
}
