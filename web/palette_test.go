package web_test

import (
	"context"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/troy-iaas/troy/credentials"
)

// script runs a script in the page.
func script(text string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Evaluate[bool](text)(ctx, t)
		return chromedp.Void{}, err
	}
}

// The palette goes to a pipeline and rolls it back, by keys alone.
func TestPaletteInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := browse(t)
	p := w.bind("Blog", "github", "team/blog", "")
	w.exec("UPDATE pipelines SET name = $2 WHERE id = $1", w.create("Shop").ID, hostile)
	old, live := w.released(p, "1"), w.released(p, "2")
	w.goLive(p, old.ID)
	w.goLive(p, live.ID)
	w.exec("UPDATE deployments SET message = $2 WHERE pipeline_id = $1", p.ID, hostile)
	b.signIn(w, w.token(credentials.Deployer), "/activity")
	open := func() {
		t.Helper()
		// The page's script may not have run yet.
		b.eventually("the palette is open", func() bool {
			return b.number(`(() => {
				const palette = document.getElementById("palette");
				if (palette && !palette.open) document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "k", ctrlKey: true, bubbles: true, cancelable: true}));
				return palette?.open ? 1 : 0;
			})()`) == 1
		})
	}
	open()
	b.shows("#palette-list", hostile)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.eventually("Escape closes the palette", func() bool { return b.number(`document.getElementById("palette").open ? 1 : 0`) == 0 })
	open()
	b.do(chromedp.SendKeys("#palette-input", "team blo"))
	b.eventually("one pipeline is found", func() bool {
		return b.number(`document.querySelectorAll("#palette-list [role=option]").length`) == 1 && strings.Contains(b.read("#palette-list"), "Blog")
	})
	b.do(chromedp.KeyEvent(kb.Enter))
	b.shows("#palette-list", "Open the site")
	b.shows("#palette-list", hostile)
	b.do(chromedp.SendKeys("#palette-input", "roll back"))
	b.eventually("one action fits", func() bool { return b.number(`document.querySelectorAll("#palette-list [role=option]").length`) == 1 })
	b.do(chromedp.KeyEvent(kb.Enter))
	b.shows("#palette-list [aria-selected=true]", "Enter confirms")
	if n := w.count("SELECT count(*) FROM deployments WHERE kind = 'rollback'"); n != 0 {
		t.Error("the rollback is not confirmed, and made")
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.shows("main", "rollback of #1")
	b.eventually("the rollback is made", func() bool {
		return w.count("SELECT count(*) FROM deployments WHERE pipeline_id = $1 AND kind = 'rollback' AND tree_id = $2", p.ID, old.ID) == 1
	})
	b.do(script(`document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "?", bubbles: true, cancelable: true})), true`))
	b.shows("#shortcuts[open]", "go to a page or a pipeline")
	if n := b.number(`document.images.length`); n != 0 {
		t.Errorf("the page has %d pictures", n)
	}
	b.quiet()
}

// TestPaletteOffersWhatOneMayDo checks what each role is offered.
func TestPaletteOffersWhatOneMayDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("blog", "github", "team/blog", "")
	old, live := w.released(p, "1"), w.released(p, "2")
	w.goLive(p, old.ID)
	w.goLive(p, live.ID)
	for role, posts := range map[credentials.Role]int{credentials.Viewer: 0, credentials.Deployer: 2, credentials.Admin: 2} {
		var offered struct {
			Items []struct{ Title, Go, Post string }
		}
		a := w.visit("GET", "/palette/blog", nil, w.session(w.token(role)))
		if err := json.Unmarshal(a.body, &offered); err != nil || a.status != 200 {
			t.Fatalf("%d %s: %v", a.status, a.body, err)
		}
		got := 0
		for _, item := range offered.Items {
			if item.Post != "" {
				got++
			}
		}
		if got != posts || len(offered.Items) < 4 {
			t.Errorf("a %s is offered %+v, want %d actions", role, offered.Items, posts)
		}
	}
	other := w.session(w.token(credentials.Admin, w.create("Other").ID))
	if a := w.visit("GET", "/palette/blog", nil, other); a.status != 404 {
		t.Errorf("to a token of another pipeline the palette answers %d", a.status)
	}
	if a := w.visit("GET", "/palette?q=blog", nil, other); strings.Contains(string(a.body), "blog") {
		t.Errorf("a token of another pipeline finds %s", a.body)
	}
}

