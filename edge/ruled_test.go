package edge

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// configure sets the text of troy.toml for the trees that are sealed next.
func (h *hosted) configure(text string) {
	h.config = []rules.ConfigFile{{Name: "troy.toml", Text: text}}
}

// ruledSite has a rule of each kind.
func ruledSite(t *testing.T) *hosted {
	h := newBox(t).provision("rules.localhost")
	h.configure("[site]\nspa = true\nimmutable = [\"fixed/**\"]\n[site.cors]\n\"api/**\" = [\"https://a.example\"]\n\"open/**\" = \"*\"\n")
	h.publish(map[string]string{
		"index.html": "home", "about.html": "about", "404.html": "none", "gone.html": "gone", "docs/index.html": "docs",
		"secret/page.html": "secret", "api/a.json": "{}", "open/a.json": "{}", "fixed/a.txt": "fixed", "a.woff2": "font",
		"big.txt": strings.Repeat("0123456789", 1000),
		"_redirects": "/old /about\n/old/* /new/:splat 308\n/moved/:id id=:q /m/:id/:q 302\n/hidden /about 200\n/about /docs/ 302!\n" +
			"/removed /gone.html 410\n/lost /gone.html 404\n/empty /nothing 410\n/leave https://new.example/x 301\n/leak /secret/page 200\n/cfg /_headers 200\n",
		"_headers": "/*\n  X-Frame-Options: DENY\n  Cache-Control: public, max-age=60\n  CDN-Cache-Control: max-age=60\n  Surrogate-Control: max-age=60\n/hidden\n  X-Hidden: yes\n  Vary: Cookie\n" +
			"/big.txt\n  Content-Type: text/x-log\n  ! X-Content-Type-Options\n  ! Vary\n/secret/*\n  Basic-Auth: a\n",
	})
	return h
}

// TestRules asks the edge for one address of each kind.
func TestRules(t *testing.T) {
	t.Parallel()
	h := ruledSite(t)
	const html = "text/html,*/*"
	for _, c := range []struct {
		target  string
		request []string
		status  int
		body    string
		header  []string // pairs; "" means absent
	}{
		{"/old", nil, 301, "", []string{"Location", "/about", "Cache-Control", "public, max-age=0, must-revalidate", "X-Frame-Options", ""}},
		{"/old/?a=%3C<", nil, 301, "", []string{"Location", "/about?a=%3C%3C"}},
		{"/old/a%20b?x=1", nil, 308, "", []string{"Location", "/new/a%20b?x=1"}},
		{"/old//evil.example", nil, 308, "", []string{"Location", "/new/evil.example"}},
		{"/moved/7?id=a%2Fb", nil, 302, "", []string{"Location", "/m/7/a/b?id=a%2Fb"}},
		{"/moved/7", []string{"Accept", html}, 200, "home", nil},
		{"/leave?x=1", nil, 301, "", []string{"Location", "https://new.example/x?x=1"}},
		{"/old", []string{"method", "HEAD"}, 301, "", []string{"Location", "/about"}},
		{"/about", nil, 302, "", []string{"Location", "/docs/"}},
		{"/about.html", nil, 200, "about", []string{"Link", `</about>; rel="canonical"`, "X-Frame-Options", "DENY"}},
		{"/hidden", nil, 200, "about", []string{"Link", "", "X-Hidden", "yes", "Etag", tag("about"), "Cache-Control", "public, max-age=60", "Vary", "Cookie"}},
		{"/hidden", []string{"If-None-Match", tag("about")}, 304, "", []string{"X-Hidden", "yes", "Cache-Control", "public, max-age=60"}},
		{"/hidden", []string{"If-Match", `"other"`}, 412, h.edge.pageText(412), []string{"X-Hidden", ""}},
		{"/hidden", []string{"Range", "bytes=1-2"}, 206, "bo", []string{"X-Hidden", "yes", "Content-Range", "bytes 1-2/5"}},
		{"/hidden", []string{"method", "HEAD"}, 200, "", []string{"X-Hidden", "yes", "Content-Length", "5", "Cdn-Cache-Control", "max-age=60"}},
		{"/big.txt", []string{"Accept-Encoding", "gzip", "method", "HEAD"}, 200, "*", []string{"Content-Type", "text/x-log", "Content-Encoding", "gzip", "X-Content-Type-Options", "", "Vary", "Accept-Encoding"}},
		{"/docs", nil, 301, "", []string{"Location", "/docs/"}},
		{"/docs/", nil, 200, "docs", nil},
		{"/removed", nil, 410, "gone", []string{"Cache-Control", "no-store", "Cdn-Cache-Control", "", "Surrogate-Control", "", "X-Frame-Options", "DENY", "Etag", ""}},
		{"/lost", []string{"If-None-Match", tag("gone")}, 404, "gone", []string{"Cache-Control", "no-store"}},
		{"/empty", nil, 410, "none", nil},
		{"/deep/link", []string{"Accept", html}, 200, "home", []string{"Cache-Control", "public, max-age=60"}},
		{"/deep/link", []string{"Accept", "image/png"}, 404, "none", []string{"Cache-Control", "no-store"}},
		{"/deep/app.js", []string{"Accept", html}, 404, "none", nil},
		{"/secret/page", nil, 403, h.edge.pageText(403), []string{"Cache-Control", "no-store"}},
		{"/secret/page.html", nil, 403, h.edge.pageText(403), nil},
		{"/secret/nothing", nil, 403, h.edge.pageText(403), nil},
		{"/leak", nil, 403, h.edge.pageText(403), nil},
		{"/secret/page", []string{"method", "OPTIONS"}, 403, h.edge.pageText(403), nil},
		{"/cfg", nil, 404, "none", nil},
		{"/_headers", nil, 404, "none", nil},
		{"/_redirects", []string{"Accept", "*/*"}, 404, "none", nil},
		{"/fixed/a.txt", nil, 200, "fixed", []string{"Cache-Control", "public, max-age=60"}},
		{"/api/a.json", []string{"Origin", "https://a.example"}, 200, "{}", []string{"Access-Control-Allow-Origin", "https://a.example", "Vary", "Origin"}},
		{"/api/a.json", []string{"Origin", "https://b.example"}, 200, "{}", []string{"Access-Control-Allow-Origin", "", "Vary", "Origin"}},
		{"/api/a.json", nil, 200, "{}", []string{"Access-Control-Allow-Origin", "", "Vary", "Origin"}},
		{"/open/a.json", nil, 200, "{}", []string{"Access-Control-Allow-Origin", "*", "Vary", ""}},
		{"/api/a.json", []string{"method", "OPTIONS", "Origin", "https://a.example"}, 204, "", []string{"Access-Control-Allow-Origin", "https://a.example", "Vary", "Origin"}},
		{"/api/a.json", []string{"method", "OPTIONS", "Origin", "https://b.example"}, 204, "", []string{"Access-Control-Allow-Origin", ""}},
		{"/a.woff2", []string{"method", "OPTIONS", "Origin", "https://b.example"}, 204, "", []string{"Access-Control-Allow-Origin", "*"}},
		{"/old", []string{"method", "OPTIONS"}, 204, "", []string{"Location", "", "Allow", allowed}},
		{"/old", []string{"method", "POST"}, 405, h.edge.pageText(405), []string{"Location", ""}},
	} {
		t.Run(fmt.Sprint(c.target, c.request), func(t *testing.T) {
			res := h.fetch(c.target, c.request...)
			wantStatus(t, res, c.status)
			if got := content(t, res); got != c.body && c.body != "*" {
				t.Errorf("the body is %q, expected %q", got, c.body)
			}
			for i := 0; i < len(c.header); i += 2 {
				wantHeader(t, res, c.header[i], c.header[i+1])
			}
		})
	}
}

