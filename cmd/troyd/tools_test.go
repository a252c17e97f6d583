package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/builder/toolchain"
	"github.com/troy-iaas/troy/internal/checkup"
)

// A command that needs tools says so with an example.
func TestToolsAreNamed(t *testing.T) {
	t.Parallel()
	if err := someTools(newToolsInstallCommand(), nil); err == nil || !strings.Contains(err.Error(), "expected a tool, like node@22") {
		t.Errorf("without a tool: %v", err)
	}
	if err := someTools(newToolsInstallCommand(), []string{"node"}); err != nil {
		t.Error(err)
	}
}

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

// TestTellMise tells of a mise that is missing, new enough and too old.
func TestTellMise(t *testing.T) {
	t.Parallel()
	for version, c := range map[string]struct{ said, remedy string }{
		"":          {"is not in the PATH, so builds use the Python, Ruby, Hugo and Zola of this machine", ""},
		"2026.9.15": {"version 2026.9.15 installs the Python, Ruby, Hugo and Zola of builds", ""},
		"2025.1.0":  {"can't install tools of builds: it is version 2025.1.0; expected 2026.7.12 or newer", "update mise"},
	} {
		program := ""
		if version != "" {
			program = filepath.Join(t.TempDir(), "mise")
			if err := os.WriteFile(program, []byte("#!/bin/sh\necho '"+version+" linux-x64 (2026-09-27)'\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		var found []checkup.Finding
		tellMise(t.Context(), program, func(f checkup.Finding) { found = append(found, f) })
		if len(found) != 1 || !strings.Contains(found[0].Said, c.said) || !strings.HasPrefix(found[0].Remedy, c.remedy) || (found[0].Remedy == "") != (c.remedy == "") {
			t.Errorf("version %q: %+v", version, found)
		}
	}
}
