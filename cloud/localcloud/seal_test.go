package localcloud_test

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/site"
)

// TestSealAgain seals a tree again: it writes only if the manifest differs, if an
// earlier Seal was killed after it had renamed the manifest, or if files wait to be
// synced. It syncs the file system only in the last two cases.
func TestSealAgain(t *testing.T) {
	t.Parallel()
	root, syncs := t.TempDir(), 0
	box := open(t, root, 0)
	localcloud.Boot(box, "one", func(string) error { syncs++; return nil })
	first := newTree()
	tree := site.Tree{Pipeline: first.Pipeline, Deployment: newTree().Deployment}
	seal(t, box.Store, first, map[string]string{"old.js": "old"})
	seal(t, box.Store, tree, map[string]string{"index.html": "new"})
	layout := site.Layout{Root: root}
	carried := []site.Carried{{File: content("old.js", "old"), Until: 1}}
	stat := func() os.FileInfo {
		info, err := os.Stat(layout.Tree(tree))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	for _, step := range []struct {
		name    string
		carried []site.Carried
		killed  bool
		sent    bool // whether a file was sent since
		writes  bool
		syncs   bool
	}{
		{name: "with nothing new"},
		{name: "with a carried file", carried: carried, writes: true},
		{name: "with it again", carried: carried},
		{name: "after a kill", carried: carried, killed: true, writes: true, syncs: true},
		{name: "after that", carried: carried},
		{name: "with an upload that waits", carried: carried, sent: true, writes: true, syncs: true},
		{name: "after its end", carried: carried},
	} {
		if step.killed {
			if err := os.WriteFile(layout.OpenTree(tree), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if step.sent {
			f, other := content("other.html", "other"), site.Tree{Pipeline: tree.Pipeline, Deployment: newTree().Deployment}
			if _, err := box.Store.Begin(t.Context(), other, site.Manifest{Files: []site.File{f}}); err != nil {
				t.Fatal(err)
			}
			if err := box.Store.Put(t.Context(), other, f, strings.NewReader("other")); err != nil {
				t.Fatal(err)
			}
		}
		before := stat()
		syncs = 0
		if err := box.Store.Seal(t.Context(), tree, step.carried, nil); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if wrote := !os.SameFile(before, stat()); wrote != step.writes || syncs > 0 != step.syncs {
			t.Errorf("%s: wrote the manifest: %t, synced %d times; want %t, %t", step.name, wrote, syncs, step.writes, step.syncs)
		}
		if _, err := os.Stat(layout.OpenTree(tree)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the tree is open: %v", step.name, err)
		}
	}
}

// TestManifestOfAnotherProcess reads a manifest, lets another process seal the
// tree anew, and reads it again.
func TestManifestOfAnotherProcess(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	first, tree := newTree(), newTree()
	first.Pipeline = tree.Pipeline
	reader, writer := open(t, root, 0), open(t, root, 0)
	seal(t, writer.Store, first, map[string]string{"old.js": "old"})
	seal(t, writer.Store, tree, map[string]string{"index.html": "new"})
	for _, carried := range [][]site.Carried{nil, {{File: content("old.js", "old"), Until: 1}}, {{File: content("old.js", "old"), Until: 2}}} {
		if err := writer.Store.Seal(t.Context(), tree, carried, nil); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if m, err := reader.Store.Manifest(t.Context(), tree); err != nil || !slices.Equal(m.Carried, carried) {
				t.Errorf("carried %v, %v, want %v", m.Carried, err, carried)
			}
		}
	}
}

// TestSealAsDeclared seals trees: the declared manifest gets a second name if
// nothing is added to it, and otherwise a new one has what is added.
func TestSealAsDeclared(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	layout := site.Layout{Root: root}
	first := newTree()
	seal(t, open(t, root, 0).Store, first, map[string]string{"old.js": "old"})
	for name, add := range map[string]struct {
		carried []site.Carried
		rules   string
	}{
		"nothing": {}, "rules": {rules: "{}"}, "a carried file": {carried: []site.Carried{{File: content("old.js", "old"), Until: 1}}},
	} {
		tree := site.Tree{Pipeline: first.Pipeline, Deployment: newTree().Deployment}
		store := open(t, root, 0).Store
		send(t, store, tree, map[string]string{"index.html": "new"})
		declared, err := os.Stat(layout.OpenTree(tree))
		if err != nil {
			t.Fatal(err)
		}
		var rules []byte
		if add.rules != "" {
			rules = []byte(add.rules)
		}
		if err := store.Seal(t.Context(), tree, add.carried, rules); err != nil {
			t.Fatal(err)
		}
		sealed, err := os.Stat(layout.Tree(tree))
		if same := os.SameFile(declared, sealed); err != nil || same != (name == "nothing") {
			t.Errorf("%s: the sealed manifest is the declared file: %t, %v", name, same, err)
		}
		if m, err := open(t, root, 0).Store.Manifest(t.Context(), tree); err != nil || string(m.Rules) != add.rules || !slices.Equal(m.Carried, add.carried) || len(m.Files) != 1 {
			t.Errorf("%s: the manifest is %+v, %v", name, m, err)
		}
	}
}
