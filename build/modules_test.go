package build_test

import (
	"path"
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
		"Yarn 1":            key(map[string]string{"yarn.lock": "# yarn lockfile v1\n"}, build.Settings{}, nil, nil),
		"pnpm":              key(map[string]string{"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, build.Settings{}, nil, nil),
	} {
		if none != "" {
			t.Errorf("%s: the key is %s, want none", name, none)
		}
	}
}

// TestModulesKeyOfYarn has the rules of Yarn since version 2.
func TestModulesKeyOfYarn(t *testing.T) {
	t.Parallel()
	const head = "__metadata:\n  version: 8\n\n"
	decide := func(folder string, more map[string]string, variables map[string]string) string {
		t.Helper()
		repo := fstest.MapFS{}
		for name, content := range map[string]string{
			"package.json": `{"scripts":{"build":"x"}}`, ".yarnrc.yml": "nodeLinker: node-modules\n",
			"yarn.lock": head + "\"a@patch:a@npm%3A^5.9#optional!builtin<compat/typescript>\":\n  version: 5.9.2\n\n\"site@workspace:.\":\n  resolution: \"site@workspace:.\"\n",
		} {
			repo[path.Join(folder, name)] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
		}
		for name, content := range more {
			repo[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
		}
		plan, err := build.Decide(repo, build.Settings{Root: folder})
		if err != nil {
			t.Fatal(err)
		}
		if plan.Install != "yarn install --immutable" {
			t.Fatalf("with %v, the install command is %q", more, plan.Install)
		}
		return plan.ModulesKey(repo, nil, variables)
	}
	seen := map[string]string{decide("", nil, nil): "the first"}
	for name, more := range map[string]map[string]string{
		"lockfile":   {"yarn.lock": head},
		"packages":   {"package.json": `{"scripts":{"build":"y"}}`},
		"settings":   {".yarnrc.yml": "nodeLinker: node-modules\nnmMode: hardlinks-local\n"},
		"Yarn":       {".yarn/releases/yarn-4.1.0.cjs": "plugins:"},
		"other Yarn": {".yarn/releases/yarn-4.1.0.cjs": "plugins: "},
		"env":        {".env.yarn": "A=1"},
	} {
		key := decide("", more, nil)
		if seen[key] != "" {
			t.Errorf("%s: the key is that of %s", name, seen[key])
		}
		seen[key] = name
	}
	if seen[""] != "" {
		t.Errorf("%s: the key is empty", seen[""])
	}
	for name, more := range map[string]map[string]string{
		"a script":     {"package.json": `{"scripts":{"build":"x","postinstall":"make"}}`},
		"a workspace":  {"yarn.lock": head + "\"a@workspace:a\":\n"},
		"a hidden one": {"yarn.lock": head + "\"a@workspace:.a\":\n"},
		"a folder":     {"yarn.lock": head + "\"a@file:./a::locator=site%40workspace%3A.\":\n"},
		"a link":       {"yarn.lock": head + "\"a@portal:./a::locator=site%40workspace%3A.\":\n"},
		"a patch":      {"yarn.lock": head + "\"a@patch:a@npm%3A1.0.0#~/.yarn/patches/a.patch\":\n"},
		"plugins":      {".yarnrc.yml": "nodeLinker: node-modules\n\"plugins\":\n  - .yarn/plugins/a.cjs\n"},
		"variables":    {".yarnrc.yml": "nodeLinker: node-modules\ninjectEnvironmentFiles: [a]\n"},
	} {
		if key := decide("", more, nil); key != "" {
			t.Errorf("%s: the key is %s, want none", name, key)
		}
	}
	if key := decide("", nil, map[string]string{"YARN_NODE_LINKER": "x"}); key != "" {
		t.Errorf("with a setting in a variable, the key is %s, want none", key)
	}
	if decide("docs", map[string]string{"index.js": ""}, nil) == "" {
		t.Error("the key of a folder is empty")
	}
	if key := decide("docs", map[string]string{".yarnrc.yml": "nmMode: hardlinks-local\n"}, nil); key != "" {
		t.Errorf("with settings above, the key is %s, want none", key)
	}
}
