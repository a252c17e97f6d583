package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/internal/devstack/stacktest"
)

// migration runs the program and returns its output.
func migration(t *testing.T, serverURL string, args ...string) (string, error) {
	t.Helper()
	var out, errs bytes.Buffer
	if status := program(t.Context(), args, serverURL, &out, &errs); status != 0 {
		return out.String(), errors.New(errs.String())
	}
	return out.String(), nil
}

func TestGenerate(t *testing.T) {
	for _, server := range []string{"", stacktest.EmptyDatabase(t)} {
		root := t.TempDir()
		dir, schema := filepath.Join(root, "migrations"), filepath.Join(root, "schema.sql")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		generate := func(sql, name string, more ...string) (string, error) {
			t.Helper()
			if err := os.WriteFile(schema, []byte(sql), 0o600); err != nil {
				t.Fatal(err)
			}
			return migration(t, server, append(append(more, "-dir", dir, "-schema", schema), name)...)
		}
		files := func() int {
			t.Helper()
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		const both = "CREATE TABLE a (id integer PRIMARY KEY, name text); CREATE TABLE b (id integer PRIMARY KEY);"
		const less = "CREATE TABLE a (id integer PRIMARY KEY);"
		if out, err := generate(both, "init"); err != nil || !strings.HasSuffix(out, "00001_init.sql\n") {
			t.Fatalf("generate init: %q, %v", out, err)
		}
		if out, err := generate(both, "again"); err != nil || out != "nothing to do\n" || files() != 1 {
			t.Errorf("generate again: %q, %v, %d files; want nothing to do", out, err, files())
		}
		_, err := generate(less, "less")
		if err == nil || files() != 1 {
			t.Fatalf("a destructive change without the flag: %v, %d files", err, files())
		}
		for _, want := range []string{"table b", "column a.name", "-allow-destructive"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %q", want, err)
			}
		}
		if _, err := generate(less+"CREATE VIEW v AS SELECT 1 AS one;", "view", "-allow-destructive"); err == nil || !strings.Contains(err.Error(), "view v") || files() != 1 {
			t.Errorf("a view: %v, %d files; want an error that names it", err, files())
		}
		if _, err := generate(less, "less", "-allow-destructive"); err != nil || files() != 2 {
			t.Errorf("a destructive change with the flag: %v, %d files", err, files())
		}
		if out, err := generate(less, "again"); err != nil || out != "nothing to do\n" {
			t.Errorf("generate again: %q, %v; want nothing to do", out, err)
		}
	}
}

func TestEmpty(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := migration(t, "", "-empty", "-dir", dir, "first"); err != nil || !strings.HasSuffix(out, "00001_first.sql\n") {
		t.Errorf("first: %q, %v", out, err)
	}
	if _, err := migration(t, "", "-empty", "-dir", dir, "../up"); err == nil || !strings.Contains(err.Error(), "NAME") {
		t.Errorf("../up: %v", err)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"a", "b"}, {"-unknown", "a"}} {
		var out, errs bytes.Buffer
		if status := program(t.Context(), args, "", &out, &errs); status != 2 || out.Len() > 0 || !strings.Contains(errs.String(), "Usage: ") {
			t.Errorf("%q: status %d, printed %q and %q", args, status, out.String(), errs.String())
		}
	}
}
