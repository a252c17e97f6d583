package web_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/edge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/site"
)

// previewsSignedIn sets who may see the previews of a pipeline that is served.
func (w *world) previewsSignedIn(p pipeline) {
	w.t.Helper()
	w.exec("UPDATE pipelines SET distribution_id = 'D-' || slug WHERE id = $1 AND distribution_id IS NULL", p.ID)
	w.send("PUT", "/v1/pipelines/"+p.Slug+"/access/previews", `{"previews":"signed-in"}`).into(w.t, 202, nil)
}

func askPath(host, ask, to string) string {
	return site.PreviewAsk + "?" + url.Values{"host": {host}, "ask": {ask}, "to": {to}}.Encode()
}

// refreshOf is where a browser goes by itself.
func refreshOf(a answer) string {
	_, address, _ := strings.Cut(a.header.Get("Refresh"), "; url=")
	return address
}

func TestPreviewAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sealed(t))
	p := w.create("Blog")
	const at = "/v1/pipelines/blog/access"
	var a accessAnswer
	w.send("GET", at, nil).into(t, 200, &a)
	if a.Previews != "public" {
		t.Errorf("before it is %+v", a)
	}
	w.send("PUT", at+"/previews", `{"previews":"private"}`).refused(t, 400, "invalid", "previews", "expected public, password or signed-in")
	w.send("PUT", at+"/previews", `{}`).refused(t, 400, "invalid", "previews", "expected public")
	w.send("PUT", at+"/previews", `{"previews":"password"}`).refused(t, 409, "conflict", "previews", "add a password or a network first")
	w.send("PUT", at+"/previews", `{"previews":"signed-in"}`).into(t, 202, &a)
	if a.Previews != "signed-in" || !a.Protected || a.Scope != "previews" {
		t.Errorf("signed-in is %+v", a)
	}
	if got := w.protection(p); len(got.PreviewKey) < site.MinKey || !got.PreviewsOnly {
		t.Errorf("what is applied has a key of %d bytes", len(got.PreviewKey))
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'access.previews' AND subject = 'signed-in' AND actor LIKE 'token %'"); n != 1 {
		t.Errorf("%d entries in the audit trail", n)
	}
	w.send("PUT", at+"/passwords/ci", map[string]string{"password": "correct horse battery"}).into(t, 202, nil)
	w.send("PUT", at+"/previews", `{"previews":"public"}`).refused(t, 409, "conflict", "previews", "turn the protection off")
	w.send("PUT", at+"/previews", `{"previews":"password"}`).into(t, 202, &a)
	if a.Previews != "password" || a.Scope != "previews" {
		t.Errorf("password is %+v", a)
	}
	w.send("DELETE", at, nil).into(t, 202, &a)
	if a.Previews != "public" || a.Protected {
		t.Errorf("off is %+v", a)
	}
	w.deps.Secrets = nil
	w.send("PUT", at+"/previews", `{"previews":"signed-in"}`).refused(t, 503, "unavailable", "", "TROY_SECRET_KEY")
	w.deps.Intake = intake.New(w.db, w.bell, intake.Config{SitesSuffix: "sites.test", NoSignedIn: "previews on AWS can't"})
	w.second().send("PUT", at+"/previews", `{"previews":"signed-in"}`).refused(t, 409, "conflict", "previews", "previews on AWS can't")
}

