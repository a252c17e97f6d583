package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// TestBriefRelease declares a release of which all files are missing, and again
// after one of them was sent.
func TestBriefRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	body := manifest{Files: []site.File{file("again.html", "home"), file("index.html", "home"), file("other.html", "other")}}
	key := header("Idempotency-Key", "k")
	at := releases(p) + "?brief="
	w.send("POST", at+"yes", body, key).refused(t, 400, "invalid", "brief", "expected true or false")
	var r struct {
		release
		AllMissing bool `json:"all_missing"`
	}
	if w.send("POST", at+"true", body, key).into(t, 201, &r); !r.AllMissing || r.Missing == nil || len(r.Missing) != 0 {
		t.Errorf("%+v", r)
	}
	if again := w.begin(p, []option{key}, body.Files...); again.ID != r.ID || len(again.Missing) != 2 {
		t.Errorf("not brief: %+v", again)
	}
	w.upload(p, r.release, "home").into(t, 204, nil)
	r.AllMissing = false
	if w.send("POST", at+"true", body, key).into(t, 200, &r); r.AllMissing || len(r.Missing) != 1 || r.Missing[0].Path != "other.html" {
		t.Errorf("after a file was sent: %+v", r)
	}
}

func TestReleaseFromBeginToDeployment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	r := w.begin(p, nil, file("index.html", "home"), file("again.html", "home"), file("empty", ""))
	if len(r.Missing) != 2 || r.Finalized || r.Limits.Files != 100_000 || r.Limits.FileBytes != 1<<30 || r.Limits.TotalBytes != 10<<30 ||
		time.Until(r.ExpiresAt) < 23*time.Hour {
		t.Fatalf("%+v", r)
	}
	at := releases(p) + "/" + r.ID.String()
	e := w.send("POST", at+"/finalize", nil).refused(t, 409, "conflict", "", "2 files are missing")
	if len(e.Details) != 2 || e.Details[0] != "again.html" || e.Details[1] != "empty" {
		t.Errorf("details %q", e.Details)
	}
	w.upload(p, r, "").into(t, 204, nil)
	w.upload(p, r, "home").into(t, 204, nil)
	w.upload(p, r, "home").into(t, 204, nil)
	var now release
	if w.send("GET", at, nil).into(t, 200, &now); len(now.Missing) != 0 || now.Missing == nil {
		t.Errorf("%+v", now)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var d deployment
			w.send("POST", at+"/finalize", `{"publish":true,"expect_live":"none"}`).into(t, 202, &d)
			if d.ID != r.ID || d.Number != 1 || d.Kind != "release" || d.State != "waiting" || d.Files != 3 || d.Bytes != 8 {
				t.Errorf("%+v", d)
			}
		})
	}
	wg.Wait()
	if n := w.count("SELECT count(*) FROM deployments"); n != 1 {
		t.Errorf("%d deployments", n)
	}
	if w.send("GET", at, nil).into(t, 200, &now); !now.Finalized || len(now.Missing) != 0 {
		t.Errorf("%+v", now)
	}
	if a := w.upload(p, r, "home"); a.status != 409 {
		t.Errorf("an upload to a finalized release: %d %s", a.status, a.body)
	}
	w.goLive(p, r.ID)
	next := w.begin(p, nil, file("index.html", "home"))
	if len(next.Missing) != 0 {
		t.Errorf("a stored file is requested: %+v", next.Missing)
	}
	at = releases(p) + "/" + next.ID.String()
	w.send("POST", at+"/finalize", `{"expect_live":"none"}`).refused(t, 412, "precondition_failed", "expect_live", r.ID.String())
	w.send("POST", at+"/finalize", `{"expect_live":"x"}`).refused(t, 400, "invalid", "expect_live", "")
	w.send("POST", at+"/finalize", `{"publish":1}`).refused(t, 400, "invalid", "publish", "true or false")
	var d deployment
	w.send("POST", at+"/finalize", fmt.Sprintf(`{"publish":false,"expect_live":%q}`, r.ID)).into(t, 202, &d)
	if d.State != "succeeded" || d.Live || d.FinishedAt == nil {
		t.Errorf("%+v", d)
	}
	// No worker seals an unpublished release.
	if _, err := os.Stat((site.Layout{Root: w.dir}).Tree(site.Tree{Pipeline: p.ID, Deployment: d.ID})); err != nil {
		t.Errorf("it is not sealed: %v", err)
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	key := []option{header("Idempotency-Key", "one")}
	first := w.begin(p, key, file("index.html", "home"), file("a", "a"))
	if again := w.begin(p, key, file("a", "a"), file("index.html", "home")); again.ID != first.ID || len(again.Missing) != 2 {
		t.Errorf("%+v", again)
	}
	w.send("POST", releases(p), manifest{Files: []site.File{file("b", "b")}}, key...).refused(t, 409, "conflict", "Idempotency-Key", "other files")
	other := w.create("Other")
	if r := w.begin(other, key, file("b", "b")); r.ID == first.ID {
		t.Error("another pipeline's key counts")
	}
	for _, bad := range []string{strings.Repeat("x", 129), "ä"} {
		w.send("POST", releases(p), "{}", header("Idempotency-Key", bad)).refused(t, 400, "invalid", "Idempotency-Key", "")
	}
	w.exec("UPDATE releases SET expires_at = now() - interval '1 second'")
	w.send("POST", releases(p), manifest{Files: []site.File{file("index.html", "home"), file("a", "a")}}, key...).
		refused(t, 409, "conflict", "Idempotency-Key", "expired")
}

