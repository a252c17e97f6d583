package awscloud_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/cloud/cloudtest"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
)

// newStore opens a store on two new buckets of a server.
func newStore(t *testing.T, server *s3test.Server) *awscloud.Store {
	t.Helper()
	return newStores(t, server, server.URL)[0]
}

// newStores opens stores on the same two new buckets at several addresses.
func newStores(t *testing.T, server *s3test.Server, endpoints ...string) (stores []*awscloud.Store) {
	t.Helper()
	id := strings.ReplaceAll(uuid.NewString(), "-", "")[:20]
	cfg := awscloud.Config{
		Config: awsapi.Config{Region: "us-east-1"}, SitesBucket: server.Bucket(t, "sites-"+id), WorkBucket: server.Bucket(t, "work-"+id),
	}
	for _, endpoint := range endpoints {
		cfg.S3Endpoint = endpoint
		loaded, err := awsapi.Load(t.Context(), cfg.Config)
		if err != nil {
			t.Fatal(err)
		}
		loaded.Credentials = credentials.NewStaticCredentialsProvider(s3test.Key, s3test.Secret, "")
		stores = append(stores, awscloud.NewStore(loaded, cfg, site.Limits{}))
	}
	return stores
}

func TestStoreConformance(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	t.Run("suite", func(t *testing.T) {
		cloudtest.RunStore(t, func(t *testing.T) cloudtest.Env {
			return cloudtest.Env{Cloud: cloud.Cloud{Store: newStore(t, server)}}
		})
	})
}

// A sealed tree has every file where CloudFront requests it, and pages also
// under their clean URLs, whether their bytes were sent or copied.
func TestSealedKeys(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	id := strings.ReplaceAll(uuid.NewString(), "-", "")[:20]
	sites := server.Bucket(t, "sites-"+id)
	cfg := awscloud.Config{Config: awsapi.Config{Region: "us-east-1", S3Endpoint: server.URL}, SitesBucket: sites, WorkBucket: server.Bucket(t, "work-"+id)}
	loaded, err := awsapi.Load(t.Context(), cfg.Config)
	if err != nil {
		t.Fatal(err)
	}
	loaded.Credentials = credentials.NewStaticCredentialsProvider(s3test.Key, s3test.Secret, "")
	store := awscloud.NewStore(loaded, cfg, site.Limits{})
	content := map[string]string{
		"index.html": "home", "about.html": "about", "copy/about.html": "about", "team/index.html": "team", "team.html": "old team",
		"LICENSE": "free", "app.js": "js", "contact.html": "contact",
		"_headers": "Basic-Auth: a:b", "docs/_headers": "a document",
	}
	// For /_headers the function requests /_headers/index.html, which does not
	// exist.
	want := []string{
		"LICENSE/index.html", "_headers", "about.html", "about/index.html", "app.js", "contact.html", "contact/index.html", "copy/about.html", "copy/about/index.html",
		"docs/_headers/index.html", "index.html", "team.html", "team/index.html",
	}
	var files []site.File
	for path, text := range content {
		files = append(files, site.File{Path: path, Size: int64(len(text)), SHA256: sha256.Sum256([]byte(text))})
	}
	pipeline := uuid.New()
	for _, c := range []struct {
		name string
		sent int
	}{{"sent", 9}, {"copied", 0}} {
		tree := site.Tree{Pipeline: pipeline, Deployment: uuid.Must(uuid.NewV7())}
		missing, err := store.Begin(t.Context(), tree, site.Manifest{Files: files})
		if err != nil || len(missing) != c.sent {
			t.Fatalf("%s: %d files are missing, %v", c.name, len(missing), err)
		}
		for _, f := range missing {
			if err := store.Put(t.Context(), tree, f, strings.NewReader(content[f.Path])); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the second time there is nothing left to do
			if err := store.Seal(t.Context(), tree, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, key := range server.Keys(t, sites) {
			if below, ok := strings.CutPrefix(key, "sites/"+pipeline.String()+"/"+tree.Deployment.String()+"/"); ok {
				got = append(got, below)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the keys are\n%q, want\n%q", c.name, got, want)
		}
		key := "sites/" + pipeline.String() + "/" + tree.Deployment.String() + "/"
		for at, text := range map[string]string{"about/index.html": "about", "team/index.html": "team", "LICENSE/index.html": "free"} {
			if b, _ := server.Read(sites, key+at); string(b) != text {
				t.Errorf("%s: %s has %q, want %q", c.name, at, b, text)
			}
		}
	}
}

// A Seal does not list again the tree that Begin found whole just now.
func TestSealAfterBegin(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{})
	tree := site.Tree{Pipeline: uuid.New(), Deployment: uuid.Must(uuid.NewV7())}
	f := site.File{Path: "index.html", Size: 4, SHA256: sha256.Sum256([]byte("home"))}
	begin := func(want int) {
		t.Helper()
		if missing, err := a.cloud.Store.Begin(t.Context(), tree, site.Manifest{Files: []site.File{f}}); err != nil || len(missing) != want {
			t.Fatalf("Begin: missing is %v, %v; want %d", missing, err, want)
		}
	}
	seal := func() (lists int) {
		t.Helper()
		before := len(a.double.Calls())
		if err := a.cloud.Store.Seal(t.Context(), tree, nil, nil); err != nil {
			t.Fatal(err)
		}
		for _, call := range a.double.Calls()[before:] {
			if call.String() == "s3.ListObjects" {
				lists++
			}
		}
		return lists
	}
	begin(1)
	begin(1) // what it lists is not whole
	if err := a.cloud.Store.Put(t.Context(), tree, f, strings.NewReader("home")); err != nil {
		t.Fatal(err)
	}
	if n := seal(); n == 0 {
		t.Error("the first Seal listed nothing")
	}
	begin(0)
	if n := seal(); n != 0 {
		t.Errorf("the Seal after Begin made %d lists", n)
	}
	if n := seal(); n == 0 {
		t.Error("the last Seal listed nothing")
	}
	begin(0)
	if err := a.cloud.Store.Remove(t.Context(), tree.Pipeline, tree.Deployment); err != nil {
		t.Fatal(err)
	}
	begin(1)
	if err := a.cloud.Store.Seal(t.Context(), tree, nil, nil); err == nil {
		t.Error("Seal took a tree that had been removed for whole")
	}
}

// A signed upload accepts the file that it was signed for, at its key, once,
// and nothing else.
func TestSignedUploads(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	store := newStore(t, server)
	tree := site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()}
	file := func(path, content string) site.File {
		return site.File{Path: path, Size: int64(len(content)), SHA256: sha256.Sum256([]byte(content))}
	}
	files := []site.File{file("a/page.html", "hello"), file("empty.txt", "")}
	if _, err := store.Begin(t.Context(), tree, site.Manifest{Files: files}); err != nil {
		t.Fatal(err)
	}
	signed, expires, err := store.Sign(t.Context(), tree, files)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(expires); left > 15*time.Minute || left < 14*time.Minute {
		t.Errorf("good for %s", left)
	}
	put := func(s cloud.SignedPut, content string, change func(*http.Request)) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL, strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = s.Header.Clone()
		if change != nil {
			change(req)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	refused := func(what string, status int) {
		t.Helper()
		if status < 400 {
			t.Errorf("%s: %d", what, status)
		}
	}
	refused("other bytes of the same length", put(signed[0], "hallo", nil))
	refused("more bytes", put(signed[0], "hello!", nil))
	refused("fewer bytes", put(signed[0], "hell", nil))
	refused("another type", put(signed[0], "hello", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }))
	refused("another cache", put(signed[0], "hello", func(r *http.Request) { r.Header.Set("Cache-Control", "no-store") }))
	refused("no condition", put(signed[0], "hello", func(r *http.Request) { r.Header.Del("If-None-Match") }))
	refused("another key", put(signed[0], "hello", func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "page", "other", 1) }))
	if missing, err := store.Begin(t.Context(), tree, site.Manifest{Files: files}); err != nil || len(missing) != 2 {
		t.Fatalf("missing is %v, %v", missing, err)
	}
	for i, content := range []string{"hello", ""} {
		if status := put(signed[i], content, nil); status != http.StatusOK {
			t.Errorf("the file: %d", status)
		}
		if status := put(signed[i], content, nil); status != http.StatusPreconditionFailed {
			t.Errorf("the file again: %d", status)
		}
	}
	if missing, err := store.Begin(t.Context(), tree, site.Manifest{Files: files}); err != nil || len(missing) != 0 {
		t.Errorf("missing is %v, %v", missing, err)
	}
}

