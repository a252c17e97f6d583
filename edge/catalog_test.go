package edge

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/site"
)

// noise returns n incompressible bytes, always the same.
func noise(n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return string(b)
}

func TestHosts(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.provision("blog.localhost").publish(map[string]string{"index.html": "the blog"})
	disabled := b.provision("disabled.localhost")
	disabled.publish(map[string]string{"index.html": "disabled"})
	disabled.setDistribution(false, disabled.host)
	moved := b.provision("moved.localhost")
	moved.publish(map[string]string{"index.html": "moved"})
	moved.setDistribution(true, "elsewhere.localhost")
	orphan := b.provision("orphan.localhost")
	if err := os.Remove(b.layout.Distribution(orphan.distribution)); err != nil {
		t.Fatal(err)
	}
	b.provision("fresh.localhost")
	b.provision("emptied.localhost").flip(uuid.Nil)

	for _, c := range []struct {
		host   string
		status int
		text   string
	}{
		{"blog.localhost", 200, "the blog"},
		{"blog.localhost:8081", 200, "the blog"},
		{"BLOG.Localhost", 200, "the blog"},
		{"blog.localhost.", 200, "the blog"},
		{"blog.localhost.:8081", 200, "the blog"},
		{"nobody.localhost", 404, "There is no site here"},
		{"localhost:8081", 404, "There is no site here"},
		{"x.blog.localhost", 404, "There is no site here"},
		{"disabled.localhost", 404, "There is no site here"},
		{"moved.localhost", 404, "There is no site here"},
		{"elsewhere.localhost", 404, "There is no site here"},
		{"orphan.localhost", 404, "There is no site here"},
		{"fresh.localhost", 404, "Nothing is live here yet"},
		{"emptied.localhost", 404, "Nothing is live here yet"},
		{"127.0.0.1:8081", 404, "There is no site here"},
		{"[::1]:8081", 404, "There is no site here"},
		{"[::1]", 404, "There is no site here"},
		{"", 404, "There is no site here"},
		{strings.Repeat("a.", 126) + "a", 404, "There is no site here"},
		{strings.Repeat("a", 300), 400, "This host name is malformed"},
		{"../distributions/x", 400, "This host name is malformed"},
		{"blog.localhost/..", 400, "This host name is malformed"},
		{"blog..localhost", 400, "This host name is malformed"},
		{"blog.localhost:port", 400, "This host name is malformed"},
		{"blog\x00.localhost", 400, "This host name is malformed"},
	} {
		res := b.get(c.host, "/")
		got := content(t, res)
		if res.StatusCode != c.status || !strings.Contains(got, c.text) {
			t.Errorf("host %.40q: %d, want %d with %q; answered %s", c.host, res.StatusCode, c.status, c.text, got)
		}
		if c.status != 200 {
			wantHeader(t, res, "Cache-Control", "no-store")
			wantHeader(t, res, deploymentHeader, "")
		}
	}
	if b.log.Len() > 0 {
		t.Errorf("none of this is a fault, but the log says %s", b.log)
	}
}

