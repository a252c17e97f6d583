package intake_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// push delivers a push to the branch main of a repository.
func (w *world) push(repository int, p troy.Push) intake.Outcome {
	w.t.Helper()
	d, e := pushTo(repository, 0, "")
	d.BodySHA256 = nil
	p.Kind = troy.Branch
	if p.Name == "" {
		p.Name = "main"
	}
	e.Pushes = []troy.Push{p}
	out, err := w.in.ForgeEvent(w.ctx(), d, e)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func commit(digit string) string { return strings.Repeat(digit, 40) }

// TestDeletedBranch deletes the branch that a pipeline builds: the pipeline has
// a problem until the branch is back.
func TestDeletedBranch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bound(1)
	problem := func() string {
		t.Helper()
		p, err := w.q.PipelineGet(t.Context(), p.ID)
		if err != nil {
			t.Fatal(err)
		}
		return p.SourceProblem
	}
	w.push(1, troy.Push{After: commit("a")})
	w.push(1, troy.Push{Name: "other", Before: commit("b"), Deleted: true})
	if got := problem(); got != "" {
		t.Errorf("another branch was deleted: %q", got)
	}
	w.push(1, troy.Push{Before: commit("a"), Deleted: true})
	if got := problem(); !strings.HasPrefix(got, "the branch main does not exist") {
		t.Errorf("the branch was deleted: %q", got)
	}
	if out := w.push(1, troy.Push{Created: true, After: commit("a")}); problem() != "" || !strings.Contains(out.Detail, "is already known") {
		t.Errorf("the branch is back where it was: %q, %+v", problem(), out)
	}
	w.push(1, troy.Push{Before: commit("a"), Deleted: true})
	if out := w.push(1, troy.Push{Created: true, After: commit("c")}); problem() != "" || !strings.Contains(out.Detail, "is queued") {
		t.Errorf("the branch is back with a new commit: %q, %+v", problem(), out)
	}
	// A problem of another kind stays.
	w.exec("UPDATE pipelines SET source_problem = 'the GitHub app was uninstalled' WHERE id = $1", p.ID)
	w.push(1, troy.Push{Created: true, After: commit("d")})
	if got := problem(); got != "the GitHub app was uninstalled" {
		t.Errorf("the problem is %q", got)
	}
}

