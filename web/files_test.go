package web_test

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/site"
)

// publish makes a live deployment of files, given by their contents.
func (w *world) publish(p pipeline, contents map[string]string) deployment {
	w.t.Helper()
	var files []site.File
	for path, content := range contents {
		files = append(files, file(path, content))
	}
	r := w.begin(p, nil, files...)
	for _, m := range r.Missing {
		w.upload(p, r, contents[m.Path]).into(w.t, 204, nil)
	}
	var d deployment
	w.send("POST", fmt.Sprintf("%s/%s/finalize", releases(p), r.ID), nil).into(w.t, 202, &d)
	w.goLive(p, d.ID)
	return d
}

type listed struct {
	Files []struct {
		Path   string `json:"path"`
		Files  int    `json:"files"`
		Size   int64  `json:"size"`
		SHA256 string `json:"sha256"`
	} `json:"files"`
	Next string `json:"next"`
}

func (l listed) text() string {
	var out []string
	for _, f := range l.Files {
		out = append(out, fmt.Sprintf("%s %d %d %.4s", f.Path, f.Files, f.Size, f.SHA256))
	}
	return strings.Join(append(out, l.Next), "\n")
}

func TestFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, other := w.create("Blog"), w.create("Shop")
	site := map[string]string{"index.html": "home", "a b/é.html": "x", "assets/app.js": "12345", "assets/css/a.css": "1"}
	d := w.publish(p, site)
	const path = "/v1/pipelines/blog/deployments/1/files"
	digest := func(content string) string { return file("", content).SHA256.String()[:4] }
	for query, want := range map[string]string{
		"":                         "a b/é.html 0 1 " + digest("x") + "\nassets/app.js 0 5 " + digest("12345") + "\nassets/css/a.css 0 1 " + digest("1") + "\nindex.html 0 4 " + digest("home") + "\n",
		"?folder=":                 "a b/ 1 1 \nassets/ 2 6 \nindex.html 0 4 " + digest("home") + "\n",
		"?folder=&limit=2":         "a b/ 1 1 \nassets/ 2 6 \nassets/",
		"?folder=&after=assets/":   "index.html 0 4 " + digest("home") + "\n",
		"?folder=assets":           "assets/css/ 1 1 \nassets/app.js 0 5 " + digest("12345") + "\n",
		"?folder=assets/css/":      "assets/css/a.css 0 1 " + digest("1") + "\n",
		"?folder=none":             "",
		"?prefix=assets/c&limit=1": "assets/css/a.css 0 1 " + digest("1") + "\n",
		"?limit=1":                 "a b/é.html 0 1 " + digest("x") + "\na b/é.html",
		"?after=" + url.QueryEscape("assets/css/a.css"): "index.html 0 4 " + digest("home") + "\n",
	} {
		var got listed
		w.send("GET", path+query, nil).into(t, 200, &got)
		if diff := cmp.Diff(want, got.text()); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
	w.send("GET", path+"?limit=5001", nil).refused(t, 400, "invalid", "limit", "5000")
	w.send("GET", "/v1/pipelines/blog/deployments/"+d.ID.String()+"/files", nil, as(w.token(credentials.Viewer, p.ID))).into(t, 200, nil)
	for _, path := range []string{"/v1/pipelines/shop/deployments/" + d.ID.String(), "/v1/pipelines/blog/deployments/2", "/v1/pipelines/blog/deployments/x", "/v1/pipelines/blog/deployments/" + uuid.NewString()} {
		for _, what := range []string{"/files", "/compare"} {
			w.send("GET", path+what, nil).refused(t, 404, "not_found", "", "deployment")
		}
	}
	w.send("GET", path, nil, as(w.token(credentials.Viewer, other.ID))).refused(t, 404, "not_found", "", "blog")
	// A deployment of a build has no files before its end, one that retention
	// took none after it.
	bound := w.bind("built", "github", "team/blog", "")
	w.built(bound)
	w.send("GET", "/v1/pipelines/built/deployments/1/files", nil).refused(t, 404, "not_found", "", "no files; it is Building")
	w.exec("UPDATE deployments SET pruned_at = now() WHERE id = $1", d.ID)
	w.send("GET", path, nil).refused(t, 404, "not_found", "", "were removed")
	w.exec("UPDATE deployments SET state = 'failed' WHERE id = $1", d.ID)
	w.send("GET", path, nil).refused(t, 404, "not_found", "", "no files; it is Failed")
}

