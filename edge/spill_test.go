package edge

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/site"
)

// largeSites creates sites whose lists together exceed the memory, and requests
// each once, so that only the last list is in memory.
func largeSites(t *testing.T, change ...func(*Config)) (*box, []*hosted) {
	t.Helper()
	b := newBox(t, append([]func(*Config){func(c *Config) { c.IndexBytes = 96 << 10; c.SpillDir = t.TempDir() }}, change...)...)
	b.handlerOnly = true // tests change what it caches
	var sites []*hosted
	for i := range 4 {
		h := b.provision(fmt.Sprintf("large-%d.localhost", i))
		files := map[string]string{"index.html": h.host, "404.html": "none at " + h.host, "docs/a.html": "a"}
		for n := range 1000 {
			files[fmt.Sprintf("pages/%04d/%s.html", n, strings.Repeat("x", 40))] = "page"
		}
		deployment := h.publish(files, carried(h, "old.js", time.Now().Add(time.Hour)))
		h.settle()
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(h.layout.Tree(site.Tree{Pipeline: h.pipeline, Deployment: deployment}), old, old); err != nil {
			t.Fatal(err)
		}
		sites = append(sites, h)
	}
	for _, h := range sites {
		wantContent(t, h, "/", h.host)
	}
	return b, sites
}

// carried stores an asset of an earlier deployment.
func carried(h *hosted, name string, until time.Time) site.Carried {
	return site.Carried{File: h.store(name, "old"), Until: until.Unix()}
}

func wantContent(t *testing.T, h *hosted, path, want string) {
	t.Helper()
	if got := content(t, h.fetch(path)); got != want {
		t.Errorf("%s%s answers %q, want %q", h.host, path, got, want)
	}
}

// TestListsOnDisk requests sites in turn whose lists together exceed the
// memory. Each manifest is read once, and every kind of answer is the same as
// from memory.
func TestListsOnDisk(t *testing.T) {
	t.Parallel()
	b, sites := largeSites(t)
	for range 3 {
		for _, h := range sites {
			wantContent(t, h, "/", h.host)
			wantContent(t, h, "/docs/a", "a")
			wantContent(t, h, fmt.Sprintf("/pages/0299/%s", strings.Repeat("x", 40)), "page")
			wantContent(t, h, "/old.js", "old")
			wantStatus(t, h.fetch("/docs/a/"), http.StatusMovedPermanently)
			res := h.fetch("/nowhere")
			wantStatus(t, res, http.StatusNotFound)
			if got := content(t, res); got != "none at "+h.host {
				t.Errorf("the 404 page is %q", got)
			}
		}
	}
	if n := b.edge.catalog.loads.Load(); n != int64(len(sites)) {
		t.Errorf("%d manifests were read, want one of each of %d sites", n, len(sites))
	}
	sites[0].publish(map[string]string{"index.html": "new"})
	wantContent(t, sites[0], "/", "new")
	wantStatus(t, sites[0].fetch("/docs/a"), http.StatusNotFound)
}

// TestListsReturnToMemory makes room in memory and checks that a list is read
// back from disk.
func TestListsReturnToMemory(t *testing.T) {
	t.Parallel()
	b, sites := largeSites(t)
	c := b.edge.catalog
	if c.onDisk.Len() == 0 {
		t.Fatal("no list is on disk")
	}
	first := sites[0]
	c.hosts = lru.New[string, *live](10 << 20)
	wantContent(t, first, "/", first.host)
	if l, ok := c.hosts.Get(first.host); !ok || l.index.spill != nil {
		t.Error("a list that fits in memory is still on disk")
	}
}

// TestListOnDiskBreaks removes the files and checks that the manifests are read
// again.
func TestListOnDiskBreaks(t *testing.T) {
	t.Parallel()
	b, sites := largeSites(t)
	broken := 0
	for d := range b.edge.catalog.onDisk.All() {
		if err := d.index.spill.file.Close(); err != nil {
			t.Fatal(err)
		}
		broken++
	}
	if broken == 0 {
		t.Fatal("no list is on disk")
	}
	for _, h := range sites {
		wantContent(t, h, "/docs/a", "a")
		wantContent(t, h, "/", h.host)
	}
}

// TestListsWithoutDisk checks that requests succeed without a folder for the
// files.
func TestListsWithoutDisk(t *testing.T) {
	t.Parallel()
	b, sites := largeSites(t, func(c *Config) { c.SpillDir = t.TempDir() + "/none" })
	for _, h := range sites {
		wantContent(t, h, "/docs/a", "a")
	}
	if got := b.log.String(); !strings.Contains(got, "can't write file lists") {
		t.Errorf("the log is %q", got)
	}
}

// BenchmarkListOnDisk requests two sites of 100,000 files in turn, of which
// only one fits in memory.
func BenchmarkListOnDisk(b *testing.B) {
	var m site.Manifest
	for i := range 100_000 {
		m.Files = append(m.Files, site.File{Path: fmt.Sprintf("docs/reference/section-%03d/page-%06d/index.html", i/100, i)})
	}
	data, err := site.EncodeManifest(m)
	if err != nil {
		b.Fatal(err)
	}
	box := newBox(b, func(c *Config) { c.IndexBytes, c.SpillDir = 12<<20, b.TempDir() })
	var sites []*hosted
	old := time.Now().Add(-time.Hour)
	for i := range 2 {
		h := box.provision(fmt.Sprintf("bench-%d.localhost", i))
		deployment := uuid.New()
		name := h.layout.Tree(site.Tree{Pipeline: h.pipeline, Deployment: deployment})
		h.replace(name, data)
		h.flip(deployment)
		h.settle()
		if err := os.Chtimes(name, old, old); err != nil {
			b.Fatal(err)
		}
		sites = append(sites, h)
	}
	for i := 0; b.Loop(); i++ {
		wantStatus(b, sites[i%2].fetch("/docs/reference/section-999/page-099999"), http.StatusMovedPermanently)
	}
}
