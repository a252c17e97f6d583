package cloudtest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

func dnsTests() map[string]func(*testing.T, Env) {
	upsert := func(t *testing.T, e Env, host, target string) {
		t.Helper()
		if err := e.Cloud.DNS.Upsert(t.Context(), host, target); err != nil {
			t.Fatalf("Upsert: %v", err)
		}
	}
	remove := func(t *testing.T, e Env, host, target string) {
		t.Helper()
		if err := e.Cloud.DNS.Delete(t.Context(), host, target); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	want := func(t *testing.T, e Env, host, target string) {
		t.Helper()
		got, err := e.Cloud.DNS.Lookup(t.Context(), host)
		if err != nil || got != target {
			t.Fatalf("Lookup: %q, %v; want %q", got, err, target)
		}
	}
	return map[string]func(*testing.T, Env){
		"dns/lookup of a missing one is ErrNotFound": func(t *testing.T, e Env) {
			_, err := e.Cloud.DNS.Lookup(t.Context(), e.host())
			wantNotFound(t, "Lookup", err)
		},
		"dns/upsert makes and repeats": func(t *testing.T, e Env) {
			host := e.host()
			for range 2 {
				upsert(t, e, host, "one.cdn.example")
				want(t, e, host, "one.cdn.example")
			}
		},
		"dns/a record that points elsewhere is a conflict and stays": func(t *testing.T, e Env) {
			host := e.host()
			upsert(t, e, host, "other.cdn.example")
			for range 2 {
				err := e.Cloud.DNS.Upsert(t.Context(), host, "one.cdn.example")
				if troy.KindOf(err) != troy.Conflict || !strings.Contains(err.Error(), "that Troy did not make") || !strings.Contains(err.Error(), "other.cdn.example") {
					t.Fatalf("Upsert: %v, want a Conflict that names the record", err)
				}
				remove(t, e, host, "one.cdn.example")
				want(t, e, host, "other.cdn.example")
			}
			remove(t, e, host, "other.cdn.example")
			upsert(t, e, host, "one.cdn.example")
			want(t, e, host, "one.cdn.example")
		},
		"dns/hosts are compared without case": func(t *testing.T, e Env) {
			host := e.host()
			upsert(t, e, strings.ToUpper(host), "one.cdn.example")
			want(t, e, host, "one.cdn.example")
		},
		"dns/delete spares a record that points elsewhere": func(t *testing.T, e Env) {
			host := e.host()
			remove(t, e, host, "one.cdn.example")
			upsert(t, e, host, "one.cdn.example")
			remove(t, e, host, "two.cdn.example")
			want(t, e, host, "one.cdn.example")
			for range 2 {
				remove(t, e, host, "one.cdn.example")
				_, err := e.Cloud.DNS.Lookup(t.Context(), host)
				wantNotFound(t, "Lookup", err)
			}
		},
		"dns/an invalid host is refused": func(t *testing.T, e Env) {
			for _, host := range []string{"", "../x." + e.Domain, "a/b." + e.Domain} {
				if err := e.Cloud.DNS.Upsert(t.Context(), host, "one.cdn.example"); troy.KindOf(err) != troy.Invalid {
					t.Fatalf("Upsert of %q: %v, want Invalid", host, err)
				}
			}
		},
	}
}

// contextTests checks that every call fails with its context's error if the
// context has ended.
func contextTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"context/ended": func(t *testing.T, e Env) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			c, tree, f := e.Cloud, newTree(), file("a.txt", "a")
			begin(t, e, tree, f)
			d, _, host := create(t, e)
			calls := map[string]func() error{
				"Begin": func() error { _, err := c.Store.Begin(ctx, tree, manifest(f)); return err },
				"Put":   func() error { return c.Store.Put(ctx, tree, f, strings.NewReader("a")) },
				"PutAll": func() error {
					_, err := c.Store.PutAll(ctx, tree, []site.File{f}, strings.NewReader("a"))
					return err
				},
				"Seal":      func() error { return c.Store.Seal(ctx, tree, nil, nil) },
				"Manifest":  func() error { _, err := c.Store.Manifest(ctx, tree); return err },
				"Remove":    func() error { return c.Store.Remove(ctx, tree.Pipeline, tree.Deployment) },
				"RemoveAll": func() error { _, err := c.Store.RemoveAll(ctx, tree.Pipeline); return err },
				"Trees":     func() error { _, err := c.Store.Trees(ctx, tree.Pipeline); return err },
				"Create":    func() error { _, err := c.CDN.Create(ctx, "reference", e.host()); return err },
				"Find":      func() error { _, err := c.CDN.Find(ctx, "reference"); return err },
				"Get":       func() error { _, err := c.CDN.Get(ctx, d.ID); return err },
				"Disable":   func() error { return c.CDN.Disable(ctx, d.ID, d.ETag) },
				"Delete":    func() error { return c.CDN.Delete(ctx, d.ID, d.ETag) },
				"Flip":      func() error { return c.CDN.Flip(ctx, d.ID, pointer(tree, 1)) },
				"Lookup":    func() error { _, err := c.DNS.Lookup(ctx, host); return err },
				"Upsert":    func() error { return c.DNS.Upsert(ctx, host, "one.cdn.example") },
				"DNS Delete": func() error {
					return c.DNS.Delete(ctx, host, "one.cdn.example")
				},
			}
			for name, call := range calls {
				if err := call(); !errors.Is(err, context.Canceled) || errors.Is(err, cloud.ErrNotFound) {
					t.Errorf("%s with an ended context: %v, want context.Canceled", name, err)
				}
			}
			if got := get(t, e, d.ID); !got.Enabled {
				t.Error("the distribution was disabled")
			}
		},
	}
}
