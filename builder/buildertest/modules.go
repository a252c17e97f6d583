package buildertest

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/builder"
)

// modulesStep is a build in a row of them.
type modulesStep struct {
	lock    string // its lockfile has it
	also    string // what installing does besides
	node    string // Node.js
	version string // the package manager
	spoil   bool   // damage what is kept
	late    bool   // Node.js answers only when the packages are there
	change  func(*builder.Spec)
	want    string
}

const installedAnew, modulesKept = "installed anew", "node_modules is that of an earlier build"

// modulesManager is a package manager in RunModules.
type modulesManager struct {
	program, command, lockfile string
	files                      map[string]string
	// install is a program in its place.
	install string
}

func modulesManagers() map[string]modulesManager {
	const of = "mkdir -p node_modules/a\ncp $lock node_modules/a/of\n"
	return map[string]modulesManager{
		"npm": {"npm", "npm ci", "package-lock.json", nil, of},
		"Yarn": {
			"yarn", "yarn install --immutable", "yarn.lock", map[string]string{".yarnrc.yml": "nodeLinker: node-modules\n", "yarn.lock": "__metadata:\n  version: 8\n"},
			of + "mkdir -p .yarn\ncp $lock .yarn/install-state.gz\n",
		},
	}
}

// RunModules builds with the same packages and with others, and with programs in
// the place of package managers and Node.js. Each build changes node_modules,
// which the next one must not see.
func RunModules(t *testing.T, e Env) {
	t.Helper()
	for name, manager := range modulesManagers() {
		steps := []modulesStep{
			{lock: "1", want: installedAnew},
			{lock: "1", want: modulesKept},
			{lock: "2", want: installedAnew},
			{lock: "2", want: modulesKept},
			{lock: "2", node: "2", want: installedAnew},
			// Installing writes files elsewhere too, so the folder is not enough.
			{lock: "3", also: "echo browser > $HOME/browser", want: installedAnew},
			{lock: "3", also: "echo browser > $HOME/browser", want: installedAnew},
			{lock: "4", also: "ln -s a shortcut", want: installedAnew},
			{lock: "4", also: "ln -s a shortcut", want: installedAnew},
			{lock: "5", also: "ln -s ../packages/b node_modules/b", want: installedAnew},
			{lock: "5", also: "ln -s ../packages/b node_modules/b", want: installedAnew},
		}
		if name == "npm" {
			steps = append(steps, []modulesStep{
				{lock: "6", want: installedAnew},
				{lock: "6", change: func(s *builder.Spec) { s.CacheScope = "branch x" }, want: modulesKept},
				{lock: "6", change: func(s *builder.Spec) { s.Tree.Pipeline = uuid.New() }, want: installedAnew},
				{lock: "7", also: "echo code > generated.js", want: installedAnew},
				{lock: "7", also: "echo code > generated.js", want: installedAnew},
				{lock: "8", spoil: true, want: installedAnew},
				{lock: "8", want: installedAnew},
				{lock: "8", want: modulesKept},
				{lock: "9", late: true, want: installedAnew},
				{lock: "9", want: modulesKept},
			}...)
		} else {
			steps = append(steps, modulesStep{lock: "6", want: installedAnew}, modulesStep{lock: "6", version: "2", want: installedAnew}, modulesStep{lock: "6", version: "2", want: modulesKept})
		}
		runModules(t, e, manager, steps)
	}
}

func runModules(t *testing.T, e Env, manager modulesManager, steps []modulesStep) {
	t.Helper()
	pipeline := uuid.New()
	for i, step := range steps {
		build := makeSite + "; cat node_modules/a/of > out/of; if [ -e yarn.lock ]; then cmp .yarn/install-state.gz yarn.lock; fi; "
		if step.spoil {
			build += "for f in ${npm_config_cache%/npm}/modules/*; do head -c 1000 $f > half; mv half $f; done"
		} else {
			build += "echo changed > node_modules/a/of"
		}
		repo := Shell(build)
		maps.Copy(repo, manager.files)
		repo["package.json"] = `{"name":"site"}`
		if manager.program == "npm" {
			repo[manager.lockfile] = `{"lockfileVersion":3,"is":"` + step.lock + `"}`
		} else {
			repo[manager.lockfile] += "# " + step.lock + "\n"
		}
		repo["troy.toml"] += "[build.environment]\nPATH = \"./bin:/usr/bin:/bin\"\n"
		repo["packages/b/index.js"] = ""
		repo["bin/"+manager.program] = "#!/bin/sh\nset -e\nif [ \"$1\" = --version ]; then echo 1" + step.version + "; exit; fi\nlock=" + manager.lockfile + "\n" +
			manager.install + "echo installed anew\nif [ -f also ]; then sh also; fi\n"
		repo["bin/node"] = "#!/bin/sh\n"
		if step.late {
			repo["bin/node"] += "until [ -e node_modules/a/of ]; do :; done\n"
		}
		repo["bin/node"] += "echo v1" + step.node + "\n"
		if step.also != "" {
			repo["also"] = step.also
		}
		spec := repo.Spec(t)
		spec.Tree.Pipeline = pipeline
		if step.change != nil {
			step.change(&spec)
		}
		e.Succeeds(t, spec)
		log, of := e.LogOf(t, spec.Tree), e.Output(t, spec.Tree)["of"]
		anew := strings.Contains(log, installedAnew)
		if strings.Contains(log, "find:") || strings.Contains(log, "tar:") {
			t.Errorf("%s, step %d, %+v: the log has a program's warning:\n%s", manager.command, i, step, log)
		}
		if of != repo[manager.lockfile] || !strings.Contains(log, step.want) || anew != (step.want == installedAnew) || !strings.Contains(log, "==> Install: "+manager.command+"\n") {
			t.Fatalf("%s, step %d, %+v: node_modules is of %q; the log:\n%s", manager.command, i, step, of, log)
		}
	}
}