// The activity is filtered, moves while the page is open, and is exported.
func TestActivityInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := browse(t)
	w.create("Blog")
	w.send("POST", "/v1/pipelines/blog/lock", map[string]string{"reason": hostile}).into(t, 200, nil)
	b.signIn(w, w.admin, "/activity")
	b.shows("#activity", hostile)
	w.send("DELETE", "/v1/pipelines/blog/lock", nil).into(t, 200, nil)
	w.send("POST", "/v1/pipelines/blog/lock", map[string]string{"reason": hostile + " again"}).into(t, 200, nil)
	b.shows("#activity", "again")
	b.do(chromedp.SendKeys("#a-search", "ONERROR"))
	b.eventually("two entries are found", func() bool { return b.number(`document.querySelectorAll("#activity .entry").length`) == 2 })
	b.eventually("the export has the search", func() bool {
		return b.number(`Number(document.getElementById("activity-export").search.includes("search=ONERROR"))`) == 1
	})
	b.open(w.server.URL + "/activity?actor=unknown")
	b.shows("#activity .empty", "Nothing matches")
	b.quiet()
	export := w.visit("GET", "/activity/export?what=pipeline.lock", nil, w.session(w.admin))
	lines := strings.Split(strings.TrimSpace(string(export.body)), "\n")
	if export.status != 200 || export.header.Get("Content-Type") != "application/x-ndjson" || len(lines) != 2 {
		t.Errorf("the export answers %d with %d lines", export.status, len(lines))
	}
	for _, line := range lines {
		var a activity
		if err := json.Unmarshal([]byte(line), &a); err != nil || a.Action != "pipeline.lock" || a.Pipeline != "blog" {
			t.Errorf("%s: %v", line, err)
		}
	}
	if a := w.visit("GET", "/activity/export?pipeline=blog", nil, w.session(w.token(credentials.Viewer, w.create("Other").ID))); a.status != 404 {
		t.Errorf("the export of another's pipeline answers %d", a.status)
	}
}

// TestActivityFilters lists the activity by actor, action, status, text and time,
// and exports the same.
func TestActivityFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.create("Other")
	for i, action := range []string{"token.create", "token.revoke", "pipeline.lock"} {
		w.exec("INSERT INTO audit (actor, action, subject, detail, pipeline_id, slug, time) VALUES ($1, $2, 'ci', '100% _sure_', $3, 'blog', now() - make_interval(days => $4))", []string{"token ann", "token bob", "token ann"}[i], action, p.ID, 10*(i+1))
	}
	for query, want := range map[string]string{
		"&actor=token+ann": "token.create pipeline.lock", "&what=token": "token.create token.revoke", "&what=token.revoke": "token.revoke", "&what=pipeline.status": "pipeline.status pipeline.status",
		"&what=pre_provisioned": "pipeline.status pipeline.status", "&what=deployed": "", "&search=_SURE_": "token.create token.revoke pipeline.lock", "&search=100%25+x": "", "&search=pre+provisioned": "pipeline.status pipeline.status",
		"&since=15d&what=token": "token.create", "&until=15d": "token.revoke pipeline.lock", "&actor=token+ann&pipeline=blog": "token.create pipeline.lock", "&actor=token+ann&pipeline=other": "",
		"&since=" + time.Now().AddDate(0, 0, -25).UTC().Format("2006-01-02") + "&until=12d": "token.revoke", "&what=pipeline": "pipeline.status pipeline.status pipeline.lock",
	} {
		var got []string
		for _, a := range w.activity(query, 1, w.admin) {
			got = append(got, a.Action)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s lists %q, want %q", query, got, want)
		}
		lines := strings.Count(string(w.send("GET", "/v1/activity/export?"+query[1:], nil).body), "\n")
		if lines != len(got) {
			t.Errorf("%s exports %d lines, want %d", query, lines, len(got))
		}
	}
	source, err := os.ReadFile("../intake/audit.go")
	if err != nil {
		t.Fatal(err)
	}
	actions := regexp.MustCompile(`= "([a-z]+\.[a-z-]+)"`).FindAllSubmatch(source, -1)
	if len(actions) == 0 {
		t.Fatal("intake/audit.go has no actions")
	}
	for _, a := range actions {
		w.send("GET", "/v1/activity?what="+string(a[1]), nil).into(t, 200, nil)
	}
	for field, query := range map[string]string{"since": "since=tomorrow", "until": "until=-3h", "what": "what=token.craete", "search": "search=%00", "actor": "actor=" + strings.Repeat("a", 201)} {
		w.send("GET", "/v1/activity?"+query, nil).refused(t, 400, "invalid", field, "")
		w.send("GET", "/v1/activity/export?"+query, nil).refused(t, 400, "invalid", field, "")
	}
	// A filter without an index reads much, so its page is not kept up to date.
	cookie := w.session(w.admin)
	for query, live := range map[string]bool{"": true, "?actor=token+ann": true, "?what=token": false, "?search=_sure_": false} {
		if a := w.visit("GET", "/activity"+query, nil, cookie); a.status != 200 || strings.Contains(string(a.body), "sse-connect") != live {
			t.Errorf("/activity%s: status %d; is it kept up to date: %v, want %v", query, a.status, !live, live)
		}
	}
	// A search that looks at more than one page's bound goes on.
	w.exec("INSERT INTO audit (actor, action, subject, time) SELECT 'token eve', 'token.create', 'many', now() - interval '1 day' - n * interval '1 second' FROM generate_series(1, 45000) n")
	if found := w.activity("&search=_sure_", 50, w.admin); len(found) != 3 {
		t.Errorf("a long search finds %d entries, want 3", len(found))
	}
}