// TestPreviewCodes asks for codes as browsers do that the edge sends.
func TestPreviewCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sealed(t))
	blog, shop, open := w.create("Blog"), w.create("Shop"), w.create("Open")
	w.previewsSignedIn(blog)
	w.previewsSignedIn(shop)
	const host = "pr-7--blog.sites.test"
	ask := site.AskOf("a mark")
	admin := w.session(w.admin)
	viewer := w.session(w.token(credentials.Viewer, blog.ID))
	stranger := w.session(w.token(credentials.Admin, shop.ID))

	for name, cookie := range map[string]string{"an admin": admin, "a viewer of the pipeline": viewer} {
		a := w.visit("GET", askPath(host, ask, "/docs/?a=1&b=%2F"), nil, cookie, header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Mode", "navigate"), header("Sec-Fetch-Dest", "document"))
		u, err := url.Parse(refreshOf(a))
		if err != nil || a.status != 200 || !strings.Contains(string(a.body), "goes to "+host) || u.Scheme+"://"+u.Host+u.Path != "http://"+host+":8081"+site.PreviewSignIn || u.Query().Get("to") != "/docs/?a=1&b=%2F" || a.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%s: %d %v", name, a.status, a.header)
		}
		code, key, now := u.Query().Get("code"), w.protection(blog).PreviewKey, time.Now()
		visit := site.PreviewVisit{Host: host, Distribution: "D-blog"}
		if !visit.CheckCode(key, ask, code, now) || visit.CheckCode(key, ask, code, now.Add(site.TokenLifetime)) || visit.CheckCode(w.protection(shop).PreviewKey, ask, code, now) ||
			visit.CheckCode(key, site.AskOf("another"), code, now) || visit.CheckSession(key, code, now) {
			t.Errorf("%s: the code is %s", name, code)
		}
		if strings.Contains(w.log.String(), code) {
			t.Errorf("%s: the log has the code", name)
		}
	}
	for name, c := range map[string]struct {
		host, ask, to, cookie string
		status                int
		says                  string // of a page, or where it leads
	}{
		"nobody":                 {host, ask, "/docs/", "", 303, "/login?next=" + url.QueryEscape(askPath(host, ask, "/docs/"))},
		"another session":        {host, ask, "/", strings.Replace(admin, "=", "=x", 1), 303, "/login?next="},
		"without the pipeline":   {host, ask, "/", stranger, 403, "who may not see the pipeline of this preview"},
		"the site":               {"blog.sites.test", ask, "/", admin, 404, "This is not the address of a preview"},
		"another domain":         {"pr-7--blog.evil.test", ask, "/", admin, 404, "This is not the address of a preview"},
		"a domain below":         {"x.pr-7--blog.sites.test", ask, "/", admin, 404, "This is not the address of a preview"},
		"two labels":             {"a--pr-7--blog.sites.test", ask, "/", admin, 404, "This is not the address of a preview"},
		"no pipeline":            {"pr-7--none.sites.test", ask, "/", admin, 404, "This is not the address of a preview"},
		"a user":                 {"evil@pr-7--blog.sites.test", ask, "/", admin, 404, "This is not the address of a preview"},
		"a path":                 {host + "/x", ask, "/", admin, 404, "This is not the address of a preview"},
		"a line end":             {host + "\r\nX: y", ask, "/", admin, 404, "This is not the address of a preview"},
		"a long one":             {strings.Repeat("x", 8<<10) + host, ask, "/", admin, 404, "This is not the address of a preview"},
		"no host":                {"", ask, "/", admin, 404, "This is not the address of a preview"},
		"no mark":                {host, "", "/", admin, 400, "This address is incomplete"},
		"a forged mark":          {host, ask + "x", "/", admin, 400, "This address is incomplete"},
		"a mark with a line end": {host, "\r\n" + ask[2:], "/", admin, 400, "This address is incomplete"},
		"public previews":        {"pr-7--open.sites.test", ask, "/", admin, 409, "This preview does not ask visitors to sign in"},
		"to another host":        {host, ask, "//evil.test", admin, 200, "to=%2F"},
		"to another host again":  {host, ask, `/\evil.test`, admin, 200, "to=%2F"},
		"to an address":          {host, ask, "https://evil.test/", admin, 200, "to=%2F"},
		"to a header":            {host, ask, "/\r\nSet-Cookie: x", admin, 200, "to=%2F"},
		"to a very long path":    {host, ask, "/" + strings.Repeat("x", 8<<10), admin, 200, "to=%2F"},
		"with a port and a dot":  {"PR-7--BLOG.sites.test.:99", ask, "/", admin, 200, "http://" + host + ":8081/"},
	} {
		a := w.visit("GET", askPath(c.host, c.ask, c.to), nil, c.cookie)
		leads := a.header.Get("Location") + refreshOf(a)
		if a.status != c.status || !strings.Contains(string(a.body)+leads, c.says) || strings.Contains(leads, "evil") && c.cookie != "" || c.says == "to=%2F" && !strings.HasSuffix(leads, c.says) {
			t.Errorf("%s: %d to %q\n%s", name, a.status, leads, a.body)
		}
		if c.status >= 400 && (leads != "" || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html")) {
			t.Errorf("%s: leads to %q with %v", name, leads, a.header)
		}
	}
	if open.ID == uuid.Nil {
		t.Fatal("no pipeline")
	}
	// A page of another site can't read it, and a frame can't show it.
	for _, o := range [][2]string{{"cors", "empty"}, {"navigate", "iframe"}} {
		a := w.visit("GET", askPath(host, ask, "/"), nil, admin, header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Mode", o[0]), header("Sec-Fetch-Dest", o[1]))
		if a.status != 403 || refreshOf(a) != "" {
			t.Errorf("%s of another site: %d %v", o[1], a.status, a.header)
		}
	}
	if a := w.visit("POST", askPath(host, ask, "/"), url.Values{}, admin); a.status != 405 {
		t.Errorf("POST: %d", a.status)
	}
}

