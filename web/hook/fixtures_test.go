package hook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/web/hook"
)

const (
	// payloads has one payload for each event, written for these tests.
	payloads = "testdata"
	// fixtures is where recorded payloads are, which are other people's and so
	// no part of this repository.
	fixtures = "../../../shared/fixtures"
)

// github lists what each recorded delivery of GitHub's comes to.
var github = map[string]string{
	"check_run.requested_action.json":            `rerequest of 5bd5f196 on miniak/event-process-id in 9384267, run 1494503112, button "lgtm|26764"`,
	"check_run.rerequested.json":                 `rerequest of d6fde929 on master in 526, run 4, button ""`,
	"check_suite.requested.json":                 `ignored check_suite requested`,
	"check_suite.rerequested.json":               `rerequest of ec26c3e5 on changes in 186853002, run , button ""`,
	"create.branch.json":                         `ignored create `,
	"create.tag.json":                            `ignored create `,
	"delete.branch.json":                         `ignored delete `,
	"delete.tag.json":                            `ignored delete `,
	"deployment.created.json":                    `ignored deployment created`,
	"deployment_status.created.json":             `ignored deployment_status created`,
	"github_app_authorization.revoked.json":      `ignored github_app_authorization revoked`,
	"installation.created.json":                  `installation 957387 of app 29310 for Codertocat created, all false, +[Codertocat/Hello-World] -[]`,
	"installation.deleted.json":                  `installation 2 of app 5725 for octocat deleted, all false, +[octocat/Hello-World] -[]`,
	"installation.new_permissions_accepted.json": `installation 957387 of app 29310 for Codertocat permissions_accepted, all true, +[Codertocat/Hello-World] -[]`,
	"installation.suspend.json":                  `installation 16598467 of app 29310 for Codertocat suspended, all true, +[] -[]`,
	"installation.unsuspend.json":                `installation 16598467 of app 29310 for Codertocat unsuspended, all true, +[] -[]`,
	"installation_repositories.added.json":       `installation 957387 of app 29310 for Codertocat repositories_changed, all false, +[Codertocat/Space] -[]`,
	"installation_repositories.removed.json":     `installation 2 of app 5725 for octocat repositories_changed, all false, +[] -[octocat/Hello-World]`,
	"meta.deleted.json":                          `ignored meta deleted`,
	"ping.app.json":                              `ping of 109948940, app 29310`,
	"ping.json":                                  `ping of 109948940, app `,
	"ping.org.json":                              `ping of 109948940, app `,
	"pull_request.closed.json":                   `pull request 2 closed, ec26c3e5 on changes to master, fork false, open false`,
	"pull_request.converted_to_draft.json":       `pull request 2 converted_to_draft, ec26c3e5 on changes to master, fork false, open true`,
	"pull_request.labeled.json":                  `pull request 2 labeled, ec26c3e5 on changes to master, fork false, open true`,
	"pull_request.opened.json":                   `pull request 2 opened, ec26c3e5 on changes to master, fork false, open true`,
	"pull_request.ready_for_review.json":         `pull request 2 ready_for_review, ec26c3e5 on changes to master, fork false, open true`,
	"pull_request.reopened.json":                 `pull request 2 reopened, ec26c3e5 on changes to master, fork false, open true`,
	"pull_request.synchronize.json":              `pull request 2 synchronize, ec26c3e5 on changes to master, fork false, open true`,
	"pull_request.unlabeled.json":                `pull request 2 unlabeled, ec26c3e5 on changes to master, fork false, open true`,
	"push.branch-created.json":                   `push to 186853002 by Codertocat through 1, complete true; branch master created ..6113728f "Initial commit" by Codertocat, 1 paths, all false`,
	"push.branch-deleted.json":                   `push to 13933572 by bradrydzewski through , complete true; branch feature-branch deleted d2b75aa7.. "" by , 0 paths, all false`,
	"push.branch-update.json":                    `push to 135493233 by Codertocat through , complete true; branch master a10867b1..199eddf4 "Update README" by Codertocat, 0 paths, all false`,
	"push.forced-no-commits.json":                `push to 606370184 by sbansal1999 through , complete true; branch temp forced 2084a91a..9a8749ea "message_fetch: Fix stream narrows when everything recent is muted." by Tim Abbott, 0 paths, all false`,
	"push.forced.json":                           `push to 1256442359 by 6543 through , complete true; branch main forced 5ea73729..f7220f1f "feat: initial implementation" by 6543, 17 paths, all false`,
	"push.merge-queue-branch-deleted.json":       `push to 353322834 by none through 17816238, complete true; branch gh-readonly-queue/main/pr-3072-287d30540ac5a1acc57d0bdc138fa81dee315f48 deleted a6bd77bb.. "" by , 0 paths, all false`,
	"push.no-username-committer.json":            `push to 186853002 by Codertocat through 1, complete true; branch master created ..6113728f "Initial commit" by Codertocat, 1 paths, all false`,
	"push.tag-created.json":                      `push to 13933572 by bradrydzewski through , complete true; tag v0.0.1 created ..d2b75aa7 "Update .drone.yml" by Brad Rydzewski, 0 paths, all false`,
	"push.tag-deleted.json":                      `push to 13933572 by bradrydzewski through , complete true; tag v0.0.1 deleted d2b75aa7.. "" by , 0 paths, all false`,
	"repository.created.json":                    `repository 186853261 Octocoders/Hello-World created, was "", branch was ""`,
	"repository.deleted.json":                    `repository 101403334 clsOrg/tets1 deleted, was "", branch was ""`,
	"repository.edited.json":                     `repository 186853261 Octocoders/Hello-World edited, was "", branch was "main"`,
	"repository.privatized.json":                 `repository 186853002 Codertocat/Hello-World privatized, was "", branch was ""`,
	"repository.publicized.json":                 `repository 186853002 Codertocat/Hello-World publicized, was "", branch was ""`,
	"repository.renamed.json":                    `repository 186853261 Octocoders/Hello-World renamed, was "Octocoders/Hello-World", branch was ""`,
	"repository.transferred.json":                `repository 186853261 Octocoders/Hello-World transferred, was "octocat/Hello-World", branch was ""`,
	"status.json":                                `ignored status `,
}

