package web_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/web"
)

// examples are values for the parameters of pages' paths.
var examples = map[string]string{"pipeline": "blog", "deployment": "1", "$": ""}

var parameter = regexp.MustCompile(`\{([^}]*)\}`)

// pagePaths are the paths of all pages that are registered, with examples.
func (w *world) pagePaths() []string {
	w.t.Helper()
	patterns, err := web.Pages(w.cfg, w.deps)
	if err != nil {
		w.t.Fatal(err)
	}
	var paths []string
	for _, pattern := range patterns {
		path, isGet := strings.CutPrefix(pattern, "GET ")
		if !isGet || strings.HasSuffix(path, "/live") || strings.HasPrefix(path, "/static/") {
			continue
		}
		paths = append(paths, parameter.ReplaceAllStringFunc(path, func(name string) string {
			value, known := examples[strings.Trim(name, "{}")]
			if !known {
				w.t.Errorf("%s has the parameter %s: add an example", pattern, name)
			}
			return value
		}))
	}
	return append(paths, "/pipelines/none")
}

// axe is the script of axe-core, which make deps installs.
func axe(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("../bin/axe-core-*.min.js")
	if err != nil || len(files) == 0 {
		t.Fatal("axe-core is not installed: make deps")
	}
	text, err := os.ReadFile(slices.Max(files))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestPagesAreAccessible runs axe-core on each page in both themes, and opens
// each on a phone. It accepts no serious and no critical finding, and no page
// that is wider than the phone.
func TestPagesAreAccessible(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withKey(secret.NewKey()))
	b, examine := browse(t), axe(t)
	p := w.bind("blog", "github", "team/blog", "")
	built := w.built(p)
	w.print(built, "==> Build\n\x1b[31mred\x1b[0m and \x1b[32mgreen\x1b[0m\nerror: it fails\n")
	w.finish(built, troy.Failed)
	w.goLive(p, w.released(p, "1").ID)
	w.exec("INSERT INTO work (kind, subject_id, attempt, cause) VALUES ($1, $2, 3, 'Rate exceeded')", tasks.TypePurge, p.ID)
	w.send("POST", "/v1/pipelines/blog/trusts", `{"provider":"github","repository_id":"41","owner_id":"7","ref":"main"}`).into(t, 201, nil)
	for _, of := range []string{"blog", ""} {
		w.addNotifier(map[string]any{"pipeline": of, "kind": "webhook", "url": "https://hooks.example.com/troy"})
		w.addNotifier(map[string]any{"pipeline": of, "kind": "email", "to": []string{"operations@example.com", "people-who-want-to-know@example.com"}})
	}
	w.exec("UPDATE notifiers SET disabled_at = now(), disabled_reason = 'the receiver answered 410 Gone', failures = 1 WHERE kind = 'email'")
	w.exec(`INSERT INTO notifications (id, notifier_id, event, details, attempts, ended_at, delivered, answer)
		SELECT gen_random_uuid(), n.id, 'deployment.failed', '{}', i, now(), i = 1, CASE i WHEN 1 THEN 'ok' ELSE 'given up: failed 13 times: the receiver answered 500: <html>Internal server error of a proxy</html>' END FROM notifiers n, generate_series(1, 2) i`)
	w.exec("INSERT INTO pauses (queue, actor, reason) VALUES ('builds', 'token ci', 'an incident')")
	cookie := w.session(w.admin)
	b.check(w, examine, "/login")
	b.signIn(w, w.admin, "/")
	checked := 0
	for _, path := range w.pagePaths() {
		a := w.visit("GET", path, nil, cookie)
		if path == "/login" || a.status == http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			continue // it leads elsewhere, or is a part of a page
		}
		if checked++; !strings.Contains(string(a.body), "<html") {
			t.Logf("%s is a part of a page", path)
			continue
		}
		b.check(w, examine, path)
	}
	if checked < 8 {
		t.Errorf("%d pages were checked", checked)
	}
	// The palette and the shortcuts are on every page.
	b.do(chromedp.Navigate(w.server.URL+"/"), chromedp.Click("#palette-open", chromedp.NodeVisible))
	b.shows("#palette-list", "blog")
	b.findings(examine, "the palette")
	b.do(script(`document.getElementById("palette").close(), document.getElementById("shortcuts").showModal(), true`))
	b.findings(examine, "the shortcuts")
}

// check opens a page and examines it in both themes.
func (b *tab) check(w *world, examine, path string) {
	b.t.Helper()
	for _, theme := range []string{"light", "dark"} {
		b.do(func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}})
			return chromedp.Void{}, err
		}, chromedp.Navigate(w.server.URL+path))
		b.findings(examine, path+" in the "+theme+" theme")
		b.fits(path + " in the " + theme + " theme")
	}
}

// phone is the width of a phone, in CSS pixels.
const phone = 390

// fits fails the test if the page is wider than a phone, and names what sticks
// out.
func (b *tab) fits(name string) {
	b.t.Helper()
	const wide = `document.documentElement.scrollWidth <= innerWidth && innerWidth === %[1]d ? "" :
		[innerWidth, document.documentElement.scrollWidth, ...[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > %[1]d).slice(0, 5).map((e) => e.outerHTML.slice(0, 150))].join("\n")`
	b.do(chromedp.EmulateViewport(phone, 844, chromedp.EmulateMobile))
	said, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](fmt.Sprintf(wide, phone)))
	if err != nil || said != "" {
		b.t.Errorf("%s does not fit a phone, %v:\n%s", name, err, said)
	}
	b.do(chromedp.ResetViewport())
}

// findings fails the test for what axe-core finds on the page.
func (b *tab) findings(examine, name string) {
	b.t.Helper()
	const run = `;window.axeSaid = null; axe.run(document, {resultTypes: ["violations"]}).then(
		(r) => (window.axeSaid = "done\n" + r.violations.filter((v) => ["serious", "critical"].includes(v.impact)).flatMap((v) => v.nodes.map((n) => v.id + ": " + n.target + " " + n.html.slice(0, 200) + " " + n.failureSummary)).join("\n")),
		(error) => (window.axeSaid = "failed: " + error)); true`
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](examine+run)); err != nil {
		b.t.Fatalf("%s: %v", name, err)
	}
	said := ""
	b.eventually("axe examines "+name, func() bool {
		said, _ = chromedp.Run(b.ctx, chromedp.Evaluate[string](`window.axeSaid ?? ""`))
		return said != ""
	})
	if found, ok := strings.CutPrefix(said, "done\n"); !ok || found != "" {
		b.t.Errorf("%s has\n%s", name, fmt.Sprintf("%.3000s", said))
	}
}
