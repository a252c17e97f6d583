package edge

import (
	"compress/gzip"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/site"
)

func TestMethods(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("methods.localhost")
	h.publish(map[string]string{"index.html": "home"})
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get"} {
		res := h.fetch("/", "method", method)
		wantStatus(t, res, 405)
		wantHeader(t, res, "Allow", "GET, HEAD, OPTIONS")
		wantHeader(t, res, "Cache-Control", "no-store")
	}
}

// TestOtherOrigins checks that other origins, whose browsers send an OPTIONS
// request first, can read fonts and well-known files.
func TestOtherOrigins(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("cors.localhost")
	h.publish(map[string]string{"index.html": "home", "a.json": "{}", "fonts/a.woff2": "font", ".well-known/openid-configuration": "{}"})
	for target, origin := range map[string]string{
		"/": "", "/a.json": "", "/fonts/a.woff2": "*", "/.well-known/openid-configuration": "*", "/.well-known/missing": "", "/missing.woff2": "",
	} {
		wantHeader(t, h.fetch(target, "Origin", "https://other.example"), "Access-Control-Allow-Origin", origin)
		res := h.fetch(target, "method", "OPTIONS", "Origin", "https://other.example", "Access-Control-Request-Method", "GET")
		wantStatus(t, res, 204)
		wantHeader(t, res, "Allow", "GET, HEAD, OPTIONS")
		wantHeader(t, res, "Access-Control-Allow-Origin", origin)
		wantHeader(t, res, "Access-Control-Allow-Credentials", "")
		if got := content(t, res); got != "" {
			t.Errorf("OPTIONS %s: the body is %q", target, got)
		}
	}
	wantHeader(t, h.fetch("/fonts/a.woff2", "method", "OPTIONS"), "Access-Control-Allow-Origin", "")
	wantStatus(t, h.get("nowhere.localhost", "/", "method", "OPTIONS"), 404)
}

