package web_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/bitbucket"
	"github.com/troy-iaas/troy/forge/github"
)

const (
	githubSecret    = "github's secret"
	bitbucketSecret = "bitbucket's secret"
	// fixtures is the folder of recorded payloads, which belong to others and
	// so are not part of this repository.
	fixtures = "../../shared/fixtures"
)

func withForges(w *world) {
	w.bitbucketSecret = bitbucketSecret
	withApp(forge.App{WebhookSecret: githubSecret})(w)
}

func withApp(app forge.App) func(*world) {
	return func(w *world) { w.githubApp = &app }
}

// forges returns the configured forges of the world.
func (w *world) forges() []forge.Adapter {
	w.t.Helper()
	gh, err := github.NewForge(github.App{Own: w.githubApp, DB: w.db, Secrets: w.deps.Secrets}, github.Options{URL: w.cfg.URL, Log: w.deps.Log})
	if err != nil {
		w.t.Fatal(err)
	}
	bb, err := bitbucket.NewForge(bitbucket.Settings{Secret: w.bitbucketSecret}, bitbucket.Options{
		URL: w.cfg.URL, DB: w.db, Secrets: w.deps.Secrets, Intake: w.deps.Intake, Log: w.deps.Log,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	adapters := []forge.Adapter{gh.Adapter(), bb.Adapter()}
	if w.api != nil {
		adapters[0].API = w.api
	}
	return adapters
}

// payloads has one payload for each event, written for the forge's tests.
func payloads(provider string) string { return filepath.Join("../forge", provider, "testdata/events") }

func recordedPayloads(provider string) string { return filepath.Join(fixtures, provider) }

type outcome struct {
	Outcome    string     `json:"outcome"`
	Detail     string     `json:"detail"`
	PipelineID *uuid.UUID `json:"pipeline_id"`
}

// github and bitbucket send a delivery as the forge does, correctly signed
// unless an option says otherwise.
func (w *world) github(event, id, body string, options ...option) answer {
	w.t.Helper()
	return w.send("POST", "/hooks/github", body, append([]option{
		header("Authorization", ""), header("Content-Type", "application/json"), header("X-GitHub-Event", event),
		header("X-GitHub-Delivery", id), header("X-Hub-Signature-256", sign(githubSecret, body)),
	}, options...)...)
}

func (w *world) bitbucket(event, id, body string, options ...option) answer {
	w.t.Helper()
	return w.send("POST", "/hooks/bitbucket", body, append([]option{
		header("Authorization", ""), header("Content-Type", "application/json; charset=utf-8"), header("X-Event-Key", event),
		header("X-Request-UUID", id), header("X-Hub-Signature", sign(bitbucketSecret, body)),
	}, options...)...)
}

// bind makes a pipeline that builds a repository.
func (w *world) bind(name, provider, fullName, branch string) pipeline {
	w.t.Helper()
	p := w.create(name)
	w.put(p, troy.ReadyForDeployment)
	w.send("PATCH", "/v1/pipelines/"+p.Slug, map[string]any{
		"repository": map[string]any{"provider": provider, "full_name": fullName, "branch": branch},
	}).into(w.t, 200, &p)
	return p
}

const pushBody = `{"ref":"refs/heads/main","before":"%[2]s","after":"%[1]s","created":false,"deleted":false,"forced":false,
"repository":{"id":7,"name":"blog","full_name":"team/blog","default_branch":"main","private":true,"owner":{"login":"team"}},
"installation":{"id":9},"pusher":{"name":"mona"},"sender":{"login":"mona"},
"head_commit":{"id":"%[1]s","message":"Say hello","author":{"name":"Mona"},"added":["index.html"],"removed":[],"modified":[]},
"commits":[{"id":"%[1]s","message":"Say hello","author":{"name":"Mona"},"added":["index.html"],"removed":[],"modified":[]}]}`

func push(commit string) string {
	return fmt.Sprintf(pushBody, strings.Repeat(commit, 40), strings.Repeat("0", 39)+"1")
}

func TestOneDeliveryIsOneDeployment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withForges)
	p := w.bind("Blog", "github", "team/blog", "main")
	body := push("a")
	outcomes := make(chan string, 100)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			var out outcome
			w.github("push", "d-1", body).into(t, 202, &out)
			outcomes <- out.Outcome
		})
	}
	wg.Wait()
	close(outcomes)
	seen := map[string]int{}
	for o := range outcomes {
		seen[o]++
	}
	if n := w.count("SELECT count(*) FROM deployments"); seen["accepted"] != 1 || seen["duplicate"] != 99 || n != 1 {
		t.Errorf("%d deployments by %v", n, seen)
	}
	// Ids are not signed: the same body under another id is the same push.
	var out outcome
	if w.github("push", "d-2", body).into(t, 202, &out); out.Outcome != "duplicate" {
		t.Errorf("replayed under another id: %+v", out)
	}
	next := fmt.Sprintf(pushBody, strings.Repeat("b", 40), strings.Repeat("a", 40))
	if w.github("push", "d-3", next).into(t, 202, &out); out.Outcome != "accepted" || out.PipelineID == nil || *out.PipelineID != p.ID {
		t.Errorf("the next push: %+v", out)
	}
	var d deployment
	w.send("GET", "/v1/pipelines/blog/deployments/"+w.text("SELECT id::text FROM deployments WHERE number = 2"), nil).into(t, 200, &d)
	if d.Commit != strings.Repeat("b", 40) || d.Branch != "main" || d.Message != "Say hello" || d.Actor != "push by mona" || d.Kind != "automated" || d.Build != nil {
		t.Errorf("%+v", d)
	}
}

