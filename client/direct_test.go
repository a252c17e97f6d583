package client

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// Files go directly to the store, without Troy's token. Files that the store
// refuses go through the server, and no byte is counted twice.
func TestUploadStraightToTheStore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status       int // the store's
		straight     bool
		mostAttempts int64
	}{
		"taken":       {200, true, 1000},
		"there":       {412, true, 1000},
		"refused":     {403, false, 40},
		"failing":     {500, false, 40},
		"redirecting": {302, false, 40},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			contents := map[string]string{"empty": "", "large": strings.Repeat("l", 5*smallFile)}
			for i := range 450 {
				contents[fmt.Sprintf("f/%d", i)] = fmt.Sprint("content ", i)
			}
			release, open := files(contents)
			release.Direct = true
			var mu sync.Mutex
			got := map[string]string{}
			take := func(r *http.Request) {
				b, err := io.ReadAll(r.Body)
				mu.Lock()
				defer mu.Unlock()
				if err != nil || r.ContentLength != int64(len(b)) {
					t.Errorf("%v, %d of %d bytes", err, len(b), r.ContentLength)
				}
				got[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]] = string(b)
			}
			var attempts, signs, byServer atomic.Int64
			store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				attempts.Add(1)
				if r.Header.Get("Authorization") != "" || r.Header.Get("Content-Type") != "text/x" || r.URL.Query().Get("signature") != "s" {
					t.Errorf("the store got %s with %v", r.URL, r.Header)
				}
				if test.straight {
					take(r)
				}
				w.Header().Set("Location", "http://127.0.0.1:1/")
				w.WriteHeader(test.status)
			}))
			t.Cleanup(store.Close)
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut {
					byServer.Add(1)
					take(r)
					w.WriteHeader(http.StatusNoContent)
					return
				}
				signs.Add(1)
				var in struct{ Files []site.Digest }
				if err := json.NewDecoder(r.Body).Decode(&in); err != nil || len(in.Files) > 500 {
					refuse(w, 400, troy.Invalid, fmt.Sprint(err, len(in.Files)))
					return
				}
				var out struct {
					Uploads []signedPut `json:"uploads"`
				}
				for _, digest := range in.Files {
					out.Uploads = append(out.Uploads, signedPut{digest, store.URL + "/" + digest.String() + "?signature=s", map[string]string{"Content-Type": "text/x"}})
				}
				_ = json.NewEncoder(w).Encode(out)
			})
			var sent, bytes atomic.Int64
			if err := c.Upload(t.Context(), "blog", release, Upload{Open: open, Parallel: 8, Progress: func(f int, b int64) { sent.Add(int64(f)); bytes.Add(b) }}); err != nil {
				t.Fatal(err)
			}
			var total int64
			for _, f := range release.Missing {
				total += f.Size
				if got[f.SHA256.String()] != contents[f.Path] {
					t.Errorf("%s did not arrive", f.Path)
				}
			}
			if sent.Load() != int64(len(contents)) || bytes.Load() != total {
				t.Errorf("progress reported %d files and %d bytes, want %d and %d", sent.Load(), bytes.Load(), len(contents), total)
			}
			if n := byServer.Load(); test.straight != (n == 0) || attempts.Load() > test.mostAttempts {
				t.Errorf("%d by way of the server, %d attempts at the store", n, attempts.Load())
			}
			if n := signs.Load(); test.straight && (n < 3 || n > 30) {
				t.Errorf("%d calls signed %d files", n, len(contents))
			}
		})
	}
}

// The next uploads are signed while the files of the last ones are sent.
func TestUploadSignsAhead(t *testing.T) {
	t.Parallel()
	contents := map[string]string{}
	for i := range 2*signBatch + 50 {
		contents[fmt.Sprintf("f/%d", i)] = fmt.Sprint("content ", i)
	}
	release, open := files(contents)
	release.Direct = true
	var puts, signs atomic.Int64
	second := make(chan struct{})
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if puts.Add(1) > signBatch-20 {
			select {
			case <-second:
			case <-time.After(10 * time.Second):
				t.Error("the second list was not signed while the first one was sent")
				w.WriteHeader(http.StatusForbidden)
			}
		}
	}))
	t.Cleanup(store.Close)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Files []site.Digest }
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		if signs.Add(1) == 2 {
			close(second)
		}
		var out struct {
			Uploads []signedPut `json:"uploads"`
		}
		for _, digest := range in.Files {
			out.Uploads = append(out.Uploads, signedPut{digest, store.URL + "/" + digest.String(), nil})
		}
		_ = json.NewEncoder(w).Encode(out)
	})
	if err := c.Upload(t.Context(), "blog", release, Upload{Open: open, Parallel: 8}); err != nil {
		t.Fatal(err)
	}
	if puts.Load() != int64(len(contents)) || signs.Load() != 3 {
		t.Errorf("%d files were sent and %d lists signed, expected %d and 3", puts.Load(), signs.Load(), len(contents))
	}
}
