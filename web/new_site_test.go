package web_test

import (
	"archive/zip"
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// folder writes files, given by their contents, and returns their folder.
func folder(t *testing.T, name string, contents map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	for path, content := range contents {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// zipOf writes a zip of files, given by their contents.
func zipOf(t *testing.T, name string, contents map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for path, content := range contents {
		w, err := z.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// drop drops files and folders on the page's zone, as from a file manager.
func (b *tab) drop(paths ...string) {
	b.t.Helper()
	b.eventually("the zone is shown", func() bool { return b.number(`Number(!document.getElementById("zone").hidden)`) == 1 })
	b.do(chromedp.ScrollIntoView("#zone"))
	x, y := b.number(`Math.round(document.getElementById("zone").getBoundingClientRect().left + 20)`), b.number(`Math.round(document.getElementById("zone").getBoundingClientRect().top + 20)`)
	data := &input.DragData{Items: []*input.DragDataItem{}, Files: paths, DragOperationsMask: 1}
	for _, step := range []input.DispatchDragEventType{input.DispatchDragEventTypeDragEnter, input.DispatchDragEventTypeDragOver, input.DispatchDragEventTypeDrop} {
		b.do(func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
			_, err := cdp.Call(ctx, t, input.DispatchDragEvent, input.DispatchDragEventParams{Type: step, X: float64(x), Y: float64(y), Data: data})
			return chromedp.Void{}, err
		})
	}
}

// choose gives a file input its files.
func (b *tab) choose(selector string, paths ...string) {
	b.t.Helper()
	b.do(chromedp.SetUploadFiles(selector, paths, chromedp.NodeReady))
}

// empty removes what is written in a field.
func empty(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](`void (document.querySelector("` + selector + `").value = "")`)
}

// newest waits for a pipeline's newest deployment.
func (w *world) newest(b *tab, slug string, number int64) (queries.Pipeline, queries.Deployment) {
	w.t.Helper()
	var p queries.Pipeline
	var d queries.Deployment
	b.eventually(fmt.Sprintf("%s has deployment %d", slug, number), func() (made bool) {
		var err error
		if p, err = w.q.PipelineGetBySlug(w.t.Context(), slug); err == nil {
			d, err = w.q.DeploymentGetByNumber(w.t.Context(), p.ID, number)
		}
		return err == nil
	})
	return p, d
}

// paths are the files of a deployment, each with its size.
func (w *world) paths(d queries.Deployment) string {
	w.t.Helper()
	m, err := w.deps.Store.Manifest(w.t.Context(), site.Tree{Pipeline: d.PipelineID, Deployment: d.TreeID})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, f := range m.Files {
		out = append(out, fmt.Sprintf("%s %d", f.Path, f.Size))
	}
	return strings.Join(out, "\n")
}

const leaking = "ghp_" + "0123456789abcdefghijklmnopqrstuvwxyz"

func TestDropAFolderInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create("My Blog") // takes the first slug
	b := browse(t)
	b.signIn(w, w.admin, "/new")
	b.drop(folder(t, "my blog", map[string]string{
		"index.html": "home", "assets/app.js": "12345", "a/b/é & <b>.html": "x", "README/.keep": "", ".env": "KEY=1", ".git/config": "x",
		"node_modules/x/index.js": "x", ".well-known/security.txt": "s", "id_rsa": "key", "docs/prod.env": "x",
	}))
	b.shows("#summary", "my blog: 4 files, 11 B")
	for _, left := range []string{".env", "node_modules/", "id_rsa", "docs/prod.env", "README/.keep"} {
		b.shows("#notes", left)
	}
	if notes := b.read("#notes"); strings.Contains(notes, ".git") || strings.Contains(notes, "index.html") {
		t.Errorf("the notes are %q", notes)
	}
	b.eventually("a free slug is suggested", func() bool { return b.number(`Number(document.getElementById("slug").value === "my-blog-2")`) == 1 })
	b.shows("pre.lines", "--pipeline my-blog-2")
	b.do(empty("#slug"), chromedp.SendKeys("#slug", "my-blog"))
	b.shows("#slug-problem", "taken")
	b.do(chromedp.Click("#publish"))
	b.shows("#slug-problem", `the slug "my-blog" is taken`)
	b.do(empty("#slug"), chromedp.SendKeys("#slug", "other"), chromedp.SendKeys("#message", hostile))
	b.eventually("the slug is free", func() bool {
		return b.number(`Number(document.getElementById("slug-problem").textContent === "")`) == 1
	})
	b.do(chromedp.Click("#publish"))
	p, d := w.newest(b, "other", 1)
	if got, want := w.paths(d), ".well-known/security.txt 1\na/b/é & <b>.html 1\nassets/app.js 5\nindex.html 4"; got != want {
		t.Errorf("the site has\n%s\nwant\n%s", got, want)
	}
	if d.Message != hostile || d.Actor != "token test-admin" || p.Name != "my blog" || p.Status != troy.ProvisionRequest {
		t.Errorf("%+v %+v", p, d)
	}
	b.shows("#step", "Waiting")
	w.goLive(pipeline{ID: p.ID}, d.ID)
	b.shows("#done", "Live at http://other.sites.test:8081")

	// More files, on the pipeline's own page. One with a secret inside is
	// refused, and nothing is published.
	b.open(w.server.URL + "/pipelines/other")
	b.drop(folder(t, "dist", map[string]string{"index.html": "home", "app.js": "const token = '" + leaking + "';\n"}))
	b.do(chromedp.Click("#publish"))
	b.shows("#drop-error", `"app.js" contains a GitHub token on line 1; nothing was published`)
	b.do(chromedp.Click("#again"))
	b.drop(folder(t, "dist", map[string]string{"app.js": "const token = '" + leaking + "';\n", "sub/index.html": "x"}))
	b.shows("#notes", "no index.html")
	b.shows("#notes", "The nearest one is sub/index.html")
	b.do(chromedp.Click("#publish"))
	b.shows("#drop-error", "contains a GitHub token") // although it was sent before
	b.do(chromedp.Click("#again"))
	b.drop(folder(t, "empty", map[string]string{"a/.b": ""}))
	b.shows("#drop-error", "All of the files were left out")
	b.drop(folder(t, "rules", map[string]string{"index.html": "x", ".troyignore": "secret/"}))
	b.shows("#drop-error", "only the command line follows")
	if n := w.count("SELECT count(*) FROM deployments"); n != 1 {
		t.Errorf("there are %d deployments, want 1", n)
	}
	b.drop(folder(t, "dist", map[string]string{"index.html": "home", "new.html": "n"}))
	b.do(chromedp.Click("#publish"))
	_, d = w.newest(b, "other", 2)
	if got := w.paths(d); got != "index.html 4\nnew.html 1" {
		t.Errorf("the site has\n%s", got)
	}
	w.goLive(pipeline{ID: p.ID}, d.ID)
	b.shows("#done", "Live at")
	b.eventually("the console has the refusals alone", func() bool {
		said := b.said.String()
		b.said.clear()
		for line := range strings.Lines(said) {
			if !strings.Contains(line, "409 (Conflict)") && !strings.Contains(line, "400 (Bad Request)") {
				t.Errorf("the console has %s", line)
			}
		}
		return true
	})

	// The session ends after the release was accepted.
	b.open(w.server.URL + "/new")
	b.drop(folder(t, "third", map[string]string{"index.html": "home"}))
	b.eventually("a slug is suggested", func() bool { return b.number(`Number(document.getElementById("slug").value === "third")`) == 1 })
	b.do(chromedp.Click("#publish"))
	w.newest(b, "third", 1)
	b.shows("#step", "Waiting")
	w.exec("DELETE FROM sessions")
	b.shows("#done", "Deployment #1 was accepted")
}

// slow lets the tab send so many bytes a second; -1 means no limit.
func (b *tab) slow(rate float64) {
	b.t.Helper()
	b.do(func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
			MatchedNetworkConditions: []*network.Conditions{{DownloadThroughput: -1, UploadThroughput: rate}},
		})
		return chromedp.Void{}, err
	})
}