// served is a world whose sites an edge serves, with a preview.
type served struct {
	*world
	address   string // of the preview
	apply     func()
	forgetful *atomic.Bool // browsers send the edge no cookies
}

func serveSignedIn(t *testing.T) *served {
	t.Helper()
	root := t.TempDir()
	box, err := localcloud.New(localcloud.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	var handler http.Handler
	var forgetful atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if forgetful.Load() {
			r.Header.Del("Cookie")
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, sealed(t), func(w *world) {
		w.deps.Intake = intake.New(w.db, w.bell, intake.Config{SitesSuffix: "localhost", PreviewKey: w.previewKey})
		w.cfg.SitesPort, err = strconv.Atoi(port)
	})
	if err != nil {
		t.Fatal(err)
	}
	if handler, err = edge.New(edge.Config{Root: root, TroyURL: w.server.URL, Previews: site.PreviewHosts{Suffix: "localhost", Sites: "localhost"}}); err != nil {
		t.Fatal(err)
	}
	p := w.create("Blog")
	d, err := box.CDN.Create(t.Context(), "blog", "blog.localhost")
	if err != nil {
		t.Fatal(err)
	}
	if err := box.DNS.Upsert(t.Context(), "blog.localhost", d.Domain); err != nil {
		t.Fatal(err)
	}
	tree := site.Tree{Pipeline: p.ID, Deployment: uuid.New()}
	publish(t, box.Store, tree, map[string]string{"docs/index.html": `<link rel="icon" href="data:,"><h1>The draft</h1><script src="/app.js"></script>`, "app.js": "document.title = 'ran'"})
	if err := box.Previews.Point(t.Context(), d.ID, "pr-7", site.Pointer{Sequence: 1, Pipeline: tree.Pipeline, Deployment: tree.Deployment}); err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE pipelines SET distribution_id = $1 WHERE id = $2", d.ID, p.ID)
	apply := func() {
		t.Helper()
		if err := box.CDN.(cloud.Protector).Protect(t.Context(), d.ID, w.protection(p)); err != nil {
			t.Fatal(err)
		}
	}
	w.previewsSignedIn(p)
	apply()
	return &served{w, "http://pr-7--blog.localhost:" + port, apply, &forgetful}
}

func (b *tab) at(address string) {
	b.t.Helper()
	b.eventually("the browser is at "+address, func() bool {
		at, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.href"))
		return err == nil && at == address
	})
}

// TestPreviewSignInInABrowser goes from a preview to Troy, signs in there, and
// comes back.
func TestPreviewSignInInABrowser(t *testing.T) {
	t.Parallel()
	w := serveSignedIn(t)
	b := browse(t)
	address := w.address + "/docs/?from=mail&next=%2Fx"
	b.do(chromedp.Navigate(address))
	b.shows("h1", "Sign in")
	b.do(chromedp.SendKeys("#token", w.admin), chromedp.Submit("#token"))
	b.shows("h1", "The draft")
	b.at(address)
	b.eventually("the script ran", func() bool { return b.read("title") == "ran" })
	if n := b.number("document.cookie.length"); n != 0 {
		t.Errorf("scripts see %d characters of cookies", n)
	}
	// A second preview page needs no round, and another browser is not let in.
	b.do(chromedp.Reload())
	b.shows("h1", "The draft")
	// A new key ends the session; the one of the dashboard begins another.
	w.send("PUT", "/v1/pipelines/blog/access/previews", `{"previews":"signed-in"}`).into(t, 202, nil)
	w.apply()
	b.open(address)
	b.shows("h1", "The draft")
	b.at(address)

	// Someone who may not see the pipeline reads why, and does not go round.
	other := w.create("Other")
	c := browse(t)
	c.do(chromedp.Navigate(address), chromedp.SendKeys("#token", w.token(credentials.Viewer, other.ID)), chromedp.Submit("#token"))
	c.shows("main", "may not see the pipeline of this preview")
}

// TestPreviewSignInWithoutCookies ends with a sentence in a browser that keeps
// no cookies.
func TestPreviewSignInWithoutCookies(t *testing.T) {
	t.Parallel()
	w := serveSignedIn(t)
	b := browse(t)
	w.forgetful.Store(true)
	b.signIn(w.world, w.admin, "/activity")
	b.do(chromedp.Navigate(w.address + "/docs/"))
	b.shows("h1", "You are not signed in to this preview")
	b.at(w.address + site.PreviewSignIn)
}
