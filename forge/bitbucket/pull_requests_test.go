package bitbucket_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
)

const ada = "{0b2f6c11-90aa-4e0c-8d4d-5f7712c3a901}"

// servePulls serves pull requests, their comments and permissions by Bitbucket's
// rules.
func (f *fake) servePulls(mux *http.ServeMux, repo string) {
	mux.HandleFunc("GET "+repo+"/pullrequests", f.repo(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("state") != "OPEN" {
			f.t.Error("a list with pull requests that are not open")
		}
		answer(w, 200, page(f.pulls, r))
	}))
	mux.HandleFunc("GET "+repo+"/pullrequests/{id}", f.repo(func(w http.ResponseWriter, r *http.Request) {
		for _, p := range f.pulls {
			if fmt.Sprint(p["id"]) == r.PathValue("id") {
				answer(w, 200, p)
				return
			}
		}
		refuse(w, 404, "Not found")
	}))
	mux.HandleFunc("GET /2.0/workspaces/{owner}/permissions/repositories/{repo}", f.repo(func(w http.ResponseWriter, r *http.Request) {
		if f.rights == nil {
			refuse(w, 403, "You do not have permission")
			return
		}
		values := []map[string]any{}
		for user, right := range f.rights {
			if r.URL.Query().Get("q") == `user.uuid="`+user+`"` {
				values = append(values, map[string]any{"permission": right, "user": map[string]any{"uuid": strings.ToUpper(user)}})
			}
		}
		answer(w, 200, map[string]any{"values": values})
	}))
	comments := repo + "/pullrequests/{id}/comments"
	mux.HandleFunc("GET "+comments, f.repo(func(w http.ResponseWriter, r *http.Request) { answer(w, 200, page(f.comments, r)) }))
	mux.HandleFunc("POST "+comments, f.repo(func(w http.ResponseWriter, r *http.Request) {
		f.writes++
		made := body(f.t, r)
		made["id"], made["own"] = 500+len(f.comments), true
		f.comments = append(f.comments, made)
		answer(w, 201, made)
	}))
	change := func(do func(c map[string]any, r *http.Request)) http.HandlerFunc {
		return f.repo(func(w http.ResponseWriter, r *http.Request) {
			for _, c := range f.comments {
				if fmt.Sprint(c["id"]) != r.PathValue("comment") {
					continue
				}
				if c["own"] == nil {
					refuse(w, 403, "You may not change this comment.")
					return
				}
				f.writes++
				do(c, r)
				answer(w, 200, c)
				return
			}
			refuse(w, 404, "Not found")
		})
	}
	mux.HandleFunc("PUT "+comments+"/{comment}", change(func(c map[string]any, r *http.Request) { c["content"] = body(f.t, r)["content"] }))
	mux.HandleFunc("DELETE "+comments+"/{comment}", change(func(c map[string]any, _ *http.Request) { c["deleted"] = true }))
}

func page(all []map[string]any, r *http.Request) map[string]any {
	size, _ := strconv.Atoi(r.URL.Query().Get("pagelen"))
	n, _ := strconv.Atoi(r.URL.Query().Get("page"))
	from := min((n-1)*size, len(all))
	to := min(from+size, len(all))
	out := map[string]any{"values": slices.Clone(all[from:to])}
	if to < len(all) {
		out["next"] = "https://elsewhere.example/next"
	}
	return out
}

func pull(id int) map[string]any {
	return map[string]any{
		"id": id, "state": "OPEN", "title": "Change it", "author": map[string]any{"uuid": strings.ToUpper(ada), "type": "user", "nickname": "ada"},
		"source": map[string]any{
			"branch": map[string]any{"name": "topic"}, "commit": map[string]any{"hash": sha[:12]},
			"repository": map[string]any{"uuid": uuid, "full_name": "acme/site"},
		},
		"destination": map[string]any{"branch": map[string]any{"name": "main"}},
	}
}

