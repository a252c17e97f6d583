package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/internal/awsdouble"
)

// codeBuildWorld is a world that builds on CodeBuild; events makes SNS report
// its builds.
func codeBuildWorld(t *testing.T, cfg awsdouble.Config, events bool, settings ...string) (a *amazon, w *world, g *github, id string) {
	t.Helper()
	a = newAmazon(t, cfg)
	a.MakeProject("troy-builds")
	topic := a.MakeTopic("troy-builds")
	file := filepath.Join(t.TempDir(), "sns.pem")
	if err := os.WriteFile(file, topic.Certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	w, g, id = buildWorldOn(t, func(w *world) {
		if !events {
			return
		}
		topic.Subscribe("http://" + w.web + "/events/sns")
		w.eventually("the subscription is confirmed", func() bool { return len(topic.Confirmed()) == 1 })
	}, append(append(a.settings(), "TROY_AWS_PROJECT=troy-builds", "TROY_SNS_TOPICS="+topic.ARN, "TROY_SNS_CERT_FILE="+file), settings...)...)
	return a, w, g, id
}

// Covers a push that is built on CodeBuild and goes live, a failed build, a
// cancelled build, and secrets.
func TestPushToLiveOnCodeBuild(t *testing.T) {
	t.Parallel()
	a, w, g, id := codeBuildWorld(t, awsdouble.Config{}, true)
	const host = "blog.sites.test"
	w.input = "s3cret-value-1234"
	w.must("troy", "variable", "set", "blog", "TOKEN")
	commit := g.pushed(w, "the second", map[string]string{
		"troy.toml": "[build]\ncommand = \"npm run build && echo the token is $TOKEN && test $TOKEN = s3cret-value-1234\"\ntest = \"test -e dist/index.html\"\noutput = \"dist\"\n",
		"build.js":  site1("two")["build.js"],
	})
	d := w.deployment(id, commit)
	if d.State != troy.Succeeded {
		t.Fatalf("%s: %s\n%s", d.State, d.Cause, w.must("troy", "logs", "blog"))
	}
	w.waitFor(id, troy.Deployed)
	if status, body := a.get(t, host, "/"); status != 200 || body != "<title>two</title>" {
		t.Errorf("a reader gets %d %q", status, body)
	}
	log := w.must("troy", "logs", "blog")
	for _, want := range []string{"==> Download Source\n", "==> Install: ", "==> Build: npm run build", "building two", "==> Test: ", "==> Archive\nFiles: 1"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "s3cret") || strings.Contains(log, "[Container]") {
		t.Errorf("the log has a secret, or CodeBuild's own lines:\n%s", log)
	}
	w.eventually("the check run says so", func() bool { return g.conclusion(commit) == "success" })
	w.eventually("the doctor has an update of the build", func() bool {
		out, _, _ := w.run("troyd", "doctor")
		return strings.Contains(out, "ok    updates of builds: arrive; the latest build began on ")
	})

	bad := g.pushed(w, "a mistake", map[string]string{"build.js": "console.log('about to fail'); process.exit(3)\n"})
	if failed := w.deployment(id, bad); failed.State != troy.Failed || !strings.Contains(failed.Cause, "the phase Build ended with exit code") {
		t.Errorf("%s: %q, want it failed with the exit code", failed.State, failed.Cause)
	}
	if status, body := a.get(t, host, "/"); status != 200 || body != "<title>two</title>" {
		t.Errorf("after the failed build a reader gets %d %q", status, body)
	}

	// A cancellation stops the build in CodeBuild.
	slow := g.pushed(w, "a slow one", map[string]string{"build.js": "setTimeout(() => {}, 600000)\n"})
	running := w.building(id, slow)
	w.eventually("CodeBuild runs the build", func() bool {
		builds := a.Builds()
		return strings.HasSuffix(builds[0], "IN_PROGRESS")
	})
	w.must("troy", "cancel", "blog", running.ID.String())
	w.eventually("CodeBuild has stopped it", func() bool { return strings.HasSuffix(a.Builds()[0], "STOPPED") })
	w.waitFor(id, troy.Deployed)

	// The resources of ended builds are removed, and those of the pipeline with
	// it.
	w.eventually("nothing of builds is left", func() bool {
		for _, key := range a.s3.Keys(t, workBucket) {
			if strings.HasPrefix(key, "builds/") || strings.HasPrefix(key, "records/") {
				return false
			}
		}
		return true
	})
	w.must("troy", "pipeline", "delete", "blog", "--yes")
	w.waitFor(id, troy.Deleted)
	if left := a.left(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if n := len(a.Builds()); n != 4 {
		t.Errorf("%d builds, want one for each of four commits: %q", n, a.Builds())
	}
}

// Events never arrive, the worker is killed in the middle, and CodeBuild breaks
// a build: polling suffices, and only the broken build runs again.
func TestCodeBuildWithoutEvents(t *testing.T) {
	t.Parallel()
	a, w, g, id := codeBuildWorld(t, awsdouble.Config{}, false)
	out, _, status := w.run("troyd", "doctor")
	if status != 1 || !strings.Contains(out, "FAIL  updates of builds: none arrived for the build that began on ") || !strings.Contains(out, "rule of EventBridge") {
		t.Errorf("without updates, the doctor exits with status %d\n%s", status, out)
	}
	commit := g.pushed(w, "a slow one", map[string]string{"build.js": "setTimeout(() => {" + strings.ReplaceAll(site1("two")["build.js"], "const fs = require(\"fs\");", "const fs = require('fs');") + "}, 4000)\n"})
	w.building(id, commit)
	w.eventually("CodeBuild runs the build", func() bool { return strings.HasSuffix(a.Builds()[0], "IN_PROGRESS") })
	w.worker.kill()
	w.worker = w.start("work")
	if d := w.deployment(id, commit); d.State != troy.Succeeded {
		t.Fatalf("%s: %s\n%s", d.State, d.Cause, w.must("troy", "logs", "blog"))
	}
	if n := len(a.Builds()); n != 2 {
		t.Errorf("%d builds, want two: %q", n, a.Builds())
	}
	broken := g.pushed(w, "another slow one", map[string]string{"README.md": uuid.NewString()})
	w.building(id, broken)
	w.eventually("CodeBuild runs the build", func() bool { return strings.HasSuffix(a.Builds()[0], "IN_PROGRESS") })
	a.BreakBuilds()
	if d := w.deployment(id, broken); d.State != troy.Succeeded {
		t.Fatalf("%s: %s\n%s", d.State, d.Cause, w.must("troy", "logs", "blog"))
	}
	if builds := a.Builds(); len(builds) != 4 || !strings.HasSuffix(builds[1], "FAULT") {
		t.Errorf("the builds are %q", builds)
	}
}

// building waits until a commit is being built.
func (w *world) building(pipeline, commit string) (found client.Deployment) {
	w.t.Helper()
	w.eventually("the build of "+commit+" begins", func() bool {
		for d, err := range w.api.Deployments(w.t.Context(), pipeline) {
			if err != nil {
				w.t.Fatal(err)
			}
			if d.Commit == commit && d.State == troy.Building {
				found = d
				return true
			}
		}
		return false
	})
	return found
}
