package build_test

import (
	"archive/tar"
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
)

// tarOf makes a forge's archive of files, given by their contents.
func tarOf(t *testing.T, contents map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		content := contents[name]
		if err := w.WriteHeader(&tar.Header{Name: "team-blog-1a2b3c/" + name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestInspect(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	stale, fresh := filepath.Join(temp, "troy-inspect-1"), filepath.Join(temp, "troy-inspect-2")
	for _, dir := range []string{stale, fresh} {
		if err := os.MkdirAll(filepath.Join(dir, "src"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(stale, time.Time{}, time.Now().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	source := tarOf(t, map[string]string{
		"package.json": `{"devDependencies":{"astro":"5"},"scripts":{"build":"astro build"}}`, "package-lock.json": "{}", "docs/index.html": "<h1>Docs</h1>",
	})
	p, err := build.Inspect(t.Context(), bytes.NewReader(source), build.Settings{})
	if err != nil || p.Generator != "Astro" || p.Build != "npm run build" || p.Outputs[0] != "dist" {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err = build.Inspect(t.Context(), bytes.NewReader(source), build.Settings{Root: "docs"}); err != nil || p.Build != "" || p.Outputs[0] != "." {
		t.Errorf("%+v, %v", p, err)
	}
	for says, archive := range map[string][]byte{
		"found nothing to build": tarOf(t, map[string]string{"README.md": "x"}), "archive is empty": tarOf(t, nil), "damaged or truncated": source[:520],
	} {
		if _, err := build.Inspect(t.Context(), bytes.NewReader(archive), build.Settings{}); troy.KindOf(err) != troy.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
	var huge bytes.Buffer
	if err := tar.NewWriter(&huge).WriteHeader(&tar.Header{Name: "top/video.mp4", Mode: 0o644, Size: 513 << 20}); err != nil {
		t.Fatal(err)
	}
	if _, err := build.Inspect(t.Context(), &huge, build.Settings{}); troy.KindOf(err) != troy.TooLarge || !strings.Contains(err.Error(), "by hand") {
		t.Errorf("got %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := build.Inspect(gone, bytes.NewReader(source), build.Settings{}); err == nil {
		t.Error("a cancelled inspection succeeds")
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 1 || left[0].Name() != filepath.Base(fresh) {
		t.Errorf("%v is left, %v; expected only what another process may use", left, err)
	}
}
