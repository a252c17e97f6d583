package web_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
)

type previewAnswer struct {
	Label      string `json:"label"`
	Kind       string `json:"kind"`
	State      string `json:"state"`
	Cause      string `json:"cause"`
	URL        string `json:"url"`
	Branch     string `json:"branch"`
	Deployment int64  `json:"deployment"`
	Shown      int64  `json:"shown"`
	Pinned     bool   `json:"pinned"`
	ExpiresAt  string `json:"expires_at"`
	ClosedAt   string `json:"closed_at"`

	StateName   string `json:"state_name"`
	Host        string `json:"host"`
	PullRequest int64  `json:"pull_request"`
	SourceURL   string `json:"source_url"`
	Title       string `json:"title"`
	Author      string `json:"author"`
	Commit      string `json:"commit"`
	Trusted     bool   `json:"trusted"`
	ShownAt     string `json:"shown_at"`
	CreatedAt   string `json:"created_at"`
	PushedAt    string `json:"pushed_at"`
}

type previewsAnswer struct {
	Previews []previewAnswer `json:"previews"`
	Next     string          `json:"next"`
}

// draft uploads one file to a preview.
func (w *world) draft(p pipeline, label, content string) (d deployment) {
	w.t.Helper()
	r := w.begin(p, nil, file("index.html", content))
	if len(r.Missing) > 0 {
		w.upload(p, r, content).into(w.t, 204, nil)
	}
	w.send("POST", fmt.Sprintf("%s/%s/finalize", releases(p), r.ID), map[string]any{"preview": label}).into(w.t, 202, &d)
	return d
}

// show makes a preview show a deployment, as the workers do.
func (w *world) show(d deployment) {
	w.t.Helper()
	w.exec("UPDATE deployments SET state = 'succeeded', started_at = now(), finished_at = now(), sealed_at = now() WHERE id = $1", d.ID)
	w.exec("UPDATE previews v SET live_deployment_id = d.id FROM deployments d WHERE d.id = $1 AND v.id = d.preview_id", d.ID)
}

func TestPreviewsOfAPipeline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	blog := w.bind("Blog", "github", "team/blog", "main")
	const at = "/v1/pipelines/blog/previews"
	var list previewsAnswer
	w.send("GET", at, nil).into(t, 200, &list)
	if list.Previews == nil || len(list.Previews) != 0 {
		t.Errorf("before, the list is %v", list)
	}
	first := w.draft(blog, "draft", "one")
	if first.Kind != "preview" || w.count("SELECT count(*) FROM pipelines WHERE status = 'ready_for_deployment'") != 1 {
		t.Errorf("the deployment is %+v", first)
	}
	w.show(first)
	var v previewAnswer
	w.send("GET", at+"/draft", nil).into(t, 200, &v)
	if v.State != "ready" || v.Kind != "release" || v.URL != "http://draft--blog.sites.test:8081" || v.Shown != first.Number || v.Deployment != first.Number || v.ExpiresAt == "" {
		t.Errorf("the preview is %+v", v)
	}
	v = previewAnswer{}
	w.send("POST", at, `{"branch":"feature/x"}`).into(t, 202, &v)
	if v.State != "waiting" || v.Kind != "branch" || v.Label != "feature-x" || v.Branch != "feature/x" || v.Shown != 0 {
		t.Errorf("the preview of a branch is %+v", v)
	}
	w.exec("UPDATE previews SET pushed_at = pushed_at - interval '1 hour' WHERE label = 'draft'")
	w.send("GET", at+"?limit=1", nil).into(t, 200, &list)
	if len(list.Previews) != 1 || list.Previews[0].Label != "feature-x" || list.Next == "" {
		t.Fatalf("the first page is %+v", list)
	}
	next := list.Next
	list = previewsAnswer{}
	w.send("GET", at+"?limit=1&after="+url.QueryEscape(next), nil).into(t, 200, &list)
	if len(list.Previews) != 1 || list.Previews[0].Label != "draft" || list.Next != "" {
		t.Errorf("the second page is %+v", list)
	}

	// A deployment has an address of its own.
	var d struct {
		Address string
		URL     string
	}
	decodeLoose(t, w.send("GET", fmt.Sprintf("/v1/pipelines/blog/deployments/%d", first.Number), nil).body, &d)
	if want := fmt.Sprintf("http://d-%d--blog.sites.test:8081", first.Number); d.Address != want || d.URL != "" {
		t.Errorf("the deployment's addresses are %+v, want %s", d, want)
	}

	for body, field := range map[string]string{
		`{"preview":"Draft"}`: "preview", `{"preview":"pr-1"}`: "preview", `{"preview":"a","publish":true}`: "preview", `{"preview":"a","expect_live":"none"}`: "preview",
	} {
		r := w.begin(blog, nil, file("index.html", "one"))
		w.send("POST", fmt.Sprintf("%s/%s/finalize", releases(blog), r.ID), body).refused(t, 400, "invalid", field, "")
	}
	w.send("POST", at, `{"branch":"a..b"}`).refused(t, 400, "invalid", "branch", "not a valid branch name")
	w.send("GET", at+"/none", nil).refused(t, 404, "not_found", "", "no preview none")
	w.send("GET", at+"?after=x", nil).refused(t, 400, "invalid", "after", "")

	w.send("POST", at+"/draft/pin", nil).into(t, 200, &v)
	v = previewAnswer{}
	w.send("GET", at+"/draft", nil).into(t, 200, &v)
	if !v.Pinned || v.ExpiresAt != "" {
		t.Errorf("pinned, it is %+v", v)
	}
	w.send("POST", at+"/draft/unpin", nil).into(t, 200, &v)
	w.send("POST", at+"/draft/promote", fmt.Sprintf(`{"deployment":%d}`, first.Number+7)).refused(t, 412, "precondition_failed", "deployment", "")
	w.send("POST", at+"/feature-x/promote", nil).refused(t, 409, "conflict", "", "shows nothing yet")
	var made deployment
	w.send("POST", at+"/draft/promote", fmt.Sprintf(`{"deployment":%d}`, first.Number)).into(t, 202, &made)
	if made.Kind != "promotion" {
		t.Errorf("promoted, it is %+v", made)
	}
	for range 2 {
		v = previewAnswer{}
		w.send("DELETE", at+"/draft", nil).into(t, 202, &v)
		if v.State != "removing" || v.ClosedAt == "" || !strings.HasPrefix(v.Cause, "deleted by ") {
			t.Errorf("deleted, it is %+v", v)
		}
	}
	w.send("POST", at+"/draft/pin", nil).refused(t, 409, "conflict", "", "was deleted at")
	viewer := as(w.token(credentials.Viewer))
	w.send("DELETE", at+"/feature-x", nil, viewer).refused(t, 403, "forbidden", "", "")
	w.send("GET", at, nil, viewer).into(t, 200, &list)
	if n := w.count("SELECT count(*) FROM audit WHERE action IN ('preview.delete', 'preview.pin', 'preview.unpin') AND pipeline_id = $1", blog.ID); n != 3 {
		t.Errorf("%d entries of the audit trail, want 3", n)
	}
}

func TestPreviewsWhereThereAreNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.deps.Intake = intake.New(w.db, w.bell, intake.Config{SitesSuffix: "sites.test", NoPreviews: "previews can't be served here"})
	})
	w.bind("Blog", "github", "team/blog", "main")
	w.send("POST", "/v1/pipelines/blog/previews", `{"branch":"x"}`).refused(t, 409, "conflict", "", "previews can't be served here")
	page := w.visit("GET", "/pipelines/blog/previews", nil, w.session(w.token(credentials.Admin)))
	if page.status != 200 || !strings.Contains(string(page.body), "can’t be served where this installation") {
		t.Errorf("the page: %d %s", page.status, page.body)
	}
}

func TestPageOfPreviews(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	blog := w.bind("Blog", "github", "team/blog", "main")
	deployer, viewer := w.session(w.token(credentials.Deployer)), w.session(w.token(credentials.Viewer))
	const at = "/pipelines/blog/previews"
	shows := func(cookie string, texts ...string) string {
		t.Helper()
		page := w.visit("GET", at, nil, cookie)
		for _, text := range texts {
			if page.status != 200 || !strings.Contains(string(page.body), text) {
				t.Errorf("the page: %d, want %q in it:\n%s", page.status, text, page.body)
			}
		}
		return string(page.body)
	}
	act := func(action string, form url.Values) answer {
		return w.visit("POST", "/pipelines/blog/actions/preview-"+action, form, deployer)
	}
	shows(deployer, "No preview yet", "troy release ./public --pipeline blog --preview", `name="branch"`)
	if a := act("create", url.Values{"branch": {"feature/x"}}); a.status != 303 {
		t.Errorf("create: %d %s", a.status, a.body)
	}
	d := w.draft(blog, "draft", "one")
	w.show(d)
	w.exec(`UPDATE previews SET trusted = false, kind = 'pull_request', repository_id = '7', number = 12, head_commit = repeat('a', 40), title = '<b>A change', author = 'mona' WHERE label = 'feature-x'`)
	shows(deployer, "Needs approval", "Approve and build", "&lt;b&gt;A change", "mona", "Pull request 12", "feature-x--blog.sites.test", `href="http://draft--blog.sites.test:8081"`, "Promote")
	if page := shows(viewer, "Needs approval"); strings.Contains(page, "<form method=\"post\" action=\"/pipelines/blog/actions/preview") {
		t.Error("a viewer sees actions")
	}
	if a := act("approve", url.Values{"label": {"feature-x"}, "commit": {strings.Repeat("b", 40)}}); a.status != 412 {
		t.Errorf("approve of another commit: %d %s", a.status, a.body)
	}
	if a := act("approve", url.Values{"label": {"feature-x"}, "commit": {strings.Repeat("a", 40)}}); a.status != 303 {
		t.Errorf("approve: %d %s", a.status, a.body)
	}
	if a := act("pin", url.Values{"label": {"draft"}}); a.status != 303 {
		t.Errorf("pin: %d %s", a.status, a.body)
	}
	shows(deployer, "pinned", "Unpin")
	if a := act("promote", url.Values{"label": {"draft"}, "shown": {fmt.Sprint(d.Number)}}); a.status != 303 || w.count("SELECT count(*) FROM deployments WHERE kind = 'promotion'") != 1 {
		t.Errorf("promote: %d %s", a.status, a.body)
	}
	if a := act("delete", url.Values{"label": {"draft"}, "confirm": {"other"}}); a.status != 400 || w.count("SELECT count(*) FROM previews WHERE closed_at IS NOT NULL") != 0 {
		t.Errorf("delete without a confirmation: %d %s", a.status, a.body)
	}
	if a := act("delete", url.Values{"label": {"draft"}, "confirm": {"draft"}}); a.status != 303 || w.count("SELECT count(*) FROM previews WHERE closed_at IS NOT NULL") != 1 {
		t.Errorf("delete: %d %s", a.status, a.body)
	}
}
