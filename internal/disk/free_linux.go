package disk

import "syscall"

// Free returns how many bytes of a folder's disk are left for others than root.
func Free(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // on s390x it is 32 bits
}
