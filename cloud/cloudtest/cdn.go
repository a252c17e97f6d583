package cloudtest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

func create(t *testing.T, e Env) (d cloud.Distribution, reference, host string) {
	t.Helper()
	reference, host = uuid.NewString(), e.host()
	d, err := e.Cloud.CDN.Create(t.Context(), reference, host)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return d, reference, host
}

func get(t *testing.T, e Env, id string) cloud.Distribution {
	t.Helper()
	d, err := e.Cloud.CDN.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return d
}

// deployed waits until a distribution's last change is effective everywhere.
func deployed(t *testing.T, e Env, id string) cloud.Distribution {
	t.Helper()
	var d cloud.Distribution
	eventually(t, e, "deployed", func(ctx context.Context) bool {
		var err error
		d, err = e.Cloud.CDN.Get(ctx, id)
		if err != nil {
			t.Fatalf("Get: %v", err)
		}
		return d.Deployed
	})
	return d
}

// remove disables and deletes a distribution.
func remove(t *testing.T, e Env, id string) {
	t.Helper()
	d := get(t, e, id)
	if err := e.Cloud.CDN.Disable(t.Context(), id, d.ETag); err != nil {
		t.Fatalf("Disable: %v", err)
	}
	eventually(t, e, "deleted", func(ctx context.Context) bool {
		d, err := e.Cloud.CDN.Get(ctx, id)
		if err != nil {
			t.Fatalf("Get: %v", err)
		}
		if d.Enabled || !d.Deployed {
			return false
		}
		err = e.Cloud.CDN.Delete(ctx, id, d.ETag)
		if err != nil && !errors.Is(err, cloud.ErrNotDisabled) && !errors.Is(err, cloud.ErrPrecondition) {
			t.Fatalf("Delete: %v", err)
		}
		return err == nil
	})
}

func cdnTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"cdn/create is enabled and in progress": func(t *testing.T, e Env) {
			d, _, _ := create(t, e)
			if d.ID == "" || d.Domain == "" || d.ETag == "" || !d.Enabled {
				t.Fatalf("Create returned %+v", d)
			}
			if d.Deployed != e.lacks(LacksPropagation) {
				t.Fatalf("a fresh distribution's Deployed is %v", d.Deployed)
			}
			if got := deployed(t, e, d.ID); !got.Enabled || got.Domain != d.Domain {
				t.Fatalf("it became %+v, was %+v", got, d)
			}
		},
		"cdn/a reference used again is ErrExists": func(t *testing.T, e Env) {
			d, reference, host := create(t, e)
			for _, again := range []string{host, e.host()} {
				if _, err := e.Cloud.CDN.Create(t.Context(), reference, again); !errors.Is(err, cloud.ErrExists) {
					t.Fatalf("Create: %v, want ErrExists", err)
				}
			}
			if got := get(t, e, d.ID); got.ETag != d.ETag {
				t.Fatal("the refused Create changed the distribution")
			}
		},
		"cdn/create by many at once makes one": func(t *testing.T, e Env) {
			reference, host := uuid.NewString(), e.host()
			var group sync.WaitGroup
			errs := make([]error, 8)
			for i := range errs {
				group.Go(func() { _, errs[i] = e.Cloud.CDN.Create(t.Context(), reference, host) })
			}
			group.Wait()
			made := 0
			for _, err := range errs {
				if err == nil {
					made++
				} else if !errors.Is(err, cloud.ErrExists) {
					t.Fatalf("Create: %v, want nil or ErrExists", err)
				}
			}
			if made != 1 {
				t.Fatalf("%d were made, want 1", made)
			}
		},
		"cdn/find adopts what a lost answer made": func(t *testing.T, e Env) {
			_, err := e.Cloud.CDN.Find(t.Context(), uuid.NewString())
			wantNotFound(t, "Find", err)
			d, reference, _ := create(t, e)
			found, err := e.Cloud.CDN.Find(t.Context(), reference)
			if err != nil || found.ID != d.ID || found.Domain != d.Domain || !found.Enabled {
				t.Fatalf("Find: %+v, %v; want %+v", found, err, d)
			}
		},
		"cdn/a host of another distribution is a conflict": func(t *testing.T, e Env) {
			if e.lacks(LacksHostConflict) {
				t.Skip("the adapter lacks it")
			}
			d, _, host := create(t, e)
			reference := uuid.NewString()
			if _, err := e.Cloud.CDN.Create(t.Context(), reference, host); troy.KindOf(err) != troy.Conflict {
				t.Fatalf("Create: %v, want a Conflict", err)
			}
			_, err := e.Cloud.CDN.Find(t.Context(), reference)
			wantNotFound(t, "Find of the refused one", err)
			remove(t, e, d.ID)
			if _, err := e.Cloud.CDN.Create(t.Context(), reference, host); err != nil {
				t.Fatalf("Create once the host is free: %v", err)
			}
		},
		"cdn/get of a missing one is ErrNotFound": func(t *testing.T, e Env) {
			for _, id := range []string{"d0123456789abcdef0123", "../records/x", ""} {
				_, err := e.Cloud.CDN.Get(t.Context(), id)
				wantNotFound(t, "Get", err)
			}
		},
		"cdn/disable is guarded and takes a while": func(t *testing.T, e Env) {
			d, _, _ := create(t, e)
			if err := e.Cloud.CDN.Disable(t.Context(), d.ID, "another-etag"); !errors.Is(err, cloud.ErrPrecondition) {
				t.Fatalf("Disable with another ETag: %v, want ErrPrecondition", err)
			}
			before := deployed(t, e, d.ID)
			if !before.Enabled {
				t.Fatal("the refused Disable disabled")
			}
			if err := e.Cloud.CDN.Disable(t.Context(), d.ID, before.ETag); err != nil {
				t.Fatalf("Disable: %v", err)
			}
			after := get(t, e, d.ID)
			if after.Enabled || after.ETag == before.ETag || after.Deployed != e.lacks(LacksPropagation) {
				t.Fatalf("after Disable it is %+v, before %+v", after, before)
			}
			if err := e.Cloud.CDN.Disable(t.Context(), d.ID, before.ETag); !errors.Is(err, cloud.ErrPrecondition) {
				t.Fatalf("Disable with the earlier ETag: %v, want ErrPrecondition", err)
			}
			if err := e.Cloud.CDN.Disable(t.Context(), d.ID, after.ETag); err != nil {
				t.Fatalf("Disable of a disabled one: %v", err)
			}
			if got := deployed(t, e, d.ID); got.Enabled {
				t.Fatal("it is enabled again")
			}
		},
		"cdn/disable of a missing one is ErrNotFound": func(t *testing.T, e Env) {
			d, _, _ := create(t, e)
			remove(t, e, d.ID)
			wantNotFound(t, "Disable", e.Cloud.CDN.Disable(t.Context(), d.ID, d.ETag))
		},
		"cdn/delete requires disabled and deployed": func(t *testing.T, e Env) {
			d, _, _ := create(t, e)
			d = deployed(t, e, d.ID)
			if err := e.Cloud.CDN.Delete(t.Context(), d.ID, d.ETag); !errors.Is(err, cloud.ErrNotDisabled) {
				t.Fatalf("Delete of an enabled one: %v, want ErrNotDisabled", err)
			}
			if err := e.Cloud.CDN.Disable(t.Context(), d.ID, d.ETag); err != nil {
				t.Fatal(err)
			}
			if !e.lacks(LacksPropagation) {
				in := get(t, e, d.ID)
				if err := e.Cloud.CDN.Delete(t.Context(), d.ID, in.ETag); !errors.Is(err, cloud.ErrNotDisabled) {
					t.Fatalf("Delete while disabling: %v, want ErrNotDisabled", err)
				}
			}
			deployed(t, e, d.ID)
			if err := e.Cloud.CDN.Delete(t.Context(), d.ID, d.ETag); !errors.Is(err, cloud.ErrPrecondition) {
				t.Fatalf("Delete with the ETag of before: %v, want ErrPrecondition", err)
			}
		},
		"cdn/delete leaves nothing, twice": func(t *testing.T, e Env) {
			d, reference, _ := create(t, e)
			if err := e.Cloud.CDN.Flip(t.Context(), d.ID, pointer(newTree(), 1)); err != nil {
				t.Fatal(err)
			}
			remove(t, e, d.ID)
			_, err := e.Cloud.CDN.Get(t.Context(), d.ID)
			wantNotFound(t, "Get", err)
			_, err = e.Cloud.CDN.Find(t.Context(), reference)
			wantNotFound(t, "Find", err)
			if err := e.Cloud.CDN.Delete(t.Context(), d.ID, d.ETag); err != nil {
				t.Fatalf("Delete of one that is gone: %v", err)
			}
		},
	}
}

