package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/internal/devstack/stacktest"
)

// migrate runs `troyd migrate args…` and returns what it printed.
func migrate(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := newMigrateCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&bytes.Buffer{})
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// The database's URL comes from the environment, so these do not run in
// parallel.

func TestMigrateUpDownStatus(t *testing.T) {
	t.Setenv("TROY_DATABASE_URL", stacktest.EmptyDatabase(t))
	for _, step := range []struct{ command, want string }{
		{"status", "pending"},
		{"up", "up 00001_init.sql\n"},
		{"up", "nothing to do\n"},
		{"status", "Z  00001_init.sql\n"},
	} {
		if out, err := migrate(t, step.command); err != nil || !strings.Contains(out, step.want) {
			t.Errorf("migrate %s: %q, %v; want %q", step.command, out, err, step.want)
		}
	}
	for {
		out, err := migrate(t, "down")
		if err != nil {
			t.Fatal(err)
		}
		if out == "nothing to do\n" {
			break
		}
		if !strings.HasPrefix(out, "down 0") {
			t.Fatalf("migrate down: %q", out)
		}
	}
}

func TestMigrateWantsAURL(t *testing.T) {
	t.Setenv("TROY_DATABASE_URL", "")
	for _, command := range []string{"up", "down", "status"} {
		if _, err := migrate(t, command); err == nil || !strings.Contains(err.Error(), "TROY_DATABASE_URL") {
			t.Errorf("migrate %s without it: %v", command, err)
		}
	}
	t.Setenv("TROY_DATABASE_URL", "not a url")
	if _, err := migrate(t, "up"); err == nil {
		t.Error("migrate up took a URL that is none")
	}
}

func TestMigrateGenerate(t *testing.T) {
	for _, server := range []string{"", stacktest.EmptyDatabase(t)} {
		t.Setenv("TROY_DATABASE_URL", server)
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
			return migrate(t, append([]string{"generate", name, "--dir", dir, "--schema", schema}, more...)...)
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
		for _, want := range []string{"table b", "column a.name", "--allow-destructive"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %q", want, err)
			}
		}
		if _, err := generate(less+"CREATE VIEW v AS SELECT 1 AS one;", "view", "--allow-destructive"); err == nil || !strings.Contains(err.Error(), "view v") || files() != 1 {
			t.Errorf("a view: %v, %d files; want an error that names it", err, files())
		}
		if _, err := generate(less, "less", "--allow-destructive"); err != nil || files() != 2 {
			t.Errorf("a destructive change with the flag: %v, %d files", err, files())
		}
		if out, err := generate(less, "again"); err != nil || out != "nothing to do\n" {
			t.Errorf("generate again: %q, %v; want nothing to do", out, err)
		}
	}
}

func TestMigrateNew(t *testing.T) {
	dir := t.TempDir()
	if out, err := migrate(t, "new", "first", "--dir", dir); err != nil || !strings.HasSuffix(out, "00001_first.sql\n") {
		t.Errorf("migrate new: %q, %v", out, err)
	}
	if _, err := migrate(t, "new", "../up", "--dir", dir); err == nil || !strings.Contains(err.Error(), "NAME") {
		t.Errorf("migrate new ../up: %v", err)
	}
}
