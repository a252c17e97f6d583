package buildertest

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/builder"
)

// RunModules builds with the same packages and with others, and with programs in
// the place of npm and Node.js. Each build changes node_modules, which the next
// one must not see.
func RunModules(t *testing.T, e Env) {
	t.Helper()
	pipeline := uuid.New()
	const anew, kept = "installed anew", "node_modules is that of an earlier build"
	for i, step := range []struct {
		lock, also, node string
		spoil            bool
		change           func(*builder.Spec)
		want             string
	}{
		{lock: "1", want: anew},
		{lock: "1", want: kept},
		{lock: "1", want: kept},
		{lock: "1", change: func(s *builder.Spec) { s.CacheScope = "branch x" }, want: kept},
		{lock: "1", change: func(s *builder.Spec) { s.Tree.Pipeline = uuid.New() }, want: anew},
		{lock: "2", want: anew},
		{lock: "2", want: kept},
		{lock: "2", node: "2", want: anew},
		// Installing writes files elsewhere too, so the folder is not enough.
		{lock: "3", also: "echo browser > $HOME/browser", want: anew},
		{lock: "3", also: "echo browser > $HOME/browser", want: anew},
		{lock: "4", also: "echo code > generated.js", want: anew},
		{lock: "4", also: "echo code > generated.js", want: anew},
		{lock: "5", spoil: true, want: anew},
		{lock: "5", want: anew},
		{lock: "5", want: kept},
	} {
		repo := Shell(makeSite + "; cat node_modules/a/of > out/of; echo changed > node_modules/a/of")
		if step.spoil {
			repo = Shell(makeSite + "; cat node_modules/a/of > out/of; for f in ${npm_config_cache%/npm}/modules/*; do head -c 1000 $f > half; mv half $f; done")
		}
		repo["package.json"], repo["package-lock.json"] = `{"name":"site"}`, `{"lockfileVersion":3,"is":"`+step.lock+`"}`
		repo["troy.toml"] += "[build.environment]\nPATH = \"./bin:/usr/bin:/bin\"\n"
		repo["bin/npm"] = "#!/bin/sh\nset -e\nmkdir -p node_modules/a\ncp package-lock.json node_modules/a/of\necho installed anew\nif [ -f also ]; then sh also; fi\n"
		repo["bin/node"] = "#!/bin/sh\necho v1" + step.node + "\n"
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
		if of != repo["package-lock.json"] || !strings.Contains(log, step.want) || strings.Contains(log, anew) != (step.want == anew) || !strings.Contains(log, "==> Install: npm ci\n") {
			t.Fatalf("step %d, %+v: node_modules is of %q; the log:\n%s", i, step, of, log)
		}
	}
}