func TestCompressedDrawings(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("svgz.localhost")
	drawing := strings.Repeat("compressed", 500)
	h.publish(map[string]string{"a.svgz": drawing, "b.SVGZ": drawing, "c.tgz": drawing})
	for target, want := range map[string]string{"/a.svgz": "gzip", "/b.SVGZ": "gzip", "/c.tgz": ""} {
		for _, method := range []string{"GET", "HEAD"} {
			res := h.fetch(target, "method", method, "Accept-Encoding", "gzip")
			wantStatus(t, res, 200)
			wantHeader(t, res, "Content-Encoding", want)
			wantHeader(t, res, "Etag", tag(drawing))
			wantHeader(t, res, "Vary", "")
			if method == "GET" && content(t, res) != drawing {
				t.Errorf("%s: the bytes are changed", target)
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("headers.localhost")
	const asset = "assets/index-BX3kz0aQ.css"
	d := h.publish(map[string]string{"index.html": "home", asset: "css", "404.html": "gone", "data": "bytes"})
	for _, c := range []struct {
		target, contentType, cache, etag string
	}{
		{"/", "text/html; charset=utf-8", "public, max-age=0, must-revalidate", tag("home")},
		{"/" + asset, "text/css; charset=utf-8", "public, max-age=31536000, immutable", tag("css")},
		{"/data", "application/octet-stream", "public, max-age=0, must-revalidate", tag("bytes")},
		{"/404.html", "text/html; charset=utf-8", "public, max-age=0, must-revalidate", tag("gone")},
		{"/missing", "text/html; charset=utf-8", "no-store", ""},
		{"/assets/gone-BX3kz0aQ.css", "text/html; charset=utf-8", "no-store", ""},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			res := h.fetch(c.target, "method", method)
			wantHeader(t, res, "Content-Type", c.contentType)
			wantHeader(t, res, "Cache-Control", c.cache)
			wantHeader(t, res, "Etag", c.etag)
			wantHeader(t, res, deploymentHeader, d.String())
			wantHeader(t, res, "X-Content-Type-Options", "nosniff")
			wantHeader(t, res, "Last-Modified", "")
			if t.Failed() {
				t.Fatalf("the answer to %s %s", method, c.target)
			}
		}
	}
}

// TestHeadSaysWhatGetDoes uses a real server, because net/http affects lengths.
func TestHeadSaysWhatGetDoes(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	h := b.provision("head.localhost")
	h.publish(map[string]string{
		"index.html": "home", "empty.txt": "", "404.html": strings.Repeat("gone ", 1000),
		"large.bin": strings.Repeat("0123456789", 20_000), "large.txt": strings.Repeat("0123456789", 20_000),
	})
	url := "http://" + b.serve()
	ask := func(method, target, encoding string) (*http.Response, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, url+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = h.host
		r.Header.Set("Accept-Encoding", encoding)
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		return res, content(t, res)
	}
	for _, target := range []string{"/", "/empty.txt", "/large.bin", "/large.txt", "/missing"} {
		for _, encoding := range []string{"identity", "gzip"} {
			get, body := ask("GET", target, encoding)
			head, nothing := ask("HEAD", target, encoding)
			if nothing != "" {
				t.Errorf("HEAD %s has a body of %d bytes", target, len(nothing))
			}
			if get.Header.Get("Content-Length") != strconv.Itoa(len(body)) {
				t.Errorf("GET %s (%s): Content-Length %q of %d bytes", target, encoding, get.Header.Get("Content-Length"), len(body))
			}
			for name := range get.Header {
				if name != "Date" && get.Header.Get(name) != head.Header.Get(name) {
					t.Errorf("%s (%s): HEAD says %s: %q, GET %q", target, encoding, name, head.Header.Get(name), get.Header.Get(name))
				}
			}
			if get.StatusCode != head.StatusCode {
				t.Errorf("%s: HEAD %d, GET %d", target, head.StatusCode, get.StatusCode)
			}
		}
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("conditions.localhost")
	page, large := strings.Repeat("page ", 1000), strings.Repeat("large ", 20_000)
	h.publish(map[string]string{"index.html": page, "large.bin": large, "404.html": "gone"})
	tag, zipped := tag(page), gzipTag(page)
	for _, c := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"the same", []string{"If-None-Match", tag}, 304},
		{"weak", []string{"If-None-Match", "W/" + tag}, 304},
		{"in a list", []string{"If-None-Match", `"a", W/"b" ,` + tag}, 304},
		{"on a second line", []string{"If-None-Match", `"a"`, "If-None-Match", tag}, 304},
		{"any", []string{"If-None-Match", "*"}, 304},
		{"another", []string{"If-None-Match", `"a"`}, 200},
		{"unquoted", []string{"If-None-Match", strings.Trim(tag, `"`)}, 200},
		{"an empty one", []string{"If-None-Match", ""}, 200},
		{"of the compressed form", []string{"If-None-Match", zipped}, 200},
		{"compressed, of the compressed form", []string{"If-None-Match", zipped, "Accept-Encoding", "gzip"}, 304},
		{"compressed, of the plain form", []string{"If-None-Match", tag, "Accept-Encoding", "gzip"}, 200},
		{"HEAD", []string{"method", "HEAD", "If-None-Match", tag}, 304},
		{"match", []string{"If-Match", tag}, 200},
		{"match any", []string{"If-Match", "*"}, 200},
		{"match in a list", []string{"If-Match", `"a", ` + tag}, 200},
		{"match another", []string{"If-Match", `"a"`}, 412},
		{"match weakly", []string{"If-Match", "W/" + tag}, 412},
		{"match comes first", []string{"If-Match", `"a"`, "If-None-Match", tag}, 412},
		{"match a range", []string{"If-Match", tag, "Range", "bytes=0-1"}, 206},
		{"the same with a range", []string{"If-None-Match", tag, "Range", "bytes=0-1"}, 304},
		{"a date does not count", []string{"If-Modified-Since", time.Now().UTC().Format(http.TimeFormat)}, 200},
		{"nor does the other", []string{"If-Unmodified-Since", time.Unix(0, 0).UTC().Format(http.TimeFormat)}, 200},
	} {
		res := h.fetch("/", c.headers...)
		body := content(t, res)
		if res.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d", c.name, res.StatusCode, c.status)
		}
		switch res.StatusCode {
		case 304:
			if body != "" || res.Header.Get("Content-Length") != "" {
				t.Errorf("%s: 304 has a body", c.name)
			}
			if res.Header.Get("Etag") == "" || res.Header.Get("Cache-Control") == "" || res.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s: 304 lacks a header of RFC 9110 §15.4.5: %v", c.name, res.Header)
			}
		case 412:
			wantHeader(t, res, "Cache-Control", "no-store")
		}
	}
	wantStatus(t, h.fetch("/missing", "If-None-Match", "*"), 404)
	wantStatus(t, h.fetch("/missing", "If-Match", `"a"`), 404)
	wantStatus(t, h.fetch("/missing", "Range", "bytes=0-1"), 404)
	wantStatus(t, h.fetch("/large.bin", "If-None-Match", etagOf(t, h, "/large.bin")), 304)
}

