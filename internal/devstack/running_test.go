package devstack

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRunning(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := FindRunning(dir); !errors.Is(err, ErrNotRunning) {
		t.Fatalf("without a folder: %v", err)
	}
	want := Running{PID: os.Getpid(), Settings: map[string]string{"TROY_DATABASE_URL": "postgres://troy:secret@127.0.0.1/troy"}}
	withdraw, err := want.Announce(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(runningFile(dir))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file, which holds a password, has mode %v (%v)", info.Mode(), err)
	}
	got, err := FindRunning(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("announced (-), found (+):\n%s", diff)
	}
	if _, err := want.Announce(dir); err == nil {
		t.Error("a second process could announce itself in the same folder")
	}
	if err := withdraw(); err != nil {
		t.Fatal(err)
	}
	if _, err := FindRunning(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}

	// A killed process leaves its file.
	if err := os.WriteFile(runningFile(dir), []byte(`{"pid":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := FindRunning(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a file without a lock: %v", err)
	}
}
