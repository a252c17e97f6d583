package web_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web"
)

// batchOf returns the body of a batch with these contents.
func batchOf(contents ...string) []byte {
	files := make([]site.File, len(contents))
	for i, content := range contents {
		files[i] = file("", content)
	}
	return append(site.BatchTable(files), strings.Join(contents, "")...)
}

func compressed(t *testing.T, body []byte, options ...zstd.EOption) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(body, nil)
}

func filesOf(contents ...string) []site.File {
	files := make([]site.File, len(contents))
	for i, content := range contents {
		files[i] = file(fmt.Sprintf("f%d", i), content)
	}
	return files
}

func digestsOf(contents ...string) map[string][]string {
	body := map[string][]string{"files": {}}
	for _, content := range contents {
		body["files"] = append(body["files"], file("", content).SHA256.String())
	}
	return body
}

// lacks asks which of some contents a release lacks.
func (w *world) lacks(p pipeline, r release, contents ...string) []string {
	w.t.Helper()
	var a struct {
		Missing []site.Digest `json:"missing"`
	}
	w.send("POST", releases(p)+"/"+r.ID.String()+"/missing", digestsOf(contents...)).into(w.t, 200, &a)
	missing := []string{}
	for _, content := range contents {
		for _, digest := range a.Missing {
			if digest == file("", content).SHA256 {
				missing = append(missing, content)
			}
		}
	}
	if len(missing) != len(a.Missing) {
		w.t.Errorf("asked for %q, got %v", contents, a.Missing)
	}
	return missing
}

func TestBatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	contents := []string{"home", "", "page", strings.Repeat("text ", 100_000), "more"}
	r := w.begin(p, nil, filesOf(contents...)...)
	if r.Batch == nil || *r.Batch != site.DefaultBatchLimits() {
		t.Fatalf("the limits are %v", r.Batch)
	}
	at := releases(p) + "/" + r.ID.String()
	var stored struct {
		Stored int `json:"stored"`
	}
	if w.send("POST", at+"/files", bytes.NewReader(batchOf(contents[:2]...))).into(t, 200, &stored); stored.Stored != 2 {
		t.Errorf("%d files were stored", stored.Stored)
	}
	if missing := w.lacks(p, r, contents...); strings.Join(missing, ",") != strings.Join(contents[2:], ",") {
		t.Errorf("%d files are missing", len(missing))
	}
	// It may have files that the store has.
	zipped := compressed(t, batchOf(contents...), zstd.WithWindowSize(site.BatchWindow))
	if w.send("POST", at+"/files", bytes.NewReader(zipped), header("Content-Encoding", "zstd")).into(t, 200, &stored); stored.Stored != 5 {
		t.Errorf("%d files were stored", stored.Stored)
	}
	if missing := w.lacks(p, r, contents...); len(missing) != 0 {
		t.Errorf("%q are missing", missing)
	}
	w.send("POST", at+"/finalize", nil).into(t, 202, nil)
	w.send("POST", at+"/files", bytes.NewReader(batchOf("home"))).refused(t, 409, "conflict", "", "finalized")
	w.send("POST", at+"/missing", digestsOf("home")).refused(t, 409, "conflict", "", "finalized")
}

