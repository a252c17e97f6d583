package web_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
)

type deployHook struct {
	ID         uuid.UUID `json:"id"`
	Name       string    `json:"name"`
	Branch     string    `json:"branch"`
	CreatedAt  time.Time `json:"created_at"`
	CreatedBy  string    `json:"created_by"`
	LastUsedAt *string   `json:"last_used_at"`
	URL        string    `json:"url"`
}

type hookCalled struct {
	Deployment uuid.UUID `json:"deployment"`
	Number     int64     `json:"number"`
	State      string    `json:"state"`
}

// hook makes a deploy hook of the pipeline blog and returns the path of its
// address.
func (w *world) hook(name, branch string) (deployHook, string) {
	w.t.Helper()
	var h deployHook
	w.send("POST", "/v1/pipelines/blog/hooks", map[string]string{"name": name, "branch": branch}).into(w.t, 201, &h)
	path, ok := strings.CutPrefix(h.URL, "https://troy.test")
	if !ok || len(path) < 50 {
		w.t.Fatalf("the address is %q", h.URL)
	}
	return h, path
}

// call calls a hook, from an address of its own.
func (w *world) call(path string, body any, options ...option) answer {
	w.t.Helper()
	n := ciAddress.Add(1)
	return w.send("POST", path, body, append([]option{header("Authorization", ""), header("X-Forwarded-For", fmt.Sprintf("198.18.%d.%d", n/250, n%250+1))}, options...)...)
}

// TestDeployHook calls a hook while nothing waits, while its deployment waits and
// while it runs, and then deletes it.
func TestDeployHook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("Blog", "github", "team/blog", "main")
	h, path := w.hook("cms", "")
	var first, again hookCalled
	w.call(path+"?trigger_title=New%20post%0a%E2%80%AE", `not JSON`).into(t, 202, &first)
	if first.Number != 1 || first.State != "waiting" {
		t.Errorf("%+v", first)
	}
	if cause := w.text("SELECT cause FROM events WHERE pipeline_id = $1 AND to_status = 'queued'", p.ID); cause != "the deploy hook cms was called: New post" {
		t.Errorf("the cause is %q", cause)
	}
	if who := w.text("SELECT actor || ' ' || branch || ' ' || kind FROM deployments WHERE pipeline_id = $1", p.ID); who != "hook cms main automated" {
		t.Errorf("the deployment is %q", who)
	}
	// A call while it waits changes nothing, also a call of another hook.
	_, other := w.hook("other", "main")
	for _, at := range []string{path, other} {
		if w.call(at, `{"trigger_title":"x","entry":{"a":[1]}}`).into(t, 202, &again); again != first {
			t.Errorf("again: %+v", again)
		}
	}
	// Many calls at once make one deployment.
	w.exec("UPDATE deployments SET state = 'building', started_at = now()")
	w.put(p, troy.Deploying)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() { w.call(path, nil).into(t, 202, nil) })
	}
	all.Wait()
	if n := w.count("SELECT count(*) FROM deployments"); n != 2 {
		t.Errorf("%d deployments, want the one that runs and one that waits", n)
	}
	// A push that waits is not what a hook asks for: the branch may be further.
	w.exec("UPDATE deployments SET commit_sha = $1 WHERE state = 'waiting'", strings.Repeat("a", 40))
	if w.call(path, nil).into(t, 202, &again); again.Number != 3 || w.count("SELECT count(*) FROM deployments WHERE number = 2 AND state = 'superseded'") != 1 {
		t.Errorf("%+v", again)
	}

	w.put(p, troy.Deleting)
	w.call(other, nil).refused(t, 409, "conflict", "", "")
	w.put(p, troy.Deploying)

	var list struct{ Hooks []deployHook }
	w.send("GET", "/v1/pipelines/blog/hooks", nil).into(t, 200, &list)
	if len(list.Hooks) != 2 || list.Hooks[0].LastUsedAt == nil || list.Hooks[0].URL != "" {
		t.Errorf("%+v", list)
	}
	w.send("DELETE", "/v1/pipelines/blog/hooks/"+h.ID.String(), nil, as(w.token(credentials.Deployer))).refused(t, 403, "forbidden", "", "admin")
	w.send("DELETE", "/v1/pipelines/blog/hooks/"+h.ID.String(), nil).into(t, 204, nil)
	w.send("DELETE", "/v1/pipelines/blog/hooks/"+h.ID.String(), nil).refused(t, 404, "not_found", "", "")
	w.call(path, nil).refused(t, 404, "not_found", "", "does not exist or was deleted")
	if n := w.count("SELECT count(*) FROM audit WHERE action IN ('hook.create', 'hook.delete') AND subject = 'cms' AND detail = 'the pipeline''s branch'"); n != 2 {
		t.Errorf("%d entries, want that it was made and deleted", n)
	}
	if n := w.count("SELECT count(*) FROM deploy_hooks WHERE encode(hash, 'escape') LIKE '%troyhook%'"); n != 0 {
		t.Error("the secret is stored")
	}
}

