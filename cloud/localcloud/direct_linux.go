package localcloud

import (
	"errors"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// directSize is the size of the writes past the page cache, and alignment what
	// the address, the offset and the length are multiples of. All usual disks
	// accept it; if one does not, the page cache is used.
	directSize = 512 << 10
	alignment  = 4 << 10
)

// direct is a buffered writer of a new file. It writes past the page cache: the
// kernel need not find memory for the bytes and copy them, other sites stay in
// the cache, and a sync has little left to do. The last, smaller part goes
// through the cache.
type direct struct {
	file   *os.File
	cached bool // write through the page cache
	buffer *[]byte
	n      int // bytes in the buffer
	err    error
}

// directBuffers are *[]byte of directSize, aligned.
var directBuffers = sync.Pool{New: func() any {
	b := make([]byte, directSize+alignment)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (alignment - 1) //nolint:gosec // only the address is read
	b = b[skip : skip+directSize : skip+directSize]
	return &b
}}

func newDirect(file *os.File) *direct {
	return &direct{file: file, cached: setDirect(file, true) != nil}
}

// setDirect sets whether a file is written past the page cache.
func setDirect(file *os.File, on bool) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		if err == nil {
			flags &^= unix.O_DIRECT
			if on {
				flags |= unix.O_DIRECT
			}
			_, err = unix.FcntlInt(fd, unix.F_SETFL, flags)
		}
		failed = err
	})
	return errors.Join(err, failed)
}

// Write implements io.Writer.
func (d *direct) Write(p []byte) (n int, err error) {
	if d.buffer == nil {
		d.buffer = directBuffers.Get().(*[]byte) //nolint:forcetypeassert // it has no others
	}
	for len(p) > 0 && d.err == nil {
		m := copy((*d.buffer)[d.n:], p)
		p, n, d.n = p[m:], n+m, d.n+m
		if d.n == directSize {
			d.flush()
		}
	}
	return n, d.err
}

// flush writes the buffer.
func (d *direct) flush() {
	for from := 0; from < d.n && d.err == nil; {
		var m int
		m, d.err = d.file.Write((*d.buffer)[from:d.n])
		from += m
		if errors.Is(d.err, unix.EINVAL) && !d.cached {
			d.err = d.cache()
		}
	}
	d.n = 0
}

func (d *direct) cache() error {
	d.cached = true
	return setDirect(d.file, false)
}

// Flush writes the rest. Nothing is written after it.
func (d *direct) Flush() error {
	if d.buffer == nil {
		return d.err
	}
	if !d.cached && d.n%alignment > 0 && d.err == nil {
		d.err = d.cache()
	}
	d.flush()
	d.release()
	return d.err
}

// release gives the buffer back.
func (d *direct) release() {
	if d.buffer != nil {
		directBuffers.Put(d.buffer)
		d.buffer = nil
	}
}
