package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// buildWorld is a world with the stand-in for GitHub and a pipeline that builds
// its repository.
func buildWorld(t *testing.T, settings ...string) (w *world, g *github, pipeline string) {
	t.Helper()
	return buildWorldOn(t, func(w *world) { w.start("edge") }, settings...)
}

// buildWorldOn calls begin once web and work run.
func buildWorldOn(t *testing.T, begin func(*world), settings ...string) (w *world, g *github, pipeline string) {
	t.Helper()
	g = newGitHub(t)
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	w = newWorld(t, append([]string{
		"TROY_GITHUB_URL=" + g.server.URL + "/api/v3", "TROY_GITHUB_CLIENT_ID=" + githubClientID, "TROY_GITHUB_APP_ID=" + githubAppID,
		"TROY_GITHUB_KEY_FILE=" + g.keyFile, "TROY_GITHUB_SECRET=" + githubSecret, "TROY_CATCH_UP=2s",
		"TROY_SECRET_KEY=" + hex.EncodeToString(key),
	}, settings...)...)
	w.start("web")
	w.worker = w.start("work")
	begin(w)
	first := g.commit("first", site1("one"))
	g.installationEvent(w, "created", installation)
	// The commit at the head is deployed without a push.
	pipeline = w.appEvent("Created", map[string]any{
		"id": "blog", "name": "blog", "repository": map[string]any{"provider": "github", "full_name": repository, "branch": "main"},
	}, time.Now())
	if d := w.deployment(pipeline, first); d.State != troy.Succeeded {
		out, diag, _ := w.run("troy", "logs", "blog")
		t.Fatalf("the first deployment %s: %s\n%s%s", d.State, d.Cause, out, diag)
	}
	w.waitFor(pipeline, troy.Deployed)
	return w, g, pipeline
}

// site1 is a project that npm builds, without dependencies.
func site1(version string) map[string]string {
	return map[string]string{
		"package.json":      `{"name":"blog","private":true,"scripts":{"build":"node build.js"}}`,
		"package-lock.json": `{"name":"blog","lockfileVersion":3,"requires":true,"packages":{"":{"name":"blog"}}}`,
		"troy.toml":         "[build]\ncommand = \"npm run build\"\noutput = \"dist\"\n",
		"build.js": `const fs = require("fs");
console.log("building ` + version + `");
fs.mkdirSync("dist", {recursive: true});
fs.writeFileSync("dist/index.html", "<title>` + version + `</title>");
`,
	}
}

// deployment waits for the end of a pipeline's deployment of a commit and
// returns it.
func (w *world) deployment(pipeline, commit string) client.Deployment {
	w.t.Helper()
	var found client.Deployment
	w.eventually("the deployment of "+commit+" ends", func() bool {
		for d, err := range w.api.Deployments(w.t.Context(), pipeline) {
			if err != nil {
				w.t.Fatal(err)
			}
			if d.Commit == commit && d.State.Ended() {
				found = d
				return true
			}
		}
		return false
	})
	return found
}

func TestPushToLive(t *testing.T) {
	t.Parallel()
	w, g, id := buildWorld(t)
	commit := g.pushed(w, "the second", site1("two"))
	d := w.deployment(id, commit)
	if d.State != troy.Succeeded {
		t.Fatalf("%s: %s\n%s", d.State, d.Cause, w.must("troy", "logs", "blog"))
	}
	w.waitFor(id, troy.Deployed)
	if status, body, _ := w.get("blog.localhost", "/"); status != 200 || body != "<title>two</title>" {
		t.Errorf("the edge answers %d %q", status, body)
	}
	log := w.must("troy", "logs", "blog")
	for _, want := range []string{"building two", "npm run build"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	w.eventually("the check run says so", func() bool { return g.conclusion(commit) == "success" })

	// A build that fails does not change the live site.
	bad := g.pushed(w, "a mistake", map[string]string{"build.js": "console.log('about to fail'); process.exit(3)\n"})
	if failed := w.deployment(id, bad); failed.State != troy.Failed || !strings.Contains(failed.Cause, "3") {
		t.Errorf("%s: %q, want it failed with the exit status", failed.State, failed.Cause)
	}
	if p := w.waitFor(id, troy.FailedToDeploy); p.LiveDeploymentID == nil || *p.LiveDeploymentID != d.ID {
		t.Errorf("live is %v, want the previous deployment, %s", p.LiveDeploymentID, d.ID)
	}
	if _, body, _ := w.get("blog.localhost", "/"); body != "<title>two</title>" {
		t.Errorf("after the failed build the edge answers %q", body)
	}
	w.eventually("the check run says so", func() bool { return g.conclusion(bad) == "failure" })

	// A skip marker, and a push to another branch.
	skipped := g.pushed(w, "words only [skip ci]", map[string]string{"README.md": "words"})
	for d, err := range w.api.Deployments(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Commit == skipped {
			t.Error("a commit with a skip marker was deployed")
		}
	}
}

func TestSameDeliveryManyTimes(t *testing.T) {
	t.Parallel()
	w, g, id := buildWorld(t)
	commit := g.commit("again and again", site1("two"))
	delivery, body := uuid.NewString(), g.push("build.js")
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if status, answer := g.deliver(w, "push", delivery, body); status != http.StatusAccepted {
				t.Errorf("%d: %s", status, answer)
			}
		})
	}
	wg.Wait()
	w.deployment(id, commit)
	n := 0
	for _, err := range w.api.Deployments(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d deployments were made of the first commit and one delivery, want 2", n)
	}
}

