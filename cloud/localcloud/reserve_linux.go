package localcloud

import "syscall"

func spaceOf(dir string) (space, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return space{}, err
	}
	block := uint64(s.Bsize)
	return space{bytes: s.Bavail * block, allBytes: s.Blocks * block, files: s.Ffree, allFiles: s.Files}, nil
}
