package web_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/site"
)

func TestPipelines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var p pipeline
	a := w.send("POST", "/v1/pipelines", map[string]any{"name": "Blog", "app_id": "app-1"})
	a.into(t, 201, &p)
	if p.Slug != "blog" || p.Host != "blog.sites.test" || p.URL != "http://blog.sites.test:8081" || p.AppID != "app-1" ||
		p.Status != troy.ProvisionRequest || p.StatusName != "Provision Request" || p.QueuePosition == nil || *p.QueuePosition != 1 {
		t.Errorf("%s", a.body)
	}
	if a.header.Get("Location") != "/v1/pipelines/"+p.ID.String() {
		t.Errorf("Location %q", a.header.Get("Location"))
	}
	var second, again pipeline
	w.send("POST", "/v1/pipelines", map[string]any{"name": "Shop", "slug": "my-shop"}).into(t, 201, &second)
	if second.QueuePosition == nil || *second.QueuePosition != 2 {
		t.Errorf("place in the queue %v, want 2", second.QueuePosition)
	}
	for _, ref := range []string{second.ID.String(), "my-shop"} {
		if w.send("GET", "/v1/pipelines/"+ref, nil).into(t, 200, &again); again.ID != second.ID {
			t.Errorf("%s is %s", ref, again.ID)
		}
	}
	w.put(p, troy.FailedToProvision)
	w.send("POST", "/v1/pipelines/blog/provision", nil).into(t, 202, &again)
	w.send("POST", "/v1/pipelines/blog/provision", "{}").refused(t, 409, "conflict", "", "Blog is Provision Request")
	w.send("DELETE", "/v1/pipelines/blog", nil).into(t, 202, &again)
	if again.Status != troy.ScheduledForDeletion {
		t.Errorf("deleted, it is %s", again.Status)
	}
	w.send("DELETE", "/v1/pipelines/blog", nil).refused(t, 409, "conflict", "", "is Scheduled for Deletion")
	w.put(p, troy.FailedToDelete)
	w.send("DELETE", "/v1/pipelines/blog", nil).into(t, 202, &again)
}

func TestListsComeInPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want []string
	var last pipeline
	for i := range 5 {
		last = w.create(fmt.Sprintf("Site %d", i))
		want = append([]string{last.Slug}, want...)
	}
	for i := range 5 {
		w.released(last, fmt.Sprint(i))
	}
	w.put(last, troy.Deployed)
	type pages struct {
		Pipelines []struct {
			Slug string `json:"slug"`
		} `json:"pipelines"`
		Deployments []struct {
			Number int `json:"number"`
		} `json:"deployments"`
		Events []struct {
			Version int `json:"version"`
		} `json:"events"`
		Next string `json:"next"`
	}
	get := func(path string) (got []string) {
		after := ""
		for range 9 {
			a := w.send("GET", path+"limit=2&after="+after, nil)
			var p pages
			if a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			decodeLoose(t, a.body, &p)
			for _, i := range p.Pipelines {
				got = append(got, i.Slug)
			}
			for _, i := range p.Deployments {
				got = append(got, fmt.Sprint(i.Number))
			}
			for _, i := range p.Events {
				got = append(got, fmt.Sprint(i.Version))
			}
			if after = p.Next; after == "" {
				return got
			}
		}
		t.Fatal("it does not end")
		return nil
	}
	if got := get("/v1/pipelines?"); !slices.Equal(got, want) {
		t.Errorf("pipelines %v, want %v", got, want)
	}
	if got := get("/v1/pipelines?status=deployed&"); !slices.Equal(got, want[:1]) {
		t.Errorf("deployed pipelines %v, want %v", got, want[:1])
	}
	if got := get("/v1/pipelines/site-4/deployments?"); !slices.Equal(got, []string{"5", "4", "3", "2", "1"}) {
		t.Errorf("deployments %v", got)
	}
	w.send("DELETE", "/v1/pipelines/site-3", nil).into(t, 202, nil)
	if got := get("/v1/pipelines/site-3/events?"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("events %v", got)
	}
	for _, q := range []struct{ query, field string }{
		{"limit=0", "limit"}, {"limit=201", "limit"}, {"limit=x", "limit"}, {"limit=", "limit"},
		{"after=x", "after"}, {"status=live", "status"},
	} {
		w.send("GET", "/v1/pipelines?"+q.query, nil).refused(t, 400, "invalid", q.field, "")
	}
	w.send("GET", "/v1/pipelines/site-4/deployments?after=x", nil).refused(t, 400, "invalid", "after", "")
	w.send("GET", "/v1/pipelines/site-4/events?after=-1", nil).refused(t, 400, "invalid", "after", "")
}

