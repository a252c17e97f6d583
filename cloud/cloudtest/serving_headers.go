package cloudtest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// gzipped compresses a text as an .svgz file.
func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// testCompressed checks site.ContentEncoding for each way in which a file
// arrives.
func testCompressed(t *testing.T, e Env) {
	drawing := gzipped(t, "<svg xmlns='http://www.w3.org/2000/svg'/>")
	files := map[string]string{"index.html": "1", "a.svgz": drawing, "b/UPPER.SVGZ": drawing + "\x00", "plain.svg": "<svg/>", "archive.gz": drawing + "\x01"}
	live := newLive(t, e)
	check := func(what string) {
		t.Helper()
		live.want("/", http.StatusOK, files["index.html"])
		for p, content := range files {
			w := live.get("/" + p)
			got := []string{http.StatusText(w.Code), w.Header().Get("Content-Type"), w.Header().Get("Content-Encoding"), w.Body.String()}
			want := []string{http.StatusText(http.StatusOK), site.ContentType(p), site.ContentEncoding(p), content}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", what, p, diff)
			}
		}
	}
	live.release(files, false)
	check("sent")
	files["index.html"] = "2"
	live.release(files, false)
	check("taken over")
	if _, ok := e.Cloud.Store.(cloud.Signer); ok {
		live = newLive(t, e)
		live.release(files, true)
		check("sent signed")
	}
}

// testShared checks site.Shared, in answers and in answers to OPTIONS.
func testShared(t *testing.T, e Env) {
	files := map[string]string{}
	for _, p := range []string{
		"index.html", "app.js", "data.json", "a.woff", "f/b.woff2", "c.ttf", "d.otf", "e.ttc", "f.eot", "UPPER.WOFF2", "ü +%.woff2",
		".well-known/openid-configuration", ".well-known/page.html", ".well-known/deep/x.json", "deep/.well-known/x.json",
	} {
		files[p] = p
	}
	live := newLive(t, e)
	live.release(files, false)
	live.want("/", http.StatusOK, "index.html")
	const methods = "GET, HEAD, OPTIONS"
	const origin = "https://other.example"
	seen := func(h http.Header) (all []string) {
		for _, name := range []string{"Origin", "Methods", "Headers"} {
			all = append(all, h.Get("Access-Control-Allow-"+name))
		}
		return append(all, h.Get("Allow"), h.Get("X-Content-Type-Options"))
	}
	for p := range files {
		address := (&url.URL{Path: "/" + p}).EscapedPath()
		star, asked := "", []string{"", "", "", methods, "nosniff"}
		if site.Shared(p) {
			star, asked = "*", []string{"*", methods, "*", methods, "nosniff"}
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w := live.ask(method, address, "Origin", origin)
			if got := w.Header().Get("Access-Control-Allow-Origin"); w.Code != http.StatusOK || got != star {
				t.Errorf("%s %s: %d, Access-Control-Allow-Origin %q, want %q", method, address, w.Code, got, star)
			}
		}
		w := live.ask(http.MethodOptions, address, "Origin", origin)
		if diff := cmp.Diff(asked, seen(w.Header())); w.Code != http.StatusNoContent || w.Body.Len() > 0 || diff != "" {
			t.Errorf("OPTIONS %s: %d (-want +got):\n%s", address, w.Code, diff)
		}
		w = live.ask(http.MethodOptions, address, "", "")
		if diff := cmp.Diff([]string{"", "", "", methods, "nosniff"}, seen(w.Header())); w.Code != http.StatusNoContent || diff != "" {
			t.Errorf("OPTIONS %s without an origin: %d (-want +got):\n%s", address, w.Code, diff)
		}
	}
	w := live.ask(http.MethodGet, "/.well-known/page/", "Origin", origin)
	if got := w.Header().Get("Access-Control-Allow-Origin"); w.Code != http.StatusMovedPermanently || got != "" {
		t.Errorf("a redirect: %d, Access-Control-Allow-Origin %q", w.Code, got)
	}
	if w := live.ask(http.MethodPost, "/app.js", "Origin", origin); w.Code < http.StatusBadRequest {
		t.Errorf("POST: %d", w.Code)
	}
}
