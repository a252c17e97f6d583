package edge

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/internal/password"
	"github.com/troy-iaas/troy/site"
)

// userSite has two protected areas beside public pages.
func userSite(b *box, host string) *hosted {
	h := b.provision(host)
	h.publish(map[string]string{
		"index.html": "home", "404.html": "none", "team/index.html": "team", "team/a.woff2": "font", "team/large.txt": strings.Repeat("team ", 4000),
		"admin/index.html": "admin", "report.html": "report", "_redirects": "/way /admin/ 200\n/team/old /\n",
		"_headers": "/team/*\n  Basic-Auth: dev:open-sesame ops:caf\u00e9:x\n  X-Area: team\n  Access-Control-Allow-Origin: *\n  CDN-Cache-Control: max-age=60\n" +
			"/admin/*\n  Basic-Auth: root:hunter2222\n/report\n  Basic-Auth: dev:open-sesame\n",
	})
	return h
}

// TestUsers asks for a user at every address of what a rule protects.
func TestUsers(t *testing.T) {
	t.Parallel()
	h := userSite(newBox(t), "users.localhost")
	dev, ops, root := basic("dev", "open-sesame"), basic("ops", "caf\u00e9:x"), basic("root", "hunter2222")
	for _, c := range []struct {
		target, authorization string
		status                int
		body                  string
	}{
		{"/", "", 200, "home"},
		{"/", basic("dev", "wrong"), 200, "home"},
		{"/team/", dev, 200, "team"},
		{"/team/", ops, 200, "team"},
		{"/team/", basic("ops", "cafe\u0301:x"), 200, "team"}, // decomposed
		{"/team/", root, 401, ""},
		{"/team/", basic("Dev", "open-sesame"), 401, ""},
		{"/team/", basic("", "open-sesame"), 401, ""},
		{"/team/", basic("dev:open-sesame", ""), 401, ""},
		{"/team/", "", 401, ""},
		{"/team/", "Basic !", 401, ""},
		{"/team/", "Bearer open-sesame", 401, ""},
		{"/team", "", 401, ""}, // would redirect
		{"/team", dev, 301, ""},
		{"/team/old", "", 401, ""},
		{"/team/old", dev, 301, ""},
		{"/team/none", "", 401, ""},
		{"/team/none", dev, 404, "none"},
		{"/admin/", dev, 401, ""},
		{"/admin/", root, 200, "admin"},
		{"/way", "", 401, ""},
		{"/way", root, 200, "admin"},
		{"/report", "", 401, ""},
		{"/report.html", "", 401, ""},
		{"/report.html", dev, 200, "report"},
	} {
		res := h.fetch(c.target, "Authorization", c.authorization)
		wantStatus(t, res, c.status)
		body := content(t, res)
		if c.status == 401 {
			if !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Basic realm=") || res.Header.Get("Cache-Control") != "private, no-store" || res.Header.Get("X-Troy-Deployment") != "" {
				t.Errorf("%s: the header is %v", c.target, res.Header)
			}
			continue
		}
		if c.body != "" && body != c.body {
			t.Errorf("%s: %q, expected %q", c.target, body, c.body)
		}
		if c.authorization != "" && c.target != "/" {
			if got := res.Header.Get("Cache-Control"); got != "private, no-cache" && got != "private, no-store" {
				t.Errorf("%s: Cache-Control %q", c.target, got)
			}
		}
	}
	res := h.fetch("/team/", "Authorization", dev)
	for name, want := range map[string]string{"X-Area": "team", "X-Robots-Tag": "noindex", "Access-Control-Allow-Origin": "", "Cdn-Cache-Control": ""} {
		wantHeader(t, res, name, want)
	}
	if got := strings.Join(res.Header["Vary"], ", "); !strings.Contains(got, "Authorization") {
		t.Errorf("Vary is %q", got)
	}
	if one, two := h.fetch("/team/").Header.Get("WWW-Authenticate"), h.fetch("/admin/").Header.Get("WWW-Authenticate"); one == two {
		t.Errorf("two areas have the realm %q", one)
	}
	wantStatus(t, h.fetch("/team/a.woff2", "method", "OPTIONS", "Origin", "https://other.example"), 401)
	wantStatus(t, h.fetch("/team/large.txt", "Range", "bytes=0-1"), 401)
	wantStatus(t, h.fetch("/team/", "If-None-Match", tag("team")), 401)
	wantStatus(t, h.fetch("/team/", "If-None-Match", tag("team"), "Authorization", dev), 304)
	if page := h.fetch("/team/", "Accept", "text/html"); !strings.Contains(content(t, page), "needs a user name and a password") {
		t.Error("people see no page")
	}
	wantStatus(t, h.fetch("/team/", "method", "POST"), 405)
	// Nothing that the edge writes or keeps has a password.
	tree, err := os.ReadFile(h.layout.Tree(site.Tree{Pipeline: h.pipeline, Deployment: h.live()}))
	if err != nil || strings.Contains(string(tree), "sesame") || strings.Contains(string(tree), "ops:") {
		t.Errorf("the manifest has a password: %v", err)
	}
	if log := h.log.String(); log != "" {
		t.Errorf("the log is %s", log)
	}
}