func TestEventsOutliveThePipeline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.exec("DELETE FROM pipelines")
	for _, ref := range []string{"blog", p.ID.String()} {
		var list struct {
			Events []map[string]any `json:"events"`
		}
		w.send("GET", "/v1/pipelines/"+ref+"/events", nil).into(t, 200, &list)
		if len(list.Events) != 1 || list.Events[0]["to_name"] != "Pre Provisioned" || list.Events[0]["actor"] != "token test-admin" {
			t.Errorf("%v", list)
		}
		if _, from := list.Events[0]["from"]; from {
			t.Error("the first event has a from")
		}
		w.send("GET", "/v1/pipelines/"+ref, nil).refused(t, 404, "not_found", "", ref)
	}
	w.send("GET", "/v1/pipelines/other/events", nil).refused(t, 404, "not_found", "", "other")
	w.send("GET", "/v1/pipelines/"+uuid.NewString()+"/events", nil).refused(t, 404, "not_found", "", "")
}

func TestRollbackAndPromote(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	first := w.released(p, "one")
	w.send("POST", "/v1/pipelines/blog/promote", map[string]any{"deployment": first.ID}).refused(t, 409, "conflict", "deployment", "is Waiting")
	w.goLive(p, first.ID)
	var d deployment
	w.send("GET", "/v1/pipelines/blog/deployments/"+first.ID.String(), nil).into(t, 200, &d)
	if !d.Live || d.URL != "http://blog.sites.test:8081" || d.FinishedAt == nil || d.Message != "hello\nthere" || d.Bytes != 3 {
		t.Errorf("%+v", d)
	}
	w.send("POST", "/v1/pipelines/blog/promote", map[string]any{"deployment": first.ID}).refused(t, 409, "conflict", "deployment", "already live")
	w.send("POST", "/v1/pipelines/blog/rollback", nil).refused(t, 409, "conflict", "", "no other deployment")
	second := w.released(p, "two")
	w.goLive(p, second.ID)
	w.send("POST", "/v1/pipelines/blog/rollback", nil).into(t, 202, &d)
	if d.Kind != "rollback" || d.SourceDeploymentID == nil || *d.SourceDeploymentID != first.ID || d.Number != 3 || d.State != "waiting" || d.Live {
		t.Errorf("%+v", d)
	}
	w.send("POST", "/v1/pipelines/blog/deployments/"+d.ID.String()+"/cancel", nil).into(t, 202, &d)
	if d.State != "cancelled" || d.Cause != "cancelled by token test-admin" {
		t.Errorf("%+v", d)
	}
	w.send("POST", "/v1/pipelines/blog/deployments/"+d.ID.String()+"/cancel", nil).refused(t, 409, "conflict", "", "is Cancelled")
	w.send("POST", "/v1/pipelines/blog/rollback", map[string]any{"deployment": first.ID}).into(t, 202, &d)
	for _, c := range []struct{ body, field string }{
		{"", ""}, {"{}", "deployment"}, {`{"deployment":"x"}`, "deployment"}, {`{"deployment":1}`, "deployment"},
		{`{"to":"x"}`, "to"}, {`{} {}`, ""}, {`[]`, ""},
	} {
		w.send("POST", "/v1/pipelines/blog/promote", c.body).refused(t, 400, "invalid", c.field, "")
	}
	w.send("POST", "/v1/pipelines/blog/promote", map[string]any{"deployment": uuid.New()}).refused(t, 404, "not_found", "deployment", "")
	w.send("DELETE", "/v1/pipelines/blog", nil).into(t, 202, nil)
	w.send("POST", "/v1/pipelines/blog/promote", map[string]any{"deployment": first.ID}).refused(t, 409, "conflict", "", "Scheduled for Deletion")
}

