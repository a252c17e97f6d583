package web_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
)

const hostile = "<img src=x onerror=alert(1)>"

func pagePath(p pipeline, id uuid.UUID) string {
	return "/pipelines/" + p.Slug + "/deployments/" + id.String()
}

func TestDeploymentPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, other := w.bind("blog", "github", "team/blog", ""), w.create("Shop")
	id := w.built(p)
	w.exec("UPDATE deployments SET message = $2, author = $2, branch = $2, cause = $2, commit_sha = repeat('a', 40) WHERE id = $1", id, hostile)
	w.exec(`UPDATE builds SET rule = $2, warnings = ARRAY[$2], phases = jsonb_build_array(
		'{"phase":"Download Source","started":"2026-01-02T15:04:05Z","ended":"2026-01-02T15:04:06.5Z","exit_code":0}'::jsonb,
		jsonb_build_object('phase', $2::text, 'command', $2::text, 'started', '2026-01-02T15:04:07Z', 'ended', '2026-01-02T15:06:09Z', 'exit_code', 3)) WHERE deployment_id = $1`, id, hostile)

	// Forges link to the page by the deployment's id, people by its number.
	for _, path := range []string{pagePath(p, id), "/pipelines/blog/deployments/1", "/pipelines/" + p.ID.String() + "/deployments/1"} {
		a := w.send("GET", path, nil)
		if a.status != 200 || a.header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Fatalf("%s: %d %s", path, a.status, a.header)
		}
		for _, want := range []string{"#1</span>", ">Building</span>", "1.5 s", "2 min 02 s", "failed, exit code 3", "&lt;img src=x", "aaaaaaaaaaaa</code>", pagePath(p, id) + "/log"} {
			if !strings.Contains(string(a.body), want) {
				t.Errorf("the page lacks %s:\n%s", want, a.body)
			}
		}
		if strings.Contains(string(a.body), "<img") {
			t.Errorf("the page has the repository's markup:\n%s", a.body)
		}
	}

	// Browsers without a session are sent to sign in, and come back.
	if a := w.visit("GET", pagePath(p, id), nil, ""); a.status != 303 || a.header.Get("Location") != "/login?next="+strings.ReplaceAll(pagePath(p, id), "/", "%2F") {
		t.Errorf("without a session the page answers %d, %s", a.status, a.header)
	}
	if a := w.visit("GET", pagePath(p, id)+"/log", nil, ""); a.status != 401 {
		t.Errorf("without a session the log answers %d", a.status)
	}
	for _, path := range []string{pagePath(p, id), pagePath(p, id) + "/log"} {
		if a := w.send("GET", path, nil, as(w.token(credentials.Viewer, p.ID))); a.status != 200 {
			t.Errorf("for a viewer %s answers %d", path, a.status)
		}
		if a := w.send("GET", path, nil, as(w.token(credentials.Viewer, other.ID))); a.status != 404 || strings.Contains(string(a.body), id.String()+" ") {
			t.Errorf("for a token of another pipeline %s answers %d", path, a.status)
		}
	}
	for path, want := range map[string]int{
		pagePath(other, id): 404, pagePath(p, uuid.New()): 404, "/pipelines/none/deployments/" + id.String(): 404, "/pipelines/blog/deployments/x": 404,
		"/pipelines/blog/deployments/2": 404, "/pipelines/blog/deployments/99999999999999999999": 404,
	} {
		if a := w.send("GET", path, nil); a.status != want || !strings.Contains(string(a.body), "Not found") {
			t.Errorf("%s: %d, want %d\n%s", path, a.status, want, a.body)
		}
	}
}

func TestPageOfAPipelineThatFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("blog", "github", "team/blog", "")
	id := w.built(p)
	w.exec("UPDATE deployments SET state = 'failed', finished_at = now() WHERE id = $1", id)
	w.exec("UPDATE pipelines SET status = 'failed_to_deploy', cause = 'phase Build failed' WHERE id = $1", p.ID)
	page := string(w.send("GET", "/pipelines/blog", nil).body)
	if want := `Phase Build failed. <a href="/pipelines/blog/deployments/1">See deployment #1</a>.`; !strings.Contains(page, want) {
		t.Errorf("the page lacks %s:\n%s", want, page)
	}
	if strings.Contains(page, "Open site") {
		t.Error("the page offers to open a site that is not live")
	}
}

// Retry is offered only if there is something to build again: the source of an
// upload is not kept.
func TestRetryOfAnUpload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("blog", "github", "team/blog", "")
	id := w.built(p)
	w.exec("UPDATE deployments SET state = 'failed', finished_at = now(), cause = 'it failed' WHERE id = $1", id)
	for _, want := range []bool{true, false} {
		if a := w.send("GET", pagePath(p, id), nil); a.status != 200 || strings.Contains(string(a.body), "<button>Retry</button>") != want {
			t.Errorf("%d, Retry is not %v", a.status, want)
		}
		w.exec("UPDATE pipelines SET repository_provider = NULL, repository_full_name = NULL, repository_branch = NULL, repository_root = NULL WHERE id = $1", p.ID)
	}
}

