package awscloud_test

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
)

// between is a proxy to S3 that calls before or after one of the requests, and
// can lose that request or its answer.
type between struct {
	url string

	mu     sync.Mutex
	n      int // requests since reset
	at     int // the request to disturb, from 1; 0 for none
	before func() bool
	after  func() bool
}

func newBetween(t *testing.T, to string) *between {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	b := &between{}
	proxy := httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Host = p.In.Host
	}}
	lost := func(w http.ResponseWriter) {
		http.Error(w, `<Error><Code>AccessDenied</Code><Message>lost by the test</Message></Error>`, http.StatusForbidden)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.n++
		hit := b.n == b.at
		before, after := b.before, b.after
		b.mu.Unlock()
		if hit && before != nil && !before() {
			lost(w)
			return
		}
		if hit && after != nil {
			recorded := httptest.NewRecorder()
			proxy.ServeHTTP(recorded, r)
			if !after() {
				lost(w)
				return
			}
			for name, values := range recorded.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(recorded.Code)
			_, _ = w.Write(recorded.Body.Bytes())
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

// disturb sets what happens at the n-th request from now.
func (b *between) disturb(n int, before, after func() bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n, b.at, b.before, b.after = 0, n, before, after
}

func (b *between) requests() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

// upload is a release whose page another tree may have.
type upload struct {
	t     *testing.T
	store cloud.Store
	tree  site.Tree
	text  map[string]string
}

func (u upload) files() (files []site.File) {
	for path, text := range u.text {
		files = append(files, site.File{Path: path, Size: int64(len(text)), SHA256: sha256.Sum256([]byte(text))})
	}
	return files
}

func (u upload) run() {
	u.t.Helper()
	missing, err := u.store.Begin(u.t.Context(), u.tree, site.Manifest{Files: u.files()})
	if err != nil {
		u.t.Fatalf("Begin: %v", err)
	}
	for _, f := range missing {
		if err := u.store.Put(u.t.Context(), u.tree, f, strings.NewReader(u.text[f.Path])); err != nil {
			u.t.Fatalf("Put: %v", err)
		}
	}
	if err := u.store.Seal(u.t.Context(), u.tree, nil, nil); err != nil {
		u.t.Fatalf("Seal: %v", err)
	}
}

func (u upload) check() {
	u.t.Helper()
	for _, f := range u.files() {
		if got, err := u.store.Read(u.t.Context(), u.tree, f); err != nil || string(got) != u.text[f.Path] {
			u.t.Errorf("%s is %q, %v; want %q", f.Path, got, err, u.text[f.Path])
		}
	}
}

// TestRemoveBesideUpload runs a whole removal before each request of an upload
// that needs the removed tree's files, and a whole upload before each request
// of a removal.
func TestRemoveBesideUpload(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for _, inside := range []string{"removal inside an upload", "upload inside a removal"} {
		t.Run(inside, func(t *testing.T) {
			t.Parallel()
			gate := newBetween(t, server.URL)
			stores := newStores(t, server, server.URL, gate.url)
			plain, gated := stores[0], stores[1]
			for n := 1; ; n++ {
				pipeline := uuid.New()
				tree := func() site.Tree {
					return site.Tree{Pipeline: pipeline, Deployment: uuid.Must(uuid.NewV7())}
				}
				old := upload{t, plain, tree(), map[string]string{"about.html": "shared", "old.txt": "old"}}
				old.run()
				next := upload{t, plain, tree(), map[string]string{"page.html": "shared", "new.txt": "new"}}
				remove := func(store cloud.Store) {
					if err := store.Remove(t.Context(), pipeline, old.tree.Deployment); err != nil {
						t.Errorf("Remove: %v", err)
					}
				}
				ran := false
				if inside == "removal inside an upload" {
					gate.disturb(n, func() bool { ran = true; remove(plain); return true }, nil)
					next.store = gated
					next.run()
				} else {
					gate.disturb(n, func() bool { ran = true; next.run(); return true }, nil)
					remove(gated)
				}
				if !ran {
					if n < 8 {
						t.Fatalf("only %d requests were disturbed", n-1)
					}
					return
				}
				next.check()
				if trees, err := plain.Trees(t.Context(), pipeline); err != nil || len(trees) != 1 || trees[0] != next.tree.Deployment {
					t.Errorf("request %d: the trees are %v, %v", n, trees, err)
				}
				if t.Failed() {
					t.Fatalf("at request %d", n)
				}
			}
		})
	}
}

// TestRemoveInterrupted loses each request of a removal before and after its
// effect. The next Remove ends what the first began, and the open tree has its
// files at every moment.
func TestRemoveInterrupted(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	gate := newBetween(t, server.URL)
	stores := newStores(t, server, server.URL, gate.url)
	plain, gated := stores[0], stores[1]
	for _, lose := range []string{"before", "after"} {
		for n := 1; ; n++ {
			pipeline := uuid.New()
			tree := func() site.Tree {
				return site.Tree{Pipeline: pipeline, Deployment: uuid.Must(uuid.NewV7())}
			}
			old := upload{t, plain, tree(), map[string]string{"about.html": "shared", "old.txt": "old"}}
			old.run()
			open := upload{t, plain, tree(), map[string]string{"page.html": "shared"}}
			if missing, err := plain.Begin(t.Context(), open.tree, site.Manifest{Files: open.files()}); err != nil || len(missing) != 0 {
				t.Fatalf("missing are %v, %v", missing, err)
			}
			never := func() bool { return false }
			if lose == "before" {
				gate.disturb(n, never, nil)
			} else {
				gate.disturb(n, nil, never)
			}
			err := gated.Remove(t.Context(), pipeline, old.tree.Deployment)
			if gate.requests() < n {
				if err != nil || n < 8 {
					t.Fatalf("request %d: %v", n, err)
				}
				break
			}
			open.check()
			trees, listErr := plain.Trees(t.Context(), pipeline)
			if listErr != nil || err != nil && lose == "before" && len(trees) != 2 {
				t.Fatalf("%s request %d: the trees are %v, %v; want both until the removal has ended", lose, n, trees, listErr)
			}
			if err := plain.Remove(t.Context(), pipeline, old.tree.Deployment); err != nil {
				t.Fatal(err)
			}
			if err := plain.Seal(t.Context(), open.tree, nil, nil); err != nil {
				t.Fatalf("%s request %d: Seal: %v", lose, n, err)
			}
			open.check()
			if trees, err := plain.Trees(t.Context(), pipeline); err != nil || len(trees) != 1 || trees[0] != open.tree.Deployment {
				t.Fatalf("%s request %d: the trees are %v, %v", lose, n, trees, err)
			}
		}
	}
}
