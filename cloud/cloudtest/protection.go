package cloudtest

import (
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// from returns a protection that lets one network in.
func from(sequence int64, network string) site.Protection {
	return site.Protection{Sequence: sequence, Networks: []netip.Prefix{netip.MustParsePrefix(network)}}
}

func protectionTests() map[string]func(*testing.T, Env) {
	protector := func(t *testing.T, e Env) cloud.Protector {
		t.Helper()
		p, ok := e.Cloud.CDN.(cloud.Protector)
		if !ok {
			t.Fatal("the CDN is not a Protector")
		}
		return p
	}
	protect := func(t *testing.T, e Env, id string, p site.Protection) {
		t.Helper()
		if err := protector(t, e).Protect(t.Context(), id, p); err != nil {
			t.Fatalf("Protect with sequence %d: %v", p.Sequence, err)
		}
	}
	stale := func(t *testing.T, e Env, id string, p site.Protection, inForce int64) {
		t.Helper()
		err := protector(t, e).Protect(t.Context(), id, p)
		got, ok := errors.AsType[*cloud.StaleProtectionError](err)
		if !ok || !errors.Is(err, cloud.ErrStaleProtection) || got.InForce != inForce {
			t.Fatalf("Protect with sequence %d: %v, want a StaleProtectionError with %d in force", p.Sequence, err, inForce)
		}
	}
	return map[string]func(*testing.T, Env){
		"protection/never goes back": func(t *testing.T, e Env) {
			protector(t, e)
			d, _, _ := create(t, e)
			protect(t, e, d.ID, from(5, "203.0.113.0/24"))
			protect(t, e, d.ID, from(5, "203.0.113.0/24")) // the same again
			stale(t, e, d.ID, from(4, "198.51.100.0/24"), 5)
			stale(t, e, d.ID, from(5, "198.51.100.0/24"), 5)
			stale(t, e, d.ID, site.Protection{Sequence: 4}, 5)
			protect(t, e, d.ID, site.Protection{Sequence: 6}) // off
			stale(t, e, d.ID, from(5, "203.0.113.0/24"), 6)
			protect(t, e, d.ID, from(7, "203.0.113.0/24"))
		},
		"protection/of many at once the highest wins": func(t *testing.T, e Env) {
			p := protector(t, e)
			d, _, _ := create(t, e)
			var group sync.WaitGroup
			errs := make([]error, 8)
			for i := range errs {
				group.Go(func() { errs[i] = p.Protect(t.Context(), d.ID, from(int64(i+1), "203.0.113.0/24")) })
			}
			group.Wait()
			for i, err := range errs {
				if err != nil && (i == len(errs)-1 || !errors.Is(err, cloud.ErrStaleProtection)) {
					t.Fatalf("Protect with sequence %d: %v", i+1, err)
				}
			}
			stale(t, e, d.ID, from(1, "203.0.113.0/24"), int64(len(errs)))
		},
		"protection/does not get in the way of the end": func(t *testing.T, e Env) {
			p := protector(t, e)
			d, _, _ := create(t, e)
			protect(t, e, d.ID, from(1, "203.0.113.0/24"))
			if got := get(t, e, d.ID); got.ETag != d.ETag || !got.Enabled {
				t.Fatalf("Protect changed the distribution to %+v", got)
			}
			remove(t, e, d.ID)
			wantNotFound(t, "Protect", p.Protect(t.Context(), d.ID, from(2, "203.0.113.0/24")))
			wantNotFound(t, "Protect of a name that is not an id", p.Protect(t.Context(), "../records/x", from(2, "203.0.113.0/24")))
		},
		"protection/survives flips": func(t *testing.T, e Env) {
			protector(t, e)
			d, _, _ := create(t, e)
			protect(t, e, d.ID, from(3, "203.0.113.0/24"))
			tree := newTree()
			store(t, e, tree, "index.html", "one")
			if err := e.Cloud.CDN.Flip(t.Context(), d.ID, pointer(tree, 9)); err != nil {
				t.Fatal(err)
			}
			stale(t, e, d.ID, from(2, "203.0.113.0/24"), 3)
		},
	}
}
