package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestReadOwn reads only what troyd dev writes: a foreign repository may have a
// folder of the same name.
func TestReadOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, size int64, mode os.FileMode) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("token"), 0o600); err != nil {
			t.Fatal(err)
		}
		if size > 0 {
			if err := os.Truncate(file, size); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	own := write("own", 0, 0o600)
	if text, ok := readOwn(own); !ok || string(text) != "token" {
		t.Errorf("an own file is read as %q, %v", text, ok)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(own, link); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"a link": link, "a file that others write to": write("shared", 0, 0o666), "a large file": write("large", maxSettings+1, 0o600),
		"a folder": dir, "no file": filepath.Join(dir, "none"),
	} {
		if text, ok := readOwn(file); ok {
			t.Errorf("%s is read as %q", name, text[:min(len(text), 20)])
		}
	}
}
