package web_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/web"
)

// Every page has the policy, and nothing that the policy would refuse.
func TestPagesNeedNothingInline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("blog", "github", "team/blog", "")
	id := w.built(p)
	cookie := w.session(w.admin)
	inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script[^>]*>[^<]|javascript:|hx-on|hx-vals|https?://[^"]*\.js`)
	for _, path := range []string{"/", "/queue", "/activity", "/system", "/login", "/pipelines/blog", "/pipelines/blog/settings", "/pipelines/none", pagePath(p, id)} {
		a := w.visit("GET", path, nil, map[bool]string{true: cookie}[path != "/login"])
		if got := a.header.Get("Content-Security-Policy"); got != "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'" {
			t.Errorf("%s: the policy is %s", path, got)
		}
		if found := inline.FindString(string(a.body)); found != "" {
			t.Errorf("%s has %q", path, found)
		}
		for _, file := range regexp.MustCompile(`/static/[^"]+`).FindAllString(string(a.body), -1) {
			f := w.visit("GET", file, nil, "")
			if f.status != 200 || !strings.Contains(f.header.Get("Cache-Control"), "immutable") || f.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s of %s: %d %v", file, path, f.status, f.header)
			}
		}
	}
	if a := w.visit("GET", "/static/dashboard.css?v=old", nil, ""); a.status != 200 || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("a file of another version answers %d, %s", a.status, a.header.Get("Cache-Control"))
	}
	for _, path := range []string{"/static/", "/static/none", "/static/..%2ftemplates%2flayout.html"} {
		if a := w.visit("GET", path, nil, ""); a.status != 404 {
			t.Errorf("%s answers %d", path, a.status)
		}
	}
}

// titles are the pipelines that an overview lists, in its order.
func titles(a answer) string {
	var out []string
	for _, m := range regexp.MustCompile(`class="title" href="/pipelines/([^"]+)"`).FindAllStringSubmatch(string(a.body), -1) {
		out = append(out, m[1])
	}
	return strings.Join(out, " ")
}

