package gittest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/internal/devstack/gittest"
)

// run runs git with its own guards, or with another environment.
func run(t *testing.T, dir string, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := gittest.Command(t.Context(), dir, args...)
	if env != nil {
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// without removes the variables with a prefix.
func without(env []string, prefix string) (kept []string) {
	for _, pair := range env {
		if !strings.HasPrefix(pair, prefix) {
			kept = append(kept, pair)
		}
	}
	return kept
}

// A git that reads the hostile configuration fails where the guarded one
// succeeds, so the suites that run under it detect a missing guard.
func TestHostileConfigurationBites(t *testing.T) {
	t.Parallel()
	hostile, err := gittest.Hostile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	files := without(hostile, "GIT_") // only the user's configuration
	system := append(without(without(files, "HOME="), "XDG_"), "HOME=/nonexistent", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	for _, pair := range hostile {
		if strings.HasPrefix(pair, "GIT_CONFIG_SYSTEM=") {
			system = append(system, pair)
		}
	}
	dir := t.TempDir()
	for _, args := range [][]string{{"init", "--quiet", "--initial-branch=main"}, {"add", "--all"}, {"commit", "--quiet", "-m", "first"}, {"tag", "-m", "x", "x"}} {
		if err := os.WriteFile(filepath.Join(dir, "a.bin"), []byte("a"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".gitattributes"), []byte("*.bin filter=lfs\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := run(t, dir, nil, args...); err != nil {
			t.Fatalf("the guarded git %v: %v\n%s", args, err, out)
		}
	}
	for name, c := range map[string]struct {
		env  []string
		args []string
	}{
		"the user's hooks or signing":   {files, []string{"commit", "--allow-empty", "-m", "x"}},
		"the system's hooks or signing": {system, []string{"commit", "--allow-empty", "-m", "x"}},
		"signing of tags":               {files, []string{"tag", "-m", "y", "y"}},
		"the LFS filter":                {files, []string{"cat-file", "--filters", "HEAD:a.bin"}},
		"protocols":                     {files, []string{"ls-remote", "file://" + dir}},
		"the place of the repository":   {hostile, []string{"rev-parse", "HEAD"}},
		"the place of git's programs":   {hostile, []string{"submodule", "status"}},
	} {
		if out, err := run(t, dir, c.env, c.args...); err == nil {
			t.Errorf("%s: git %v succeeded: %s", name, c.args, out)
		}
	}
	if out, err := run(t, dir, without(files, "PATH="), "ls-remote", "--get-url", "https://example.com/a.git"); err != nil || !strings.HasPrefix(out, "http://127.0.0.1:9/") {
		t.Errorf("the address is not rewritten: %s, %v", out, err)
	}
	if out, err := run(t, dir, files, "archive", "HEAD"); err != nil || strings.Contains(out, "a.bin") {
		t.Errorf("the archive is not emptied by attributes: %v", err)
	}
	fresh := t.TempDir()
	if out, err := run(t, fresh, files, "init", "--quiet"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := run(t, fresh, files, "symbolic-ref", "HEAD"); err != nil || out != "refs/heads/hostile" {
		t.Errorf("the first branch is %s, %v", out, err)
	}
}

// Not even the variables of the test's own process reach git.
func TestCommandInheritsNothing(t *testing.T) {
	hostile, err := gittest.Hostile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range hostile {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
	if err := exec.Command("git", "rev-parse", "--git-dir").Run(); err == nil {
		t.Fatal("the environment is not hostile")
	}
	dir := t.TempDir()
	for _, args := range [][]string{{"init", "--quiet"}, {"commit", "--quiet", "--allow-empty", "-m", "x"}, {"ls-remote", "file://" + dir}, {"rev-parse", "HEAD"}} {
		out, err := run(t, dir, nil, args...)
		if err != nil {
			t.Errorf("git %v: %v\n%s", args, err, out)
		}
		if args[0] == "rev-parse" && len(out) != 40 {
			t.Errorf("the commit is %q", out)
		}
	}
	if _, err := gittest.Server(t.Context(), dir); err != nil {
		t.Error(err)
	}
}
