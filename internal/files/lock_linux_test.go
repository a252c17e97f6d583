package files_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	"github.com/troy-iaas/troy/internal/files"
)

// TestLockOfRemovedFolder removes the folder during the wait for a lock, which
// must not be taken because it would guard nothing. If the folder is created
// again, its new lock is taken.
func TestLockOfRemovedFolder(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"gone": false, "made again": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "site")
			file := filepath.Join(dir, "lock")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			release, err := files.Lock(t.Context(), file, false)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				_, err := files.Lock(t.Context(), file, false)
				done <- err
			}()
			for deadline := time.Now().Add(10 * time.Second); opened(t, file) < 2; {
				if time.Now().After(deadline) {
					t.Fatal("no process waits for the lock")
				}
			}
			removed := dir + ".removed"
			if again {
				// The waiting lock must not see the moment without a folder.
				err = errors.Join(os.Mkdir(removed, 0o755), os.WriteFile(filepath.Join(removed, "lock"), nil, 0o644),
					unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, removed, unix.RENAME_EXCHANGE))
			} else {
				err = os.Rename(dir, removed)
			}
			if err != nil {
				t.Fatal(err)
			}
			release()
			err = <-done
			if !again {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("the waiting lock: %v, want fs.ErrNotExist", err)
				}
				return
			}
			if free, tryErr := flock.New(file).TryLock(); err != nil || tryErr != nil || free {
				t.Fatalf("the waiting lock: %v; the new lock is free: %v, %v", err, free, tryErr)
			}
		})
	}
}

// opened returns how often this process has the file open.
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