func etagOf(t *testing.T, h *hosted, target string) string {
	t.Helper()
	return h.fetch(target).Header.Get("Etag")
}

func TestRanges(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("ranges.localhost")
	small := strings.Repeat("0123456789", 500) // would be compressed
	large := strings.Repeat("9876543210", 20_000)
	h.publish(map[string]string{"small.txt": small, "large.bin": large, "empty.txt": ""})
	for _, c := range []struct {
		name, target, content string
		headers               []string
		status                int
		want, contentRange    string
	}{
		{"first", "/small.txt", small, []string{"Range", "bytes=0-3"}, 206, "0123", "bytes 0-3/5000"},
		{"last", "/small.txt", small, []string{"Range", "bytes=-3"}, 206, "789", "bytes 4997-4999/5000"},
		{"from", "/small.txt", small, []string{"Range", "bytes=4996-"}, 206, "6789", "bytes 4996-4999/5000"},
		{"beyond the end", "/small.txt", small, []string{"Range", "bytes=4998-9999"}, 206, "89", "bytes 4998-4999/5000"},
		{"of a large file", "/large.bin", large, []string{"Range", "bytes=100000-100003"}, 206, "9876", "bytes 100000-100003/200000"},
		{"though gzip is accepted", "/small.txt", small, []string{"Range", "bytes=0-3", "Accept-Encoding", "gzip"}, 206, "0123", "bytes 0-3/5000"},
		{"if it is the same", "/small.txt", small, []string{"Range", "bytes=0-3", "If-Range", tag(small)}, 206, "0123", "bytes 0-3/5000"},
		{"if it is another", "/small.txt", small, []string{"Range", "bytes=0-3", "If-Range", `"a"`}, 200, small, ""},
		{"if it is weakly the same", "/small.txt", small, []string{"Range", "bytes=0-3", "If-Range", "W/" + tag(small)}, 200, small, ""},
		{"if it is the compressed form", "/small.txt", small, []string{"Range", "bytes=0-3", "If-Range", gzipTag(small), "Accept-Encoding", "gzip"}, 200, small, ""},
		{"if it is of a date", "/small.txt", small, []string{"Range", "bytes=0-3", "If-Range", time.Now().UTC().Format(http.TimeFormat)}, 200, small, ""},
		{"in another unit", "/small.txt", small, []string{"Range", "lines=0-3"}, 200, small, ""},
		{"of HEAD", "/small.txt", "", []string{"method", "HEAD", "Range", "bytes=0-3"}, 200, "", ""},
		{"in too many parts", "/small.txt", small, []string{"Range", "bytes=0-0" + strings.Repeat(",2-2", 20)}, 200, small, ""},
		{"of an empty file", "/empty.txt", "", []string{"Range", "bytes=0-3"}, 200, "", ""},
	} {
		res := h.fetch(c.target, c.headers...)
		got := content(t, res)
		if res.StatusCode != c.status || got != c.want {
			t.Errorf("%s: %d with %d bytes %.20q, want %d with %d bytes %.20q", c.name, res.StatusCode, len(got), got, c.status, len(c.want), c.want)
		}
		if cr := res.Header.Get("Content-Range"); cr != c.contentRange {
			t.Errorf("%s: Content-Range %q, want %q", c.name, cr, c.contentRange)
		}
		if res.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: a range of a compressed form", c.name)
		}
		wantHeader(t, res, "Accept-Ranges", "bytes")
	}
	for _, r := range []string{"bytes=5000-", "bytes=9-3", "bytes=x"} {
		res := h.fetch("/small.txt", "Range", r)
		wantStatus(t, res, 416)
		if r == "bytes=5000-" {
			wantHeader(t, res, "Content-Range", "bytes */5000")
		}
		wantHeader(t, res, "Cache-Control", "")
	}
	res := h.fetch("/large.bin", "Range", "bytes=0-1,10-11")
	wantStatus(t, res, 206)
	if ct := res.Header.Get("Content-Type"); !strings.HasPrefix(ct, "multipart/byteranges; boundary=") {
		t.Errorf("two ranges have the type %q", ct)
	}
	if got := content(t, res); strings.Count(got, "\r\n\r\n98\r\n") != 2 {
		t.Errorf("two ranges are %q", got)
	}
}

