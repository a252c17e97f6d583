package disk

import "syscall"

// Free returns the free bytes of a folder's disk for users other than root.
func Free(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // it has 32 bits on s390x
}
