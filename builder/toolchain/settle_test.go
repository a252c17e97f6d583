package toolchain

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
)

// yarnRecord returns the content of the record of Yarn.
func (w *world) yarnRecord(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(w.store.recordFile("yarn", "1.22.22"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestUsedBeforeOnDisk uses a tool while it is written to the disk, by two
// processes.
func TestUsedBeforeOnDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.store.boot = "this"
	synced := make(chan struct{})
	w.store.sync = func(string) error {
		<-synced
		return nil
	}
	yarn := []build.Tool{tool(t, "yarn", "1.22.22", "packageManager")}
	set, err := w.store.Prepare(t.Context(), yarn, nil, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if text := w.yarnRecord(t); !strings.Contains(text, `"unsynced":"this"`) {
		t.Errorf("the record before: %s", text)
	}
	if err := w.store.Remove(t.Context(), "yarn", "1.22.22"); troy.KindOf(err) != troy.Conflict {
		t.Errorf("remove: %v", err)
	}
	// Another process, which also makes it durable, in case that this one dies.
	other, err := Open(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	other.boot = "this"
	again, err := other.Prepare(t.Context(), yarn, nil, func(string) {})
	if err != nil || len(again.Tools) != 1 {
		t.Fatalf("%+v, %v", again, err)
	}
	again.Close()
	text := w.yarnRecord(t)
	if strings.Contains(text, "unsynced") || strings.Contains(text, `"sha256":""`) {
		t.Errorf("the record after: %s", text)
	}
	close(synced)
	set.Close()
	if again := w.yarnRecord(t); again != text {
		t.Errorf("the record changed to %s", again)
	}
	if n := w.count("1.22.22.tgz"); n != 1 {
		t.Errorf("the archive was fetched %d times", n)
	}
}

// TestDiesBeforeOnDisk ends the process, or the machine, after a tool is used and
// before it is on the disk.
func TestDiesBeforeOnDisk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		boot  string
		lose  func(record string) error
		fetch int
	}{
		"the process":                       {"this", nil, 0},
		"the machine":                       {"next", nil, 1},
		"the machine, with an empty record": {"next", func(record string) error { return os.Truncate(record, 0) }, 1},
		"the machine, without the record":   {"next", os.Remove, 1},
		"the system does not tell":          {"", nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.store.boot = "this"
			ended := make(chan struct{})
			w.store.sync = func(string) error {
				<-ended
				return nil
			}
			yarn := tool(t, "yarn", "1.22.22", "packageManager")
			set, err := w.store.Prepare(t.Context(), []build.Tool{yarn}, nil, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			defer close(ended)
			for _, release := range set.release { // as the system does when a process ends
				release()
			}
			set.release = nil
			if c.lose != nil {
				if err := c.lose(w.store.recordFile("yarn", "1.22.22")); err != nil {
					t.Fatal(err)
				}
			}
			w.open(t)
			w.store.boot = c.boot
			before := w.count("1.22.22.tgz")
			if got, _, err := w.prepare(t, yarn); err != nil || !slices.Equal(got, []string{"yarn@1.22.22"}) {
				t.Errorf("%q, %v", got, err)
			}
			if n := w.count("1.22.22.tgz") - before; n != c.fetch {
				t.Errorf("the archive was fetched %d times again, want %d", n, c.fetch)
			}
			if text := w.yarnRecord(t); strings.Contains(text, "unsynced") || strings.Contains(text, `"sha256":""`) {
				t.Errorf("the record: %s", text)
			}
		})
	}
}

// TestDiskFails has the disk lose what was written: the tool is installed again.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.store.boot = "this"
	w.store.sync = func(string) error { return syscall.EIO }
	for _, want := range []int{1, 2} {
		if got, _, err := w.prepare(t, tool(t, "yarn", "1.22.22", "packageManager")); err != nil || len(got) != 1 || w.count("1.22.22.tgz") != want {
			t.Errorf("%q, %v, fetched %d times, want %d", got, err, w.count("1.22.22.tgz"), want)
		}
	}
	if tool, _, err := w.store.Install(t.Context(), "yarn@1.22.22"); err == nil {
		t.Errorf("%+v was installed", tool)
	}
	w.store.boot = ""
	if _, _, err := w.prepare(t, tool(t, "yarn", "1.22.22", "packageManager")); !errors.Is(err, syscall.EIO) {
		t.Errorf("without a boot: %v", err)
	}
}

// TestDamagedIsDiscarded installs another tool beside one that the machine lost.
func TestDamagedIsDiscarded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if _, _, err := w.prepare(t, tool(t, "yarn", "1.22.22", "a")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(w.store.recordFile("yarn", "1.22.22"), 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.prepare(t, tool(t, "pnpm", "9.15.9", "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(w.store.path("yarn", "1.22.22")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the damaged tool: %v", err)
	}
}