// TestRerunOfAnOldCommit requests a commit again that a newer one has replaced:
// nothing goes back automatically.
func TestRerunOfAnOldCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bound(1)
	rerun := func(commit string) intake.Outcome {
		t.Helper()
		out, err := w.in.ForgeEvent(t.Context(), intake.Delivery{Provider: troy.GitHub, ID: uuid.NewString(), Type: "check_run"}, troy.Rerequest{
			Repository: troy.ForgeRepository{Provider: troy.GitHub, ID: "1", FullName: "team/r1"}, Commit: commit, Sender: "ada",
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	live := func(commit string) {
		t.Helper()
		w.exec(`UPDATE deployments SET state = 'succeeded', started_at = now(), live_at = now(), finished_at = now() WHERE pipeline_id = $1 AND commit_sha = $2`, p.ID, commit)
		w.exec(`UPDATE pipelines SET status = 'deployed', live_deployment_id = (SELECT id FROM deployments WHERE pipeline_id = $1 AND commit_sha = $2) WHERE id = $1`, p.ID, commit)
	}
	w.push(1, troy.Push{After: commit("a")})
	live(commit("a"))
	w.push(1, troy.Push{Before: commit("a"), After: commit("b"), PathsComplete: true, Paths: []string{"a"}})
	for _, state := range []string{"waits", "is live"} {
		if state == "is live" {
			live(commit("b"))
		}
		out := rerun(commit("a"))
		if !strings.Contains(out.Detail, "not built again") || !strings.Contains(out.Detail, "deployment 2 has a newer one") || !strings.Contains(out.Detail, "promote deployment 1") {
			t.Errorf("while the newer one %s: %+v", state, out)
		}
	}
	all, err := w.q.DeploymentList(t.Context(), queries.DeploymentListParams{PipelineID: p.ID, PageLimit: 10})
	if err != nil || len(all) != 2 {
		t.Errorf("%d deployments, %v; want 2", len(all), err)
	}
	if out := rerun(commit("b")); !strings.Contains(out.Detail, "is queued again as deployment 3") {
		t.Errorf("the newest commit: %+v", out)
	}
}

// A pipeline whose root folder is in a workspace watches the whole workspace,
// unless it has its own patterns.
func TestWorkspaceIsWatched(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		workspace, root, changed string
		patterns                 []string
		built                    bool
	}{
		{workspace: "", root: "apps/web", changed: "packages/ui/a.ts"},
		{workspace: "", root: "apps/web", changed: "apps/web/a.ts", built: true},
		{workspace: ".", root: "apps/web", changed: "packages/ui/a.ts", built: true},
		{workspace: ".", root: "apps/web", changed: "pnpm-lock.yaml", built: true},
		{workspace: "js", root: "js/apps/web", changed: "js/package.json", built: true},
		{workspace: "js", root: "js/apps/web", changed: "go/main.go"},
		{workspace: "js", root: "docs", changed: "js/package.json"},
		{workspace: "js", root: "docs", changed: "docs/a.md", built: true},
		{workspace: ".", root: "apps/web", changed: "packages/ui/a.ts", patterns: []string{"apps/web"}},
		{workspace: ".", root: "apps/web", changed: "packages/ui/README.md", patterns: []string{"!**/*.md"}},
		{workspace: ".", root: "apps/web", changed: "packages/ui/a.ts", patterns: []string{"!**/*.md"}, built: true},
	} {
		t.Run(strings.Join(append([]string{c.workspace, c.root, c.changed}, c.patterns...), " "), func(t *testing.T) {
			w := newWorld(t)
			p := w.bound(1)
			w.push(1, troy.Push{After: commit("a")})
			w.exec("UPDATE pipelines SET workspace = $1, repository_root = $2, watch_paths = coalesce($3, '{}'::text[])", c.workspace, c.root, c.patterns)
			out := w.push(1, troy.Push{Before: commit("a"), After: commit("b"), Paths: []string{c.changed}, PathsComplete: true})
			if built := w.count("SELECT count(*) FROM deployments WHERE pipeline_id = $1", p.ID) == 2; built != c.built {
				t.Errorf("built is %v: %s", built, out.Detail)
			}
		})
	}
}

// The newest commit of a branch that is just connected is not deployed twice if
// someone asked for it meanwhile: the second would take the first one's place.
func TestFirstHeadIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, commitAsked := range []string{"", commit("b"), commit("a")} {
		w := newWorld(t)
		p := w.bound(1)
		w.exec("UPDATE pipelines SET head_commit = NULL")
		asked, err := w.in.DeployCommit(w.ctx(), p.ID, commitAsked, "ada")
		if err != nil {
			t.Fatal(err)
		}
		if commitAsked == commit("a") {
			w.exec("UPDATE deployments SET state = 'building', started_at = now() WHERE id = $1", asked.ID)
			w.exec("UPDATE pipelines SET status = 'deploying' WHERE id = $1", p.ID)
		}
		made, err := w.in.HeadFound(w.ctx(), p.ID, intake.Head{Branch: "main", Commit: commit("a")})
		if err != nil || made != (commitAsked == commit("b")) {
			t.Errorf("of %q: made is %v, %v", commitAsked, made, err)
		}
		after, err := w.q.DeploymentGet(w.ctx(), asked.ID)
		if err != nil || (after.State == troy.Superseded) != (commitAsked == commit("b")) {
			t.Errorf("of %q: the deployment is %s, %v", commitAsked, after.State, err)
		}
		if now, err := w.q.PipelineGet(w.ctx(), p.ID); err != nil || now.HeadCommit == nil || *now.HeadCommit != commit("a") {
			t.Errorf("of %q: the head is %v, %v", commitAsked, now.HeadCommit, err)
		}
	}
}

