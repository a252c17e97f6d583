package toolchain

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
)

// fakeMise obeys the commands of mise that Troy uses. Files beside it make it
// fail: its name and the name of a command, with what to run.
const fakeMise = `#!/bin/sh
set -e
here=${0%/*}
env | sort > "$here/env.$1"
if [ -e "$here/fail.$1" ]; then . "$here/fail.$1"; fi
name() { sed -n 's/^"\(.*\)" = "\(.*\)"$/\1/p' mise.toml; }
version() { sed -n 's/^"\(.*\)" = "\(.*\)"$/\2/p' mise.toml; }
case "$*" in
--version) echo "${version:-2026.9.15} linux-x64 (2026-09-27)";;
"ls-remote core:python") printf '3.11.9\n3.12.1\n3.12.11\n3.13.0rc1\npypy3.10-7.3.12\n';;
"ls-remote core:ruby") printf '3.2.9\n3.3.0\n';;
"ls-remote aqua:gohugoio/hugo/hugo-extended") printf '0.139.5\n0.140.0\n0.140.2\n';;
"ls-remote aqua:getzola/zola") printf '0.19.2\n';;
"lock --platform "*)
	printf '[[tools."%s"]]\nversion = "%s"\n[tools."%s"."platforms.%s"]\nchecksum = "sha256:0a1b"\nurl = "https://publisher.test/x"\n' "$(name)" "$(version)" "$(name)" "$3" > mise.lock;;
"install --locked")
	grep -q 'sha256:0a1b' mise.lock
	tool=$(name); tool=${tool##*/}; tool=${tool%-extended}
	into=$MISE_DATA_DIR/installs/$tool/$(version)
	bin=$into
	case $tool in python | ruby) bin=$into/bin;; esac
	mkdir -p "$bin"
	program=$tool
	if [ "$tool" = python ]; then program=python3; ln -s "$bin/python3" "$bin/python"; fi
	printf '#!/bin/sh\necho %s %s\n' "$tool" "$(version)" > "$bin/$program"
	chmod 755 "$bin/$program"
	echo notes > "$bin/README.md";;
"where "*)
	tool=${2%@*}; tool=${tool##*/}; tool=${tool%-extended}
	echo "$MISE_DATA_DIR/installs/$tool/${2##*@}";;
*) echo "mise ERROR unexpected: $*" >&2; exit 2;;
esac
`

// miseWorld has a fake mise in the folder that it returns.
func miseWorld(t *testing.T) (*world, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mise"), []byte(fakeMise), 0o755); err != nil {
		t.Fatal(err)
	}
	return newWorld(t, func(cfg *Config) { cfg.Mise = filepath.Join(dir, "mise") }), dir
}

// fails makes a command of the fake mise run something first.
func fails(t *testing.T, dir, command, run string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "fail."+command), []byte(run+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestMise installs tools by mise for what repositories ask.
func TestMise(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		machine map[string]string
		tools   []build.Tool
		want    []string
		says    string
	}{
		"an exact version":   {nil, []build.Tool{tool(t, "hugo", "0.140.0", "the variable HUGO_VERSION")}, []string{"hugo@0.140.0"}, "Hugo 0.140.0, from the variable HUGO_VERSION; installed in "},
		"a range":            {map[string]string{"python3": "Python 3.11.2"}, []build.Tool{tool(t, "python", "3.12", ".python-version")}, []string{"python@3.12.11"}, "Python 3.12.11, from .python-version (3.12); installed in "},
		"the machine's":      {map[string]string{"python3": "Python 3.12.3"}, []build.Tool{tool(t, "python", "3.12", ".python-version")}, []string{"python@3.12.3*"}, "Python 3.12.3 of this machine, from .python-version (3.12)."},
		"any on the machine": {map[string]string{"python3": "Python 3.9.3"}, []build.Tool{{Name: "python"}}, []string{"python@3.9.3*"}, ""},
		"none named":         {nil, []build.Tool{{Name: "zola"}}, []string{"zola@0.19.2"}, "Zola 0.19.2, the newest: nothing names a version; installed in "},
		"several":            {nil, []build.Tool{tool(t, "ruby", "3.3.0", ".ruby-version"), tool(t, "hugo", "0.139", ".hugo-version")}, []string{"ruby@3.3.0", "hugo@0.139.5"}, "Ruby 3.3.0, from .ruby-version; installed in "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := miseWorld(t)
			for program, says := range c.machine {
				w.has(t, program, says)
			}
			got, log, err := w.prepare(t, c.tools...)
			if err != nil || !slices.Equal(got, c.want) || !strings.Contains(log, c.says) {
				t.Errorf("the tools are %q, %v, want %q; the log, which should have %q:\n%s", got, err, c.want, c.says, log)
			}
		})
	}
}

