package main

import (
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	detect "github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/site"
)

// TestPackSource packs a folder into several parts, and unpacks them as the
// server does.
func TestPackSource(t *testing.T) {
	t.Parallel()
	dir, temp, repo := t.TempDir(), t.TempDir(), t.TempDir()
	large := make([]byte, 20<<20) // random, so that it stays as large
	if _, err := rand.Read(large); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"index.html": []byte("home"), "a/large.bin": large, "a/run.sh": []byte("#!/bin/sh\n"), "empty": nil, "a/Käse 🧀.txt": []byte("x")} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "a/run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../index.html", filepath.Join(dir, "a/link")); err != nil {
		t.Fatal(err)
	}
	s, err := readSource(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.pack(t.Context(), temp, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	parts, err := filepath.Glob(filepath.Join(temp, "*"))
	if err != nil || len(parts) != 3 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	var readers []io.Reader
	for _, part := range parts {
		data, err := os.ReadFile(part)
		if err != nil || len(data) > 8<<20 {
			t.Fatalf("%s has %d bytes, %v", part, len(data), err)
		}
		readers = append(readers, bytes.NewReader(data))
	}
	z, err := zstd.NewReader(io.MultiReader(readers...), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if err := detect.Unpack(t.Context(), z, repo, detect.SourceLimits{}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(repo, "a/large.bin")); err != nil || !bytes.Equal(got, large) {
		t.Errorf("the large file has %d bytes, %v", len(got), err)
	}
	if target, err := os.Readlink(filepath.Join(repo, "a/link")); err != nil || target != "../index.html" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	if info, err := os.Stat(filepath.Join(repo, "a/run.sh")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the script has %v, %v", info, err)
	}
	// A file that changes meanwhile is not cut or padded.
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.pack(t.Context(), t.TempDir(), func(int64) {}); err == nil || !strings.Contains(err.Error(), "changed while it was read") {
		t.Errorf("a changed file: %v", err)
	}
}

// TestDeclared gives lists of missing files to declared, of which a wrong one
// might let the server read a file that is not released.
func TestDeclared(t *testing.T) {
	t.Parallel()
	a, b, c := site.File{Path: "a", Size: 1}, site.File{Path: "b", Size: 2}, site.File{Path: "c", Size: 3}
	for _, test := range []struct {
		missing []site.File
		ok      bool
	}{
		{nil, true},
		{[]site.File{a, b, c}, true},
		{[]site.File{b}, true},
		{[]site.File{c, a, a}, true},
		{[]site.File{a, {Path: ".env"}}, false},
		{[]site.File{a, b, c, {Path: "d"}}, false},
		{[]site.File{a, {Path: "b", Size: 3}}, false},
	} {
		if err := declared([]site.File{a, b, c}, test.missing); (err == nil) != test.ok {
			t.Errorf("declared(%v) = %v, want ok %t", test.missing, err, test.ok)
		}
	}
}
