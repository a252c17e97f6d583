package bitbucket_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/bitbucket"
	"github.com/troy-iaas/troy/forge/forgetest"
)

const (
	// payloads has one payload for each event, written for these tests.
	payloads = "testdata/events"
	// fixtures is the folder of recorded payloads, which belong to others and
	// so are not part of this repository.
	fixtures = "../../../shared/fixtures/bitbucket"
)

func TestPayloads(t *testing.T) {
	t.Parallel()
	forgetest.Payloads(t, payloads, own, eventOf, bitbucket.Parse)
	eachWrapped(t, payloads, own)
}

func TestRecorded(t *testing.T) {
	t.Parallel()
	forgetest.NeedRecorded(t, fixtures)
	forgetest.Payloads(t, fixtures, recorded, eventOf, bitbucket.Parse)
	eachWrapped(t, fixtures, recorded)
}

// eventOf returns the event in the header of a payload's delivery.
func eventOf(file string) string {
	event, _, _ := strings.Cut(file, ".")
	return strings.Replace(event, "_", ":", 1)
}

func eachWrapped(t *testing.T, dir string, outcomes map[string]string) {
	t.Helper()
	for file, want := range outcomes {
		wrapped(t, eventOf(file), forgetest.Read(t, dir, file), want)
	}
}

// wrapped wraps one of Bitbucket's payloads as for Connect apps.
func wrapped(t *testing.T, event string, payload []byte, want string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"event": event, "data": json.RawMessage(payload)})
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range []string{event, ""} {
		got, err := bitbucket.Parse(header, body)
		if err != nil || forgetest.Summary(got) != want {
			t.Errorf("wrapped, with the header %q, it gave %v, %v", header, got, err)
		}
	}
	if got, err := bitbucket.Parse("repo:fork", body); err == nil {
		t.Errorf("it passed for repo:fork: %v", got)
	}
}

// TestSignature verifies a delivery that is signed according to Bitbucket's
// documentation ("Secure webhooks").
func TestSignature(t *testing.T) {
	t.Parallel()
	const key = "a key of the tests"
	body := forgetest.Read(t, payloads, "repo_push.branch-update.json")
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	verifies(t, bitbucketHeaders("repo:push", "sha256="+hex.EncodeToString(mac.Sum(nil))), key, body)
}

