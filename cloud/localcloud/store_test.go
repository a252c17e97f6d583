package localcloud_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

func content(path, text string) site.File {
	return site.File{Path: path, SHA256: sha256.Sum256([]byte(text)), Size: int64(len(text))}
}

func newTree() site.Tree { return site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()} }

// seal stores a whole tree.
func seal(t *testing.T, s cloud.Store, tree site.Tree, texts map[string]string) {
	t.Helper()
	send(t, s, tree, texts)
	if err := s.Seal(t.Context(), tree, nil, nil); err != nil {
		t.Fatal(err)
	}
}

// send declares a tree and stores its files.
func send(t *testing.T, s cloud.Store, tree site.Tree, texts map[string]string) {
	t.Helper()
	var m site.Manifest
	for path, text := range texts {
		m.Files = append(m.Files, content(path, text))
	}
	missing, err := s.Begin(t.Context(), tree, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range missing {
		if err := s.Put(t.Context(), tree, f, strings.NewReader(texts[f.Path])); err != nil {
			t.Fatal(err)
		}
	}
}

// count returns the number of files below a folder.
func count(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !e.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestLayout(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	c := open(t, root, 0)
	layout := site.Layout{Root: root}
	tree := newTree()
	f := content("index.html", "<h1>")
	if _, err := c.Store.Begin(t.Context(), tree, site.Manifest{Files: []site.File{f}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(layout.OpenTree(tree)); err != nil {
		t.Fatal(err)
	}
	if err := c.Store.Put(t.Context(), tree, f, strings.NewReader("<h1>")); err != nil {
		t.Fatal(err)
	}
	if err := c.Store.Seal(t.Context(), tree, nil, nil); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(layout.Blob(tree.Pipeline, f.SHA256)); err != nil || string(data) != "<h1>" {
		t.Fatalf("the blob is %q, %v", data, err)
	}
	sealed, err := os.Open(layout.Tree(tree))
	if err != nil {
		t.Fatal(err)
	}
	defer sealed.Close()
	if m, err := site.DecodeManifest(sealed, site.Limits{}); err != nil || len(m.Files) != 1 || m.Files[0] != f {
		t.Fatalf("the sealed tree is %v, %v", m, err)
	}
	if _, err := os.Stat(layout.OpenTree(tree)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the open tree is still there: %v", err)
	}

	d, err := c.CDN.Create(t.Context(), "ref", "Blog.Localhost")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DNS.Upsert(t.Context(), "blog.localhost", d.Domain); err != nil {
		t.Fatal(err)
	}
	p := site.Pointer{Sequence: 3, Pipeline: tree.Pipeline, Deployment: tree.Deployment}
	if err := c.CDN.Flip(t.Context(), d.ID, p); err != nil {
		t.Fatal(err)
	}
	record, err := site.ReadRecord(layout.Record("blog.localhost"))
	if err != nil || record.Target != site.DistributionDomain(d.ID) {
		t.Fatalf("the record is %+v, %v", record, err)
	}
	dist, err := site.ReadDistribution(layout.Distribution(d.ID))
	if want := (site.DistributionFile{ID: d.ID, Domain: d.Domain, Host: "blog.localhost", Enabled: true}); err != nil || dist != want {
		t.Fatalf("the distribution is %+v, %v; want %+v", dist, err, want)
	}
	if got, err := site.ReadPointer(layout.Pointer(d.ID)); err != nil || got != p {
		t.Fatalf("the pointer is %+v, %v; want %+v", got, err, p)
	}

	// Only lock files and the counter of changes outlive the teardown.
	if err := c.CDN.Disable(t.Context(), d.ID, d.ETag); err != nil {
		t.Fatal(err)
	}
	if d, err = c.CDN.Get(t.Context(), d.ID); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.CDN.Delete(t.Context(), d.ID, d.ETag), c.DNS.Delete(t.Context(), "blog.localhost", d.Domain)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Store.RemoveAll(t.Context(), tree.Pipeline); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(layout.Generation()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if left := count(t, root) - count(t, filepath.Join(root, "locks")); left != 0 {
		t.Fatalf("%d files are left", left)
	}
}

// TestTwoProcesses opens the root twice: each sees and continues what the other
// does, including the time of a change.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	slow, other := open(t, root, time.Hour), open(t, root, 0)
	d, err := slow.CDN.Create(t.Context(), "ref", "a.example")
	if err != nil {
		t.Fatal(err)
	}
	seen, err := other.CDN.Get(t.Context(), d.ID)
	if err != nil || seen.Deployed || seen != d {
		t.Fatalf("the other sees %+v, %v; want %+v", seen, err, d)
	}
	if err := other.CDN.Disable(t.Context(), d.ID, d.ETag); err != nil {
		t.Fatal(err)
	}
	if err := slow.CDN.Disable(t.Context(), d.ID, d.ETag); !errors.Is(err, cloud.ErrPrecondition) {
		t.Fatalf("Disable with the earlier ETag: %v", err)
	}
	tree := newTree()
	seal(t, slow.Store, tree, map[string]string{"a": "a"})
	if _, err := other.Store.Manifest(t.Context(), tree); err != nil {
		t.Fatal(err)
	}
}

func TestCrashedHostClaimBindsNobody(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	c := open(t, root, 0)
	d, err := c.CDN.Create(t.Context(), "first", "a.example")
	if err != nil {
		t.Fatal(err)
	}
	// The same as if the process had ended between the claim and the
	// distribution.
	if err := os.Remove(site.Layout{Root: root}.Distribution(d.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CDN.Create(t.Context(), "second", "a.example"); err != nil {
		t.Fatal(err)
	}
}

// gate blocks a reader in the middle of its bytes.
type gate struct {
	io.Reader
	reached, open chan struct{}
	once          sync.Once
}

func newGate(text string) *gate {
	return &gate{Reader: strings.NewReader(text), reached: make(chan struct{}), open: make(chan struct{})}
}

func (g *gate) Read(p []byte) (int, error) {
	g.once.Do(func() { close(g.reached); <-g.open })
	return g.Reader.Read(p)
}

// TestPutDuringRemoval removes a tree in the middle of an upload to it.
func TestPutDuringRemoval(t *testing.T) {
	t.Parallel()
	for name, removal := range map[string]func(ctx context.Context, s cloud.Store, tree site.Tree) error{
		"remove": func(ctx context.Context, s cloud.Store, tree site.Tree) error {
			return s.Remove(ctx, tree.Pipeline, tree.Deployment)
		},
		"remove all": func(ctx context.Context, s cloud.Store, tree site.Tree) error {
			_, err := s.RemoveAll(ctx, tree.Pipeline)
			return err
		},
		"remove all, begin another": func(ctx context.Context, s cloud.Store, tree site.Tree) error {
			_, err := s.RemoveAll(ctx, tree.Pipeline)
			if err == nil {
				tree.Deployment = uuid.New()
				_, err = s.Begin(ctx, tree, site.Manifest{Files: []site.File{content("other", "other")}})
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			s := open(t, root, 0).Store
			tree, f := newTree(), content("a.txt", "bytes")
			if _, err := s.Begin(t.Context(), tree, site.Manifest{Files: []site.File{f}}); err != nil {
				t.Fatal(err)
			}
			g := newGate("bytes")
			done := make(chan error, 1)
			go func() { done <- s.Put(t.Context(), tree, f, g) }()
			<-g.reached
			if err := removal(t.Context(), s, tree); err != nil {
				t.Fatal(err)
			}
			close(g.open)
			if err := <-done; !errors.Is(err, cloud.ErrNotFound) {
				t.Fatalf("Put: %v, want ErrNotFound", err)
			}
			layout := site.Layout{Root: root}
			if n := count(t, filepath.Join(layout.Site(tree.Pipeline), "blobs")) + count(t, filepath.Join(layout.Site(tree.Pipeline), "incoming")) + count(t, filepath.Join(root, "removed")); n != 0 {
				t.Fatalf("%d files are left", n)
			}
		})
	}
}

// TestSlowPutBlocksNobody seals one tree while an upload to another is blocked.
func TestSlowPutBlocksNobody(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), 0).Store
	tree, f := newTree(), content("a.txt", "bytes")
	if _, err := s.Begin(t.Context(), tree, site.Manifest{Files: []site.File{f}}); err != nil {
		t.Fatal(err)
	}
	g := newGate("bytes")
	done := make(chan error, 1)
	go func() { done <- s.Put(t.Context(), tree, f, g) }()
	<-g.reached
	seal(t, s, site.Tree{Pipeline: tree.Pipeline, Deployment: uuid.New()}, map[string]string{"b": "b"})
	close(g.open)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestRemoveCollects(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := open(t, root, 0).Store
	tree := newTree()
	folder := site.Layout{Root: root}.Site(tree.Pipeline)
	seal(t, s, tree, map[string]string{"a": "a", "b": "b"})
	keep := site.Tree{Pipeline: tree.Pipeline, Deployment: uuid.New()}
	seal(t, s, keep, map[string]string{"a": "a", "c": "c"})
	stale, fresh := filepath.Join(folder, "incoming", "put-old"), filepath.Join(folder, "incoming", "put-new")
	for _, file := range []string{stale, fresh} {
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Encoded forms go with their blobs.
	layout := site.Layout{Root: root}
	for _, f := range []site.File{content("a", "a"), content("b", "b")} {
		if err := os.WriteFile(layout.Encoded(tree.Pipeline, f.SHA256, "br"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(stale, old, old); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), tree.Pipeline, tree.Deployment); err != nil {
		t.Fatal(err)
	}
	if n := count(t, filepath.Join(folder, "blobs")); n != 3 {
		t.Errorf("%d files are left of the blobs, want 2 blobs and 1 encoded form", n)
	}
	if _, err := os.Stat(layout.Encoded(tree.Pipeline, content("a", "a").SHA256, "br")); err != nil {
		t.Errorf("the encoded form of a blob in use: %v", err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the stale upload: %v", err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("the fresh upload: %v", err)
	}

	// An unreadable manifest stops the collection before it removes anything.
	if err := os.WriteFile(filepath.Join(folder, "trees", uuid.NewString()), []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), tree.Pipeline, keep.Deployment); err == nil {
		t.Error("Remove ignored a damaged manifest")
	}
	if n := count(t, filepath.Join(folder, "blobs")); n != 3 {
		t.Errorf("%d files are left of the blobs, want 2 blobs and 1 encoded form", n)
	}
}

func TestRemoveAllFinishesAnEarlierOne(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := open(t, root, 0).Store
	pipeline := uuid.New()
	left := filepath.Join(root, "removed", pipeline.String()+".x")
	other := filepath.Join(root, "removed", uuid.NewString()+".x")
	for _, dir := range []string{left, other} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "blob"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.RemoveAll(t.Context(), pipeline); n != 1 || err != nil {
		t.Fatalf("RemoveAll: %d, %v; want 1", n, err)
	}
	if count(t, left) != 0 || count(t, other) != 1 {
		t.Fatal("it removed the wrong one")
	}
}

// TestManyAtOnce runs releases and removals of one pipeline concurrently: every
// tree that was sealed and not removed is complete at the end.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	var group sync.WaitGroup
	pipeline := uuid.New()
	kept := make([]site.Tree, 4)
	for i := range kept {
		kept[i] = site.Tree{Pipeline: pipeline, Deployment: uuid.New()}
		s := open(t, root, 0).Store
		group.Go(func() {
			for round := range 8 {
				tree := kept[i]
				if round < 7 {
					tree.Deployment = uuid.New()
				}
				var m site.Manifest
				texts := map[string]string{}
				for n := range 20 {
					name := fmt.Sprintf("f%d", n)
					texts[name] = fmt.Sprint("text ", n%7, round/2)
					m.Files = append(m.Files, content(name, texts[name]))
				}
				missing, err := s.Begin(t.Context(), tree, m)
				for _, f := range missing {
					if err == nil {
						err = s.Put(t.Context(), tree, f, strings.NewReader(texts[f.Path]))
					}
				}
				if err == nil {
					err = s.Seal(t.Context(), tree, nil, nil)
				}
				if err == nil && round < 7 {
					err = s.Remove(t.Context(), pipeline, tree.Deployment)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	layout := site.Layout{Root: root}
	for _, tree := range kept {
		m, err := open(t, root, 0).Store.Manifest(t.Context(), tree)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range m.Files {
			data, err := os.ReadFile(layout.Blob(pipeline, f.SHA256))
			if err != nil || sha256.Sum256(data) != f.SHA256 {
				t.Fatalf("%s: %v", f.Path, err)
			}
		}
	}
	if n := count(t, filepath.Join(layout.Site(pipeline), "blobs")); n != 7 {
		t.Errorf("%d blobs, want 7", n)
	}
}

func BenchmarkPutSmallFiles(b *testing.B) {
	s := open(b, b.TempDir(), 0).Store
	tree := newTree()
	const n = 5000
	var m site.Manifest
	texts := make([]string, n)
	for i := range n {
		texts[i] = fmt.Sprintf("%0640d", i)
		m.Files = append(m.Files, content(fmt.Sprintf("f%d", i), texts[i]))
	}
	for b.Loop() {
		if _, err := s.Begin(b.Context(), tree, m); err != nil {
			b.Fatal(err)
		}
		for i, f := range m.Files {
			if err := s.Put(b.Context(), tree, f, strings.NewReader(texts[i])); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Seal(b.Context(), tree, nil, nil); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if _, err := s.RemoveAll(b.Context(), tree.Pipeline); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/file")
}
