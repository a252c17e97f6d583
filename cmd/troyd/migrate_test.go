package main

import (
	"bytes"
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

// The database's URL comes from the environment, so these tests do not run in
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
		t.Error("migrate up accepted an invalid URL")
	}
}
