package github_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
)

// servePulls serves pull requests, their comments, permissions, and the deletion
// of deployments by GitHub's rules.
func (f *fake) servePulls(mux *http.ServeMux, repo string) {
	mux.HandleFunc("GET "+repo+"/pulls", f.repo("pull_requests", "read", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("state") != "open" {
			f.t.Error("a list with pull requests that are not open")
		}
		answer(w, 200, page(f.pulls, r))
	}))
	mux.HandleFunc("GET "+repo+"/pulls/{number}", f.repo("pull_requests", "read", func(w http.ResponseWriter, r *http.Request) {
		for _, p := range f.pulls {
			if fmt.Sprint(p["number"]) == r.PathValue("number") {
				answer(w, 200, p)
				return
			}
		}
		refuse(w, 404, "Not Found")
	}))
	mux.HandleFunc("GET "+repo+"/collaborators/{user}/permission", f.repo("metadata", "read", func(w http.ResponseWriter, r *http.Request) {
		id, known := f.writers[r.PathValue("user")]
		switch {
		case !known:
			refuse(w, 404, "Not Found")
		case id < 0:
			answer(w, 200, map[string]any{"permission": "read", "user": map[string]any{"id": -id}})
		default:
			answer(w, 200, map[string]any{"permission": "write", "role_name": "maintain", "user": map[string]any{"id": id}})
		}
	}))
	mux.HandleFunc("GET "+repo+"/issues/{number}/comments", f.repo("pull_requests", "write", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, page(f.comments, r))
	}))
	mux.HandleFunc("POST "+repo+"/issues/{number}/comments", f.repo("pull_requests", "write", func(w http.ResponseWriter, r *http.Request) {
		f.writes++
		made := f.body(r)
		made["id"], made["performed_via_github_app"] = 500+len(f.comments), map[string]any{"id": 99, "client_id": clientID}
		f.comments = append(f.comments, made)
		answer(w, 201, made)
	}))
	mux.HandleFunc("PATCH "+repo+"/issues/comments/{id}", f.repo("pull_requests", "write", func(w http.ResponseWriter, r *http.Request) {
		f.writes++
		for _, c := range f.comments {
			if fmt.Sprint(c["id"]) == r.PathValue("id") {
				c["body"] = f.body(r)["body"]
				answer(w, 200, c)
				return
			}
		}
		refuse(w, 404, "Not Found")
	}))
	mux.HandleFunc("DELETE "+repo+"/issues/comments/{id}", f.repo("pull_requests", "write", func(w http.ResponseWriter, r *http.Request) {
		f.writes++
		f.comments = slices.DeleteFunc(f.comments, func(c map[string]any) bool { return fmt.Sprint(c["id"]) == r.PathValue("id") })
		w.WriteHeader(204)
	}))
	mux.HandleFunc("DELETE "+repo+"/deployments/{id}", f.repo("deployments", "write", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		if list := f.statuses[id]; len(list) > 0 && list[0]["state"] != "inactive" && len(f.deployments) > 1 {
			refuse(w, 422, "We cannot delete an active deployment unless it is the only deployment in a given environment.")
			return
		}
		f.writes++
		f.deployments = slices.DeleteFunc(f.deployments, func(d map[string]any) bool { return fmt.Sprint(d["id"]) == id })
		w.WriteHeader(204)
	}))
}

func pull(number int, head string) map[string]any {
	repository := map[string]any{"id": 42, "full_name": "acme/site", "owner": map[string]any{"id": 8, "login": "acme"}}
	return map[string]any{
		"number": number, "state": "open", "title": "Change\u0007 it", "draft": true, "html_url": "https://github.example/acme/site/pull/1",
		"updated_at": "2026-11-28T06:45:00Z", "user": map[string]any{"id": 3, "login": "ada", "type": "User"},
		"head": map[string]any{"ref": head, "sha": sha2, "repo": repository}, "base": map[string]any{"ref": "main", "repo": repository},
	}
}

func TestPullRequests(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for i := range 150 {
		f.pulls = append(f.pulls, pull(i+1, "topic/"+strconv.Itoa(i)))
	}
	f.pulls[149]["head"] = map[string]any{"ref": "theirs", "sha": sha1, "repo": nil}
	f.pulls[149]["user"] = map[string]any{"id": 5, "login": "dependabot[bot]", "type": "Bot"}
	c := f.client()
	answer, err := c.OpenPullRequests(t.Context(), site())
	list := answer.Open
	if err != nil || !answer.Complete || len(list) != 150 {
		t.Fatalf("%d pull requests, complete %v, %v", len(list), answer.Complete, err)
	}
	want := troy.PullRequest{
		Repository: troy.ForgeRepository{Provider: troy.GitHub, ID: "42", FullName: "acme/site"}, Number: 1, Title: "Change  it", Head: "topic/0",
		HeadCommit: sha2, HeadRepository: "42", HeadFullName: "acme/site", Base: "main", Draft: true, Open: true,
		Author: troy.ForgeUser{ID: "3", Name: "ada"}, URL: "https://github.example/acme/site/pull/1",
		Updated: time.Date(2026, 11, 28, 6, 45, 0, 0, time.UTC),
	}
	if list[0] != want {
		t.Errorf("got %+v", list[0])
	}
	if last := list[149]; !last.Fork || last.HeadRepository != "" || !last.Author.Bot {
		t.Errorf("a head whose repository is gone: %+v", last)
	}
	f.set(func() {
		f.pulls[7]["head"].(map[string]any)["ref"] = "not a ref"
		f.pulls[110]["title"] = 1
	})
	if l, err := c.OpenPullRequests(t.Context(), site()); err != nil || !l.Complete || len(l.Open) != 148 || !slices.Equal(l.Unreadable, []int64{8, 111}) {
		t.Errorf("with two unreadable ones: %d, not %v, complete %v, %v", len(l.Open), l.Unreadable, l.Complete, err)
	}
	f.set(func() { f.pulls[7]["number"] = "eight" })
	if l, err := c.OpenPullRequests(t.Context(), site()); err != nil || l.Complete || len(l.Open) != 148 {
		t.Errorf("with one without a number: %d, complete %v, %v", len(l.Open), l.Complete, err)
	}
	f.set(func() { f.pulls[7] = pull(8, "topic/7") })
	if pr, err := c.PullRequest(t.Context(), site(), 2); err != nil || pr.Number != 2 || pr.Head != "topic/1" {
		t.Errorf("one: %+v, %v", pr, err)
	}
	if _, err := c.PullRequest(t.Context(), site(), 999); !errors.Is(err, forge.ErrNoPullRequest) || troy.KindOf(err) != troy.NotFound {
		t.Errorf("none: %v", err)
	}
	for range 1000 {
		f.pulls = append(f.pulls, pull(9, "more"))
	}
	if l, err := c.OpenPullRequests(t.Context(), site()); err != nil || l.Complete || l.Len() != forge.MaxPullRequests {
		t.Errorf("too many: %d, complete %v, %v", l.Len(), l.Complete, err)
	}
}