// bitbucket lists what each recorded delivery of Bitbucket's comes to.
var bitbucket = map[string]string{
	"pullrequest_created.fork.json":   `pull request 3 created, 1c48041a on main to main, fork true, open true`,
	"pullrequest_created.json":        `pull request 735 created, d31df342 on feature/test to master, fork false, open true`,
	"pullrequest_fulfilled.json":      `pull request 1 fulfilled, 668218c1 on patch-2 to main, fork false, open false`,
	"pullrequest_rejected.json":       `pull request 735 rejected, d31df342 on feature/test to master, fork false, open false`,
	"pullrequest_updated.json":        `pull request 1 updated, f945c96c on release/release-1 to master, fork false, open true`,
	"repo_commit_status_created.json": `ignored repo:commit_status_created `,
	"repo_commit_status_updated.json": `ignored repo:commit_status_updated `,
	"repo_push.branch-created.json":   `push to {3deb8c29-778a-450c-8f69-3e50a18079df} by Nikolas Falco through , complete true; branch feature/test created ..174561d6 "Add simple pipeline" by Nikolas Falco, 0 paths, all false`,
	"repo_push.branch-deleted.json":   `push to {3deb8c29-778a-450c-8f69-3e50a18079df} by Nikolas Falco through , complete true; branch feature/test deleted 174561d6.. "" by , 0 paths, all false`,
	"repo_push.branch-update.json":    `push to {708c9715-0ecc-4a5d-87ed-63c4ba48ea06} by Stephen Connolly through , complete true; branch main 501bf5b9..e42fac24 "Jenkinsfile created online with Bitbucket" by Stephen Connolly, 0 paths, all false`,
	"repo_push.empty.json":            `push to {708c9715-0ecc-4a5d-87ed-63c4ba48ea06} by Stephen Connolly through , complete false`,
	"repo_push.forced-truncated.json": `push to {3deb8c29-778a-450c-8f69-3e50a18079df} by Nikolas Falco through , complete true; branch feature/issue-819 forced a1019927..5ecffa38 "Test pipeline for issue JENKINS-75182" by Nikolas Falco, 0 paths, all false`,
	"repo_push.multiple-changes.json": `push to {708c9715-0ecc-4a5d-87ed-63c4ba48ea06} by Stephen Connolly through , complete true; ` +
		`branch main fc4d1ce2..325d3769 "typo" by Stephen Connolly, 0 paths, all false; ` +
		`branch manchu created ..e22fcb49 "Alt universe change" by Stephen Connolly, 0 paths, all false; ` +
		`tag v0.1 created ..1986c228 "Merged in foo (pull request #2)" by Stephen Connolly, 0 paths, all false`,
	"repo_push.signed.json":      `push to {3deb8c29-778a-450c-8f69-3e50a18079df} by Nikolas Falco through , complete true; branch feature/webhook created ..d7f300a3 "Test for webhook signature" by Nikolas Falco, 0 paths, all false`,
	"repo_push.tag-created.json": `push to {3deb8c29-778a-450c-8f69-3e50a18079df} by Nikolas Falco through , complete true; tag simple-tag created ..7ef5981d "Test pipeline for issue JENKINS-75182" by Nikolas Falco, 0 paths, all false`,
	"repo_push.tag-deleted.json": `push to {3deb8c29-778a-450c-8f69-3e50a18079df} by Nikolas Falco through , complete true; tag test deleted 174561d6.. "" by , 0 paths, all false`,
	"repo_updated.json":          `repository {673a6070-3421-46c9-9d48-90745f7bfe8e} team_name/repo_name renamed, was "teamawesome/repository_name", branch was ""`,
	"repo_updated.rename.json":   `repository {79e5af61-a749-45c5-be24-ba1cba7b662e} webhooktest/new-name renamed, was "webhooktest/test-repo", branch was ""`,
}

