package web_test

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/credentials"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create("Blog")
	if a := w.visit("GET", "/pipelines/blog?before=3", nil, ""); a.status != 303 || a.header.Get("Location") != "/login?next=%2Fpipelines%2Fblog%3Fbefore%3D3" {
		t.Errorf("without a session a page answers %d, %s", a.status, a.header.Get("Location"))
	}
	a := w.visit("GET", "/login?next=%2Fpipelines%2Fblog%3Fbefore%3D3", nil, "")
	if !strings.Contains(string(a.body), "troyd token create --role deployer --name NAME<") {
		t.Error("the page does not say how a token is created")
	}
	if a.status != 200 || !strings.Contains(string(a.body), `name="next" value="/pipelines/blog?before=3"`) {
		t.Errorf("the page to sign in answers %d:\n%s", a.status, a.body)
	}
	for _, token := range []string{"", "x", "troy_" + strings.Repeat("x", 43)} {
		a := w.visit("POST", "/login", url.Values{"token": {token}, "next": {"/system"}}, "")
		if a.status != 401 || a.header.Get("Set-Cookie") != "" || !strings.Contains(string(a.body), "The token is unknown") || !strings.Contains(string(a.body), `value="/system"`) {
			t.Errorf("with the token %q signing in answers %d: %s", token, a.status, a.body)
		}
	}
	for next, to := range map[string]string{"/pipelines/blog?before=3": "/pipelines/blog?before=3", "https://evil.test/": "/", "//evil.test": "/"} {
		if a := w.visit("POST", "/login", url.Values{"token": {w.admin}, "next": {next}}, ""); a.status != 303 || a.header.Get("Location") != to {
			t.Errorf("after signing in for %q people come to %q", next, a.header.Get("Location"))
		}
	}

	// The cookie is for Troy's own host and HTTPS alone, whatever host a proxy
	// names.
	a = w.visit("POST", "/login", url.Values{"token": {w.admin}}, "")
	if c := a.header.Get("Set-Cookie"); !regexp.MustCompile(`^__Host-troy=[\w-]{43}; Path=/; Max-Age=604800; HttpOnly; Secure; SameSite=Lax$`).MatchString(c) {
		t.Errorf("the cookie is %s", c)
	}
	plain := strings.TrimPrefix(cookieOf(t, a), "__Host-")
	if a := w.visit("GET", "/system", nil, plain); a.status != 303 {
		t.Error("over HTTPS a cookie counts that a neighbour can set")
	}

	// Signing in again ends the session before, and the API takes no cookie.
	first := cookieOf(t, a)
	second := cookieOf(t, w.visit("POST", "/login", url.Values{"token": {w.admin}}, first))
	if first == second || w.visit("GET", "/system", nil, first).status != 303 || w.visit("GET", "/system", nil, second).status != 200 {
		t.Error("the session is not another one after signing in again")
	}
	w.visit("GET", "/v1/pipelines", nil, second).refused(t, 401, "unauthenticated", "", "")
	if n := w.count("SELECT count(*) FROM sessions WHERE encode(hash, 'escape') LIKE '%' || $1 || '%'", strings.TrimPrefix(second, "__Host-troy=")); n != 0 {
		t.Error("the cookie itself is stored")
	}
	if a := w.visit("POST", "/logout", url.Values{}, second, header("Sec-Fetch-Site", "cross-site")); a.status != 403 {
		t.Errorf("a page of another site signs people out: %d", a.status)
	}
	if a := w.visit("POST", "/logout", url.Values{}, second); a.status != 303 || !strings.Contains(a.header.Get("Set-Cookie"), "Max-Age=0") || w.visit("GET", "/system", nil, second).status != 303 {
		t.Error("signing out does not end the session")
	}
}

// Over plain HTTP all ports of a host share their cookies.
func TestCookiesOfTwoPortsDiffer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.URL = "http://127.0.0.1:18080" })
	a := w.visit("POST", "/login", url.Values{"token": {w.admin}}, "")
	if c := a.header.Get("Set-Cookie"); !regexp.MustCompile(`^troy-18080=[\w-]{43}; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax$`).MatchString(c) {
		t.Errorf("over plain HTTP the cookie is %s", c)
	}
	cookie := cookieOf(t, a)
	if a := w.visit("GET", "/system", nil, "troy-9=x; "+cookie); a.status != 200 {
		t.Errorf("with its cookie the page answers %d", a.status)
	}
	if a := w.visit("GET", "/system", nil, strings.Replace(cookie, "18080", "18081", 1)); a.status != 303 {
		t.Errorf("with the cookie of another port the page answers %d", a.status)
	}
}

