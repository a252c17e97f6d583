package web_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web"
)

// keyless are the POSTs without an Idempotency-Key, with the reason.
var keyless = map[string]string{
	"signUploads":           "it changes nothing",
	"findMissingFiles":      "it changes nothing",
	"uploadBatch":           "files that are stored are not stored again",
	"callDeployHook":        "a repeated call starts no second deployment while one waits",
	"exchangeToken":         "an issuer's token is exchanged once",
	"sendAppEvent":          "a repeated id of an event changes nothing",
	"sendSNSMessage":        "a repeated id of a message changes nothing",
	"sendGitHubDelivery":    "a repeated id of a delivery changes nothing",
	"sendBitbucketDelivery": "a repeated id of a delivery changes nothing",
}

// posts returns the POSTs of the API's document, and whether they declare the
// header.
func posts(t *testing.T) map[string]bool {
	t.Helper()
	text, err := web.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Paths map[string]struct {
			Post *struct {
				ID         string `json:"operationId"`
				Parameters []struct {
					Ref string `json:"$ref"`
				} `json:"parameters"`
			} `json:"post"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	for _, path := range d.Paths {
		if path.Post == nil {
			continue
		}
		declared[path.Post.ID] = false
		for _, p := range path.Post.Parameters {
			if p.Ref == "#/components/parameters/idempotencyKey" {
				declared[path.Post.ID] = true
			}
		}
	}
	return declared
}

// TestEveryPostTakesAKey sends each POST of the API's document twice with the
// same Idempotency-Key, and with another body.
func TestEveryPostTakesAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withGrace, sealed(t))
	blog := w.create("Blog")
	first, second := w.released(blog, "one"), w.released(blog, "two")
	w.goLive(blog, first.ID)
	w.goLive(blog, second.ID)
	at := func(p pipeline) string { return "/v1/pipelines/" + p.ID.String() }
	built := w.bind("Built", "github", "team/built", "main")
	w.exec("INSERT INTO work (kind, subject_id) VALUES ('forge:catch-up', $1), ('retention', $1) ON CONFLICT DO NOTHING", built.ID)
	toCancel := w.released(w.create("Waiting"), "x")
	uploaded := w.begin(w.create("Uploaded"), nil, file("index.html", "one"))
	w.send("PUT", fmt.Sprintf("/v1/pipelines/%s/releases/%s/files/%s", uploaded.PipelineID, uploaded.ID, uploaded.Missing[0].SHA256), "one").into(t, 204, nil)
	doomed := w.create("Doomed")
	w.send("DELETE", at(doomed), nil).into(t, 202, nil)
	named := w.create("Named")
	w.send("POST", at(named)+"/domains", `{"host":"example.net"}`).into(t, 201, nil)
	w.send("POST", at(built)+"/previews", `{"branch":"kept"}`).into(t, 202, nil)
	w.exec(`WITH shown AS (UPDATE deployments SET state = 'succeeded', finished_at = now(), manifest_digest = 'digest' WHERE preview_id IS NOT NULL RETURNING id)
		UPDATE previews SET live_deployment_id = shown.id FROM shown`)
	stranger := strings.Repeat("7", 40)
	w.exec(`INSERT INTO previews (id, pipeline_id, kind, source, label, repository_id, number, created_by, expires_at, trusted, head_commit)
		VALUES (gen_random_uuid(), $1, 'pull_request', '1#7', 'pr-7', '1', 7, 'eve', now() + interval '1 day', false, $2)`, built.ID, stranger)
	notifier := w.addNotifier(map[string]any{"kind": "slack", "url": "https://example.com/slack"})
	hook := w.addNotifier(map[string]any{"kind": "webhook", "url": "https://example.com/hook"})
	var delivered delivery
	decodeLoose(t, w.send("POST", "/v1/notifiers/"+notifier.ID.String()+"/test", nil).body, &delivered)
	w.exec("UPDATE notifications SET ended_at = now(), status = 500, answer = 'the receiver answered 500'")
	w.exec("DELETE FROM work WHERE kind = 'notify'")
	none := `{ }`
	body := func(m any) string {
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	tried := map[string]struct{ path, body, other string }{
		"createPipeline":    {"/v1/pipelines", `{"name":"Once"}`, `{"name":"Twice"}`},
		"provisionPipeline": {at(w.create("Raw")) + "/provision", "", none},
		"restorePipeline":   {at(doomed) + "/restore", "", none},
		"purgePipeline":     {at(blog) + "/purge", `{"path":""}`, `{"path":"fonts/"}`},
		"prunePipeline":     {at(blog) + "/prune", `{"keep":10}`, `{"keep":11}`},
		"lockPipeline":      {at(w.create("Locked")) + "/lock", `{"reason":"an incident"}`, `{"reason":"another"}`},
		"deploy":            {at(built) + "/deployments", `{}`, `{"commit":"` + strings.Repeat("a", 40) + `"}`},
		"retryDeployment":   {at(blog) + "/deployments/" + first.ID.String() + "/retry", "", none},
		"cancelDeployment":  {"/v1/pipelines/waiting/deployments/" + toCancel.ID.String() + "/cancel", "", none},
		"rollback":          {at(blog) + "/rollback", "", none},
		"promote":           {at(blog) + "/promote", `{"deployment":"` + first.ID.String() + `"}`, `{"deployment":"` + second.ID.String() + `"}`},
		"beginRelease":      {releases(blog), body(manifest{Files: []site.File{file("a", "a")}}), body(manifest{Files: []site.File{file("b", "b")}})},
		"finalizeRelease":   {fmt.Sprintf("/v1/pipelines/%s/releases/%s/finalize", uploaded.PipelineID, uploaded.ID), `{}`, `{"publish":true}`},
		"allowNetwork":      {at(blog) + "/access/networks", `{"network":"192.0.2.0/24"}`, `{"network":"198.51.100.0/24"}`},
		"addDomain":         {at(blog) + "/domains", `{"host":"example.com"}`, `{"host":"example.org"}`},
		"verifyDomain":      {at(named) + "/domains/www.example.net/verify", "", none},
		"makeDomainPrimary": {at(named) + "/domains/www.example.net/primary", "", none},
		"previewBranch":     {at(built) + "/previews", `{"branch":"topic"}`, `{"branch":"other"}`},
		"pinPreview":        {at(built) + "/previews/kept/pin", "", none},
		"unpinPreview":      {at(built) + "/previews/kept/unpin", "", none},
		"approvePreview":    {at(built) + "/previews/pr-7/approve", `{"commit":"` + stranger + `"}`, `{"commit":"` + strings.Repeat("6", 40) + `"}`},
		"promotePreview":    {at(built) + "/previews/kept/promote", `{}`, `{"deployment":7}`},
		"addTrust":          {at(blog) + "/trusts", `{"provider":"github","repository_id":"1","owner_id":"2"}`, `{"provider":"github","repository_id":"1","owner_id":"3"}`},
		"createDeployHook":  {at(blog) + "/hooks", `{"name":"cms"}`, `{"name":"other"}`},
		"addNotifier":       {"/v1/notifiers", `{"kind":"slack","url":"https://example.com/a"}`, `{"kind":"slack","url":"https://example.com/b"}`},
		"enableNotifier":    {"/v1/notifiers/" + notifier.ID.String() + "/enable", "", none},
		"rotateNotifier":    {"/v1/notifiers/" + hook.ID.String() + "/rotate", "", none},
		"testNotifier":      {"/v1/notifiers/" + notifier.ID.String() + "/test", "", none},
		"redeliver":         {"/v1/notifiers/" + notifier.ID.String() + "/deliveries/" + delivered.ID.String() + "/redeliver", "", none},
		"createToken":       {"/v1/tokens", `{"name":"ci","role":"viewer"}`, `{"name":"other","role":"viewer"}`},
		"ringWork":          {"/v1/queue/ring", `{"kind":"forge:catch-up","subject_id":"` + built.ID.String() + `"}`, `{"kind":"retention","subject_id":"` + built.ID.String() + `"}`},
		"retryWork":         {"/v1/queue/retry", `{"kind":"forge:catch-up","subject_id":"` + built.ID.String() + `"}`, `{"kind":"retention","subject_id":"` + built.ID.String() + `"}`},
		"ringTask":          {"/v1/tasks", `{"kind":"retention","id":"` + blog.ID.String() + `"}`, `{"kind":"retention","id":"` + built.ID.String() + `"}`},
	}
	declared := posts(t)
	for _, operation := range slices.Sorted(maps.Keys(declared)) {
		p, ok := tried[operation]
		if reason, exempt := keyless[operation]; exempt {
			if ok || declared[operation] {
				t.Errorf("%s takes a key: remove its exception (%s)", operation, reason)
			}
			continue
		}
		if !ok || !declared[operation] {
			t.Errorf("%s declares an Idempotency-Key: %t; expected that it does, and that this test tries it", operation, declared[operation])
			continue
		}
		w.send("POST", p.path, p.body, key(strings.Repeat("k", 129))).refused(t, 400, "invalid", "Idempotency-Key", "")
		var one, two struct{ ID uuid.UUID }
		k := key("key of " + operation)
		a := w.send("POST", p.path, p.body, k)
		if a.status > 299 {
			t.Errorf("%s: %d %s", operation, a.status, a.body)
			continue
		}
		decodeLoose(t, a.body, &one)
		// A secret is shown once.
		if again := w.send("POST", p.path, p.body, k); slices.Contains([]string{"createToken", "createDeployHook", "rotateNotifier"}, operation) {
			again.refused(t, http.StatusConflict, "conflict", "Idempotency-Key", "can't be shown again")
		} else if decodeLoose(t, again.body, &two); again.status > 299 || one.ID != two.ID || one.ID == uuid.Nil && !slices.Contains([]string{"prunePipeline", "allowNetwork", "addDomain", "verifyDomain", "makeDomainPrimary", "previewBranch", "pinPreview", "unpinPreview", "approvePreview"}, operation) { // access, domains, previews and what is pruned have no id
			t.Errorf("%s: answered %s and then %d %s", operation, a.body, again.status, again.body)
		}
		w.send("POST", p.path, p.other, k).refused(t, http.StatusConflict, "conflict", "Idempotency-Key", "")
	}
	for operation := range tried {
		if _, there := declared[operation]; !there {
			t.Errorf("the document has no POST %s", operation)
		}
	}
}
