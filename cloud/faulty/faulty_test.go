//go:build faults

package faulty_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/cloudtest"
	"github.com/troy-iaas/troy/cloud/faulty"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/edge"
	"github.com/troy-iaas/troy/site"
)

// childScript is set in the process that TestKill starts.
const childScript = "TROY_FAULTY_TEST_SCRIPT"

func open(t *testing.T, root, file string) cloud.Cloud {
	t.Helper()
	c, err := localcloud.New(localcloud.Config{Root: root, PropagationDelay: 400 * time.Millisecond, PollDelay: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return faulty.Wrap(c, file)
}

func write(t *testing.T, file, script string) {
	t.Helper()
	// By rename, so that a call never reads half a script.
	if err := os.WriteFile(file+".new", []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func logged(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file + ".log")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

func TestConformanceWithoutFaults(t *testing.T) {
	t.Parallel()
	cloudtest.Run(t, func(t *testing.T) cloudtest.Env {
		dir := t.TempDir()
		readers, err := edge.New(edge.Config{Root: dir, Previews: site.PreviewHosts{Suffix: "sites.example", Sites: "sites.example"}})
		if err != nil {
			t.Fatal(err)
		}
		return cloudtest.Env{Cloud: open(t, dir, filepath.Join(dir, "script")), Readers: readers, Domain: "sites.example", Deadline: 20 * time.Second}
	})
}

func TestBeforeAndAfter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "script")
	c := open(t, dir, file)
	write(t, file, "# a lost answer, then a refusal\ncdn.create after times=1\ndns.upsert before kind=permanent match=a.example\n")

	if _, err := c.CDN.Create(t.Context(), "ref", "a.example"); !errors.Is(err, faulty.ErrInjected) || troy.KindOf(err) != troy.Internal {
		t.Fatalf("Create: %v, want an injected fault that may pass", err)
	}
	if _, err := c.CDN.Find(t.Context(), "ref"); err != nil {
		t.Fatalf("the effect did not happen: %v", err)
	}
	// The script holds the count, not the wrapper, so another process sees it.
	if _, err := open(t, dir, file).CDN.Create(t.Context(), "ref", "a.example"); !errors.Is(err, cloud.ErrExists) {
		t.Fatalf("Create again: %v, want ErrExists", err)
	}
	for range 3 {
		if err := c.DNS.Upsert(t.Context(), "a.example", "x"); troy.KindOf(err) != troy.Invalid {
			t.Fatalf("Upsert: %v, want a permanent error", err)
		}
	}
	if _, err := c.DNS.Lookup(t.Context(), "a.example"); !errors.Is(err, cloud.ErrNotFound) {
		t.Fatalf("Lookup: %v; before must have no effect", err)
	}
	if err := c.DNS.Upsert(t.Context(), "b.example", "x"); err != nil {
		t.Fatalf("Upsert of what does not match: %v", err)
	}

	var creates int
	for _, line := range logged(t, file) {
		if strings.HasPrefix(line, "cdn.create ref a.example ") {
			creates++
		}
	}
	if creates != 2 {
		t.Fatalf("the log has %d creates, want 2:\n%s", creates, strings.Join(logged(t, file), "\n"))
	}
	// A new script starts the count again.
	write(t, file, "cdn.find before times=1")
	if _, err := c.CDN.Find(t.Context(), "ref"); !errors.Is(err, faulty.ErrInjected) {
		t.Fatalf("Find: %v", err)
	}
	if _, err := c.CDN.Find(t.Context(), "ref"); err != nil {
		t.Fatalf("Find again: %v", err)
	}
}

func TestHang(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "script")
	c := open(t, dir, file)
	write(t, file, "dns.upsert hang")

	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	if err := c.DNS.Upsert(ctx, "a.example", "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Upsert: %v, want its context's end", err)
	}
	if _, err := c.DNS.Lookup(t.Context(), "a.example"); !errors.Is(err, cloud.ErrNotFound) {
		t.Fatalf("Lookup: %v; a hanging call has no effect", err)
	}

	done := make(chan error, 1)
	go func() { done <- c.DNS.Upsert(t.Context(), "a.example", "x") }()
	write(t, file, "")
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the call still hangs without its line")
	}
}

func TestKill(t *testing.T) {
	if file := os.Getenv(childScript); file != "" {
		_ = open(t, filepath.Dir(file), file).DNS.Upsert(t.Context(), "a.example", "x")
		return // not reached when the script kills
	}
	t.Parallel()
	for action, effect := range map[string]bool{"kill": false, "killafter": true} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "script")
			write(t, file, "dns.upsert "+action+" times=1")
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
			child.Env = append(os.Environ(), childScript+"="+file)
			err := child.Run()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 137 {
				t.Fatalf("the process ended with %v, want exit status 137", err)
			}
			c := open(t, dir, file)
			if _, err := c.DNS.Lookup(t.Context(), "a.example"); (err == nil) != effect {
				t.Fatalf("Lookup after the kill: %v", err)
			}
			if err := c.DNS.Upsert(t.Context(), "a.example", "x"); err != nil {
				t.Fatalf("the kill was not counted: %v", err)
			}
			if got := logged(t, file)[0]; !strings.HasPrefix(got, "dns.upsert a.example kill") {
				t.Fatalf("the log begins with %q", got)
			}
		})
	}
}

func TestMalformedScript(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"cdn.create", "cdn.make before", "cdn.create never", "cdn.create before times=0",
		"cdn.create before times=x", "cdn.create before kind=soft", "cdn.create before often", "cdn.create before match=",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "script")
			c := open(t, filepath.Dir(file), file)
			write(t, file, "\ndns.upsert before\n"+line+"\n")
			err := c.Store.Seal(t.Context(), site.Tree{Pipeline: uuid.New()}, nil, nil)
			if err == nil || !strings.Contains(err.Error(), "line 3") {
				t.Fatalf("a call: %v, want an error that names line 3", err)
			}
			if _, err := faulty.New(c, file); err == nil || !strings.Contains(err.Error(), "line 3") {
				t.Fatalf("New: %v, want an error that names line 3", err)
			}
		})
	}
}