// A browser with a session shows the log while it grows, and the result.
func TestDeploymentPageInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := browse(t)
	p := w.bind("blog", "github", "team/blog", "")
	var d deployment
	w.send("POST", "/v1/pipelines/"+p.Slug+"/deployments", nil).into(t, 202, &d)
	id := d.ID
	b.signIn(w, w.token(credentials.Viewer), pagePath(p, id))
	b.shows("main", "Waiting")
	w.building(id)
	w.print(id, "==> Build: npm run build\n\x1b[31mred\x1b[0m "+hostile+"\r\n")
	b.shows("#log", "==> Build: npm run build\nred "+hostile+"\n")
	b.shows("main", "Building")
	if got := b.read("#log .c1"); got != "red" {
		t.Errorf("the red text is %q", got)
	}
	w.print(id, "\x1b[3")
	w.print(id, "2mgreen\x1b[0m and on it goes\r\nerror: it fails")
	b.shows("#log", hostile+"\ngreen and on it goes\nerror: it fails")
	w.finish(id, troy.Succeeded)
	b.shows("main", "Succeeded")
	b.shows("#log", "and on it goes\n")
	b.shows("#first-error:not([hidden])", "First error")
	if n := b.number(`document.images.length`); n != 0 {
		t.Errorf("the page has %d pictures", n)
	}
	b.do(chromedp.SendKeys("#find", "goes"))
	b.shows("#found", "1")
	if n := b.number(`document.querySelectorAll("#log .hit").length`); n != 1 {
		t.Errorf("%d lines are found", n)
	}

	// The page shows the end of a long log, from the start of a line. A link to
	// a line opens the whole log.
	long := w.built(p)
	w.print(long, strings.Repeat("a line of the log\n", 80_000)+"the last line\n")
	w.finish(long, troy.Failed)
	b.open(w.server.URL + pagePath(p, long))
	b.shows("#log", "the last line\n")
	b.shows("main", "its end is shown")
	if text := b.read("#log"); !strings.HasPrefix(text, "a line of the log\n") || len(text) > 1<<20 {
		t.Errorf("%d bytes are shown, beginning %.40q", len(text), text)
	}
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(w.server.URL+pagePath(p, long)+"#L12"))
	b.shows("#L12.picked", "a line of the log")
	b.quiet()
}

// The phases of a log fold: those that ended well are folded, the one that
// failed is open.
func TestLogFoldsInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := browse(t)
	p := w.bind("blog", "github", "team/blog", "")
	id := w.built(p)
	w.print(id, "==> Download Source\nfetched\nThe phase Download Source took 0.4 s, until 12:03:04 UTC.\n==> Install: npm ci\nThe phase Build took 9.9 s, until 12:03:04 UTC.\n"+strings.Repeat("added a package\n", 700)+"==> Download Sources are elsewhere\nThe phase Install took 1 min 20 s, until 12:04:24 UTC.\n==> Build: npm run "+hostile+
		"\n==> Install: npm ci\nrollup\nsrc/a.js: error: it fails\n")
	w.print(id, "Failed: the command of the phase Build ended with exit code 1.\n")
	w.finish(id, troy.Failed)
	b.signIn(w, w.token(credentials.Viewer), pagePath(p, id))
	b.shows("#log details:last-of-type", "Failed: the command")
	open := func() string {
		text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`[...document.querySelectorAll("#log details")].map((d) => d.querySelector("summary").textContent.trim() + ", " + (d.querySelector("summary").dataset.lines ?? "?") + ", " + (d.open ? "open" : "folded")).join("\n")`))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	const source, install, build = "==> Download Source, 3 lines, 0.4 s, ", "==> Install: npm ci, 704 lines, 1 min 20 s, ", "==> Build: npm run " + hostile + ", 4 lines, "
	is := func(want string) {
		t.Helper()
		b.eventually("the phases are\n"+want, func() bool { return open() == want })
	}
	is(source + "folded\n" + install + "folded\n" + build + "open")
	// Lines are in parts of at most 500, so that a browser leaves out full ones.
	if most, full := b.number(`Math.max(...[...document.querySelectorAll("#log div:not(.l)")].map((d) => d.childElementCount))`), b.number(`document.querySelectorAll("#log div.part").length`); most != 500 || full != 1 {
		t.Errorf("the largest part has %d lines, and %d parts are full; want 500 and 1", most, full)
	}
	// A heading is a button: it works by the keyboard.
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#log summary").focus()`), chromedp.KeyEvent(kb.Enter))
	is(source + "open\n" + install + "folded\n" + build + "open")
	// What is searched for, and the line of a link, is shown.
	b.do(chromedp.SendKeys("#find", "added a"), chromedp.KeyEvent(kb.Enter))
	is(source + "open\n" + install + "open\n" + build + "open")
	b.do(chromedp.Click("#fold"))
	is(source + "folded\n" + install + "folded\n" + build + "folded")
	b.do(chromedp.Click("#first-error"))
	is(source + "folded\n" + install + "folded\n" + build + "open")
	if got := b.read("#log .picked"); !strings.Contains(got, "it fails") {
		t.Errorf("the first error is %q", got)
	}
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(w.server.URL+pagePath(p, id)+"#L100"))
	b.shows("#L100.picked", "added a package")
	is(source + "folded\n" + install + "open\n" + build + "open")
	if n := b.number(`document.images.length`); n != 0 {
		t.Errorf("the page has %d pictures", n)
	}
	b.quiet()
}

// tab is a page of a headless Chromium.
type tab struct {
	t   *testing.T
	ctx context.Context
	// said is the page's console: errors, and reports of what its policy
	// refused.
	said *lockedBuffer
}

// browser is a tab of a headless Chromium.
func browser(t *testing.T) context.Context {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Skip("no Chromium is installed: make deps")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WSURLReadTimeout(time.Minute), chromedp.UserDataDir(t.TempDir()))
	browsers, end := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(end)
	tab, shut := chromedp.NewContext(browsers)
	t.Cleanup(shut)
	return tab
}
