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

// TestModulesKeyOfYarn has the rules of Yarn 1 and of later versions.
func TestModulesKeyOfYarn(t *testing.T) {
	t.Parallel()
	const list = `{"scripts":{"build":"x"}}`
	repository := func(files, more map[string]string) fstest.MapFS {
		repo := fstest.MapFS{}
		for _, files := range []map[string]string{files, more} {
			for name, content := range files {
				repo[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
			}
		}
		return repo
	}
	for name, manager := range map[string]struct {
		files    map[string]string
		install  string
		others   map[string]map[string]string
		none     map[string]map[string]string
		settings string // a variable
		above    string // a file of settings
	}{
		"Yarn 1": {
			files:   map[string]string{"package.json": list, "yarn.lock": "# yarn lockfile v1\n\n\"@a/b@^1\":\n  version \"1.0.0\"\n  resolved \"https://registry.yarnpkg.com/@a/b/-/b-1.0.0.tgz#0a\"\n"},
			install: "yarn install --frozen-lockfile",
			others: map[string]map[string]string{
				"lockfile":   {"yarn.lock": "# yarn lockfile v1\n"},
				"settings":   {".yarnrc": "--ignore-engines true"},
				"npmrc":      {".npmrc": "a=b"},
				"yarnclean":  {".yarnclean": "*.md"},
				"Yarn":       {".yarn/releases/yarn-1.22.22.cjs": "1"},
				"other Yarn": {".yarn/releases/yarn-1.22.22.cjs": "file:"},
			},
			none: map[string]map[string]string{
				"a script":    {"package.json": `{"scripts":{"build":"x","prepare":"make"}}`},
				"a workspace": {"package.json": `{"scripts":{"build":"x"},"workspaces":["a"]}`},
				"a folder":    {"yarn.lock": "# yarn lockfile v1\n\n\"a@file:./a\":\n  version \"1.0.0\"\n"},
				"a path":      {"yarn.lock": "# yarn lockfile v1\n\na@../a:\n  version \"1.0.0\"\n"},
				"its mirror":  {".yarnrc": "yarn-offline-mirror \"./mirror\""},
			},
			settings: "YARN_PRODUCTION", above: ".npmrc",
		},
		"Yarn": {
			files: map[string]string{
				"package.json": list, ".yarnrc.yml": "nodeLinker: node-modules\n",
				"yarn.lock": "__metadata:\n  version: 8\n\n\"a@patch:a@npm%3A^5.9#optional!builtin<compat/typescript>\":\n  version: 5.9.2\n\n\"site@workspace:.\":\n  resolution: \"site@workspace:.\"\n",
			},
			install: "yarn install --immutable",
			others: map[string]map[string]string{
				"lockfile": {"yarn.lock": "__metadata:\n  version: 8\n"},
				"settings": {".yarnrc.yml": "nodeLinker: node-modules\nnmMode: hardlinks-local\n"},
				"Yarn":     {".yarn/releases/yarn-4.1.0.cjs": "plugins:"},
				"env":      {".env.yarn": "A=1"},
			},
			none: map[string]map[string]string{
				"a script":     {"package.json": `{"scripts":{"build":"x","postinstall":"make"}}`},
				"a workspace":  {"yarn.lock": "__metadata:\n  version: 8\n\n\"a@workspace:a\":\n"},
				"a hidden one": {"yarn.lock": "__metadata:\n  version: 8\n\n\"a@workspace:.a\":\n"},
				"a folder":     {"yarn.lock": "__metadata:\n  version: 8\n\n\"a@file:./a::locator=site%40workspace%3A.\":\n"},
				"a link":       {"yarn.lock": "__metadata:\n  version: 8\n\n\"a@portal:./a::locator=site%40workspace%3A.\":\n"},
				"a patch":      {"yarn.lock": "__metadata:\n  version: 8\n\n\"a@patch:a@npm%3A1.0.0#~/.yarn/patches/a.patch\":\n"},
				"plugins":      {".yarnrc.yml": "nodeLinker: node-modules\n\"plugins\":\n  - .yarn/plugins/a.cjs\n"},
				"variables":    {".yarnrc.yml": "nodeLinker: node-modules\ninjectEnvironmentFiles: [a]\n"},
			},
			settings: "YARN_NODE_LINKER", above: ".yarnrc.yml",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := func(more map[string]string, variables map[string]string) string {
				t.Helper()
				repo := repository(manager.files, more)
				plan, err := build.Decide(repo, build.Settings{})
				if err != nil {
					t.Fatal(err)
				}
				if plan.Install != manager.install {
					t.Fatalf("with %v, the install command is %q, want %q", more, plan.Install, manager.install)
				}
				return plan.ModulesKey(repo, nil, variables)
			}
			seen := map[string]string{key(nil, nil): "the first"}
			for name, more := range manager.others {
				k := key(more, nil)
				if seen[k] != "" {
					t.Errorf("%s: the key is that of %s", name, seen[k])
				}
				seen[k] = name
			}
			if seen[""] != "" {
				t.Errorf("%s: there is no key", seen[""])
			}
			for name, more := range manager.none {
				if k := key(more, nil); k != "" {
					t.Errorf("%s: the key is %s, want none", name, k)
				}
			}
			if k := key(nil, map[string]string{manager.settings: "x"}); k != "" {
				t.Errorf("with the variable %s, the key is %s, want none", manager.settings, k)
			}
			below := map[string]string{}
			for name, content := range manager.files {
				below["docs/"+name] = content
			}
			for above, none := range map[string]bool{"index.js": false, manager.above: true} {
				repo := repository(below, map[string]string{above: "a"})
				plan, err := build.Decide(repo, build.Settings{Root: "docs"})
				if err != nil {
					t.Fatal(err)
				}
				if k := plan.ModulesKey(repo, nil, nil); (k == "") != none {
					t.Errorf("in a folder below one with %s, the key is %q", above, k)
				}
			}
		})
	}
}