// Only a proxy that is listed says for whom it asks.
func TestAddressesAreNotForged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	w.create("Blog")
	w.send("POST", "/v1/pipelines/blog/lock", `{"reason":"freeze"}`, header("X-Forwarded-For", "192.0.2.1")).into(t, 200, nil)
	w.session(w.admin, header("X-Forwarded-For", "192.0.2.1"))
	if n := w.count("SELECT count(*) FROM audit WHERE remote = '127.0.0.1' AND action IN ('pipeline.lock', 'session.create')"); n != 2 {
		t.Errorf("of 2 changes from 127.0.0.1 %d are recorded as such", n)
	}
}

// A page of a neighbouring host or of another site reads nothing with the
// browser's session. Links to Troy's pages work.
func TestOtherSitesReadNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create("Blog")
	cookie := w.session(w.admin)
	for _, path := range []string{"/", "/pipelines/blog", "/system", "/live", "/v1/pipelines", "/monitor", "/openapi.json"} {
		for _, site := range []string{"same-site", "cross-site"} {
			for mode, dest := range map[string]string{"cors": "empty", "no-cors": "image", "navigate": "iframe"} {
				fetch := []option{header("Sec-Fetch-Site", site), header("Sec-Fetch-Mode", mode), header("Sec-Fetch-Dest", dest)}
				a := w.visit("GET", path, nil, cookie, fetch...)
				a.refused(t, 403, "forbidden", "", "a page of another site sent this request")
			}
		}
	}
	link := []option{header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Mode", "navigate"), header("Sec-Fetch-Dest", "document")}
	if a := w.visit("GET", "/pipelines/blog", nil, cookie, link...); a.status != 200 {
		t.Errorf("a link from another site answers %d", a.status)
	}
	for _, from := range []string{"same-origin", "none"} {
		if a := w.visit("GET", "/pipelines/blog", nil, cookie, header("Sec-Fetch-Site", from), header("Sec-Fetch-Mode", "cors")); a.status != 200 {
			t.Errorf("a request from %s answers %d", from, a.status)
		}
	}
	// Without the cookie it is any client's request.
	w.send("GET", "/v1/pipelines", nil, header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Mode", "cors")).into(t, 200, nil)
}

// Whatever a browser asks for without a session, it comes back to the page that
// it was on.
func TestAfterSignInPeopleComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	page := w.server.URL + "/pipelines/blog?before=3"
	for name, c := range map[string]struct {
		method, path string
		options      []option
		status       int
		header, want string
	}{
		"a page":                     {"GET", "/system?q=a+b", nil, 303, "Location", "/login?next=%2Fsystem%3Fq%3Da%2Bb"},
		"a form":                     {"POST", "/system/sessions/x/revoke", []option{header("Referer", w.server.URL+"/system?a=b")}, 303, "Location", "/login?next=%2Fsystem%3Fa%3Db&unsent=1"},
		"a form of an action":        {"POST", "/pipelines/blog/actions/lock", nil, 303, "Location", "/login?next=%2Fpipelines%2Fblog&unsent=1"},
		"a form without a referrer":  {"POST", "/system/sessions/x/revoke", nil, 303, "Location", "/login?unsent=1"},
		"a form from elsewhere":      {"POST", "/system/sessions/x/revoke", []option{header("Referer", "https://evil.test/x")}, 303, "Location", "/login?unsent=1"},
		"a part of a page":           {"GET", "/?q=b", []option{header("HX-Request", "true"), header("HX-Current-URL", page)}, 204, "HX-Redirect", "/login?next=%2Fpipelines%2Fblog%3Fbefore%3D3"},
		"a form that htmx sends":     {"POST", "/pipelines/blog/actions/lock", []option{header("HX-Request", "true"), header("HX-Current-URL", page)}, 204, "HX-Redirect", "/login?next=%2Fpipelines%2Fblog%3Fbefore%3D3&unsent=1"},
		"an export":                  {"GET", "/activity/export?q=a", nil, 303, "Location", "/login?next=%2Factivity%2Fexport%3Fq%3Da"},
		"a part of a page elsewhere": {"GET", "/", []option{header("HX-Request", "true"), header("HX-Current-URL", "https://evil.test/x")}, 204, "HX-Redirect", "/login"},
	} {
		form := url.Values{}
		if c.method == "GET" {
			form = nil
		}
		a := w.visit(c.method, c.path, form, "", c.options...)
		if a.status != c.status || a.header.Get(c.header) != c.want {
			t.Errorf("%s: %d, %s %q, want %d, %q", name, a.status, c.header, a.header.Get(c.header), c.status, c.want)
		}
	}
	if a := w.visit("GET", "/login?unsent=1", nil, ""); !strings.Contains(string(a.body), "Troy did not do what you sent") {
		t.Error("the page does not say that nothing was done")
	}
	// A stream asks the page to reload.
	a := w.visit("GET", "/pipelines/blog/live", nil, "", header("Accept", "text/event-stream"))
	if a.status != 200 || string(a.body) != "event: reload\ndata: \n\n" {
		t.Errorf("a stream answers %d %q", a.status, a.body)
	}
}

func TestSignInsAreRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	viewer, from := w.token(credentials.Viewer), header("X-Forwarded-For", "192.0.2.1")
	cookie := w.session(viewer, from, header("User-Agent", "Firefox/1 Linux"))
	admin := w.session(w.admin)
	id := regexp.MustCompile(`/system/sessions/[0-9a-f]{64}/revoke`).FindString(string(w.visit("GET", "/system/access", nil, cookie).body))
	if a := w.visit("POST", id, url.Values{}, admin); a.status != 303 {
		t.Fatalf("revoking answers %d", a.status)
	}
	w.visit("POST", "/login", url.Values{"token": {"wrong"}}, "", from)
	w.session(w.admin, header("User-Agent", "b\xe9"))
	odd := w.session(viewer, header("User-Agent", "\xff\xfe"))
	w.visit("POST", "/logout", url.Values{}, odd, header("X-Forwarded-For", "192.0.2.2"))
	w.create("Blog")
	w.send("POST", "/v1/pipelines/blog/lock", `{"reason":"freeze"}`, header("X-Forwarded-For", "198.51.100.9, 192.0.2.3")).into(t, 200, nil)
	for what, query := range map[string]string{
		"the sign-in":    "action = 'session.create' AND actor = 'token test-viewer' AND subject = 'Firefox on Linux' AND detail = 'by token' AND remote = '192.0.2.1'",
		"the revocation": "action = 'session.revoke' AND actor = 'token test-admin' AND subject = 'token test-viewer' AND detail = 'Firefox on Linux'",
		"signing out":    "action = 'session.revoke' AND actor = 'token test-viewer' AND subject = 'token test-viewer' AND remote = '192.0.2.2'",
		"the lock":       "action = 'pipeline.lock' AND actor = 'token test-admin' AND remote = '192.0.2.3'",
		"the failure":    "action = 'session.refuse' AND actor = 'unknown' AND subject = 'token' AND detail LIKE 'the token is unknown%' AND remote = '192.0.2.1'",
	} {
		if n := w.count("SELECT count(*) FROM audit WHERE " + query); n != 1 {
			t.Errorf("%s is recorded %d times, want 1", what, n)
		}
	}
	// Failures from everywhere can't flood the trail; each is counted.
	const tries = 200
	for i := range tries {
		w.visit("POST", "/login", url.Values{"token": {"wrong"}}, "", header("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i)))
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'session.refuse'"); n < 20 || n > tries/2 {
		t.Errorf("of %d failures %d are recorded", tries, n)
	}
	if n := w.count("SELECT count(*) FROM audit WHERE detail LIKE '%wrong%'"); n != 0 {
		t.Error("the trail has what was typed as the token")
	}
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for what, sql := range map[string]string{
		"12 hours without a request": "UPDATE sessions SET last_seen_at = now() - interval '12 hours 1 second'",
		"seven days":                 "UPDATE sessions SET expires_at = now()",
		"the token's expiry":         "UPDATE tokens SET expires_at = now() WHERE name = 'test-viewer'",
		"the token's revocation":     "DELETE FROM tokens WHERE name = 'test-viewer'",
	} {
		cookie := w.session(w.token(credentials.Viewer))
		if a := w.visit("GET", "/", nil, cookie); a.status != 200 {
			t.Fatalf("before %s: %d", what, a.status)
		}
		w.exec(sql)
		if a := w.visit("GET", "/", nil, cookie); a.status != 303 || a.header.Get("Location") != "/login" {
			t.Errorf("after %s: %d %s", what, a.status, a.header.Get("Location"))
		}
	}
	// What has expired is removed when someone signs in, and of one token's at
	// most 50 stay.
	token := w.token(credentials.Viewer)
	w.exec("INSERT INTO sessions (hash, token_id, expires_at, created_at) SELECT sha256(i::text::bytea), id, now() + interval '1 day', now() - interval '1 hour' FROM generate_series(1, 60) i, (SELECT id FROM tokens ORDER BY created_at DESC LIMIT 1) newest")
	const used = "SELECT count(*) FROM tokens WHERE last_used_at > now() - interval '1 minute' AND id = (SELECT id FROM tokens ORDER BY created_at DESC LIMIT 1)"
	if n := w.count(used); n != 0 {
		t.Fatal("the token was used before the sign-in")
	}
	cookie := w.session(token)
	if n := w.count(used); n != 1 {
		t.Error("the sign-in does not count as a use of the token")
	}
	if n := w.count("SELECT count(*) FROM sessions WHERE token_id = (SELECT id FROM tokens ORDER BY created_at DESC LIMIT 1)"); n != 50 {
		t.Errorf("%d sessions are kept, want 50", n)
	}
	if w.visit("GET", "/", nil, cookie).status != 200 {
		t.Error("the newest is not among them")
	}
	// A session in use is noted.
	w.exec("UPDATE sessions SET last_seen_at = now() - interval '11 hours'")
	w.visit("GET", "/", nil, cookie)
	if n := w.count("SELECT count(*) FROM sessions WHERE last_seen_at > now() - interval '1 minute'"); n != 1 {
		t.Errorf("%d sessions are noted as in use, want 1", n)
	}
}

func TestSignInByALink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sessions := credentials.Sessions{DB: w.db}
	issue := func() string {
		t.Helper()
		link, err := sessions.IssueLink(t.Context(), w.admin)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(link, "/login?once=")
	}
	code := issue()
	if a := w.visit("GET", "/system", nil, "__Host-troy="+code); a.status != 303 {
		t.Error("a link's code is a session")
	}
	if a := w.visit("GET", "/login?once="+code, nil, "", header("Sec-Purpose", "prefetch;prerender")); a.status == 303 || a.header.Get("Set-Cookie") != "" {
		t.Error("a browser that fetches ahead uses the link up")
	}
	a := w.visit("GET", "/login?next=/system&once="+code, nil, "")
	if a.status != 303 || a.header.Get("Location") != "/system" {
		t.Fatalf("the link answers %d %s", a.status, a.body)
	}
	if a := w.visit("GET", "/system", nil, cookieOf(t, a)); a.status != 200 {
		t.Errorf("after the link a page answers %d", a.status)
	}
	if a := w.visit("GET", "/login?once="+code, nil, ""); a.status != 401 || a.header.Get("Set-Cookie") != "" || !strings.Contains(string(a.body), "used before or is older than 10 minutes") {
		t.Errorf("a second time the link answers %d", a.status)
	}
	late := issue()
	w.exec("UPDATE sessions SET expires_at = expires_at - interval '10 minutes' WHERE once")
	if a := w.visit("GET", "/login?once="+late, nil, ""); a.status != 401 {
		t.Errorf("after ten minutes the link answers %d", a.status)
	}
}

func TestFailedSignInsKeepNoOneElseOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from := func(address string) option { return header("X-Forwarded-For", address) }
	wrong := url.Values{"token": {"troy_" + strings.Repeat("x", 43)}}
	refused := 0
	for range 30 {
		a := w.visit("POST", "/login", wrong, "", from("192.0.2.1"))
		if a.status == 429 && a.header.Get("Retry-After") != "" {
			refused++
		} else if a.status != 401 {
			t.Fatalf("a wrong token answers %d", a.status)
		}
	}
	if refused < 10 {
		t.Errorf("of 30 wrong tokens %d were refused for their number", refused)
	}
	w.session(w.admin, from("192.0.2.1")) // a valid token signs in from there too
	w.session(w.admin, from("192.0.2.2"))
	if a := w.visit("POST", "/login", wrong, "", from("192.0.2.2")); a.status != 401 {
		t.Errorf("the first wrong token of another address answers %d", a.status)
	}
}

func TestSessionsAreListedAndRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	viewer, limited := w.session(w.token(credentials.Viewer)), w.session(w.token(credentials.Admin, p.ID))
	admin := w.session(w.admin, header("User-Agent", hostile))
	revokes := regexp.MustCompile(`/system/sessions/[0-9a-f]{64}/revoke`)
	for cookie, want := range map[string]int{viewer: 1, limited: 1, admin: 3} {
		a := w.visit("GET", "/system/access", nil, cookie)
		if got := len(revokes.FindAllString(string(a.body), -1)); a.status != 200 || got != want {
			t.Errorf("%d sessions are listed, want %d: %d", got, want, a.status)
		}
		if strings.Contains(string(a.body), "<img") || strings.Count(string(a.body), "this browser") != 1 {
			t.Errorf("the list is\n%s", a.body)
		}
	}
	own := revokes.FindString(string(w.visit("GET", "/system/access", nil, viewer).body))
	if a := w.visit("POST", own, url.Values{}, limited); a.status != 404 {
		t.Errorf("another token's holder revokes a session: %d", a.status)
	}
	for _, id := range []string{"x", uuid.NewString(), strings.Repeat("0", 64)} {
		if a := w.visit("POST", "/system/sessions/"+id+"/revoke", url.Values{}, admin); a.status != 404 {
			t.Errorf("revoking %s answers %d", id, a.status)
		}
	}
	if a := w.visit("POST", own, url.Values{}, admin); a.status != 303 || w.visit("GET", "/", nil, viewer).status != 303 {
		t.Errorf("an admin's revocation answers %d", a.status)
	}
	// Who is signed in sees the monitor, if an admin of all pipelines.
	for cookie, want := range map[string]int{admin: 200, limited: 403, viewer: 401} {
		if a := w.visit("GET", "/monitor", nil, cookie); a.status != want {
			t.Errorf("the monitor answers %d, want %d", a.status, want)
		}
	}
}

