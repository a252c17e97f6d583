package localcloud

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestLockOfRemovedFolder waits for a lock whose folder goes meanwhile: it
// must not be taken, for it would guard nothing.
func TestLockOfRemovedFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "site")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "lock")
	release, err := acquire(t.Context(), file, false)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := acquire(t.Context(), file, true)
		done <- err
	}()
	for deadline := time.Now().Add(10 * time.Second); opened(t, file) < 2; {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for the lock")
		}
	}
	if err := os.Rename(dir, dir+".removed"); err != nil {
		t.Fatal(err)
	}
	release()
	if err := <-done; !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the waiting lock: %v, want fs.ErrNotExist", err)
	}
}

// opened is how often this process has the file open.
func opened(t *testing.T, file string) int {
	t.Helper()
	const fds = "/proc/self/fd"
	entries, err := os.ReadDir(fds)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, entry := range entries {
		if target, err := os.Readlink(filepath.Join(fds, entry.Name())); err == nil && target == file {
			n++
		}
	}
	return n
}
