package edge

import (
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// watched is the state of a small file that is replaced by rename. One stat
// detects a replacement. The zero value is never current.
type watched struct {
	fileID
	// sum is a hash of the content.
	sum uint64
	// settled means that the file was older than settling when it was read. A
	// later replacement can't have the same inode, size and modification time.
	// For a younger file, current compares the content. (Git calls such entries
	// "racily clean".)
	settled atomic.Bool
}

// fileID tells a file from another one that replaces it.
type fileID struct {
	device, inode  uint64
	size, modified int64 // in bytes, and in Unix nanoseconds
}

// identify returns the identity of a file.
func identify(info fs.FileInfo) fileID {
	id := fileID{size: info.Size(), modified: info.ModTime().UnixNano()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		id.device, id.inode = uint64(s.Dev), s.Ino //nolint:unconvert // 32 bits on some systems
	}
	return id
}

// settling exceeds the coarsest timestamp granularity of common file systems.
const settling = 2 * time.Second

// maxWatched is the maximum size of a watched file in bytes. Troy's have
// hundreds.
const maxWatched = 64 << 10

// sumSeed is the seed of watched.sum, so that no file can be made to have the
// sum of another one.
var sumSeed = maphash.MakeSeed()

// watch reads a file and keeps its state.
func (w *watched) watch(path string) (content []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	content, err = io.ReadAll(io.LimitReader(f, maxWatched+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxWatched {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxWatched)
	}
	w.fileID, w.sum = identify(info), maphash.Bytes(sumSeed, content)
	w.settled.Store(time.Since(info.ModTime()) > settling)
	return content, nil
}

// current reports whether the file, which was read from path, is unchanged.
func (w *watched) current(path string) bool {
	if w.settled.Load() {
		info, err := os.Stat(path)
		return err == nil && identify(info) == w.fileID
	}
	var now watched
	if _, err := now.watch(path); err != nil || now.fileID != w.fileID || now.sum != w.sum {
		return false
	}
	if now.settled.Load() {
		w.settled.Store(true)
	}
	return true
}
