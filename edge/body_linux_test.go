package edge

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troy-iaas/troy/internal/poll"
)

// TestCut checks that the rest of a response outlives the buffer of its start.
func TestCut(t *testing.T) {
	t.Parallel()
	first := []byte("first")
	rest := cut(2, first, []byte("fields"), []byte("body"))
	copy(first, "XXXXX")
	if got := string(bytes.Join(rest, nil)); got != "rstfieldsbody" {
		t.Errorf("%q", got)
	}
	if got := string(bytes.Join(cut(8, first, []byte("fields"), []byte("body")), nil)); got != "ldsbody" {
		t.Errorf("%q", got)
	}
}

// TestBodyFilesAreBounded checks that no more files exist than allowed, and that
// the files of forgotten responses are closed.
func TestBodyFilesAreBounded(t *testing.T) {
	t.Parallel()
	var b bodyFiles
	b.left.Store(2)
	body := strings.Repeat("x", minBodyFile)
	if b.file([]byte(body[1:])) != nil {
		t.Error("a small body has a file")
	}
	fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC)
	if err != nil {
		t.Skipf("this machine has no files in memory: %v", err)
	}
	_ = unix.Close(fd)
	one, two := b.file([]byte(body)), b.file([]byte(body))
	if one == nil || two == nil {
		t.Fatal("a body has no file")
	}
	if b.file([]byte(body)) != nil {
		t.Error("there are three files; expected two at most")
	}
	got, err := io.ReadAll(io.NewSectionReader(one, 0, 1<<20))
	if err != nil || string(got) != body {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	runtime.KeepAlive(two)
	if !poll.Until(t.Context(), time.Minute, 10*time.Millisecond, func() bool {
		runtime.GC()
		return b.left.Load() == 2
	}) {
		t.Errorf("%d files are allowed after both were forgotten; expected 2", b.left.Load())
	}
}
