package localcloud_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/internal/disk"
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
	var small []site.File
	for i := range 100 {
		text := big[:4000+i]
		small = append(small, site.File{Path: fmt.Sprint(i), SHA256: sha256.Sum256(text), Size: int64(len(text))})
	}
	stored, err := s.PutAll(t.Context(), tree, small, bytes.NewReader(big))
	if stored != 0 || troy.KindOf(err) != troy.Unavailable || !strings.Contains(err.Error(), "the store's disk is full") {
		t.Fatalf("PutAll: %d, %v, want Unavailable", stored, err)
	}
	err = s.Put(t.Context(), tree, f, bytes.NewReader(big))
	if troy.KindOf(err) != troy.Unavailable || !strings.Contains(err.Error(), "the store's disk is full") {
		t.Fatalf("Put: %v, want Unavailable", err)
	}
	folder := site.Layout{Root: root}.Site(tree.Pipeline)
	if n := count(t, filepath.Join(folder, "incoming")) + count(t, filepath.Join(folder, "unsynced")); n != 0 {
		t.Fatalf("%d files are left", n)
	}
}

// Unfinished uploads leave the bytes and files that provisioning needs.
func TestUploadsLeaveAReserve(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]string{"bytes": "size=2m", "files": "size=64m,nr_inodes=600"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			if err := syscall.Mount("tmpfs", root, "tmpfs", 0, options); err != nil {
				t.Skipf("mounting a small disk needs privileges: %v", err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(root, 0); err != nil {
					t.Error(err)
				}
			})
			box := open(t, root, 0)
			tree := newTree()
			files, contents := []site.File{}, map[site.Digest][]byte{}
			for i := range 1000 {
				content := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 4<<10)
				f := site.File{Path: fmt.Sprint(i), SHA256: sha256.Sum256(content), Size: int64(len(content))}
				files, contents[f.SHA256] = append(files, f), content
			}
			if _, err := box.Store.Begin(t.Context(), tree, site.Manifest{Files: files}); err != nil {
				t.Fatal(err)
			}
			var err error
			for _, f := range files {
				if err = box.Store.Put(t.Context(), tree, f, bytes.NewReader(contents[f.SHA256])); err != nil {
					break
				}
			}
			if troy.KindOf(err) != troy.Unavailable || !strings.Contains(err.Error(), "reserved") {
				t.Fatalf("Put: %v, want Unavailable", err)
			}
			for i := range 5 {
				host := fmt.Sprintf("site-%d.localhost", i)
				d, err := box.CDN.Create(t.Context(), uuid.NewString(), host)
				if err != nil {
					t.Fatalf("another pipeline's distribution: %v", err)
				}
				if err := box.DNS.Upsert(t.Context(), host, d.Domain); err != nil {
					t.Fatalf("another pipeline's record: %v", err)
				}
			}
			if n, err := box.Store.RemoveAll(t.Context(), tree.Pipeline); err != nil || n == 0 {
				t.Errorf("removed %d: %v", n, err)
			}
		})
	}
}

// TestFullDiskOfCertificates fills the disk after a custom host was attached: its
// state says so, although the edge can't write the reason.
func TestFullDiskOfCertificates(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("mounting a small disk needs privileges: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	box, err := localcloud.New(localcloud.Config{Root: root, Certificates: true})
	if err != nil {
		t.Fatal(err)
	}
	d, err := box.CDN.Create(t.Context(), "one", "blog.sites.test")
	if err != nil {
		t.Fatal(err)
	}
	if err := box.Domains.Attach(t.Context(), d.ID, cloud.CustomHost{Host: "www.example.com"}); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(root, "filler")
	for _, full := range []bool{false, true, false} {
		if full {
			if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !disk.IsFull(err) {
				t.Fatalf("fill the disk: %v", err)
			}
		} else if err := os.RemoveAll(filler); err != nil {
			t.Fatal(err)
		}
		state, err := box.Domains.Host(t.Context(), d.ID, "www.example.com")
		if err != nil || state.Certificate != cloud.CertificateWaiting || strings.Contains(state.Problem, "The disk of the data folder is full, so a certificate for www.example.com can't be stored") != full {
			t.Errorf("with a full disk (%t) the state is %+v, %v", full, state, err)
		}
	}
}