func TestBadManifests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.Limits = site.Limits{Files: 3, FileBytes: 100, TotalBytes: 150} })
	p := w.create("Blog")
	digest := file("", "x").SHA256.String()
	f := func(path string, size int) string {
		return fmt.Sprintf(`{"path":%q,"sha256":%q,"size":%d}`, path, digest, size)
	}
	list := func(files ...string) string { return `{"files":[` + strings.Join(files, ",") + `]}` }
	for _, c := range []struct {
		name, body   string
		status       int
		field, wants string
	}{
		{"none", "", 400, "", "empty"},
		{"no JSON", "{", 400, "", "JSON"},
		{"no files", `{}`, 400, "files", "no files"},
		{"null", `{"files":null}`, 400, "files", "no files"},
		{"files no list", `{"files":{}}`, 400, "files", "a list"},
		{"unknown field", `{"files":[],"zip":1}`, 400, "zip", "unknown"},
		{"unknown field of a file", list(`{"path":"a","sha256":"` + digest + `","size":1,"mode":1}`), 400, "files[0].mode", "unknown"},
		{"trailing data", list(f("a", 1)) + "x", 400, "", ""},
		{"a bad digest", list(f("a", 1), `{"path":"b","sha256":"ABC","size":1}`), 400, "files[1].sha256", "SHA-256"},
		{"size a string", list(`{"path":"b","sha256":"` + digest + `","size":"1"}`), 400, "files[0].size", "whole number"},
		{"a negative size", list(f("a", -1)), 400, "files[0].size", "0 or more"},
		{"an absolute path", list(f("/etc/passwd", 1)), 400, "files[0].path", "absolute"},
		{"outside", list(f("../a", 1)), 400, "files[0].path", `".."`},
		{"a control character", list(f("a\nb", 1)), 400, "files[0].path", "control"},
		{"twice", list(f("a", 1), f("a", 1)), 400, "files[1].path", "twice"},
		{"too many files", list(f("a", 1), f("b", 1), f("c", 1), f("d", 1)), 413, "files", "at most 3"},
		{"many empty files", `{"files":[` + strings.Repeat("{},", 9) + `{}]}`, 413, "files", "10 files are listed; expected at most 3"},
		{"many removed paths", `{"base":"` + digest + `","removed":["","","",""]}`, 413, "removed", "4 paths are listed; expected at most 3"},
		{"many configuration files", `{"config":[` + strings.Repeat("{},", 99) + `{}]}`, 413, "config", "100 configuration files are listed"},
		{"a list without end", `{"files":[{},{},{},{},`, 400, "files", "not valid JSON"},
		{"a large file", list(f("a", 101)), 413, "files[0].size", "at most 100"},
		{"too much", list(f("a", 80), f("b", 80)), 413, "files[1].size", "150"},
		{"a long message", `{"files":[` + f("a", 1) + `],"message":"` + strings.Repeat("x", 1001) + `"}`, 400, "message", "the text has 1001 characters; expected at most 1000"},
		{"a message with NUL", `{"files":[` + f("a", 1) + `],"message":"\u0000"}`, 400, "message", "control"},
		{"a large body", `{"message":"` + strings.Repeat("x", 20<<20) + `"}`, 413, "", "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code := map[int]string{400: "invalid", 413: "too_large"}[c.status]
			w.send("POST", releases(p), c.body).refused(t, c.status, code, c.field, c.wants)
			// The same without a Content-Length.
			w.send("POST", releases(p), io.MultiReader(strings.NewReader(c.body))).refused(t, c.status, code, c.field, c.wants)
		})
	}
	if n := w.count("SELECT count(*) FROM releases"); n != 0 {
		t.Errorf("%d releases were started", n)
	}
}

