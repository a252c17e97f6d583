package web_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/site"
)

// zipText returns a zip of files: names and contents in turn.
func zipText(t *testing.T, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := z.Create(files[i])
		if err == nil {
			_, err = io.WriteString(f, files[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// tarOf returns a tar of files, compressed with Zstandard.
func tarOf(t *testing.T, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	compressed, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(compressed)
	for i := 0; i < len(files); i += 2 {
		err := archive.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg})
		if err == nil {
			_, err = io.WriteString(archive, files[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func archiveOf(p pipeline) string { return "/v1/pipelines/" + p.Slug + "/archive" }

// octets is the media type that curl -T does not send and the document asks for.
var octets = header("Content-Type", "application/octet-stream")

// TestArchives releases archives in one request each. TMPDIR is the process's,
// so the test is not parallel.
func TestArchives(t *testing.T) {
	w := newWorld(t, func(w *world) { w.cfg.Limits = site.Limits{TotalBytes: 1 << 20, FileBytes: 1 << 20, Files: 10} })
	spools := t.TempDir()
	t.Setenv("TMPDIR", spools)
	p := w.create("Blog")
	put := func(query, body string, options ...option) answer {
		t.Helper()
		return w.send("PUT", archiveOf(p)+query, body, append(options, octets)...)
	}
	var d deployment
	put("?message=First", zipText(t, "public/index.html", "home", "public/a.js", "a", "public/.git/config", "x"), header("Idempotency-Key", "one")).into(t, 202, &d)
	if d.Number != 1 || d.State != "waiting" || d.Message != "First" || d.Files != 2 || d.Bytes != 5 || d.Actor != "token test-admin" {
		t.Errorf("%+v", d)
	}
	first := d.ID
	// The same key does not make another deployment.
	put("?message=First", zipText(t, "index.html", "home", "a.js", "a"), header("Idempotency-Key", "one")).into(t, 202, &d)
	if d.ID != first {
		t.Errorf("the key made the deployments %s and %s", first, d.ID)
	}
	put("", zipText(t, "index.html", "other"), header("Idempotency-Key", "one")).refused(t, 409, "conflict", "Idempotency-Key", "other files")

	put("?publish=false", tarOf(t, "./index.html", "home 2", "_redirects", "/a /b\n")).into(t, 202, &d)
	if d.Number != 2 || d.State != "succeeded" || d.Live || d.Files != 2 {
		t.Errorf("%+v", d)
	}
	r, err := http.NewRequestWithContext(t.Context(), "PUT", w.server.URL+archiveOf(p), struct{ io.Reader }{strings.NewReader(zipText(t, "index.html", "of unknown length"))})
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.admin)
	if resp, err := w.server.Client().Do(r); err != nil || resp.StatusCode != 202 {
		t.Errorf("an archive of unknown length: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}

	key := "-----BEGIN RSA PRIVATE KEY-----\n" + strings.Repeat("MIIE", 20) + "\n-----END RSA PRIVATE KEY-----\n"
	before := w.count("SELECT count(*) FROM releases")
	for what, c := range map[string]struct {
		query, body string
		status      int
		code, field string
		says        string
	}{
		"garbage":          {"", "<html>", 400, "invalid", "", "neither a folder nor a supported archive"},
		"bzip2":            {"", "BZh91AY", 400, "invalid", "", "bzip2"},
		"nothing":          {"", "", 400, "invalid", "", "the body is empty"},
		"no files":         {"", zipText(t), 400, "invalid", "", "empty"},
		"a cut zip":        {"", zipText(t, "index.html", "home")[:60], 400, "invalid", "", ""},
		"a cut tar":        {"", tarOf(t, "index.html", strings.Repeat("home", 100))[:30], 400, "invalid", "", ""},
		"a path outside":   {"", zipText(t, "../index.html", "home"), 400, "invalid", "", "../index.html"},
		"too many files":   {"", zipText(t, "1", "", "2", "", "3", "", "4", "", "5", "", "6", "", "7", "", "8", "", "9", "", "10", "", "11", ""), 413, "too_large", "", "the site has 11 files"},
		"a bomb":           {"", tarOf(t, "index.html", strings.Repeat("0", 2<<20)), 413, "too_large", "", ""},
		"too many bytes":   {"", strings.Repeat("x", 1<<20+1), 413, "too_large", "Content-Length", "expected at most 1048576"},
		"a secret":         {"", zipText(t, "index.html", "home", "id_rsa", key), 400, "invalid", "", "1 secret would be published"},
		"bad publish":      {"?publish=maybe", "", 400, "invalid", "publish", "expected true or false"},
		"a long message":   {"?message=" + strings.Repeat("x", 2000), "", 400, "invalid", "message", "expected at most"},
		"preview, publish": {"?preview=spring&publish=true", "", 400, "invalid", "preview", "can't be combined"},
		"bad config":       {"", zipText(t, "index.html", "home", "troy.toml", "[[redirects]\n"), 400, "invalid", "", "troy.toml"},
		"not live":         {"?expect_live=" + first.String(), zipText(t, "index.html", "home"), 412, "precondition_failed", "expect_live", ""},
	} {
		if e := put(c.query, c.body).refused(t, c.status, c.code, c.field, c.says); strings.Contains(e.Message, spools) {
			t.Errorf("%s: the error shows a path of the server: %s", what, e.Message)
		}
	}
	if now := w.count("SELECT count(*) FROM releases"); now != before+1 { // of the last case
		t.Errorf("%d releases were made by archives that were refused", now-before)
	}
	put("?allow_secret=id_rsa", zipText(t, "index.html", "home", "id_rsa", key)).into(t, 202, nil)
	put("", zipText(t, "index.html", "home"), as(w.token(credentials.Viewer))).refused(t, 403, "forbidden", "", "deployer is needed")

	left, err := os.ReadDir(spools)
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// TestArchiveOfPreview shows an archive as a preview.
func TestArchiveOfPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	var d deployment
	w.send("PUT", archiveOf(p)+"?preview=spring", zipText(t, "index.html", "home"), octets).into(t, 202, &d)
	if d.Kind != "preview" {
		t.Errorf("%+v", d)
	}
}

// mostSenders is how many archives a process receives at a time.
const mostSenders = 4

// TestArchivesTakeTurns fills the slots with senders that pause.
func TestArchivesTakeTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.BodyIdle = time.Minute })
	p := w.create("Blog")
	content := zipText(t, "index.html", "home")
	var senders []*io.PipeWriter
	done, reads := make(chan int, mostSenders), make(chan struct{}, mostSenders)
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	t.Cleanup(client.CloseIdleConnections)
	trace := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { reads <- struct{}{} }})
	for range mostSenders {
		reader, writer := io.Pipe()
		senders = append(senders, writer)
		r, err := http.NewRequestWithContext(trace, "PUT", w.server.URL+archiveOf(p), reader)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+w.admin)
		r.Header.Set("Expect", "100-continue") // the server asks for the body once it has a slot
		go func() {
			resp, err := client.Do(r)
			if err != nil {
				done <- 0
				return
			}
			resp.Body.Close()
			done <- resp.StatusCode
		}()
		<-reads
	}
	w.send("PUT", archiveOf(p), content, octets).refused(t, 503, "unavailable", "", "archives are being received")
	for _, s := range senders {
		if _, err := io.WriteString(s, content); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	for range senders {
		if status := <-done; status != 202 {
			t.Errorf("status %d of a sender that paused, want 202", status)
		}
	}
}
