package client

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

// TestUploadOutlivesARestart stops the server during an upload, with all
// senders at work, until the client reports that it is away.
func TestUploadOutlivesARestart(t *testing.T) {
	t.Parallel()
	contents := map[string]string{}
	for i := range 400 {
		contents[fmt.Sprint(i)] = strings.Repeat(fmt.Sprintln("content", i), 1+i%2*6000)
	}
	release, open := files(contents)
	var got sync.Map
	var taken atomic.Int64
	stop := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if taken.Add(1) == 100 {
			close(stop)
		}
		got.Store(fmt.Sprintf("%x", sha256.Sum256(b)), true)
		w.WriteHeader(http.StatusNoContent)
	})
	first := httptest.NewServer(handler)
	address := first.Listener.Addr().String()
	c := clientOf(t, first.URL)
	c.patience = time.Minute
	var told []error
	away := make(chan struct{})
	c.Away = func(err error) {
		if told = append(told, err); len(told) == 1 {
			close(away)
		}
	}
	restarted := make(chan error, 1)
	go func() {
		<-stop
		first.CloseClientConnections()
		first.Close()
		<-away
		listener, err := net.Listen("tcp", address)
		if err == nil {
			second := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
			t.Cleanup(func() { _ = second.Close() })
			go func() { _ = second.Serve(listener) }()
		}
		restarted <- err
	}()
	var sent, bytes atomic.Int64
	err := c.Upload(t.Context(), "blog", release, Upload{Open: open, Parallel: 32, Progress: func(f int, b int64) {
		sent.Add(int64(f))
		bytes.Add(b)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-restarted; err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, f := range release.Missing {
		total += f.Size
		if _, ok := got.Load(f.SHA256.String()); !ok {
			t.Errorf("%s did not arrive", f.Path)
		}
	}
	if sent.Load() != int64(len(contents)) || bytes.Load() != total {
		t.Errorf("progress reported %d files and %d bytes, want %d and %d", sent.Load(), bytes.Load(), len(contents), total)
	}
	if len(told) != 2 || told[0] == nil || told[1] != nil {
		t.Errorf("Away was called with %v, want a reason and then nil", told)
	}
}

func TestUploadGivesUpOnAServerThatStaysAway(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(discard())
	server.Close()
	c := clientOf(t, server.URL)
	c.patience = 30 * time.Millisecond
	release, open := many(100, 10)
	began := time.Now()
	err := c.Upload(t.Context(), "blog", release, Upload{Open: open, Parallel: 32})
	if troy.KindOf(err) != troy.Unavailable || !strings.Contains(err.Error(), "the connection was refused; gave up after 30ms") {
		t.Errorf("it ended with: %v", err)
	}
	if time.Since(began) < c.patience {
		t.Errorf("it ended after %s, earlier than its patience", time.Since(began))
	}
}

// TestOneFileIsNoOutage refuses one file while others arrive, which does not
// mean that the server is away.
func TestOneFileIsNoOutage(t *testing.T) {
	t.Parallel()
	release, open := files(map[string]string{"good": "good", "bad": "bad"})
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if b, _ := io.ReadAll(r.Body); string(b) == "bad" {
			refuse(w, 503, troy.Unavailable, "the disk is full")
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	c.patience = 20 * time.Millisecond
	c.Away = func(err error) { t.Errorf("Away was called with %v", err) }
	err := c.Upload(t.Context(), "blog", release, Upload{Open: open})
	if troy.KindOf(err) != troy.Unavailable || !strings.HasPrefix(err.Error(), "upload bad: the disk is full") {
		t.Errorf("it ended with: %v", err)
	}
}

// TestReleasesAreNotDoubled loses the first responses at the beginning and at
// the end of a release.
func TestReleasesAreNotDoubled(t *testing.T) {
	t.Parallel()
	keys := map[string]int{}
	finalized := 0
	lost := map[string]bool{}
	id := uuid.New()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/finalize") {
			finalized++
		} else {
			keys[r.Header.Get("Idempotency-Key")]++
		}
		if !lost[r.URL.Path] {
			lost[r.URL.Path] = true
			panic(http.ErrAbortHandler)
		}
		_, _ = fmt.Fprintf(w, `{"id":%q,"state":"waiting"}`, id)
	})
	c.patience = time.Minute
	if _, err := c.BeginRelease(t.Context(), "blog", "key", NewRelease{}); err != nil || keys["key"] != 2 || len(keys) != 1 {
		t.Errorf("begin: %v, with the keys %v", err, keys)
	}
	if d, err := c.FinalizeRelease(t.Context(), "blog", id, Finalize{}); err != nil || d.ID != id || finalized != 2 {
		t.Errorf("finalize: %+v, %v, after %d calls", d, err, finalized)
	}
}

func TestReasonsAreWords(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"host not found: nowhere.example":             &net.DNSError{Err: "no such host", Name: "nowhere.example", IsNotFound: true},
		"the connection was closed before the answer": fmt.Errorf("read: %w", io.ErrUnexpectedEOF),
		"the request timed out":                       &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded},
		"can't look up troy.example at the moment":    &net.DNSError{Err: "server misbehaving", Name: "troy.example"},
		"x509: unknown":                               errors.New("x509: unknown"),
	} {
		if got := reason(err); got != want {
			t.Errorf("reason(%v) is %q, want %q", err, got, want)
		}
	}
}
