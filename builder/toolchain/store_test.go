package toolchain

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
)

// TestHalfWritten leaves what a process that died leaves, and changes an
// installed tool.
func TestHalfWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	yarn := tool(t, "yarn", "1.22.22", "packageManager")
	half := filepath.Join(w.cfg.Dir, "tmp", "yarn-1.22.22")
	others := filepath.Join(w.cfg.Dir, "tmp", "node-22.0.0", "package")
	gone := filepath.Join(w.cfg.Dir, "tmp", removed+"x", "package")
	placed := filepath.Join(w.cfg.Dir, "yarn", "1.22.22", "bin")
	for _, dir := range []string{half, others, gone, placed} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "part"), []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, _, err := w.prepare(t, yarn); err != nil || len(got) != 1 {
		t.Fatalf("%q, %v", got, err)
	}
	if left, err := filepath.Glob(filepath.Join(w.cfg.Dir, "tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
	program := filepath.Join(w.cfg.Dir, "yarn", "1.22.22", "package", "bin", "yarn.js")
	for name, damage := range map[string]func() error{
		"truncated": func() error { return os.Truncate(program, 0) },
		"rewritten": func() error {
			text, err := os.ReadFile(program)
			if err != nil {
				return err
			}
			return errors.Join(os.WriteFile(program, []byte(strings.ToUpper(string(text))), 0o755), os.Chtimes(program, at, at))
		},
		"removed":   func() error { return os.Remove(program) },
		"no record": func() error { return os.Remove(filepath.Join(w.cfg.Dir, "yarn", "1.22.22", "tool.json")) },
	} {
		before := w.count("1.22.22.tgz")
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if got, _, err := w.prepare(t, yarn); err != nil || len(got) != 1 || w.count("1.22.22.tgz") != before+1 {
			t.Errorf("%s: %q, %v, fetched %d times", name, got, err, w.count("1.22.22.tgz")-before)
		}
	}
}

// TestStoreIsBounded removes what was not used for the longest time, but
// nothing in use.
func TestStoreIsBounded(t *testing.T) {
	t.Parallel()
	now := at
	w := newWorld(t, func(cfg *Config) { cfg.now = func() time.Time { return now }; cfg.MaxBytes = 1 })
	inUse, err := w.store.Prepare(t.Context(), []build.Tool{tool(t, "yarn", "1.22.22", "a")}, nil, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	list := func() (names []string) {
		t.Helper()
		tools, err := w.store.Tools()
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range tools {
			names = append(names, tool.Name+"@"+tool.Version)
		}
		return names
	}
	for _, version := range []string{"9.15.9", "10.1.0"} {
		now = now.Add(time.Minute)
		if _, _, err := w.prepare(t, tool(t, "pnpm", version, "a")); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(); !slices.Equal(got, []string{"pnpm@10.1.0", "yarn@1.22.22"}) {
		t.Errorf("the store has %q", got)
	}
	if err := w.store.Remove(t.Context(), "yarn", "1.22.22"); troy.KindOf(err) != troy.Conflict {
		t.Errorf("a tool in use was removed: %v", err)
	}
	inUse.Close()
	for _, c := range []struct {
		tool, version string
		kind          troy.ErrorKind
	}{{"yarn", "1.22.22", ""}, {"yarn", "1.22.22", troy.NotFound}, {"yarn", "../../x", troy.Invalid}, {"../x", "1.0.0", troy.Invalid}} {
		err := w.store.Remove(t.Context(), c.tool, c.version)
		if (c.kind == "") != (err == nil) || err != nil && troy.KindOf(err) != c.kind {
			t.Errorf("remove %s@%s: %v, want %q", c.tool, c.version, err, c.kind)
		}
	}
	if got := list(); !slices.Equal(got, []string{"pnpm@10.1.0"}) {
		t.Errorf("the store has %q", got)
	}
}

// TestInstallCommand installs what the command names.
func TestInstallCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, c := range []struct {
		text, want, says string
		installed        bool
	}{
		{"node@22", "node@22.21.1", "", true},
		{"node@22", "node@22.21.1", "", false},
		{"node", "node@26.1.0", "", true},
		{"pnpm@^9", "pnpm@9.15.9", "", true},
		{"pnpm@99", "", "the command asks for pnpm 99, which does not exist", false},
		{"hugo@1", "", "Hugo can be installed only with mise", false},
		{"../x@1", "", "not a tool", false},
		{"node@two", "", `"two" is not a version`, false},
	} {
		got, installed, err := w.store.Install(t.Context(), c.text)
		if c.says != "" {
			if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.says)) {
				t.Errorf("%s: %v, want %q", c.text, err, c.says)
			}
			continue
		}
		if err != nil || got.Name+"@"+got.Version != c.want || installed != c.installed || got.Bytes == 0 {
			t.Errorf("%s: %+v, %v, %v, want %s, %v", c.text, got, installed, err, c.want, c.installed)
		}
	}
}

// TestNpmConfig reads registries and credentials as npm does.
func TestNpmConfig(t *testing.T) {
	t.Setenv("TROY_TEST_NPM_TOKEN", "t0ken")
	w := newFakeRegistry(t)
	host := strings.TrimPrefix(w.URL, "http:")
	file := filepath.Join(t.TempDir(), ".npmrc")
	text := "; a comment\nregistry = \"" + w.URL + "/\"\n" + host + "/:_authToken=${TROY_TEST_NPM_TOKEN}\n@yarnpkg:registry=http://127.0.0.1:1/yarn\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := readNpmConfig("", nil, []string{"/nonexistent/npmrc", file})
	if err != nil || c.registryOf("npm") != w.URL+"/" || c.registryOf("@yarnpkg/cli-dist") != "http://127.0.0.1:1/yarn/" {
		t.Fatalf("%q, %q, %v", c.registryOf("npm"), c.registryOf("@yarnpkg/cli-dist"), err)
	}
	w.token = "t0ken"
	w.add(t, "npm", "10.0.0", nil)
	client, err := newRegistry(c)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := client.releases(t.Context(), "npm"); err != nil || len(all) != 1 {
		t.Errorf("with the token: %v, %v", all, err)
	}
	w.set(func() { w.token = "another" })
	if _, err := client.releases(t.Context(), "npm"); err == nil || strings.Contains(err.Error(), "t0ken") {
		t.Errorf("with a wrong token: %v", err)
	}
	env := map[string]string{"npm_config_registry": "https://registry.lan/npm"}
	if c, err = readNpmConfig("", env, []string{file}); err != nil || c.registryOf("npm") != "https://registry.lan/npm/" {
		t.Errorf("the environment: %q, %v", c.registryOf("npm"), err)
	}
	if got, err := c.archive(release{Package: "npm", Tarball: PublicRegistry + "npm/-/npm-1.tgz"}); err != nil || got != "https://registry.lan/npm/npm/-/npm-1.tgz" {
		t.Errorf("the archive of the public registry: %q, %v", got, err)
	}
	if c, err = readNpmConfig("https://other.lan", env, []string{file}); err != nil || c.registryOf("npm") != "https://other.lan/" {
		t.Errorf("the setting: %q, %v", c.registryOf("npm"), err)
	}
	for _, bad := range []string{"registry.lan", "ftp://registry.lan", "https://", "https://registry.lan/?a=b"} {
		if _, err := readNpmConfig(bad, nil, nil); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if c, err = readNpmConfig("", nil, nil); err != nil || c.registryOf("npm") != PublicRegistry {
		t.Errorf("npm's default: %q, %v", c.registryOf("npm"), err)
	}
}