func pointer(tree site.Tree, sequence int64) site.Pointer {
	return site.Pointer{Sequence: sequence, Pipeline: tree.Pipeline, Deployment: tree.Deployment}
}

func pointerTests() map[string]func(*testing.T, Env) {
	flip := func(t *testing.T, e Env, id string, p site.Pointer) {
		t.Helper()
		if err := e.Cloud.CDN.Flip(t.Context(), id, p); err != nil {
			t.Fatalf("Flip to sequence %d: %v", p.Sequence, err)
		}
	}
	stale := func(t *testing.T, e Env, id string, p site.Pointer) {
		t.Helper()
		if err := e.Cloud.CDN.Flip(t.Context(), id, p); !errors.Is(err, cloud.ErrStalePointer) {
			t.Fatalf("Flip to sequence %d: %v, want ErrStalePointer", p.Sequence, err)
		}
	}
	return map[string]func(*testing.T, Env){
		"pointer/moves forward only": func(t *testing.T, e Env) {
			d, _, _ := create(t, e)
			tree := newTree()
			store(t, e, tree, "index.html", "one")
			second := another(tree)
			store(t, e, second, "index.html", "two")
			flip(t, e, d.ID, pointer(tree, 5))
			flip(t, e, d.ID, pointer(tree, 5)) // the same again
			stale(t, e, d.ID, pointer(second, 4))
			stale(t, e, d.ID, pointer(second, 5))
			flip(t, e, d.ID, pointer(second, 7))
			stale(t, e, d.ID, pointer(tree, 5))
			flip(t, e, d.ID, pointer(tree, 8)) // back to an earlier deployment
		},
		"pointer/of many at once the highest wins": func(t *testing.T, e Env) {
			d, _, _ := create(t, e)
			tree := newTree()
			store(t, e, tree, "index.html", "one")
			var group sync.WaitGroup
			errs := make([]error, 8)
			for i := range errs {
				group.Go(func() { errs[i] = e.Cloud.CDN.Flip(t.Context(), d.ID, pointer(tree, int64(i+1))) })
			}
			group.Wait()
			for i, err := range errs {
				if err != nil && (i == len(errs)-1 || !errors.Is(err, cloud.ErrStalePointer)) {
					t.Fatalf("Flip to sequence %d: %v", i+1, err)
				}
			}
			stale(t, e, d.ID, pointer(tree, int64(len(errs)-1)))
			flip(t, e, d.ID, pointer(tree, int64(len(errs))))
		},
		"pointer/of one that is gone is ErrNotFound": func(t *testing.T, e Env) {
			d, _, _ := create(t, e)
			remove(t, e, d.ID)
			wantNotFound(t, "Flip", e.Cloud.CDN.Flip(t.Context(), d.ID, pointer(newTree(), 1)))
		},
	}
}
