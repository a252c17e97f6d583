package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// pulls are the pull requests of the stand-in for GitHub, and what Troy wrote
// about them. Its github guards it.
type pulls struct {
	open        map[int]map[string]any
	writers     map[string]int   // ids of users who may push, by login
	comments    []map[string]any // of Troy
	deployments []map[string]any // with their newest state; nil until a test opens a pull request
	made        int
}

// pullsOf returns the pull requests of a repository.
func (g *github) pullsOf(repo hosted) *pulls {
	if own, ok := repo.(interface{ requested() *pulls }); ok {
		return own.requested()
	}
	return &g.pulls
}

// rest answers the requests about pull requests and their deployments by
// GitHub's rules. It returns false for any other request.
func (p *pulls) rest(answer func(int, any), refuse func(int, string), r *http.Request, body map[string]any, path string) bool {
	if p.open == nil {
		return false
	}
	parts := strings.Split(path, "/")
	method := r.Method + " " + parts[0]
	switch {
	case method == "GET pulls" && len(parts) == 1:
		list := []map[string]any{}
		for _, pr := range p.open {
			if pr["state"] == "open" {
				list = append(list, pr)
			}
		}
		answer(http.StatusOK, list)
	case method == "GET pulls":
		number, _ := strconv.Atoi(parts[1])
		if pr := p.open[number]; pr != nil {
			answer(http.StatusOK, pr)
		} else {
			refuse(http.StatusNotFound, "Not Found")
		}
	case method == "GET collaborators":
		id, known := p.writers[parts[1]]
		if !known {
			refuse(http.StatusNotFound, "Not Found")
			return true
		}
		answer(http.StatusOK, map[string]any{"permission": "write", "user": map[string]any{"id": id}})
	case strings.HasSuffix(method, " issues"):
		p.comment(answer, refuse, r, body, parts)
	case strings.HasSuffix(method, " deployments"):
		p.deployment(answer, refuse, r, body, parts)
	default:
		return false
	}
	return true
}

func (p *pulls) comment(answer func(int, any), refuse func(int, string), r *http.Request, body map[string]any, parts []string) {
	find := func() int {
		return slices.IndexFunc(p.comments, func(c map[string]any) bool { return fmt.Sprint(c["id"]) == parts[len(parts)-1] })
	}
	switch i := find(); {
	case r.Method == http.MethodGet:
		answer(http.StatusOK, append([]map[string]any{}, p.comments...))
	case r.Method == http.MethodPost:
		p.made++
		id, _ := strconv.Atoi(githubAppID)
		body["id"], body["performed_via_github_app"] = p.made, map[string]any{"id": id}
		p.comments = append(p.comments, body)
		answer(http.StatusCreated, body)
	case i < 0:
		refuse(http.StatusNotFound, "Not Found")
	case r.Method == http.MethodPatch:
		p.comments[i]["body"] = body["body"]
		answer(http.StatusOK, p.comments[i])
	default:
		p.comments = slices.Delete(p.comments, i, i+1)
		answer(http.StatusNoContent, nil)
	}
}

func (p *pulls) deployment(answer func(int, any), refuse func(int, string), r *http.Request, body map[string]any, parts []string) {
	if len(parts) == 1 && r.Method == http.MethodPost {
		p.made++
		body["id"] = p.made
		p.deployments = append(p.deployments, body)
		answer(http.StatusCreated, body)
		return
	}
	if len(parts) == 1 {
		list := []map[string]any{}
		for _, d := range p.deployments {
			if d["ref"] == r.URL.Query().Get("sha") && d["environment"] == r.URL.Query().Get("environment") {
				list = append(list, d)
			}
		}
		answer(http.StatusOK, list)
		return
	}
	i := slices.IndexFunc(p.deployments, func(d map[string]any) bool { return fmt.Sprint(d["id"]) == parts[1] })
	switch {
	case i < 0:
		refuse(http.StatusNotFound, "Not Found")
	case r.Method == http.MethodGet:
		list := []any{}
		if p.deployments[i]["status"] != nil {
			list = append(list, p.deployments[i]["status"])
		}
		answer(http.StatusOK, list)
	case r.Method == http.MethodPost:
		p.deployments[i]["status"] = body
		answer(http.StatusCreated, body)
	default:
		if status, _ := p.deployments[i]["status"].(map[string]any); status["state"] != "inactive" {
			refuse(http.StatusUnprocessableEntity, "We cannot delete an active deployment.")
			return
		}
		p.deployments = slices.Delete(p.deployments, i, i+1)
		answer(http.StatusNoContent, nil)
	}
}

