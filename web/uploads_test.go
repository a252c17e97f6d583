package web_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web"
)

// slowly reads a byte each twenty seconds.
type slowly struct{ r io.Reader }

func (s slowly) Read(p []byte) (int, error) {
	<-time.After(20 * time.Second)
	return s.r.Read(p)
}

// TestSlowUploadsTouchTheirRelease reads a body that takes five minutes.
func TestSlowUploadsTouchTheirRelease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		touched := 0
		body := slowly{iotest.OneByteReader(strings.NewReader("fifteen letters"))}
		got, err := io.ReadAll(web.TouchingReader(body, func() { touched++ }))
		if err != nil || string(got) != "fifteen letters" || touched != 3 {
			t.Errorf("read %q, %v, touched %d times; want 3", got, err, touched)
		}
	})
}

// signing is a store that signs uploads.
type signing struct {
	cloud.Store
	expires time.Time
}

func (s signing) Sign(_ context.Context, _ site.Tree, files []site.File) ([]cloud.SignedPut, time.Time, error) {
	requests := make([]cloud.SignedPut, len(files))
	for i := range requests {
		requests[i].URL = "https://store.example.com/put"
	}
	return requests, s.expires, nil
}

// TestSignedUploadsTouchTheirRelease signs an upload: its release is not idle
// before the signature expires, whatever Troy itself gets meanwhile.
func TestSignedUploadsTouchTheirRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.deps.Store = signing{w.deps.Store, time.Now().Add(time.Hour)} })
	p := w.create("Blog")
	r := w.begin(p, nil, file("a", "12"), file("b", "34"))
	w.send("POST", fmt.Sprintf("%s/%s/uploads", releases(p), r.ID), map[string]any{"files": []string{file("a", "12").SHA256.String()}}).into(t, 200, nil)
	w.second().upload(p, r, "34").into(t, 204, nil)
	if w.count("SELECT count(*) FROM releases WHERE touched_at BETWEEN now() + interval '55 minutes' AND now() + interval '1 hour'") != 1 {
		t.Errorf("the release is touched until %s", w.text("SELECT touched_at::text FROM releases"))
	}
}

// TestArchivesTouchTheirRelease stores an archive: its release is touched when its
// files are opened.
func TestArchivesTouchTheirRelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.exec("CREATE FUNCTION begun_before() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.touched_at := now() - interval ''1 hour''; RETURN NEW; END'")
	w.exec("CREATE TRIGGER begun_before BEFORE INSERT ON releases FOR EACH ROW EXECUTE FUNCTION begun_before()")
	w.send("PUT", archiveOf(p), zipText(t, "index.html", "home"), octets).into(t, 202, nil)
	if w.count("SELECT count(*) FROM releases WHERE touched_at > now() - interval '30 minutes'") != 1 {
		t.Error("the release is not touched")
	}
}

// TestUploadsWithoutTouch uploads files although the database does not record it.
func TestUploadsWithoutTouch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	r := w.begin(p, nil, file("a", "12"))
	w.exec("UPDATE releases SET touched_at = now() - interval '10 minutes'")
	w.exec("CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not now''; END'")
	w.exec("CREATE TRIGGER refused BEFORE UPDATE OF touched_at ON releases FOR EACH ROW EXECUTE FUNCTION refused()")
	w.second().upload(p, r, "12").into(t, 204, nil)
	if log := w.log.String(); !strings.Contains(log, "could not record that files are sent to a release") || !strings.Contains(log, "not now") {
		t.Errorf("the log has %s", log)
	}
}
