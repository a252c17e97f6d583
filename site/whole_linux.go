package site

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// beneath returns an open file below a folder, following links that don't lead
// out of the folder, as os.Root does, with one system call in place of ten. It
// does not wait for the other end of a pipe. It returns -1 if that fails or if the
// system can't do it.
func beneath(top *os.File, name string) int {
	if top == nil {
		return -1
	}
	raw, err := top.SyscallConn()
	if err != nil {
		return -1
	}
	fd := -1
	err = raw.Control(func(dir uintptr) {
		fd, err = unix.Openat2(int(dir), name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
		if err != nil {
			fd = -1
		}
	})
	if err != nil {
		return -1
	}
	return fd
}

// readWhole reads a regular file into buffer, and returns its stamp before. ok is
// false if that fails, or if the file does not fit.
func (f folder) readWhole(name string, buffer []byte) (n int, before stamp, ok bool) {
	if f.anywhere {
		return 0, before, false
	}
	fd := beneath(f.top, name)
	if fd < 0 {
		return 0, before, false
	}
	defer func() { _ = unix.Close(fd) }() // it was only read
	var info syscall.Stat_t
	if syscall.Fstat(fd, &info) != nil || info.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return 0, before, false
	}
	before = stampIn(&info)
	for n < len(buffer) {
		m, err := unix.Read(fd, buffer[n:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, before, false
		}
		if n += m; m == 0 || int64(n) == info.Size && n < len(buffer) {
			return n, before, true
		}
	}
	return 0, before, false
}