func (w *world) text(sql string, args ...any) (s string) {
	w.t.Helper()
	if err := w.db.QueryRow(w.t.Context(), sql, args...).Scan(&s); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return s
}

func TestRefusedDeliveries(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withForges)
	w.bind("Blog", "github", "team/blog", "main")
	body := push("a")
	for _, c := range []struct {
		name    string
		body    string
		options []option
		status  int
		field   string
		says    string
	}{
		{"no signature", body, []option{func(r *http.Request) { r.Header.Del("X-Hub-Signature-256") }}, 401, "", "0 headers X-Hub-Signature-256"},
		{"two signatures", body, []option{func(r *http.Request) { r.Header.Add("X-Hub-Signature-256", sign(githubSecret, body)) }}, 401, "", "2 headers"},
		{"another secret", body, []option{header("X-Hub-Signature-256", sign("x", body))}, 401, "", "signature is wrong"},
		{"the other forge's secret", body, []option{header("X-Hub-Signature-256", sign(bitbucketSecret, body))}, 401, "", "signature is wrong"},
		{"an empty secret", body, []option{header("X-Hub-Signature-256", sign("", body))}, 401, "", "signature is wrong"},
		{"another body", body + " ", []option{header("X-Hub-Signature-256", sign(githubSecret, body))}, 401, "", "signature is wrong"},
		{"SHA-1", body, []option{header("X-Hub-Signature-256", "sha1="+strings.Repeat("a", 40))}, 401, "", "signature is wrong"},
		{"SHA-1 alone", body, []option{func(r *http.Request) {
			r.Header.Del("X-Hub-Signature-256")
			r.Header.Set("X-Hub-Signature", "sha1="+strings.Repeat("a", 40))
		}}, 401, "", "0 headers"},
		{"no id", body, []option{func(r *http.Request) { r.Header.Del("X-GitHub-Delivery") }}, 400, "X-GitHub-Delivery", "0 times"},
		{"a long id", body, []option{header("X-GitHub-Delivery", strings.Repeat("x", 129))}, 400, "X-GitHub-Delivery", "128"},
		{"no event", body, []option{header("X-GitHub-Event", "")}, 400, "X-GitHub-Event", ""},
		{"a form", "payload=%7B%7D", []option{header("Content-Type", "application/x-www-form-urlencoded")}, 400, "Content-Type", "application/json"},
		{"cut off", body[:200], nil, 400, "", "not valid JSON"},
		{"a list", "[]", nil, 400, "", ""},
		{"26 MB", body + strings.Repeat(" ", 26_000_000-len(body)), nil, 413, "", "25000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := w.github("push", "d-1", c.body, c.options...)
			a.refused(t, c.status, map[int]string{400: "invalid", 401: "unauthenticated", 413: "too_large"}[c.status], c.field, c.says)
			if c.status == 401 && a.header.Get("WWW-Authenticate") != "HMAC-SHA256" {
				t.Errorf("WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
			}
		})
	}
	w.bitbucket("repo:push", "d-1", "{}", header("X-Hub-Signature", sign(githubSecret, "{}"))).refused(t, 401, "unauthenticated", "", "wrong")
	w.bitbucket("repo:push", "d-1", "{}", header("X-Hub-Signature", "sha1=00")).refused(t, 401, "unauthenticated", "", "wrong")
	w.send("GET", "/hooks/github", nil).refused(t, 405, "invalid", "", "POST")
	if n := w.count("SELECT count(*) FROM deliveries") + w.count("SELECT count(*) FROM deployments"); n != 0 {
		t.Errorf("refused deliveries left %d rows", n)
	}
	log := w.log.String()
	if strings.Count(log, "a delivery was refused") < 16 || strings.Contains(log, "Say hello") || strings.Contains(log, githubSecret) {
		t.Errorf("the log: %s", log)
	}
	// The body was valid.
	w.github("push", "d-1", body).into(t, 202, nil)
}

func TestDeliveriesWithoutASecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, a := range []answer{
		w.github("ping", "d-1", "{}", header("X-Hub-Signature-256", sign("", "{}"))),
		w.bitbucket("repo:push", "d-1", "{}", header("X-Hub-Signature", sign("", "{}"))),
	} {
		a.refused(t, 503, "unavailable", "", "secret of its webhook is not set")
		if a.header.Get("Retry-After") != "60" {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
	}
}

func TestRerunsOfOtherAppsAreIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withForges, withApp(forge.App{ID: 526, WebhookSecret: githubSecret}))
	w.bind("Blog", "github", "team/blog", "main")
	w.github("push", "d-1", push("a")).into(t, 202, nil)
	rerun := func(id string, app int) outcome {
		var out outcome
		w.github("check_run", id, fmt.Sprintf(`{"action":"rerequested","check_run":{"id":4,"head_sha":"%s","external_id":"","app":{"id":%d},
"check_suite":{"id":5,"head_branch":"main","app":{"id":%d}}},"repository":{"id":7,"name":"blog","full_name":"team/blog","owner":{"login":"team"}},
"installation":{"id":9},"sender":{"login":"mona"}}`, strings.Repeat("a", 40), app, app)).into(t, 202, &out)
		return out
	}
	if out := rerun("d-2", 527); out.Outcome != "ignored" || !strings.Contains(out.Detail, "another app, 527") {
		t.Errorf("another app's: %+v", out)
	}
	if out := rerun("d-3", 526); out.Outcome != "accepted" || !strings.Contains(out.Detail, "queued again") {
		t.Errorf("its own: %+v", out)
	}
	if n := w.count("SELECT count(*) FROM deliveries WHERE type = 'check_run'"); n != 2 {
		t.Errorf("%d of the two deliveries are recorded", n)
	}
}

// TestPushesThatSayNothing checks that two such pushes count as two, although
// their bodies are equal: each reads the branches.
func TestPushesThatSayNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withForges)
	w.bind("Blog", "bitbucket", "team/blog", "main")
	const body = `{"repository":{"uuid":"{673a6070-3421-46c9-9d48-90745f7bfe8e}","full_name":"team/blog"},"actor":{"display_name":"Mona"},"push":{"changes":[]}}`
	for _, id := range []string{"d-1", "d-2"} {
		var out outcome
		if w.bitbucket("repo:push", id, body).into(t, 202, &out); out.Outcome != "accepted" || !strings.Contains(out.Detail, "the branch will be read") {
			t.Errorf("%s: %+v", id, out)
		}
	}
	if n := w.count("SELECT count(*) FROM work WHERE kind = 'forge:catch-up'"); n != 1 {
		t.Errorf("%d rows of work request the branches, want 1", n)
	}
}

