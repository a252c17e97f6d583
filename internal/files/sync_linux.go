package files

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// SyncFileSystem makes everything written below dir durable, with one call for
// all files (syncfs(2)); it returns the file system's write errors since the
// folder was opened.
func SyncFileSystem(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd()))), d.Close())
}
