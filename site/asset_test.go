package site

import (
	"mime"
	"strings"
	"testing"
)

func TestHeaders(t *testing.T) {
	t.Parallel()
	for p, want := range map[string][2]string{
		"index.html":                             {"text/html; charset=utf-8", revalidate},
		"A.HTM":                                  {"text/html; charset=utf-8", revalidate},
		"app.4f3a9b1c.js":                        {"text/javascript; charset=utf-8", immutable},
		"app.js":                                 {"text/javascript; charset=utf-8", revalidate},
		"a.css":                                  {"text/css; charset=utf-8", revalidate},
		"a.svg":                                  {"image/svg+xml; charset=utf-8", revalidate},
		"a.json":                                 {"application/json", revalidate},
		"a.JXL":                                  {"image/jxl", revalidate},
		"a.heic":                                 {"image/heic", revalidate},
		"a.yaml":                                 {"application/yaml", revalidate},
		"a.toml":                                 {"application/toml", revalidate},
		"a.m3u8":                                 {"application/vnd.apple.mpegurl", revalidate},
		"a.mpd":                                  {"application/dash+xml", revalidate},
		"a.aac":                                  {"audio/aac", revalidate},
		"a.epub":                                 {"application/epub+zip", revalidate},
		"a.tsv":                                  {"text/tab-separated-values; charset=utf-8", revalidate},
		"a.ndjson":                               {"application/x-ndjson", revalidate},
		"a.gpx":                                  {"application/gpx+xml", revalidate},
		"a.kml":                                  {"application/vnd.google-earth.kml+xml", revalidate},
		"a.srt":                                  {"application/x-subrip; charset=utf-8", revalidate},
		"a.svgz":                                 {"image/svg+xml; charset=utf-8", revalidate},
		"a.docx":                                 {"application/vnd.openxmlformats-officedocument.wordprocessingml.document", revalidate},
		"a.xlsx":                                 {"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", revalidate},
		"a.pptx":                                 {"application/vnd.openxmlformats-officedocument.presentationml.presentation", revalidate},
		"a.odt":                                  {"application/vnd.oasis.opendocument.text", revalidate},
		"a.mp4":                                  {"video/mp4", revalidate},
		"a.html.":                                {"application/octet-stream", revalidate},
		"a.averyveryverylongextension":           {"application/octet-stream", revalidate},
		".well-known/openid-configuration":       {"application/json", revalidate},
		".well-known/host-meta":                  {"application/xrd+xml", revalidate},
		".well-known/webfinger":                  {"application/jrd+json", revalidate},
		".well-known/nodeinfo":                   {"application/json", revalidate},
		".well-known/nodeinfo/2.0.json":          {"application/json", revalidate},
		".well-known/assetlinks.json":            {"application/json", revalidate},
		".well-known/security.txt":               {"text/plain; charset=utf-8", revalidate},
		".well-known/acme-challenge/x_Y-1":       {"text/plain; charset=utf-8", revalidate},
		"apple-app-site-association":             {"application/json", revalidate},
		"docs/openid-configuration":              {"application/octet-stream", revalidate},
		"a.woff2":                                {"font/woff2", revalidate},
		"a.wasm":                                 {"application/wasm", revalidate},
		"a.unknown":                              {"application/octet-stream", revalidate},
		"LICENSE":                                {"application/octet-stream", revalidate},
		".well-known/apple-app-site-association": {"application/json", revalidate},
	} {
		if got := [2]string{ContentType(p), CacheControl(p)}; got != want {
			t.Errorf("%s: got %q, want %q", p, got, want)
		}
	}
}

// TestListedTypes checks that every line of the list is an extension and a
// type.
func TestListedTypes(t *testing.T) {
	t.Parallel()
	last, n := "", 0
	for line := range strings.Lines(listedTypes) {
		extension, kind, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if _, _, err := mime.ParseMediaType(kind); err != nil || extension <= last || strings.ToLower(extension) != extension {
			t.Errorf("%q after %q: %v", line, last, err)
		}
		last = extension
		n++
	}
	if n < 1000 {
		t.Errorf("the list has %d extensions", n)
	}
}

func TestShared(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]bool{
		"fonts/inter.woff2": true, "a.TTF": true, "a.eot": true, ".well-known/openid-configuration": true, ".well-known/nostr.json": true,
		"data.json": false, "index.html": false, "docs/.well-known/x": false, "font.css": false,
	} {
		if got := Shared(p); got != want {
			t.Errorf("Shared(%q) = %v", p, got)
		}
	}
}
