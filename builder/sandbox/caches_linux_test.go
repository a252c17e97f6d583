package sandbox_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
)

// cached builds with a dependency cache, appends write to a file in it, and
// returns what the file had before, and the log.
func cached(t *testing.T, e buildertest.Env, write, more string, change func(*builder.Spec)) (seen, log string) {
	t.Helper()
	repo := buildertest.Shell(fmt.Sprintf("%s; cat $npm_config_cache/seen > out/seen 2>/dev/null || true; mkdir -p $npm_config_cache; printf %%s '%s' >> $npm_config_cache/seen; %s", makeSite, write, more))
	repo["troy.toml"] += "install = \"\"\n"
	repo["package.json"] = "{}"
	spec := repo.Spec(t)
	change(&spec)
	e.Succeeds(t, spec)
	return e.Output(t, spec.Tree)["seen"], e.LogOf(t, spec.Tree)
}

// TestCachesByBranch builds a site and previews: a preview begins with the
// site's cache, and what it writes reaches neither the site nor another branch.
func TestCachesByBranch(t *testing.T) {
	t.Parallel()
	e, _ := isolatedBuilder(t, sandbox.Config{})
	pipeline := uuid.New()
	for i, step := range []struct {
		scope      string
		untrusted  bool
		epoch      int64
		write      string
		seen, says string
	}{
		{scope: "branch x", write: "x", says: "none yet for this branch"},
		{write: "s", seen: "", says: "none yet for package.json"},
		{write: "s", seen: "s", says: "found for package.json"},
		{scope: "branch y", write: "poison", seen: "ss", says: "a copy of the site's"},
		{scope: "branch y", write: "!", seen: "sspoison", says: "found for package.json"},
		{scope: "branch z", untrusted: true, write: "stranger", says: "may not push"},
		{scope: "", untrusted: true, write: "stranger", says: "may not push"},
		{scope: "../../" + uuid.NewString(), write: "p", seen: "ss", says: "a copy of the site's"},
		{scope: "branch z", write: "z", seen: "ss", says: "a copy of the site's"},
		{scope: "branch x", write: "x", seen: "x", says: "found for package.json"},
		{write: "s", seen: "ss"},
		// The caches are cleared.
		{scope: "branch y", epoch: 1, write: "new", says: "none yet for this branch"},
		{epoch: 1, write: "n", says: "none yet for package.json"},
		{epoch: 1, write: "n", seen: "n"},
		// A build that began before can't bring them back, or write to the new ones.
		{epoch: 0, write: "late"},
		{epoch: 1, seen: ""},
	} {
		seen, log := cached(t, e, step.write, "true", func(s *builder.Spec) {
			s.Tree.Pipeline, s.CacheScope, s.CacheEpoch, s.Untrusted = pipeline, step.scope, step.epoch, step.untrusted
		})
		if seen != step.seen || !strings.Contains(log, step.says) {
			t.Fatalf("step %d, %+v: it saw %q; its log:\n%s", i, step, seen, log)
		}
	}
	if seen, _ := cached(t, e, "", "true", func(*builder.Spec) {}); seen != "" {
		t.Errorf("another pipeline saw %q", seen)
	}
}

