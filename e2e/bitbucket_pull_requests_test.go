package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/internal/devstack/gittest"
)

// bitbucketUser is an account of the stand-in for Bitbucket.
type bitbucketUser struct{ id, name string }

var (
	bitbucketAda = bitbucketUser{"{0b2f6c11-90aa-4e0c-8d4d-5f7712c3a901}", "Ada"}
	bitbucketEve = bitbucketUser{"{1b2f6c11-90aa-4e0c-8d4d-5f7712c3a902}", "Eve"}
)

// bitbucketForks are the repositories of users, by name.
var bitbucketForks = map[string]string{
	"ada/blog": "{2a1b2c3d-0000-4000-8000-00000000abcd}", "eve/blog": "{3a1b2c3d-0000-4000-8000-00000000abcd}",
}

// bitbucketPulls are the pull requests of the stand-in, and what Troy wrote about
// them. Its bitbucket guards it.
type bitbucketPulls struct {
	requests map[int]map[string]any
	admin    bool // whether the token administers the repository
	notes    map[int][]map[string]any
	writes   []string // what Troy wrote in comments
}

// holds returns the full id of a commit if a branch of a repository has it. A
// fork's commits are not in the repository that it comes from.
func (b *bitbucket) holds(name, commit string) string {
	bare := filepath.Join(b.root, repository+".git")
	refs := "refs/heads"
	if name != repository {
		refs = "refs/forks/" + name
	}
	full, err := gittest.Command(context.Background(), bare, "rev-parse", "--verify", "--quiet", commit+"^{commit}").Output()
	if err != nil {
		return ""
	}
	found, err := gittest.Command(context.Background(), bare, "for-each-ref", "--contains", commit, refs).Output()
	if err != nil || len(found) == 0 {
		return ""
	}
	return strings.TrimSpace(string(full))
}

