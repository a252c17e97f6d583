package generation_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/troy-iaas/troy/internal/generation"
)

// TestMain lets the test binary be a second process that bumps.
func TestMain(m *testing.M) {
	if path := os.Getenv("TROY_TEST_BUMP"); path != "" {
		if err := generation.Bump(path); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func bump(t *testing.T, path string) {
	t.Helper()
	if err := generation.Bump(path); err != nil {
		t.Fatal(err)
	}
}

// TestCounter covers everything that can happen to the file.
func TestCounter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "generation")
	c := generation.Watch(path)
	if n := c.Load(); n != 0 {
		t.Errorf("a missing file counts %d, want 0", n)
	}
	bump(t, path)
	c.Refresh()
	first := c.Load()
	if first == 0 {
		t.Skip("the temporary folder's file system can't share memory")
	}
	bump(t, path)
	if c.Load() == first {
		t.Error("a change was not seen")
	}

	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), "TROY_TEST_BUMP="+path)
	before := c.Load()
	if out, err := other.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if c.Load() == before {
		t.Error("another process's change was not seen")
	}

	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	bump(t, path)
	bump(t, path)
	c.Refresh()
	replaced := c.Load()
	bump(t, path)
	if c.Load() == replaced {
		t.Error("a change of the new file was not seen")
	}

	// A file that is too short must not end the process.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if n := c.Load(); n != 0 {
		t.Errorf("an empty file counts %d, want 0", n)
	}
	c.Refresh()
	if n := c.Load(); n != 0 {
		t.Errorf("an empty file counts %d after Refresh, want 0", n)
	}
	bump(t, path)
	c.Refresh()
	if c.Load() == 0 {
		t.Error("a repaired file is not read")
	}
}

func TestConcurrentBumps(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "generation")
	bump(t, path)
	c := generation.Watch(path)
	first := c.Load()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := generation.Bump(path); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if first != 0 && c.Load() != first+400 {
		t.Errorf("the count went from %d to %d, want 400 more", first, c.Load())
	}
}