// pageText returns the text of the server's own page with this status.
func (s *Server) pageText(status int) string {
	for _, p := range []*page{&s.pages.refused, &s.pages.changed, &s.pages.badMethod} {
		if p.Status == status {
			return string(p.html)
		}
	}
	return ""
}

// TestRulesFollowTheDeployment flips between deployments with and without
// rules.
func TestRulesFollowTheDeployment(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("back.localhost")
	first := h.publish(map[string]string{"index.html": "one", "_redirects": "/a /one"})
	wantHeader(t, h.fetch("/a"), "Location", "/one")
	h.publish(map[string]string{"index.html": "two", "_redirects": "/a /two 302"})
	wantHeader(t, h.fetch("/a"), "Location", "/two")
	h.publish(map[string]string{"index.html": "three"})
	wantStatus(t, h.fetch("/a"), http.StatusNotFound)
	h.flip(first)
	wantHeader(t, h.fetch("/a"), "Location", "/one")
}

// TestRulesAndCarriedAssets serves an asset of an earlier deployment although a
// rule for the whole site matches it.
func TestRulesAndCarriedAssets(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("carried.localhost")
	h.publish(map[string]string{"index.html": "app", "_redirects": "/* /index.html 200"},
		carried(h, "app.4f3a9b1c.js", time.Now().Add(time.Hour)), carried(h, "over.4f3a9b1c.js", time.Now().Add(-time.Hour)))
	wantContent(t, h, "/app.4f3a9b1c.js", "old")
	wantContent(t, h, "/over.4f3a9b1c.js", "app")
}

// TestTrailingSlashOfRules follows the policy of troy.toml.
func TestTrailingSlashOfRules(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("slash.localhost")
	h.configure("[site]\ntrailing_slash = \"always\"\n")
	h.publish(map[string]string{"about.html": "about"})
	wantHeader(t, h.fetch("/about"), "Location", "/about/")
}