func TestBrokenStateIsAFault(t *testing.T) {
	t.Parallel()
	for name, breakIt := range map[string]func(h *hosted){
		"record is not JSON":   func(h *hosted) { h.replace(h.layout.Record(h.host), []byte("{")) },
		"record of another":    func(h *hosted) { h.replaceJSON(h.layout.Record(h.host), site.Record{Host: "x", Target: "y"}) },
		"target with a path":   func(h *hosted) { h.target("../" + h.distribution + ".distribution.internal") },
		"target elsewhere":     func(h *hosted) { h.target(h.distribution + ".example.com") },
		"target empty":         func(h *hosted) { h.target("") },
		"pointer is too large": func(h *hosted) { h.replace(h.layout.Pointer(h.distribution), bytes.Repeat([]byte(" "), maxWatched+1)) },
		"pointer is a folder": func(h *hosted) {
			_ = os.Remove(h.layout.Pointer(h.distribution))
			_ = os.Mkdir(h.layout.Pointer(h.distribution), 0o700)
		},
		"tree is missing": func(h *hosted) { h.flip(uuid.New()) },
		"tree is garbage": func(h *hosted) {
			d := uuid.New()
			h.replace(h.layout.Tree(site.Tree{Pipeline: h.pipeline, Deployment: d}), []byte("garbage"))
			h.flip(d)
		},
		"blob is missing": func(h *hosted) { _ = os.RemoveAll(filepath.Join(h.layout.Site(h.pipeline), "blobs")) },
		"blob is cut off": func(h *hosted) { h.replace(h.blob("home"), []byte("ho")) },
		"blob is a link":  func(h *hosted) { _ = os.Remove(h.blob("home")); _ = os.Symlink("/etc", h.blob("home")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newBox(t).provision("site.localhost")
			h.publish(map[string]string{"index.html": "home"})
			breakIt(h)
			res := h.fetch("/")
			wantStatus(t, res, 500)
			wantHeader(t, res, "Cache-Control", "no-store")
			wantHeader(t, res, "Etag", "")
			if id := res.Header.Get("X-Request-Id"); id == "" || !strings.Contains(h.log.String(), id) {
				t.Errorf("the log does not have the request %q: %s", id, h.log)
			}
			if got := content(t, res); strings.Contains(got, h.layout.Root) || strings.Contains(got, h.pipeline.String()) {
				t.Errorf("the page reveals details: %s", got)
			}
			_ = os.Remove(h.layout.Pointer(h.distribution))
			h.publish(map[string]string{"index.html": "mended"})
			h.target(site.DistributionDomain(h.distribution))
			if res := h.fetch("/"); content(t, res) != "mended" {
				t.Errorf("after the repair: %d", res.StatusCode)
			}
		})
	}
}

func (h *hosted) target(target string) {
	h.replaceJSON(h.layout.Record(h.host), site.Record{Host: h.host, Target: target})
}

func (h *hosted) blob(content string) string {
	digest, err := site.ParseDigest(strings.Trim(tag(content), `"`))
	if err != nil {
		h.t.Fatal(err)
	}
	return h.layout.Blob(h.pipeline, digest)
}

func TestASiteNeverSeesAnothersFiles(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	one, two := b.provision("one.localhost"), b.provision("two.localhost")
	secret := strings.Repeat("one's secret ", 200)
	one.publish(map[string]string{"index.html": "one", "secret.txt": secret})
	two.publish(map[string]string{"index.html": "two"})
	for range 2 { // the second request is answered from memory
		for _, encoding := range []string{"identity", "gzip"} {
			wantStatus(t, one.fetch("/secret.txt", "Accept-Encoding", encoding), 200)
			wantStatus(t, two.fetch("/secret.txt", "Accept-Encoding", encoding), 404)
		}
		if got := content(t, one.fetch("/")) + content(t, two.fetch("/")); got != "onetwo" {
			t.Errorf("the pages are %q", got)
		}
	}
	// A manifest with a digest gets the bytes of its own pipeline or none, even
	// if another pipeline's are in memory.
	two.publish(map[string]string{"index.html": "two", "secret.txt": secret})
	if err := os.Remove(two.blob(secret)); err != nil {
		t.Fatal(err)
	}
	for _, encoding := range []string{"identity", "gzip"} {
		res := two.fetch("/secret.txt", "Accept-Encoding", encoding)
		wantStatus(t, res, 500)
		if got := content(t, res); strings.Contains(got, "secret") {
			t.Errorf("the other site answered %q", got)
		}
	}
}

func TestAFlipHoldsForTheNextRequest(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("flips.localhost")
	// Pointers of equal size, written within one tick of the file system's
	// clock, on reused inodes.
	var deployments [3]uuid.UUID
	for i := range deployments {
		deployments[i] = h.publish(map[string]string{"index.html": fmt.Sprint(i)})
	}
	h.sequence = 100
	for i := range 500 {
		d := i % len(deployments)
		h.flip(deployments[d])
		res := h.fetch("/")
		if got := content(t, res); got != fmt.Sprint(d) || res.Header.Get(deploymentHeader) != deployments[d].String() {
			t.Fatalf("flip %d: answered %q from %s, want %d", i, got, res.Header.Get(deploymentHeader), d)
		}
	}
	h.setDistribution(false, h.host)
	wantStatus(t, h.fetch("/"), 404)
	h.setDistribution(true, h.host)
	wantStatus(t, h.fetch("/"), 200)
	if err := os.Remove(h.layout.Record(h.host)); err != nil {
		t.Fatal(err)
	}
	h.changed()
	wantStatus(t, h.fetch("/"), 404)
}