// previews returns the deployments of previews that are at GitHub.
func (g *github) previews() (list []map[string]any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.pulls.deployments {
		if d["transient_environment"] == true {
			list = append(list, d)
		}
	}
	return list
}

// pull commits files to the source branch of a pull request. A stranger's branch
// is in a fork, and its commits are in the repository as refs/pull/N/head.
func (g *github) pull(number int, author string, files map[string]string) (commit string) {
	g.t.Helper()
	g.git(g.work, "checkout", "--quiet", "-B", "topic-"+strconv.Itoa(number), "origin/main")
	g.write(files)
	g.git(g.work, "add", "--all")
	g.git(g.work, "commit", "--quiet", "--allow-empty", "-m", "a change by "+author)
	g.git(g.work, "push", "--quiet", "--force", "origin", fmt.Sprintf("HEAD:refs/pull/%d/head", number))
	commit = g.git(g.work, "rev-parse", "HEAD")
	g.git(g.work, "checkout", "--quiet", "-B", "main", "origin/main")
	ids := map[string]int{"ada": 3, "eve": 9}
	head := g.repository()
	if author != "ada" {
		head = map[string]any{"id": 1000, "full_name": author + "/blog", "owner": map[string]any{"id": ids[author], "login": author}}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pulls.open == nil {
		g.pulls = pulls{open: map[int]map[string]any{}, writers: map[string]int{"ada": 3}}
	}
	g.pulls.open[number] = map[string]any{
		"number": number, "state": "open", "title": "Change it", "user": map[string]any{"id": ids[author], "login": author, "type": "User"},
		"head": map[string]any{"ref": "topic", "sha": commit, "repo": head}, "base": map[string]any{"ref": "main", "repo": g.repository()},
		"updated_at": time.Now().UTC().Format(time.RFC3339),
	}
	return commit
}

// closes closes a pull request without a webhook.
func (g *github) closes(number int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pulls.open[number]["state"] = "closed"
}

func (g *github) pullEvent(w *world, action string, number int) {
	g.t.Helper()
	g.mu.Lock()
	payload := map[string]any{
		"action": action, "number": number, "pull_request": g.pulls.open[number], "repository": g.repository(),
		"installation": map[string]any{"id": installation}, "sender": map[string]any{"login": "ada"},
	}
	g.mu.Unlock()
	if status, answer := g.deliver(w, "pull_request", uuid.NewString(), payload); status/100 != 2 {
		g.t.Fatalf("the pull request got the answer %d: %s", status, answer)
	}
}

func (g *github) comments(w *world, number int, author string, id int) {
	g.t.Helper()
	payload := map[string]any{
		"action": "created", "issue": map[string]any{"number": number, "pull_request": map[string]any{}}, "repository": g.repository(),
		"installation": map[string]any{"id": installation}, "sender": map[string]any{"login": author},
		"comment": map[string]any{
			"body": "/troy preview", "user": map[string]any{"id": id, "login": author, "type": "User"}, "created_at": time.Now().UTC().Add(time.Minute).Format(time.RFC3339),
		},
	}
	if status, answer := g.deliver(w, "issue_comment", uuid.NewString(), payload); status/100 != 2 {
		g.t.Fatalf("the comment got the answer %d: %s", status, answer)
	}
}

// TestPullRequests previews a collaborator's pull request, and a stranger's
// after an approval, with git, webhooks and real builds.
func TestPullRequests(t *testing.T) {
	t.Parallel()
	w, g, id := buildWorld(t)
	for name, value := range map[string]string{"GREETING": "good morning to all", "TOKEN": "hunter2hunter2"} {
		if _, err := w.api.SetVariable(t.Context(), id, name, client.VariableValue{Value: value, Secret: name == "TOKEN"}); err != nil {
			t.Fatal(err)
		}
	}
	w.must("troy", "pipeline", "set", "blog", "--comment-previews")
	shows := func(number int) string {
		_, body, _ := w.get(fmt.Sprintf("pr-%d--blog.localhost", number), "/")
		return body
	}
	gone := func(number int) {
		t.Helper()
		w.eventually("the preview is gone", func() bool {
			status, _, _ := w.get(fmt.Sprintf("pr-%d--blog.localhost", number), "/")
			return status == http.StatusNotFound
		})
		w.eventually("GitHub has no deployment of it", func() bool { return len(g.previews()) == 0 })
	}
	printing := map[string]string{"build.js": `const fs = require("fs");
fs.mkdirSync("dist", {recursive: true});
fs.writeFileSync("dist/index.html", JSON.stringify(process.env));
console.log(JSON.stringify(process.env));
`}

	commit := g.pull(7, "ada", printing)
	g.pullEvent(w, "opened", 7)
	w.eventually("the preview shows the pull request", func() bool { return strings.Contains(shows(7), `"TROY_PULL_REQUEST":"7"`) })
	page := shows(7)
	for _, want := range []string{`"TROY_CONTEXT":"preview"`, `"GREETING":"good morning to all"`, "pr-7--blog.localhost"} {
		if !strings.Contains(page, want) {
			t.Errorf("the build lacks %s: %s", want, page)
		}
	}
	if strings.Contains(page, "hunter2") {
		t.Errorf("a preview got a secret: %s", page)
	}
	if _, body, _ := w.get("blog.localhost", "/"); body != "<title>one</title>" {
		t.Errorf("the site shows %q", body)
	}
	w.eventually("GitHub shows the check and the deployment", func() bool { return g.conclusion(commit) == "success" && len(g.previews()) == 1 })
	w.eventually("GitHub shows the comment", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.pulls.comments) == 1 && strings.Contains(fmt.Sprint(g.pulls.comments[0]["body"]), "pr-7--blog.localhost")
	})
	g.closes(7)
	g.pullEvent(w, "closed", 7)
	gone(7)

	// The webhooks of a reopened and a closed one are lost.
	g.pull(7, "ada", site1("again"))
	w.eventually("the preview is back", func() bool { return strings.Contains(shows(7), "again") })
	g.closes(7)
	gone(7)

	stranger := g.pull(8, "eve", printing)
	g.pullEvent(w, "opened", 8)
	w.eventually("the stranger's commit waits", func() bool { return g.conclusion(stranger) == "action_required" })
	g.comments(w, 8, "eve", 9)
	if v, err := w.api.Preview(t.Context(), id, "pr-8"); err != nil || v.State != troy.PreviewNeedsApproval || v.Trusted || v.Commit != stranger {
		t.Errorf("the preview is %+v, %v", v, err)
	}
	if out, _, status := w.run("troy", "preview", "approve", "blog", "pr-8", "--commit", commit); status != 5 {
		t.Errorf("approving another commit ended with %d: %s", status, out)
	}
	g.comments(w, 8, "ada", 3)
	w.eventually("the approved commit is shown", func() bool { return strings.Contains(shows(8), `"TROY_PULL_REQUEST":"8"`) })
	d := w.deployment(id, stranger)
	for _, text := range []string{shows(8), w.must("troy", "logs", "blog", strconv.FormatInt(d.Number, 10))} {
		for _, kept := range []string{"hunter2", "TOKEN", "GREETING", "good morning"} {
			if strings.Contains(text, kept) {
				t.Errorf("a stranger's build has %s: %s", kept, text)
			}
		}
	}
	g.closes(8)
	g.pullEvent(w, "closed", 8)
	gone(8)
	if p, err := w.api.Pipeline(t.Context(), id); err != nil || p.Status != troy.Deployed {
		t.Errorf("the pipeline is %+v, %v", p, err)
	}
}