// TestCancelAnUploadInABrowser cancels while files are sent. Nothing is published
// until they are sent again.
func TestCancelAnUploadInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := browse(t)
	b.signIn(w, w.admin, "/new")
	b.drop(folder(t, "film", map[string]string{"index.html": "home", "film.bin": strings.Repeat("film", 4<<20)}))
	b.shows("#summary", "film: 2 files")
	b.eventually("a slug is suggested", func() bool {
		return b.number(`Number(document.querySelector("[data-slug]").textContent === "film")`) == 1
	})
	b.slow(64 << 10) // the film takes minutes
	b.do(chromedp.Click("#publish"))
	b.shows("#step", "Uploading")
	b.do(chromedp.Click("#cancel"))
	b.shows("#drop-error", "Cancelled. Nothing was published")
	if n := w.count("SELECT count(*) FROM deployments"); n != 0 {
		t.Errorf("there are %d deployments, want 0", n)
	}
	b.slow(-1)
	b.do(chromedp.Click("#publish"))
	if _, d := w.newest(b, "film", 1); d.Files != 2 {
		t.Errorf("the deployment has %d files, want 2", d.Files)
	}
	b.quiet()
}

func TestChooseAZipInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	b := browse(t)
	b.signIn(w, w.token(credentials.Deployer, p.ID), "/pipelines/blog")
	b.choose("#zip", zipOf(t, "site.zip", map[string]string{
		"public/": "", "public/index.html": strings.Repeat("home ", 1000), "public/a/x.txt": "x", "__MACOSX/._x": "x", "public/.DS_Store": "x",
	}))
	b.shows("#summary", "site.zip: 2 files, 4.9 KiB")
	b.do(chromedp.Click("#publish"))
	_, d := w.newest(b, "blog", 1)
	if got := w.paths(d); got != "a/x.txt 1\nindex.html 5000" {
		t.Errorf("the site has\n%s", got)
	}
	w.goLive(p, d.ID)
	b.shows("#done", "Live at http://blog.sites.test:8081")
	b.quiet()

	b.open(w.server.URL + "/pipelines/blog")
	for says, path := range map[string]string{
		"can’t be read as a zip": folder(t, "none.zip", map[string]string{"x.zip": "not a zip"}) + "/x.zip",
		"has no files":           zipOf(t, "empty.zip", map[string]string{"a/": ""}),
		"more than 200 times":    zipOf(t, "bomb.zip", map[string]string{"index.html": strings.Repeat("\x00", 16<<20)}),
		"is not valid UTF-8":     zipOf(t, "latin.zip", map[string]string{"caf\xe9.html": "x"}),
	} {
		b.choose("#zip", path)
		b.shows("#drop-error", strings.ReplaceAll(says, "can’t", "can't"))
	}
	// What the server refuses is shown with the file.
	b.choose("#zip", zipOf(t, "out.zip", map[string]string{"index.html": "x", "../../x.html": "x"}))
	b.do(chromedp.Click("#publish"))
	b.shows("#drop-error", `the path "../../x.html" contains the segment ".."`)
}

