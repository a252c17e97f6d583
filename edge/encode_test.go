package edge

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// encodeAll does the encoder's waiting jobs, as its goroutine would.
func (b *box) encodeAll() (done int) {
	b.t.Helper()
	for {
		select {
		case j := <-b.edge.encoder.jobs:
			b.edge.encoder.done(j, b.edge.encoder.encode(j))
			done++
		default:
			return done
		}
	}
}

func decode(t *testing.T, encoding, body string) string {
	t.Helper()
	var r io.Reader = strings.NewReader(body)
	switch encoding {
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		z, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	case "gzip":
		return gunzip(t, body)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// encodedBox is a box whose encoder the test runs. Its site has a page.
func encodedBox(t *testing.T, files map[string]string) *hosted {
	t.Helper()
	b := newBox(t)
	b.handlerOnly = true // Serve would run the encoder
	h := b.provision("encoded.localhost")
	if err := os.MkdirAll(h.layout.Incoming(h.pipeline), 0o700); err != nil {
		t.Fatal(err)
	}
	h.publish(files)
	return h
}

// wantForm checks one response: its coding, its tag and its decoded bytes.
func (h *hosted) wantForm(target, accept, encoding, want string) {
	h.t.Helper()
	res := h.fetch(target, "Accept-Encoding", accept)
	wantStatus(h.t.(*testing.T), res, 200)
	wantHeader(h.t, res, "Content-Encoding", encoding)
	wantHeader(h.t, res, "Vary", "Accept-Encoding")
	suffix := ""
	if encoding != "" {
		suffix = "-" + encoding
	}
	wantHeader(h.t, res, "Etag", strings.TrimSuffix(tag(want), `"`)+suffix+`"`)
	if decode(h.t.(*testing.T), encoding, content(h.t, res)) != want {
		h.t.Errorf("GET %s (%s): the bytes differ", target, accept)
	}
	etag := res.Header.Get("Etag")
	wantStatus(h.t, h.fetch(target, "Accept-Encoding", accept, "If-None-Match", etag), http.StatusNotModified)
}

func TestEncodedForms(t *testing.T) {
	t.Parallel()
	page, script := strings.Repeat("<p>hello</p>", 1000), strings.Repeat("f();", 1000)
	h := encodedBox(t, map[string]string{"index.html": page, "app.js": script, "noise.txt": noise(5000)})
	const browser = "gzip, deflate, br, zstd"
	h.wantForm("/", browser, "gzip", page) // the others are being made
	h.wantForm("/", browser, "gzip", page)
	if n := h.encodeAll(); n != 2 {
		t.Errorf("%d forms were made, want br and zstd once each", n)
	}
	h.wantForm("/", browser, "br", page)
	h.wantForm("/", "zstd", "zstd", page)
	h.wantForm("/", "zstd;q=1, br;q=0.5, gzip", "zstd", page)
	h.wantForm("/", "gzip", "gzip", page)
	h.wantForm("/", "br;q=0, identity", "", page)
	h.wantForm("/", "", "", page)
	h.wantForm("/noise.txt", "br", "", noise(5000))
	h.encodeAll()
	h.wantForm("/noise.txt", "br", "", noise(5000))
	if n := h.encodeAll(); n != 0 {
		t.Errorf("a file that can't be compressed is tried again %d times", n)
	}

	// Another edge, or this one after a restart, reads what was made.
	before := h.edge
	again, err := New(Config{Root: h.layout.Root})
	if err != nil {
		t.Fatal(err)
	}
	h.edge = again
	h.wantForm("/", browser, "br", page)
	h.edge = before

	res := h.fetch("/", "Accept-Encoding", "br", "Range", "bytes=0-3")
	wantStatus(t, res, 206)
	wantHeader(t, res, "Content-Encoding", "")
}

// TestDamagedForms damages a kept form in each way. None is served, and each is
// made again.
func TestDamagedForms(t *testing.T) {
	t.Parallel()
	page := strings.Repeat("<p>hello</p>", 1000)
	for name, damage := range map[string]func(data []byte) []byte{
		"empty":             func([]byte) []byte { return nil },
		"cut off":           func(data []byte) []byte { return data[:len(data)-1] },
		"only a header":     func(data []byte) []byte { return data[:encodedHeader] },
		"longer":            func(data []byte) []byte { return append(data, 0) },
		"a changed byte":    func(data []byte) []byte { data[len(data)-1] ^= 1; return data },
		"another file":      func(data []byte) []byte { data[len(encodedMagic)+1] ^= 1; return data },
		"another coding":    func(data []byte) []byte { data[len(encodedMagic)] = byte(codingZstd); return data },
		"another version":   func(data []byte) []byte { data[0] ^= 1; return data },
		"a changed header":  func(data []byte) []byte { data[encodedHeader-1] ^= 1; return data },
		"plain, no header":  func([]byte) []byte { return []byte(page) },
		"the largest there": func([]byte) []byte { return bytes.Repeat([]byte("x"), maxGzip+1000) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := encodedBox(t, map[string]string{"index.html": page})
			h.wantForm("/", "br, gzip", "gzip", page)
			h.encodeAll()
			path := h.layout.Encoded(h.pipeline, sha256.Sum256([]byte(page)), "br")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			if h.edge, err = New(Config{Root: h.layout.Root}); err != nil {
				t.Fatal(err)
			}
			h.wantForm("/", "br, gzip", "gzip", page)
			h.encodeAll()
			h.wantForm("/", "br, gzip", "br", page)
			if _, err := h.edge.blobs.loadEncoded(blobKey{h.pipeline, sha256.Sum256([]byte(page)), codingBrotli}); err != nil {
				t.Errorf("the form was not made again: %v", err)
			}
		})
	}
}

// TestSiblings publishes files with encoded forms of their own, right ones and
// wrong ones.
func TestSiblings(t *testing.T) {
	t.Parallel()
	page := strings.Repeat("<p>hello</p>", 1000)
	encoded := func(plain string, c coding, level int) string {
		var out bytes.Buffer
		w := brotli.NewWriterLevel(&out, level)
		_, _ = w.Write([]byte(plain))
		_ = w.Close()
		if c == codingBrotli {
			return out.String()
		}
		data, err := compress([]byte(plain), c)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	weak := encoded(page, codingBrotli, 1)
	h := encodedBox(t, map[string]string{
		"right.html": page, "right.html.br": weak, "right.html.gz": encoded(page, codingGzip, 0), "right.html.zst": encoded(page, codingZstd, 0),
		"wrong.html": page, "wrong.html.br": encoded("another page", codingBrotli, 1), "wrong.html.gz": encoded(page+"!", codingGzip, 0), "wrong.html.zst": "garbage",
		"bomb.html": page, "bomb.html.br": encoded(strings.Repeat("x", 50<<20), codingBrotli, 1),
	})
	for _, target := range []string{"/right", "/wrong", "/bomb"} {
		for range 2 {
			for _, encoding := range []string{"br", "zstd", "gzip"} {
				res := h.fetch(target, "Accept-Encoding", encoding)
				got := content(t, res)
				if decode(t, res.Header.Get("Content-Encoding"), got) != page {
					t.Errorf("GET %s (%s): the bytes differ", target, encoding)
				}
			}
			h.encodeAll()
		}
		h.wantForm(target, "br", "br", page)
	}
	if got := content(t, h.fetch("/right", "Accept-Encoding", "br")); got != weak {
		t.Errorf("the site's own form has %d bytes, the response %d", len(weak), len(got))
	}
	if got := content(t, h.fetch("/right.html.br")); got != weak {
		t.Error("the form is not served under its own name")
	}
}

// TestFormsWithoutDisk serves forms from memory if they can't be kept.
func TestFormsWithoutDisk(t *testing.T) {
	t.Parallel()
	page := strings.Repeat("<p>hello</p>", 1000)
	h := encodedBox(t, map[string]string{"index.html": page})
	// A file in the folder's place.
	if err := os.Remove(h.layout.Incoming(h.pipeline)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.layout.Incoming(h.pipeline), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.wantForm("/", "br", "", page)
	h.encodeAll()
	h.wantForm("/", "br", "br", page)
	if n := strings.Count(h.log.String(), "can't keep encoded files"); n != 1 {
		t.Errorf("%d warnings, want 1: %s", n, h.log)
	}
	if left, err := filepath.Glob(h.layout.Site(h.pipeline) + "/blobs/*/*.br"); err != nil || len(left) != 0 {
		t.Errorf("files were written: %v, %v", left, err)
	}
}

// TestDamagedBlobIsNotEncoded changes a blob's bytes: its other forms must not
// get a valid digest.
func TestDamagedBlobIsNotEncoded(t *testing.T) {
	t.Parallel()
	page := strings.Repeat("<p>hello</p>", 1000)
	h := encodedBox(t, map[string]string{"index.html": page})
	h.fetch("/", "Accept-Encoding", "br")
	if err := os.WriteFile(h.blob(page), []byte(strings.Repeat("x", len(page))), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := h.encodeAll(); n != 1 {
		t.Fatalf("%d jobs, want 1", n)
	}
	if !strings.Contains(h.log.String(), "do not match its digest") {
		t.Errorf("the log says %s", h.log)
	}
	wantHeader(t, h.fetch("/", "Accept-Encoding", "br"), "Content-Encoding", "")
}

// TestPanicInEncoder has the encoder fail, which must not end the process.
func TestPanicInEncoder(t *testing.T) {
	t.Parallel()
	e := newEncoder(nil, nil)
	if err := e.encode(job{}); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("the error is %v", err)
	}
}

// TestOneTagPerForm asks for the gzip form of a file that has a sibling, before
// and after the encoder has checked it.
func TestOneTagPerForm(t *testing.T) {
	t.Parallel()
	page := strings.Repeat("<p>hello</p>", 1000)
	sibling, err := compress([]byte(page), codingGzip)
	if err != nil {
		t.Fatal(err)
	}
	h := encodedBox(t, map[string]string{"index.html": page, "index.html.gz": string(sibling)})
	h.wantForm("/", "gzip", "", page)
	h.encodeAll()
	h.wantForm("/", "gzip", "gzip", page)
}
