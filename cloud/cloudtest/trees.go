package cloudtest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/site"
)

func treeTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"store/trees": func(t *testing.T, e Env) {
			sealed := newTree()
			wantTrees(t, e, sealed.Pipeline)
			store(t, e, sealed, "a.txt", "a")
			open := another(sealed)
			begin(t, e, open, file("b.txt", "b"))
			store(t, e, newTree(), "c.txt", "another pipeline's")
			wantTrees(t, e, sealed.Pipeline, sealed.Deployment, open.Deployment)
			if err := e.Cloud.Store.Remove(t.Context(), sealed.Pipeline, sealed.Deployment); err != nil {
				t.Fatal(err)
			}
			wantTrees(t, e, sealed.Pipeline, open.Deployment)
			if _, err := e.Cloud.Store.RemoveAll(t.Context(), sealed.Pipeline); err != nil {
				t.Fatal(err)
			}
			wantTrees(t, e, sealed.Pipeline)
		},
		"store/remove keeps what only an open tree still needs": func(t *testing.T, e Env) {
			first := newTree()
			shared, alone := file("about.html", "shared"), file("b.txt", "alone")
			begin(t, e, first, shared, alone)
			put(t, e, first, shared, "shared")
			put(t, e, first, alone, "alone")
			seal(t, e, first)
			open := another(first)
			files := []site.File{file("c.html", "shared"), file("d.txt", "shared"), file("e.txt", "sent")}
			equal(t, "missing", paths(begin(t, e, open, files...)), []string{"e.txt"})
			if err := e.Cloud.Store.Remove(t.Context(), first.Pipeline, first.Deployment); err != nil {
				t.Fatal(err)
			}
			equal(t, "missing", paths(begin(t, e, open, files...)), []string{"e.txt"})
			put(t, e, open, files[2], "sent")
			seal(t, e, open)
			got, err := e.Cloud.Store.Read(t.Context(), open, files[1])
			if err != nil || string(got) != "shared" {
				t.Fatalf("Read: %q, %v", got, err)
			}
			equal(t, "missing", paths(begin(t, e, another(first), alone)), []string{"b.txt"})
		},
		"store/uploads beside removals": func(t *testing.T, e Env) {
			// Each upload counts on the files of a tree that is being removed.
			last := newTree()
			const files = 8
			tree := func(round int) (all []site.File) {
				for i := range files {
					all = append(all, file(fmt.Sprintf("%d.html", i), fmt.Sprintf("%d of %d", i, round-round%2)))
				}
				return append(all, file("round.txt", fmt.Sprint(round)))
			}
			upload := func(to site.Tree, round int) error {
				for _, f := range begin(t, e, to, tree(round)...) {
					content := fmt.Sprint(round)
					if f.Path != "round.txt" {
						content = fmt.Sprintf("%s of %d", f.Path[:1], round-round%2)
					}
					put(t, e, to, f, content)
				}
				return e.Cloud.Store.Seal(t.Context(), to, nil, nil)
			}
			if err := upload(last, 0); err != nil {
				t.Fatal(err)
			}
			for round := 1; round <= 8; round++ {
				next := another(last)
				var both errgroup.Group
				both.Go(func() error { return e.Cloud.Store.Remove(t.Context(), last.Pipeline, last.Deployment) })
				both.Go(func() error { return upload(next, round) })
				if err := both.Wait(); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				for _, f := range tree(round)[:files] {
					if got, err := e.Cloud.Store.Read(t.Context(), next, f); err != nil || string(got) != fmt.Sprintf("%s of %d", f.Path[:1], round-round%2) {
						t.Fatalf("round %d: Read of %s: %q, %v", round, f.Path, got, err)
					}
				}
				wantTrees(t, e, last.Pipeline, next.Deployment)
				last = next
			}
		},
	}
}

func wantTrees(t *testing.T, e Env, pipeline uuid.UUID, want ...uuid.UUID) {
	t.Helper()
	got, err := e.Cloud.Store.Trees(t.Context(), pipeline)
	if err != nil {
		t.Fatalf("Trees: %v", err)
	}
	compare := func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }
	slices.SortFunc(got, compare)
	slices.SortFunc(want, compare)
	if !slices.Equal(got, want) {
		t.Fatalf("the trees are %v, want %v", got, want)
	}
}