func TestOverview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cookie := w.session(w.admin)
	if a := w.visit("GET", "/", nil, cookie); a.status != 200 || !strings.Contains(string(a.body), "troy pipeline create") {
		t.Errorf("without a pipeline the page answers %d and does not say what to do first:\n%s", a.status, a.body)
	}
	for i := range 60 {
		w.exec(`INSERT INTO pipelines (id, name, slug, status, updated_at, repository_full_name) VALUES ($1, $2, $3, $4, '2026-01-01'::timestamptz + ($5 || ' minutes')::interval, $6)`,
			uuid.New(), fmt.Sprintf("Site %02d", i), fmt.Sprintf("site-%02d", i), map[bool]string{true: "failed_to_deploy", false: "deployed"}[i%20 == 7], fmt.Sprint(i/2), "team/repo-"+fmt.Sprint(i))
	}
	for _, query := range []string{"?sort=name&after=%00", "?q=%00", "?q=%ff"} {
		if a := w.visit("GET", "/"+query, nil, cookie); a.status != 400 {
			t.Errorf("%s answers %d", query, a.status)
		}
	}
	blog := w.create("Blog <b>")
	d := w.released(blog, "x")
	w.exec("UPDATE deployments SET message = 'Ship it', author = 'Ada' WHERE id = $1", d.ID)
	w.goLive(blog, d.ID)

	get := func(query string) answer {
		t.Helper()
		a := w.visit("GET", "/"+query, nil, cookie)
		if a.status != 200 {
			t.Fatalf("%s: %d %s", query, a.status, a.body)
		}
		return a
	}
	first := get("")
	for _, want := range []string{"Blog &lt;b&gt;", ">Deployed<", "Ship it", "Ada", "just now", "http://blog-b.sites.test:8081", "The last 1 deployments: 1 Succeeded"} {
		if !strings.Contains(string(first.body), want) {
			t.Errorf("the overview lacks %s:\n%s", want, first.body)
		}
	}
	// Page by page every pipeline comes once.
	next := regexp.MustCompile(`rel="next" href="/([^"]+)"`)
	for _, sort := range []string{"", "?sort=name"} {
		seen := map[string]int{}
		for query, pages := sort, 0; ; pages++ {
			a := get(query)
			for _, slug := range strings.Fields(titles(a)) {
				seen[slug]++
			}
			m := next.FindStringSubmatch(string(a.body))
			if m == nil {
				break
			}
			if query = strings.ReplaceAll(m[1], "&amp;", "&"); pages > 5 {
				t.Fatal("the pages do not end")
			}
		}
		if len(seen) != 61 || seen["site-30"] != 1 || seen["blog-b"] != 1 {
			t.Errorf("by %q %d pipelines are listed: %v", sort, len(seen), seen)
		}
	}
	for query, want := range map[string]string{
		"?status=failed_to_deploy":           "site-47 site-27 site-07",
		"?status=failed_to_deploy&sort=name": "site-07 site-27 site-47",
		"?q=blo":                             "blog-b", "?q=BLOG": "blog-b", "?q=repo-4": "site-49 site-48 site-47 site-46 site-45 site-44 site-43 site-42 site-41 site-40 site-04",
		"?q=site+47": "site-47", "?q=47&status=deployed": "", "?q=%27%3B--": "", "?q=nothing": "",
	} {
		got := titles(get(query))
		if strings.HasPrefix(query, "?q=repo-4") { // those changed in one minute come in any order
			if len(strings.Fields(got)) != 11 {
				t.Errorf("%s lists %s", query, got)
			}
			continue
		}
		if got != want {
			t.Errorf("%s lists %q, want %q", query, got, want)
		}
	}
	for _, query := range []string{"?status=none", "?status=deleted", "?sort=size", "?after=x", "?after=" + url.QueryEscape(strings.Repeat("A", 30))} {
		if a := w.visit("GET", "/"+query, nil, cookie); a.status != 400 || !strings.Contains(string(a.body), "That did not work") {
			t.Errorf("%s answers %d", query, a.status)
		}
	}
	limited := w.session(w.token(credentials.Viewer, blog.ID))
	for query, want := range map[string]string{"": "blog-b", "?q=site": "", "?q=blog": "blog-b", "?status=queued": "", "?sort=name": "blog-b"} {
		if got := titles(w.visit("GET", "/"+query, nil, limited)); got != want {
			t.Errorf("for a limited token %q lists %q, want %q", query, got, want)
		}
	}
	if a := w.visit("GET", "/pipelines/site-01", nil, limited); a.status != 404 {
		t.Errorf("for a limited token another's page answers %d", a.status)
	}
}

// fields are those of the first form of a page for an action.
func fields(t *testing.T, a answer, action string) url.Values {
	t.Helper()
	form := regexp.MustCompile(`(?s)action="[^"]*/actions/` + action + `"[^>]*>(.*?)</form>`).FindSubmatch(a.body)
	if form == nil {
		t.Fatalf("the page has no form to %s:\n%s", action, a.body)
	}
	values := url.Values{}
	for _, f := range regexp.MustCompile(`name="(\w+)" value="([^"]*)"`).FindAllSubmatch(form[1], -1) {
		values.Set(string(f[1]), string(f[2]))
	}
	return values
}