// summary is an event in one line.
func summary(e troy.ForgeEvent) string {
	short := func(commit string) string { return commit[:min(8, len(commit))] }
	names := func(list []troy.ForgeRepository) (out []string) {
		for _, r := range list {
			out = append(out, r.FullName)
		}
		return out
	}
	switch e := e.(type) {
	case troy.PushEvent:
		s := fmt.Sprintf("push to %s by %s through %s, complete %v", e.Repository.ID, e.Pusher, e.Installation, e.Complete)
		for _, p := range e.Pushes {
			s += fmt.Sprintf("; %s %s ", p.Kind, p.Name)
			for _, flag := range []struct {
				set  bool
				name string
			}{{p.Created, "created "}, {p.Deleted, "deleted "}, {p.Forced, "forced "}} {
				if flag.set {
					s += flag.name
				}
			}
			subject, _, _ := strings.Cut(p.Message, "\n")
			s += fmt.Sprintf("%s..%s %q by %s, %d paths, all %v", short(p.Before), short(p.After), subject, p.Author, len(p.Paths), p.PathsComplete)
		}
		return s
	case troy.InstallationChange:
		return fmt.Sprintf("installation %s of app %s for %s %s, all %v, +%v -%v", e.ID, e.AppID, e.Account, e.Action, e.AllRepositories, names(e.Added), names(e.Removed))
	case troy.RepositoryChange:
		return fmt.Sprintf("repository %s %s %s, was %q, branch was %q", e.Repository.ID, e.Repository.FullName, e.Action, e.OldFullName, e.OldDefaultBranch)
	case troy.Rerequest:
		return fmt.Sprintf("rerequest of %s on %s in %s, run %s, button %q", short(e.Commit), e.Branch, e.Repository.ID, e.CheckRun, e.Action)
	case troy.PullRequest:
		return fmt.Sprintf("pull request %d %s, %s on %s to %s, fork %v, open %v", e.Number, e.Action, short(e.HeadCommit), e.Head, e.Base, e.Fork, e.Open)
	case troy.Ping:
		return fmt.Sprintf("ping of %s, app %s", e.Hook, e.AppID)
	case troy.Ignored:
		return fmt.Sprintf("ignored %s %s", e.Name, e.Action)
	}
	return fmt.Sprintf("%T", e)
}

// needRecorded skips where there are no recorded payloads.
func needRecorded(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(fixtures); err != nil {
		t.Skipf("skipped the recorded payloads, those of testdata were tested: %v", err)
	}
}

// read reads a payload.
func read(t *testing.T, name ...string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(name...))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// eventOf is what the header of the delivery of a payload names.
func eventOf(provider, file string) string {
	event, _, _ := strings.Cut(file, ".")
	if provider == "bitbucket" {
		event = strings.Replace(event, "_", ":", 1)
	}
	return event
}

