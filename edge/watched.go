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

// watched is the content of a small file that is replaced by rename, with
// what is needed to notice at the price of one stat that it was replaced.
type watched struct {
	path string
	info fs.FileInfo
	data []byte
	// settled says that the file was seen when it was older than settling. A
	// file that takes its place later cannot have its inode, size and time of
	// change all at once; before, the content itself is compared. (Git calls
	// such entries "racily clean".)
	settled atomic.Bool
}

// settling is more than the coarsest time stamps of common file systems.
const settling = 2 * time.Second

// maxWatched is the most bytes that a watched file has; Troy's have hundreds.
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

// current reports whether the file is still what was read.
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