// One file too many is refused before anything is read or sent.
func TestTooManyFilesInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.Limits.Files = 1000 })
	b := browse(t)
	b.signIn(w, w.admin, "/new")
	b.do(chromedp.Evaluate[chromedp.Void](`(() => {
		const all = new DataTransfer();
		for (let i = 0; i < 1001; i++) all.items.add(new File([], i + ".html"));
		const input = document.getElementById("folder");
		input.files = all.files;
		input.dispatchEvent(new Event("change"));
	})()`))
	b.shows("#drop-error", "There are more than 1,000 files; a site can have at most 1,000. Nothing was sent.")
	if n := w.count("SELECT (SELECT count(*) FROM pipelines) + (SELECT count(*) FROM releases)"); n != 0 {
		t.Errorf("%d pipelines or releases were made", n)
	}
	b.choose("#folder", folder(t, "public", map[string]string{"index.html": "x", "a/b.html": "x"}))
	b.shows("#summary", "public: 2 files, 2 B")
	b.quiet()
}

// The API takes a session only from Troy's own scripts.
func TestPagesCallTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	cookie, page := w.session(w.token(credentials.Deployer, p.ID)), header("X-Troy-Page", "1")
	w.visit("GET", "/v1/pipelines/blog", nil, cookie).refused(t, 401, "unauthenticated", "", "")
	w.visit("GET", "/v1/pipelines/blog", nil, cookie, page).into(t, 200, &pipeline{})
	w.visit("GET", "/v1/pipelines/blog", nil, "", page).refused(t, 401, "unauthenticated", "", "")
	w.visit("POST", "/v1/pipelines/blog/provision", url.Values{}, cookie, page).refused(t, 403, "forbidden", "", "admin")
	for _, o := range []option{header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Site", "same-site"), header("Origin", "https://evil.test")} {
		w.visit("POST", "/v1/pipelines/blog/purge", nil, cookie, page, o).refused(t, 403, "forbidden", "", "another site")
		// A browser asks before it sends the header from elsewhere.
		a := w.visit("OPTIONS", "/v1/pipelines/blog/purge", nil, cookie, o, header("Access-Control-Request-Headers", "x-troy-page"), header("Access-Control-Request-Method", "POST"))
		if a.status < 400 || a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("a preflight answers %d %v", a.status, a.header)
		}
	}
	// The suggestion of a slug tells who may make pipelines what is taken.
	if a := w.visit("GET", "/new/slug?name=Blog", nil, cookie); a.status != 403 {
		t.Errorf("a limited token is told a slug: %d", a.status)
	}
	admin := w.session(w.admin)
	for query, want := range map[string]string{
		"name=Blog": `{"slug":"blog-2"}`, "name=Журнал": `{"slug":"zhurnal"}`, "name=": `{"slug":"site"}`, "slug=blog": "taken", "slug=A": "lower-case", "slug=free": `{"slug":"free"}`,
	} {
		if a := w.visit("GET", "/new/slug?"+query, nil, admin); a.status != 200 || !strings.Contains(string(a.body), want) {
			t.Errorf("%s answers %d %s", query, a.status, a.body)
		}
	}
	for cookie, want := range map[string]string{admin: `id="zone"`, cookie: "Only an admin of all pipelines"} {
		if a := w.visit("GET", "/new", nil, cookie); a.status != 200 || !strings.Contains(string(a.body), want) {
			t.Errorf("the page answers %d:\n%s", a.status, a.body)
		}
	}
	if a := w.visit("GET", "/", nil, admin); !strings.Contains(string(a.body), `href="/new"`) {
		t.Error("the overview does not link to it")
	}
}

// A file with a secret is not stored if the request says so.
func TestUploadsRefuseSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	content := strings.Repeat("x", 5000) + "\n" + leaking
	f := file("app.js", content)
	r := w.begin(p, nil, f)
	path := fmt.Sprintf("%s/%s/files/%s", releases(p), r.ID, f.SHA256)
	w.send("PUT", path+"?secrets=refuse", content).refused(t, 400, "invalid", "", `"app.js" contains a GitHub token on line 2`)
	w.send("PUT", path+"?secrets=what", content).refused(t, 400, "invalid", "secrets", "expected refuse")
	if again := w.begin(p, nil, f); len(again.Missing) != 1 {
		t.Error("it was stored")
	}
	w.send("PUT", path, content).into(t, 204, nil)
	clean := file("b.js", content[:5000])
	r = w.begin(p, nil, clean)
	w.send("PUT", fmt.Sprintf("%s/%s/files/%s?secrets=refuse", releases(p), r.ID, clean.SHA256), content[:5000]).into(t, 204, nil)
}
