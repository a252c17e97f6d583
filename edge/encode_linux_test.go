package edge

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// TestSlowDisk reads an encoded form from a disk that does not answer. The forms
// of other files are found meanwhile.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	e := b.edge.encoder
	slow, other := blobKey{pipeline: uuid.New(), coding: codingBrotli}, blobKey{pipeline: uuid.New(), coding: codingBrotli}
	path := b.layout.Encoded(slow.pipeline, slow.digest, slow.coding.name())
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader := make(chan struct{})
	go func() { defer close(reader); e.kept(job{key: slow}) }()
	disk, err := os.OpenFile(path, os.O_WRONLY, 0) // waits for the reader
	if err != nil {
		t.Fatal(err)
	}
	found := make(chan struct{})
	go func() { defer close(found); e.kept(job{key: other}) }()
	select {
	case <-found:
	case <-time.After(30 * time.Second):
		t.Error("another file waits for the disk")
	}
	_ = disk.Close()
	<-reader
	<-found
}
