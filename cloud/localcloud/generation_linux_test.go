package localcloud_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/generation"
	"github.com/troy-iaas/troy/site"
)

// TestEdgesLearnOfEachChange checks that each change of a file that edges read
// is counted.
func TestEdgesLearnOfEachChange(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	c := open(t, root, 0)
	counter := generation.Watch(site.Layout{Root: root}.Generation())
	if counter.Load() == 0 {
		t.Skip("the temporary folder's file system can't share memory")
	}
	const host = "counted.sites.example"
	changes := func(what string, change func() error) {
		t.Helper()
		before := counter.Load()
		if err := change(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if counter.Load() == before {
			t.Errorf("%s is not counted", what)
		}
	}
	d, err := c.CDN.Create(t.Context(), "reference", host)
	if err != nil {
		t.Fatal(err)
	}
	pointer := site.Pointer{Sequence: 1, Pipeline: uuid.New(), Deployment: uuid.New()}
	changes("a record", func() error { return c.DNS.Upsert(t.Context(), host, d.Domain) })
	changes("a flip", func() error { return c.CDN.Flip(t.Context(), d.ID, pointer) })
	changes("a repeated flip", func() error { return c.CDN.Flip(t.Context(), d.ID, pointer) })
	protector, protection := c.CDN.(cloud.Protector), site.Protection{Sequence: 1}
	changes("a protection", func() error { return protector.Protect(t.Context(), d.ID, protection) })
	changes("a repeated protection", func() error { return protector.Protect(t.Context(), d.ID, protection) })
	changes("a disabled distribution", func() error { return c.CDN.Disable(t.Context(), d.ID, d.ETag) })
	if d, err = c.CDN.Get(t.Context(), d.ID); err != nil {
		t.Fatal(err)
	}
	changes("a removed distribution", func() error { return c.CDN.Delete(t.Context(), d.ID, d.ETag) })
	changes("a removed record", func() error { return c.DNS.Delete(t.Context(), host, d.Domain) })
	changes("a new distribution", func() error {
		_, err := c.CDN.Create(t.Context(), "another", host)
		return err
	})
}