func TestBadBatches(t *testing.T) {
	t.Parallel()
	limits := site.BatchLimits{Files: 4, Bytes: 1 << 20}
	w := newWorld(t, func(w *world) { w.cfg.Batch = limits })
	p, other := w.create("Blog"), w.create("Other")
	secret := "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n", 4)
	half := strings.Repeat("h", 530<<10)
	one, two := "one", "two"
	r := w.begin(p, nil, filesOf(one, two, "three", "four", "five", secret, half, half+"h")...)
	elsewhere := w.begin(other, nil, filesOf("elsewhere")...)
	lying := func(size int64, body string) []byte {
		return append(site.BatchTable([]site.File{file("", one), {SHA256: file("", two).SHA256, Size: size}}), body...)
	}
	zstdOf := func(body []byte, o ...zstd.EOption) []byte { return compressed(t, body, o...) }
	good := zstdOf(batchOf(one, two))
	bomb := bytes.Repeat(zstdOf(make([]byte, 8<<20), zstd.WithWindowSize(1<<20), zstd.WithSingleSegment(false)), 64)
	skipped := bytes.Repeat(append([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 1, 0}, make([]byte, 64<<10)...), 30)
	wide := zstdOf(append(batchOf(half), make([]byte, 16<<20)...), zstd.WithWindowSize(8<<20), zstd.WithSingleSegment(false))
	for _, c := range []struct {
		name, query, encoding string
		body                  []byte
		status                int
		field, says           string
		stored                string // what was stored of one and two
	}{
		{"empty", "", "", nil, 400, "files", "ended within the table", ""},
		{"not a batch", "", "", []byte(`{"files":[]}`), 400, "", "troyput1", ""},
		{"too many files", "", "", batchOf(one, two, "three", "four", "five"), 413, "files", "at most 4", ""},
		{"too many bytes", "", "", batchOf(half, half+"h"), 413, "files[1]", "1048576 bytes", ""},
		{"twice", "", "", batchOf(one, one), 400, "files[1]", "twice", ""},
		{"undeclared", "", "", batchOf(one, "no"), 404, "files[1]", "declares no file", ""},
		{"of another pipeline", "", "", batchOf(one, "elsewhere"), 404, "files[1]", "declares no file", ""},
		{"a small size", "", "", lying(2, "onetw"), 400, "files[1]", "expected 3 as declared", ""},
		{"a large size", "", "", lying(4, "onetwoo"), 400, "files[1]", "expected 3 as declared", ""},
		{"other bytes", "", "", append(site.BatchTable(filesOf(one, two)), "onetw0"...), 400, "files[1]", "SHA-256", one},
		{"ends early", "", "", batchOf(one, two)[:8+4+80+5], 400, "files[1]", "", one},
		{"ends at once", "", "", batchOf(one, two)[:8+4+80], 400, "files[0]", "", ""},
		{"continues", "", "", append(batchOf(one, two), 'x'), 400, "", "continues", one + two},
		{"a secret", "?secrets=refuse", "", batchOf(one, secret, two), 400, "files[1]", "private key", one},
		{"secrets", "?secrets=no", "", batchOf(one), 400, "secrets", "expected refuse", ""},
		{"gzip", "", "gzip", good, 400, "Content-Encoding", "expected zstd", ""},
		{"not zstd", "", "zstd", batchOf(one), 400, "Content-Encoding", "Zstandard", ""},
		{"cut zstd", "", "zstd", good[:len(good)-6], 400, "Content-Encoding", "Zstandard", ""},
		{"damaged zstd", "", "zstd", append(append([]byte{}, good[:len(good)-2]...), 1, 2), 400, "Content-Encoding", "Zstandard", ""},
		{"a bomb", "", "zstd", bomb, 400, "", "troyput1", ""},
		{"a bomb behind", "", "zstd", append(append([]byte{}, good...), bomb...), 400, "", "continues", one + two},
		{"nothing but skipped frames", "", "zstd", skipped, 413, "", "larger than", ""},
		{"a wide window", "", "zstd", wide, 400, "Content-Encoding", "window", ""},
		{"a long body", "", "", append(batchOf(one), make([]byte, 3<<20)...), 413, "Content-Length", "at most", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			// A release of the same files in another pipeline, so that each case
			// begins with nothing.
			mine := w.create("P" + strings.ReplaceAll(c.name, " ", "-"))
			r := w.begin(mine, nil, filesOf(one, two, "three", "four", "five", secret, half, half+"h")...)
			code := map[int]string{400: "invalid", 404: "not_found", 413: "too_large"}[c.status]
			options := []option{header("Content-Encoding", c.encoding)}
			if c.encoding == "" {
				options = nil
			}
			body := io.Reader(bytes.NewReader(c.body))
			if c.encoding == "zstd" {
				body = io.MultiReader(body) // without a Content-Length
			}
			w.send("POST", releases(mine)+"/"+r.ID.String()+"/files"+c.query, body, options...).refused(t, c.status, code, c.field, c.says)
			kept := ""
			missing := strings.Join(w.lacks(mine, r, one, two), ",")
			for _, content := range []string{one, two} {
				if !strings.Contains(missing, content) {
					kept += content
				}
			}
			if kept != c.stored {
				t.Errorf("stored %q, want %q", kept, c.stored)
			}
		})
	}
	at := releases(p) + "/" + r.ID.String()
	for _, body := range []any{map[string][]string{"files": {}}, digestsOf(one, two, "three", "four", "five")} {
		w.send("POST", at+"/missing", body).refused(t, 400, "invalid", "files", "1 to 4")
	}
	w.send("POST", at+"/missing", `{"files":["x"]}`).refused(t, 400, "invalid", "files[0]", "64")
	w.send("POST", at+"/missing", digestsOf("elsewhere")).refused(t, 404, "not_found", "files[0]", "declares no file")
	viewer := w.token(credentials.Viewer)
	for _, path := range []string{"/files", "/missing"} {
		w.send("POST", at+path, strings.NewReader("x"), as(viewer)).refused(t, 403, "forbidden", "", "")
		w.send("POST", at+path, strings.NewReader("x"), as("troy_no")).refused(t, 401, "unauthenticated", "", "")
		stranger := w.token(credentials.Deployer, other.ID)
		w.send("POST", at+path, strings.NewReader(`{"files":["`+strings.Repeat("0", 64)+`"]}`), as(stranger)).refused(t, 404, "not_found", "", "pipeline not found")
	}
	w.send("POST", releases(other)+"/"+r.ID.String()+"/files", bytes.NewReader(batchOf(one))).refused(t, 404, "not_found", "", "no release")
	w.send("POST", releases(other)+"/"+elsewhere.ID.String()+"/files", bytes.NewReader(batchOf("elsewhere"))).into(t, 200, nil)
}

