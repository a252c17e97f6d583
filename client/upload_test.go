package client

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// files returns a release that misses all of the contents.
func files(contents map[string]string) (Release, func(string) (io.ReadCloser, error)) {
	r := Release{ID: uuid.New()}
	for path, content := range contents {
		r.Missing = append(r.Missing, site.File{Path: path, SHA256: sha256.Sum256([]byte(content)), Size: int64(len(content))})
	}
	return r, func(path string) (io.ReadCloser, error) {
		content, ok := contents[path]
		if !ok {
			return nil, errors.New("no such file")
		}
		return io.NopCloser(strings.NewReader(content)), nil
	}
}

func TestUploadSendsEverything(t *testing.T) {
	t.Parallel()
	contents := map[string]string{"empty": "", "large": strings.Repeat("l", 5*smallFile)}
	for i := range 300 {
		contents[fmt.Sprintf("f/%d", i)] = fmt.Sprint("content ", i)
	}
	release, open := files(contents)
	var mu sync.Mutex
	got := map[string]string{}
	failed := map[string]bool{}
	var now, most atomic.Int64
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		b, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		// Every file fails once.
		if !failed[r.URL.Path] {
			failed[r.URL.Path] = true
			refuse(w, 503, troy.Unavailable, "again")
			return
		}
		if err != nil || r.ContentLength != int64(len(b)) || r.Method != http.MethodPut {
			refuse(w, 400, troy.Invalid, fmt.Sprint(err, r.ContentLength, r.Method))
			return
		}
		got[r.URL.Path] = string(b)
		w.WriteHeader(http.StatusNoContent)
	})
	var sent, bytes atomic.Int64
	err := c.Upload(t.Context(), "blog", release, Upload{Open: open, Parallel: 4, Progress: func(f int, b int64) {
		sent.Add(int64(f))
		bytes.Add(b)
	}})
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, f := range release.Missing {
		total += f.Size
		path := "/v1/pipelines/blog/releases/" + release.ID.String() + "/files/" + f.SHA256.String()
		if got[path] != contents[f.Path] {
			t.Errorf("%s: %d bytes arrived, want %d", f.Path, len(got[path]), f.Size)
		}
	}
	if sent.Load() != int64(len(contents)) || bytes.Load() != total {
		t.Errorf("progress reported %d files and %d bytes, want %d and %d", sent.Load(), bytes.Load(), len(contents), total)
	}
	if most.Load() > 4 {
		t.Errorf("%d at a time, want at most 4", most.Load())
	}
}

func TestUploadNamesTheFile(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("l", 3*smallFile)
	for _, test := range []struct {
		name, content string
		open          func(string) (io.ReadCloser, error)
		want          string
	}{
		{"gone", "x", func(string) (io.ReadCloser, error) { return nil, errors.New("gone") }, "upload a.txt: read the file: gone"},
		{"large, gone", large, func(string) (io.ReadCloser, error) { return nil, errors.New("gone") }, "upload a.txt: read the file: gone"},
		{"shorter", "xy", reading("x"), "upload a.txt: the file changed"},
		{"longer", "xy", reading("xyz"), "upload a.txt: the file changed"},
		{"large, shorter", large, reading(large[1:]), "upload a.txt: the file changed"},
		{"large, longer", large, reading(large + "l"), "upload a.txt: the file changed"},
		{"other bytes", "xy", reading("ab"), "upload a.txt: the bytes differ"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				if err != nil {
					return
				}
				if !strings.HasSuffix(r.URL.Path, fmt.Sprintf("%x", sha256.Sum256(b))) {
					refuse(w, 400, troy.Invalid, "the bytes differ")
					return
				}
				w.WriteHeader(http.StatusNoContent)
			})
			release, _ := files(map[string]string{"a.txt": test.content})
			err := c.Upload(t.Context(), "blog", release, Upload{Open: test.open})
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || troy.KindOf(err) != troy.Invalid {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

func reading(content string) func(string) (io.ReadCloser, error) {
	return func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }
}

func TestUploadGivesUpOnAServerThatStalls(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(stop) })
	c := clientOf(t, server.URL)
	c.stallTimeout = 20 * time.Millisecond
	c.Attempts = 2
	for _, content := range []string{"small", strings.Repeat("l", 64*smallFile)} {
		release, open := files(map[string]string{"a": content})
		err := c.Upload(t.Context(), "blog", release, Upload{Open: open})
		if troy.KindOf(err) != troy.Unavailable || !strings.Contains(err.Error(), "no progress") {
			t.Errorf("%d bytes: %v", len(content), err)
		}
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(discard())
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	release, open := many(5000, 64)
	if err := clientOf(t, server.URL).Upload(t.Context(), "blog", release, Upload{Open: open}); err != nil {
		t.Fatal(err)
	}
	// The transport may dial another connection while one becomes idle.
	if n := connections.Load(); n > 2*DefaultParallel {
		t.Errorf("%d connections for 5000 files, want about %d", n, DefaultParallel)
	}
}

func discard() http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}
}

func many(n, size int) (Release, func(string) (io.ReadCloser, error)) {
	content := bytes.Repeat([]byte("x"), size)
	release := Release{ID: uuid.New(), Missing: make([]site.File, n)}
	for i := range release.Missing {
		release.Missing[i] = site.File{Path: fmt.Sprint(i), SHA256: site.Digest{byte(i), byte(i >> 8), byte(i >> 16)}, Size: int64(size)}
	}
	return release, func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}

// BenchmarkUpload sends 52,789 files of 640 bytes to a server that discards
// them.
func BenchmarkUpload(b *testing.B) {
	server := httptest.NewServer(discard())
	defer server.Close()
	c, err := New(server.URL, "token")
	if err != nil {
		b.Fatal(err)
	}
	release, open := many(52789, 640)
	for b.Loop() {
		if err := c.Upload(b.Context(), "blog", release, Upload{Open: open}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(release.Missing)*b.N)/b.Elapsed().Seconds(), "files/s")
}