// TestDeployHookRefusals sends what a hook refuses. No answer and no line of the
// log has the secret.
func TestDeployHookRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("Blog", "github", "team/blog", "main")
	_, path := w.hook("cms", "")
	secret := path[strings.LastIndex(path, "/")+1:]
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		if a := w.send(method, path, nil, header("Authorization", "")); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "POST" {
			t.Errorf("%s answers %d, Allow %q", method, a.status, a.header.Get("Allow"))
		}
	}
	if a := w.send("HEAD", path, nil, header("Authorization", "")); a.status != http.StatusMethodNotAllowed {
		t.Errorf("HEAD answers %d", a.status)
	}
	for _, wrong := range []string{path + "/", path + "/x", path + "x", path[:len(path)-1], "/hooks/deploy", "/hooks/deploy/", "/hooks/deploy/" + strings.ToUpper(secret), "/hooks/Deploy/" + secret, "/x/" + secret, "/hooks/deploy/troy%68ook_x%2f" + secret[10:]} {
		w.call(wrong, nil).refused(t, 404, "not_found", "", "")
	}
	w.call(path, strings.Repeat("x", 1<<20+1)).refused(t, 413, "too_large", "", "1048576")
	for field, body := range map[string]string{"name": `{"name":""}`, "branch": `{"name":"x","branch":"a..b"}`, "secret": `{"name":"x","secret":"y"}`} {
		w.send("POST", "/v1/pipelines/blog/hooks", body).refused(t, 400, "invalid", field, "")
	}
	w.send("POST", "/v1/pipelines/blog/hooks", `{"name":"cms"}`).refused(t, 409, "conflict", "name", "has a deploy hook")
	w.send("POST", "/v1/pipelines/blog/hooks", `{"name":"x"}`, as(w.token(credentials.Deployer))).refused(t, 403, "forbidden", "", "admin")
	for i := range 19 {
		w.hook(fmt.Sprint(i), "")
	}
	w.send("POST", "/v1/pipelines/blog/hooks", `{"name":"one too many"}`).refused(t, 409, "conflict", "", "20 deploy hooks")

	w.send("POST", "/v1/pipelines/blog/lock", `{"reason":"an incident"}`).into(t, 200, nil)
	w.call(path, nil).refused(t, 409, "conflict", "", "an incident")
	w.send("DELETE", "/v1/pipelines/blog/lock", nil).into(t, 200, nil)
	w.put(p, troy.Deleting)
	w.call(path, nil).refused(t, 409, "conflict", "", "")
	w.put(p, troy.ReadyForDeployment)
	if n := w.count("SELECT count(*) FROM deployments"); n != 0 {
		t.Errorf("%d deployments by refused calls", n)
	}
	if n := w.count("SELECT count(*) FROM deploy_hooks WHERE last_used_at IS NOT NULL"); n != 0 {
		t.Errorf("%d hooks count as used after refused calls", n)
	}

	// A hook and an address that are called too often have to wait.
	var limited atomic.Int64
	for range 20 {
		if a := w.call(path, nil); a.status == http.StatusTooManyRequests {
			limited.Add(1)
			if a.header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
		}
	}
	if n := limited.Load(); n < 10 {
		t.Errorf("%d of 20 calls had to wait", n)
	}
	w.call("//hooks//deploy/"+secret, nil)
	from := header("X-Forwarded-For", "203.0.113.9")
	statuses := map[int]int{}
	for range 15 {
		statuses[w.send("POST", "/hooks/deploy/troyhook_"+strings.Repeat("x", 43), nil, header("Authorization", ""), from).status]++
	}
	if statuses[404] < 9 || statuses[429] == 0 {
		t.Errorf("guesses are answered %v", statuses)
	}
	// Nor does the log have most of it, as in the wrong addresses.
	if strings.Contains(strings.ToLower(w.log.String()), strings.ToLower(secret[10:len(secret)-1])) {
		t.Error("the log has the secret")
	}
	if !strings.Contains(w.log.String(), "/hooks/deploy/[secret]") {
		t.Error("the log lacks the calls")
	}
}

