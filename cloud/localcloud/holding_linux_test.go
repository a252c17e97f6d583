package localcloud_test

import (
	"os"
	"testing"

	"github.com/troy-iaas/troy/site"
)

// TestLostFilesAreMissingAgain loses files after the store found them, and
// declares the same and other lists: the store says what it lacks, whatever it
// remembers of the list before.
func TestLostFilesAreMissingAgain(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	c := open(t, root, 0)
	first := newTree()
	old := several("old", 50)
	large := content("large.bin", string(make([]byte, 1<<20)))
	all := texts{"large.bin": string(make([]byte, 1<<20))}
	for path, text := range old {
		all[path] = text
	}
	all.seal(t, c.Store, first)

	begin := func(m site.Manifest, want int) site.Tree {
		t.Helper()
		tree := site.Tree{Pipeline: first.Pipeline, Deployment: newTree().Deployment}
		missing, err := c.Store.Begin(t.Context(), tree, m)
		if err != nil || len(missing) != want {
			t.Fatalf("%d files are missing, want %d; %v", len(missing), want, err)
		}
		return tree
	}
	begin(all.manifest(), 0)
	// Other files, of which one has the path of an old one.
	several("new", 10).seal(t, c.Store, begin(several("new", 10).manifest(), 10))
	next := all.manifest()
	next.Files[0] = content(next.Files[0].Path, "other")
	begin(next, 1)
	begin(next, 1)
	begin(all.manifest(), 0)

	if err := os.Remove(site.Layout{Root: root}.Blob(first.Pipeline, large.SHA256)); err != nil {
		t.Fatal(err)
	}
	begin(all.manifest(), 1)
	packs := packsOf(t, root, first)
	if len(packs) != 2 {
		t.Fatalf("there are %d packs, want 2", len(packs))
	}
	for _, name := range packs {
		if err := os.Rename(name, name+".lost"); err != nil {
			t.Fatal(err)
		}
	}
	tree := begin(all.manifest(), 51)
	all.send(t, c.Store, tree, 20)
	if err := c.Store.Seal(t.Context(), tree, nil, nil); err != nil {
		t.Fatal(err)
	}
	all.want(t, c.Store, tree)
	begin(all.manifest(), 0)
	// One of several packs.
	if err := os.Remove(packsOf(t, root, first)[0]); err != nil {
		t.Fatal(err)
	}
	begin(all.manifest(), 19) // the first pack has all but the large one of its batch
}