func TestActions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("blog", "github", "team/blog", "")
	cookie, page := w.session(w.admin), "/pipelines/blog"
	act := func(name string, form url.Values, cookie string) answer {
		t.Helper()
		return w.visit("POST", page+"/actions/"+name, form, cookie)
	}
	show := func() answer {
		t.Helper()
		a := w.visit("GET", page, nil, cookie)
		if a.status != 200 {
			t.Fatalf("the page answers %d: %s", a.status, a.body)
		}
		return a
	}
	// A form that is sent twice is carried out once.
	form := fields(t, show(), "deploy")
	form.Set("commit", strings.Repeat("a", 40))
	for range 2 {
		if a := act("deploy", form, cookie); a.status != 303 || !strings.HasPrefix(a.header.Get("Location"), page) {
			t.Errorf("deploying answers %d %s", a.status, a.body)
		}
	}
	if n := w.count("SELECT count(*) FROM deployments WHERE pipeline_id = $1 AND actor = 'token test-admin'", p.ID); n != 1 {
		t.Errorf("%d deployments were made, want 1", n)
	}
	// Who comes second is told who was first.
	stale := fields(t, show(), "cancel")
	other := w.session(w.token(credentials.Deployer))
	if a := act("cancel", stale, other); a.status != 303 {
		t.Errorf("cancelling answers %d %s", a.status, a.body)
	}
	if a := act("cancel", stale, cookie); a.status != 409 || !strings.Contains(string(a.body), "token test-deployer") {
		t.Errorf("cancelling a second time answers %d:\n%s", a.status, a.body)
	}
	// So it is when something else is live.
	old, live := w.released(p, "1"), w.released(p, "2")
	w.goLive(p, old.ID)
	w.goLive(p, live.ID)
	stale = fields(t, show(), "rollback")
	if stale.Get("deployment") != old.ID.String() {
		t.Fatalf("the form is %v", stale)
	}
	w.goLive(p, old.ID)
	if a := act("rollback", stale, cookie); a.status != 412 || !strings.Contains(string(a.body), "Another deployment is live") {
		t.Errorf("a rollback from another live deployment answers %d:\n%s", a.status, a.body)
	}
	w.goLive(p, live.ID)
	back := fields(t, show(), "rollback")
	for range 2 { // the second time it is the same
		if a := act("rollback", back, cookie); a.status != 303 {
			t.Errorf("rolling back answers %d: %s", a.status, a.body)
		}
	}
	// Of two people who roll back at once, the second one is told.
	if a := act("rollback", back, other); a.status != 412 || !strings.Contains(string(a.body), "token test-admin began deployment") {
		t.Errorf("a rollback beside another one answers %d:\n%s", a.status, a.body)
	}
	if n := w.count("SELECT count(*) FROM deployments WHERE pipeline_id = $1 AND kind = 'rollback' AND tree_id = $2", p.ID, old.ID); n != 1 {
		t.Errorf("%d rollbacks were made, want 1", n)
	}
	// Locks, a retry, and what the form lacks.
	lock := fields(t, show(), "lock")
	if a := act("lock", lock, cookie); a.status != 400 {
		t.Errorf("a lock without a reason answers %d", a.status)
	}
	lock.Set("reason", hostile)
	if a := act("lock", lock, cookie); a.status != 303 || !strings.Contains(string(show().body), "&lt;img") || strings.Contains(string(show().body), hostile) {
		t.Errorf("locking answers %d", a.status)
	}
	if a := act("unlock", fields(t, show(), "unlock"), cookie); a.status != 303 {
		t.Errorf("unlocking answers %d", a.status)
	}
	if a := act("retry", url.Values{"deployment": {live.ID.String()}}, cookie); a.status != 303 {
		t.Errorf("a retry answers %d: %s", a.status, a.body)
	}
	foreign := w.released(w.create("Shop"), "x")
	for name, bad := range map[string]url.Values{"cancel": {}, "retry": {"deployment": {"x"}}, "rollback": {"deployment": {foreign.ID.String()}}} {
		if a := act(name, bad, cookie); a.status != 400 && a.status != 404 {
			t.Errorf("%s with %v answers %d", name, bad, a.status)
		}
	}
	if a := act("explode", url.Values{}, cookie); a.status != 404 {
		t.Errorf("an unknown action answers %d", a.status)
	}
	if a := act("deploy", url.Values{"commit": {strings.Repeat("x", 65<<10)}}, cookie); a.status != 413 {
		t.Errorf("a large form answers %d", a.status)
	}
	if a := w.visit("POST", page+"/actions/deploy", url.Values{}, cookie, header("Sec-Fetch-Site", "cross-site")); a.status != 403 {
		t.Errorf("a form of another site answers %d", a.status)
	}
	if a := w.visit("POST", page+"/actions/deploy", url.Values{}, ""); a.status != 303 || a.header.Get("Location") != "/login?next=%2Fpipelines%2Fblog&unsent=1" {
		t.Errorf("without a session an action answers %d %s", a.status, a.header.Get("Location"))
	}
	// A deletion is confirmed by the name, and its page says who did it.
	if a := act("delete", url.Values{"confirm": {"bl0g"}}, cookie); a.status != 400 || w.count("SELECT count(*) FROM pipelines WHERE slug = 'blog' AND status LIKE '%delet%'") != 0 {
		t.Errorf("a deletion that is not confirmed answers %d", a.status)
	}
	gone := fields(t, w.visit("GET", page+"/settings", nil, cookie), "delete")
	gone.Set("confirm", "blog")
	if a := act("delete", gone, cookie); a.status != 303 || !strings.Contains(string(show().body), "being deleted") {
		t.Errorf("deleting answers %d: %s", a.status, a.body)
	}
	w.exec("DELETE FROM pipelines WHERE id = $1", p.ID)
	if a := w.visit("GET", page, nil, cookie); a.status != 404 || !strings.Contains(string(a.body), "token test-admin") {
		t.Errorf("the page of a deleted pipeline answers %d:\n%s", a.status, a.body)
	}
}