// TestDamagedRules answers 500 and logs the reason.
func TestDamagedRules(t *testing.T) {
	t.Parallel()
	for _, damaged := range []string{"{", `{"version":99}`, `{"version":1,"redirects":[{"pattern":[{}],"to":[],"status":301}]}`} {
		h := newBox(t).provision("damaged.localhost")
		deployment := h.publish(map[string]string{"index.html": "x"})
		data, err := site.EncodeManifest(site.Manifest{Files: []site.File{h.store("index.html", "x")}, Rules: []byte(damaged)})
		if err != nil {
			t.Fatal(err)
		}
		h.replace(h.layout.Tree(site.Tree{Pipeline: h.pipeline, Deployment: deployment}), data)
		wantStatus(t, h.fetch("/"), http.StatusInternalServerError)
		if !strings.Contains(h.log.String(), "rules") && !strings.Contains(h.log.String(), "redirect 1") {
			t.Errorf("the log is %s", h.log)
		}
	}
}

// TestRulesOfListsOnDisk keeps the rules of a site whose file list is on disk.
func TestRulesOfListsOnDisk(t *testing.T) {
	t.Parallel()
	b, sites := largeSites(t)
	h := sites[0]
	files := map[string]string{"index.html": h.host, "_redirects": "/a/* /b/:splat"}
	for n := range 1000 {
		files[fmt.Sprintf("pages/%04d/%s.html", n, strings.Repeat("x", 40))] = "page"
	}
	deployment := h.publish(files)
	h.settle()
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(h.layout.Tree(site.Tree{Pipeline: h.pipeline, Deployment: deployment}), old, old); err != nil {
		t.Fatal(err)
	}
	before := b.edge.catalog.loads.Load()
	for range 3 {
		for _, other := range sites {
			wantContent(t, other, "/", other.host)
		}
		wantHeader(t, h.fetch("/a/x"), "Location", "/b/x")
		wantContent(t, h, fmt.Sprintf("/pages/0299/%s", strings.Repeat("x", 40)), "page")
	}
	if n := b.edge.catalog.loads.Load() - before; n > 4 {
		t.Errorf("%d manifests were read; expected the lists on disk to be used", n)
	}
}

// BenchmarkRules sends requests in turn to a site with rules and to the same
// site without, in this process and without a network. It reports the ratio of
// the times ("x-without") of the fastest batches. BenchmarkEdgeRules, in bench,
// measures the same over connections.
func BenchmarkRules(b *testing.B) {
	page := strings.Repeat("<p>Twenty-six bytes here.</p>", 26<<10/29)
	box := newBox(b)
	plain := box.provision("plain.localhost")
	plain.publish(map[string]string{"index.html": page, "page.html": page})
	plain.settle()
	// As while Serve runs, so that requests don't look at the files of the sites'
	// state.
	box.edge.clock.tick()
	box.edge.clock.running.Store(true)
	for _, n := range []struct{ static, dynamic int }{{0, 0}, {100, 0}, {10_000, 0}, {100_000, 0}, {0, 1_000}, {100_000, 1_000}} {
		h := box.provision(fmt.Sprintf("rules-%d-%d.localhost", n.static, n.dynamic))
		var text strings.Builder
		for i := range n.static {
			fmt.Fprintf(&text, "/old/%d /page 301!\n", i)
		}
		for i := range n.dynamic {
			fmt.Fprintf(&text, "/section/:year/%d/* /new/:year/:splat 301!\n", i)
		}
		h.publish(map[string]string{"index.html": page, "page.html": page, "_redirects": text.String()})
		h.settle()
		// A redirect is compared with one that the file list decides.
		for _, c := range []struct{ name, target, without string }{
			{"page", "/page", "/page"},
			{"redirect", fmt.Sprintf("/old/%d", n.static-1), "/page/"},
			{"pattern", fmt.Sprintf("/section/2026/%d/a/b", n.dynamic-1), "/page/"},
		} {
			if c.name == "redirect" && n.static == 0 || c.name == "pattern" && n.dynamic == 0 {
				continue
			}
			b.Run(fmt.Sprintf("static=%d/dynamic=%d/%s", n.static, n.dynamic, c.name), func(b *testing.B) {
				const batch = 200
				// The fastest batch of each is what other processes disturbed least.
				with, without := time.Hour, time.Hour
				for done := 0; done < b.N; done += batch {
					with = min(with, h.ask(c.target, batch))
					b.StopTimer()
					without = min(without, plain.ask(c.without, batch))
					b.StartTimer()
				}
				b.ReportMetric(float64(with.Nanoseconds())/batch, "ns/request")
				b.ReportMetric(with.Seconds()/without.Seconds(), "x-without")
			})
		}
	}
}

// nowhere is a writer that drops answers.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// ask sends a request n times and returns the elapsed time.
func (h *hosted) ask(target string, n int) time.Duration {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = h.host
	start := time.Now()
	for range n {
		h.edge.ServeHTTP(nowhere{http.Header{}}, r)
	}
	return time.Since(start)
}
