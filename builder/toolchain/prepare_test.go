package toolchain

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/internal/poll"
)

// outcome is what prepare returns.
type outcome struct {
	got []string
	log string
	err error
}

func (w *world) begin(t *testing.T, tools ...build.Tool) <-chan outcome {
	t.Helper()
	done := make(chan outcome, 1)
	go func() {
		got, log, err := w.prepare(t, tools...)
		done <- outcome{got, log, err}
	}()
	return done
}

// until waits for what another goroutine does.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	if !poll.Until(t.Context(), time.Minute, time.Millisecond, ok) {
		t.Fatal("it does not happen")
	}
}

// TestAtOnce installs npm while Node.js arrives, and says in their order what they
// are.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	hold := make(chan struct{})
	w.set(func() { w.hold, w.held = hold, "22.21.1.tgz" })
	done := w.begin(t, tool(t, "node", "22", ".nvmrc"))
	until(t, func() bool {
		_, err := w.store.check("npm", "10.9.4")
		return err == nil
	})
	close(hold)
	r := <-done
	if r.err != nil || !slices.Equal(r.got, []string{"node@22.21.1", "npm@10.9.4"}) {
		t.Errorf("%q, %v", r.got, r.err)
	}
	if first, second, _ := strings.Cut(r.log, "\n"); !strings.HasPrefix(first, "Node.js") || !strings.HasPrefix(second, "npm") {
		t.Errorf("the log:\n%s", r.log)
	}
}

// TestFirstErrorEndsAll has Node.js fail while npm arrives.
func TestFirstErrorEndsAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	hold := make(chan struct{})
	defer close(hold)
	w.set(func() { w.hold, w.held = hold, "10.9.4.tgz" })
	p := w.packages[w.node]["22.21.1"]
	p.integrity = integrity([]byte("another"))
	w.put(w.node, "22.21.1", p)
	done := w.begin(t, tool(t, "node", "22", ".nvmrc"))
	until(t, func() bool { return len(done) > 0 })
	if r := <-done; r.err == nil || !strings.Contains(r.err.Error(), "has the wrong checksum") {
		t.Errorf("%q, %v", r.got, r.err)
	}
	w.nothingLeft(t)
}

// TestAnotherNode can't have the newest Node.js, for which another npm is chosen
// than for the one that is there.
func TestAnotherNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if _, _, err := w.prepare(t, tool(t, "node", "20", ".nvmrc")); err != nil {
		t.Fatal(err)
	}
	w.set(func() { w.refused = "27.0.0.tgz" })
	got, log, err := w.prepare(t, tool(t, "node", "node", ".nvmrc"))
	if err != nil || !slices.Equal(got, []string{"node@20.19.1", "npm@10.9.4"}) {
		t.Errorf("%q, %v:\n%s", got, err, log)
	}
	if !strings.Contains(log, "npm 10.9.4, which comes with Node.js 20.") {
		t.Errorf("the log:\n%s", log)
	}
}

// TestUnpackedWhileItArrives holds the end of a package until its first file is
// there, which other users may not see before the package is verified.
func TestUnpackedWhileItArrives(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{"": "", "another": "has the wrong checksum"} {
		w := newWorld(t, nil)
		p := w.packages["yarn"]["1.22.22"]
		var sent int
		p.archive, sent = splitArchive(t, p.archive)
		p.integrity = integrity(p.archive)
		if says != "" {
			p.integrity = integrity([]byte(name))
		}
		w.put("yarn", "1.22.22", p)
		hold := make(chan struct{})
		w.set(func() { w.hold, w.sent = hold, sent })
		done := w.begin(t, tool(t, "yarn", "1.22.22", "packageManager"))
		dir := filepath.Join(w.cfg.Dir, "tmp", "yarn-1.22.22")
		until(t, func() bool {
			info, err := os.Stat(filepath.Join(dir, "package", "package.json"))
			return err == nil && info.Size() > 0
		})
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the folder of what is not verified: %v, %v", info, err)
		}
		if _, err := os.Stat(w.store.path("yarn", "1.22.22")); err == nil {
			t.Error("a tool is in the store that is not verified")
		}
		close(hold)
		r := <-done
		if says == "" {
			if r.err != nil || len(r.got) != 1 {
				t.Errorf("%q, %v", r.got, r.err)
			}
			continue
		}
		if r.err == nil || !strings.Contains(r.err.Error(), says) {
			t.Errorf("%q, %v", r.got, r.err)
		}
		w.nothingLeft(t)
	}
}

// splitArchive returns an archive of the same files, and how many bytes of it
// contain the first file.
func splitArchive(t *testing.T, archive []byte) (split []byte, first int) {
	t.Helper()
	in, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	write := func(part []byte, end func() error) {
		if _, err := z.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	write(content[:1024], z.Flush) // a header and a small file
	first = out.Len()
	write(content[1024:], z.Close)
	return out.Bytes(), first
}