// Who may not do something is told which role it needs, and the page offers
// nothing else.
func TestActionsNeedRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("blog", "github", "team/blog", "")
	w.built(p)
	for role, denied := range map[credentials.Role]map[string]string{
		credentials.Viewer: {
			"deploy": "deployer", "rollback": "deployer", "cancel": "deployer", "retry": "deployer", "lock": "deployer", "unlock": "deployer", "provision": "admin", "delete": "admin", "restore": "admin",
		},
		credentials.Deployer: {"provision": "admin", "delete": "admin", "restore": "admin"},
	} {
		cookie := w.session(w.token(role))
		a := w.visit("GET", "/pipelines/blog", nil, cookie)
		for action, needed := range denied {
			if strings.Contains(string(a.body), "/actions/"+action+`"`) {
				t.Errorf("a %s is offered to %s", role, action)
			}
			a := w.visit("POST", "/pipelines/blog/actions/"+action, url.Values{"confirm": {"blog"}}, cookie)
			if a.status != 403 || !strings.Contains(string(a.body), "needs the role "+needed) {
				t.Errorf("to a %s %s answers %d:\n%s", role, action, a.status, a.body)
			}
		}
	}
	if n := w.count("SELECT count(*) FROM deployments"); n != 1 {
		t.Errorf("there are %d deployments, want 1", n)
	}
}

// stream opens a page's stream and returns its events as they come: each its
// name, and its id.
func (w *world) stream(path, cookie, seen string) (next func() (string, string), stop func()) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "GET", w.server.URL+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Cookie", cookie)
	if seen != "" {
		req.Header.Set("Last-Event-ID", seen)
	}
	resp, err := w.server.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		w.t.Fatalf("%s: %d", path, resp.StatusCode)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return func() (string, string) {
		name, id := "", ""
		for lines.Scan() {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "event: "):
				name = line[7:]
			case strings.HasPrefix(line, "id: "):
				id = line[4:]
			case line == "" && name != "":
				return name, id
			}
		}
		return "", ""
	}, func() { resp.Body.Close() }
}

// A stream sends what its reader has not seen, and nothing else.
func TestPagesCatchUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("blog", "github", "team/blog", "")
	viewer := w.token(credentials.Viewer)
	cookie := w.session(viewer)
	for _, path := range []string{"/live", "/pipelines/blog/live"} {
		next, stop := w.stream(path, cookie, "")
		name, first := next()
		if name != "live" || first == "" {
			t.Fatalf("%s begins with %q", path, name)
		}
		stop()
		// The page as it was seen is not sent again; what happened meanwhile is.
		next, stop = w.stream(path, cookie, first)
		w.exec("UPDATE pipelines SET name = name || '!' WHERE id = $1", p.ID)
		if name, second := next(); name != "live" || second == first {
			t.Errorf("%s sends %q %s after %s", path, name, second, first)
		}
		stop()
		page := w.visit("GET", strings.TrimSuffix(path, "live"), nil, cookie)
		if path == "/pipelines/blog/live" {
			page = w.visit("GET", "/pipelines/blog", nil, cookie)
		}
		seen := regexp.MustCompile(`seen=(\w+)`).FindSubmatch(page.body)
		next, stop = w.stream(path, cookie, string(seen[1]))
		w.exec("UPDATE pipelines SET name = name || '?' WHERE id = $1", p.ID)
		if name, id := next(); name != "live" || id == string(seen[1]) {
			t.Errorf("what the page at %s says to have seen is sent again", path)
		}
		stop()
	}
	next, stop := w.stream("/pipelines/blog/live", cookie, "")
	defer stop()
	next()
	w.exec("DELETE FROM tokens WHERE name = 'test-viewer'")
	if name, _ := next(); name != "reload" {
		t.Errorf("after the token was revoked the stream sends %q", name)
	}
	if a := w.visit("GET", "/live", nil, cookie); a.status != 400 {
		t.Errorf("a stream that is not read as one answers %d", a.status)
	}
}