type compared struct {
	Deployment int64  `json:"deployment"`
	With       *int64 `json:"with"`
	site.Difference
	Changes []site.Change `json:"changes"`
	Next    string        `json:"next"`
}

func TestCompareDeployments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	contents := map[string]string{"index.html": "home", "gone.css": "123", "same.js": "s"}
	w.publish(p, contents)
	next := maps.Clone(contents)
	next["index.html"], next["new.txt"] = "new home", "n"
	delete(next, "gone.css")
	w.publish(p, next)
	// What never went live is not what the site had before.
	unpublished := w.publish(p, map[string]string{"draft": "d"})
	w.exec("UPDATE deployments SET live_at = NULL WHERE id = $1", unpublished.ID)
	last := w.publish(p, next)

	get := func(number int64, query string) (c compared) {
		t.Helper()
		w.send("GET", fmt.Sprintf("/v1/pipelines/blog/deployments/%d/compare%s", number, query), nil).into(t, 200, &c)
		return c
	}
	c := get(2, "")
	want := []site.Change{{Path: "gone.css", Change: "removed", Before: 3}, {Path: "index.html", Change: "changed", Size: 8, Before: 4}, {Path: "new.txt", Change: "added", Size: 1}}
	if diff := cmp.Diff(want, c.Changes); diff != "" || c.With == nil || *c.With != 1 || c.Deployment != 2 {
		t.Errorf("%+v\n%s", c, diff)
	}
	sums := site.Difference{Added: site.Sum{Files: 1, Bytes: 1}, Changed: site.Sum{Files: 1, Bytes: 8}, Removed: site.Sum{Files: 1, Bytes: 3}, Unchanged: site.Sum{Files: 1, Bytes: 1}}
	if c.Difference != sums {
		t.Errorf("%+v", c.Difference)
	}
	var paged []site.Change
	for after, pages := "", 0; pages == 0 || after != ""; pages++ {
		c := get(2, "?limit=1&after="+after)
		if paged, after = append(paged, c.Changes...), c.Next; c.Difference != sums || pages > 3 {
			t.Fatalf("page %d: %+v", pages, c)
		}
	}
	if !slices.Equal(paged, want) {
		t.Errorf("by pages: %v", paged)
	}
	if c := get(1, ""); c.With != nil || c.Added.Files != 3 || len(c.Changes) != 3 {
		t.Errorf("the first: %+v", c)
	}
	if c := get(last.Number, ""); *c.With != 2 || len(c.Changes) != 0 || c.Changes == nil {
		t.Errorf("the same files: %+v", c)
	}
	if c := get(1, "?with=2"); c.Removed.Files != 1 || c.Removed.Bytes != 1 {
		t.Errorf("the other way round: %+v", c)
	}
	if c := get(2, "?with="+unpublished.ID.String()); *c.With != 3 {
		t.Errorf("by id: %+v", c)
	}
	w.send("GET", "/v1/pipelines/blog/deployments/2/compare?with=77", nil).refused(t, 404, "not_found", "with", "no deployment 77")
	foreign := w.released(w.create("Shop"), "x")
	w.send("GET", "/v1/pipelines/blog/deployments/2/compare?with="+foreign.ID.String(), nil).refused(t, 404, "not_found", "with", "no deployment")
}

