package client

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// batchServer stores batches in memory, and breaks every n-th request.
type batchServer struct {
	t     *testing.T
	every int64
	how   string
	asks  atomic.Int64
	count atomic.Int64
	now   atomic.Int64
	most  atomic.Int64
	zstd  atomic.Int64

	mu     sync.Mutex
	stored map[site.Digest]string
	times  map[site.Digest]int // how often its bytes arrived completely
}

func (s *batchServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.most.Store(max(s.most.Load(), s.now.Add(1)))
	defer s.now.Add(-1)
	how := ""
	if n := s.count.Add(1); s.every > 0 && n%s.every == 0 {
		how = s.how
	}
	switch how {
	case "before":
		panic(http.ErrAbortHandler)
	case "busy":
		w.Header().Set("Retry-After", "0")
		refuse(w, 503, troy.Unavailable, "too many")
		return
	case "limited":
		w.WriteHeader(429)
		return
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/missing"):
		s.asks.Add(1)
		s.missing(w, r, how)
	case strings.HasSuffix(r.URL.Path, "/files"):
		s.files(w, r, how)
	default:
		digest, err := site.ParseDigest(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
		body, readErr := io.ReadAll(r.Body)
		if err := errors.Join(err, readErr); err != nil || site.Digest(sha256.Sum256(body)) != digest {
			refuse(w, 400, troy.Invalid, fmt.Sprint("put: ", err))
			return
		}
		if how == "inside" {
			panic(http.ErrAbortHandler)
		}
		s.store(digest, string(body))
		if how == "after" {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *batchServer) store(digest site.Digest, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored[digest] = content
	s.times[digest]++
}

func (s *batchServer) missing(w http.ResponseWriter, r *http.Request, how string) {
	var in struct{ Files []site.Digest }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		refuse(w, 400, troy.Invalid, err.Error())
		return
	}
	if how != "" {
		panic(http.ErrAbortHandler)
	}
	out := map[string][]site.Digest{"missing": {}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, digest := range in.Files {
		if _, ok := s.stored[digest]; !ok {
			out["missing"] = append(out["missing"], digest)
		}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (s *batchServer) files(w http.ResponseWriter, r *http.Request, how string) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "zstd" {
		s.zstd.Add(1)
		d, err := zstd.NewReader(r.Body, zstd.WithDecoderMaxWindow(site.BatchWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			s.t.Error(err)
		}
		defer d.Close()
		body = d
	} else if r.ContentLength < 0 {
		s.t.Error("a batch that is not compressed has no length")
	}
	files, err := site.ReadBatchTable(body, site.DefaultBatchLimits())
	if err != nil {
		refuse(w, 400, troy.Invalid, err.Error())
		return
	}
	for i, f := range files {
		if how == "inside" && i == (len(files)+1)/2 {
			panic(http.ErrAbortHandler)
		}
		content := make([]byte, f.Size)
		if _, err := io.ReadFull(body, content); err != nil {
			return // the connection broke
		}
		if sha256.Sum256(content) != f.SHA256 {
			w.WriteHeader(400)
			_ = json.NewEncoder(w).Encode(map[string]any{"code": "invalid", "detail": "other bytes", "field": site.BatchField(i), "stored": i})
			return
		}
		s.store(f.SHA256, string(content))
		if how == "partly" && i == len(files)/2 {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(503)
			_ = json.NewEncoder(w).Encode(map[string]any{"code": "unavailable", "detail": "disk full", "stored": i + 1})
			return
		}
	}
	if n, err := body.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		s.t.Errorf("after the batch: %d, %v", n, err)
	}
	if how == "after" {
		panic(http.ErrAbortHandler)
	}
	_ = json.NewEncoder(w).Encode(map[string]int{"stored": len(files)})
}

func batchSite() map[string]string {
	contents := map[string]string{"empty": "", "photo.jpg": strings.Repeat("j", leastBatchBytes+1), "big.js": strings.Repeat("s", leastBatchBytes+2)}
	for i := range 700 {
		contents[fmt.Sprintf("f/%d.html", i)] = fmt.Sprint("content ", i)
		contents[fmt.Sprintf("f/%d.png", i)] = strings.Repeat(fmt.Sprint("image ", i), 20)
	}
	return contents
}

// Wherever the connection breaks, every file arrives, none that was stored is
// sent again, and the progress adds up.
func TestUploadGoesOnAtTheFirstMissingFile(t *testing.T) {
	t.Parallel()
	contents := batchSite()
	for _, how := range []string{"", "before", "inside", "after", "partly", "busy", "limited"} {
		for every := int64(3); every <= 7; every++ {
			for _, compress := range []bool{false, true} {
				t.Run(fmt.Sprint(how, " ", every, " ", compress), func(t *testing.T) {
					t.Parallel()
					s := &batchServer{t: t, every: every, how: how, stored: map[site.Digest]string{}, times: map[site.Digest]int{}}
					c := serve(t, s.ServeHTTP)
					c.compress, c.Attempts = compress, 50
					release, open := files(contents)
					limits := site.DefaultBatchLimits()
					release.Batch = &limits
					var sent, bytes atomic.Int64
					if err := c.Upload(t.Context(), "blog", release, Upload{Open: open, Progress: func(f int, b int64) { sent.Add(int64(f)); bytes.Add(b) }}); err != nil {
						t.Fatal(err)
					}
					for _, f := range release.Missing {
						if s.stored[f.SHA256] != contents[f.Path] {
							t.Errorf("%s did not arrive", f.Path)
						}
						// A PUT that was stored before its answer got lost is the one exception.
						if n := s.times[f.SHA256]; n != 1 && f.Path != "photo.jpg" && (f.Path != "big.js" || compress) {
							t.Errorf("%s was sent %d times", f.Path, n)
						}
					}
					if total := bytesOf(release.Missing); sent.Load() != int64(len(contents)) || bytes.Load() != total {
						t.Errorf("progress reported %d files and %d bytes, want %d and %d", sent.Load(), bytes.Load(), len(contents), total)
					}
					if n := s.most.Load(); n > mostBatches {
						t.Errorf("%d requests at a time", n)
					}
					if n := s.zstd.Load(); compress != (n > 0) {
						t.Errorf("%d batches are compressed", n)
					}
					if how == "" && (s.asks.Load() > 0 || s.count.Load() > 20) {
						t.Errorf("%d requests, %d of them asked", s.count.Load(), s.asks.Load())
					}
				})
			}
		}
	}
}

// An error names the file, and what was sent before stays.
func TestBatchErrorsNameTheFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		open func(string) (io.ReadCloser, error)
		want string
	}{
		"vanished":   {func(string) (io.ReadCloser, error) { return nil, os.ErrNotExist }, "upload b: read the file: file does not exist"},
		"unreadable": {func(string) (io.ReadCloser, error) { return nil, os.ErrPermission }, "upload b: read the file: permission denied"},
		"shorter":    {reading("b"), "upload b: the file changed during the upload"},
		"longer":     {reading("bbbb"), "upload b: the file changed during the upload"},
		"changed":    {reading("xxx"), "upload b: the file changed during the upload"},
		"failing": {func(string) (io.ReadCloser, error) {
			return io.NopCloser(iotest.ErrReader(errors.New("input/output error"))), nil
		}, "upload b: read the file: input/output error"},
	} {
		for _, compress := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " ", compress), func(t *testing.T) {
				t.Parallel()
				s := &batchServer{t: t, stored: map[site.Digest]string{}, times: map[site.Digest]int{}}
				client := serve(t, s.ServeHTTP)
				client.compress = compress
				release, open := files(map[string]string{"a": "aaa", "b": "bbb", "c": "ccc"})
				slices.SortFunc(release.Missing, func(a, b site.File) int { return strings.Compare(a.Path, b.Path) })
				limits := site.DefaultBatchLimits()
				release.Batch = &limits
				var sent atomic.Int64
				err := client.Upload(t.Context(), "blog", release, Upload{Progress: func(f int, _ int64) { sent.Add(int64(f)) }, Open: func(path string) (io.ReadCloser, error) {
					if path == "b" {
						return c.open(path)
					}
					return open(path)
				}})
				if err == nil || !strings.HasPrefix(err.Error(), c.want) || troy.KindOf(err) != troy.Invalid {
					t.Errorf("error %v, want %s", err, c.want)
				}
				if sent.Load() != 0 {
					t.Errorf("progress reported %d files", sent.Load())
				}
			})
		}
	}
}

