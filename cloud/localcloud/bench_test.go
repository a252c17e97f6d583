package localcloud_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// tree writes a site of n files of about size bytes each, like a documentation's.
func tree(b *testing.B, n, size int) (dir string, m site.Manifest) {
	b.Helper()
	dir = b.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		length := int(float64(size) * random.ExpFloat64())
		var text bytes.Buffer
		for text.Len() < length {
			fmt.Fprintf(&text, "<p>%x</p>\n", random.Uint64())
		}
		name := fmt.Sprintf("%03d/%05d.html", i%500, i)
		data := text.Bytes()[:min(length, text.Len())]
		m.Files = append(m.Files, site.File{Path: name, SHA256: sha256.Sum256(data), Size: int64(len(data))})
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir, m
}

// BenchmarkRelease stores and seals a site, beside cp -r and a sync of the same
// files.
func BenchmarkRelease(b *testing.B) {
	for _, shape := range []struct{ files, size int }{{10_286, 26_000}, {52_777, 740}} {
		dir, m := tree(b, shape.files, shape.size)
		b.Run(fmt.Sprintf("%d files/store", shape.files), func(b *testing.B) {
			for range b.N {
				s, tree := open(b, b.TempDir(), 0).Store, newTree()
				missing, err := s.Begin(b.Context(), tree, m)
				if err == nil {
					err = cloud.PutFiles(b.Context(), s, tree, missing, func(path string) (io.ReadCloser, error) { return os.Open(filepath.Join(dir, path)) })
				}
				if err == nil {
					err = s.Seal(b.Context(), tree, nil, nil)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("%d files/cp", shape.files), func(b *testing.B) {
			for range b.N {
				to := b.TempDir()
				if out, err := exec.CommandContext(b.Context(), "sh", "-c", `cp -r "$0" "$1" && sync -f "$1"`, dir, to).CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
			}
		})
	}
}
