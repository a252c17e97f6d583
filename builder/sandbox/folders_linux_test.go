package sandbox_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
)

// TestDependencyCacheWithoutLockfile builds a package without a lockfile twice.
func TestDependencyCacheWithoutLockfile(t *testing.T) {
	t.Parallel()
	e, _ := isolatedBuilder(t, sandbox.Config{})
	pipeline := uuid.New()
	for _, step := range []struct{ manifest, seen, says string }{
		{"{}", "", "none yet for package.json"},
		{"{}", "x", "found for package.json"},
		{`{"private":true}`, "xx", "of an earlier package.json"},
	} {
		repo := buildertest.Shell(makeSite + "; cat $npm_config_cache/seen > out/seen 2>/dev/null || true; mkdir -p $npm_config_cache; printf x >> $npm_config_cache/seen")
		repo["troy.toml"] += "install = \"\"\n"
		repo["package.json"] = step.manifest
		spec := repo.Spec(t)
		spec.Tree.Pipeline = pipeline
		e.Succeeds(t, spec)
		if seen, log := e.Output(t, spec.Tree)["seen"], e.LogOf(t, spec.Tree); seen != step.seen || !strings.Contains(log, step.says) {
			t.Fatalf("the build saw %q, want %q; its log, which should have %q:\n%s", seen, step.seen, step.says, log)
		}
	}
}

// TestGeneratorFolders keeps the folders of generators from a trusted build that
// succeeded, and from no other. A link does not lead out of the repository.
func TestGeneratorFolders(t *testing.T) {
	t.Parallel()
	e, _ := isolatedBuilder(t, sandbox.Config{})
	pipeline := uuid.New()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.MkdirAll(filepath.Join(outside, "cache"), 0o755); err != nil {
		t.Fatal(err)
	}
	const write = "mkdir -p .next/cache node_modules/.vite; "
	for _, step := range []struct {
		name, install, command string
		own                    string // a file of the repository
		untrusted, fails       bool
		seen                   string
	}{
		{name: "a stranger's", command: write + "printf poison > .next/cache/seen", untrusted: true},
		{name: "the first", command: write + "printf a >> .next/cache/seen; printf a >> node_modules/.vite/seen"},
		{name: "a stranger's", command: write + "printf poison > .next/cache/seen", untrusted: true},
		{name: "the second", command: write + "printf b >> .next/cache/seen; touch .next/trace", install: "rm -rf node_modules", seen: "a\na\n"},
		{name: "a repository with its own", command: "true", own: ".next/cache/seen", seen: "own\na\n"},
		{name: "one that fails", command: write + "printf c >> .next/cache/seen; exit 3", fails: true},
		{name: "after it", command: "true", seen: ""},
		{name: "with a link", command: "rm -rf .next; ln -s " + outside + " .next"},
		{name: "after it", command: "true"},
	} {
		repo := buildertest.Shell(makeSite + "; for f in .next/cache/seen node_modules/.vite/seen; do if [ -e $f ]; then cat $f; echo; fi; done > out/seen; " + step.command)
		repo["troy.toml"] += "install = \"" + step.install + "\"\n"
		repo["package.json"] = "{}"
		if step.own != "" {
			repo[step.own] = "own"
		}
		spec := repo.Spec(t)
		spec.Tree.Pipeline, spec.Untrusted = pipeline, step.untrusted
		if step.fails {
			e.Fails(t, spec, "3")
			continue
		}
		e.Succeeds(t, spec)
		if seen := e.Output(t, spec.Tree)["seen"]; seen != step.seen {
			t.Errorf("%s: the build saw %q, want %q; its log:\n%s", step.name, seen, step.seen, e.LogOf(t, spec.Tree))
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 1 {
		t.Errorf("outside of the repository: %v, %v", left, err)
	}
}
