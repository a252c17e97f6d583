package cloudtest

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

func storeTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"store/begin returns one missing file for each digest": func(t *testing.T, e Env) {
			tree := newTree()
			missing := begin(t, e, tree, file("a.txt", "same"), file("b.txt", "same"), file("c.txt", "other"))
			if len(missing) != 2 || missing[0].SHA256 == missing[1].SHA256 {
				t.Fatalf("missing are %q, want two of different digests", paths(missing))
			}
		},
		"store/begin again continues": func(t *testing.T, e Env) {
			tree, a, b := newTree(), file("a.txt", "a"), file("b.txt", "b")
			begin(t, e, tree, a, b)
			put(t, e, tree, a, "a")
			equal(t, "missing", paths(begin(t, e, tree, b, a)), []string{"b.txt"})
		},
		"store/begin with another manifest is ErrExists": func(t *testing.T, e Env) {
			tree := newTree()
			begin(t, e, tree, file("a.txt", "a"))
			for range 2 {
				_, err := e.Cloud.Store.Begin(t.Context(), tree, manifest(file("a.txt", "b")))
				if !errors.Is(err, cloud.ErrExists) {
					t.Fatalf("Begin: %v, want ErrExists", err)
				}
				store(t, e, tree, "a.txt", "a") // a sealed tree is not different
			}
		},
		"store/begin does not return files that another tree has": func(t *testing.T, e Env) {
			first := newTree()
			store(t, e, first, "old.txt", "shared")
			second := another(first)
			equal(t, "missing", paths(begin(t, e, second, file("new.txt", "shared"), file("more.txt", "more"))), []string{"more.txt"})
		},
		"store/a pipeline's bytes are never another's": func(t *testing.T, e Env) {
			store(t, e, newTree(), "secret.txt", "secret")
			tree := newTree()
			equal(t, "missing", paths(begin(t, e, tree, file("mine.txt", "secret"))), []string{"mine.txt"})
			wantMissing(t, e, tree, "mine.txt")
		},
		"store/put of other bytes is refused and keeps nothing": func(t *testing.T, e Env) {
			tree, f := newTree(), file("a.txt", "right")
			begin(t, e, tree, f)
			err := e.Cloud.Store.Put(t.Context(), tree, f, strings.NewReader("wrong"))
			if refused, ok := errors.AsType[*cloud.DigestError](err); !ok || refused.Declared != f.SHA256 || refused.Got != file("", "wrong").SHA256 {
				t.Fatalf("Put: %v, want a DigestError with both digests", err)
			}
			equal(t, "missing", paths(begin(t, e, tree, f)), []string{"a.txt"})
			wantMissing(t, e, tree, "a.txt")
		},
		"store/put of another size is refused and keeps nothing": func(t *testing.T, e Env) {
			tree, f := newTree(), file("a.txt", "right")
			begin(t, e, tree, f)
			for _, content := range []string{"", "righ", "right!"} {
				err := e.Cloud.Store.Put(t.Context(), tree, f, strings.NewReader(content))
				if _, ok := errors.AsType[*cloud.DigestError](err); !ok {
					t.Fatalf("Put of %q: %v, want a DigestError", content, err)
				}
			}
			equal(t, "missing", paths(begin(t, e, tree, f)), []string{"a.txt"})
		},
		"store/put reads at most one byte more than declared": func(t *testing.T, e Env) {
			tree, f := newTree(), file("a.txt", "right")
			begin(t, e, tree, f)
			r := endless()
			if err := e.Cloud.Store.Put(t.Context(), tree, f, r); err == nil || r.n > f.Size+1 {
				t.Fatalf("Put read %d bytes of an endless body and returned %v", r.n, err)
			}
		},
		"store/put of a broken body keeps nothing": func(t *testing.T, e Env) {
			tree, f := newTree(), file("a.txt", "right")
			begin(t, e, tree, f)
			broken := io.MultiReader(strings.NewReader("rig"), brokenReader{})
			if err := e.Cloud.Store.Put(t.Context(), tree, f, broken); err == nil {
				t.Fatal("Put of a body that broke off returned nil")
			}
			equal(t, "missing", paths(begin(t, e, tree, f)), []string{"a.txt"})
		},
		"store/put again is not an error": func(t *testing.T, e Env) {
			tree, f := newTree(), file("a.txt", "a")
			begin(t, e, tree, f)
			put(t, e, tree, f, "a")
			put(t, e, tree, f, "a")
			seal(t, e, tree)
			put(t, e, tree, f, "a")
		},
		"store/put of an empty file": func(t *testing.T, e Env) {
			store(t, e, newTree(), "empty.txt", "")
		},
		"store/put without a tree is ErrNotFound": func(t *testing.T, e Env) {
			tree := newTree()
			err := e.Cloud.Store.Put(t.Context(), tree, file("a.txt", "a"), strings.NewReader("a"))
			wantNotFound(t, "Put", err)
			begin(t, e, tree, file("a.txt", "a"))
			err = e.Cloud.Store.Put(t.Context(), another(tree), file("a.txt", "a"), strings.NewReader("a"))
			wantNotFound(t, "Put into another tree", err)
		},
		"store/seal without a tree is ErrNotFound": func(t *testing.T, e Env) {
			wantNotFound(t, "Seal", e.Cloud.Store.Seal(t.Context(), newTree(), nil, nil))
		},
		"store/seal names missing files": func(t *testing.T, e Env) {
			tree, a, b := newTree(), file("a.txt", "a"), file("b.txt", "b")
			begin(t, e, tree, a, b)
			put(t, e, tree, a, "a")
			wantMissing(t, e, tree, "b.txt")
			put(t, e, tree, b, "b")
			seal(t, e, tree)
		},
		"store/seal twice": func(t *testing.T, e Env) {
			tree := newTree()
			f := store(t, e, tree, "a.txt", "a")
			seal(t, e, tree)
			wantManifest(t, e, tree, manifest(f))
		},
		"store/seal copies from other trees": func(t *testing.T, e Env) {
			first := newTree()
			store(t, e, first, "a.txt", "shared")
			second, f := another(first), file("b/c.txt", "shared")
			begin(t, e, second, f)
			seal(t, e, second)
			if err := e.Cloud.Store.Remove(t.Context(), first.Pipeline, first.Deployment); err != nil {
				t.Fatal(err)
			}
			wantManifest(t, e, second, manifest(f))
			seal(t, e, second) // its bytes still exist
		},
		"store/manifest": func(t *testing.T, e Env) {
			tree := newTree()
			_, err := e.Cloud.Store.Manifest(t.Context(), tree)
			wantNotFound(t, "Manifest", err)
			f := file("ä ö/$&+.txt", "a")
			begin(t, e, tree, f)
			wantManifest(t, e, tree, manifest(f))
		},
		"store/trailing slash policy": func(t *testing.T, e Env) {
			tree, f := newTree(), file("about.html", "a")
			want := manifest(f)
			want.TrailingSlash = site.SlashNever
			if _, err := e.Cloud.Store.Begin(t.Context(), tree, want); err != nil {
				t.Fatal(err)
			}
			begin(t, e, tree, f) // continues it
			put(t, e, tree, f, "a")
			for range 2 {
				seal(t, e, tree)
				wantManifest(t, e, tree, want)
			}
		},
		"store/carried assets": testCarried,
		"store/rules stay with a tree": func(t *testing.T, e Env) {
			tree := newTree()
			f := store(t, e, tree, "a.txt", "a")
			want := manifest(f)
			want.Rules = []byte(`{"version":1}`)
			for _, rules := range [][]byte{want.Rules, nil} {
				if err := e.Cloud.Store.Seal(t.Context(), tree, nil, rules); err != nil {
					t.Fatal(err)
				}
				wantManifest(t, e, tree, want)
			}
		},
		"store/read": testRead,
	}
}

