package edge

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
)

// watched is the content of a small file that is replaced by rename. One stat
// detects a replacement.
type watched struct {
	path string
	info fs.FileInfo
	data []byte
	// settled means that the file was older than settling when it was read. A
	// later replacement can't have the same inode, size and modification time.
	// For a younger file, current compares the content. (Git calls such entries
	// "racily clean".)
	settled atomic.Bool
}

// settling exceeds the coarsest timestamp granularity of common file systems.
const settling = 2 * time.Second

// maxWatched is the maximum size of a watched file in bytes. Troy's have
// hundreds.
const maxWatched = 64 << 10

// watch reads a file.
func watch(path string) (*watched, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxWatched+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxWatched {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxWatched)
	}
	w := &watched{path: path, info: info, data: data}
	w.settled.Store(time.Since(info.ModTime()) > settling)
	return w, nil
}

// current reports whether the file is unchanged.
func (w *watched) current() bool {
	if w.settled.Load() {
		info, err := os.Stat(w.path)
		return err == nil && sameFile(info, w.info)
	}
	now, err := watch(w.path)
	if err != nil || !sameFile(now.info, w.info) || !bytes.Equal(now.data, w.data) {
		return false
	}
	if now.settled.Load() {
		w.settled.Store(true)
	}
	return true
}

func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
