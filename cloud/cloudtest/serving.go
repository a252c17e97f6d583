package cloudtest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// oddNames are paths that URLs, signatures, copy sources and XML each encode
// differently. Each file's content is its path, except for the empty ones.
func oddNames() map[string]string {
	files := map[string]string{"empty.css": "", "index.html": "home", "a/b/index.html": "deep"}
	for _, p := range []string{"case/Go.html", "case/go.html", "Case/go.html"} { // differ only in case
		files[p] = p
	}
	for _, c := range []string{
		" ", "+", "%", "#", "?", "&", ";", "=", "~", "'", "(", ")", "!", "*", "$", ",", "@", ":", "|", `"`, "<", ">", "^", "`", "{", "}", "[", "]",
		"é", "e\u0301", "日", "😀", "%2B", "%41", "%2F", "..", "--",
	} {
		for _, p := range []string{"a" + c + "b.html", "in " + c + "/x.txt", "assets" + c + "/" + c + "y.js"} {
			files[p] = p
		}
	}
	return files
}

// longPath returns a path of n bytes, in folders that every file system
// accepts.
func longPath(n int) string {
	const name = "xxxxxxxxxx.html"
	folder := strings.Repeat("d", 99) + "/"
	n -= len(name)
	return strings.Repeat(folder, n/len(folder)) + strings.Repeat("e", n%len(folder)) + name
}

func servingTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"serving/odd names through every call": testOddNames,
		"serving/the longest path": func(t *testing.T, e Env) {
			longest := e.MaxPath
			if longest == 0 {
				longest = site.MaxPath
			}
			live := newLive(t, e)
			p := longPath(longest)
			if len(p) != longest {
				t.Fatalf("the path has %d bytes, want %d", len(p), longest)
			}
			live.release(map[string]string{p: "long"}, false)
			live.want("/"+p, http.StatusOK, "long")
			live.release(map[string]string{p: "long", "index.html": "more"}, false) // by a copy
			live.want("/"+p, http.StatusOK, "long")
			over := file(longPath(longest+1), "over")
			_, err := e.Cloud.Store.Begin(t.Context(), another(live.tree), manifest(over))
			if longest < site.MaxPath && (troy.KindOf(err) != troy.Invalid || !strings.Contains(err.Error(), over.Path[:40])) {
				t.Fatalf("Begin with a path of %d bytes: %v; want Invalid, and the path", len(over.Path), err)
			}
		},
		"serving/compressed drawings":             testCompressed,
		"serving/shared with other origins":       testShared,
		"serving/each page has one address":       testAddresses,
		"serving/a stored redirect is not reused": testRedirects,
		"serving/a missing file is 404": func(t *testing.T, e Env) {
			live := newLive(t, e)
			live.release(map[string]string{"index.html": "home"}, false)
			live.want("/", http.StatusOK, "home")
			for _, p := range []string{"/none", "/none.html", "/index.html/x", "/../index.html", "/%2e%2e/index.html"} {
				live.want(p, http.StatusNotFound, "")
			}
		},
	}
}

// live is a host with its published files.
type live struct {
	t        *testing.T
	e        Env
	d        cloud.Distribution
	host     string
	tree     site.Tree
	sequence int64
	policy   site.TrailingSlash
}

func newLive(t *testing.T, e Env) *live {
	t.Helper()
	l := &live{t: t, e: e, tree: newTree()}
	l.d, _, l.host = create(t, e)
	if err := e.Cloud.DNS.Upsert(t.Context(), l.host, l.d.Domain); err != nil {
		t.Fatal(err)
	}
	deployed(t, e, l.d.ID)
	return l
}

// release publishes files as the pipeline's next tree, by signed uploads or
// through Troy. It returns the files that were sent.
func (l *live) release(files map[string]string, signed bool) []site.File {
	l.t.Helper()
	l.tree = another(l.tree)
	l.sequence++
	var m []site.File
	for p, content := range files {
		m = append(m, file(p, content))
	}
	sent, err := l.e.Cloud.Store.Begin(l.t.Context(), l.tree, site.Manifest{Files: m, TrailingSlash: l.policy})
	if err != nil {
		l.t.Fatalf("Begin: %v", err)
	}
	for _, f := range sent {
		if signed {
			l.send(f, files[f.Path])
		} else {
			put(l.t, l.e, l.tree, f, files[f.Path])
		}
	}
	seal(l.t, l.e, l.tree)
	if err := l.e.Cloud.CDN.Flip(l.t.Context(), l.d.ID, pointer(l.tree, l.sequence)); err != nil {
		l.t.Fatalf("Flip: %v", err)
	}
	return sent
}

