package web_test

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/edge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/password"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/site"
)

// TestProtectionCard protects a site on the page of its settings.
func TestProtectionCard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withKey(secret.NewKey()))
	w.bind("blog", "github", "team/blog", "")
	cookie := w.session(w.admin)
	shows := func(texts ...string) {
		t.Helper()
		a := w.visit("GET", settingsPath, nil, cookie)
		for _, text := range texts {
			if a.status != 200 || !strings.Contains(string(a.body), text) {
				t.Fatalf("the page answers %d without %q:\n%s", a.status, text, a.body)
			}
		}
	}
	send := func(section string, form url.Values, status int, says string) {
		t.Helper()
		a := w.visit("POST", settingsPath+"/"+section, form, cookie)
		if a.status != status || !strings.Contains(string(a.body)+a.header.Get("Location"), says) {
			t.Fatalf("%s answers %d %s, want %d and %q:\n%s", section, a.status, a.header.Get("Location"), status, says, a.body)
		}
		if strings.Contains(string(a.body), "correct horse") || strings.Contains(string(a.body), "argon2id") {
			t.Errorf("the page contains the password:\n%s", a.body)
		}
	}
	const done = "?saved=protection#protection"
	shows("Everyone can see the site.")
	send("password", url.Values{"password_name": {"client"}, "password": {"short"}}, 400, "The password has 5 characters; expected at least 8.")
	send("password", url.Values{"password_name": {"Client X"}, "password": {"correct horse"}}, 400, "is not a valid name")
	send("password", url.Values{"password_name": {"client"}, "password": {"correct horse"}}, 303, done)
	shows("Only people who know a password can see the site.", "Remove client")
	send("password-remove", url.Values{"name": {"client"}}, 409, "everyone could see it")
	send("network", url.Values{"network": {"203.0.113.1/24"}}, 400, "expected 203.0.113.0/24")
	send("network", url.Values{"network": {" 203.0.113.0/24 "}}, 303, done)
	shows("Only people who know a password and come from a listed network", "Remove 203.0.113.0/24")
	send("password-remove", url.Values{"name": {"client"}}, 303, done)
	send("network-remove", url.Values{"network": {"10.0.0.0/8"}}, 404, "does not list")
	send("unprotect", url.Values{"confirm": {"other"}}, 400, "Type blog to confirm")
	send("unprotect", url.Values{"confirm": {"blog"}}, 303, done)
	shows("Everyone can see the site.")

	// A change that does not hold is not shown as if it did.
	w.exec("UPDATE pipelines SET distribution_id = 'd'")
	w.exec("UPDATE access SET generation = applied + 1")
	w.exec("UPDATE work SET cause = 'the disk is read-only' WHERE kind = 'access'")
	shows("does not hold yet", "the disk is read-only")
}

// TestPasswordPage protects a site in the dashboard, and signs in to the site,
// with a browser.
func TestPasswordPage(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	box, err := localcloud.New(localcloud.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	sites, err := edge.New(edge.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sites)
	t.Cleanup(server.Close)
	w := newWorld(t, withKey(secret.NewKey()))
	p := w.bind("blog", "github", "team/blog", "")
	const host = "blog.localhost"
	d, err := box.CDN.Create(t.Context(), "blog", host)
	if err != nil {
		t.Fatal(err)
	}
	if err := box.DNS.Upsert(t.Context(), host, d.Domain); err != nil {
		t.Fatal(err)
	}
	tree := site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()}
	publish(t, box.Store, tree, map[string]string{
		"docs/index.html": `<link rel="icon" href="data:,"><h1>The plan</h1><script src="/app.js"></script>`, "app.js": "document.title = 'ran'",
	})
	protector := box.CDN.(cloud.Protector)
	protect := func(sequence int64, id, text string) {
		t.Helper()
		if err := protector.Protect(t.Context(), d.ID, site.Protection{Sequence: sequence, Passwords: []site.Password{
			{ID: id, Hash: password.Hash(text, password.NewSalt()), Key: secret.NewSigningKey()},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := box.CDN.Flip(t.Context(), d.ID, site.Pointer{Sequence: 1, Pipeline: tree.Pipeline, Deployment: tree.Deployment}); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	b := browse(t)
	b.signIn(w, w.admin, settingsPath)
	b.do(chromedp.SendKeys("[name=password_name]", "client"), chromedp.SendKeys("[name=password]", "correct horse"), chromedp.Submit("[name=password]"))
	b.shows("#protection", "Only people who know a password can see the site.")
	if err := protector.Protect(t.Context(), d.ID, w.protection(p)); err != nil {
		t.Fatal(err)
	}
	address := "http://" + host + ":" + u.Port() + "/docs/?from=mail"
	b.open(address)
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
	b.eventually("the script ran", func() bool { return b.read("title") == "ran" })
	if at := b.read("h1"); at != "The plan" {
		t.Errorf("the page is %q", at)
	}
	at, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.href"))
	if err != nil || at != address {
		t.Errorf("the browser is at %q, %v; want %q", at, err, address)
	}
	// The cookie is out of a script's reach, and a reload keeps the session.
	if n := b.number("document.cookie.length"); n != 0 {
		t.Errorf("scripts see %d characters of cookies", n)
	}
	b.do(chromedp.Reload())
	b.shows("h1", "The plan")
	// Once the password is changed, the browser shows nothing it has kept.
	protect(9, "two", "battery staple")
	b.open(address)
	b.shows("h1", "This site is protected")
}

// protection is how a pipeline's row says that its site is protected, as the
// workers read it.
func (w *world) protection(p pipeline) site.Protection {
	w.t.Helper()
	wanted, err := w.q.AccessWanted(w.t.Context(), p.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	out := site.Protection{Sequence: wanted.Generation, PreviewsOnly: wanted.Scope == intake.ScopePreviews}
	if wanted.PreviewKey != nil {
		if out.PreviewKey, err = w.deps.Secrets.Open(wanted.PreviewKey, secret.PreviewKey(p.ID)); err != nil {
			w.t.Fatal(err)
		}
	}
	for i, name := range wanted.Names {
		plain, err := w.deps.Secrets.Open(wanted.Secrets[i], secret.Access(p.ID, name))
		if err != nil {
			w.t.Fatal(err)
		}
		var s site.Password
		if err := json.Unmarshal(plain, &s); err != nil {
			w.t.Fatal(err)
		}
		s.ID = wanted.Ids[i].String()
		out.Passwords = append(out.Passwords, s)
	}
	return out
}

// publish stores and seals a tree.
func publish(t *testing.T, store cloud.Store, tree site.Tree, content map[string]string) {
	t.Helper()
	ctx := t.Context()
	var m site.Manifest
	for path, text := range content {
		m.Files = append(m.Files, file(path, text))
	}
	if _, err := store.Begin(ctx, tree, m); err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		if err := store.Put(ctx, tree, f, strings.NewReader(content[f.Path])); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Seal(ctx, tree, nil, nil); err != nil {
		t.Fatal(err)
	}
}
