package edge

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/site/pack"
)

// pack moves files from blobs to a pack, and returns its name and the place of
// the first file.
func (h *hosted) pack(name string, contents ...string) (path string, at int64) {
	h.t.Helper()
	var b bytes.Buffer
	w := pack.NewWriter(&b)
	for _, text := range contents {
		if err := w.Add(sha256.Sum256([]byte(text)), []byte(text)); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		h.t.Fatal(err)
	}
	path = filepath.Join(h.layout.Packs(h.pipeline), name+pack.Suffix)
	h.replace(path, b.Bytes())
	for _, text := range contents {
		_ = os.RemoveAll(filepath.Dir(h.blob(text)))
	}
	return path, int64(len("troypak1") + 36)
}

// forget empties the memory for files, so that they are read from disk.
func (h *hosted) forget() {
	h.edge.blobs.memory = lru.New[blobKey, []byte](1 << 20)
	h.edge.hot.answers = lru.New[hotKey, *hotAnswer](1 << 20)
}

// TestSitesInPacks serves a site from packs and blobs, while files move from one
// to the other.
func TestSitesInPacks(t *testing.T) {
	t.Parallel()
	page, other, large := strings.Repeat("<p>hello</p>", 500), "other", strings.Repeat("0123456789abcdef", pack.MaxFile/16+1)
	limit := strings.Repeat("x", pack.MaxFile)
	h := encodedBox(t, map[string]string{"index.html": page, "other.txt": other, "large.bin": large, "limit.bin": limit, "empty.txt": ""})
	all := func(what string) {
		t.Helper()
		h.forget()
		for path, want := range map[string]string{"/": page, "/other.txt": other, "/large.bin": large, "/limit.bin": limit, "/empty.txt": ""} {
			if res := h.fetch(path); res.StatusCode != 200 || content(t, res) != want {
				t.Errorf("%s: %s answers %d", what, path, res.StatusCode)
			}
		}
		if res := h.fetch("/limit.bin", "Range", "bytes=10-19"); res.StatusCode != 206 || content(t, res) != limit[10:20] {
			t.Errorf("%s: a range answers %d", what, res.StatusCode)
		}
	}
	all("in blobs")
	first, _ := h.pack("first", page, other)
	all("two in a pack")
	second, _ := h.pack("second", limit, "")
	all("two in another pack")
	h.pack("third", page, other, limit, "")
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	all("after a compaction")

	// Encoded forms are kept as for blobs.
	h.fetch("/", "Accept-Encoding", "br")
	if n := h.encodeAll(); n != 1 {
		t.Errorf("%d jobs, want 1", n)
	}
	if _, err := os.Stat(h.layout.Encoded(h.pipeline, sha256.Sum256([]byte(page)), "br")); err != nil {
		t.Errorf("the encoded form was not kept: %v", err)
	}
}

// TestDamagedFilesAreNotServed flips a bit of a packed file and of a blob.
func TestDamagedFilesAreNotServed(t *testing.T) {
	t.Parallel()
	packed, loose := strings.Repeat("<p>packed</p>", 500), strings.Repeat("<p>loose</p>", 500)
	h := encodedBox(t, map[string]string{"packed.html": packed, "loose.html": loose, "good.html": "good"})
	name, at := h.pack("one", packed, "good")
	for file, at := range map[string]int64{name: at, h.blob(loose): 5} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data[at] ^= 1
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/packed", "/loose"} {
		for _, coding := range []string{"identity", "gzip"} {
			wantStatus(t, h.fetch(path, "Accept-Encoding", coding), 500)
		}
	}
	wantStatus(t, h.fetch("/good"), 200)
	if !strings.Contains(h.log.String(), "damaged") {
		t.Errorf("the log says %s", h.log)
	}
	// A pack without an index is told in the log, and the rest is served.
	if err := os.Truncate(name, 100); err != nil {
		t.Fatal(err)
	}
	h.store("good.html", "good")
	h.forget()
	h.edge.blobs.packs = pack.NewCache(1<<20, h.edge.blobs.damagedPack)
	if res := h.fetch("/packed"); res.StatusCode == 200 {
		t.Error("a file of a pack without an index was served")
	}
	wantStatus(t, h.fetch("/good"), 200)
	if !strings.Contains(h.log.String(), "troyd store repair") {
		t.Errorf("the log says %s", h.log)
	}
}