// restart starts another server where one was.
func (w *world) restart(address string) {
	w.t.Helper()
	h, err := web.New(w.cfg, w.deps)
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.server = httptest.NewUnstartedServer(h)
	w.server.Listener.Close()
	w.server.Listener = l
	w.server.Start()
	server := w.server
	w.t.Cleanup(func() { server.Config.Close() }) // its streams too
}

// Someone signs in, searches, watches a deployment, loses the server and finds
// it again, and rolls back.
func TestDashboardInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := browse(t)

	p := w.bind("Blog", "github", "team/blog", "")
	shop := w.create("Shop")
	w.exec("UPDATE pipelines SET name = $2 WHERE id = $1", shop.ID, hostile)
	old, live := w.released(p, "1"), w.released(p, "2")
	w.goLive(p, old.ID)
	w.goLive(p, live.ID)
	w.exec("UPDATE deployments SET message = $2 || number WHERE pipeline_id = $1", p.ID, hostile)

	b.signIn(w, w.token(credentials.Deployer), "/")
	b.shows("#list", "Blog")
	b.shows("#list", hostile)
	b.do(chromedp.SendKeys("#q", "blo"))
	b.eventually("one pipeline is found", func() bool { return b.number(`document.querySelectorAll("#list .row").length`) == 1 })
	b.shows("#list .row", "Blog")
	w.put(p, troy.Queued)
	b.shows("#list .status", "Queued")
	w.put(p, troy.Deployed)

	b.open(w.server.URL + "/pipelines/blog")
	b.shows("h1", "Blog")
	b.shows(".node.now", "Deployed")
	b.quiet()
	// The server goes, something happens, and the page catches up.
	address := w.server.Listener.Addr().String()
	if err := w.server.Config.Close(); err != nil {
		t.Fatal(err)
	}
	w.put(p, troy.Deploying)
	b.shows("#lost:not([hidden])", "The connection was lost")
	w.restart(address)
	b.shows(".node.now", "Deploying")
	b.eventually("the page has its connection again", func() bool { return b.read("#lost:not([hidden])") == "" })
	b.said.clear() // that the connection was lost is what the browser logs
	w.put(p, troy.Deployed)
	b.shows(".node.now", "Deployed")

	row := fmt.Sprintf("#d-%d ", old.Number)
	b.do(chromedp.Click(row+"summary", chromedp.NodeVisible), chromedp.Click(row+"button.primary", chromedp.NodeVisible))
	b.shows("h1", hostile)
	b.shows("main", "rollback of #"+fmt.Sprint(old.Number))
	if n := w.count("SELECT count(*) FROM deployments WHERE pipeline_id = $1 AND kind = 'rollback' AND tree_id = $2", p.ID, old.ID); n != 1 {
		t.Errorf("%d rollbacks were made, want 1", n)
	}
	if n := b.number(`document.images.length`); n != 0 {
		t.Errorf("the page has %d pictures", n)
	}
	// Revoked, the page asks to sign in again, and people come back to it.
	at, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.pathname`))
	if err != nil {
		t.Fatal(err)
	}
	w.exec("DELETE FROM tokens WHERE name = 'test-deployer'")
	b.shows("h1", "Sign in to Troy")
	b.do(chromedp.SendKeys("#token", w.token(credentials.Viewer)), chromedp.Submit("#token"))
	b.eventually("the browser is back", func() bool {
		now, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.pathname`))
		return now == at
	})
	b.quiet()
}