// TestStats counts the days of a pipeline and of all, and keeps days that are
// over.
func TestStats(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, other := w.bind("blog", "github", "team/blog", ""), w.create("Other")
	for i, state := range []string{"succeeded", "failed", "succeeded"} {
		w.exec(`INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, created_at, started_at, finished_at)
			SELECT gen_random_uuid(), $1, $2, 'automated', $3, gen_random_uuid(), 'test', d, d, d + make_interval(secs => $4::float8)
			FROM (SELECT date_trunc('day', now(), 'UTC') - interval '2 days' + interval '3 hours' AS d) x`, p.ID, 10+i, state, float64(10*(i+1)))
	}
	w.exec("UPDATE pipelines SET last_number = 12 WHERE id = $1", p.ID)
	type stats struct {
		Days []struct {
			Day                                      string
			Succeeded, Failed, Cancelled, Superseded int64
			P50                                      *float64 `json:"build_p50"`
			P95                                      *float64 `json:"build_p95"`
		}
		Cut bool
	}
	for _, c := range []struct {
		query, token string
		succeeded    int64
	}{{"", w.admin, 2}, {"?pipeline=blog", w.admin, 2}, {"?pipeline=other", w.admin, 0}, {"", w.token(credentials.Viewer, p.ID), 2}, {"", w.token(credentials.Viewer, other.ID), 0}} {
		for range 2 {
			var s stats
			w.send("GET", "/v1/stats"+c.query, nil, as(c.token)).into(t, 200, &s)
			d := s.Days[len(s.Days)-3]
			if len(s.Days) != 30 || d.Succeeded != c.succeeded || s.Cut || c.succeeded > 0 && (d.Failed != 1 || d.P50 == nil || *d.P50 != 20 || *d.P95 != 29) {
				t.Errorf("%q has %+v of %d days", c.query, d, len(s.Days))
			}
		}
	}
	if n := w.count("SELECT count(*) FROM days WHERE succeeded = 2 AND failed = 1 AND build_p50 = 20"); n != 1 {
		t.Errorf("%d days are kept with their counts, want 1", n)
	}
	if n := w.count("SELECT count(*) FROM days WHERE day > now() - interval '1 day'"); n != 0 {
		t.Error("a day is kept that is not over")
	}
	page := string(w.visit("GET", "/pipelines/blog", nil, w.session(w.admin)).body)
	for _, want := range []string{`aria-label="Deployments per day. 3 deployments ended in 30 days, at most 3 on one day."`, "33.3 %", "20.0 s", "<th scope=\"row\">"} {
		if !strings.Contains(page, want) {
			t.Errorf("the charts lack %s", want)
		}
	}
}
