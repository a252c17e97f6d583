package toolchain

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncTree makes a folder's content durable: that of the whole file system, by
// one call, because packages have thousands of files (syncfs(2)).
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}
