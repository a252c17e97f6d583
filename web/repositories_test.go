package web_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/forge"
)

// shelf is a forge with repositories, each with its files by their contents.
type shelf struct {
	forge.Forge
	files map[string]map[string]string
	lists atomic.Int64
	fail  error
}

func (s *shelf) Repositories(context.Context) (list []forge.Found, complete bool, err error) {
	s.lists.Add(1)
	for name := range s.files {
		list = append(list, forge.Found{Repository: forge.Repository{FullName: name}, DefaultBranch: "main", Private: strings.HasSuffix(name, "secret")})
	}
	return forge.SortFound(list), true, s.fail
}

func (s *shelf) Repository(_ context.Context, r forge.Repository) (forge.Found, error) {
	if _, ok := s.files[r.FullName]; !ok {
		return forge.Found{}, troy.Errorf(troy.NotFound, "%s: %w", r.FullName, forge.ErrNoRepository)
	}
	return forge.Found{Repository: forge.Repository{FullName: r.FullName, ID: "7"}, DefaultBranch: "main"}, s.fail
}

func (s *shelf) Head(_ context.Context, _ forge.Repository, branch string) (string, error) {
	if branch != "main" && branch != "next" {
		return "", troy.Errorf(troy.NotFound, "%s: %w", branch, forge.ErrNoCommit)
	}
	return strings.Repeat("a", 40), nil
}

