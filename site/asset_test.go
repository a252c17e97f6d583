package site

import "testing"

func TestHashed(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]bool{
		"app.4f3a9b1c.js":                     true,
		"index-BX3kz0aQ.css":                  true,
		"chunk.8d7f6a5b4c.mjs":                true,
		"assets/app.4f3a9b1c.js.map":          true,
		"_next/static/css/0f5c8a7e3b2d1c.css": true,
		"main-app-6cb4d4205dbe6682.js":        true,
		"chunk-7QKXJ4ZB.js":                   true,
		"_astro/index.DAVbJ7Gm.css":           true,
		"img/logo.4F3A9B1C.svg":               true,

		"app.4f3a9b1c.html":           false,
		"documentation.css":           false,
		"background.png":              false,
		"bootstrap.min.js":            false,
		"jquery-3.7.1.min.js":         false,
		"deadbeef.js":                 false,
		"app.4f3a9b1.js":              false, // seven
		"report-20240115.pdf":         false,
		"mockup-iPhone14.png":         false,
		"DSC00012.jpg":                false,
		"JavaScript.png":              false,
		"MyNewAppPage.js":             false,
		"ReactDOM.js":                 false,
		"XMLHttpRequest.js":           false,
		"mp3player.js":                false,
		"sha256sum.txt":               false,
		"4f3a9b1c/index.js":           false, // the folder's name, not the file's
		"assets/photo.jpg":            false,
		"LICENSE":                     false,
		"internationalization.js":     false,
		"fonts/inter-latin-400.woff2": false,
	} {
		if got := Hashed(p); got != want {
			t.Errorf("Hashed(%q) = %v", p, got)
		}
	}
}

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
