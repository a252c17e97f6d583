package build_test

import (
	"testing"
	"testing/fstest"

	"github.com/troy-iaas/troy/build"
)

// TestModulesKey keeps node_modules only of packages whose installation writes
// nothing else, and by a key that every change of them changes.
func TestModulesKey(t *testing.T) {
	t.Parallel()
	key := func(files map[string]string, settings build.Settings, environment, variables map[string]string) string {
		t.Helper()
		repo := fstest.MapFS{}
		for name, content := range map[string]string{"package.json": `{"scripts":{"build":"x"}}`, "package-lock.json": `{"lockfileVersion":3}`} {
			repo[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
		}
		for name, content := range files {
			repo[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
		}
		plan, err := build.Decide(repo, settings)
		if err != nil {
			t.Fatal(err)
		}
		return plan.ModulesKey(repo, environment, variables)
	}
	first := key(nil, build.Settings{}, nil, nil)
	if first == "" {
		t.Fatal("node_modules is not kept")
	}
	if again := key(map[string]string{"index.js": "x"}, build.Settings{}, nil, nil); again != first {
		t.Errorf("another file of the repository changes the key from %s to %s", first, again)
	}
	if again := key(nil, build.Settings{}, nil, map[string]string{"A": "1"}); again != key(nil, build.Settings{}, nil, map[string]string{"A": "2"}) {
		t.Error("the key tells the value of a variable")
	}
	for name, other := range map[string]string{
		"lockfile":    key(map[string]string{"package-lock.json": `{"lockfileVersion":3,"packages":{}}`}, build.Settings{}, nil, nil),
		"packages":    key(map[string]string{"package.json": `{"scripts":{"build":"y"}}`}, build.Settings{}, nil, nil),
		"npmrc":       key(map[string]string{".npmrc": "legacy-peer-deps=true"}, build.Settings{}, nil, nil),
		"operator":    key(nil, build.Settings{}, map[string]string{"A": "1"}, nil),
		"variable":    key(nil, build.Settings{}, nil, map[string]string{"A": "1"}),
		"environment": key(map[string]string{"troy.toml": "[build.environment]\nA = \"1\"\n"}, build.Settings{}, nil, nil),
		"husky":       key(map[string]string{"package.json": `{"scripts":{"build":"x","prepare":"husky || true"}}`}, build.Settings{}, nil, nil),
	} {
		if other == "" || other == first {
			t.Errorf("%s: the key is %q, want another one than %q", name, other, first)
		}
	}
	for name, none := range map[string]string{
		"a script":          key(map[string]string{"package.json": `{"scripts":{"build":"x","postinstall":"patch-package"}}`}, build.Settings{}, nil, nil),
		"husky and more":    key(map[string]string{"package.json": `{"scripts":{"build":"x","prepare":"husky && make"}}`}, build.Settings{}, nil, nil),
		"a workspace":       key(map[string]string{"package.json": `{"scripts":{"build":"x"},"workspaces":["a"]}`}, build.Settings{}, nil, nil),
		"a linked folder":   key(map[string]string{"package-lock.json": "{\"lockfileVersion\":3,\"packages\":{\"node_modules/a\":{\"resolved\":\"a\",\n\"link\": true}}}"}, build.Settings{}, nil, nil),
		"a compact link":    key(map[string]string{"package-lock.json": `{"lockfileVersion":3,"packages":{"node_modules/a":{"resolved":"a","link":true}}}`}, build.Settings{}, nil, nil),
		"npm's own hook":    key(map[string]string{"package.json": `{"scripts":{"build":"x","dependencies":"make"}}`}, build.Settings{}, nil, nil),
		"npm's setting":     key(nil, build.Settings{}, nil, map[string]string{"NPM_CONFIG_OMIT": "dev"}),
		"no readable npmrc": key(map[string]string{".npmrc/x": ""}, build.Settings{}, nil, nil),
		"node-gyp":          key(map[string]string{"binding.gyp": "{}"}, build.Settings{}, nil, nil),
		"a command":         key(nil, build.Settings{Install: "npm ci && make"}, nil, nil),
		"pnpm":              key(map[string]string{"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, build.Settings{}, nil, nil),
	} {
		if none != "" {
			t.Errorf("%s: the key is %s, want none", name, none)
		}
	}
}
