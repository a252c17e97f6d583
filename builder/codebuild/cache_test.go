package codebuild_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/codebuild"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
)

// cached is a build that publishes what the dependency cache has, and then runs
// a command.
func cached(t *testing.T, command string, change func(*builder.Spec)) builder.Spec {
	t.Helper()
	repo := buildertest.Shell("mkdir out; echo '<h1>' > out/index.html; cat $npm_config_cache/seen > out/seen || true; mkdir -p $npm_config_cache; " + command)
	repo["troy.toml"] += "install = \"\"\n"
	repo["package.json"] = "{}"
	spec := repo.Spec(t)
	change(&spec)
	return spec
}

// appends is a command that appends to what cached publishes.
func appends(text string) string { return "printf %s '" + text + "' >> $npm_config_cache/seen" }

// cacheKeys returns the keys of the caches in the work bucket.
func cacheKeys(t *testing.T, server *s3test.Server, cfg codebuild.Config) []string {
	t.Helper()
	return slices.DeleteFunc(server.Keys(t, cfg.WorkBucket), func(key string) bool { return !strings.HasPrefix(key, "caches/") })
}

// TestCachesByBranch builds a site and previews: a preview begins with the site's
// cache, and what it writes reaches neither the site nor another branch.
func TestCachesByBranch(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	e, _, cfg := newBuilderWith(t, server, awsdouble.Config{}, codebuild.Config{Temp: t.TempDir()})
	pipeline := uuid.Must(uuid.NewV7())
	for i, step := range []struct {
		scope      string
		epoch      int64
		command    string
		seen, says string
		fails      bool
	}{
		{command: appends("s"), says: "Dependency cache: none yet."},
		{scope: "branch a/../y", command: appends("poison"), seen: "s", says: "a copy of the site's"},
		{scope: "branch a/../y", command: "true", seen: "spoison", says: "Dependency cache: unchanged."},
		{command: appends("t"), seen: "s", says: "Dependency cache: kept "},
		{command: appends("broken") + "; exit 1", fails: true},
		{command: appends("no-output") + "; rm -r out", fails: true},
		{command: "true", seen: "st", says: "Dependency cache: unchanged."},
		// The caches are cleared.
		{scope: "branch a/../y", epoch: 1, command: appends("new"), says: "none yet"},
		{epoch: 0, command: appends("late")},
		{epoch: 1, command: "true", says: "none yet"},
	} {
		spec := cached(t, step.command, func(s *builder.Spec) {
			s.Tree.Pipeline, s.CacheScope, s.CacheEpoch = pipeline, step.scope, step.epoch
		})
		if b := e.Build(t, spec); (b.State == builder.Failed) != step.fails {
			t.Fatalf("step %d: the build is %+v; its log:\n%s", i, b, e.LogOf(t, spec.Tree))
		}
		log := e.LogOf(t, spec.Tree)
		if step.fails {
			continue
		}
		if seen := e.Output(t, spec.Tree)["seen"]; seen != step.seen || !strings.Contains(log, step.says) {
			t.Fatalf("step %d, %+v: it saw %q; its log:\n%s", i, step, seen, log)
		}
	}
	other := cached(t, "true", func(*builder.Spec) {})
	if e.Succeeds(t, other); e.Output(t, other.Tree)["seen"] != "" {
		t.Error("another pipeline saw the cache")
	}

	list, err := e.Builder.Caches(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list.All) != 1 || list.Keeper == "" {
		t.Fatalf("the caches are %+v", list)
	}
	if c := list.All[0]; c.Pipeline != pipeline || c.Scope != "branch a/../y" || c.Manager != "npm" || c.Epoch != 1 || c.Bytes == 0 || c.Used.IsZero() {
		t.Errorf("the cache is %+v", c)
	}
	if err := e.Builder.Remove(t.Context(), site.Tree{Pipeline: pipeline}); err != nil {
		t.Fatal(err)
	}
	if keys := cacheKeys(t, server, cfg); len(keys) > 0 {
		t.Errorf("after the pipeline: %q", keys)
	}
}