// A forge that does not list the files of a push is asked for them, if the
// pipeline does not watch everything.
func TestUnlistedFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, root, skip string
		paths            []string
		complete         bool
		asked, built     bool
	}{
		{name: "a folder that did not change", root: "apps/web", paths: []string{"apps/docs/a"}, complete: true, asked: true},
		{name: "a folder that changed", root: "apps/web", paths: []string{"apps/web/a"}, complete: true, asked: true, built: true},
		{name: "the forge can't tell", root: "apps/web", asked: true, built: true},
		{name: "everything is watched", built: true},
		{name: "a skipped commit", root: "apps/web", skip: "the commit's message says [skip ci]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.bound(1)
			w.push(1, troy.Push{After: commit("a"), Unlisted: true})
			w.exec("UPDATE pipelines SET repository_root = nullif($1, '')", c.root)
			w.exec("DELETE FROM work WHERE kind = 'forge:catch-up'")
			out := w.push(1, troy.Push{Before: commit("a"), After: commit("b"), Skip: c.skip, Unlisted: true})
			if asked := w.count("SELECT count(*) FROM work WHERE kind = 'forge:catch-up'") == 1; asked != c.asked {
				t.Fatalf("the forge is asked: %v, %+v", asked, out)
			}
			if c.asked {
				if got := w.count("SELECT count(*) FROM deployments WHERE pipeline_id = $1", p.ID); got != 1 || out.Result != intake.Accepted {
					t.Fatalf("%d deployments before the files are known: %+v", got, out)
				}
				if _, err := w.in.HeadFound(w.ctx(), p.ID, intake.Head{Branch: "main", Commit: commit("b"), Base: commit("a"), Paths: c.paths, PathsComplete: c.complete}); err != nil {
					t.Fatal(err)
				}
			}
			if c.asked && c.built && w.count("SELECT count(*) FROM deployments WHERE pipeline_id = $1 AND actor = 'push by mona'", p.ID) != 2 {
				t.Error("the deployment does not name who pushed")
			}
			if built := w.count("SELECT count(*) FROM deployments WHERE pipeline_id = $1", p.ID) == 2; built != c.built {
				t.Errorf("built is %v: %+v", built, out)
			}
		})
	}
}

// A pipeline whose newest build found the packages of its workspace skips pushes
// to those that the site does not use, and says which.
func TestUnwatchedPackages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, root        string
		changed, patterns []string
		want              string // the reason; empty if it is built
	}{
		{"another site", "apps/web", []string{"apps/admin/a.ts"}, nil, "only parts of the workspace changed that the site does not use: apps/admin"},
		{"several", "apps/web", []string{"apps/admin/a.ts", ".github/x", "packages/c/a", "packages/d/a"}, nil, "does not use: apps/admin, .github, packages/c and 1 more"},
		{"a package that it uses too", "apps/web", []string{"apps/admin/a.ts", "packages/ui/a.ts"}, nil, ""},
		{"the lockfile", "apps/web", []string{"apps/admin/package.json", "package-lock.json"}, nil, ""},
		{"a file for all", "apps/web", []string{"apps/admin/.env.local"}, nil, ""},
		{"a new package", "apps/web", []string{"packages/new/package.json"}, nil, ""},
		{"patterns decide", "apps/web", []string{"apps/admin/a.ts"}, []string{"apps/admin"}, ""},
		{"patterns that exclude more", "apps/web", []string{"apps/admin/a.ts", "packages/ui/README.md"}, []string{"!**/*.md"}, "no file that the pipeline watches changed"},
		{"the root folder changed since", "apps/admin", []string{"apps/admin/a.ts"}, nil, ""},
		{"no root folder in the settings", "", []string{"apps/admin/a.ts"}, nil, "does not use: apps/admin"},
		{"no files", "", nil, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			p := w.bound(1)
			w.push(1, troy.Push{After: commit("a")})
			w.exec("UPDATE pipelines SET workspace = '.', unwatched = '{.github,apps/admin,packages/c,packages/d,!**/.env.*local}', repository_root = nullif($1, ''), watch_paths = coalesce($2, '{}'::text[])", c.root, c.patterns)
			out := w.push(1, troy.Push{Before: commit("a"), After: commit("b"), Paths: c.changed, PathsComplete: true})
			if built := w.count("SELECT count(*) FROM deployments WHERE pipeline_id = $1", p.ID) == 2; built != (c.want == "") || !strings.Contains(out.Detail, c.want) {
				t.Errorf("built is %v: %s", built, out.Detail)
			}
			if c.want != "" {
				if n := w.count("SELECT count(*) FROM skips WHERE strpos(reason, $1) > 0", c.want); n != 1 {
					t.Errorf("%d skips have the reason", n)
				}
				return
			}
		})
	}
}

// TestUnwatchedIsForgotten changes the settings of a pipeline, after which
// other packages may concern it.
func TestUnwatchedIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bound(1)
	w.exec("UPDATE pipelines SET workspace = '.', unwatched = '{apps/admin}'")
	if _, err := w.in.Configure(w.ctx(), p.ID, intake.Configuration{Build: []byte(`{"build":"npm run build -w admin"}`)}); err != nil {
		t.Fatal(err)
	}
	if n := w.count("SELECT count(*) FROM pipelines WHERE unwatched = '{}'"); n != 1 {
		t.Errorf("%d pipelines have forgotten it", n)
	}
}