func TestPayloads(t *testing.T) {
	t.Parallel()
	eachPayload(t, payloads, map[string]map[string]string{"github": ownGitHub, "bitbucket": ownBitbucket})
}

func TestRecorded(t *testing.T) {
	t.Parallel()
	needRecorded(t)
	eachPayload(t, fixtures, map[string]map[string]string{"github": github, "bitbucket": bitbucket})
}

// eachPayload parses the payloads of a folder, and holds the tables to the
// folder: none goes without an outcome.
func eachPayload(t *testing.T, dir string, outcomes map[string]map[string]string) {
	t.Helper()
	for provider, parse := range parsers() {
		for file, want := range outcomes[provider] {
			t.Run(provider+"/"+file, func(t *testing.T) {
				t.Parallel()
				body := read(t, dir, provider, file)
				event, err := parse(eventOf(provider, file), body)
				if err != nil {
					t.Fatal(err)
				}
				if got := summary(event); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
				// Half a payload is never taken for a whole one.
				if event, err := parse(eventOf(provider, file), body[:len(body)/2]); err == nil || troy.KindOf(err) != troy.Invalid {
					t.Errorf("the first half of it gave %v, %v", event, err)
				}
				if provider == "bitbucket" {
					wrapped(t, eventOf(provider, file), body, want)
				}
			})
		}
		files, err := filepath.Glob(filepath.Join(dir, provider, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range files {
			files[i] = filepath.Base(f)
		}
		if diff := cmp.Diff(files, slices.Sorted(maps.Keys(outcomes[provider]))); diff != "" {
			t.Errorf("%s: the folder (-) against the table (+):\n%s", provider, diff)
		}
	}
}

func parsers() map[string]func(string, []byte) (troy.ForgeEvent, error) {
	return map[string]func(string, []byte) (troy.ForgeEvent, error){"github": hook.ParseGitHub, "bitbucket": hook.ParseBitbucket}
}

// wrapped gives one of Bitbucket's payloads the wrapping of Connect apps.
func wrapped(t *testing.T, event string, payload []byte, want string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"event": event, "data": json.RawMessage(payload)})
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range []string{event, ""} {
		got, err := hook.ParseBitbucket(header, body)
		if err != nil || summary(got) != want {
			t.Errorf("wrapped, with the header %q, it gave %v, %v", header, got, err)
		}
	}
	if got, err := hook.ParseBitbucket("repo:fork", body); err == nil {
		t.Errorf("it passed for repo:fork: %v", got)
	}
}

// TestSignature verifies a delivery that is signed as Bitbucket's
// documentation says ("Secure webhooks").
func TestSignature(t *testing.T) {
	t.Parallel()
	const key = "a key of the tests"
	body := read(t, payloads, "bitbucket", "repo_push.branch-update.json")
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	verifies(t, bitbucketHeaders("repo:push", "sha256="+hex.EncodeToString(mac.Sum(nil))), key, body)
}

// TestRecordedSignature verifies a delivery that Bitbucket itself signed.
func TestRecordedSignature(t *testing.T) {
	t.Parallel()
	needRecorded(t)
	body := read(t, fixtures, "bitbucket", "repo_push.signed.json")
	text := string(read(t, fixtures, "bitbucket", "repo_push.signed.headers.txt"))
	h := bitbucketHeaders("repo:push", "")
	var key string
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if strings.HasPrefix(name, "#") {
			key = value
		} else {
			h.Set(name, value)
		}
	}
	verifies(t, h, key, body)
}

// verifies wants a delivery's signature to verify, and not with another byte.
func verifies(t *testing.T, h http.Header, key string, body []byte) {
	t.Helper()
	d, err := hook.BitbucketDelivery(h)
	if err != nil {
		t.Fatal(err)
	}
	if key == "" || !d.Verify([]byte(key), body) {
		t.Error("the signature does not verify")
	}
	for _, i := range []int{0, len(body) / 2, len(body) - 1} {
		tampered := slices.Clone(body)
		tampered[i] ^= 1
		if d.Verify([]byte(key), tampered) {
			t.Errorf("the signature verifies with another byte %d", i)
		}
	}
}
