package localcloud_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/site"
)

// another names another tree of the same pipeline.
func another(t site.Tree) site.Tree {
	return site.Tree{Pipeline: t.Pipeline, Deployment: newTree().Deployment}
}

// hooked is a context that calls a function once, when it was asked n times
// whether it has ended.
type hooked struct {
	context.Context
	n  int
	do func()
}

func (h *hooked) Err() error {
	if h.n--; h.n == 0 {
		h.do()
	}
	return h.Context.Err()
}

// TestCompactionBesideBegin declares a tree while packs are compacted. The files
// that Begin does not ask for must not go.
func TestCompactionBesideBegin(t *testing.T) {
	t.Parallel()
	fired := 0
	for n := 1; n < 120; n += 7 {
		root := t.TempDir()
		box, first := open(t, root, 0), newTree()
		all, kept := several("all", 40), texts{}
		all.seal(t, box.Store, first)
		for path, text := range all {
			if strings.HasSuffix(path, "7.txt") {
				kept[path] = text
			}
		}
		second, third := another(first), another(first)
		kept.seal(t, box.Store, second)
		sparse := withoutTree(t, box, root, first)
		ctx := &hooked{t.Context(), n, func() {
			fired++
			missing, err := box.Store.Begin(t.Context(), third, all.manifest())
			if err != nil || len(missing) > 0 {
				t.Errorf("Begin: %d missing, %v", len(missing), err)
			}
		}}
		if err := localcloud.Compact(ctx, box, first.Pipeline, sparse); err != nil {
			t.Fatal(err)
		}
		if ctx.n > 0 { // the compaction had ended before
			all.send(t, box.Store, third, 100)
		}
		if err := box.Store.Seal(t.Context(), third, nil, nil); err != nil {
			t.Fatalf("after %d steps: %v", n, err)
		}
		all.want(t, box.Store, third)
		kept.want(t, box.Store, second)
		wantNoFaults(t, root)
	}
	if fired < 5 {
		t.Errorf("a tree was declared in %d compactions", fired)
	}
}

// withoutTree removes a tree's manifest, and returns the pack that is to be
// compacted without it.
func withoutTree(t *testing.T, box cloud.Cloud, root string, tree site.Tree) []string {
	t.Helper()
	if err := os.Remove(site.Layout{Root: root}.Tree(tree)); err != nil {
		t.Fatal(err)
	}
	sparse, err := localcloud.Collect(t.Context(), box, tree.Pipeline)
	if err != nil || len(sparse) != 1 {
		t.Fatalf("packs to compact: %v, %v", sparse, err)
	}
	return sparse
}

// TestCompactionBesideRemove removes a tree while a compaction reads the trees.
func TestCompactionBesideRemove(t *testing.T) {
	t.Parallel()
	for n := 1; n < 5; n++ {
		root := t.TempDir()
		box, first := open(t, root, 0), newTree()
		all, kept := several("all", 40), several("all", 4)
		all.seal(t, box.Store, first)
		second, third := another(first), another(first)
		kept.seal(t, box.Store, second)
		kept.send(t, box.Store, third, 100)
		sparse := withoutTree(t, box, root, first)
		ctx := &hooked{t.Context(), n, func() {
			if err := os.Remove(site.Layout{Root: root}.OpenTree(third)); err != nil {
				t.Error(err)
			}
		}}
		if err := localcloud.Compact(ctx, box, first.Pipeline, sparse); err != nil {
			t.Errorf("after %d steps: %v", n, err)
		}
		if err := box.Store.Remove(t.Context(), first.Pipeline); err != nil {
			t.Fatal(err)
		}
		if packs := packsOf(t, root, first); len(packs) != 1 || packs[0] == sparse[0] {
			t.Errorf("after %d steps the packs are %v", n, packs)
		}
		kept.want(t, box.Store, second)
		wantNoFaults(t, root)
	}
}

// TestCopiesGo stores the same files twice: Remove deletes the copy, but not
// while the other one is damaged.
func TestCopiesGo(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s, tree := open(t, root, 0).Store, newTree()
	x := several("a", 20)
	m := x.manifest()
	if _, err := s.Begin(t.Context(), tree, m); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var b bytes.Buffer
		for _, f := range m.Files {
			b.WriteString(x[f.Path])
		}
		if _, err := s.PutAll(t.Context(), tree, m.Files, &b); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Seal(t.Context(), tree, nil, nil); err != nil {
		t.Fatal(err)
	}
	packs := packsOf(t, root, tree)
	if len(packs) != 2 {
		t.Fatalf("there are %d packs", len(packs))
	}
	good, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	for i := 8; i < 200; i++ {
		bad[i] ^= 1
	}
	for _, step := range []struct {
		content []byte
		want    int
	}{{bad, 2}, {good, 1}} {
		if err := os.WriteFile(packs[0], step.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(t.Context(), tree.Pipeline); err != nil {
			t.Fatal(err)
		}
		if n := len(packsOf(t, root, tree)); n != step.want {
			t.Errorf("%d packs are left, want %d", n, step.want)
		}
	}
	x.want(t, s, tree)
	wantNoFaults(t, root)
}