// Every upload of a list is signed as the SDK signs it, which signs the first.
func TestSignedAlike(t *testing.T) {
	t.Parallel()
	store := newStore(t, s3test.Start(t))
	tree := site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()}
	var m site.Manifest
	for i, p := range []string{"about us/+ü.html", "index.html", "a.js", "b.json.gz", "empty", "large.iso", "x(1)!'~*.css"} {
		m.Files = append(m.Files, site.File{Path: p, Size: int64(i-1) << 21, SHA256: sha256.Sum256([]byte(p))})
	}
	m.Files[0].Size = 3
	if _, err := store.Begin(t.Context(), tree, m); err != nil {
		t.Fatal(err)
	}
	sign := func(files ...site.File) (all []string) {
		t.Helper()
		signed, _, err := store.Sign(t.Context(), tree, files)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range signed {
			all = append(all, fmt.Sprint(s.URL, s.Header))
		}
		return all
	}
	for range 5 { // both have to be of the same second
		one := sign(m.Files[1])
		together := sign(m.Files...)
		for _, f := range append(m.Files[2:], m.Files[0]) {
			one = append(one, sign(f)...)
		}
		if again := sign(m.Files...); !slices.Equal(again, together) {
			continue
		}
		one = append(one[len(one)-1:], one[:len(one)-1]...)
		for i := range one {
			if one[i] != together[i] {
				t.Errorf("%s is signed as\n%s, by the SDK as\n%s", m.Files[i].Path, together[i], one[i])
			}
		}
		return
	}
	t.Fatal("no five signatures in one second")
}