// Unfinished releases use a bounded part of the store, and count only for their
// own pipeline.
func TestUnfinishedReleasesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.Limits = site.Limits{Files: 60, FileBytes: 100, TotalBytes: 200} })
	many, large, wide, other := w.create("Many"), w.create("Large"), w.create("Wide"), w.create("Other")
	key := func(n int) option { return header("Idempotency-Key", fmt.Sprint(n)) }
	small := manifest{Files: []site.File{file("a", "a")}}
	// Many concurrent requests, more than there is room for.
	var begun atomic.Int64
	var senders sync.WaitGroup
	for n := range 60 {
		senders.Go(func() {
			switch a := w.send("POST", releases(many), small, key(n)); a.status {
			case 201:
				begun.Add(1)
			case 507:
			default:
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	senders.Wait()
	if begun.Load() != 50 {
		t.Errorf("%d releases were started, want 50", begun.Load())
	}
	taken := w.text("SELECT idempotency_key FROM releases WHERE pipeline_id = $1 LIMIT 1", many.ID)
	w.send("POST", releases(many), small).refused(t, 507, "over_quota", "", "50 unfinished releases")
	w.send("POST", releases(many), small, header("Idempotency-Key", taken)).into(t, 200, nil)

	big := manifest{Files: []site.File{file("a", strings.Repeat("a", 100)), file("b", strings.Repeat("b", 100))}}
	full := manifest{}
	for n := range 60 {
		full.Files = append(full.Files, file(fmt.Sprint(n), "a"))
	}
	for range 3 {
		w.send("POST", releases(large), big).into(t, 201, nil)
		w.send("POST", releases(wide), full).into(t, 201, nil)
	}
	w.send("POST", releases(large), small).refused(t, 507, "over_quota", "", "600 bytes")
	w.send("POST", releases(wide), small).refused(t, 507, "over_quota", "", "180 files")
	w.send("POST", releases(other), full).into(t, 201, nil)

	w.exec("UPDATE releases SET expires_at = now() - interval '1 second'")
	for _, p := range []pipeline{many, large, wide} {
		w.send("POST", releases(p), small).into(t, 201, nil)
	}
}

func TestBadUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.Limits.FileBytes = 100 })
	p, other := w.create("Blog"), w.create("Other")
	r := w.begin(p, nil, file("index.html", "home"))
	at := func(p pipeline, r uuid.UUID, digest string) string {
		return fmt.Sprintf("%s/%s/files/%s", releases(p), r, digest)
	}
	digest := file("", "home").SHA256.String()
	w.send("PUT", at(p, r.ID, digest), "hone").refused(t, 400, "invalid", "sha256", "expected "+digest+" as declared")
	w.send("PUT", at(p, r.ID, digest), "homes").refused(t, 400, "invalid", "Content-Length", "expected 4 as declared")
	w.send("PUT", at(p, r.ID, digest), "").refused(t, 400, "invalid", "Content-Length", "expected 4 as declared")
	w.send("PUT", at(p, r.ID, digest), strings.Repeat("x", 101)).refused(t, 413, "too_large", "Content-Length", "100")
	w.send("PUT", at(p, r.ID, digest), io.MultiReader(strings.NewReader("home"))).refused(t, 400, "invalid", "Content-Length", "missing")
	w.send("PUT", at(p, r.ID, file("", "other").SHA256.String()), "other").refused(t, 404, "not_found", "sha256", "declares no file")
	w.send("PUT", at(p, r.ID, "x"), "home").refused(t, 400, "invalid", "sha256", "64")
	w.send("PUT", at(p, uuid.New(), digest), "home").refused(t, 404, "not_found", "", "no release")
	w.send("PUT", at(other, r.ID, digest), "home").refused(t, 404, "not_found", "", "no release")
	w.send("PUT", releases(p)+"/x/files/"+digest, "home").refused(t, 404, "not_found", "", "release")
	blobs := 0
	if err := filepath.WalkDir(filepath.Join(w.dir, "sites"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && (strings.Contains(path, "/blobs/") || strings.Contains(path, "/incoming/")) {
			blobs++
		}
		return err
	}); err != nil || blobs != 0 {
		t.Errorf("%d files were left, %v", blobs, err)
	}
	w.upload(p, r, "home").into(t, 204, nil)
	again := w.begin(p, nil, file("index.html", "new"))
	w.exec("UPDATE releases SET expires_at = now() - interval '1 second'")
	for _, path := range []string{"", "/finalize"} {
		method := map[string]string{"": "GET", "/finalize": "POST"}[path]
		w.send(method, releases(p)+"/"+again.ID.String()+path, nil).refused(t, 409, "conflict", "", "expired")
	}
	w.send("DELETE", "/v1/pipelines/other", nil).into(t, 202, nil)
	w.send("POST", releases(other), manifest{Files: []site.File{file("a", "a")}}).refused(t, 409, "conflict", "", "Scheduled for Deletion")
}

