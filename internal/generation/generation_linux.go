package generation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is the memory of one file.
type mapping struct {
	count *atomic.Uint64
	info  fs.FileInfo
}

// local lists the file systems on which all processes that can open a file
// share its memory. On others, such as NFS, another machine's change may never
// be seen.
var local = []int64{
	unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC,
	unix.F2FS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, 0x2fc12fc1 /* ZFS */, 0xca451a4e, /* bcachefs */
}

// open maps a file, or returns nil if that is not possible.
func open(path string) *mapping {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var where unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &where); err != nil || !slices.Contains(local, int64(where.Type)) { //nolint:unconvert // 32 bits on some machines
		return nil
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() < size {
		return nil
	}
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil
	}
	m := &mapping{count: (*atomic.Uint64)(unsafe.Pointer(&data[0])), info: info}
	// Other goroutines may still read a mapping that was replaced.
	runtime.AddCleanup(m, func(data []byte) { _ = unix.Munmap(data) }, data)
	return m
}

// named reports whether the path still names the mapped file.
func (m *mapping) named(path string) bool {
	info, err := os.Stat(path)
	return err == nil && os.SameFile(info, m.info) && info.Size() >= size
}

// Bump increments the counter in a file, which it creates if necessary. After
// it returns, every Load on this machine returns another count than before.
func Bump(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("count a change: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil && info.Size() < size {
		// Allocate the block now: a write to a hole in a mapped file on a full
		// disk ends the process.
		err = fallocate(f)
	}
	if err != nil {
		return fmt.Errorf("count a change: %w", err)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("count a change: %w", err)
	}
	count := (*atomic.Uint64)(unsafe.Pointer(&data[0]))
	if count.Add(1) == 0 {
		count.Add(1)
	}
	return unix.Munmap(data)
}

// fallocate gives the file its size and its place on the disk.
func fallocate(f *os.File) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, syscall.EOPNOTSUPP) {
		return f.Truncate(size)
	}
	return err
}