func (s *shelf) Archive(_ context.Context, r forge.Repository, _ string) (io.ReadCloser, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range s.files[r.FullName] {
		if err := w.WriteHeader(&tar.Header{Name: "top/" + name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(content)); err != nil {
			return nil, err
		}
	}
	return io.NopCloser(&b), w.Close()
}

func newShelf() *shelf {
	astro := map[string]string{"package.json": `{"devDependencies":{"astro":"5"},"scripts":{"build":"astro build"}}`, "package-lock.json": "{}", "docs/index.html": "x"}
	return &shelf{files: map[string]map[string]string{"team/blog": astro, "team/empty": {"README.md": "x"}, "team/secret": {"index.html": "x", "troy.toml": "[build]\ncommand = \"make\"\n"}, "other/shop": astro}}
}

type repositoriesAnswer struct {
	Repositories []struct {
		Provider      string `json:"provider"`
		FullName      string `json:"full_name"`
		DefaultBranch string `json:"default_branch"`
		Private       bool   `json:"private"`
	} `json:"repositories"`
	Complete bool     `json:"complete"`
	Problems []string `json:"problems"`
	Apps     int      `json:"apps"`
}

func (r repositoriesAnswer) names() string {
	var out []string
	for _, r := range r.Repositories {
		out = append(out, r.FullName)
	}
	return strings.Join(out, " ")
}

func TestRepositories(t *testing.T) {
	t.Parallel()
	forges := newShelf()
	w := newWorld(t, func(w *world) { w.api = forges })
	for query, want := range map[string]string{"": "other/shop team/blog team/empty team/secret", "?search=TEAM/": "team/blog team/empty team/secret", "?search=%20blog": "team/blog", "?search=none": ""} {
		var got repositoriesAnswer
		w.send("GET", "/v1/repositories"+query, nil).into(t, 200, &got)
		if got.names() != want || !got.Complete || got.Apps != 1 || len(got.Problems) != 0 {
			t.Errorf("%q: %+v", query, got)
		}
	}
	if n := forges.lists.Load(); n != 1 {
		t.Errorf("the forge was asked %d times", n)
	}
	p := w.create("Blog")
	w.send("GET", "/v1/repositories", nil, as(w.token(credentials.Admin, p.ID))).refused(t, 403, "forbidden", "", "limited")
	w.send("GET", "/v1/repositories/github/team/blog", nil, as(w.token(credentials.Admin, p.ID))).refused(t, 403, "forbidden", "", "limited")
	w.send("GET", "/v1/repositories", nil, as(w.token(credentials.Deployer))).refused(t, 403, "forbidden", "", "admin")

	type detected struct {
		Generator string   `json:"generator"`
		Root      string   `json:"root"`
		Install   string   `json:"install"`
		Build     string   `json:"build"`
		Test      string   `json:"test"`
		Outputs   []string `json:"outputs"`
		Why       string   `json:"why"`
		Notes     []string `json:"notes"`
	}
	type inspection struct {
		Provider      string    `json:"provider"`
		FullName      string    `json:"full_name"`
		DefaultBranch string    `json:"default_branch"`
		Private       bool      `json:"private"`
		Branch        string    `json:"branch"`
		Commit        string    `json:"commit"`
		Detected      *detected `json:"detected"`
		Problem       string    `json:"problem"`
	}
	get := func(path string) (i inspection) {
		t.Helper()
		w.send("GET", "/v1/repositories/github/"+path, nil).into(t, 200, &i)
		return i
	}
	if got := get("team/blog"); got.Detected == nil || got.Branch != "main" || got.Commit != strings.Repeat("a", 40) || got.Problem != "" {
		t.Errorf("%+v", got)
	} else if diff := cmp.Diff(detected{"Astro", ".", "npm ci", "npm run build", "", []string{"dist"}, got.Detected.Why, nil}, *got.Detected); diff != "" {
		t.Error(diff)
	}
	if got := get("team/blog?branch=next&root=docs"); got.Branch != "next" || got.Detected.Build != "" || got.Detected.Root != "docs" {
		t.Errorf("%+v", got)
	}
	if got := get("team/empty"); got.Detected != nil || !strings.Contains(got.Problem, "found nothing to build") {
		t.Errorf("%+v", got)
	}
	w.send("GET", "/v1/repositories/github/team/blog?branch=gone", nil).refused(t, 404, "not_found", "branch", `no branch "gone"`)
	w.send("GET", "/v1/repositories/github/team/none", nil).refused(t, 404, "not_found", "", "does not exist")
	w.send("GET", "/v1/repositories/github/team/%20", nil).refused(t, 400, "invalid", "repository", "owner/name")
	w.send("GET", "/v1/repositories/bitbucket/team/blog", nil).refused(t, 400, "invalid", "provider", "not set up")
	forges.fail = troy.Errorf(troy.Unauthenticated, "the key is wrong: %w", forge.ErrUnauthorized)
	w.send("GET", "/v1/repositories/github/team/blog", nil).refused(t, 409, "conflict", "", "the key is wrong")
	forges.fail = errors.New("no route to host")
	w.send("GET", "/v1/repositories/github/team/blog", nil).refused(t, 503, "unavailable", "", "can't be reached")
	other := w.second()
	var got repositoriesAnswer
	other.send("GET", "/v1/repositories", nil).into(t, 200, &got)
	if len(got.Problems) != 1 || !strings.HasPrefix(got.Problems[0], "github: ") || strings.Contains(got.Problems[0], "route") {
		t.Errorf("%+v", got)
	}
}

// Without JavaScript a repository is found, its settings are changed, and the
// pipeline is made with them before its first build.
func TestImportARepository(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.api = newShelf() })
	cookie := w.session(w.admin)
	get := func(path string) string {
		t.Helper()
		a := w.visit("GET", path, nil, cookie)
		if a.status != 200 {
			t.Fatalf("%s answers %d: %s", path, a.status, a.body)
		}
		return string(a.body)
	}
	w.create("Blog")
	if page := get("/new/repositories?q=blog"); !strings.Contains(page, "/new/repository?provider=github&amp;repository=team%2fblog") || strings.Contains(page, "shop") {
		t.Errorf("the list is\n%s", page)
	}
	page := get("/new/repository?provider=github&repository=team/blog")
	for _, want := range []string{">Astro</span>", `name="build" value="npm run build"`, `name="found-output" value="dist"`, `name="slug" value="blog-2"`, `name="branch" value="main"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s:\n%s", want, page)
		}
	}
	if page := get("/new/repository?provider=github&repository=team/empty"); !strings.Contains(page, "found nothing to build") {
		t.Errorf("the page is\n%s", page)
	}
	if page := get("/new/repository?provider=github&repository=team/secret"); !strings.Contains(page, "set by troy.toml") || !strings.Contains(page, `<input id="build" readonly name="build" value="make"`) || strings.Count(page, " readonly") != 1 {
		t.Errorf("what troy.toml decides can be changed:\n%s", page)
	}
	form := url.Values{
		"key": {"k1"}, "provider": {"github"}, "repository": {"team/blog"}, "branch": {"main"}, "root": {""}, "name": {"My <b>"}, "slug": {"blog"},
		"install": {"npm ci"}, "found-install": {"npm ci"}, "build": {"npm run site"}, "found-build": {"npm run build"}, "test": {""}, "found-test": {""}, "output": {"dist"}, "found-output": {"dist"},
	}
	a := w.visit("POST", "/new/repository", form, cookie)
	if a.status != 409 || !strings.Contains(string(a.body), "is taken") || !strings.Contains(string(a.body), `value="npm run site"`) || !strings.Contains(string(a.body), `value="My &lt;b&gt;"`) {
		t.Errorf("a taken slug answers %d:\n%s", a.status, a.body)
	}
	form.Set("slug", "site")
	form.Set("output", "../x")
	if a := w.visit("POST", "/new/repository", form, cookie); a.status != 400 || !strings.Contains(string(a.body), "folder") {
		t.Errorf("a wrong folder answers %d:\n%s", a.status, a.body)
	}
	if n := w.count("SELECT count(*) FROM pipelines"); n != 1 {
		t.Errorf("there are %d pipelines after failures", n)
	}
	for name, says := range map[string]string{"install": "set install = &#34;&#34;", "build": "set command = &#34;&#34;", "output": "enter a dot"} {
		kept := form.Get(name)
		form.Set(name, "")
		form.Set("found-"+name, "detected")
		if a := w.visit("POST", "/new/repository", form, cookie); a.status != 400 || !strings.Contains(string(a.body), says) {
			t.Errorf("without %s the answer is %d:\n%s", name, a.status, a.body)
		}
		form.Set(name, kept)
		form.Set("found-"+name, map[string]string{"install": "npm ci", "build": "npm run build", "output": "dist"}[name])
	}
	form.Set("output", "dist")
	for range 2 { // sent twice, it is carried out once
		if a := w.visit("POST", "/new/repository", form, cookie); a.status != 303 || a.header.Get("Location") != "/pipelines/site" {
			t.Errorf("importing answers %d %s", a.status, a.body)
		}
	}
	var p pipeline
	w.send("GET", "/v1/pipelines/site", nil).into(t, 200, &p)
	if diff := cmp.Diff(&repository{"github", "team/blog", "main", ""}, p.Repository); diff != "" || p.Build != (troy.BuildSettings{Build: "npm run site"}) || p.Status != troy.ProvisionRequest || p.Name != "My <b>" {
		t.Errorf("%+v\n%s", p, diff)
	}
	if n := w.count("SELECT count(*) FROM work WHERE subject_id = $1 AND kind = 'forge:catch-up'", p.ID); n != 1 {
		t.Error("its branch is not looked at")
	}
	for path, who := range map[string]string{"/new/repositories": w.token(credentials.Deployer), "/new/repository?provider=github&repository=team/blog": w.token(credentials.Admin, p.ID)} {
		if a := w.visit("GET", path, nil, w.session(who)); a.status != 403 {
			t.Errorf("%s answers %d", path, a.status)
		}
	}
	if a := w.visit("POST", "/new/repository", form, w.session(w.token(credentials.Deployer))); a.status != 403 {
		t.Errorf("a deployer imports: %d", a.status)
	}
	if a := w.visit("GET", "/new/repository?provider=github&repository=team/none", nil, cookie); a.status != 404 || !strings.Contains(string(a.body), `href="/new"`) {
		t.Errorf("an unknown repository answers %d:\n%s", a.status, a.body)
	}
	bare := newWorld(t)
	if a := bare.visit("GET", "/new/repositories", nil, bare.session(bare.admin)); !strings.Contains(string(a.body), "No app is installed") {
		t.Errorf("without an app the page is\n%s", a.body)
	}
}

func TestImportInABrowser(t *testing.T) {
	t.Parallel()
	forges := newShelf()
	forges.files["team/"+strings.Repeat("x", 90)] = nil
	w := newWorld(t, func(w *world) { w.api = forges })
	b := browse(t)
	b.signIn(w, w.admin, "/new")
	b.shows("#repositories", "team/blog")
	b.do(chromedp.SendKeys("#q", "shop"))
	b.eventually("the others are gone", func() bool {
		list := b.read("#repositories")
		return strings.Contains(list, "other/shop") && !strings.Contains(list, "team/blog")
	})
	b.do(chromedp.Click("#repositories a.title"))
	b.shows("h1", "other/shop")
	b.do(chromedp.Evaluate[chromedp.Void](`document.getElementById("root").value = "docs"`), chromedp.Submit("#root"))
	b.eventually("the folder's settings are shown", func() bool { return b.number(`Number(document.getElementById("build")?.value === "")`) == 1 })
	b.do(chromedp.SendKeys("#build", "make site"), chromedp.Submit("#build"))
	b.shows("main", "make site")
	var p pipeline
	w.send("GET", "/v1/pipelines/shop", nil).into(t, 200, &p)
	if diff := cmp.Diff(&repository{"github", "other/shop", "main", "docs"}, p.Repository); diff != "" || p.Build.Build != "make site" {
		t.Errorf("%+v\n%s", p, diff)
	}
	b.quiet()
}
