package troy_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDeps runs tools/deps on machines that lack a program. The programs are
// scripts; nothing is installed.
func TestDeps(t *testing.T) {
	t.Parallel()
	const (
		fine   = "#!/bin/sh\ncase $1 in version) echo go version go1.26.0 linux/amd64;; env) echo auto;; esac\n"
		old    = "#!/bin/sh\ncase $1 in version) echo go version go1.19.8 linux/amd64;; env) echo;; esac\n"
		pinned = "#!/bin/sh\ncase $1 in version) echo go version go1.24.1 linux/amd64;; env) echo local;; esac\n"
		// apt-get "installs" Redis, which makes redis-server appear.
		aptGet = "#!/bin/sh\necho \"apt-get $*\" >>\"$CALLS\"\ncase $1 in install) printf '#!/bin/sh\\n' >\"$BIN/redis-server\"; chmod +x \"$BIN/redis-server\";; esac\n"
		user   = "#!/bin/sh\necho 1000\n"
		root   = "#!/bin/sh\necho 0\n"
		sudo   = "#!/bin/sh\necho sudo >>\"$CALLS\"\nexec \"$@\"\n"
		noop   = "#!/bin/sh\n"
	)
	for name, c := range map[string]struct {
		programs map[string]string
		args     string
		status   int
		says     []string
		calls    string // the programs called, abbreviated
	}{
		"an old Go":            {map[string]string{"go": old, "id": root, "apt-get": aptGet}, "go redis", 1, []string{"Go is too old", "go1.19.8", "1.26 or newer", "https://go.dev/dl/"}, ""},
		"a pinned Go       ":   {map[string]string{"go": pinned, "id": root}, "go redis", 1, []string{"go1.24.1", "1.26 or newer"}, ""},
		"no Go":                {map[string]string{"id": root}, "go redis", 1, []string{"Go is not installed", "https://go.dev/dl/"}, ""},
		"nothing is missing":   {map[string]string{"go": fine, "redis-server": noop}, "go redis", 0, nil, ""},
		"a user with sudo":     {map[string]string{"go": fine, "id": user, "apt-get": aptGet, "sudo": sudo}, "go redis", 0, []string{"Redis, which Troy's tests start", "sudo may ask for your password", "Installing redis-server"}, "sudo apt-get update sudo apt-get install"},
		"a user without sudo":  {map[string]string{"go": fine, "id": user, "apt-get": aptGet}, "go redis", 1, []string{"sudo is not installed", "apt-get install -y --no-install-recommends redis-server", "repeat this command"}, ""},
		"root":                 {map[string]string{"go": fine, "id": root, "apt-get": aptGet}, "go redis", 0, []string{"Installing redis-server"}, "apt-get update apt-get install"},
		"neither apt nor brew": {map[string]string{"go": fine, "id": root}, "go redis", 1, []string{"neither apt-get nor brew"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bin := t.TempDir()
			for _, tool := range []string{"bash", "sh", "env", "awk", "cut", "dirname", "cat", "chmod"} {
				path, err := exec.LookPath(tool)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(path, filepath.Join(bin, tool)); err != nil {
					t.Fatal(err)
				}
			}
			for program, text := range c.programs {
				if err := os.WriteFile(filepath.Join(bin, program), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			calls := filepath.Join(bin, "calls")
			cmd := exec.CommandContext(t.Context(), "tools/deps", strings.Fields(c.args)...)
			cmd.Env = []string{"PATH=" + bin, "BIN=" + bin, "CALLS=" + calls}
			out, err := cmd.CombinedOutput()
			exit, failed := errors.AsType[*exec.ExitError](err)
			if err != nil && !failed || failed && exit.ExitCode() != c.status || !failed && c.status != 0 {
				t.Fatalf("%v, want exit status %d: %s", err, c.status, out)
			}
			for _, want := range c.says {
				if !strings.Contains(string(out), want) {
					t.Errorf("%q is missing in:\n%s", want, out)
				}
			}
			made, err := os.ReadFile(calls)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			var short []string
			for line := range strings.Lines(string(made)) {
				words := strings.Fields(line)
				short = append(short, strings.Join(words[:min(2, len(words))], " "))
			}
			if got := strings.Join(short, " "); got != c.calls {
				t.Errorf("called %q, want %q", got, c.calls)
			}
		})
	}
}
