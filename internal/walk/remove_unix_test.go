//go:build unix

package walk_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/troy-iaas/troy/internal/walk"
)

const (
	folderVariable = "TROY_TEST_WALK_FOLDER"
	otherUser      = 65534
)

// TestRemoveInChild removes a folder in a child process, for the test below.
func TestRemoveInChild(t *testing.T) {
	dir := os.Getenv(folderVariable)
	if dir == "" {
		t.Skip("only for the child process of TestRemoveWithFewDescriptors")
	}
	few := syscall.Rlimit{Cur: 256, Max: 256}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	files, err := walk.Remove(t.Context(), dir)
	t.Logf("%d files and the folders around them removed in %s", files, time.Since(begun))
	if err != nil {
		t.Fatal(err)
	}
}

// TestRemoveWithFewDescriptors removes folders that are deeper than the limit
// on descriptors and have restrictive modes, as root and as another user.
func TestRemoveWithFewDescriptors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		depth int
		mode  fs.FileMode
		uid   int
	}{
		"as this user":               {25_000, 0o755, os.Geteuid()},
		"as another user, forbidden": {600, 0, otherUser},
		"as another user, read-only": {600, 0o555, otherUser},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if os.Geteuid() != 0 && test.uid != os.Geteuid() {
				t.Skip("only root may become another user")
			}
			base := t.TempDir()
			dir := filepath.Join(base, "removed")
			mkdir(t, dir)
			chain(t, dir, test.depth, func(folder *os.Root) {
				if test.depth > 1000 {
					return
				}
				if err := errors.Join(folder.Mkdir("side", 0o755), folder.WriteFile("side/file", nil, 0), folder.Chmod("side", test.mode)); err != nil {
					t.Fatal(err)
				}
			})
			handOver(t, dir, test.uid, test.mode)
			out, err := removeInChild(t, base, dir, test.uid)
			t.Logf("%s", out)
			if err != nil {
				t.Fatalf("the removal in a child process: %v", err)
			}
			gone(t, dir)
		})
	}
}

// handOver gives every folder to a user and sets its mode, the innermost first.
func handOver(t *testing.T, dir string, uid int, mode fs.FileMode) {
	t.Helper()
	root := openRoot(t, dir)
	err := walk.Folder(t.Context(), root, roomy, func(e walk.Entry) error {
		if err := e.Folder.Lchown(e.Name(), uid, uid); err != nil || e.Name() != "d" {
			return err
		}
		// Root can enter it with any mode.
		if os.Geteuid() != 0 {
			return nil
		}
		return e.Folder.Chmod("d", mode)
	})
	if err := errors.Join(err, os.Chown(dir, uid, uid)); err != nil {
		t.Fatal(err)
	}
}

func removeInChild(t *testing.T, base, dir string, uid int) ([]byte, error) {
	t.Helper()
	// The user needs access to the parents, and dir must be removable.
	program := filepath.Join(base, "program")
	data, err := os.ReadFile(os.Args[0])
	if err := errors.Join(err, os.WriteFile(program, data, 0o755), os.Chmod(base, 0o777), os.Chmod(filepath.Dir(base), 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestRemoveInChild$", "-test.v")
	cmd.Env = append(os.Environ(), folderVariable+"="+dir)
	cmd.Dir = base
	if uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	return cmd.CombinedOutput()
}