// A server that has never seen a release finds it in the store.
func TestAnotherServerTakesTheUpload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	r := w.begin(p, nil, file("index.html", "home"), file("a", "a"))
	fresh := w.second()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { fresh.upload(p, r, "home").into(t, 204, nil) })
	}
	wg.Wait()
	fresh.upload(p, r, "a").into(t, 204, nil)
	w.send("POST", releases(p)+"/"+r.ID.String()+"/finalize", nil).into(t, 202, nil)
	// The pipeline is deleted while a release is open.
	open := w.begin(p, nil, file("b", "b"))
	if _, err := w.deps.Store.RemoveAll(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	fresh.upload(p, open, "b").refused(t, 409, "conflict", "", "start it again")
	w.upload(p, open, "b").refused(t, 404, "not_found", "", "no release")
	w.send("POST", releases(p)+"/"+open.ID.String()+"/finalize", nil).refused(t, 409, "conflict", "", "start it again")
	w.exec("DELETE FROM pipelines")
	fresh.upload(p, open, "b").refused(t, 404, "not_found", "", "pipeline not found")
}

// An upload may take longer than the maximum pause, but not stall.
func TestSlowAndStalledUploads(t *testing.T) {
	t.Parallel()
	const idle = 600 * time.Millisecond
	w := newWorld(t, func(w *world) { w.cfg.BodyIdle = idle })
	p := w.create("Blog")
	content := strings.Repeat("0123456789", 1000)
	r := w.begin(p, nil, file("slow", content), file("stalled", content+"!"))
	send := func(content string, body io.Reader) (*http.Response, time.Duration) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.server.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := fmt.Fprintf(conn, "PUT %s/%s/files/%s HTTP/1.1\r\nHost: troy.test\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n",
			releases(p), r.ID, file("", content).SHA256, w.admin, len(content)); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := io.Copy(conn, body); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(20 * idle)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		return resp, time.Since(begin)
	}
	if resp, took := send(content, &paced{text: content, pause: idle / 4, piece: 1000}); resp.StatusCode != 204 || took < 2*idle {
		t.Errorf("a slow upload gets %d after %s", resp.StatusCode, took)
	}
	resp, _ := send(content+"!", strings.NewReader(content))
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 503 || !strings.Contains(string(body), "paused for") {
		t.Errorf("a stalled upload gets %d: %s %v", resp.StatusCode, body, err)
	}
}