// TestRecordedSignature verifies a delivery that Bitbucket itself signed.
func TestRecordedSignature(t *testing.T) {
	t.Parallel()
	forgetest.NeedRecorded(t, fixtures)
	body := forgetest.Read(t, fixtures, "repo_push.signed.json")
	text := string(forgetest.Read(t, fixtures, "repo_push.signed.headers.txt"))
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

// verifies checks that a delivery's signature is valid, and invalid with
// another byte.
func verifies(t *testing.T, h http.Header, key string, body []byte) {
	t.Helper()
	d, err := bitbucket.Headers(h)
	if err != nil {
		t.Fatal(err)
	}
	if key == "" || forge.HMAC(key)(d, body) != nil {
		t.Error("the signature does not verify")
	}
	for _, i := range []int{0, len(body) / 2, len(body) - 1} {
		tampered := slices.Clone(body)
		tampered[i] ^= 1
		if forge.HMAC(key)(d, tampered) == nil {
			t.Errorf("the signature verifies with another byte %d", i)
		}
	}
}

func bitbucketHeaders(event, signature string) http.Header {
	h := http.Header{}
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("X-Event-Key", event)
	h.Set("X-Request-UUID", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
	h.Set("X-Hub-Signature", signature)
	return h
}

func TestConnectHeaders(t *testing.T) {
	t.Parallel()
	h := bitbucketHeaders("repo:push", "")
	h.Del("X-Hub-Signature")
	d, err := bitbucket.ConnectHeaders(h)
	if err != nil || d.Event != "repo:push" || d.ID != "72d3162e-cc78-11e3-81ab-4c9367dc0958" {
		t.Fatalf("got %+v, %v", d, err)
	}
	if forge.HMAC("a key of the tests")(d, []byte("{}")) == nil {
		t.Error("a delivery without a signature verifies")
	}
	if _, err := bitbucket.Headers(h); troy.KindOf(err) != troy.Unauthenticated {
		t.Errorf("a webhook without a signature gave %v", err)
	}
}

// own lists the result of each payload in testdata.
var own = map[string]string{
	"pullrequest_comment_created.json": `command on pull request 12 of {8f0c2a4e-5d1b-4b7a-9c33-2f6e1d0a7b58} by {5f7712c3-a901-4e0c-8d4d-0b2f6c1190aa} Edda Moss, commit ""`,
	"pullrequest_created.fork.json":    `pull request 12 created, 34fb3300 on bed/one to main, fork true, open true`,
	"pullrequest_created.json":         `pull request 12 created, 34fb3300 on bed/one to main, fork false, open true`,
	"pullrequest_fulfilled.json":       `pull request 12 fulfilled, 34fb3300 on bed/one to main, fork false, open false`,
	"pullrequest_rejected.json":        `pull request 12 rejected, 34fb3300 on bed/one to main, fork false, open false`,
	"pullrequest_updated.json":         `pull request 12 updated, 34fb3300 on bed/one to main, fork false, open true`,
	"repo_commit_status_created.json":  `ignored repo:commit_status_created `,
	"repo_commit_status_updated.json":  `ignored repo:commit_status_updated `,
	"repo_push.branch-created.json":    `push to {8f0c2a4e-5d1b-4b7a-9c33-2f6e1d0a7b58} by Imogen Vale through , complete true; branch bed/one created ..34fb3300 "Another bed" by Imogen Vale, 0 paths, all false`,
	"repo_push.branch-deleted.json":    `push to {8f0c2a4e-5d1b-4b7a-9c33-2f6e1d0a7b58} by Imogen Vale through , complete true; branch bed/one deleted 34fb3300.. "" by , 0 paths, all false`,
	"repo_push.branch-update.json":     `push to {8f0c2a4e-5d1b-4b7a-9c33-2f6e1d0a7b58} by Imogen Vale through , complete true; branch main e0996a37..352f7829 "Plant the beans" by Imogen Vale, 0 paths, all false`,
	"repo_push.empty.json":             `push to {8f0c2a4e-5d1b-4b7a-9c33-2f6e1d0a7b58} by Imogen Vale through , complete false`,
	"repo_push.forced-truncated.json":  `push to {8f0c2a4e-5d1b-4b7a-9c33-2f6e1d0a7b58} by Imogen Vale through , complete true; branch main forced 352f7829..34fb3300 "Plant them properly" by Imogen Vale, 0 paths, all false`,
	"repo_push.multiple-changes.json":  `push to {8f0c2a4e-5d1b-4b7a-9c33-2f6e1d0a7b58} by Imogen Vale through , complete true; branch main e0996a37..352f7829 "Plant the beans" by Imogen Vale, 0 paths, all false; branch orchard created ..34fb3300 "Pears" by Imogen Vale, 0 paths, all false; tag v1.4 created ..352f7829 "Plant the beans" by Imogen Vale, 0 paths, all false`,
	"repo_push.tag-created.json":       `push to {8f0c2a4e-5d1b-4b7a-9c33-2f6e1d0a7b58} by Imogen Vale through , complete true; tag v1.4 created ..352f7829 "Plant the beans" by Imogen Vale, 0 paths, all false`,
	"repo_push.tag-deleted.json":       `push to {8f0c2a4e-5d1b-4b7a-9c33-2f6e1d0a7b58} by Imogen Vale through , complete true; tag v1.4 deleted 352f7829.. "" by , 0 paths, all false`,
	"repo_updated.json":                `repository {8f0c2a4e-5d1b-4b7a-9c33-2f6e1d0a7b58} larkspur/field-notes edited, was "", branch was ""`,
	"repo_updated.rename.json":         `repository {8f0c2a4e-5d1b-4b7a-9c33-2f6e1d0a7b58} larkspur/field-notes renamed, was "larkspur/old-notes", branch was ""`,
}

// recorded lists the result of each recorded delivery from Bitbucket.
var recorded = map[string]string{
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
