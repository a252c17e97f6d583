package localcloud_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/site"
)

// TestDamagedUploads damages a pack and a blob before their Seal: a repair sets
// them aside, and they are sent again.
func TestDamagedUploads(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s, tree := open(t, root, 0).Store, newTree()
	x := several("a", 50)
	x["large"] = strings.Repeat("large", 20_000)
	x.send(t, s, tree, 100)
	uploads, err := filepath.Glob(filepath.Join(site.Layout{Root: root}.Unsynced(tree.Pipeline), "*"))
	if err != nil || len(uploads) != 2 {
		t.Fatalf("the uploads are %v, %v", uploads, err)
	}
	for _, name := range uploads {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		data[len("troypak1")+32+4] ^= 1 // in the pack's first file
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := check(t, root, true)
	if len(r.Damaged) != 2 || !strings.Contains(r.Damaged[0].Problem, "moved") || !strings.Contains(r.Damaged[1].Problem, "moved") {
		t.Errorf("the repair found %+v", r.Damaged)
	}
	if packs := packsOf(t, root, tree); len(packs) > 0 {
		t.Errorf("uploads are in packs before their Seal: %v", packs)
	}
	wantNoFaults(t, root)
	missing, err := s.Begin(t.Context(), tree, x.manifest())
	if err != nil || len(missing) != 2 {
		t.Errorf("%d files are missing, %v; want 2", len(missing), err)
	}
	x.seal(t, s, tree)
	x.want(t, s, tree)
	wantNoFaults(t, root)
}
