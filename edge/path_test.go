package edge

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/site"
)

// pathsSite has every kind of path that lookups distinguish. A file's content
// is its path.
func pathsSite() map[string]string {
	files := make(map[string]string)
	for _, p := range []string{
		"index.html", "about.html", "404.html", "plain", "plain.html", "only/index.html",
		"both.html", "both/index.html", "both/deep/page.html", "docs/404.html", "docs/index.html",
		"docs/a/b/c.html", "a b.html", "100%.html", "50%25.html", "straße.html", ".html", "docs/.html",
		".well-known/security.txt", "assets/app-4f3a9b1c.js", "q?.html", "#.html", "a+b.html", "a;b=c.html", "...html",
	} {
		files[p] = p
	}
	return files
}

func TestPaths(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("paths.localhost")
	h.publish(pathsSite())
	for _, c := range []struct {
		target string
		status int
		file   string
	}{
		{"/", 200, "index.html"},
		{"/index.html", 200, "index.html"},
		{"/index", 301, "/"},
		{"/?utm=1", 200, "index.html"},
		{"/about", 200, "about.html"},
		{"/about.html", 200, "about.html"},
		{"/about/", 301, "/about"},
		{"/plain", 200, "plain"},
		{"/plain/", 301, "/plain.html"},
		{"/only", 301, "/only/"},
		{"/only/", 200, "only/index.html"},
		{"/only/index.html", 200, "only/index.html"},
		{"/only/index", 301, "/only/"},
		{"/both", 200, "both.html"},
		{"/both/", 200, "both/index.html"},
		{"/both/deep/page", 200, "both/deep/page.html"},
		{"/both/deep", 404, "404.html"},
		{"/both/deep/", 404, "404.html"},
		{"/404", 200, "404.html"},
		{"/404.html", 200, "404.html"},
		{"/a%20b", 200, "a b.html"},
		{"/a%20b.html", 200, "a b.html"},
		{"/a+b", 200, "a+b.html"},
		{"/a;b=c", 200, "a;b=c.html"},
		{"/100%25.html", 200, "100%.html"},
		{"/50%2525", 200, "50%25.html"},
		{"/50%25", 404, "404.html"}, // decoded once
		{"/stra%C3%9Fe", 200, "straße.html"},
		{"/q%3F", 200, "q?.html"},
		{"/%23", 200, "#.html"},
		{"/.well-known/security.txt", 200, ".well-known/security.txt"},
		{"/.html", 200, ".html"},
		{"/missing", 404, "404.html"},
		{"/missing/", 404, "404.html"},
		{"/missing/much/deeper.js", 404, "404.html"},
		{"/docs", 301, "/docs/"},
		{"/docs/missing", 404, "docs/404.html"},
		{"/docs/a/b/missing", 404, "docs/404.html"},
		{"/docs/a/b/", 404, "docs/404.html"},
		{"/docs/a/b/c", 200, "docs/a/b/c.html"},
		{"/docsx/missing", 404, "404.html"},
		{"/About", 404, "404.html"},
		{"//", 404, "404.html"},
		{"/docs//", 404, "docs/404.html"},
		{"//about", 404, "404.html"},
		{"/./about", 404, "404.html"},
		{"/..", 200, "...html"}, // a file's clean URL like any other
		{"/docs/../about", 404, "docs/404.html"},
	} {
		res := h.fetch(c.target)
		if c.status == 301 {
			wantStatus(t, res, 301)
			wantHeader(t, res, "Location", c.file)
			continue
		}
		if got := content(t, res); res.StatusCode != c.status || got != c.file {
			t.Errorf("GET %s: %d with %q, want %d with %q", c.target, res.StatusCode, got, c.status, c.file)
		}
		wantHeader(t, res, "Content-Type", site.ContentType(c.file))
		wantHeader(t, res, "Location", "")
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("slash.localhost")
	h.publish(map[string]string{"index.html": "home", "about.html": "about", "docs/index.html": "docs", "ü b/index.html": "ü"})
	for target, want := range map[string]string{
		"/docs?q=a+b&c=%2F": "/docs/?q=a+b&c=%2F", "/about/?x": "/about?x", "/docs?": "/docs/",
		"/%C3%BC%20b?<\">": "/%C3%BC%20b/?%3C%22%3E", "/docs?//evil.example": "/docs/?//evil.example",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			res := h.fetch(target, "method", method, "Host", "evil.example", "X-Forwarded-Host", "evil.example", "If-None-Match", "*")
			wantStatus(t, res, 301)
			wantHeader(t, res, "Location", want)
			wantHeader(t, res, "Link", "")
			wantHeader(t, res, "Cache-Control", "public, max-age=0, must-revalidate")
			wantHeader(t, res, "X-Content-Type-Options", "nosniff")
			if got := content(t, res); got != "" {
				t.Errorf("%s %s: the body is %q", method, target, got)
			}
		}
	}
	for target, want := range map[string]string{
		"/docs/index.html": `</docs/>; rel="canonical"`, "/about.html?x=1": `</about>; rel="canonical"`,
		"/docs/": "", "/about": "", "/": "", "/index.html": `</>; rel="canonical"`,
	} {
		res := h.fetch(target)
		wantStatus(t, res, 200)
		wantHeader(t, res, "Link", want)
	}
	for _, target := range []string{"//evil.example/", "//evil.example/docs", "/%5Cevil.example/docs", "/%2Fdocs", "/docs%2F/", "/%2F%2Fevil.example/..", "/docs//"} {
		res := h.fetch("http://slash.localhost" + target)
		wantStatus(t, res, 404)
		wantHeader(t, res, "Location", "")
	}
}

