package edge

import (
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// minBodyFile is the minimum size in bytes of a body that is sent from a file.
	// sendfile does not copy the bytes, but costs a system call more.
	minBodyFile = 16 << 10
	// mostBodyFiles is the maximum number of such bodies.
	mostBodyFiles = 1024
	// otherFiles is how many files the edge opens besides those and its connections.
	otherFiles = 100
)

// bodyFiles makes files in memory, from which the kernel sends bodies of kept
// responses without copying them.
type bodyFiles struct {
	left atomic.Int64 // how many more may exist
}

// newBodyFiles allows as many files as the process may open besides its
// connections.
func newBodyFiles(connections int) *bodyFiles {
	b := new(bodyFiles)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		b.left.Store(min(mostBodyFiles, int64(min(limit.Cur, 1<<32))-int64(connections)-otherFiles))
	}
	return b
}

// file returns a file with the body, or nil if that is not worth it or not
// possible. The garbage collector closes it.
func (b *bodyFiles) file(body []byte) *os.File {
	if len(body) < minBodyFile {
		return nil
	}
	if b.left.Add(-1) < 0 {
		b.left.Add(1)
		return nil
	}
	fd, err := unix.MemfdCreate("response", unix.MFD_CLOEXEC)
	if err != nil {
		b.left.Add(1)
		return nil
	}
	f := os.NewFile(uintptr(fd), "response")
	runtime.AddCleanup(f, func(left *atomic.Int64) { left.Add(1) }, &b.left)
	if _, err := f.Write(body); err != nil {
		_ = f.Close()
		return nil
	}
	return f
}

// sendFile sends the first n bytes of a file to a socket that does not block.
func sendFile(socket int, f *os.File, n int) (int, unix.Errno) {
	var offset int64
	sent, _, errno := unix.RawSyscall6(unix.SYS_SENDFILE, uintptr(socket), f.Fd(), uintptr(unsafe.Pointer(&offset)), uintptr(n), 0, 0)
	runtime.KeepAlive(f)
	if errno != 0 {
		return 0, errno
	}
	return int(sent), 0
}