// TestMiseInstallsOnce looks at what is installed, and asks again while mise fails.
func TestMiseInstallsOnce(t *testing.T) {
	t.Parallel()
	w, dir := miseWorld(t)
	got, installed, err := w.store.Install(t.Context(), "python@3.12.1")
	if err != nil || !installed || got.Package != "core:python" || got.Bytes == 0 {
		t.Fatalf("%+v, %v, %v", got, installed, err)
	}
	place := filepath.Join(w.cfg.Dir, "python", "3.12.1")
	if target, err := os.Readlink(filepath.Join(place, "package", "bin", "python")); err != nil || target != "python3" {
		t.Errorf("a link of the tool leads to %q, %v", target, err)
	}
	if r, err := w.store.check("python", "3.12.1"); err != nil || r.Integrity != "sha256:0a1b" || len(r.Programs) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, folder := range []string{filepath.Join(place, "*"), filepath.Join(w.cfg.Dir, "tmp", "*")} {
		left, err := filepath.Glob(folder)
		for _, name := range left {
			if base := filepath.Base(name); err != nil || base != "package" && base != "bin" && base != "tool.json" {
				t.Errorf("left: %s, %v", name, err)
			}
		}
	}
	for _, command := range []string{"ls-remote", "lock", "install", "where"} {
		fails(t, dir, command, "exit 1")
	}
	if got, _, err := w.prepare(t, tool(t, "python", "3.12.1", ".python-version")); err != nil || !slices.Equal(got, []string{"python@3.12.1"}) {
		t.Errorf("%q, %v", got, err)
	}
	// What is changed is installed again, which fails here.
	if err := os.Truncate(filepath.Join(place, "package", "bin", "python3"), 0); err != nil {
		t.Fatal(err)
	}
	if got, _, err := w.prepare(t, tool(t, "python", "3.12.1", ".python-version")); troy.KindOf(err) != troy.Unavailable {
		t.Errorf("a changed program: %q, %v", got, err)
	}
}

// TestMiseIsAlone has variables and files that mise must not see.
func TestMiseIsAlone(t *testing.T) {
	t.Setenv("MISE_DATA_DIR", "/elsewhere")
	t.Setenv("TROY_TEST_SECRET", "s3cret")
	w, dir := miseWorld(t)
	w.cfg.Environment["https_proxy"] = "http://proxy.test:3128"
	w.cfg.Environment["OTHER"] = "s3cret"
	w.open(t)
	if got, _, err := w.prepare(t, tool(t, "zola", "0.19.2", ".zola-version")); err != nil || len(got) != 1 {
		t.Fatalf("%q, %v", got, err)
	}
	for _, command := range []string{"ls-remote", "lock", "install", "where"} {
		data, err := os.ReadFile(filepath.Join(dir, "env."+command))
		if err != nil {
			t.Fatal(err)
		}
		env := map[string]string{}
		for line := range strings.Lines(string(data)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			env[name] = value
		}
		for _, name := range []string{"HOME", "TMPDIR", "MISE_DATA_DIR", "MISE_STATE_DIR", "MISE_CONFIG_DIR", "MISE_SYSTEM_CONFIG_DIR", "MISE_SYSTEM_DATA_DIR", "MISE_CACHE_DIR", "MISE_GLOBAL_CONFIG_FILE", "MISE_CEILING_PATHS"} {
			if !strings.HasPrefix(env[name], w.cfg.Dir+"/") {
				t.Errorf("%s has %s=%s", command, name, env[name])
			}
		}
		for name, want := range map[string]string{
			"MISE_SAFE": "1", "MISE_PARANOID": "1", "MISE_PYTHON_COMPILE": "0", "MISE_RUBY_COMPILE": "0", "MISE_DISABLE_BACKENDS": "asdf,vfox",
			"HTTPS_PROXY": "http://proxy.test:3128", "TROY_TEST_SECRET": "", "OTHER": "",
		} {
			if env[name] != want {
				t.Errorf("%s has %s=%q, want %q; all: %q", command, name, env[name], want, slices.Sorted(maps.Keys(env)))
			}
		}
	}
}