func TestNamesThatDifferInCase(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("case.localhost")
	h.publish(map[string]string{"tag/Go/index.html": "Go", "tag/go/index.html": "go", "Self.html": "Self", "self.html": "self"})
	for target, want := range map[string]string{"/tag/Go/": "Go", "/tag/go/": "go", "/Self": "Self", "/self": "self", "/Self.html": "Self"} {
		if got := content(t, h.fetch(target)); got != want {
			t.Errorf("GET %s: %q, want %q", target, got, want)
		}
	}
	wantStatus(t, h.fetch("/SELF"), 404)
	wantHeader(t, h.fetch("/tag/Go"), "Location", "/tag/Go/")
}

func TestTrailingSlashPolicies(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("policy.localhost")
	pages := map[string]string{"about.html": "about", "docs/index.html": "docs"}
	for policy, want := range map[site.TrailingSlash][2]string{
		site.SlashAuto: {"/about", "/docs/"}, site.SlashAlways: {"/about/", "/docs/"}, site.SlashNever: {"/about", "/docs"},
	} {
		h.policy = policy
		h.publish(pages)
		for i, page := range []string{"about", "docs"} {
			for _, target := range []string{"/" + page, "/" + page + "/"} {
				res := h.fetch(target)
				if target == want[i] {
					wantStatus(t, res, 200)
				} else {
					wantStatus(t, res, 301)
					wantHeader(t, res, "Location", want[i])
				}
			}
		}
	}
}

func TestFilesForTheHostAreNotServed(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("private.localhost")
	h.publish(map[string]string{"index.html": "home", "_redirects": "/x /index.html 200", "_headers": "Basic-Auth: a:b", "docs/_headers": "a document"})
	for _, target := range []string{"/_redirects", "/_headers", "/%5Fheaders", "/_headers/", "/_redirects.html", "/_headers?x"} {
		res := h.fetch(target)
		wantStatus(t, res, 404)
		if strings.Contains(content(t, res), "Basic-Auth") {
			t.Errorf("GET %s shows the file", target)
		}
	}
	wantStatus(t, h.fetch("/docs/_headers"), 200)
}

// TestLookUpsAllocateNothing covers every kind of answer.
func TestLookUpsAllocateNothing(t *testing.T) {
	var m site.Manifest
	for _, p := range slices.Sorted(maps.Keys(pathsSite())) {
		m.Files = append(m.Files, site.File{Path: p})
	}
	x, err := newIndex(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/", "/about", "/about.html", "/about/", "/docs", "/assets/app-4f3a9b1c.js", "/missing/deep/page"} {
		if n := testing.AllocsPerRun(100, func() { x.resolve(target, 50) }); n != 0 {
			t.Errorf("%s costs %v allocations", target, n)
		}
	}
}

func TestEveryUploadedPathAnswersWithItsOwnBytes(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("own.localhost")
	files := pathsSite()
	h.publish(files)
	for p := range files {
		target := "/" + strings.NewReplacer("%", "%25", "?", "%3F", "#", "%23", " ", "%20", "ß", "%C3%9F").Replace(p)
		res := h.fetch(target)
		if got := content(t, res); res.StatusCode != 200 || got != p {
			t.Errorf("GET %s: %d with %q, want 200 with %q", target, res.StatusCode, got, p)
		}
	}
}

