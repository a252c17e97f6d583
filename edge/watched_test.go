package edge

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWatched(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pointer.json")
	put := func(content string, age time.Duration) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age).Truncate(time.Minute)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	read := func(settled bool) *watched {
		t.Helper()
		w := &watched{}
		if _, err := w.watch(path); err != nil {
			t.Fatal(err)
		}
		if w.settled.Load() != settled || !w.current(path) {
			t.Fatalf("settled %v, want %v; current %v", w.settled.Load(), settled, w.current(path))
		}
		return w
	}

	// Written in place with its earlier time, a file has the same inode, size
	// and time as before, like a replacement that reuses a freed inode within a
	// tick of the clock.
	put("one", -time.Hour)
	w := read(false)
	put("two", -time.Hour)
	if w.current(path) {
		t.Error("other content in a young file was not noticed")
	}

	put("old", time.Hour)
	w = read(true)
	put("new", time.Minute)
	if w.current(path) {
		t.Error("another time was not noticed")
	}
	w = read(true)
	put("longer", time.Minute)
	if w.current(path) {
		t.Error("another size was not noticed")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if w.current(path) {
		t.Error("a removed file was not noticed")
	}
}