func TestTasks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.Deployed)
	var ring struct{ Kind, ID, Result string }
	w.send("POST", "/v1/tasks", map[string]any{"kind": "pipeline:provision", "id": p.ID}).into(t, 202, &ring)
	if ring.Result != "the pipeline Blog is Deployed: there is nothing to provision" || ring.ID != p.ID.String() {
		t.Errorf("%+v", ring)
	}
	w.put(p, troy.FailedToProvision)
	w.send("POST", "/v1/tasks", map[string]any{"kind": "pipeline:provision", "id": p.ID}).into(t, 202, &ring)
	var now pipeline
	if w.send("GET", "/v1/pipelines/blog", nil).into(t, 200, &now); now.Status != troy.ProvisionRequest {
		t.Errorf("it is %s", now.Status)
	}
	w.send("POST", "/v1/tasks", `{"kind":"sweep"}`).into(t, 202, &ring)
	w.send("POST", "/v1/tasks", `{"kind":"dance","id":"`+p.ID.String()+`"}`).refused(t, 400, "invalid", "kind", "pipeline:teardown-start")
	w.send("POST", "/v1/tasks", `{"kind":"retention"}`).refused(t, 400, "invalid", "id", "missing")
	w.send("POST", "/v1/tasks", `{"id":"`+p.ID.String()+`"}`).refused(t, 400, "invalid", "kind", "missing")
	w.send("POST", "/v1/tasks", map[string]any{"kind": "retention", "id": uuid.New()}).refused(t, 404, "not_found", "", "")
}

func TestPurge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create("Blog")
	const at = "/v1/pipelines/blog/purge"
	for body, path := range map[string]string{"": "", "{}": "", `{"path":"/assets/a.js"}`: "assets/a.js", `{"path":"assets/"}`: "assets/"} {
		w.exec("DELETE FROM purges")
		w.exec("DELETE FROM work")
		var p pipeline
		w.send("POST", at, body).into(t, 202, &p)
		if got := w.text("SELECT string_agg(concat_ws(' ', path, actor), ',') FROM purges"); got != path+" token test-admin" {
			t.Errorf("%s: the rows are %q", body, got)
		}
		if got := w.text("SELECT string_agg(kind, ',') FROM work"); got != "purge" {
			t.Errorf("%s: the work is %q", body, got)
		}
	}
	for _, body := range []string{`{"path":"../x"}`, `{"path":"//"}`, `{"path":"a//b"}`, `{"path":"a\\b"}`, `{"path":1}`} {
		w.send("POST", at, body).refused(t, 400, "invalid", "path", "")
	}
	w.exec("DELETE FROM purges")
	w.exec("INSERT INTO purges (pipeline_id, path, actor) SELECT pipelines.id, n::text, 'x' FROM pipelines, generate_series(1, 1000) n")
	w.send("POST", at, `{"path":"another"}`).refused(t, 409, "conflict", "path", "purge a folder")
	w.send("POST", at, `{"path":"7"}`).into(t, 202, nil)
}

// TestPurgeOfNothing purges paths that the live site does not keep.
func TestPurgeOfNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	d := w.publish(p, map[string]string{"index.html": "home", "assets/new.0123abce.css": "new"})
	old := []site.Carried{{File: file("assets/old.0123abcd.css", "new"), Until: time.Now().Add(time.Hour).Unix()}}
	if err := w.deps.Store.Seal(t.Context(), site.Tree{Pipeline: p.ID, Deployment: d.ID}, old, nil); err != nil {
		t.Fatal(err)
	}
	const at = "/v1/pipelines/blog/purge"
	for _, path := range []string{"assets/old.0123abcd.cs", "asset/", "fonts/"} {
		w.send("POST", at, `{"path":"`+path+`"}`).refused(t, 404, "not_found", "path", path)
	}
	w.send("POST", at, `{"path":"assets/new.0123abce.css"}`).refused(t, 409, "conflict", "path", "in the live deployment")
	if n := w.count("SELECT count(*) FROM purges") + w.count("SELECT count(*) FROM audit WHERE action = 'pipeline.purge'"); n != 0 {
		t.Errorf("refused purges left %d rows, want 0", n)
	}
	for _, path := range []string{"assets/old.0123abcd.css", "assets/", ""} {
		w.send("POST", at, `{"path":"`+path+`"}`).into(t, 202, nil)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.create("Blog"), troy.ReadyForDeployment)
	const at, lock = "/v1/pipelines/blog", "/v1/pipelines/blog/lock"
	w.send("PATCH", at, `{"repository":{"provider":"github","full_name":"team/blog","branch":"main"}}`).into(t, 200, nil)
	for body, field := range map[string]string{`{}`: "reason", `{"reason":""}`: "reason", `{"reason":"a\nb"}`: "reason", `{"why":"x"}`: "why"} {
		w.send("POST", lock, body).refused(t, 400, "invalid", field, "")
	}
	for range 2 { // repeated, it is carried out once
		if a := w.send("POST", lock, `{"reason":"an incident"}`, header("Idempotency-Key", "k")); a.status != 200 || !strings.Contains(string(a.body), `"lock":{"by":"token test-admin","reason":"an incident","at":"`) {
			t.Errorf("%d: %s", a.status, a.body)
		}
	}
	w.send("POST", lock, `{"reason":"another"}`).refused(t, 409, "conflict", "", "locked by token test-admin: an incident; to unlock it: troy unlock blog")
	w.send("POST", at+"/deployments", nil).refused(t, 409, "conflict", "", "troy unlock blog")
	for range 2 {
		if a := w.send("DELETE", lock, nil); a.status != 200 || strings.Contains(string(a.body), `"lock"`) {
			t.Errorf("%d: %s", a.status, a.body)
		}
	}
	w.send("POST", at+"/deployments", nil).into(t, 202, nil)
}