// servePulls answers the requests about pull requests, permissions and forks by
// Bitbucket's rules. It returns false for any other request.
func (b *bitbucket) servePulls(answer func(int, any), r *http.Request, path string) bool {
	var body map[string]any
	refuse := func(status int) { answer(status, map[string]any{"type": "error"}) }
	for name, id := range bitbucketForks {
		owner, _, _ := strings.Cut(name, "/")
		below, ok := strings.CutPrefix(r.URL.Path, "/2.0/repositories/"+owner+"/"+id)
		if !ok {
			continue
		}
		commit := b.holds(name, strings.TrimPrefix(below, "/commit/"))
		switch {
		case below == "":
			answer(http.StatusOK, map[string]any{"uuid": id, "full_name": name, "is_private": false, "mainbranch": map[string]any{"name": "main"}})
		case commit != "":
			answer(http.StatusOK, map[string]any{"hash": commit, "message": "a change", "date": time.Now().UTC().Format(time.RFC3339), "author": map[string]any{"raw": "Eve <eve@example.com>"}})
		default:
			refuse(http.StatusNotFound)
		}
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.Contains(r.URL.Path, "/permissions/repositories/") {
		if !b.admin {
			refuse(http.StatusForbidden)
			return true
		}
		values := []any{}
		if r.URL.Query().Get("q") == `user.uuid="`+bitbucketAda.id+`"` {
			values = append(values, map[string]any{"permission": "write", "user": map[string]any{"uuid": bitbucketAda.id}})
		}
		answer(http.StatusOK, map[string]any{"values": values})
		return true
	}
	below, ok := strings.CutPrefix(path, "/pullrequests")
	if !ok {
		return false
	}
	if below == "" {
		values := []any{}
		for _, pr := range b.requests {
			if pr["state"] == r.URL.Query().Get("state") {
				values = append(values, pr)
			}
		}
		answer(http.StatusOK, map[string]any{"values": values})
		return true
	}
	parts := strings.Split(below, "/")
	number, _ := strconv.Atoi(parts[1])
	_ = json.NewDecoder(r.Body).Decode(&body)
	text := func() string { content, _ := body["content"].(map[string]any); return fmt.Sprint(content["raw"]) }
	at := slices.IndexFunc(b.notes[number], func(c map[string]any) bool { return fmt.Sprint(c["id"]) == parts[len(parts)-1] })
	switch {
	case b.requests[number] == nil:
		refuse(http.StatusNotFound)
	case len(parts) == 2:
		answer(http.StatusOK, b.requests[number])
	case r.Method == http.MethodGet:
		answer(http.StatusOK, map[string]any{"values": append([]map[string]any{}, b.notes[number]...)})
	case r.Method == http.MethodPost:
		b.writes = append(b.writes, text())
		body["id"] = len(b.writes)
		b.notes[number] = append(b.notes[number], body)
		answer(http.StatusCreated, body)
	case at < 0:
		refuse(http.StatusNotFound)
	case r.Method == http.MethodPut:
		b.writes = append(b.writes, text())
		b.notes[number][at]["content"] = body["content"]
		answer(http.StatusOK, b.notes[number][at])
	default:
		b.notes[number] = slices.Delete(b.notes[number], at, at+1)
		answer(http.StatusNoContent, nil)
	}
	return true
}

// pull commits files to the source branch of a pull request, which is in the
// repository with this name.
func (b *bitbucket) pull(number int, author bitbucketUser, from string, files map[string]string) (commit string) {
	b.t.Helper()
	ref, id := fmt.Sprintf("refs/heads/topic-%d", number), bitbucketID
	if from != repository {
		ref, id = fmt.Sprintf("refs/forks/%s/topic-%d", from, number), bitbucketForks[from]
	}
	b.git(b.work, "checkout", "--quiet", "-B", "topic", "origin/main")
	b.write(files)
	b.git(b.work, "add", "--all")
	b.git(b.work, "commit", "--quiet", "--allow-empty", "-m", "a change by "+author.name)
	b.git(b.work, "push", "--quiet", "--force", "origin", "HEAD:"+ref)
	commit = b.git(b.work, "rev-parse", "HEAD")
	b.git(b.work, "checkout", "--quiet", "-B", "main", "origin/main")
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.requests == nil {
		b.requests, b.notes = map[int]map[string]any{}, map[int][]map[string]any{}
	}
	b.requests[number] = map[string]any{
		"id": number, "title": "Change it", "state": "OPEN", "draft": false,
		"author": map[string]any{"type": "user", "uuid": author.id, "display_name": author.name},
		"source": map[string]any{
			"branch": map[string]any{"name": fmt.Sprintf("topic-%d", number)}, "commit": map[string]any{"hash": commit[:12]},
			"repository": map[string]any{"type": "repository", "uuid": id, "full_name": from},
		},
		"destination": map[string]any{"branch": map[string]any{"name": "main"}},
		"updated_on":  time.Now().UTC().Format(time.RFC3339Nano),
		"links":       map[string]any{"html": map[string]any{"href": fmt.Sprintf("https://bitbucket.example/%s/pull-requests/%d", repository, number)}},
	}
	return commit
}

// change changes a pull request without a webhook.
func (b *bitbucket) change(number int, change func(pr map[string]any)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	pr := b.requests[number]
	change(pr)
	pr["updated_on"] = time.Now().UTC().Format(time.RFC3339Nano)
}

// body is the webhook's about a pull request as it is now.
func (b *bitbucket) body(number int, more map[string]any) []byte {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	payload := map[string]any{
		"pullrequest": b.requests[number], "actor": map[string]any{"type": "user", "uuid": bitbucketAda.id, "display_name": "Ada"},
		"repository": map[string]any{"type": "repository", "uuid": bitbucketID, "full_name": repository, "name": "blog"},
	}
	for name, value := range more {
		payload[name] = value
	}
	body, err := json.Marshal(payload)
	if err != nil {
		b.t.Fatal(err)
	}
	return body
}

func (b *bitbucket) pullEvent(w *world, event string, number int) {
	b.t.Helper()
	b.deliver(w, "pullrequest:"+event, b.body(number, nil))
}

func (b *bitbucket) commentEvent(w *world, number int, author bitbucketUser, text string) {
	b.t.Helper()
	b.deliver(w, "pullrequest:comment_created", b.body(number, map[string]any{"comment": map[string]any{
		"content": map[string]any{"raw": text}, "user": map[string]any{"type": "user", "uuid": author.id, "display_name": author.name},
		"created_on": time.Now().UTC().Add(time.Minute).Format(time.RFC3339Nano),
	}}))
}

// told returns the description of a commit's build status.
func (b *bitbucket) told(commit string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprint(b.builds[commit]["state"], " ", b.builds[commit]["description"])
}

func (b *bitbucket) commented(number int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for _, c := range b.notes[number] {
		content, _ := c["content"].(map[string]any)
		all = append(all, fmt.Sprint(content["raw"]))
	}
	return strings.Join(all, "\n---\n")
}

// TestBitbucketPullRequests has the lives of pull requests at Bitbucket, first
// with a token that may not ask who may push.
func TestBitbucketPullRequests(t *testing.T) {
	t.Parallel()
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	b := newBitbucket(t)
	w := newWorld(t, "TROY_BITBUCKET_URL="+b.api.URL, "TROY_BITBUCKET_TOKEN="+bitbucketToken, "TROY_BITBUCKET_SECRET="+bitbucketSecret,
		"TROY_CATCH_UP=2s", "TROY_SECRET_KEY="+hex.EncodeToString(key))
	w.start("web")
	w.start("work")
	w.start("edge")
	first := b.commit("first", site1("one"))
	id := w.appEvent("Created", map[string]any{
		"id": "blog", "name": "blog", "repository": map[string]any{"provider": "bitbucket", "full_name": repository, "branch": "main"},
	}, time.Now())
	if d := w.deployment(id, first); d.State != troy.Succeeded {
		t.Fatalf("%s: %s", d.State, d.Cause)
	}
	if _, err := w.api.SetVariable(t.Context(), id, "GREETING", client.VariableValue{Value: "good morning to all"}); err != nil {
		t.Fatal(err)
	}
	w.must("troy", "pipeline", "set", "blog", "--comment-previews")
	db, err := pgx.Connect(t.Context(), w.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.Background()) }()
	printing := func(version string) map[string]string {
		return map[string]string{"build.js": `const fs = require("fs");
fs.mkdirSync("dist", {recursive: true});
fs.writeFileSync("dist/index.html", "` + version + ` " + JSON.stringify(process.env));
`}
	}
	shows := func(number int) string {
		_, body, _ := w.get(fmt.Sprintf("pr-%d--blog.localhost", number), "/")
		return body
	}
	shown := func(number int, version string) {
		t.Helper()
		w.eventually(version+" is shown", func() bool { return strings.HasPrefix(shows(number), version+" ") })
	}
	gone := func(number int) {
		t.Helper()
		w.eventually("the preview is gone", func() bool {
			status, _, _ := w.get(fmt.Sprintf("pr-%d--blog.localhost", number), "/")
			return status == http.StatusNotFound
		})
		w.eventually("the comment is gone", func() bool { return b.commented(number) == "" })
	}
	waits := func(number int, commit, why string) {
		t.Helper()
		w.eventually("the commit waits for an approval", func() bool {
			v, err := w.api.Preview(t.Context(), id, fmt.Sprintf("pr-%d", number))
			return err == nil && v.State == troy.PreviewNeedsApproval && v.Commit == commit
		})
		w.eventually("the comment says so", func() bool {
			return strings.Contains(b.commented(number), "| `"+commit[:7]+"` | [Waiting for an approval]")
		})
		var decision string
		if err := db.QueryRow(t.Context(), "SELECT decision FROM pull_requests WHERE number = $1", number).Scan(&decision); err != nil || !strings.Contains(decision, why) {
			t.Errorf("the decision is %q, %v; want %q", decision, err, why)
		}
	}

	answered := func() {
		t.Helper()
		w.eventually("the comment was answered", func() bool {
			var n int
			return db.QueryRow(t.Context(), "SELECT count(*) FROM pull_request_commands").Scan(&n) == nil && n == 0
		})
	}

	// The token may not ask, so everyone's commits need an approval in Troy.
	one := b.pull(1, bitbucketAda, repository, printing("one"))
	b.pullEvent(w, "created", 1)
	waits(1, one, "Troy's credentials don't allow it to ask whether Ada may push to "+repository)
	w.eventually("the build status says so", func() bool { return strings.HasPrefix(b.told(one), "INPROGRESS Waiting for an approval") })
	b.commentEvent(w, 1, bitbucketAda, "/troy preview "+one)
	answered()
	if v, err := w.api.Preview(t.Context(), id, "pr-1"); err != nil || v.State != troy.PreviewNeedsApproval || v.Trusted {
		t.Errorf("the preview is %+v, %v", v, err)
	}
	w.must("troy", "preview", "approve", "blog", "pr-1", "--commit", one)
	shown(1, "one")
	if page := shows(1); strings.Contains(page, "good morning") || !strings.Contains(page, `"TROY_PULL_REQUEST":"1"`) {
		t.Errorf("the build of an author of whom Troy may not ask: %s", page)
	}

	// It may ask from now on.
	b.mu.Lock()
	b.admin = true
	b.mu.Unlock()
	two := b.pull(1, bitbucketAda, repository, printing("two"))
	b.pullEvent(w, "updated", 1)
	shown(1, "two")
	if page := shows(1); !strings.Contains(page, "good morning to all") || !strings.Contains(page, `"TROY_CONTEXT":"preview"`) {
		t.Errorf("the build of someone who may push lacks its variables: %s", page)
	}
	w.eventually("the build status has the address", func() bool {
		told := b.told(two)
		return strings.HasPrefix(told, "SUCCESSFUL Ready") && strings.Contains(told, "pr-1--blog.localhost")
	})
	w.eventually("the comment is up to date", func() bool { return strings.Contains(b.commented(1), "| `"+two[:7]+"` | [Ready]") })
	before, err := w.api.Preview(t.Context(), id, "pr-1")
	if err != nil {
		t.Fatal(err)
	}
	old := b.body(1, nil)
	b.change(1, func(pr map[string]any) {
		pr["destination"] = map[string]any{"branch": map[string]any{"name": "next"}}
		pr["title"] = "Change it later"
	})
	b.pullEvent(w, "updated", 1)
	w.eventually("the title is new", func() bool {
		v, err := w.api.Preview(t.Context(), id, "pr-1")
		return err == nil && v.Title == "Change it later"
	})
	if v, err := w.api.Preview(t.Context(), id, "pr-1"); err != nil || v.Deployment != before.Deployment || !v.PushedAt.Equal(before.PushedAt) {
		t.Errorf("with another target the preview was %+v and is %+v, %v", before, v, err)
	}
	b.change(1, func(pr map[string]any) { pr["state"] = "DECLINED" })
	b.pullEvent(w, "rejected", 1)
	gone(1)
	b.deliver(w, "pullrequest:updated", old) // late

	// The webhook of its merge is lost.
	b.pull(2, bitbucketAda, repository, printing("three"))
	b.pullEvent(w, "created", 2)
	shown(2, "three")
	b.change(2, func(pr map[string]any) { pr["state"] = "MERGED" })
	gone(2)
	if status, _, _ := w.get("pr-1--blog.localhost", "/"); status != http.StatusNotFound {
		t.Errorf("a late webhook brought a preview back: %d", status)
	}

	// A stranger's fork, and a collaborator's: Bitbucket does not tell who may
	// push to a fork.
	stranger := b.pull(3, bitbucketEve, "eve/blog", printing("four"))
	b.pullEvent(w, "created", 3)
	own := b.pull(4, bitbucketAda, "ada/blog", printing("five"))
	b.pullEvent(w, "created", 4)
	waits(3, stranger, "Eve may not push to "+repository)
	waits(4, own, "its source branch is in the fork ada/blog")
	b.commentEvent(w, 3, bitbucketEve, "/troy preview "+stranger)
	answered()
	waits(3, stranger, "Eve may not push to "+repository)
	b.commentEvent(w, 3, bitbucketAda, "Looks good\n\n/troy preview")
	shown(3, "four")
	if page := shows(3); strings.Contains(page, "good morning") {
		t.Errorf("a stranger's build got variables: %s", page)
	}
	w.eventually("the comment is up to date", func() bool { return strings.Contains(b.commented(3), "| `"+stranger[:7]+"` | [Ready]") })
	if told := b.told(stranger); told != "<nil> <nil>" {
		t.Errorf("a fork's commit has the build status %s", told)
	}
	// The fork is deleted, and the pull request declined.
	b.change(3, func(pr map[string]any) { pr["source"].(map[string]any)["repository"] = nil })
	b.pullEvent(w, "updated", 3)
	if v, err := w.api.Preview(t.Context(), id, "pr-3"); err != nil || v.State != troy.PreviewReady {
		t.Errorf("without its fork the preview is %+v, %v", v, err)
	}
	for _, number := range []int{3, 4} {
		b.change(number, func(pr map[string]any) { pr["state"] = "DECLINED" })
		b.pullEvent(w, "rejected", number)
		gone(number)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := 1; i < len(b.writes); i++ {
		if b.writes[i] == b.writes[i-1] {
			t.Errorf("written twice: %q", b.writes[i])
		}
	}
}
