package web_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client" //nolint:depguard // the test releases with the real client
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/site"
)

// breaker is a server of the API that breaks every n-th connection's request.
type breaker struct {
	next  http.Handler
	every int64
	how   string
	count atomic.Int64
	after func(n int64) // called with the number of each request
}

func (c *breaker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := c.count.Add(1)
	if c.after != nil {
		c.after(n)
	}
	if c.every == 0 || n%c.every != 0 {
		c.next.ServeHTTP(w, r)
		return
	}
	switch c.how {
	case "before":
	case "inside":
		// The sender sees the break while the server still handles the request.
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(r.Body, max(1, r.ContentLength/2)), endsEarly{}), r.Body}
		c.next.ServeHTTP(httptest.NewRecorder(), r)
	case "after":
		c.next.ServeHTTP(httptest.NewRecorder(), r)
	}
	panic(http.ErrAbortHandler)
}

type endsEarly struct{}

func (endsEarly) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// through returns a client of the server behind a handler.
func (w *world) through(wrap func(http.Handler) http.Handler, token string) *client.Client {
	w.t.Helper()
	server := httptest.NewServer(wrap(w.server.Config.Handler))
	w.t.Cleanup(server.Close)
	c, err := client.New(server.URL, token)
	if err != nil {
		w.t.Fatal(err)
	}
	c.Attempts = 20
	w.t.Cleanup(c.HTTP.CloseIdleConnections)
	return c
}

func siteOf(n int, word string) map[string]string {
	contents := map[string]string{"index.html": word, "empty.txt": ""}
	for i := range n {
		contents[fmt.Sprintf("pages/%d.html", i)] = strings.Repeat(fmt.Sprint(word, " ", i, " "), i%50+1)
	}
	return contents
}

// send releases contents as the CLI does.
func send(t *testing.T, c *client.Client, key string, contents map[string]string) (client.Release, error) {
	t.Helper()
	n := client.NewRelease{}
	for path, content := range contents {
		n.Files = append(n.Files, file(path, content))
	}
	r, err := c.BeginRelease(t.Context(), "blog", key, n)
	if err != nil {
		return r, err
	}
	if err := c.Upload(t.Context(), "blog", r, client.Upload{Open: func(path string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(contents[path])), nil
	}}); err != nil {
		return r, err
	}
	_, err = c.FinalizeRelease(t.Context(), "blog", r.ID, client.Finalize{})
	return r, err
}

// holds fails the test unless the release's tree has each byte of contents.
func (w *world) holds(r client.Release, contents map[string]string) {
	w.t.Helper()
	tree := site.Tree{Pipeline: r.PipelineID, Deployment: r.ID}
	for path, content := range contents {
		got, err := w.deps.Store.Read(w.t.Context(), tree, file(path, content))
		if err != nil || string(got) != content {
			w.t.Fatalf("%s: %d bytes, %v", path, len(got), err)
		}
	}
}

// Wherever the n-th request breaks, the release ends with each byte right, and
// no stored file is stored again.
func TestAReleaseSurvivesBreaks(t *testing.T) {
	t.Parallel()
	store := &gated{times: map[site.Digest]int{}}
	w := newWorld(t, func(w *world) { store.Store, w.deps.Store = w.deps.Store, store })
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	for _, how := range []string{"before", "inside", "after"} {
		for every := int64(3); every <= 7; every++ {
			contents := siteOf(1500, fmt.Sprint(how, every))
			c := w.through(func(next http.Handler) http.Handler { return &breaker{next: next, every: every, how: how} }, w.admin)
			r, err := send(t, c, fmt.Sprint(how, every), contents)
			if err != nil {
				t.Fatalf("%s %d: %v", how, every, err)
			}
			w.holds(r, contents)
			if n := w.count("SELECT count(*) FROM deployments WHERE id = $1", r.ID); n != 1 {
				t.Errorf("%s %d: %d deployments", how, every, n)
			}
		}
	}
	for digest, n := range store.times {
		if n != 1 {
			t.Errorf("%s was stored %d times", digest, n)
		}
	}
}

// With a token that expires half-way the upload ends; with another it goes on.
func TestATokenExpiresDuringARelease(t *testing.T) {
	t.Parallel()
	store := &gated{times: map[site.Digest]int{}}
	w := newWorld(t, func(w *world) { store.Store, w.deps.Store = w.deps.Store, store })
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	contents := siteOf(3000, "token")
	token := w.token(credentials.Deployer)
	c := w.through(func(next http.Handler) http.Handler {
		return &breaker{next: next, after: func(n int64) {
			if n == 4 {
				w.exec("UPDATE tokens SET expires_at = now() - interval '1 second' WHERE role = 'deployer'")
			}
		}}
	}, token)
	if _, err := send(t, c, "key", contents); troy.KindOf(err) != troy.Unauthenticated {
		t.Fatalf("with an expired token: %v", err)
	}
	sent := len(store.times)
	if sent == 0 || sent >= len(contents) {
		t.Errorf("%d files were sent before, want a part", sent)
	}
	c.Token = w.token(credentials.Deployer)
	r, err := send(t, c, "key", contents)
	if err != nil {
		t.Fatal(err)
	}
	w.holds(r, contents)
	for digest, n := range store.times {
		if n != 1 {
			t.Errorf("%s was stored %d times", digest, n)
		}
	}
}

func TestTwoReleasesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	var senders sync.WaitGroup
	for i := range 2 {
		senders.Go(func() {
			contents := siteOf(1200, "same")
			contents["index.html"] = fmt.Sprint("home ", i)
			r, err := send(t, w.through(func(next http.Handler) http.Handler { return next }, w.admin), fmt.Sprint(i), contents)
			if err != nil {
				t.Error(err)
				return
			}
			w.holds(r, contents)
		})
	}
	senders.Wait()
}
