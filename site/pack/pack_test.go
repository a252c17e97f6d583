package pack_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/pack"
)

func digest(data []byte) site.Digest { return sha256.Sum256(data) }

// write makes a pack of these files.
func write(t testing.TB, files ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pack.NewWriter(&b)
	for _, data := range files {
		if err := w.Add(digest(data), data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func some() [][]byte {
	return [][]byte{[]byte("one"), {}, bytes.Repeat([]byte("x"), pack.MaxFile), []byte("two"), []byte("one")}
}

func TestPack(t *testing.T) {
	t.Parallel()
	for name, files := range map[string][][]byte{"files": some(), "none": nil} {
		data := write(t, files...)
		entries, err := pack.Index(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		scanned, err := pack.Scan(bytes.NewReader(data), int64(len(data)))
		if err != nil || !slices.Equal(scanned, entries) {
			t.Errorf("%s: a scan finds %v, %v; the index has %v", name, scanned, err, entries)
		}
		table := pack.NewTable([]string{"p"}, [][]pack.Entry{entries})
		for _, f := range files {
			_, e, ok := table.Find(digest(f))
			if !ok {
				t.Fatalf("%s: a file of %d bytes is not found", name, len(f))
			}
			if got, err := e.Read(bytes.NewReader(data)); err != nil || !bytes.Equal(got, f) {
				t.Errorf("%s: read %d bytes, %v; want %d", name, len(got), err, len(f))
			}
		}
	}
	w := pack.NewWriter(&bytes.Buffer{})
	if err := w.Add(site.Digest{}, make([]byte, pack.MaxFile+1)); err == nil {
		t.Error("a file that is too large was added")
	}
}

// TestDamagedPack flips each bit's byte and cuts the pack everywhere: what is
// read is right, or an error.
func TestDamagedPack(t *testing.T) {
	t.Parallel()
	files := [][]byte{[]byte("one"), {}, []byte("three")}
	whole := write(t, files...)
	want := map[site.Digest]bool{}
	for _, f := range files {
		want[digest(f)] = true
	}
	damaged := 0
	read := func(what string, data []byte) {
		r := bytes.NewReader(data)
		entries, err := pack.Index(r, int64(len(data)))
		if err != nil {
			if !errors.Is(err, pack.ErrDamaged) {
				t.Errorf("%s: Index: %v, want ErrDamaged", what, err)
			}
			damaged++
		}
		scanned, err := pack.Scan(r, int64(len(data)))
		if err != nil {
			t.Errorf("%s: Scan: %v", what, err)
		}
		for _, e := range append(entries, scanned...) {
			got, err := e.Read(r)
			if errors.Is(err, pack.ErrDamaged) {
				damaged++
				continue
			}
			if err != nil || !want[digest(got)] || digest(got) != e.Digest {
				t.Errorf("%s: read %q, %v", what, got, err)
			}
		}
	}
	for i := range whole {
		read(fmt.Sprintf("cut at %d", i), whole[:i])
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1 << (i % 8)
		before := damaged
		read(fmt.Sprintf("flipped at %d", i), flipped)
		if entries, err := pack.Index(bytes.NewReader(flipped), int64(len(flipped))); err == nil {
			for _, e := range entries {
				if good, err := e.Verify(bytes.NewReader(flipped)); err != nil {
					t.Error(err)
				} else if !good {
					damaged++
				}
			}
		}
		if i >= len("troypak1") && damaged == before {
			t.Errorf("the flipped bit at %d was not found", i)
		}
	}
}

// failing is a disk that can't read the bytes from bad on, up to end.
type failing struct {
	*bytes.Reader
	bad, end int64
}

func (f failing) ReadAt(p []byte, at int64) (int, error) {
	if at < f.end && at+int64(len(p)) > f.bad {
		return 0, syscall.EIO
	}
	return f.Reader.ReadAt(p, at)
}

// TestUnreadablePack reads a pack from a disk that can't read each of its bytes:
// it is damaged, and its other files are good.
func TestUnreadablePack(t *testing.T) {
	t.Parallel()
	files := [][]byte{[]byte("one"), []byte("two"), []byte("three")}
	whole := write(t, files...)
	size := int64(len(whole))
	index, err := pack.Index(bytes.NewReader(whole), size)
	if err != nil {
		t.Fatal(err)
	}
	for bad := range size {
		f := failing{bytes.NewReader(whole), bad, bad + 1}
		if _, err := pack.Index(f, size); err != nil && !errors.Is(err, pack.ErrDamaged) {
			t.Errorf("byte %d: Index: %v, want ErrDamaged", bad, err)
		}
		if _, err := pack.Scan(f, size); err != nil {
			t.Errorf("byte %d: Scan: %v", bad, err)
		}
		lost := 0
		for _, e := range index {
			if good, err := e.Verify(f); err != nil {
				t.Errorf("byte %d: Verify: %v", bad, err)
			} else if !good {
				lost++
			}
			if _, err := e.Read(f); err != nil && !errors.Is(err, pack.ErrDamaged) {
				t.Errorf("byte %d: Read: %v, want ErrDamaged", bad, err)
			}
		}
		if lost > 1 {
			t.Errorf("byte %d: %d files are lost", bad, lost)
		}
	}
}

// TestDiskThatWorksAgain reads from a folder of which the disk could not read a
// pack for a while: the others are found, and that one too as soon as it can be.
func TestDiskThatWorksAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, text := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(dir, text+".pack"), write(t, []byte(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-time.Hour)
	if err := os.Chtimes(dir, before, before); err != nil {
		t.Fatal(err)
	}
	fails, told := true, 0
	cache := pack.NewCache(1<<20, func(string, error) { told++ })
	cache.SetOpen(func(name string) (*os.File, []pack.Entry, error) {
		if fails && filepath.Base(name) == "two.pack" {
			_, err := pack.Index(failing{bytes.NewReader(make([]byte, 1000)), 0, 1000}, 1000)
			return nil, nil, err
		}
		return pack.Open(name)
	})
	read := func(text string) error {
		_, err := cache.Read(dir, digest([]byte(text)), int64(len(text)))
		return err
	}
	if err := read("one"); err != nil || told != 1 {
		t.Errorf("read from a pack beside an unreadable one: %v, told %d times", err, told)
	}
	if err := read("two"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read from an unreadable pack: %v", err)
	}
	fails = false
	if err := read("two"); err != nil {
		t.Errorf("read from a pack that can be read again: %v", err)
	}
}

// TestTableOfAFolder asks a cache for a folder's table before and after changes
// of the folder: the packs of an unchanged one are not read again.
func TestTableOfAFolder(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now()
	add := func(name, text string, age time.Duration) {
		if err := os.WriteFile(filepath.Join(dir, name), write(t, []byte(text)), 0o600); err != nil {
			t.Fatal(err)
		}
		at := now.Add(-age)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
	}
	cache := pack.NewCache(1<<20, func(string, error) {})
	has := func(text string) bool {
		table, err := cache.Table(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, _, ok := table.Find(digest([]byte(text)))
		return ok
	}
	add("1.pack", "one", time.Hour)
	first, err := cache.Table(dir)
	if again, err2 := cache.Table(dir); err != nil || err2 != nil || again != first {
		t.Errorf("an unchanged folder was read again: %v, %v", err, err2)
	}
	add("2.pack", "two", time.Minute)
	if !has("one") || !has("two") {
		t.Error("a new pack was not found")
	}
	// Two changes of one moment, which lasts, so that the test may be slow.
	add("3.pack", "three", -time.Hour)
	if !has("three") {
		t.Error("a pack of this moment was not found")
	}
	add("4.pack", "four", -time.Hour)
	if !has("four") {
		t.Error("another pack of the same moment was not found")
	}
}

func TestTableOfMany(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 3 {
		data := write(t, []byte("shared"), fmt.Appendf(nil, "file %d", i))
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.pack", i)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	broken := filepath.Join(dir, "broken.pack")
	if err := os.WriteFile(broken, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pack.Load(dir, nil); !errors.Is(err, pack.ErrDamaged) {
		t.Errorf("Load of a damaged pack: %v, want ErrDamaged", err)
	}
	var damaged []string
	cache := pack.NewCache(1<<20, func(name string, _ error) { damaged = append(damaged, name) })
	read := func(text string) error {
		got, err := cache.Read(dir, digest([]byte(text)), int64(len(text)))
		if err == nil && string(got) != text {
			t.Errorf("read %q, want %q", got, text)
		}
		return err
	}
	for _, text := range []string{"shared", "file 0", "file 1", "file 2"} {
		if err := read(text); err != nil {
			t.Errorf("read %q: %v", text, err)
		}
	}
	if !slices.Equal(damaged, []string{broken}) {
		t.Errorf("damaged packs are %v, want %s once", damaged, broken)
	}
	if err := read("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read of an unknown file: %v", err)
	}
	// A compaction replaces packs.
	if err := os.WriteFile(filepath.Join(dir, "all.pack"), write(t, []byte("shared"), []byte("file 1")), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := os.Remove(filepath.Join(dir, fmt.Sprintf("%d.pack", i))); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]error{"shared": nil, "file 1": nil, "file 2": fs.ErrNotExist} {
		if err := read(text); !errors.Is(err, want) {
			t.Errorf("read %q after the compaction: %v, want %v", text, err, want)
		}
	}
	if _, err := cache.Read(filepath.Join(dir, "absent"), site.Digest{}, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read from an absent folder: %v", err)
	}
}

// TestFindAnyDigest finds digests that are spread evenly, that are close
// together at one end or the other, and that are not there.
func TestFindAnyDigest(t *testing.T) {
	t.Parallel()
	spread := func(i int) site.Digest { return digest(fmt.Appendf(nil, "%d", i)) }
	low := func(i int) site.Digest { return site.Digest{30: byte(i >> 8), 31: byte(i)} }
	high := func(i int) site.Digest { d := low(i); d[0], d[1] = 255, 255; return d }
	for name, of := range map[string]func(i int) site.Digest{"spread": spread, "low": low, "high": high} {
		for _, n := range []int{0, 1, 2, 300, 5000} {
			entries := make([]pack.Entry, n)
			for i := range entries {
				entries[i] = pack.Entry{Digest: of(2 * i), Size: int64(i)}
			}
			slices.SortFunc(entries, func(a, b pack.Entry) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
			table := pack.NewTable([]string{"x"}, [][]pack.Entry{entries})
			for i := range 2 * n {
				if _, e, ok := table.Find(of(i)); ok != (i%2 == 0) || ok && e.Size != int64(i/2) {
					t.Fatalf("%s: find %d of %d: %v, %t", name, i, n, e, ok)
				}
			}
			if _, _, ok := table.Find(site.Digest{128}); ok {
				t.Errorf("%s: found an absent digest", name)
			}
		}
	}
}

// FuzzPack reads any bytes as a pack: whatever is read has its digest.
func FuzzPack(f *testing.F) {
	whole := write(f, some()[:2]...)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(write(f))
	f.Add([]byte("troypak1"))
	f.Add(append(bytes.Clone(whole), whole...))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		entries, err := pack.Index(r, int64(len(data)))
		if err != nil && !errors.Is(err, pack.ErrDamaged) {
			t.Fatalf("Index: %v", err)
		}
		scanned, err := pack.Scan(r, int64(len(data)))
		if err != nil {
			t.Fatalf("Scan: %v", err)
		}
		for _, e := range append(entries, scanned...) {
			got, err := e.Read(r)
			if err != nil && !errors.Is(err, pack.ErrDamaged) || err == nil && digest(got) != e.Digest {
				t.Fatalf("Read: %v", err)
			}
		}
		for _, e := range scanned {
			if _, err := e.Read(r); err != nil {
				t.Fatalf("a scanned file: %v", err)
			}
		}
	})
}