// startBatch sends a part of a batch by a connection of its own.
func (w *world) startBatch(p pipeline, r release, body []byte, sent int) net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.server.URL, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST %s/%s/files HTTP/1.1\r\nHost: troy.test\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		releases(p), r.ID, w.admin, len(body), body[:sent]); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

func answerOn(t *testing.T, conn net.Conn) (int, string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// gated is a store that tells when PutAll has read so many bytes, and counts what
// it stored.
type gated struct {
	cloud.Store
	after atomic.Int64
	read  chan struct{}
	mu    sync.Mutex
	times map[site.Digest]int
}

func (g *gated) PutAll(ctx context.Context, t site.Tree, files []site.File, r io.Reader) (int, error) {
	if g.read != nil {
		counted := &countedReader{r: r, left: g.after.Load(), reached: func() { g.read <- struct{}{} }}
		counted.count(0)
		r = counted
	}
	n, err := g.Store.PutAll(ctx, t, files, r)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range files[:n] {
		g.times[f.SHA256]++
	}
	return n, err
}

// countedReader calls reached once, when no bytes are left.
type countedReader struct {
	r       io.Reader
	left    int64
	reached func()
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.count(n)
	return n, err
}

func (c *countedReader) count(n int) {
	if c.left -= int64(n); c.left <= 0 && c.reached != nil {
		c.reached()
		c.reached = nil
	}
}

// A batch whose connection says nothing any more, or breaks, keeps what arrived
// of it before the server answers what is missing.
func TestABrokenBatchKeepsWhatArrived(t *testing.T) {
	t.Parallel()
	store := &gated{read: make(chan struct{}, 100), times: map[site.Digest]int{}}
	w := newWorld(t, func(w *world) { store.Store, w.deps.Store = w.deps.Store, store })
	contents := []string{"first file", "second file", strings.Repeat("third file ", 20_000), "fourth"}
	body := batchOf(contents...)
	table := len(body) - len(strings.Join(contents, ""))
	for i, cut := range []int{table, table + 3, table + 10, table + 15, table + 21, table + 100_000, len(body) - 1} {
		p := w.create(fmt.Sprint("Blog ", i))
		r := w.begin(p, nil, filesOf(contents...)...)
		store.after.Store(int64(cut - table))
		want, sent := 0, table
		for _, content := range contents {
			if sent += len(content); sent <= cut {
				want++
			}
		}
		for _, silent := range []bool{true, false} {
			conn := w.startBatch(p, r, body, cut)
			<-store.read
			if !silent {
				_ = conn.Close()
			}
			// The one that was broken before has stored a part.
			if missing := w.lacks(p, r, contents...); len(missing) != len(contents)-want {
				t.Errorf("cut after %d bytes, silent %t: %d files are missing, want %d", cut, silent, len(missing), len(contents)-want)
			}
			if !silent {
				continue
			}
			if status, text := answerOn(t, conn); status != 503 || !strings.Contains(text, "takes over") || !strings.Contains(text, fmt.Sprintf(`"stored":%d`, want)) {
				t.Errorf("the silent sender gets %d %s", status, text)
			}
		}
		// Asking for others does not end it.
		conn := w.startBatch(p, r, body, cut)
		<-store.read
		again := w.begin(p, nil, filesOf("another", "one more")...)
		w.lacks(p, again, "another")
		if _, err := conn.Write(body[cut:]); err != nil {
			t.Fatal(err)
		}
		if status, text := answerOn(t, conn); status != 200 || !strings.Contains(text, `"stored":4`) {
			t.Errorf("the third sender gets %d %s", status, text)
		}
	}
}

func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	const idle = 5 * time.Minute
	w := newWorld(t, func(w *world) { w.cfg.BodyIdle = idle })
	p := w.create("Blog")
	r := w.begin(p, nil, filesOf("home", "page")...)
	body := batchOf("home", "page")
	for range 16 {
		w.startBatch(p, r, body, 20)
	}
	var a answer
	full := poll.Until(t.Context(), time.Minute, 10*time.Millisecond, func() bool {
		a = w.send("POST", releases(p)+"/"+r.ID.String()+"/files", bytes.NewReader(body))
		if a.status == 200 { // it may have come before one of the others, which was refused then
			w.startBatch(p, r, body, 20)
		}
		return a.status == 503 && strings.Contains(string(a.body), "send fewer at a time") && strings.Contains(string(a.body), `"stored":0`)
	})
	if !full {
		t.Errorf("a batch past the bound was answered with %d %s", a.status, a.body)
	}
	other := w.begin(w.create("Other"), nil, filesOf("home")...)
	w.send("POST", "/v1/pipelines/other/releases/"+other.ID.String()+"/files", bytes.NewReader(batchOf("home"))).into(t, 200, nil)
}

