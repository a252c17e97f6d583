package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/builder/toolchain"
)

// TestToolsList shows an installed tool and none.
func TestToolsList(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := toolchain.Open(toolchain.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	list := func() string {
		t.Helper()
		var out bytes.Buffer
		if err := listTools(store, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got := list(); !strings.HasPrefix(got, "No tools are installed.") {
		t.Errorf("an empty store: %q", got)
	}
	tool := filepath.Join(dir, "node", "22.21.1")
	program := filepath.Join(tool, "package", "bin", "node")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	changed := time.Date(2026, 11, 1, 2, 3, 4, 0, time.UTC)
	if err := os.Chtimes(program, changed, changed); err != nil {
		t.Fatal(err)
	}
	record := `{"name":"node","version":"22.21.1","bytes":125829120,"programs":[{"path":"package/bin/node","size":7,"time":"2026-11-01T02:03:04Z"}]}`
	if err := os.WriteFile(filepath.Join(tool, "tool.json"), []byte(record), 0o644); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(dir, "locks", "node-22.21.1")
	if err := os.WriteFile(lock, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(lock, changed, changed); err != nil {
		t.Fatal(err)
	}
	if got, want := list(), "TOOL  VERSION  SIZE     LAST USED\nnode  22.21.1  120 MiB  2026-11-01 02:03:04\n"; got != want {
		t.Errorf("the list is\n%swant\n%s", got, want)
	}
}