// Every route, with each role and without a token.
func TestRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, other := w.create("Blog"), w.create("Other")
	d := w.released(p, "one")
	const at = "/v1/pipelines/blog"
	tokens := map[credentials.Role]string{credentials.Viewer: w.token(credentials.Viewer), credentials.Deployer: w.token(credentials.Deployer)}
	limited := w.token(credentials.Admin, other.ID)
	for _, c := range []struct {
		method, path string
		least        credentials.Role
	}{
		{"GET", "/v1/pipelines", credentials.Viewer},
		{"GET", at, credentials.Viewer},
		{"GET", at + "/events", credentials.Viewer},
		{"GET", at + "/deployments", credentials.Viewer},
		{"GET", at + "/deployments/" + d.ID.String(), credentials.Viewer},
		{"GET", at + "/releases/" + d.ID.String(), credentials.Viewer},
		{"POST", at + "/deployments/" + d.ID.String() + "/cancel", credentials.Deployer},
		{"POST", at + "/rollback", credentials.Deployer},
		{"POST", at + "/promote", credentials.Deployer},
		{"POST", at + "/purge", credentials.Deployer},
		{"POST", at + "/lock", credentials.Deployer},
		{"DELETE", at + "/lock", credentials.Deployer},
		{"POST", at + "/releases", credentials.Deployer},
		{"PUT", at + "/releases/" + d.ID.String() + "/files/" + strings.Repeat("a", 64), credentials.Deployer},
		{"POST", at + "/releases/" + d.ID.String() + "/finalize", credentials.Deployer},
		{"PUT", at + "/archive", credentials.Deployer},
		{"POST", "/v1/pipelines", credentials.Admin},
		{"POST", at + "/provision", credentials.Admin},
		{"POST", "/v1/tasks", credentials.Admin},
		{"DELETE", at, credentials.Admin},
	} {
		t.Run(c.method+c.path, func(t *testing.T) {
			w.send(c.method, c.path, nil, header("Authorization", "")).refused(t, 401, "unauthenticated", "", "token is needed")
			for role, token := range tokens {
				a := w.send(c.method, c.path, nil, as(token))
				if role.May(c.least) {
					if a.status == 401 || a.status == 403 {
						t.Errorf("a %s gets %d: %s", role, a.status, a.body)
					}
					continue
				}
				a.refused(t, 403, "forbidden", "", string(c.least)+" is needed")
			}
			if a := w.send(c.method, c.path, nil, as(limited)); strings.HasPrefix(c.path, at) && a.status != 404 {
				t.Errorf("a token without access to the pipeline gets %d: %s", a.status, a.body)
			}
		})
	}
	var list struct {
		Pipelines []pipeline `json:"pipelines"`
	}
	w.send("GET", "/v1/pipelines", nil, as(limited)).into(t, 200, &list)
	if len(list.Pipelines) != 1 || list.Pipelines[0].Slug != "other" {
		t.Errorf("the limited token sees %+v", list)
	}
	w.send("POST", "/v1/pipelines", `{"name":"x"}`, as(limited)).refused(t, 403, "forbidden", "", "limited")
	w.send("POST", "/v1/tasks", `{"kind":"sweep"}`, as(limited)).refused(t, 403, "forbidden", "", "limited")
	w.send("POST", "/v1/tasks", map[string]any{"kind": "retention", "id": p.ID}, as(limited)).refused(t, 404, "not_found", "", "")
	w.send("GET", "/monitor", nil, as(limited)).refused(t, 403, "forbidden", "", "limited")
}

func TestTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	past := time.Now().Add(-time.Second)
	expired, err := credentials.Token{Name: "old", Role: credentials.Admin, Expires: &past}.Create(t.Context(), w.db)
	if err != nil {
		t.Fatal(err)
	}
	if n := w.count("SELECT count(*) FROM tokens WHERE position(convert_to($1, 'UTF8') in hash) > 0", expired); n != 0 || len(expired) != 48 {
		t.Error("the token itself is stored")
	}
	for _, value := range []string{
		"Bearer " + expired, "Bearer troy_" + strings.Repeat("a", 43), "Bearer x", "Bearer ", "Basic x", w.admin, "Digest " + w.admin,
		"Bearer " + w.admin + "x", "Bearer troy_" + strings.Repeat("a", 8000),
	} {
		a := w.send("GET", "/v1/pipelines", nil, header("Authorization", value))
		a.refused(t, 401, "unauthenticated", "", "token")
		if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
		}
	}
	w.send("GET", "/v1/pipelines", nil, func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+w.admin) }).refused(t, 401, "unauthenticated", "", "")
	w.send("GET", "/v1/pipelines", nil, header("Authorization", "bearer "+w.admin)).into(t, 200, nil)
	w.send("GET", "/v1/pipelines", nil, func(r *http.Request) { r.SetBasicAuth("anyone", w.admin) }).into(t, 200, nil)
	for _, c := range []struct{ name, role string }{{"", "admin"}, {"x", "root"}, {strings.Repeat("x", 101), "admin"}} {
		if _, err := (credentials.Token{Name: c.name, Role: credentials.Role(c.role)}).Create(t.Context(), w.db); troy.KindOf(err) != troy.Invalid {
			t.Errorf("%q %q: %v", c.name, c.role, err)
		}
	}
}

func TestAppEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const body = `{"id":"evt-1","type":"Created","time":"2026-01-02T15:04:05Z","app":{"id":"app-1","name":"Blog"}}`
	send := func(body, signature string) answer {
		return w.send("POST", "/events/apps", body, header("Authorization", ""), header("X-Troy-Signature-256", signature))
	}
	for _, signature := range []string{"", sign("wrong", body), sign(appsSecret, body+" "), "sha256=", sign("", body)} {
		send(body, signature).refused(t, 401, "unauthenticated", "", "signature")
	}
	if n := w.count("SELECT count(*) FROM deliveries"); n != 0 {
		t.Error("an unsigned event was recorded")
	}
	if log := w.log.String(); !strings.Contains(log, "refused for its signature") || strings.Contains(log, "app-1") {
		t.Errorf("the log: %s", log)
	}
	outcomes := make(chan string, 50)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			var out struct {
				Outcome    string    `json:"outcome"`
				Detail     string    `json:"detail"`
				PipelineID uuid.UUID `json:"pipeline_id"`
			}
			send(body, sign(appsSecret, body)).into(t, 202, &out)
			outcomes <- out.Outcome
		})
	}
	wg.Wait()
	close(outcomes)
	seen := map[string]int{}
	for o := range outcomes {
		seen[o]++
	}
	if seen["created"] != 1 || seen["duplicate"] != 49 || w.count("SELECT count(*) FROM pipelines") != 1 {
		t.Errorf("outcomes %v", seen)
	}
	bad := strings.Replace(body, `"Blog"`, "7", 1)
	send(bad, sign(appsSecret, bad)).refused(t, 400, "invalid", "app.name", "string")
	large := body + strings.Repeat(" ", 1<<20)
	send(large, sign(appsSecret, large)).refused(t, 413, "too_large", "", "1048576")
}

func TestAppEventsWithoutASecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.cfg.AppsSecret = "" })
	for _, signature := range []string{"", sign("", "{}")} {
		a := w.send("POST", "/events/apps", "{}", header("X-Troy-Signature-256", signature))
		a.refused(t, 503, "unavailable", "", "TROY_APPS_SECRET is not set")
		if a.header.Get("Retry-After") != "60" {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
	}
}