// send uploads a file by a signed request.
func (l *live) send(f site.File, content string) {
	l.t.Helper()
	requests, _, err := l.e.Cloud.Store.(cloud.Signer).Sign(l.t.Context(), l.tree, []site.File{f})
	if err != nil {
		l.t.Fatalf("Sign of %q: %v", f.Path, err)
	}
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodPut, requests[0].URL, strings.NewReader(content))
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header = requests[0].Header.Clone()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
		l.t.Fatalf("the signed upload of %q: %d, %v\n%s", f.Path, resp.StatusCode, err, text)
	}
}

// get requests a page as a reader.
func (l *live) get(address string) *httptest.ResponseRecorder { return l.getIf(address, "") }

// getIf requests a page as a reader with a cached answer of this ETag.
func (l *live) getIf(address, tag string) *httptest.ResponseRecorder {
	return l.ask(http.MethodGet, address, "If-None-Match", tag)
}

// ask sends a request with one header, if its value is not empty.
func (l *live) ask(method, address, name, value string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://"+l.host+address, nil)
	if value != "" {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	l.e.Readers.ServeHTTP(w, r)
	return w
}

// want requests an address until it gets this answer: a flip takes seconds to
// take effect everywhere.
func (l *live) want(address string, status int, body string) {
	l.t.Helper()
	var w *httptest.ResponseRecorder
	eventually(l.t, l.e, "the answer to "+address, func(context.Context) bool {
		w = l.get(address)
		return w.Code == status && (body == "" || w.Body.String() == body)
	})
	if body != "" && w.Body.String() != body {
		l.t.Errorf("%s: %q, want %q", address, w.Body, body)
	}
}

// testAddresses compares the adapter with site's rules of addresses.
func testAddresses(t *testing.T, e Env) {
	files := map[string]string{}
	for _, p := range []string{
		"index.html", "about.html", "docs/index.html", "docs/next.html", "docs/style.css", "a b/ü+%.html", "deep/er/index.html", "LICENSE",
		"app.js", "_headers", "_redirects",
	} {
		files[p] = p
	}
	addresses := []string{
		"/", "/index.html", "/about", "/about/", "/about.html", "/docs", "/docs/", "/docs/index.html", "/docs/next", "/docs/next/", "/docs/next.html",
		"/docs/style.css", "/a%20b/%C3%BC+%25", "/a%20b/%C3%BC%2B%25", "/a%20b/%C3%BC+%25/", "/a%20b/%C3%BC+%25.html", "/deep/er", "/deep/er/", "/deep",
		"/LICENSE", "/app.js", "/_headers", "/_redirects", "/none", "/none/",
	}
	for _, policy := range []site.TrailingSlash{site.SlashAuto, site.SlashAlways, site.SlashNever} {
		live := newLive(t, e)
		live.policy = policy
		_, signer := e.Cloud.Store.(cloud.Signer)
		live.release(files, signer)
		live.want("/", http.StatusOK, "index.html")
		live.release(files, false) // by copies
		paths := site.PathSet{}
		for p := range files {
			paths[p] = struct{}{}
		}
		for _, address := range addresses {
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			a := policy.Resolve(paths, u.Path)
			w := live.get(address + "?b=1&a=%20x&a=2")
			got := []string{http.StatusText(w.Code), w.Header().Get("Location"), w.Header().Get("Link")}
			want := []string{http.StatusText(http.StatusOK), "", ""}
			switch {
			case a.Path == "":
				want[0] = http.StatusText(http.StatusNotFound)
			case a.Redirect:
				want[0], want[1] = http.StatusText(http.StatusMovedPermanently), a.Address()
			case a.Alias:
				want[2] = "<" + a.Address() + `>; rel="canonical"`
			}
			where, query, _ := strings.Cut(got[1], "?")
			got[1] = strings.ReplaceAll(where, "%2B", "+")
			want[1], want[2], got[2] = strings.ReplaceAll(want[1], "%2B", "+"), strings.ReplaceAll(want[2], "%2B", "+"), strings.ReplaceAll(got[2], "%2B", "+")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s under %s (-want +got):\n%s", address, policy, diff)
			}
			if a.Redirect && !sameQuery(query, "b=1&a=%20x&a=2") {
				t.Errorf("%s redirects with the query %q", address, query)
			}
			if w.Code != http.StatusOK {
				continue
			}
			if w.Body.String() != a.Path || w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != site.CacheControl(a.Path) {
				t.Errorf("%s answers %q with %v", address, w.Body, w.Header())
			}
		}
	}
}