// repositoryOf is the repository of eachDelivery's pipeline.
type repositoryOf struct{ pipeline, provider, fullName, branch string }

// TestPayloadDeliveries sends the payloads of testdata to the endpoint.
func TestPayloadDeliveries(t *testing.T) {
	t.Parallel()
	eachDelivery(t, payloads, []repositoryOf{
		{"Notes", "github", "larkspur-labs/field-notes", "main"}, {"Beds", "bitbucket", "larkspur/field-notes", "main"},
	}, map[string]string{
		"github/installation.created.json":                  "accepted: installation 55231907: created",
		"github/installation.deleted.json":                  "accepted: installation 55231907: deleted",
		"github/installation.new_permissions_accepted.json": "accepted: installation 55231907: permissions_accepted",
		"github/installation.suspend.json":                  "accepted: installation 55231907: suspended",
		"github/installation.unsuspend.json":                "accepted: installation 55231907: unsuspended",
		"github/installation_repositories.added.json":       "accepted: installation 55231907: repositories_changed, 1 repository added",
		"github/installation_repositories.removed.json":     "accepted: installation 55231907: repositories_changed, 0 repositories added, 1 removed",
		"github/ping.json":                                  "ignored: the webhook works",
		"github/pull_request.converted_to_draft.json":       "accepted: notes: pull request 31 was opened, which asks Troy to build its preview",
		"github/pull_request.labeled.json":                  "accepted: notes: pull request 31 was opened, which asks Troy to build its preview",
		"github/pull_request.opened.json":                   "accepted: notes: pull request 31 was opened, which asks Troy to build its preview",
		"github/pull_request.ready_for_review.json":         "accepted: notes: pull request 31 was opened, which asks Troy to build its preview",
		"github/pull_request.reopened.json":                 "accepted: notes: pull request 31 was opened, which asks Troy to build its preview",
		"github/pull_request.synchronize.json":              "accepted: notes: pull request 31 was opened, which asks Troy to build its preview",
		"github/pull_request.unlabeled.json":                "accepted: notes: pull request 31 was opened, which asks Troy to build its preview",
		"bitbucket/pullrequest_created.fork.json":           "accepted: beds: pull request 12 was opened, which asks Troy to build its preview",
		"bitbucket/pullrequest_created.json":                "accepted: beds: pull request 12 was opened, which asks Troy to build its preview",
		"bitbucket/pullrequest_updated.json":                "accepted: beds: pull request 12 was opened, which asks Troy to build its preview",
		"github/push.branch-created.json":                   "accepted: notes: commit e0996a3 is queued",
		"github/push.branch-deleted.json":                   "ignored: notes: the branch harvest was deleted",
		"github/push.branch-update.json":                    "accepted: notes: commit 352f782 is queued",
		"github/push.forced.json":                           "accepted: notes: commit 34fb330 is queued",
		"github/push.forced-no-commits.json":                "ignored: notes: the push is to the branch harvest, but the pipeline builds main",
		"github/push.merge-queue-branch-deleted.json":       "ignored: notes: the branch gh-readonly-queue/main/pr-31-352f7829a2384b001cc12b0c2613c756454a1f6a was deleted",
		"github/push.no-username-committer.json":            "accepted: notes: commit 352f782 is queued",
		"github/push.tag-created.json":                      "ignored: notes: the tag v1.4.0 is not built",
		"github/push.tag-deleted.json":                      "ignored: notes: the tag v1.4.0 is not built",
		"github/repository.created.json":                    "accepted: larkspur-labs/field-notes: created, 1 pipeline notified",
		"github/repository.deleted.json":                    "accepted: larkspur-labs/field-notes: deleted, 1 pipeline notified",
		"github/repository.edited.json":                     "accepted: larkspur-labs/field-notes: edited, 1 pipeline notified",
		"github/repository.privatized.json":                 "accepted: larkspur-labs/field-notes: privatized, 1 pipeline notified",
		"github/repository.publicized.json":                 "accepted: larkspur-labs/field-notes: publicized, 1 pipeline notified",
		"github/repository.renamed.json":                    "accepted: larkspur-labs/field-notes: renamed, 1 pipeline notified",
		"github/repository.transferred.json":                "accepted: larkspur-labs/field-notes: transferred, 1 pipeline notified",
		"bitbucket/repo_push.branch-created.json":           "ignored: beds: the push is to the branch bed/one, but the pipeline builds main",
		"bitbucket/repo_push.branch-deleted.json":           "ignored: beds: the branch bed/one was deleted",
		"bitbucket/repo_push.branch-update.json":            "accepted: beds: commit 352f782 is queued",
		"bitbucket/repo_push.empty.json":                    "accepted: beds: the webhook has only a part of the push; the branch will be read",
		"bitbucket/repo_push.forced-truncated.json":         "accepted: beds: commit 34fb330 is queued",
		"bitbucket/repo_push.multiple-changes.json": "accepted: beds: commit 352f782 is queued; " +
			"beds: the push is to the branch orchard, but the pipeline builds main; beds: the tag v1.4 is not built",
		"bitbucket/repo_push.tag-created.json": "ignored: beds: the tag v1.4 is not built",
		"bitbucket/repo_push.tag-deleted.json": "ignored: beds: the tag v1.4 is not built",
		"bitbucket/repo_updated.json":          "accepted: larkspur/field-notes: edited, 1 pipeline notified",
		"bitbucket/repo_updated.rename.json":   "accepted: larkspur/field-notes: renamed, 1 pipeline notified",
	})
}