func TestCancelledBuild(t *testing.T) {
	t.Parallel()
	w, g, id := buildWorld(t)
	commit := g.pushed(w, "a long build", map[string]string{"build.js": "console.log('at work'); setInterval(() => {}, 1000)\n"})
	w.waitFor(id, troy.Deploying)
	w.eventually("the build prints", func() bool {
		out, _, _ := w.run("troy", "logs", "blog")
		return strings.Contains(out, "at work")
	})
	w.must("troy", "cancel", "blog", "2")
	if d := w.deployment(id, commit); d.State != troy.Cancelled {
		t.Errorf("%s: %s", d.State, d.Cause)
	}
	w.waitFor(id, troy.Deployed)
	w.eventually("the check run says so", func() bool { return g.conclusion(commit) == "cancelled" })
	// The slot is free again.
	next := g.pushed(w, "a short one", site1("three"))
	if d := w.deployment(id, next); d.State != troy.Succeeded {
		t.Errorf("%s: %s", d.State, d.Cause)
	}
}

func TestNewerCommitSupersedes(t *testing.T) {
	t.Parallel()
	w, g, id := buildWorld(t)
	w.must("troy", "pipeline", "set", "blog", "--cancel-running")
	first := g.pushed(w, "a long build", map[string]string{"build.js": "setInterval(() => {}, 1000)\n"})
	w.waitFor(id, troy.Deploying)
	second := g.pushed(w, "its successor", site1("two"))
	if d := w.deployment(id, first); d.State != troy.Superseded {
		t.Errorf("the first: %s: %s", d.State, d.Cause)
	}
	if d := w.deployment(id, second); d.State != troy.Succeeded {
		t.Errorf("the second: %s: %s", d.State, d.Cause)
	}
}

func TestMissedWebhookIsCaughtUp(t *testing.T) {
	t.Parallel()
	w, g, id := buildWorld(t)
	// No webhook reports this commit.
	commit := g.commit("in silence", site1("two"))
	if d := w.deployment(id, commit); d.State != troy.Succeeded {
		t.Errorf("%s: %s", d.State, d.Cause)
	}
}

func TestRerunAndUninstall(t *testing.T) {
	t.Parallel()
	w, g, id := buildWorld(t)
	commit := g.pushed(w, "the second", site1("two"))
	first := w.deployment(id, commit)
	if status, answer := g.deliver(w, "check_run", uuid.NewString(), map[string]any{
		"action": "rerequested",
		"check_run": map[string]any{
			"id": 1, "head_sha": commit, "external_id": first.ID.String(), "app": map[string]any{"id": 4711},
			"check_suite": map[string]any{"id": 5, "head_branch": "main", "head_sha": commit},
		},
		"repository": g.repository(), "installation": map[string]any{"id": installation}, "sender": map[string]any{"login": "ada"},
	}); status != http.StatusAccepted {
		t.Fatalf("%d: %s", status, answer)
	}
	w.eventually("a second deployment of the commit succeeds", func() bool {
		n := 0
		for d, err := range w.api.Deployments(t.Context(), id) {
			if err != nil {
				t.Fatal(err)
			}
			if d.Commit == commit && d.State == troy.Succeeded {
				n++
			}
		}
		return n == 2
	})
	g.mu.Lock()
	g.seenAs = 0
	g.mu.Unlock()
	g.installationEvent(w, "deleted", installation)
	after := g.pushed(w, "no pipeline builds it", site1("three"))
	for d, err := range w.api.Deployments(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Commit == after {
			t.Error("a push was built although the app was uninstalled")
		}
	}
	if out := w.must("troy", "pipeline", "show", "blog"); !strings.Contains(out, "uninstalled") {
		t.Errorf("the pipeline has no such problem:\n%s", out)
	}
}

// installationEvent is the webhook of an installation that has access to the
// repository.
func (g *github) installationEvent(w *world, action string, id int) {
	g.t.Helper()
	if status, answer := g.deliver(w, "installation", uuid.NewString(), map[string]any{
		"action":       action,
		"installation": map[string]any{"id": id, "app_id": 4711, "account": map[string]any{"login": "team"}, "repository_selection": "selected"},
		"repositories": []any{map[string]any{"id": repositoryID, "name": "blog", "full_name": repository, "private": true}},
		"sender":       map[string]any{"login": "ada"},
	}); status != http.StatusAccepted {
		g.t.Fatalf("the installation got the answer %d: %s", status, answer)
	}
}