// live returns the deployment that answers.
func (h *hosted) live() (id [16]byte) {
	h.t.Helper()
	l, err := h.edge.catalog.find(h.host)
	if err != nil {
		h.t.Fatal(err)
	}
	return l.tree.Deployment
}

// TestUserAttempts bounds the wrong passwords of a client, and forgets a correct
// one with the deployment that had it.
func TestUserAttempts(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.handlerOnly = true
	h := userSite(b, "attempts.localhost")
	dev := basic("dev", "open-sesame")
	ask := func(from, authorization string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, "/team/", http.NoBody)
		r.Host, r.RemoteAddr = h.host, from
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		b.edge.ServeHTTP(w, r)
		return w.Result()
	}
	now := time.Now()
	b.edge.now = func() time.Time { return now }
	before := b.edge.keeper.Hashes()
	for range 30 { // a correct user of another area is not an attempt
		wantStatus(t, ask("203.0.113.1:1", basic("root", "hunter2222")), 401)
		wantStatus(t, ask("203.0.113.1:1", dev), 200)
	}
	if n := b.edge.keeper.Hashes() - before; n != 2 {
		t.Errorf("%d hashes were computed for two passwords, expected 2", n)
	}
	for i := range password.AttemptsBurst {
		wantStatus(t, ask("203.0.113.1:1", basic("dev", fmt.Sprint("wrong", i))), 401)
	}
	res := ask("203.0.113.1:1", basic("dev", "another"))
	wantStatus(t, res, 429)
	wantHeader(t, res, "Retry-After", "10")
	wantHeader(t, res, "WWW-Authenticate", "")
	wantStatus(t, ask("203.0.113.1:1", dev), 429) // or it would tell which one is correct
	wantStatus(t, ask("203.0.113.2:1", dev), 200)
	now = now.Add(password.AttemptsEvery)
	wantStatus(t, ask("203.0.113.1:1", dev), 200)
	h.publish(map[string]string{"team/index.html": "new", "_headers": "/team/*\n  Basic-Auth: dev:another-word\n"})
	wantStatus(t, ask("203.0.113.2:1", dev), 401)
	wantStatus(t, ask("203.0.113.2:1", basic("dev", "another-word")), 200)
}

// TestUsersOfProtectedSites asks for the site's password first, and for a user
// afterwards.
func TestUsersOfProtectedSites(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.handlerOnly = true
	h := userSite(b, "both.localhost")
	h.protect(site.Protection{Passwords: []site.Password{passwordOf(typed)}})
	cookie := h.cookie(typed)
	res := h.fetch("/team/", "Authorization", basic("dev", "open-sesame"), "Accept", "text/html")
	wantStatus(t, res, 401)
	wantHeader(t, res, "WWW-Authenticate", "Form")
	res = h.fetch("/team/", "Cookie", cookie, "Accept", "text/html")
	wantStatus(t, res, 401)
	if !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("the challenge is %q", res.Header.Get("WWW-Authenticate"))
	}
	res = h.fetch("/team/", "Cookie", cookie, "Authorization", basic("dev", "open-sesame"))
	wantStatus(t, res, 200)
	if got := res.Header["Vary"]; len(got) != 1 {
		t.Errorf("Vary is %q", got)
	}
}
