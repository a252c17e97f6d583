package cloudtest

import (
	"errors"
	"testing"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// RunLife takes one site from its creation to its deletion: it makes a
// distribution and a record, releases two trees, rolls back to the first, and
// deletes everything.
func RunLife(t *testing.T, e Env) {
	t.Helper()
	ctx := t.Context()
	d, reference, host := create(t, e)
	if err := e.Cloud.DNS.Upsert(ctx, host, d.Domain); err != nil {
		t.Fatalf("Upsert: %v", err)
	}
	deployed(t, e, d.ID)
	first := newTree()
	second := another(first)
	store(t, e, first, "index.html", "one")
	store(t, e, second, "index.html", "two")
	for i, tree := range []site.Tree{first, second, first} {
		if err := e.Cloud.CDN.Flip(ctx, d.ID, pointer(tree, int64(i+1))); err != nil {
			t.Fatalf("Flip %d: %v", i+1, err)
		}
	}
	remove(t, e, d.ID)
	if err := e.Cloud.DNS.Delete(ctx, host, d.Domain); err != nil {
		t.Fatalf("delete the record: %v", err)
	}
	if _, err := e.Cloud.Store.RemoveAll(ctx, first.Pipeline); err != nil {
		t.Fatalf("RemoveAll: %v", err)
	}
	if _, err := e.Cloud.CDN.Find(ctx, reference); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("the distribution is still there: %v", err)
	}
	if _, err := e.Cloud.DNS.Lookup(ctx, host); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("the record is still there: %v", err)
	}
	if n, err := e.Cloud.Store.RemoveAll(ctx, first.Pipeline); n != 0 || err != nil {
		t.Errorf("%d objects still exist, %v", n, err)
	}
}