// recorded lists the results of recorded deliveries with the pipelines of
// TestRecordedDeliveries; all others are ignored, since they concern no
// pipeline.
func recorded() map[string]string {
	return map[string]string{
		"github/installation.created.json":                  "accepted: installation 957387: created",
		"github/installation.deleted.json":                  "accepted: installation 2: deleted",
		"github/installation.new_permissions_accepted.json": "accepted: installation 957387: permissions_accepted",
		"github/installation.suspend.json":                  "accepted: installation 16598467: suspended",
		"github/installation.unsuspend.json":                "accepted: installation 16598467: unsuspended",
		"github/installation_repositories.added.json":       "accepted: installation 957387: repositories_changed, 1 repository added",
		"github/installation_repositories.removed.json":     "accepted: installation 2: repositories_changed, 0 repositories added, 1 removed",
		"github/pull_request.converted_to_draft.json":       "accepted: hello: pull request 2 was opened, which asks Troy to build its preview",
		"github/pull_request.labeled.json":                  "accepted: hello: pull request 2 was opened, which asks Troy to build its preview",
		"github/pull_request.opened.json":                   "accepted: hello: pull request 2 was opened, which asks Troy to build its preview",
		"github/pull_request.ready_for_review.json":         "accepted: hello: pull request 2 was opened, which asks Troy to build its preview",
		"github/pull_request.reopened.json":                 "accepted: hello: pull request 2 was opened, which asks Troy to build its preview",
		"github/pull_request.synchronize.json":              "accepted: hello: pull request 2 was opened, which asks Troy to build its preview",
		"github/pull_request.unlabeled.json":                "accepted: hello: pull request 2 was opened, which asks Troy to build its preview",
		"bitbucket/pullrequest_created.fork.json":           "accepted: main: pull request 3 was opened, which asks Troy to build its preview",
		"bitbucket/pullrequest_created.json":                "accepted: amuniz: pull request 735 was opened, which asks Troy to build its preview",
		"github/push.branch-created.json":                   "accepted: hello: commit 6113728 is queued",
		"github/push.branch-deleted.json":                   "ignored: drone: the branch feature-branch was deleted",
		"github/push.branch-update.json":                    "accepted: hello: commit 199eddf is queued",
		"github/push.forced.json":                           "accepted: forced: commit f7220f1 is queued",
		"github/push.no-username-committer.json":            "accepted: hello: commit 6113728 is queued",
		"github/push.tag-created.json":                      "ignored: drone: the tag v0.0.1 is not built",
		"github/push.tag-deleted.json":                      "ignored: drone: the tag v0.0.1 is not built",
		"github/repository.privatized.json":                 "accepted: Codertocat/Hello-World: privatized, 1 pipeline notified",
		"github/repository.publicized.json":                 "accepted: Codertocat/Hello-World: publicized, 1 pipeline notified",
		"bitbucket/repo_push.branch-created.json":           "ignored: amuniz: the push is to the branch feature/test, but the pipeline builds master",
		"bitbucket/repo_push.branch-deleted.json":           "ignored: amuniz: the branch feature/test was deleted",
		"bitbucket/repo_push.branch-update.json":            "accepted: main: commit e42fac2 is queued",
		"bitbucket/repo_push.empty.json":                    "accepted: main: the webhook has only a part of the push; the branch will be read",
		"bitbucket/repo_push.forced-truncated.json":         "ignored: amuniz: the push is to the branch feature/issue-819, but the pipeline builds master",
		"bitbucket/repo_push.multiple-changes.json": "accepted: main: commit 325d376 is queued; " +
			"main: the push is to the branch manchu, but the pipeline builds main; main: the tag v0.1 is not built",
		"bitbucket/repo_push.tag-created.json": "ignored: amuniz: the tag simple-tag is not built",
		"bitbucket/repo_push.tag-deleted.json": "ignored: amuniz: the tag test is not built",
		"github/ping.json":                     "ignored: the webhook works",
	}
}

