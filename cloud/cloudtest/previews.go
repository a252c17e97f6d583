package cloudtest

import (
	"context"
	"errors"
	"math"
	"net/http"
	"testing"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// LacksPreviews: it has no cloud.Previews.
const LacksPreviews Lack = "previews"

func previewsOf(t *testing.T, e Env) cloud.Previews {
	t.Helper()
	if lacks := e.Cloud.Previews == nil; lacks != e.lacks(LacksPreviews) {
		t.Fatalf("the cloud has no Previews: %v, and lacks them: %v", lacks, !lacks)
	}
	if e.Cloud.Previews == nil {
		t.Skip("the adapter lacks them")
	}
	return e.Cloud.Previews
}

func point(t *testing.T, e Env, id, label string, p site.Pointer) {
	t.Helper()
	eventually(t, e, "what serves previews is deployed", func(ctx context.Context) bool {
		err := e.Cloud.Previews.Point(ctx, id, label, p)
		if err != nil && !errors.Is(err, cloud.ErrNotDeployed) {
			t.Fatalf("Point of %s: %v", label, err)
		}
		return err == nil
	})
}

func wantStale(t *testing.T, what string, err error, inForce int64) {
	t.Helper()
	stale, ok := errors.AsType[*cloud.StalePointerError](err)
	if !ok || stale.InForce != inForce {
		t.Fatalf("%s: %v, want a StalePointerError with %d in force", what, err, inForce)
	}
}

func previewTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"previews/a pointer never moves back": func(t *testing.T, e Env) {
			previews := previewsOf(t, e)
			d, _, _ := create(t, e)
			one, two := newTree(), newTree()
			for range 2 {
				point(t, e, d.ID, "pr-1", site.Pointer{Sequence: 2, Pipeline: one.Pipeline, Deployment: one.Deployment})
			}
			err := previews.Point(t.Context(), d.ID, "pr-1", site.Pointer{Sequence: 2, Pipeline: two.Pipeline, Deployment: two.Deployment})
			wantStale(t, "Point to another tree with the same sequence", err, 2)
			err = previews.Point(t.Context(), d.ID, "pr-1", site.Pointer{Sequence: 1, Pipeline: two.Pipeline, Deployment: two.Deployment})
			wantStale(t, "Point with a lower sequence", err, 2)
			wantStale(t, "Unpoint with a lower sequence", previews.Unpoint(t.Context(), d.ID, "pr-1", 1), 2)
			point(t, e, d.ID, "pr-2", site.Pointer{Sequence: 1, Pipeline: two.Pipeline, Deployment: two.Deployment})
			for range 2 {
				if err := previews.Unpoint(t.Context(), d.ID, "pr-1", 2); err != nil {
					t.Fatalf("Unpoint: %v", err)
				}
			}
			point(t, e, d.ID, "pr-1", site.Pointer{Sequence: 1, Pipeline: two.Pipeline, Deployment: two.Deployment})
		},
		"previews/what does not exist": func(t *testing.T, e Env) {
			previews := previewsOf(t, e)
			tree := newTree()
			pointer := site.Pointer{Sequence: 1, Pipeline: tree.Pipeline, Deployment: tree.Deployment}
			wantNotFound(t, "Point of no distribution", previews.Point(t.Context(), "none", "pr-1", pointer))
			if err := previews.Unpoint(t.Context(), "none", "pr-1", math.MaxInt64); err != nil {
				t.Errorf("Unpoint of no distribution: %v", err)
			}
			d, _, _ := create(t, e)
			if err := previews.Unpoint(t.Context(), d.ID, "pr-1", 0); err != nil {
				t.Errorf("Unpoint of no label: %v", err)
			}
			for _, label := range []string{"", ".", "..", "../pr-1", "a/b", "A", "a.b", "a:1", "a--b", "-a", "a-", "é", "a\x00"} {
				if err := previews.Point(t.Context(), d.ID, label, pointer); err == nil {
					t.Errorf("Point of the label %q succeeded, want an error", label)
				}
			}
		},
	}
}

func previewServingTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"serving/previews": func(t *testing.T, e Env) {
			previews := previewsOf(t, e)
			live := newLive(t, e)
			host := func(label string) string { return label + "--" + live.host }
			live.release(map[string]string{"index.html": "live"}, false)
			one, two := another(live.tree), another(live.tree)
			store(t, e, one, "index.html", "one")
			store(t, e, two, "index.html", "two")
			point(t, e, live.d.ID, "pr-1", site.Pointer{Sequence: 1, Pipeline: one.Pipeline, Deployment: one.Deployment})
			point(t, e, live.d.ID, "pr-2", site.Pointer{Sequence: 1, Pipeline: two.Pipeline, Deployment: two.Deployment})
			live.wantAt(host("pr-3"), "/", http.StatusNotFound, "", "")
			live.wantAt(host("pr-1"), "/", http.StatusOK, "one", "")
			live.wantAt(host("pr-2"), "/", http.StatusOK, "two", "")
			live.want("/", http.StatusOK, "live")
			point(t, e, live.d.ID, "pr-1", site.Pointer{Sequence: 2, Pipeline: two.Pipeline, Deployment: two.Deployment})
			live.wantAt(host("pr-1"), "/", http.StatusOK, "two", "")
			if err := previews.Unpoint(t.Context(), live.d.ID, "pr-1", 2); err != nil {
				t.Fatal(err)
			}
			live.wantAt(host("pr-1"), "/", http.StatusNotFound, "", "")
			live.wantAt(host("pr-2"), "/", http.StatusOK, "two", "")
			remove(t, e, live.d.ID)
			live.wantAt(host("pr-2"), "/", http.StatusNotFound, "", "")
		},
	}
}