func TestATreeSealedAgainCountsFromTheNextFlip(t *testing.T) {
	t.Parallel()
	h := newBox(t).provision("again.localhost")
	d := h.publish(map[string]string{"index.html": "home"})
	wantStatus(t, h.fetch("/a-4f3a9b1c.js"), 404)
	h.seal(d, map[string]string{"index.html": "home"}, site.Carried{File: h.store("a-4f3a9b1c.js", "a"), Until: 1 << 40})
	h.flip(d)
	wantStatus(t, h.fetch("/a-4f3a9b1c.js"), 200)
}

// TestEveryAnswerIsOfOneDeployment flips during reads and removes the previous
// deployment at once.
func TestEveryAnswerIsOfOneDeployment(t *testing.T) {
	t.Parallel()
	// With little memory, blobs are opened all the time.
	b := newBox(t, func(c *Config) { c.MemoryBytes = 1 })
	h := b.provision("flip.localhost")
	url := "http://" + b.serve()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 50, DisableCompression: true}}
	t.Cleanup(client.CloseIdleConnections)

	var versions sync.Map // deployment → path → content
	var reads, wrong atomic.Int64
	prepare := func(n int) uuid.UUID {
		files := map[string]string{
			"index.html":  fmt.Sprintf("page %d", n),
			"app.js":      fmt.Sprintf("script %d %s", n, strings.Repeat(".", maxHot)),
			"page.html":   fmt.Sprintf("zipped %d %s", n, strings.Repeat(".", minGzip)),
			"404.html":    fmt.Sprintf("missing %d", n),
			"common.html": "in all of them",
		}
		d := uuid.New()
		versions.Store(d.String(), files)
		h.seal(d, files)
		return d
	}
	live := prepare(0)
	h.flip(live)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var readers sync.WaitGroup
	for range 50 {
		readers.Go(func() {
			for ctx.Err() == nil {
				for target, file := range map[string]string{"/": "index.html", "/app.js": "app.js", "/page": "page.html", "/nowhere": "404.html", "/common": "common.html"} {
					if err := readOne(t, client, url+target, h.host, file, &versions); err != nil {
						wrong.Add(1)
						t.Errorf("GET %s: %v", target, err)
						return
					}
					reads.Add(1)
				}
			}
		})
	}
	for n := 1; n <= 20 && wrong.Load() == 0; n++ {
		next := prepare(n)
		h.flip(next)
		// From now on the new deployment answers new requests.
		if res := h.fetch("/"); res.Header.Get(deploymentHeader) != next.String() {
			t.Errorf("after the flip to %s, %s answered", next, res.Header.Get(deploymentHeader))
		}
		remove(t, h, live, &versions)
		live = next
		for goal := reads.Load() + 200; reads.Load() < goal && wrong.Load() == 0; {
			_ = readOne(t, client, url+"/", h.host, "index.html", &versions)
		}
	}
	stop()
	readers.Wait()
	if b.log.Len() > 0 {
		t.Errorf("the log says %s", b.log)
	}
}

func readOne(t *testing.T, client *http.Client, url, host, file string, versions *sync.Map) error {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r.Host = host
	if file == "page.html" {
		r.Header.Set("Accept-Encoding", "gzip")
	}
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	got := content(t, res)
	if res.Header.Get("Content-Encoding") == "gzip" {
		got = gunzip(t, got)
	}
	of, ok := versions.Load(res.Header.Get(deploymentHeader))
	if !ok {
		return fmt.Errorf("status %d from the unknown deployment %q", res.StatusCode, res.Header.Get(deploymentHeader))
	}
	want := of.(map[string]string)[file]
	if got != want {
		return fmt.Errorf("%.30q from a deployment that has %.30q", got, want)
	}
	if e := res.Header.Get("Etag"); file != "404.html" && e != tag(want) && e != gzipTag(want) {
		return fmt.Errorf("the tag %s is of another deployment", e)
	}
	return nil
}