// So does the error of a server that stays full.
func TestGivingUpNamesTheFile(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(503)
		_ = json.NewEncoder(w).Encode(map[string]any{"code": "unavailable", "detail": "disk full", "field": site.BatchField(1), "stored": 0})
	})
	c.patience = time.Millisecond
	release, open := files(map[string]string{"a": "aaa", "b": "bbb"})
	slices.SortFunc(release.Missing, func(a, b site.File) int { return strings.Compare(a.Path, b.Path) })
	limits := site.DefaultBatchLimits()
	release.Batch = &limits
	err := c.Upload(t.Context(), "blog", release, Upload{Open: open})
	if troy.KindOf(err) != troy.Unavailable || err.Error() != "upload b: disk full; gave up after 1ms" {
		t.Errorf("it ended with: %v", err)
	}
}

// A server that has no batches gets each file on its own.
func TestUploadWithoutBatches(t *testing.T) {
	t.Parallel()
	s := &batchServer{t: t, stored: map[site.Digest]string{}, times: map[site.Digest]int{}}
	c := serve(t, s.ServeHTTP)
	release, open := files(batchSite())
	if err := c.Upload(t.Context(), "blog", release, Upload{Open: open}); err != nil {
		t.Fatal(err)
	}
	if n := s.count.Load(); n != int64(len(release.Missing)) || len(s.stored) != len(release.Missing) {
		t.Errorf("%d requests stored %d files, want %d", n, len(s.stored), len(release.Missing))
	}
}