func TestCompression(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("gzip.localhost")
	files := map[string]string{
		"index.html": strings.Repeat("<p>hello</p>", 500), "small.html": "short", "app.js": strings.Repeat("f();", 5000),
		"logo.svg": strings.Repeat("<g/>", 1000), "photo.jpg": strings.Repeat("jpeg", 1000), "font.woff2": strings.Repeat("w", 5000),
		"large.json": strings.Repeat("[1],", 50_000), "data": strings.Repeat("x", 5000), "404.html": strings.Repeat("gone ", 500),
		"huge.txt": strings.Repeat("0123456789abcdef", maxGzip/16+1), "noise.txt": noise(5000),
	}
	h.publish(files)
	for _, c := range []struct {
		file string
		vary bool
		gzip bool
	}{
		{"index.html", true, true}, {"app.js", true, true}, {"logo.svg", true, true}, {"large.json", true, true},
		{"noise.txt", true, false},
		{"small.html", false, false}, {"photo.jpg", false, false}, {"font.woff2", false, false}, {"data", false, false}, {"huge.txt", false, false},
	} {
		for _, accept := range []string{"gzip, deflate", "", "identity, *;q=0.5", "gzip, deflate"} {
			res := h.fetch("/"+c.file, "Accept-Encoding", accept)
			zipped := c.gzip && strings.HasPrefix(accept, "gzip,")
			vary, encoding, etag := "", "", tag(files[c.file])
			if c.vary {
				vary = "Accept-Encoding"
			}
			if zipped {
				encoding, etag = "gzip", gzipTag(files[c.file])
			}
			wantHeader(t, res, "Vary", vary)
			wantHeader(t, res, "Content-Encoding", encoding)
			wantHeader(t, res, "Etag", etag)
			wantHeader(t, res, "Content-Type", site.ContentType(c.file))
			body := content(t, res)
			wantHeader(t, res, "Content-Length", strconv.Itoa(len(body)))
			if zipped {
				body = gunzip(t, body)
			}
			if body != files[c.file] || t.Failed() {
				t.Fatalf("%s with Accept-Encoding %q: the bytes or a header are wrong", c.file, accept)
			}
		}
	}
	res := h.fetch("/missing", "Accept-Encoding", "gzip")
	wantStatus(t, res, 404)
	wantHeader(t, res, "Content-Encoding", "gzip")
	if gunzip(t, content(t, res)) != files["404.html"] {
		t.Error("the compressed 404.html differs")
	}
}