// TestCacheThatIsWrong builds with a cache that is broken, that vanishes before
// its build begins, and that has grown too large.
func TestCacheThatIsWrong(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	e, double, cfg := newBuilderWith(t, server, awsdouble.Config{MaxBuilds: 1}, codebuild.Config{Temp: t.TempDir(), CacheBytes: 1 << 20})
	pipeline := uuid.Must(uuid.NewV7())
	of := func(command string) builder.Spec {
		return cached(t, command, func(s *builder.Spec) { s.Tree.Pipeline = pipeline })
	}
	check := func(spec builder.Spec, seen, says string) {
		t.Helper()
		if b := e.Wait(t, spec.Tree); b.State != builder.Succeeded {
			t.Fatalf("the build is %+v; its log:\n%s", b, e.LogOf(t, spec.Tree))
		}
		if log, got := e.LogOf(t, spec.Tree), e.Output(t, spec.Tree)["seen"]; got != seen || !strings.Contains(log, says) {
			t.Fatalf("it saw %q, want %q; its log:\n%s", got, seen, log)
		}
	}
	run := func(command, seen, says string) {
		t.Helper()
		spec := of(command)
		if err := e.Builder.Start(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		check(spec, seen, says)
	}
	file := func() string {
		t.Helper()
		keys := cacheKeys(t, server, cfg)
		if len(keys) != 1 {
			t.Fatalf("the caches are %q", keys)
		}
		return server.File(cfg.WorkBucket, keys[0])
	}
	const without = "it can't be downloaded or unpacked"
	run(appends("a"), "", "none yet")
	if err := os.WriteFile(file(), halfTar(t), 0o600); err != nil {
		t.Fatal(err)
	}
	run("true", "", without)
	run(appends("b"), "", without)
	run("true", "b", "unchanged")
	// The time of the object is when it was last used.
	was := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(file(), was, was); err != nil {
		t.Fatal(err)
	}
	run("true", "b", "Dependency cache: kept")
	run("true", "b", "unchanged")

	// It vanishes while the account has no room for the build.
	first, late := of("sleep 600"), of(appends("c"))
	if err := e.Builder.Start(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := e.Builder.Start(t.Context(), late); err == nil {
		t.Fatalf("the builds are %q, want one", double.Builds())
	}
	if err := os.Remove(file()); err != nil {
		t.Fatal(err)
	}
	if err := e.Builder.Remove(t.Context(), first.Tree); err != nil {
		t.Fatal(err)
	}
	if err := e.Builder.Start(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	check(late, "", without)

	run("head -c 2M /dev/urandom > $npm_config_cache/big", "c", "has grown to 2 MiB, more than 1 MiB")
	run("true", "", "ready")
}

// halfTar is a tar of a cache that ends in the middle of its second file.
func halfTar(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{{Name: "cache/npm/seen", Mode: 0o644, Size: 4}, {Name: "cache/npm/rest", Mode: 0o644, Size: 1 << 20}} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("half")); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// TestCachesAreRemoved removes the caches of one preview by their age, and then all
// of them. Those of the site and of others stay.
func TestCachesAreRemoved(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	e, _, cfg := newBuilderWith(t, server, awsdouble.Config{}, codebuild.Config{Temp: t.TempDir()})
	pipeline := uuid.Must(uuid.NewV7())
	for _, scope := range []string{"", "branch x", "branch xy"} {
		e.Succeeds(t, cached(t, appends("s"), func(s *builder.Spec) { s.Tree.Pipeline, s.CacheScope = pipeline, scope }))
	}
	e.Succeeds(t, cached(t, appends("s"), func(s *builder.Spec) { s.CacheScope = "branch x" })) // of another pipeline
	scopes := func() (all []string) {
		t.Helper()
		list, err := e.Builder.Caches(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list.All {
			all = append(all, fmt.Sprint(c.Pipeline == pipeline, " ", c.Scope))
		}
		slices.Sort(all)
		return all
	}
	remove := func(scope string, unusedSince time.Time, left ...string) {
		t.Helper()
		for range 2 {
			if err := e.Builder.RemoveCaches(t.Context(), pipeline, scope, unusedSince); err != nil {
				t.Fatal(err)
			}
			if got := scopes(); !slices.Equal(got, left) {
				t.Fatalf("left are %q, want %q", got, left)
			}
		}
	}
	all := []string{"false branch x", "true ", "true branch x", "true branch xy"}
	was := time.Now().Add(-builder.CacheUnused - time.Hour)
	remove("branch x", was.Add(time.Hour), all...)
	for _, key := range cacheKeys(t, server, cfg) {
		if err := os.Chtimes(server.File(cfg.WorkBucket, key), was, was); err != nil {
			t.Fatal(err)
		}
	}
	remove("branch none", time.Time{}, all...)
	remove("branch x", was.Add(-time.Hour), all...)
	remove("branch x", was.Add(time.Hour), "false branch x", "true ", "true branch xy")
	remove("branch xy", time.Time{}, "false branch x", "true ")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Builder.RemoveCaches(ended, pipeline, "", time.Time{}); err == nil {
		t.Error("a removal that can't reach the bucket succeeds")
	}
}

// TestCachesAreBounded builds two sites, whose caches together exceed the limit.
func TestCachesAreBounded(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	e, _, cfg := newBuilderWith(t, server, awsdouble.Config{}, codebuild.Config{Temp: t.TempDir(), AllCachesBytes: 1 << 20})
	var last uuid.UUID
	for range 2 {
		spec := cached(t, "head -c 800K /dev/urandom > $npm_config_cache/big", func(s *builder.Spec) { last = s.Tree.Pipeline })
		e.Succeeds(t, spec)
	}
	if keys := cacheKeys(t, server, cfg); len(keys) != 1 || !strings.Contains(keys[0], last.String()) {
		t.Errorf("the caches are %q, want the newer one, of %s", keys, last)
	}
}

// TestGeneratorsFolders builds twice with folders in which generators keep what
// makes the next build faster.
func TestGeneratorsFolders(t *testing.T) {
	t.Parallel()
	e, _ := newBuilder(t, s3test.Start(t), awsdouble.Config{})
	var pipeline uuid.UUID
	for i, want := range []string{"", "1"} {
		repo := buildertest.Shell("mkdir -p out node_modules/.vite .astro; echo '<h1>' > out/index.html; pwd > out/pwd; " +
			"for f in .astro node_modules/.vite .parcel-cache; do cat $f/seen >> out/seen || true; printf 1 > $f/seen; done")
		repo["troy.toml"] += "install = \"\"\n"
		repo["package.json"], repo[".parcel-cache/of-the-repository"] = "{}", "x"
		spec := repo.Spec(t)
		if i == 0 {
			pipeline = spec.Tree.Pipeline
		}
		spec.Tree.Pipeline = pipeline
		e.Succeeds(t, spec)
		out := e.Output(t, spec.Tree)
		if out["seen"] != want+want || out["pwd"] != "/var/tmp/troy/repo\n" {
			t.Errorf("build %d in %q saw %q; its log:\n%s", i, out["pwd"], out["seen"], e.LogOf(t, spec.Tree))
		}
		if says := fmt.Sprintf("Cache of the generator %s: .astro, node_modules/.vite.", []string{"kept", "restored"}[i]); !strings.Contains(e.LogOf(t, spec.Tree), says) {
			t.Errorf("build %d: the log does not have %q:\n%s", i, says, e.LogOf(t, spec.Tree))
		}
	}
}

// TestModulesAreKept restores node_modules instead of installing the same
// packages again.
func TestModulesAreKept(t *testing.T) {
	t.Parallel()
	e, _ := newBuilder(t, s3test.Start(t), awsdouble.Config{})
	buildertest.RunModules(t, e)
}