// fullDisk is a store whose disk is full after some files.
type fullDisk struct {
	cloud.Store
	room int
}

func (f *fullDisk) PutAll(ctx context.Context, t site.Tree, files []site.File, r io.Reader) (int, error) {
	if len(files) <= f.room {
		return f.Store.PutAll(ctx, t, files, r)
	}
	n, err := f.Store.PutAll(ctx, t, files[:f.room], r)
	return n, errors.Join(err, troy.Errorf(troy.Unavailable, "the store's disk is full"))
}

func TestABatchOnAFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.deps.Store = &fullDisk{w.deps.Store, 2} })
	p := w.create("Blog")
	contents := []string{"a", "b", "c", strings.Repeat("d", 8<<20)}
	r := w.begin(p, nil, filesOf(contents...)...)
	body := batchOf(contents...)
	conn := w.startBatch(p, r, body, len(body)) // a reset would keep the answer away
	status, text := answerOn(t, conn)
	var problem struct {
		Stored int
		Field  string
		Detail string
	}
	if err := json.Unmarshal([]byte(text), &problem); err != nil || status != 503 || problem.Stored != 2 || problem.Field != "files[2]" || !strings.Contains(problem.Detail, "full") {
		t.Errorf("%d %s %v", status, text, err)
	}
	if missing := w.lacks(p, r, contents...); len(missing) != 2 {
		t.Errorf("%d files are missing, want 2", len(missing))
	}
}

func TestSlowAndStalledBatches(t *testing.T) {
	t.Parallel()
	const idle = 2 * time.Second
	w := newWorld(t, func(w *world) { w.cfg.BodyIdle = idle })
	contents := []string{strings.Repeat("1", 3000), strings.Repeat("2", 3000), strings.Repeat("3", 3000)}
	text := strings.Join(contents, "")
	body := batchOf(contents...)
	p := w.create("Blog")
	r := w.begin(p, nil, filesOf(contents...)...)
	conn := w.startBatch(p, r, body, len(body)-len(text))
	if _, err := io.Copy(conn, &paced{text: text, pause: idle / 4, piece: 1000}); err != nil {
		t.Fatal(err)
	}
	if status, answer := answerOn(t, conn); status != 200 {
		t.Errorf("a slow batch gets %d %s", status, answer)
	}
	p = w.create("Other")
	r = w.begin(p, nil, filesOf(contents...)...)
	conn = w.startBatch(p, r, body, len(body)-len(text)+4000)
	if status, answer := answerOn(t, conn); status != 503 || !strings.Contains(answer, "paused for") || !strings.Contains(answer, `"stored":1`) {
		t.Errorf("a stalled batch gets %d %s", status, answer)
	}
	if missing := w.lacks(p, r, contents...); len(missing) != 2 {
		t.Errorf("%d files are missing, want 2", len(missing))
	}
}

func FuzzBatch(f *testing.F) {
	limits := site.BatchLimits{Files: 4, Bytes: 1 << 10}
	e, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	good := e.EncodeAll(batchOf("one", "two"), nil)
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(append(good, good...))
	f.Add(e.EncodeAll(make([]byte, 1<<20), nil))
	f.Add(e.EncodeAll(batchOf("one")[:8+4+40], nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		files, n, err := web.ReadBatch(bytes.NewReader(body), limits)
		if len(files) > limits.Files || n > limits.Bytes {
			t.Errorf("%d files, %d bytes", len(files), n)
		}
		if _, ok := errors.AsType[*troy.Error](err); err != nil && !ok && !errors.Is(err, io.EOF) {
			t.Errorf("the error is not for people: %v", err)
		}
	})
}