// remove deletes a deployment's tree and its bytes, except those that other
// deployments share.
func remove(t *testing.T, h *hosted, deployment uuid.UUID, versions *sync.Map) {
	t.Helper()
	if err := os.Remove(h.layout.Tree(site.Tree{Pipeline: h.pipeline, Deployment: deployment})); err != nil {
		t.Error(err)
	}
	files, _ := versions.Load(deployment.String())
	for path, content := range files.(map[string]string) {
		if path != "common.html" {
			if err := os.Remove(h.blob(content)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestMoreSitesThanFitInMemory(t *testing.T) {
	t.Parallel()
	b := newBox(t, func(c *Config) { c.IndexBytes, c.MemoryBytes = 4*siteWeight, 1000 })
	b.handlerOnly = true
	var sites []*hosted
	for i := range 20 {
		h := b.provision(fmt.Sprintf("site-%d.localhost", i))
		h.publish(map[string]string{"index.html": h.host, "a.html": "a", "b.html": "b"})
		sites = append(sites, h)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				h := sites[rand.IntN(len(sites))]
				if got := content(t, h.fetch("/")); got != h.host {
					t.Errorf("%s answered %q", h.host, got)
				}
			}
		})
	}
	wg.Wait()
	// Sites whose lists are on disk weigh at most siteWeight.
	if n := b.edge.catalog.hosts.Len(); n > 4 {
		t.Errorf("%d sites are in memory, expected 4 at most", n)
	}
	if w := b.edge.blobs.memory.Weight(); w > 1000 {
		t.Errorf("blobs weigh %d, expected 1000 at most", w)
	}
}

// TestLargeSitesStayInMemory requests six sites of 100,000 files in turn and
// checks that each manifest is read once.
func TestLargeSitesStayInMemory(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	var m site.Manifest
	for i := range 100_000 {
		m.Files = append(m.Files, site.File{Path: fmt.Sprintf("docs/reference/section-%03d/page-%06d/index.html", i/100, i)})
	}
	data, err := site.EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	var sites []*hosted
	for i := range 6 {
		h := b.provision(fmt.Sprintf("large-%d.localhost", i))
		h.store("", "")
		deployment := uuid.New()
		h.replace(h.layout.Tree(site.Tree{Pipeline: h.pipeline, Deployment: deployment}), data)
		h.flip(deployment)
		h.settle()
		sites = append(sites, h)
	}
	for range 5 {
		for _, h := range sites {
			res := h.fetch("/docs/reference/section-999/page-099999")
			wantStatus(t, res, 301)
			wantStatus(t, h.fetch("/docs/reference/section-999/page-199999"), 404)
		}
	}
	if n := b.edge.catalog.loads.Load(); n != 6 {
		t.Errorf("%d manifests were read, expected one of each of 6 sites", n)
	}
	t.Logf("600,000 files take %d MiB of memory", b.edge.catalog.hosts.Weight()>>20)
}

// TestTableAgainstMap compares lookups with a map.
func TestTableAgainstMap(t *testing.T) {
	t.Parallel()
	m := site.Manifest{Files: []site.File{{Path: "a"}, {Path: "a.html"}, {Path: "a/b"}, {Path: "ab"}, {Path: "b/index.html"}, {Path: "ü"}}}
	x, err := newIndex(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		for cut := range len(f.Path) + 1 {
			if got, ok := x.Find(f.Path[:cut], f.Path[cut:]); !ok || got != f.Path {
				t.Errorf("Find(%q, %q) = %q, %v", f.Path[:cut], f.Path[cut:], got, ok)
			}
		}
		for _, other := range []string{f.Path + "x", f.Path[:len(f.Path)-1] + "!", "", "zz"} {
			if got, ok := x.Find(other, ".none"); ok {
				t.Errorf("Find(%q, .none) = %q", other, got)
			}
		}
	}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	var log logBuffer
	h := newBox(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}).provision("log.localhost")
	h.handlerOnly = true
	d := h.publish(map[string]string{"index.html": "home"})
	res := h.fetch("/nowhere?token=hidden")
	line := log.String()
	for _, want := range []string{
		"level=DEBUG", "request_id=" + res.Header.Get("X-Request-Id"), "method=GET", "host=log.localhost",
		"path=/nowhere ", "status=404", "deployment_id=" + d.String(),
	} {
		if !strings.Contains(line, want) {
			t.Errorf("the line does not contain %s: %s", want, line)
		}
	}
	if strings.Contains(line, "hidden") {
		t.Errorf("the line contains the query: %s", line)
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]Config{
		"Root": {}, "IndexBytes": {Root: "x", IndexBytes: -1}, "MemoryBytes": {Root: "x", MemoryBytes: -1},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("the error for an invalid %s is %v", field, err)
		}
	}
}
