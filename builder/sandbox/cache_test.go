//go:build linux

package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
)

// TestDependencyCache builds with one lockfile, with it again, with another
// one, and for another pipeline.
func TestDependencyCache(t *testing.T) {
	t.Parallel()
	e, _ := isolatedBuilder(t, sandbox.Config{CacheBytes: 1 << 20})
	pipeline := uuid.New()
	run := func(pipeline uuid.UUID, lockfile, command string) (string, string) {
		t.Helper()
		repo := buildertest.Shell(makeSite + "; cat $npm_config_cache/seen > out/seen 2>/dev/null || true; mkdir -p $npm_config_cache; " + command)
		repo["troy.toml"] += "install = \"\"\n"
		repo["package.json"], repo["package-lock.json"] = "{}", lockfile
		spec := repo.Spec(t)
		spec.Tree.Pipeline = pipeline
		e.Succeeds(t, spec)
		return e.Output(t, spec.Tree)["seen"], e.LogOf(t, spec.Tree)
	}
	for _, step := range []struct {
		pipeline            uuid.UUID
		lockfile, command   string
		wantSeen, wantInLog string
	}{
		{pipeline, "one", "echo first > $npm_config_cache/seen", "", "none yet for package-lock.json"},
		{pipeline, "one", "true", "first\n", "found for package-lock.json"},
		{pipeline, "two", "true", "first\n", "of an earlier package-lock.json"},
		{uuid.New(), "two", "true", "", "none yet for package-lock.json"},
		{pipeline, "two", "head -c 2M /dev/zero > $npm_config_cache/big", "first\n", "has grown to 2.0 MiB, more than 1 MiB"},
		{pipeline, "two", "true", "", "none yet for package-lock.json"},
	} {
		seen, log := run(step.pipeline, step.lockfile, step.command)
		if seen != step.wantSeen || !strings.Contains(log, step.wantInLog) {
			t.Fatalf("with %q and %q the build saw %q, want %q; its log, which should have %q:\n%s",
				step.lockfile, step.command, seen, step.wantSeen, step.wantInLog, log)
		}
	}
}

// TestUntrustedBuildHasNoCache builds a stranger's commit between two others.
func TestUntrustedBuildHasNoCache(t *testing.T) {
	t.Parallel()
	e, _ := isolatedBuilder(t, sandbox.Config{CacheBytes: 1 << 20})
	pipeline := uuid.New()
	for _, step := range []struct {
		untrusted bool
		want      string // what the build finds
	}{{false, ""}, {true, ""}, {false, "false"}} {
		repo := buildertest.Shell(fmt.Sprintf("%s; cat $npm_config_cache/seen > out/seen 2>/dev/null || true; mkdir -p $npm_config_cache; printf %v > $npm_config_cache/seen", makeSite, step.untrusted))
		repo["troy.toml"] += "install = \"\"\n"
		repo["package.json"], repo["package-lock.json"] = "{}", "one"
		spec := repo.Spec(t)
		spec.Tree.Pipeline, spec.Untrusted = pipeline, step.untrusted
		e.Succeeds(t, spec)
		if seen := e.Output(t, spec.Tree)["seen"]; seen != step.want {
			t.Errorf("a build that is untrusted: %v found %q in the cache, want %q", step.untrusted, seen, step.want)
		}
	}
}

// TestUntrustedBuildNeedsIsolation starts a stranger's build where it could read
// what the worker can.
func TestUntrustedBuildNeedsIsolation(t *testing.T) {
	t.Parallel()
	_, b := newBuilder(t, sandbox.Config{Isolation: sandbox.NoIsolation})
	spec := buildertest.Repository{"index.html": "built"}.Spec(t)
	spec.Untrusted = true
	if err := b.Start(t.Context(), spec); troy.KindOf(err) != troy.Conflict {
		t.Errorf("Start: %v, want a Conflict", err)
	}
	if _, err := b.Get(t.Context(), spec.Tree); !errors.Is(err, builder.ErrNotFound) {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
}

// npm skips the test if builds would not find npm.
func npm(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/usr/bin/npm"); err != nil {
		if _, err := os.Stat("/usr/local/bin/npm"); err != nil {
			t.Skipf("npm is not installed: %v", err)
		}
	}
}

func TestNpm(t *testing.T) {
	t.Parallel()
	npm(t)
	e, _ := isolatedBuilder(t, sandbox.Config{})
	spec := buildertest.Repository{
		"package.json":      `{"name":"tiny","version":"1.0.0","scripts":{"build":"node build.js"}}`,
		"package-lock.json": `{"name":"tiny","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{"":{"name":"tiny","version":"1.0.0"}}}`,
		"build.js":          `const fs = require("fs"); fs.mkdirSync("dist"); fs.writeFileSync("dist/index.html", "<h1>" + process.env.GREETING)`,
	}.Spec(t)
	spec.Variables = map[string]string{"GREETING": "hello"}
	b := e.Succeeds(t, spec)
	if len(b.Phases) != 4 || b.Phases[1].Command != "npm ci" || b.Phases[2].Command != "npm run build" {
		t.Fatalf("the phases are %+v", b.Phases)
	}
	if got := e.Output(t, spec.Tree); got["index.html"] != "<h1>hello" {
		t.Fatalf("the output is %q", got)
	}
}

// TestNpmRegistry fetches a package of a few hundred bytes.
func TestNpmRegistry(t *testing.T) {
	t.Parallel()
	npm(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "npm", "view", "isarray@2.0.5", "version").CombinedOutput(); err != nil {
		t.Skipf("the registry can't be reached from this machine: %v\n%s", err, out)
	}
	cfg := sandbox.Config{Environment: map[string]string{}}
	if file := os.Getenv("NODE_EXTRA_CA_CERTS"); file != "" {
		cfg.Environment["NODE_EXTRA_CA_CERTS"] = file
	}
	e, _ := isolatedBuilder(t, cfg)
	spec := buildertest.Repository{
		"package.json": `{"name":"tiny","version":"1.0.0","scripts":{"build":"node build.js"},"dependencies":{"isarray":"2.0.5"}}`,
		"build.js":     `const fs = require("fs"); fs.mkdirSync("dist"); fs.writeFileSync("dist/index.html", String(require("isarray")([])))`,
	}.Spec(t)
	e.Succeeds(t, spec)
	if got := e.Output(t, spec.Tree); got["index.html"] != "true" {
		t.Fatalf("the output is %q", got)
	}
}
