package web_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
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
	w.exec("UPDATE deployments SET message = $2, commit_sha = repeat('a', 40) WHERE id = $1", id, hostile)
	w.exec(`UPDATE builds SET rule = $2, phases = '[{"phase":"Download Source","started":"2026-01-02T15:04:05Z","ended":"2026-01-02T15:04:06.5Z","exit_code":0},
		{"phase":"Build","command":"npm run build","started":"2026-01-02T15:04:07Z","ended":"2026-01-02T15:06:09Z","exit_code":3}]' WHERE deployment_id = $1`, id, hostile)

	a := w.send("GET", pagePath(p, id), nil)
	if a.status != 200 || a.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %s", a.status, a.header)
	}
	for _, want := range []string{"<h1>Deployment 1 of blog</h1>", "<strong>Building</strong>", "1.5 s", "2m2s", "failed, exit code 3", "&lt;img src=x", "aaaaaaaaaaaa</code>"} {
		if !strings.Contains(string(a.body), want) {
			t.Errorf("the page lacks %s:\n%s", want, a.body)
		}
	}
	if strings.Contains(string(a.body), "<img") {
		t.Errorf("the page has the repository's markup:\n%s", a.body)
	}
	if policy := a.header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %s", policy)
	}

	// Browsers are asked for a token, for the log too.
	for _, path := range []string{pagePath(p, id), pagePath(p, id) + "/log"} {
		a := w.send("GET", path, nil, as(""))
		if a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("without a token %s answers %d, %s", path, a.status, a.header)
		}
		if a := w.send("GET", path, nil, as(w.token(credentials.Viewer, p.ID))); a.status != 200 {
			t.Errorf("for a viewer %s answers %d", path, a.status)
		}
		if a := w.send("GET", path, nil, as(w.token(credentials.Viewer, other.ID))); a.status != 404 || strings.Contains(string(a.body), id.String()+" ") {
			t.Errorf("for a token of another pipeline %s answers %d", path, a.status)
		}
	}
	for path, want := range map[string]int{pagePath(other, id): 404, pagePath(p, uuid.New()): 404, "/pipelines/none/deployments/" + id.String(): 404, "/pipelines/blog/deployments/x": 404} {
		if a := w.send("GET", path, nil); a.status != want || !strings.Contains(string(a.body), "That did not work") {
			t.Errorf("%s: %d, want %d\n%s", path, a.status, want, a.body)
		}
	}
}

// A browser that has a token shows the log while it grows, and how it ended.
func TestDeploymentPageInABrowser(t *testing.T) {
	t.Parallel()
	tab := browser(t)
	w := newWorld(t)
	p := w.bind("blog", "github", "team/blog", "")
	var d deployment
	w.send("POST", "/v1/pipelines/"+p.Slug+"/deployments", nil).into(t, 202, &d)
	id := d.ID
	address := strings.Replace(w.server.URL, "http://", "http://troy:"+w.token(credentials.Viewer)+"@", 1) + pagePath(p, id)
	read := func(selector string) string {
		// In the middle of a reload there is nothing to be read.
		text, _ := chromedp.Run(tab, chromedp.Evaluate[string](`document.querySelector("`+selector+`")?.textContent ?? ""`))
		return text
	}
	shows := func(selector, text string) {
		t.Helper()
		w.eventually(selector+" shows "+text, func() bool { return strings.Contains(read(selector), text) })
	}
	open := func(address string) {
		t.Helper()
		if err := chromedp.Do(tab, chromedp.Navigate(address)); err != nil {
			t.Fatal(err)
		}
	}
	open(address)
	shows("main", "Waiting")
	w.building(id)
	w.print(id, "==> Build: npm run build\n\x1b[31mred\x1b[0m "+hostile+"\r\n")
	shows("#log", "==> Build: npm run build\nred "+hostile+"\n")
	shows("main", "Building")
	w.print(id, "and on it goes\n")
	shows("#log", hostile+"\nand on it goes\n")
	w.finish(id, troy.Succeeded)
	shows("main", "Succeeded")
	shows("#log", "and on it goes\n")
	if n, err := chromedp.Run(tab, chromedp.Evaluate[int](`document.images.length`)); err != nil || n != 0 {
		t.Errorf("the page has %d pictures, %v", n, err)
	}

	// Of a long log the end is shown, from the beginning of a line.
	long := w.built(p)
	w.print(long, strings.Repeat("a line of the log\n", 40_000)+"the last line\n")
	w.finish(long, troy.Failed)
	open(strings.Replace(address, id.String(), long.String(), 1))
	shows("#log", "the last line\n")
	shows("main", "Its beginning is left out here")
	if text := read("#log"); !strings.HasPrefix(text, "a line of the log\n") || len(text) > 512<<10 {
		t.Errorf("%d bytes are shown, beginning %.40q", len(text), text)
	}
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