// The pages hold at many files, and names are text.
func TestFilesPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	contents := map[string]string{"index.html": "x", hostile + ".html": "x"}
	for i := range 3000 {
		contents[fmt.Sprintf("assets/%04d.js", i)] = "x"
	}
	w.publish(p, map[string]string{"old.html": "x"})
	w.publish(p, contents)
	cookie := w.session(w.token(credentials.Viewer))
	get := func(path string, options ...option) string {
		t.Helper()
		a := w.visit("GET", "/pipelines/blog/deployments/2"+path, nil, cookie, options...)
		if a.status != 200 || len(a.body) > 100<<10 || strings.Contains(string(a.body), "<img") {
			t.Errorf("%s answers %d with %d bytes", path, a.status, len(a.body))
		}
		return string(a.body)
	}
	page := get("/files")
	for _, want := range []string{"assets/</span>", "3000 files", "index.html", "&lt;img src=x"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s:\n%s", want, page)
		}
	}
	part := get("/files?folder=assets/", header("HX-Request", "true"))
	if strings.Contains(part, "<html") || !strings.Contains(part, "0099.js") || strings.Contains(part, "0100.js") || !strings.Contains(part, "after=assets%2F0099.js&amp;folder=assets%2F") {
		t.Errorf("the part is\n%s", part)
	}
	if rest := get("/files?folder=assets/&after=assets/2980.js"); !strings.Contains(rest, "2999.js") || strings.Contains(rest, "Show more") {
		t.Errorf("the end is\n%s", rest)
	}
	changes := get("/changes")
	for _, want := range []string{"3002 added", "1 removed", "0 changed", `<option value="1" selected>`, "&lt;img src=x", "Show more"} {
		if !strings.Contains(changes, want) {
			t.Errorf("the changes lack %s:\n%s", want, changes)
		}
	}
	if rest := get("/changes?with=1&after=index.html", header("HX-Request", "true")); !strings.Contains(rest, "old.html") || strings.Contains(rest, "added</span>") {
		t.Errorf("the rest is\n%s", rest)
	}
	for path, want := range map[string]int{"/files?folder=none": 404, "/changes?with=77": 404} {
		if a := w.visit("GET", "/pipelines/blog/deployments/2"+path, nil, cookie); a.status != want {
			t.Errorf("%s answers %d, want %d", path, a.status, want)
		}
	}
}

// In a browser the tree opens folder by folder, the changes are compared with
// another deployment by choice, and names are text.
func TestFilesInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.publish(p, map[string]string{"index.html": "x", "only-first.txt": "1"})
	contents := map[string]string{"index.html": "home", hostile + ".html": "x", "assets/" + hostile + "\u202e.js": "x", "assets/css/a.css": "1"}
	for i := range 250 {
		contents[fmt.Sprintf("assets/%03d.js", i)] = "x"
	}
	w.publish(p, map[string]string{"index.html": "home"})
	w.publish(p, contents)
	b := browse(t)
	b.signIn(w, w.token(credentials.Viewer), "/pipelines/blog/deployments/3")
	b.shows("#files", hostile+".html")
	b.shows("#files summary", "assets/")
	if rows := b.number(`document.querySelectorAll("#files li").length`); rows != 3 {
		t.Errorf("%d rows are shown before a folder is opened", rows)
	}
	if n := b.number(`document.querySelectorAll("#files .htmx-added").length`); n != 0 {
		t.Errorf("htmx does not listen to %d entries that are shown", n)
	}
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#files summary").focus()`), chromedp.KeyEvent(kb.Enter))
	b.shows("#files .below", "098.js")
	b.shows("#files .below .rest", "Show more")
	for range 2 {
		before := b.number(`document.querySelectorAll("#files .below > ul > li").length`)
		b.do(chromedp.Click("#files .below .rest a"))
		b.eventually("more files are shown", func() bool { return b.number(`document.querySelectorAll("#files .below > ul > li").length`) > before })
	}
	if rows := b.number(`document.querySelectorAll("#files .below > ul > li").length`); rows != 252 || b.number(`document.querySelectorAll("#files .below .rest").length`) != 0 {
		t.Errorf("%d entries of the folder are shown, want 252", rows)
	}
	b.shows("#files .below", hostile)
	b.shows("#changes", "253 added")
	b.do(chromedp.Evaluate[chromedp.Void](`(() => { const s = document.getElementById("with"); s.value = "1"; s.dispatchEvent(new Event("change", { bubbles: true })); })()`))
	b.shows("#changes", "1 removed")
	b.shows("#changes", "1 changed")
	b.shows("#changes .changes", hostile)
	if n := b.number(`document.images.length`); n != 0 {
		t.Errorf("the page has %d pictures", n)
	}
	b.quiet()
}
