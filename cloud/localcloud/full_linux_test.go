package localcloud_test

import (
	"bytes"
	"crypto/sha256"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

func TestFullDisk(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("mounting a small disk needs privileges: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	s := open(t, root, 0).Store
	tree, big := newTree(), bytes.Repeat([]byte("x"), 1<<20)
	f := site.File{Path: "big", SHA256: sha256.Sum256(big), Size: int64(len(big))}
	if _, err := s.Begin(t.Context(), tree, site.Manifest{Files: []site.File{f}}); err != nil {
		t.Fatal(err)
	}
	err := s.Put(t.Context(), tree, f, bytes.NewReader(big))
	if troy.KindOf(err) != troy.Unavailable || !strings.Contains(err.Error(), "the store's disk is full") {
		t.Fatalf("Put: %v, want Unavailable", err)
	}
	folder := site.Layout{Root: root}.Site(tree.Pipeline)
	if n := count(t, filepath.Join(folder, "incoming")) + count(t, filepath.Join(folder, "blobs")); n != 0 {
		t.Fatalf("%d files are left", n)
	}
}
