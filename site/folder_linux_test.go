package site

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troy-iaas/troy"
)

// withoutWaiting calls f, and lets it end if it waits for the other end of a pipe.
func withoutWaiting(t *testing.T, pipe string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("it waits for the other end of a pipe")
		if w, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			_ = w.Close()
		}
		<-done
	}
}

// TestPipeOfRules opens a folder whose file of rules is a pipe.
func TestPipeOfRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"index.html": "home"})
	pipe := filepath.Join(dir, IgnoreFile)
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	withoutWaiting(t, pipe, func() {
		_, err := OpenSource(t.Context(), dir, Limits{}, LeavingOut())
		if troy.KindOf(err) != troy.Invalid || !strings.Contains(err.Error(), `".troyignore" is a pipe; expected a file`) {
			t.Errorf("OpenSource: %v", err)
		}
	})
}

// TestFilesThatAreNoLongerFiles replaces a file after it was listed.
func TestFilesThatAreNoLongerFiles(t *testing.T) {
	t.Parallel()
	for kind, become := range map[string]func(file string) error{
		"a pipe":   func(file string) error { return syscall.Mkfifo(file, 0o600) },
		"a folder": func(file string) error { return os.Mkdir(file, 0o700) },
		"a socket": func(file string) error { return unix.Mknod(file, unix.S_IFSOCK|0o600, 0) },
	} {
		for how, open := range map[string]func(t *testing.T, dir string) *Source{
			"in one call": func(t *testing.T, dir string) *Source { return openSource(t, dir, Limits{}) },
			"by its folder": func(t *testing.T, dir string) *Source {
				s := openSource(t, dir, Limits{})
				if err := s.tree.(folder).top.Close(); err != nil { //nolint:forcetypeassert // it is one
					t.Error(err)
				}
				return s
			},
			"following links": func(t *testing.T, dir string) *Source { return openSource(t, dir, Limits{}, FollowingLinksOut()) },
		} {
			t.Run(kind+", "+how, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				for _, name := range []string{"page.html", "in/page.html"} {
					writeFiles(t, dir, map[string]string{name: "page"})
				}
				s := open(t, dir)
				for _, name := range []string{"page.html", "in/page.html"} {
					file := filepath.Join(dir, name)
					if err := errors.Join(os.Remove(file), become(file)); err != nil {
						t.Fatal(err)
					}
					withoutWaiting(t, file, func() {
						r, err := s.Open(name)
						if err == nil {
							t.Errorf("%s was opened", name)
							_ = r.Close()
						} else if kind != "a socket" && !strings.Contains(err.Error(), name+`" is `+kind) {
							t.Errorf("%s: %v", name, err)
						}
					})
				}
			})
		}
	}
}

// TestLeasedFiles opens a file that a file server keeps, until it is asked.
func TestLeasedFiles(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"page.html": "page"})
	s := openSource(t, dir, Limits{})
	file, err := os.OpenFile(filepath.Join(dir, "page.html"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGIO)
	defer signal.Stop(asked)
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("the file system has no leases: %v", err)
	}
	go func() {
		<-asked
		if _, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
			t.Error(err)
		}
	}()
	if got := contentOf(t, s, "page.html"); got != "page" {
		t.Errorf("it reads as %q", got)
	}
}