// The bound grows while that helps, and shrinks once for failures at a time.
func TestGate(t *testing.T) {
	t.Parallel()
	g := newGate(4, 32)
	round := func(bytes int64) {
		n := g.limit
		for range n {
			if err := g.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		g.mu.Lock()
		g.since = time.Now().Add(-time.Second)
		g.mu.Unlock()
		for range n {
			g.leave(1, bytes)
		}
	}
	for i, want := range []int{8, 16, 32, 32} {
		if round(1 << 20); g.limit != want {
			t.Errorf("after round %d: %d, want %d", i, g.limit, want)
		}
	}
	sent := time.Now()
	g.failed(sent)
	g.failed(sent)
	if g.limit != 16 {
		t.Errorf("after failures: %d, want 16", g.limit)
	}
	for range 10 {
		g.failed(time.Now())
	}
	if g.limit != 1 {
		t.Errorf("after many failures: %d, want 1", g.limit)
	}
	// The same throughput with more requests at a time: it does not grow.
	g = newGate(4, 32)
	round(8 << 20)
	round(4 << 20)
	if g.limit != 8 {
		t.Errorf("without growth: %d, want 8", g.limit)
	}
	if err := g.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.failed(time.Now())
	g.failed(time.Now())
	g.failed(time.Now())
	ctx, cancel := context.WithCancelCause(t.Context())
	waited := make(chan error)
	go func() { waited <- g.enter(ctx) }()
	stopped := errors.New("stopped")
	cancel(stopped)
	if err := <-waited; !errors.Is(err, stopped) {
		t.Errorf("a wait that was ended: %v", err)
	}
}
