package localcloud

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDirect writes files of sizes around those of the writes, in pieces, past
// the page cache and through it.
func TestDirect(t *testing.T) {
	t.Parallel()
	all := make([]byte, 2*directSize+alignment+1)
	_, _ = rand.New(rand.NewSource(1)).Read(all)
	refuses := refusesUnaligned(t)
	for _, size := range []int{0, 1, alignment, directSize - 1, directSize, directSize + alignment, 2*directSize + alignment + 1} {
		for _, refused := range []bool{false, true} {
			file, err := os.Create(filepath.Join(t.TempDir(), "file"))
			if err != nil {
				t.Fatal(err)
			}
			d := newDirect(file)
			var w io.Writer = d
			if refused && !d.cached {
				// Without the flag, the write of a disk that refuses it is the next one.
				w = &unaligned{d}
			}
			for rest := all[:size]; len(rest) > 0; {
				n := min(len(rest), 100_003)
				if m, err := w.Write(rest[:n]); m != n || err != nil {
					t.Fatalf("%d bytes: wrote %d of %d, %v", size, m, n, err)
				}
				rest = rest[n:]
			}
			if err := d.Flush(); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if refused && refuses && size >= directSize && !d.cached {
				t.Errorf("%d bytes: the file is still written past the cache", size)
			}
			got, err := os.ReadFile(file.Name())
			if err != nil || !bytes.Equal(got, all[:size]) {
				t.Errorf("%d bytes, refused %t: read %d, %v", size, refused, len(got), err)
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// refusesUnaligned reports whether the file system has direct writes, and none from
// an odd address. Some have others, such as tmpfs.
func refusesUnaligned(t *testing.T) bool {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if setDirect(file, true) != nil {
		return false
	}
	_, err = file.Write(make([]byte, directSize+1)[1:])
	return errors.Is(err, unix.EINVAL)
}

// unaligned replaces the buffer by one that direct writes refuse.
type unaligned struct{ d *direct }

func (u *unaligned) Write(p []byte) (int, error) {
	if u.d.buffer == nil {
		b := make([]byte, directSize+1)[1:] // at an odd address
		u.d.buffer = &b
	}
	return u.d.Write(p)
}

// TestDirectFails keeps the first error of a full disk.
func TestDirectFails(t *testing.T) {
	t.Parallel()
	file, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer file.Close()
	d := newDirect(file)
	if _, err := d.Write(make([]byte, directSize)); err == nil {
		t.Error("the write to a full disk succeeded")
	}
	if n, err := d.Write([]byte("x")); n != 0 || err == nil {
		t.Errorf("the next write: %d, %v", n, err)
	}
	if err := d.Flush(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the end: %v", err)
	}
}
