package web_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"
)

func TestPagesAreCompressed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create("Blog")
	cookie := w.session(w.admin)
	for path, want := range map[string]string{"/": "gzip", "/pipelines/blog": "gzip", "/docs": "gzip", "/v1/pipelines": "", "/openapi.json": ""} {
		plain := w.visit("GET", path, nil, cookie, header("Accept-Encoding", "identity"))
		a := w.visit("GET", path, nil, cookie, header("Accept-Encoding", "gzip"))
		if got := a.header.Get("Content-Encoding"); got != want || plain.header.Get("Content-Encoding") != "" || a.status != plain.status {
			t.Errorf("%s: %d with %q, and plain %d with %q; expected %q", path, a.status, got, plain.status, plain.header.Get("Content-Encoding"), want)
			continue
		}
		if want == "" {
			continue
		}
		r, err := gzip.NewReader(bytes.NewReader(a.body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil || len(text) <= len(a.body) || !bytes.Contains(text, []byte("</html>")) {
			t.Errorf("%s: %d bytes from %d, %v", path, len(text), len(a.body), err)
		}
	}
}
