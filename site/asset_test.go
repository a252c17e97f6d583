package site

import "testing"

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