func TestWithout404PageTheEdgesOwnAnswers(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("own404.localhost")
	d := h.publish(map[string]string{"index.html": "x", "docs/404.html": "docs only"})
	res := h.fetch("/missing<script>")
	wantStatus(t, res, 404)
	wantHeader(t, res, "Cache-Control", "no-store")
	wantHeader(t, res, deploymentHeader, d.String())
	wantHeader(t, res, "Content-Type", "text/html; charset=utf-8")
	if got := content(t, res); !strings.Contains(got, "This page does not exist") || strings.Contains(got, "missing<") {
		t.Errorf("the page is %s", got)
	}
}

// TestHostilePaths uses a real server and bytes that no client would send.
func TestHostilePaths(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.provision("victim.localhost").publish(map[string]string{"secret.html": "the victim's"})
	h := b.provision("site.localhost")
	h.publish(map[string]string{"index.html": "home", "docs/x.html": "x"})
	address := b.serve()

	for _, c := range []struct {
		target string
		status int
	}{
		{"/%", 400},
		{"/%zz", 400},
		{"/%2", 400},
		{"/a%00b", 400},
		{"/index.html%00.js", 400},
		{"*", 400},
		{"index.html", 400},
		{"/..", 404},
		{"/../../../etc/passwd", 404},
		{"/docs/../index.html", 404},
		{"/%2e%2e/%2e%2e/etc/passwd", 404},
		{"/..%2f..%2f..%2fetc%2fpasswd", 404},
		{"/%252e%252e/etc/passwd", 404},
		{`/..\..\..\etc\passwd`, 404},
		{"/..%5c..%5cetc%5cpasswd", 404},
		{"/docs", 404},
		{"/docs/", 404},
		{"//etc/passwd", 404},
		{"///", 404},
		{"/.", 404},
		{"/%ff%fe", 404},
		{"/" + strings.Repeat("/", 20_000), 404},
		{"/" + strings.Repeat("../", 7_000), 404},
		{"/" + strings.Repeat("a", 40_000), 431},
		{"http://victim.localhost/../site.localhost/index.html", 404},
		{"http://site.localhost", 200},
		{"/", 200},
	} {
		// net/http reads the requests that end the connection.
		for _, connection := range []string{"", "Connection: close\r\n"} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: site.localhost\r\n%s\r\n", c.target, connection)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Errorf("GET %.60s: %v", c.target, err)
				_ = conn.Close()
				continue
			}
			got := content(t, res)
			if res.StatusCode != c.status {
				t.Errorf("GET %.60s: status %d, want %d", c.target, res.StatusCode, c.status)
			}
			if strings.Contains(got, "the victim's") || strings.Contains(got, "root:") || c.status != 200 && strings.Contains(got, "home") {
				t.Errorf("GET %.60s: answered %q", c.target, got)
			}
			_ = conn.Close()
		}
	}
}

func FuzzResolve(f *testing.F) {
	files := pathsSite()
	var m site.Manifest
	for _, p := range slices.Sorted(maps.Keys(files)) {
		m.Files = append(m.Files, site.File{Path: p})
	}
	const gone = "old/app-4f3a9b1c.js"
	m.Carried = []site.Carried{{File: site.File{Path: gone}, Until: 100}}
	x, err := newIndex(m)
	if err != nil {
		f.Fatal(err)
	}
	for p := range files {
		f.Add(p, int64(50))
	}
	for _, p := range []string{gone, "..", "a/../b", "//", "docs//", "both/", "x/\x00", `..\`} {
		f.Add(p, int64(150))
	}
	f.Fuzz(func(t *testing.T, p string, now int64) {
		a, _ := x.resolve("/"+p, now)
		name, ok := a.Path, a.Path != ""
		_, own := files[p]
		switch {
		case own && (!ok || name != p):
			t.Fatalf("%q is a file and resolves to %q, %v", p, name, ok)
		case p == gone && ok != (now < 100):
			t.Fatalf("%q at %d resolves: %v", p, now, ok)
		}
		if ok && p != gone {
			base := strings.TrimSuffix(p, "/")
			if _, has := files[name]; !has {
				t.Fatalf("%q resolves to %q, which is not a file", p, name)
			}
			if !slices.Contains([]string{p, base + ".html", base + "/index.html", "index.html"}, name) || name == "index.html" && base != "" && base != "index" && p != name {
				t.Fatalf("%q resolves to %q, which is not its page", p, name)
			}
		}
		if name, _, ok := x.missing("/" + p); !ok || name != "404.html" && !strings.HasPrefix(p, strings.TrimSuffix(name, "404.html")) {
			t.Fatalf("the 404.html of %q is %q, %v", p, name, ok)
		}
	})
}