// TestSessionsHavePages reads many sessions page by page, some of which began at
// the same time.
func TestSessionsHavePages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cookie := w.session(w.admin)
	w.exec("INSERT INTO sessions (hash, token_id, once, expires_at, user_agent, created_at) SELECT sha256(n::text::bytea), (SELECT token_id FROM sessions LIMIT 1), false, now() + interval '1 day', 'x', now() - make_interval(mins => n / 3) FROM generate_series(1, 120) n")
	const all = 121
	seen, after := map[string]bool{}, ""
	for {
		var page struct {
			Sessions []map[string]any `json:"sessions"`
			Next     string           `json:"next"`
		}
		w.send("GET", "/v1/sessions?limit=50&after="+after, nil).into(t, 200, &page)
		for _, s := range page.Sessions {
			seen[fmt.Sprint(s["id"])] = true
		}
		if after = page.Next; after == "" {
			break
		}
		if len(page.Sessions) != 50 {
			t.Fatalf("a page has %d sessions, want 50", len(page.Sessions))
		}
	}
	if len(seen) != all {
		t.Errorf("the pages of the API have %d sessions, want %d", len(seen), all)
	}
	seen = map[string]bool{}
	rows, next := regexp.MustCompile(`action="/system/sessions/([0-9a-f]{64})/revoke"`), regexp.MustCompile(`href="(/system/access\?sessions=[^"]+)"`)
	for address := "/system/access"; address != ""; {
		body := string(w.visit("GET", address, nil, cookie).body)
		found := rows.FindAllStringSubmatch(body, -1)
		for _, row := range found {
			seen[row[1]] = true
		}
		address = ""
		if link := next.FindStringSubmatch(body); link != nil {
			address = link[1]
			if len(found) != 50 {
				t.Fatalf("a page lists %d sessions, want 50", len(found))
			}
		}
	}
	if len(seen) != all {
		t.Errorf("the pages of the dashboard list %d sessions, want %d", len(seen), all)
	}
	for _, bad := range []string{"x", "1", "1.x", "1." + uuid.NewString() + ".x"} {
		w.send("GET", "/v1/sessions?after="+bad, nil).refused(t, 400, "invalid", "after", "")
		if a := w.visit("GET", "/system/access?sessions="+bad, nil, cookie); a.status != 400 {
			t.Errorf("the page after %q answers %d, want 400", bad, a.status)
		}
	}
}