// TestDeployHookOfBranch shows another branch than the pipeline's in its preview.
func TestDeployHookOfBranch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind("Blog", "github", "team/blog", "")
	_, topic := w.hook("topic", "topic")
	var first, again hookCalled
	w.call(topic, nil).into(t, 202, &first)
	w.call(topic, nil).into(t, 202, &again)
	if first != again || w.count("SELECT count(*) FROM deployments d JOIN previews v ON v.id = d.preview_id WHERE v.branch = 'topic' AND d.branch = 'topic'") != 1 {
		t.Errorf("%+v and %+v", first, again)
	}
	// The pipeline's branch is the repository's default one, once Troy knows it.
	w.exec("INSERT INTO repositories (provider, id, full_name, default_branch) VALUES ('github', '7', 'team/blog', 'main')")
	w.exec("UPDATE pipelines SET repository_id = '7'")
	_, main := w.hook("main", "main")
	w.call(main, nil).into(t, 202, &first)
	if w.count("SELECT count(*) FROM deployments WHERE id = $1 AND kind = 'automated'", first.Deployment) != 1 {
		t.Errorf("%+v", first)
	}
}

// TestDeployHookPage makes and deletes a hook on the settings page. The page
// shows the address once.
func TestDeployHookPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bind("blog", "github", "team/blog", "main")
	cookie := w.session(w.admin)
	show := func() answer { return w.visit("GET", settingsPath, nil, cookie) }
	form := filled(t, show(), "hook#hooks")
	form.Set("hook_name", " cms <b> ")
	form.Set("hook_branch", "a..b")
	if a := w.visit("POST", settingsPath+"/hook", form, cookie); a.status != 400 || !strings.Contains(string(a.body), `id="f-hook-branch-error"`) || !strings.Contains(string(a.body), "cms &lt;b&gt;") {
		t.Errorf("a bad branch answers %d %s", a.status, a.body)
	}
	form.Set("hook_branch", "main")
	a := w.visit("POST", settingsPath+"/hook", form, cookie)
	made := regexp.MustCompile(`<code id="made">https://troy\.test(/hooks/deploy/troyhook_[A-Za-z0-9_-]{43})</code>`).FindSubmatch(a.body)
	if a.status != 200 || made == nil {
		t.Fatalf("making a hook answers %d %s", a.status, a.body)
	}
	if a := w.visit("POST", settingsPath+"/hook", form, cookie); a.status != 409 || !strings.Contains(string(a.body), "has a deploy hook") {
		t.Errorf("the same form again answers %d", a.status)
	}
	w.call(string(made[1]), nil).into(t, 202, nil)
	if a := show(); strings.Contains(string(a.body), "troyhook_") || !strings.Contains(string(a.body), "Delete cms &lt;b&gt;") || strings.Contains(string(a.body), "never used") {
		t.Errorf("the page shows %s", a.body)
	}
	if a := w.visit("POST", settingsPath+"/hook-delete", filled(t, show(), "hook-delete"), cookie); a.status != 303 {
		t.Errorf("deleting it answers %d %s", a.status, a.body)
	}
	w.call(string(made[1]), nil).refused(t, 404, "not_found", "", "")
}