func TestCompressedOnce(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("once.localhost")
	page := strings.Repeat("page ", 1000)
	h.publish(map[string]string{"index.html": page, "noise.txt": noise(5000)})
	for _, target := range []string{"/", "/noise.txt"} {
		wantStatus(t, h.fetch(target, "Accept-Encoding", "gzip"), 200)
	}
	// Without the blobs, a second compression would fail.
	h.fetch("/noise.txt")
	if err := os.RemoveAll(h.layout.Site(h.pipeline) + "/blobs"); err != nil {
		t.Fatal(err)
	}
	res := h.fetch("/", "Accept-Encoding", "gzip")
	wantHeader(t, res, "Content-Encoding", "gzip")
	if gunzip(t, content(t, res)) != page {
		t.Error("the page differs")
	}
	wantStatus(t, h.fetch("/noise.txt", "Accept-Encoding", "gzip"), 200)
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"": "", "gzip": "gzip", "GZip": "gzip", "x-gzip": "gzip", "br": "br", "zstd": "zstd",
		"gzip, deflate, br, zstd": "br zstd gzip", "zstd, gzip, br": "br zstd gzip", "br;q=1.0, gzip;q=0.8, *;q=0.1": "br gzip zstd",
		"gzip;q=1, br;q=0.9, zstd;q=0.95": "gzip zstd br", "*": "br zstd gzip", "*;q=0": "", "gzip;q=0": "", "gzip;q=0.0": "", "gzip; q=0.000": "",
		"gzip;q=0, *": "br zstd", "br;q=0, *;q=0.5": "zstd gzip", "gzip;q=0.001": "gzip", "identity": "", "deflate": "", "gzipped": "",
		"gzip;q=2": "", "gzip;q=-1": "", "gzip;q=x": "", "gzip;q=NaN": "", "gzip;q=": "", "gzip;level=9": "", "gzip;Q=0.5": "gzip", " gzip ; q=1 ": "gzip",
		"identity;q=1, gzip;q=0.5": "", "identity;q=0.5, gzip;q=1, br;q=0.4": "gzip", "identity;q=0, *;q=0.5": "br zstd gzip", "gzip;q=0;x, gzip": "gzip",
		",,gzip,,": "gzip", "deflate, *;q=0.5": "br zstd gzip", "gzip;q=0.5, br;q=0.5": "br gzip",
	} {
		if got := names(accepted(accept)); got != want {
			t.Errorf("%q: %q, want %q", accept, got, want)
		}
	}
	if got := names(accepted("br", "gzip")); got != "br gzip" {
		t.Errorf("two lines: %q", got)
	}
}

func names(c codings) string {
	var all []string
	for ; c != 0; c = c.rest() {
		all = append(all, c.first().name())
	}
	return strings.Join(all, " ")
}

func FuzzHeaders(f *testing.F) {
	for _, s := range []string{`gzip;q=0.5, *`, `"a", W/"b"`, `*`, `W/`, `"`, `,,;=`} {
		f.Add(s)
	}
	const tag = `"0123"`
	f.Fuzz(func(t *testing.T, s string) {
		accepted(s)
		rangeable(s)
		if lists([]string{s}, tag, false) && !strings.Contains(s, tag) && !strings.Contains(s, "*") {
			t.Fatalf("%q is found to have %s", s, tag)
		}
		if !lists([]string{`"a", ` + tag + s}, tag, true) {
			t.Fatalf("what follows a tag hides it: %q", s)
		}
	})
}

func TestCarriedAssets(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("carried.localhost")
	now := time.Now().Unix()
	carry := func(path string, until int64) site.Carried {
		return site.Carried{File: h.store(path, "carried "+path), Until: until}
	}
	h.publish(map[string]string{"index.html": "home"},
		carry("old-4f3a9b1c.js", now+3600), carry("older-4f3a9b1c.js", now-1), carry("oldest-4f3a9b1c.js", 0),
		carry("404.html", now+3600), carry("index-4f3a9b1c.html", now+3600), carry("docs/index.html", now+3600))
	res := h.fetch("/old-4f3a9b1c.js")
	wantStatus(t, res, 200)
	wantHeader(t, res, "Cache-Control", "public, max-age=31536000, immutable")
	if got := content(t, res); got != "carried old-4f3a9b1c.js" {
		t.Errorf("the carried asset is %q", got)
	}
	for _, target := range []string{"/older-4f3a9b1c.js", "/oldest-4f3a9b1c.js", "/missing", "/index-4f3a9b1c", "/docs/", "/docs"} {
		res := h.fetch(target)
		wantStatus(t, res, 404)
		if got := content(t, res); strings.Contains(got, "carried") {
			t.Errorf("GET %s: a carried asset answers: %q", target, got)
		}
	}
}

func gunzip(t *testing.T, s string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
