package forge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
)

// noise does not compress.
func noise(t *testing.T, seed byte, n int) string {
	t.Helper()
	text := make([]byte, n)
	if _, err := rand.NewChaCha8([32]byte{seed}).Read(text); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSourceKeepsItsBudget assembles sources whose parts are each within the
// budget, but whose total is not.
func TestSourceKeepsItsBudget(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, make := range map[string]func(h *host) string{
		"an archive": func(h *host) string {
			h.noArchive = false
			return h.commit("team/blog.git", map[string]string{"a": noise(h.t, 1, 5*mib)}, nil)
		},
		"a repository": func(h *host) string {
			return h.commit("team/blog.git", map[string]string{"a": noise(h.t, 1, 5*mib)}, nil)
		},
		"ten references to one blob": func(h *host) string {
			files, text := map[string]string{}, noise(h.t, 1, mib)
			for i := range 10 {
				files[fmt.Sprint(i)] = text
			}
			return h.commit("team/blog.git", files, nil)
		},
		"content that compresses well": func(h *host) string {
			return h.commit("team/blog.git", map[string]string{"a": strings.Repeat("a", 20*mib)}, nil)
		},
		"several LFS files": func(h *host) string {
			files := map[string]string{".gitattributes": "*.jpg filter=lfs -text\n"}
			for i := range 5 {
				photo := noise(h.t, byte(i), mib)
				h.keep(photo)
				files[fmt.Sprintf("%d.jpg", i)] = pointerTo(photo)
			}
			return h.commit("team/blog.git", files, nil)
		},
		"an LFS file with a false size": func(h *host) string {
			pointer := strings.Replace(pointerTo("x"), "size 1", "size 9000000000000000000", 1)
			return h.commit("team/blog.git", map[string]string{"a.jpg": pointer}, nil)
		},
		"several submodules": func(h *host) string {
			modules, links := "", map[string]string{}
			for i := range 5 {
				name := fmt.Sprintf("sub%d", i)
				links[name] = h.commit("open/"+name+".git", map[string]string{"a": noise(h.t, byte(i), mib)}, nil)
				modules += fmt.Sprintf("[submodule %q]\n\tpath = %s\n\turl = ../../open/%s.git\n", name, name, name)
			}
			return h.commit("team/blog.git", map[string]string{".gitmodules": modules}, links)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.noArchive = true
			commit := make(h)
			dir := h.scratch()
			most, stop := watchSize(t, dir)
			r, err := forge.Source(t.Context(), h, forge.Repository{Installation: "1", FullName: "team/blog"}, commit, forge.SourceConfig{MaxBytes: 4 * mib, Dir: dir})
			if err == nil {
				_ = r.Close()
			}
			stop()
			t.Logf("at most %d KiB were seen on disk", *most>>10)
			if troy.KindOf(err) != troy.TooLarge || !strings.Contains(fmt.Sprint(err), "more than 4 MiB") {
				t.Fatalf("Source: %v; want that it is more than 4 MiB", err)
			}
		})
	}
}

// watchSize repeatedly measures the size of a folder.
func watchSize(t *testing.T, dir string) (most *int64, stop func()) {
	t.Helper()
	most = new(int64)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			var now int64
			_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
				if err == nil && entry.Type().IsRegular() {
					if info, err := entry.Info(); err == nil {
						now += info.Size()
					}
				}
				return nil // files come and go
			})
			*most = max(*most, now)
			select {
			case <-quit:
				return
			case <-ticker.C:
			}
		}
	}()
	return most, func() { close(quit); <-done }
}

// stalling is an archive that hangs until it is canceled.
type stalling struct {
	ctx     context.Context //nolint:containedctx // it is the request's
	stalled chan struct{}
}

func (s stalling) Read([]byte) (int, error) {
	s.stalled <- struct{}{}
	<-s.ctx.Done()
	return 0, context.Cause(s.ctx)
}

func (stalling) Close() error { return nil }

type stallingForge struct{ *host }

func (f stallingForge) Archive(ctx context.Context, _ forge.Repository, _ string) (io.ReadCloser, error) {
	return stalling{ctx, f.stalled}, nil
}

// TestSourceEnds cancels the fetch of a source in the middle of each of its
// steps.
func TestSourceEnds(t *testing.T) {
	t.Parallel()
	for name, stall := range map[string]string{
		"the archive": "archive", "the repository": "blog.git/git-upload-pack", "a submodule": "other.git/info/refs",
		"requesting an LFS file": "objects/batch", "fetching an LFS file": "/media/",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.noArchive, h.stall = true, stall
			h.keep("photo")
			other := h.commit("open/other.git", map[string]string{"x": "x"}, nil)
			files := map[string]string{".gitmodules": "[submodule \"sub\"]\n\tpath = sub\n\turl = ../../open/other.git\n"}
			if strings.Contains(name, "LFS") {
				files["a.jpg"] = pointerTo("photo")
			}
			commit := h.commit("team/blog.git", files, map[string]string{"sub": other})
			var f forge.Forge = h
			if stall == "archive" {
				f = stallingForge{h}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			dir := h.scratch()
			go func() {
				r, err := forge.Source(ctx, f, forge.Repository{Installation: "1", FullName: "team/blog"}, commit, forge.SourceConfig{Dir: dir})
				if err == nil {
					err = errors.Join(errors.New("it was fetched"), r.Close())
				}
				ended <- err
			}()
			select {
			case <-h.stalled:
			case err := <-ended:
				t.Fatalf("Source ended before the request that hangs: %v", err)
			}
			begun := time.Now()
			cancel()
			err := <-ended
			t.Logf("%s: ended %s after it was canceled", name, time.Since(begun))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Source: %v; want %v", err, context.Canceled)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}