func testRead(t *testing.T, e Env) {
	first := newTree()
	store(t, e, first, "old.txt", "shared")
	tree, shared, own := another(first), file("new.txt", "shared"), file("own.txt", "own")
	begin(t, e, tree, shared, own)
	_, err := e.Cloud.Store.Read(t.Context(), tree, own)
	wantNotFound(t, "Read of a file that was not sent", err)
	put(t, e, tree, own, "own")
	for f, want := range map[site.File]string{shared: "shared", own: "own"} {
		for range 2 { // before and after the tree is sealed
			got, err := e.Cloud.Store.Read(t.Context(), tree, f)
			if err != nil || string(got) != want {
				t.Fatalf("Read of %s: %q, %v; want %q", f.Path, got, err, want)
			}
			seal(t, e, tree)
		}
	}
	_, err = e.Cloud.Store.Read(t.Context(), newTree(), own)
	wantNotFound(t, "Read of another pipeline", err)
	large := file("large.txt", "")
	large.Size = cloud.MaxRead + 1
	if _, err := e.Cloud.Store.Read(t.Context(), tree, large); troy.KindOf(err) != troy.TooLarge {
		t.Fatalf("Read of a large file: %v, want a TooLarge error", err)
	}
}

func testCarried(t *testing.T, e Env) {
	first := newTree()
	old := store(t, e, first, "app.0123abcd.js", "old")
	second := another(first)
	index, taken := file("index.html", "new"), file("taken.0123abcd.js", "taken")
	begin(t, e, second, index, taken)
	put(t, e, second, index, "new")
	put(t, e, second, taken, "taken")
	until := time.Now().Add(time.Hour).Unix()
	carried := site.Carried{File: old, Until: until}
	seal(t, e, second, carried,
		site.Carried{File: file("nowhere.0123abcd.js", "nowhere"), Until: until},
		site.Carried{File: site.File{Path: taken.Path, SHA256: old.SHA256, Size: old.Size}, Until: until})
	want := manifest(index, taken)
	want.Carried = []site.Carried{carried}
	wantManifest(t, e, second, want)

	// A carried asset outlives the tree that it came from.
	if err := e.Cloud.Store.Remove(t.Context(), first.Pipeline, first.Deployment); err != nil {
		t.Fatal(err)
	}
	seal(t, e, second, carried)
	wantManifest(t, e, second, want)

	// The list is replaced, not extended.
	seal(t, e, second)
	wantManifest(t, e, second, manifest(index, taken))
}

func removeTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"store/remove keeps what other trees need": func(t *testing.T, e Env) {
			first := newTree()
			shared, alone := file("a.txt", "shared"), file("b.txt", "alone")
			begin(t, e, first, shared, alone)
			put(t, e, first, shared, "shared")
			put(t, e, first, alone, "alone")
			seal(t, e, first)
			second := another(first)
			store(t, e, second, "c.txt", "shared")
			open := another(first)
			begin(t, e, open, file("d.txt", "shared"), file("e.txt", "sent"))
			put(t, e, open, file("e.txt", "sent"), "sent")

			if err := e.Cloud.Store.Remove(t.Context(), first.Pipeline, first.Deployment); err != nil {
				t.Fatal(err)
			}
			_, err := e.Cloud.Store.Manifest(t.Context(), first)
			wantNotFound(t, "Manifest of the removed tree", err)
			seal(t, e, second)
			seal(t, e, open)
			third := another(first)
			equal(t, "missing", paths(begin(t, e, third, shared, alone)), []string{"b.txt"})
		},
		"store/remove of nothing is not an error": func(t *testing.T, e Env) {
			tree := newTree()
			for range 2 {
				if err := e.Cloud.Store.Remove(t.Context(), tree.Pipeline, tree.Deployment, newID()); err != nil {
					t.Fatal(err)
				}
				store(t, e, tree, "a.txt", "a")
				if err := e.Cloud.Store.Remove(t.Context(), tree.Pipeline, tree.Deployment); err != nil {
					t.Fatal(err)
				}
			}
		},
		"store/remove of one pipeline spares another": func(t *testing.T, e Env) {
			mine, theirs := newTree(), newTree()
			store(t, e, mine, "a.txt", "same")
			f := store(t, e, theirs, "a.txt", "same")
			if err := e.Cloud.Store.Remove(t.Context(), mine.Pipeline, mine.Deployment, theirs.Deployment); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Cloud.Store.RemoveAll(t.Context(), mine.Pipeline); err != nil {
				t.Fatal(err)
			}
			wantManifest(t, e, theirs, manifest(f))
			seal(t, e, theirs)
		},
		"store/remove all, then nothing is left": func(t *testing.T, e Env) {
			tree := newTree()
			store(t, e, tree, "a.txt", "a")
			open, f := another(tree), file("b.txt", "b")
			begin(t, e, open, f)
			put(t, e, open, f, "b")
			n, err := e.Cloud.Store.RemoveAll(t.Context(), tree.Pipeline)
			if err != nil || n < 2 {
				t.Fatalf("RemoveAll: %d, %v; want at least two files", n, err)
			}
			if n, err := e.Cloud.Store.RemoveAll(t.Context(), tree.Pipeline); err != nil || n != 0 {
				t.Fatalf("RemoveAll again: %d, %v; want 0", n, err)
			}
			_, err = e.Cloud.Store.Manifest(t.Context(), tree)
			wantNotFound(t, "Manifest", err)
			wantNotFound(t, "Put", e.Cloud.Store.Put(t.Context(), open, f, strings.NewReader("b")))
			if n, err := e.Cloud.Store.RemoveAll(t.Context(), tree.Pipeline); err != nil || n != 0 {
				t.Fatalf("RemoveAll after the refused Put: %d, %v; want 0", n, err)
			}
		},
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func wantNotFound(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, cloud.ErrNotFound) {
		t.Fatalf("%s: %v, want ErrNotFound", what, err)
	}
}

func wantMissing(t *testing.T, e Env, tree site.Tree, want ...string) {
	t.Helper()
	err := e.Cloud.Store.Seal(t.Context(), tree, nil, nil)
	missing, ok := errors.AsType[*cloud.MissingError](err)
	if !ok {
		t.Fatalf("Seal: %v, want a MissingError", err)
	}
	equal(t, "missing", paths(missing.Files), want)
}

func wantManifest(t *testing.T, e Env, tree site.Tree, want site.Manifest) {
	t.Helper()
	got, err := e.Cloud.Store.Manifest(t.Context(), tree)
	if err != nil {
		t.Fatalf("Manifest: %v", err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(site.Manifest{})); diff != "" {
		t.Fatalf("the manifest differs (-want +got):\n%s", diff)
	}
}