// testRedirects requests an address as a browser with a cached answer from
// before the canonical address moved.
func testRedirects(t *testing.T, e Env) {
	live := newLive(t, e)
	files := map[string]string{"index.html": "home", "about.html": "about"}
	tags := map[string]string{} // of the browser's cached answer, by address
	for i, policy := range []site.TrailingSlash{site.SlashNever, site.SlashAlways, site.SlashNever} {
		live.policy = policy
		files["n.txt"] = strings.Repeat("n", i+1)
		live.release(files, false)
		live.want("/n.txt", http.StatusOK, files["n.txt"])
		page, redirect := "/about", "/about/"
		if policy == site.SlashAlways {
			page, redirect = redirect, page
		}
		tag := live.get(page).Header().Get("ETag")
		if tag == "" {
			t.Fatalf("%s has no ETag under %s", page, policy)
		}
		for _, condition := range []string{"", tag, "*"} {
			w := live.getIf(redirect, condition)
			if w.Code != http.StatusMovedPermanently || w.Header().Get("Location") != page || w.Header().Get("Cache-Control") != site.CacheControl("index.html") {
				t.Errorf("%s with If-None-Match %q under %s: %d with %v; want a redirect to %s", redirect, condition, policy, w.Code, w.Header(), page)
			}
			for _, name := range []string{"ETag", "Last-Modified"} {
				if got := w.Header().Get(name); got != "" {
					t.Errorf("the redirect of %s has the validator %s: %s", redirect, name, got)
				}
			}
		}
		// After a 304 the browser would reuse its stored redirect.
		if stored, ok := tags[page]; ok && live.getIf(page, stored).Code != http.StatusOK {
			t.Errorf("%s under %s is not answered in full", page, policy)
		}
		tags[page], tags[redirect] = tag, live.get(redirect).Header().Get("ETag")
	}
}

// sameQuery compares queries regardless of the order of their members.
func sameQuery(a, b string) bool {
	first, err := url.ParseQuery(a)
	second, other := url.ParseQuery(b)
	return err == nil && other == nil && cmp.Equal(first, second)
}

func testOddNames(t *testing.T, e Env) {
	live := newLive(t, e)
	files := oddNames()
	check := func(what string) {
		t.Helper()
		for p, content := range files {
			// As browsers encode it, and with everything escaped.
			for _, address := range []string{(&url.URL{Path: "/" + p}).EscapedPath(), "/" + strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(p), "+", "%20"), "%2F", "/")} {
				w := live.get(address)
				if w.Code != http.StatusOK || w.Body.String() != content {
					t.Errorf("%s: %s answers %d %.40q, want %q", what, address, w.Code, w.Body, content)
				}
				if got := w.Header().Get("Content-Type"); got != site.ContentType(p) {
					t.Errorf("%s: %s has the type %q, want %q", what, address, got, site.ContentType(p))
				}
			}
		}
	}
	live.release(files, false)
	live.want("/", http.StatusOK, "home")
	check("sent")
	if _, ok := e.Cloud.Store.(cloud.Signer); ok {
		live = newLive(t, e) // another pipeline, which has none of the bytes
		live.release(files, true)
		live.want("/", http.StatusOK, "home")
		check("sent signed")
	}
	sent := live.release(files, false)
	if len(sent) > 0 {
		t.Errorf("%q were requested again", paths(sent))
	}
	check("taken over")

	// Bytes from another tree under each name: a copy reads the other file.
	moved := map[string]string{}
	for p, content := range files {
		moved["moved/"+p] = content
	}
	files = moved
	files["index.html"] = "home again"
	live.release(files, false)
	live.want("/", http.StatusOK, "home again")
	check("moved")

	if err := e.Cloud.Store.Remove(t.Context(), live.tree.Pipeline, live.tree.Deployment); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := e.Cloud.Store.RemoveAll(t.Context(), live.tree.Pipeline); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := e.Cloud.Store.RemoveAll(t.Context(), live.tree.Pipeline); err != nil || n != 0 {
		t.Errorf("RemoveAll: %d, %v; want nothing left", n, err)
	}
}