// TestCachesAreListed lists caches, and builds on while one can't be read.
func TestCachesAreListed(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	e, b := isolatedBuilder(t, sandbox.Config{Root: root})
	pipeline := uuid.New()
	scopes := func() (all []string, keeper string) {
		t.Helper()
		list, err := b.Caches(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list.All {
			if c.Pipeline != pipeline || c.Used.IsZero() {
				t.Errorf("%+v", c)
			}
			all = append(all, fmt.Sprintf("%s %q %d %d", c.Manager, c.Scope, c.Epoch, c.Bytes))
		}
		slices.Sort(all)
		return all, list.Keeper
	}
	if all, keeper := scopes(); len(all) > 0 || keeper == "" {
		t.Errorf("without builds: %q of %q", all, keeper)
	}
	use := func(scope string) (string, string) {
		return cached(t, e, "12345", "true", func(s *builder.Spec) { s.Tree.Pipeline, s.CacheScope, s.CacheEpoch = pipeline, scope, 7 })
	}
	use("")
	use("branch x")
	all, keeper := scopes()
	if want := []string{`npm "" 7 5`, `npm "branch x" 7 10`}; !slices.Equal(all, want) {
		t.Errorf("%q, want %q", all, want)
	}
	if _, again := scopes(); again != keeper {
		t.Errorf("the keeper is %q, then %q", keeper, again)
	}

	// An interrupted build left no size, a broken machine half a record.
	record := filepath.Join(root, "builds", pipeline.String(), "cache", "npm.json")
	if err := os.WriteFile(record, []byte(`{"epoch":7,"bytes":-1,"used":"2026-01-01T00:00:00Z"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, _ := scopes(); !slices.Contains(all, `npm "" 7 5`) {
		t.Errorf("after an interruption: %q", all)
	}
	if err := os.WriteFile(record, []byte(`{"epoch":7,"by`), 0o600); err != nil {
		t.Fatal(err)
	}
	if seen, log := use(""); seen != "" {
		t.Errorf("with half a record the build saw %q:\n%s", seen, log)
	}
	// The record can't be read at all.
	if err := os.Remove(record); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(record, record); err != nil {
		t.Fatal(err)
	}
	if seen, log := use(""); seen != "" || !strings.Contains(log, "No dependency cache: the server can't open it.") {
		t.Errorf("with an unreadable record the build saw %q:\n%s", seen, log)
	}
	if all, _ := scopes(); !slices.Equal(all, []string{`npm "branch x" 7 10`}) {
		t.Errorf("beside an unreadable record: %q", all)
	}
}

// TestCachesAreSwept leaves what an interrupted removal and an interrupted copy
// leave. The next build removes it.
func TestCachesAreSwept(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	e, _ := isolatedBuilder(t, sandbox.Config{Root: root})
	pipeline := uuid.New()
	for _, scope := range []string{"", "branch x"} {
		use := func() string {
			seen, _ := cached(t, e, "x", "true", func(s *builder.Spec) { s.Tree.Pipeline, s.CacheScope = pipeline, scope })
			return seen
		}
		before := use()
		pattern := filepath.Join(root, "builds", pipeline.String(), "cache", "npm")
		if scope != "" {
			pattern = filepath.Join(root, "builds", pipeline.String(), "caches", "*", "npm")
		}
		dirs, err := filepath.Glob(pattern)
		if err != nil || len(dirs) != 1 {
			t.Fatal(dirs, err)
		}
		left := filepath.Join(dirs[0], "discarded-"+uuid.NewString())
		if err := os.MkdirAll(filepath.Join(left, "deep"), 0o755); err != nil {
			t.Fatal(err)
		}
		if seen := use(); seen != before+"x" {
			t.Errorf("scope %q: the build saw %q", scope, seen)
		}
		if _, err := os.Stat(left); !os.IsNotExist(err) {
			t.Errorf("scope %q: the folder is left: %v", scope, err)
		}
	}
}

// TestUnusedCachesAreRemoved builds a month after the last build of a branch: its
// cache is removed with its lock, but not the site's.
func TestUnusedCachesAreRemoved(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	e, _ := isolatedBuilder(t, sandbox.Config{Root: root})
	pipeline := uuid.New()
	use := func(scope string) string {
		seen, _ := cached(t, e, "x", "true", func(s *builder.Spec) { s.Tree.Pipeline, s.CacheScope = pipeline, scope })
		return seen
	}
	use("")
	use("branch x")
	at := filepath.Join(root, "builds", pipeline.String())
	records, err := filepath.Glob(filepath.Join(at, "cache*", "*", "npm.json"))
	if err != nil || len(records) != 1 {
		t.Fatal(records, err)
	}
	for _, record := range append(records, filepath.Join(at, "cache", "npm.json")) {
		text := fmt.Sprintf(`{"scope":"","bytes":1,"used":%q}`, time.Now().Add(-31*24*time.Hour).UTC().Format(time.RFC3339))
		if err := os.WriteFile(record, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cached(t, e, "x", "true", func(*builder.Spec) {}) // of another pipeline
	if left, err := os.ReadDir(filepath.Join(at, "caches")); err != nil || len(left) != 0 {
		t.Errorf("caches of branches are left: %v, %v", left, err)
	}
	if seen := use(""); seen != "x" {
		t.Errorf("the site's build saw %q", seen)
	}
	if seen := use("branch x"); seen != "xx" { // a copy of the site's
		t.Errorf("the branch's build saw %q", seen)
	}
}

// TestCachesOfOneScopeAreRemoved removes the caches of one preview: by their age,
// while a build uses one, and after an interruption.
func TestCachesOfOneScopeAreRemoved(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	e, b := isolatedBuilder(t, sandbox.Config{Root: root})
	pipeline := uuid.New()
	for _, scope := range []string{"", "branch x", "branch y"} {
		cached(t, e, "x", "true", func(s *builder.Spec) { s.Tree.Pipeline, s.CacheScope = pipeline, scope })
	}
	scopes := func() (all []string) {
		t.Helper()
		list, err := b.Caches(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list.All {
			all = append(all, c.Scope)
		}
		slices.Sort(all)
		return all
	}
	remove := func(scope string, unusedSince time.Time, left ...string) {
		t.Helper()
		for range 2 {
			if err := b.RemoveCaches(t.Context(), pipeline, scope, unusedSince); err != nil {
				t.Fatal(err)
			}
			if got := scopes(); !slices.Equal(got, left) {
				t.Fatalf("left are %q, want %q", got, left)
			}
		}
	}
	remove("branch z", time.Time{}, "", "branch x", "branch y")
	remove("branch x", time.Now().Add(-time.Hour), "", "branch x", "branch y")
	at := filepath.Join(root, "builds", pipeline.String(), "caches")
	locks, err := filepath.Glob(filepath.Join(at, "*", "npm.lock"))
	if err != nil || len(locks) != 2 {
		t.Fatal(locks, err)
	}
	held := make([]*flock.Flock, len(locks))
	for i, file := range locks {
		held[i] = flock.New(file)
		if ok, err := held[i].TryLock(); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	remove("branch x", time.Time{}, "", "branch x", "branch y")
	for _, lock := range held {
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
	}
	remove("branch x", time.Now().Add(time.Hour), "", "branch y")

	// A removal was interrupted after its first step.
	left, err := filepath.Glob(filepath.Join(at, "*", "npm"))
	if err != nil || len(left) != 1 {
		t.Fatal(left, err)
	}
	if err := os.Rename(left[0], filepath.Join(filepath.Dir(left[0]), "discarded-1")); err != nil {
		t.Fatal(err)
	}
	remove("branch y", time.Time{}, "")
	if entries, err := os.ReadDir(at); err != nil || len(entries) > 0 {
		t.Errorf("of the previews' caches %v is left, %v", entries, err)
	}
}

// TestCachesAreBounded fills the caches of several pipelines beyond the limit of
// all together. Those that were not used for the longest time go.
func TestCachesAreBounded(t *testing.T) {
	t.Parallel()
	e, b := isolatedBuilder(t, sandbox.Config{AllCachesBytes: 250_000})
	var pipelines []uuid.UUID
	for range 4 {
		pipelines = append(pipelines, uuid.New())
	}
	use := func(pipeline uuid.UUID, scope string) string {
		seen, _ := cached(t, e, "x", "truncate -s 100000 $npm_config_cache/big", func(s *builder.Spec) { s.Tree.Pipeline, s.CacheScope = pipeline, scope })
		return seen
	}
	use(pipelines[0], "")
	use(pipelines[1], "")
	use(pipelines[0], "") // the first is the newer one now
	use(pipelines[2], "") // removes the second
	if seen := use(pipelines[0], ""); seen != "xx" {
		t.Errorf("the cache that was used later has %q", seen)
	}
	if seen := use(pipelines[1], ""); seen != "" {
		t.Errorf("the cache that was used least has %q", seen)
	}
	list, err := b.Caches(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, c := range list.All {
		total += c.Bytes
	}
	if total > 250_000 || len(list.All) != 2 {
		t.Errorf("%d bytes are in %d caches: %+v", total, len(list.All), list.All)
	}
}

// TestPoisonedCache has a build put links into its cache where Troy itself works
// in the next build: nothing outside is moved or read.
func TestPoisonedCache(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.MkdirAll(filepath.Join(outside, ".next%2fcache"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, ".next%2fcache", "data"), []byte("of another"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, poison := range map[string]string{
		"all of them": "rm -rf /build/cache/folders; ln -s " + outside + " /build/cache/folders",
		"one of them": "rm -rf /build/cache/folders; mkdir /build/cache/folders; ln -s " + outside + " /build/cache/folders/.next%2fcache",
		"a file":      "rm -rf /build/cache/folders; touch /build/cache/folders",
	} {
		e, _ := isolatedBuilder(t, sandbox.Config{})
		pipeline := uuid.New()
		change := func(s *builder.Spec) { s.Tree.Pipeline = pipeline }
		cached(t, e, "a", poison, change)
		seen, log := cached(t, e, "b", "ls -A .next > out/next 2>/dev/null || true; mkdir -p .next/cache; touch .next/cache/mine", change)
		if seen != "a" {
			t.Errorf("%s: the next build saw %q:\n%s", name, seen, log)
		}
		if strings.Contains(log, "generator restored") {
			t.Errorf("%s: a folder outside was moved into the build:\n%s", name, log)
		}
		// A preview copies the links, not what they lead to.
		cached(t, e, "c", "! grep -rqs 'of another' /build/cache .next", func(s *builder.Spec) { s.Tree.Pipeline, s.CacheScope = pipeline, "branch" })
		if left, err := os.ReadDir(outside); err != nil || len(left) != 1 || left[0].Name() != ".next%2fcache" {
			t.Errorf("%s: outside are %v, %v", name, left, err)
		}
	}
}

// TestSiteWaitsForCopies builds a site while a preview copies its cache, and
// while another build uses it.
func TestSiteWaitsForCopies(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	e, _ := isolatedBuilder(t, sandbox.Config{Root: root})
	pipeline := uuid.New()
	spec := func() builder.Spec {
		repo := buildertest.Shell(makeSite)
		repo["troy.toml"] += "install = \"\"\n"
		repo["package.json"] = "{}"
		s := repo.Spec(t)
		s.Tree.Pipeline = pipeline
		return s
	}
	e.Succeeds(t, spec())
	lock := flock.New(filepath.Join(root, "builds", pipeline.String(), "cache", "npm.lock"))
	defer lock.Close()
	if held, err := lock.TryRLock(); err != nil || !held {
		t.Fatal(held, err)
	}
	waits := spec()
	if err := e.Builder.Start(t.Context(), waits); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "its plan", func() bool { return strings.Contains(e.LogOf(t, waits.Tree), "Build plan") })
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	if b := e.Wait(t, waits.Tree); b.State != builder.Succeeded {
		t.Fatalf("%+v", b)
	}
	if log := e.LogOf(t, waits.Tree); !strings.Contains(log, "found for package.json") {
		t.Errorf("after a copy:\n%s", log)
	}
	if held, err := lock.TryLock(); err != nil || !held {
		t.Fatal(held, err)
	}
	refused := spec()
	e.Succeeds(t, refused)
	if log := e.LogOf(t, refused.Tree); !strings.Contains(log, "another build of the pipeline is using it") {
		t.Errorf("beside another build:\n%s", log)
	}
	preview := spec()
	preview.CacheScope = "branch x"
	e.Succeeds(t, preview)
	if log := e.LogOf(t, preview.Tree); !strings.Contains(log, "none yet for this branch") {
		t.Errorf("a preview beside a build of the site:\n%s", log)
	}
}

// TestModulesAreKept restores node_modules instead of installing the same
// packages again.
func TestModulesAreKept(t *testing.T) {
	t.Parallel()
	e, _ := isolatedBuilder(t, sandbox.Config{})
	buildertest.RunModules(t, e)
}
