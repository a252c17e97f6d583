package bench

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// siteVariable names a folder to measure besides the generated trees.
const siteVariable = "TROY_BENCH_SITE"

// tree is a folder to release.
type tree struct {
	name    string // as in the table
	files   int
	bytes   int64 // of all files together
	folders int
	dir     string // if it exists already
}

// The first two are like the sites of the goals: pages of a documentation, and
// many small fragments.
var (
	pagesTree = tree{name: "10,286 files, 266 MB", files: 10_286, bytes: 266e6, folders: 600}
	smallTree = tree{name: "52,777 files, 39 MB", files: 52_777, bytes: 39e6, folders: 2_000}
	tinyTree  = tree{name: "100,000 files, 10 MB", files: 100_000, bytes: 10e6, folders: 2_000}
	hugeTree  = tree{name: "one file of 1 GiB", files: 1, bytes: 1 << 30, folders: 1}
	manyTree  = tree{name: "10,000 files, 85 MB", files: 10_000, bytes: 85e6, folders: 100}
)

// write writes the tree's files, unless it exists, and returns its folder. No
// two files are the same. The sizes of the files vary around their mean.
func (t tree) write(b *testing.B) string {
	b.Helper()
	if t.dir != "" {
		return t.dir
	}
	dir, random := b.TempDir(), rand.New(rand.NewPCG(1, 2))
	mean := t.bytes / int64(t.files)
	for i := range t.files {
		if i <= t.folders { // the first file is in the root, and the next in the other folders
			if err := os.MkdirAll(filepath.Dir(t.path(dir, i)), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		size := mean
		if t.files > 1 {
			size = mean/2 + random.Int64N(mean+1)
		}
		if err := writePage(t.path(dir, i), size, random); err != nil {
			b.Fatal(err)
		}
	}
	settle(b, dir)
	return dir
}

// path is the path of the i-th file.
func (t tree) path(dir string, i int) string {
	if i == 0 {
		return filepath.Join(dir, "index.html")
	}
	return filepath.Join(dir, fmt.Sprintf("section-%d", i%t.folders/20), fmt.Sprintf("part-%d", i%t.folders), fmt.Sprintf("page-%06d.html", i))
}

// change rewrites one file in a hundred.
func (t tree) change(b *testing.B, dir string, seed uint64) {
	b.Helper()
	random := rand.New(rand.NewPCG(3, seed))
	for i := 0; i < t.files; i += 100 {
		if err := writePage(t.path(dir, i), t.bytes/int64(t.files), random); err != nil {
			b.Fatal(err)
		}
	}
	settle(b, dir)
}

// settle syncs the folder's file system, and waits until its files are older
// than the granularity of file systems' clocks: the CLI reads younger files
// again.
func settle(b *testing.B, dir string) {
	b.Helper()
	syncFileSystem(b, dir)
	<-time.After(2100 * time.Millisecond)
}

// syncFileSystem waits until everything in the folder's file system is on the
// disk.
func syncFileSystem(b *testing.B, dir string) {
	b.Helper()
	f, err := os.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		b.Fatal(err)
	}
}

// vocabulary makes text that compresses about as well as pages do.
var vocabulary = func() []string {
	random := rand.New(rand.NewPCG(5, 6))
	words := make([]string, 4096)
	for i := range words {
		word := make([]byte, 2+random.IntN(9))
		for j := range word {
			word[j] = byte('a' + random.IntN(26))
		}
		words[i] = string(word)
	}
	return words
}()

// writePage writes a page of this size.
func writePage(path string, size int64, random *rand.Rand) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 64<<10)
	left := size
	put := func(text string) {
		text = text[:min(int64(len(text)), left)]
		left -= int64(len(text))
		_, _ = w.WriteString(text)
	}
	put(fmt.Sprintf("<!doctype html><title>%016x</title><p>", random.Uint64()))
	for left > 0 {
		bits := random.Uint64()
		for range 4 { // the first words of the vocabulary are the most frequent
			put(vocabulary[bits&0xfff*(bits&0xfff)>>12])
			put(" ")
			bits >>= 12
		}
		if bits&7 == 0 {
			put("</p>\n<p class=\"text\">")
		}
	}
	if err := w.Flush(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