// TestReinstalledOutOfOrder installs the app again, under another id, before
// the webhook of its removal arrives; the webhook of the new installation is
// lost.
func TestReinstalledOutOfOrder(t *testing.T) {
	t.Parallel()
	w, g, id := buildWorld(t)
	for n, events := range [][]struct {
		action string
		id     int
	}{
		{{"created", installation + 1}, {"deleted", installation}},
		{{"deleted", installation + 1}},
	} {
		g.mu.Lock()
		g.seenAs = installation + 1 + n
		g.tokens = map[string]string{} // they end with their installation
		g.mu.Unlock()
		for _, e := range events {
			g.installationEvent(w, e.action, e.id)
		}
		commit := g.commit("after it", site1(fmt.Sprint("again ", n)))
		if d := w.deployment(id, commit); d.State != troy.Succeeded {
			t.Errorf("%v: %s: %s", events, d.State, d.Cause)
		}
		if out := w.must("troy", "pipeline", "show", "blog"); strings.Contains(out, "uninstalled") {
			t.Errorf("%v: the pipeline still has the problem:\n%s", events, out)
		}
	}
}

// TestKilledBuild kills the worker in the middle of a build: another finds the
// build dead and runs it again.
func TestKilledBuild(t *testing.T) {
	t.Parallel()
	w, g, id := buildWorld(t)
	// The first run waits for a file that never comes; the second, in a new
	// folder with the same cache, succeeds.
	commit := g.pushed(w, "slow once", map[string]string{"build.js": `const fs = require("fs");
console.log("at work");
setTimeout(() => {
	fs.mkdirSync("dist", {recursive: true});
	fs.writeFileSync("dist/index.html", "<title>slow</title>");
}, 6000);
`})
	w.waitFor(id, troy.Deploying)
	w.eventually("the build prints", func() bool {
		out, _, _ := w.run("troy", "logs", "blog")
		return strings.Contains(out, "at work")
	})
	w.worker.kill()
	w.start("work")
	if d := w.deployment(id, commit); d.State != troy.Succeeded {
		t.Errorf("%s: %s", d.State, d.Cause)
	}
	if out := w.must("troy", "logs", "blog"); strings.Count(out, "at work") != 2 {
		t.Errorf("the log does not show two runs:\n%s", out)
	}
}

// TestStoppedBuild stops a build as a worker does that lost its claim, without
// a cancellation of the deployment: the build runs again, and the deployment
// does not fail.
func TestStoppedBuild(t *testing.T) {
	t.Parallel()
	w, g, id := buildWorld(t)
	commit := g.pushed(w, "slow", map[string]string{"build.js": `const fs = require("fs");
console.log("at work");
setTimeout(() => {
	fs.mkdirSync("dist", {recursive: true});
	fs.writeFileSync("dist/index.html", "<title>slow</title>");
}, 3000);
`})
	d := w.building(id, commit)
	w.eventually("the build prints", func() bool {
		out, _, _ := w.run("troy", "logs", "blog")
		return strings.Contains(out, "at work")
	})
	stop := filepath.Join(w.dir, "data", "cloud", "builds", id, d.ID.String(), "stop")
	if err := os.WriteFile(stop, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if d := w.deployment(id, commit); d.State != troy.Succeeded {
		t.Errorf("%s: %s", d.State, d.Cause)
	}
	if out := w.must("troy", "logs", "blog"); strings.Count(out, "at work") != 2 || !strings.Contains(out, "The build was stopped.") {
		t.Errorf("the log does not show two runs:\n%s", out)
	}
}

// A repository with a submodule, which no forge's archive contains.
func TestSubmodule(t *testing.T) {
	t.Parallel()
	w, g, pipeline := buildWorld(t)
	g.theme("body { color: teal }")
	commit := g.pushed(w, "with a theme", map[string]string{
		".gitmodules": "[submodule \"theme\"]\n\tpath = theme\n\turl = ../theme.git\n",
		"build.js":    `require("fs").cpSync("theme/theme.css", "dist/index.html")`,
	})
	if d := w.deployment(pipeline, commit); d.State != troy.Succeeded {
		out, diag, _ := w.run("troy", "logs", "blog")
		t.Fatalf("%s: %s\n%s%s", d.State, d.Cause, out, diag)
	}
	w.waitFor(pipeline, troy.Deployed)
	if status, body, _ := w.get("blog.localhost", "/"); status != 200 || !strings.Contains(body, "teal") {
		t.Errorf("the edge answers %d %q", status, body)
	}
}