func TestPullRequests(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for i := range 70 {
		f.pulls = append(f.pulls, pull(i+1))
	}
	f.pulls[69]["source"].(map[string]any)["repository"] = nil
	c := f.client()
	answer, err := c.OpenPullRequests(t.Context(), site("token"))
	list := answer.Open
	if err != nil || !answer.Complete || len(list) != 70 {
		t.Fatalf("%d pull requests, complete %v, %v", len(list), answer.Complete, err)
	}
	want := troy.PullRequest{
		Repository: troy.ForgeRepository{Provider: troy.Bitbucket, ID: uuid, FullName: "acme/site"}, Number: 1, Title: "Change it", Head: "topic",
		HeadCommit: sha[:12], HeadRepository: uuid, HeadFullName: "acme/site", Base: "main", Open: true, Author: troy.ForgeUser{ID: ada, Name: "ada"},
	}
	if list[0] != want {
		t.Errorf("got %+v", list[0])
	}
	if last := list[69]; !last.Fork || last.HeadRepository != "" {
		t.Errorf("a head whose repository is gone: %+v", last)
	}
	if pr, err := c.PullRequest(t.Context(), site("token"), 3); err != nil || pr.Number != 3 {
		t.Errorf("one: %+v, %v", pr, err)
	}
	if _, err := c.PullRequest(t.Context(), site("token"), 99); !errors.Is(err, forge.ErrNoPullRequest) || troy.KindOf(err) != troy.NotFound {
		t.Errorf("none: %v", err)
	}
	f.set(func() {
		f.pulls[7]["source"].(map[string]any)["branch"] = map[string]any{"name": "not a ref"}
		f.pulls[60]["draft"] = "perhaps"
	})
	if l, err := c.OpenPullRequests(t.Context(), site("token")); err != nil || !l.Complete || len(l.Open) != 68 || !slices.Equal(l.Unreadable, []int64{8, 61}) {
		t.Errorf("with two unreadable ones: %d, not %v, complete %v, %v", len(l.Open), l.Unreadable, l.Complete, err)
	}
	f.set(func() { f.pulls[7]["id"] = nil })
	if l, err := c.OpenPullRequests(t.Context(), site("token")); err != nil || l.Complete || len(l.Open) != 68 {
		t.Errorf("with one without a number: %d, complete %v, %v", len(l.Open), l.Complete, err)
	}
}

func TestMayWrite(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	if may, err := c.MayWrite(t.Context(), site("token"), troy.ForgeUser{ID: ada}); may || !errors.Is(err, forge.ErrForbidden) {
		t.Errorf("credentials that do not administer the repository: %v, %v", may, err)
	}
	for right, want := range map[string]bool{"read": false, "write": true, "admin": true, "none": false} {
		f.set(func() { f.rights = map[string]string{ada: right} })
		if may, err := c.MayWrite(t.Context(), site("token"), troy.ForgeUser{ID: ada}); may != want || err != nil {
			t.Errorf("%s: %v, %v", right, may, err)
		}
	}
	for _, id := range []string{"", "{}", ada[:37] + `"`, strings.Replace(ada, "0b", "0c", 1)} {
		if may, err := c.MayWrite(t.Context(), site("token"), troy.ForgeUser{ID: id}); may || err != nil {
			t.Errorf("%q: %v, %v", id, may, err)
		}
	}
}

func TestComment(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	const hidden = "[//]: # (troy:1)"
	f.comments = []map[string]any{{"id": 1, "content": map[string]any{"raw": "A thought\n\n" + hidden}}}
	say := func(text string, writes, comments int) {
		t.Helper()
		before := f.writes
		if err := c.Comment(t.Context(), site("token"), 12, "troy:1", text); err != nil {
			t.Fatal(err)
		}
		if f.writes-before != writes || len(f.comments) != comments {
			t.Errorf("%q: %d writes, %d comments", text, f.writes-before, len(f.comments))
		}
	}
	say("", 0, 1)
	say("Building", 1, 2)
	say("Building", 0, 2)
	say("Ready", 1, 2)
	say("", 1, 2)
	if f.comments[1]["deleted"] != true || f.comments[0]["deleted"] != nil {
		t.Errorf("the comments are %v", f.comments)
	}
	say("Again", 1, 3)
	if err := c.Retract(t.Context(), site("token"), forge.Report{}); err != nil {
		t.Error(err)
	}
}

// set changes the fake between two calls.
func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}