// paced returns a text in pieces with pauses.
type paced struct {
	text  string
	pause time.Duration
	piece int
}

func (p *paced) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	<-time.After(p.pause)
	n := copy(b, p.text[:min(p.piece, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}

// full is a store whose disk is full.
type full struct{ cloud.Store }

func (full) Put(context.Context, site.Tree, site.File, io.Reader) error {
	return troy.Errorf(troy.Unavailable, "the store's disk is full")
}

// A sender that reads only after it has written everything gets the answer, not
// a reset.
func TestAnUploadThatFailsIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.deps.Store = full{w.deps.Store} })
	p := w.create("Blog")
	content := strings.Repeat("x", 16<<20)
	f := file("a", content)
	r := w.begin(p, nil, f)
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "PUT %s/%s/files/%s HTTP/1.1\r\nHost: troy.test\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", releases(p), r.ID, f.SHA256, w.admin, len(content)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, content); err != nil {
		t.Fatalf("the upload was cut off: %v", err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != 503 || !strings.Contains(string(body), "disk is full") {
		t.Errorf("%d %s %v", response.StatusCode, body, err)
	}
}

// askedStore counts the questions for missing files.
type askedStore struct {
	cloud.Store
	asked atomic.Int64
}

func (s *askedStore) Begin(ctx context.Context, t site.Tree, m site.Manifest) ([]site.File, error) {
	s.asked.Add(1)
	return s.Store.Begin(ctx, t, m)
}

// TestFinalizeAsksTheStoreForWhatIsUnknown finalizes releases whose files the
// store has, got from this process, and got otherwise, as from another process:
// only the last is looked at again.
func TestFinalizeAsksTheStoreForWhatIsUnknown(t *testing.T) {
	t.Parallel()
	store := &askedStore{}
	w := newWorld(t, func(w *world) { store.Store, w.deps.Store = w.deps.Store, store })
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	for _, release := range []struct {
		file      string
		elsewhere bool
		asked     int64
	}{{"home", false, 1}, {"home", false, 1}, {"new", true, 2}} {
		store.asked.Store(0)
		f := file("index.html", release.file)
		r := w.begin(p, nil, f)
		switch {
		case release.elsewhere:
			if err := w.deps.Store.Put(t.Context(), site.Tree{Pipeline: p.ID, Deployment: r.ID}, f, strings.NewReader(release.file)); err != nil {
				t.Fatal(err)
			}
		case len(r.Missing) > 0:
			w.upload(p, r, release.file).into(t, 204, nil)
		}
		w.send("POST", releases(p)+"/"+r.ID.String()+"/finalize", nil).into(t, 202, nil)
		if n := store.asked.Load(); n != release.asked {
			t.Errorf("a release of which %d files were missing asked the store %d times, want %d", len(r.Missing), n, release.asked)
		}
		w.goLive(p, r.ID)
	}
}

// TestFinalizeOfTwoHalves sends one of two missing files: the release stays
// incomplete until the other has arrived.
func TestFinalizeOfTwoHalves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	r := w.begin(p, nil, file("a.html", "a"), file("b.html", "b"), file("index.html", "a"))
	w.upload(p, r, "a").into(t, 204, nil)
	w.upload(p, r, "a").into(t, 204, nil)
	w.send("POST", releases(p)+"/"+r.ID.String()+"/finalize", nil).into(t, 409, nil)
	w.upload(p, r, "b").into(t, 204, nil)
	w.send("POST", releases(p)+"/"+r.ID.String()+"/finalize", nil).into(t, 202, nil)
}