// TestMiseFails has each command of mise fail. Nothing is left, and a version of
// the machine that fits is used.
func TestMiseFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command, run string
		kind         troy.ErrorKind
		says         string
	}{
		"the list":        {"ls-remote", "echo 'mise WARN x' >&2; echo 'mise ERROR dns error' >&2; echo 'mise ERROR Version: 1' >&2; exit 1", troy.Unavailable, ".hugo-version asks for Hugo 0.140.0, which is not on this machine and can't be installed: mise: dns error; no version is available; try again when the publisher can be reached"},
		"an old one":      {"--version", "version=2026.7.11", troy.Unavailable, "can't be installed: mise can't be used: it is version 2026.7.11; expected " + oldestMise + " or newer"},
		"secrets":         {"lock", "echo 'mise ERROR no answer (https://user:s3cret@mirror.test/x?sig=s3cret)' >&2; exit 1", troy.Unavailable, "can't be installed: mise: no answer (https://mirror.test/x); "},
		"locking":         {"lock", "exit 3", troy.Unavailable, "can't be installed: mise: exit status 3"},
		"no lock":         {"lock", "exit 0", troy.Unavailable, "mise wrote no mise.lock; update it to " + oldestMise},
		"a broken lock":   {"lock", "echo '[[' > mise.lock; exit 0", troy.Unavailable, "mise wrote a mise.lock that is not valid TOML"},
		"no checksum":     {"lock", `printf '[[tools.hugo]]\nversion = "0.140.0"\n[tools.hugo."platforms.%s"]\nurl = "https://x"\n' "$3" > mise.lock; exit 0`, troy.Invalid, "can't be verified: its publisher has no checksum of it"},
		"another version": {"lock", `printf '[[tools.hugo]]\nversion = "0.139.5"\n[tools.hugo."platforms.%s"]\nchecksum = "sha256:0a"\n' "$3" > mise.lock; exit 0`, troy.Invalid, "can't be verified"},
		"a wrong one":     {"install", "echo 'mise ERROR Checksum mismatch for file x' >&2; exit 1", troy.Invalid, "0.140.0 has the wrong checksum and was discarded: mise: Checksum mismatch for file x"},
		"half a tool":     {"install", `mkdir -p "$MISE_DATA_DIR/installs/hugo/0.140.0"; echo half > "$MISE_DATA_DIR/installs/hugo/0.140.0/hugo"; echo 'mise ERROR connection reset' >&2; exit 1`, troy.Unavailable, "connection reset"},
		"no program":      {"install", `mkdir -p "$MISE_DATA_DIR/installs/hugo/0.140.0"; exit 0`, troy.Unavailable, "mise installed no program hugo"},
		"elsewhere":       {"where", "echo /usr; exit 0", troy.Unavailable, "in another folder than its own"},
		"nowhere":         {"where", "exit 0", troy.Unavailable, "in another folder than its own"},
		"too slow":        {"install", "sleep 600", troy.Unavailable, "mise took longer than 300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, dir := miseWorld(t)
			fails(t, dir, c.command, c.run)
			if name == "too slow" {
				w.store.mise.installTime = 300 * time.Millisecond
			}
			w.has(t, "hugo", "hugo v0.111.3+extended linux/amd64")
			_, _, err := w.prepare(t, tool(t, "hugo", "0.140.0", ".hugo-version"))
			if name == "the list" {
				c.says = strings.Replace(c.says, "no version is available; ", "available versions: 0.111.3; ask for one of them, or ", 1)
			}
			if troy.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %s and %q", err, c.kind, c.says)
			}
			for _, pattern := range []string{"tmp/*", "hugo/*"} {
				if left, err := filepath.Glob(filepath.Join(w.cfg.Dir, pattern)); err != nil || len(left) > 0 {
					t.Errorf("left: %q, %v", left, err)
				}
			}
			if got, _, err := w.prepare(t, tool(t, "hugo", ">=0.100", ".hugo-version")); err != nil || !slices.Equal(got, []string{"hugo@0.111.3*"}) {
				t.Errorf("the machine's: %q, %v", got, err)
			}
		})
	}
}

// TestMiseEndsWithTheBuild cancels a build while mise has a process that waits.
func TestMiseEndsWithTheBuild(t *testing.T) {
	t.Parallel()
	w, dir := miseWorld(t)
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	// The pipe ends when both processes have ended.
	fails(t, dir, "install", `exec 9>"$here/pipe"; sleep 600 & echo >&9; wait`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := w.store.Prepare(ctx, []build.Tool{tool(t, "zola", "0.19.2", ".zola-version")}, nil, func(string) {})
		done <- err
	}()
	reader, err := os.Open(pipe) // when mise has opened it
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if _, err := reader.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := reader.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a process of mise is still there: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(w.cfg.Dir, "tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// TestCheckMise asks programs for their versions.
func TestCheckMise(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ run, version, says string }{
		"new":      {"", "2026.9.15", ""},
		"old":      {"version=2025.1.0", "2025.1.0", "it is version 2025.1.0; expected " + oldestMise + " or newer"},
		"not mise": {"echo hello; exit 0", "", "it does not print its version"},
		"it fails": {"exit 1", "", "exit status 1"},
	} {
		_, dir := miseWorld(t)
		fails(t, dir, "--version", c.run)
		version, err := CheckMise(t.Context(), filepath.Join(dir, "mise"))
		if version != c.version || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q, %v", name, version, err)
		}
	}
}