// TestRecordedDeliveries sends every recorded payload to the endpoint.
func TestRecordedDeliveries(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(fixtures); err != nil {
		t.Skipf("skipped the recorded payloads; those of testdata were tested: %v", err)
	}
	eachDelivery(t, recordedPayloads, []repositoryOf{
		{"Hello", "github", "Codertocat/Hello-World", "master"}, {"Drone", "github", "bradrydzewski/drone-test-go", "master"},
		{"Forced", "github", "6543/oxiduct", "main"}, {"Main", "bitbucket", "cloudbeers/temp", "main"}, {"Amuniz", "bitbucket", "amuniz/test-repos", "master"},
	}, recorded())
}

// eachDelivery sends each payload of a folder to the endpoint, and each with
// one byte changed.
func eachDelivery(t *testing.T, dir func(provider string) string, of []repositoryOf, want map[string]string) {
	t.Helper()
	w := newWorld(t, withForges)
	var bound []pipeline
	for _, r := range of {
		bound = append(bound, w.bind(r.pipeline, r.provider, r.fullName, r.branch))
	}
	for _, provider := range []string{"github", "bitbucket"} {
		files, err := filepath.Glob(filepath.Join(dir(provider), "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%d payloads of %s: %v", len(files), provider, err)
		}
		for _, file := range files {
			name := provider + "/" + filepath.Base(file)
			t.Run(name, func(t *testing.T) {
				body, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				event, _, _ := strings.Cut(filepath.Base(file), ".")
				send, signature, secret := w.github, "X-Hub-Signature-256", githubSecret
				if provider == "bitbucket" {
					event = strings.Replace(event, "_", ":", 1)
					send, signature, secret = w.bitbucket, "X-Hub-Signature", bitbucketSecret
				}
				changed := bytes.Clone(body)
				changed[len(changed)/2] ^= 1
				send(event, name, string(changed), header(signature, sign(secret, string(body)))).refused(t, 401, "unauthenticated", "", "wrong")
				var out outcome
				send(event, name, string(body)).into(t, 202, &out)
				expected, listed := want[name]
				if !listed {
					expected = "ignored: "
				}
				if got := out.Outcome + ": " + out.Detail; !strings.HasPrefix(got, expected) || !listed && out.PipelineID != nil {
					t.Errorf("got %q, want %q", got, expected)
				}
				for _, p := range bound {
					w.exec("UPDATE pipelines SET head_commit = NULL, source_problem = '', repository_id = NULL, status = 'ready_for_deployment', repository_full_name = $2 WHERE id = $1",
						p.ID, p.Repository.FullName)
				}
				w.exec("DELETE FROM deployments")
				w.exec("DELETE FROM pull_requests")
			})
		}
	}
}
