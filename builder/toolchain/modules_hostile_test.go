package toolchain

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/dirhash"

	"github.com/troy-iaas/troy"
)

// TestGoArchives has the proxy send archives that are not those of a module. Their
// digests are right, if they have one in bounded time.
func TestGoArchives(t *testing.T) {
	t.Parallel()
	version := "v0.0.1-go1.22.3." + goPlatform()
	prefix := goModule + "@" + version + "/"
	file := func(names ...string) func(*zip.Writer) error {
		return func(z *zip.Writer) error {
			for _, name := range names {
				w, err := z.Create(name)
				if err != nil {
					return err
				}
				if _, err := io.WriteString(w, name); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for name, write := range map[string]func(*zip.Writer) error{
		"another prefix": file("bin/go"),
		"outside":        file(prefix+"bin/go", prefix+"../x"),
		"absolute":       file("/bin/go"),
		"twice":          file(prefix+"bin/go", prefix+"bin/go"),
		"a folder too":   file(prefix+"bin", prefix+"bin/go"),
		"a link": func(z *zip.Writer) error {
			h := &zip.FileHeader{Name: prefix + "bin/go"}
			h.SetMode(os.ModeSymlink | 0o777)
			w, err := z.CreateHeader(h)
			if err != nil {
				return err
			}
			_, err = io.WriteString(w, "/etc/passwd")
			return err
		},
		"too large": func(z *zip.Writer) error {
			_, err := z.CreateRaw(&zip.FileHeader{Name: prefix + "bin/go", Method: zip.Deflate, UncompressedSize64: 1 << 40})
			return err
		},
		"too many": func(z *zip.Writer) error {
			for i := range maxZipDirectory/200 + 1 {
				if _, err := z.CreateRaw(&zip.FileHeader{Name: prefix + strings.Repeat("x", 200) + fmt.Sprint(i)}); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, m := goWorld(t, "1.22.3")
			var packed bytes.Buffer
			z := zip.NewWriter(&packed)
			if err := write(z); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			archive := filepath.Join(t.TempDir(), "x.zip")
			if err := os.WriteFile(archive, packed.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			digest, err := dirhash.HashZip(archive, dirhash.Hash1)
			m.set(func() {
				m.archives[version] = packed.Bytes()
				if err == nil {
					m.signed[version] = digest
				}
			})
			got, _, err := w.prepare(t, tool(t, "go", "1.22.3", ".go-version"))
			if troy.KindOf(err) != troy.Unavailable && troy.KindOf(err) != troy.Invalid || strings.Contains(err.Error(), w.cfg.Dir) {
				t.Errorf("%q, %v", got, err)
			}
			if name != "a link" && !strings.Contains(err.Error(), "the module proxy's archive of Go 1.22.3 can't be read: ") {
				t.Errorf("%v", err)
			}
			for _, dir := range []string{"tmp", "go"} {
				if left, err := filepath.Glob(filepath.Join(w.cfg.Dir, dir, "*")); err != nil || len(left) > 0 {
					t.Errorf("left: %q, %v", left, err)
				}
			}
		})
	}
}

// TestSlowDownload has the proxy and the registry not send an archive.
func TestSlowDownload(t *testing.T) {
	t.Parallel()
	w, m := goWorld(t, "1.22.3")
	m.set(func() { m.hang = ".zip" })
	w.store.downloadTime = 300 * time.Millisecond
	_, _, err := w.prepare(t, tool(t, "go", "1.22.3", ".go-version"))
	if troy.KindOf(err) != troy.Unavailable || !strings.Contains(err.Error(), "can't be installed: download Go 1.22.3: it took longer than 300ms; ") {
		t.Errorf("%v", err)
	}
	w.has(t, "go", "go version go1.21.0 linux/amd64")
	if got, _, err := w.prepare(t, tool(t, "go", ">=1.20", ".go-version")); err != nil || !slices.Equal(got, []string{"go@1.21.0*"}) {
		t.Errorf("the machine's: %q, %v", got, err)
	}
}

// TestStatusOfAServer has a server say something else than the standard's words.
func TestStatusOfAServer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = fmt.Fprintf(buffer, "HTTP/1.1 503 \x1b[2J%s\r\nConnection: close\r\n\r\n", strings.Repeat("x", 5000))
		_ = buffer.Flush()
		_ = conn.Close()
	}))
	t.Cleanup(server.Close)
	w := newWorld(t, func(cfg *Config) {
		cfg.Registry, cfg.Environment = server.URL, map[string]string{"GOPROXY": server.URL}
	})
	for name, want := range map[string]string{"go": "the module proxy answered 503 Service Unavailable; ", "node": "the registry answered 503 Service Unavailable; "} {
		_, _, err := w.prepare(t, tool(t, name, "1.22.3", "a file"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %.300v", name, err)
		}
	}
}

// TestSumsThatMovedOn has a database whose tree has grown since it signed the one
// that it sends: the tile at that tree's end is now full.
func TestSumsThatMovedOn(t *testing.T) {
	t.Parallel()
	w, m := goWorld(t, "1.22.3")
	version := "v0.0.1-go1.22.3." + goPlatform()
	m.set(func() { m.moved = true })
	ask := func(version string) []byte {
		answer := httptest.NewRecorder()
		m.sums.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/lookup/"+goModule+"@"+version, nil))
		return answer.Body.Bytes()
	}
	first := ask(version)
	for i := range 256 {
		other := fmt.Sprintf("v0.0.1-go1.1.%d.%s", i, goPlatform())
		m.set(func() { m.signed[other] = m.signed[version] })
		ask(other)
	}
	sums := m.sums
	m.sums = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/lookup/") {
			_, _ = w.Write(first)
			return
		}
		sums.ServeHTTP(w, r)
	})
	if got, _, err := w.prepare(t, tool(t, "go", "1.22.3", ".go-version")); err != nil || !slices.Equal(got, []string{"go@1.22.3"}) {
		t.Errorf("%q, %v", got, err)
	}
}