func TestMayWrite(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.writers = map[string]int{"ada": 3, "eve": -4}
	c := f.client()
	for _, user := range []struct {
		troy.ForgeUser
		may bool
	}{
		{troy.ForgeUser{ID: "3", Name: "ada"}, true},
		{troy.ForgeUser{Name: "ada"}, true},
		{troy.ForgeUser{ID: "33", Name: "ada"}, false}, // another account took the name
		{troy.ForgeUser{ID: "4", Name: "eve"}, false},
		{troy.ForgeUser{ID: "6", Name: "dependabot[bot]"}, false},
		{troy.ForgeUser{ID: "3"}, false},
		{troy.ForgeUser{ID: "3", Name: "../../user"}, false},
	} {
		if may, err := c.MayWrite(t.Context(), site(), user.ForgeUser); may != user.may || err != nil {
			t.Errorf("%+v: %v, %v", user, may, err)
		}
	}
	f.set(func() { f.fail = status(500, nil, "down") })
	if may, err := c.MayWrite(t.Context(), site(), troy.ForgeUser{ID: "3", Name: "ada"}); may || err == nil {
		t.Errorf("with an error: %v, %v", may, err)
	}
}

func TestComment(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	const hidden = "<!-- troy:42 -->"
	for i := range 120 {
		f.comments = append(f.comments, map[string]any{"id": i + 1, "body": "A thought\n\n" + hidden})
	}
	c := f.client()
	say := func(text string, writes, comments int) {
		t.Helper()
		before := f.writes
		if err := c.Comment(t.Context(), site(), 31, "troy:42", text); err != nil {
			t.Fatal(err)
		}
		if f.writes-before != writes || len(f.comments) != comments {
			t.Errorf("%q: %d writes, %d comments", text, f.writes-before, len(f.comments))
		}
	}
	say("", 0, 120)
	say("Building", 1, 121)
	say("Building", 0, 121)
	say("Ready", 1, 121)
	if got := fmt.Sprint(f.comments[120]["body"]); got != "Ready\n\n"+hidden {
		t.Errorf("the comment is %q", got)
	}
	say(strings.Repeat("é", 100_000), 1, 121)
	if n := len(fmt.Sprint(f.comments[120]["body"])); n > 65_536 {
		t.Errorf("a comment of %d bytes", n)
	}
	say("", 1, 120)
	f.set(func() { f.permissions["pull_requests"] = "read" })
	if err := c.Comment(t.Context(), forge.Repository{Installation: "7", FullName: "acme/site"}, 31, "troy:42", "Ready"); !errors.Is(err, forge.ErrForbidden) {
		t.Errorf("without the permission: %v", err)
	}
}

func TestRetract(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	r := report(troy.Succeeded)
	r.Transient, r.Environment = true, "blog (preview)"
	other := report(troy.Succeeded)
	other.Deployment = "0199-d9"
	for _, one := range []forge.Report{r, other} {
		if err := c.Report(t.Context(), site(), one); err != nil {
			t.Fatal(err)
		}
	}
	if f.deployments[0]["transient_environment"] != true || f.deployments[0]["production_environment"] != false || f.deployments[1]["production_environment"] != true {
		t.Errorf("the deployments are %v", f.deployments)
	}
	// The answer to the deletion is lost.
	f.set(func() {
		f.fail = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodDelete {
				return false
			}
			f.fail = nil
			refuse(w, 502, "bad gateway")
			return true
		}
	})
	if err := c.Retract(t.Context(), site(), r); err == nil {
		t.Error("a lost answer was not reported")
	}
	for range 2 {
		if err := c.Retract(t.Context(), site(), r); err != nil {
			t.Fatal(err)
		}
		if len(f.deployments) != 1 || !strings.Contains(fmt.Sprint(f.deployments[0]["payload"]), "0199-d9") {
			t.Errorf("left are %v", f.deployments)
		}
	}
	if r.Commit = "main"; troy.KindOf(c.Retract(t.Context(), site(), r)) != troy.Invalid {
		t.Error("a branch was accepted as a commit")
	}
}

func TestReportNeedsApproval(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	r := report(forge.NeedsApproval)
	r.Environment = ""
	if err := f.client().Report(t.Context(), site(), r); err != nil {
		t.Fatal(err)
	}
	if got := f.runs[0]; got["conclusion"] != "action_required" || !strings.Contains(fmt.Sprint(got["actions"]), "troy_approve") {
		t.Errorf("the check run is %v", got)
	}
}
