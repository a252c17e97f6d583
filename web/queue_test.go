package web_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/hibiken/asynq"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

type queueState struct {
	Name  string   `json:"name"`
	Kinds []string `json:"kinds"`
	Pause *struct {
		By     string `json:"by"`
		Reason string `json:"reason"`
		At     string `json:"at"`
	} `json:"pause"`
	InRedis bool   `json:"paused_in_redis"`
	Running *int64 `json:"running"`
	Due     *int64 `json:"due"`
	Failing *int64 `json:"failing"`
	More    bool   `json:"more"`
}

func (w *world) queueNamed(name, token string) queueState {
	w.t.Helper()
	var list struct {
		Queues []queueState `json:"queues"`
	}
	w.send("GET", "/v1/queues", nil, as(token)).into(w.t, 200, &list)
	i := slices.IndexFunc(list.Queues, func(q queueState) bool { return q.Name == name })
	if i < 0 {
		w.t.Fatalf("there is no queue %s in %+v", name, list)
	}
	return list.Queues[i]
}

// claims reports whether a worker gets the provisioning of a pipeline.
func (w *world) claims(p pipeline) bool {
	w.t.Helper()
	_, err := w.q.WorkClaim(w.t.Context(), queries.WorkClaimParams{Kind: tasks.TypeProvision, SubjectID: p.ID, LeaseSeconds: 60, Queue: tasks.QueueQuick, Worker: "box"})
	return err == nil
}

// TestPauseQueue pauses a queue in Troy and in Asynqmon, loses Redis and resumes
// it.
func TestPauseQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.send("POST", "/v1/pipelines/blog/provision", nil).into(t, 202, nil)
	const at = "/v1/queues/quick/pause"
	for role, token := range map[string]string{"deployer": w.token(credentials.Deployer), "limited": w.token(credentials.Admin, p.ID)} {
		w.send("PUT", at, `{"reason":"no"}`, as(token)).refused(t, 403, "forbidden", "", "")
		w.send("DELETE", at, nil, as(token)).refused(t, 403, "forbidden", "", "")
		if q := w.queueNamed("quick", token); q.Pause != nil || (q.Running != nil) == (role == "limited") {
			t.Errorf("a %s sees %+v", role, q)
		}
	}
	w.send("PUT", at, `{}`).refused(t, 400, "invalid", "reason", "")
	w.send("PUT", "/v1/queues/sweep/pause", `{"reason":"x"}`).refused(t, 400, "invalid", "queue", "builds, domains, forge, notifications, previews, quick, thumbnails")
	w.exec("UPDATE work SET ring_id = NULL, due_at = now() - interval '2 hours', since = now() - interval '2 hours'")
	var paused queueState
	w.send("PUT", at, `{"reason":"an incident"}`).into(t, 200, &paused)
	w.send("PUT", at, `{"reason":"an incident"}`).into(t, 200, &paused) // changes nothing
	if paused.Pause == nil || paused.Pause.Reason != "an incident" || paused.Pause.By != "token test-admin" || *paused.Due != 1 {
		t.Errorf("the queue is %+v", paused)
	}
	w.send("PUT", at, `{"reason":"another"}`).refused(t, 409, "conflict", "", "token test-admin: an incident")
	// Neither a bell nor a worker whose task is still in Redis begins the work,
	// even if Redis is emptied.
	if err := w.deps.Redis.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := w.bell.Ring(t.Context(), tasks.QueueQuick); err != nil || n != 0 {
		t.Errorf("%d rows of the paused queue are rung, %v", n, err)
	}
	if w.claims(p) {
		t.Error("a worker claims work of the paused queue")
	}
	if list := w.queue("", 10, w.admin); len(list) != 1 || !strings.Contains(list[0].Why, "paused by token test-admin: an incident") {
		t.Errorf("the queue is %+v", list)
	}
	var rung struct{ ID, Kind, Result string }
	w.send("POST", "/v1/queue/ring", map[string]any{"kind": tasks.TypeProvision, "subject_id": p.ID}).into(t, 202, &rung)
	if !strings.Contains(rung.Result, "when the queue quick is resumed") {
		t.Errorf("ringing answers %q", rung.Result)
	}
	// Resuming ends a pause of Asynqmon too, and deadlines do not count it.
	if err := asynq.NewInspectorFromRedisClient(w.deps.Redis).PauseQueue(tasks.QueueQuick); err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE pauses SET at = now() - interval '90 minutes'")
	if q := w.queueNamed("quick", w.admin); !q.InRedis {
		t.Errorf("with a pause in Redis the queue is %+v", q)
	}
	w.send("DELETE", at, nil).into(t, 200, &paused)
	if q := w.queueNamed("quick", w.admin); q.Pause != nil || q.InRedis {
		t.Errorf("the resumed queue is %+v", q)
	}
	if n := w.count("SELECT count(*) FROM work WHERE since BETWEEN now() - interval '31 minutes' AND now() - interval '29 minutes'"); n != 1 {
		t.Errorf("the pause counts against the deadlines of %d rows", 1-n)
	}
	if !w.claims(p) {
		t.Error("no worker claims work of the resumed queue")
	}
	w.send("DELETE", at, nil).into(t, 200, nil)
	for action, n := range map[string]int{"queue.pause": 1, "queue.resume": 1, "work.ring": 1} {
		if got := w.count("SELECT count(*) FROM audit WHERE action = $1 AND actor = 'token test-admin' AND remote <> ''", action); got != n {
			t.Errorf("%s is recorded %d times, want %d", action, got, n)
		}
	}
}

// TestRingAndRetryWork makes work due, with and without its attempts.
func TestRingAndRetryWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.send("POST", "/v1/pipelines/blog/provision", nil).into(t, 202, nil)
	later := "UPDATE work SET ring_id = NULL, lease_until = NULL, attempt = 3, cause = 'Rate exceeded', due_at = now() + interval '1 hour', since = now() - interval '1 hour'"
	due := "SELECT count(*) FROM work WHERE due_at <= now() AND attempt = $1 AND (since > now() - interval '1 minute') = $2"
	body := map[string]any{"kind": tasks.TypeProvision, "subject_id": p.ID}
	w.exec(later)
	w.send("POST", "/v1/queue/ring", body, as(w.token(credentials.Deployer))).into(t, 202, nil)
	if w.count(due, 3, false) != 1 {
		t.Error("the rung work is not due, or it has other attempts")
	}
	w.exec(later)
	w.send("POST", "/v1/queue/retry", body).into(t, 202, nil)
	if w.count(due, 0, true) != 1 {
		t.Error("the retried work is not due, or has not all of its attempts")
	}
	if a := w.visit("POST", "/queue/actions/ring", url.Values{"kind": {"\x00"}, "subject": {p.ID.String()}}, w.session(w.admin)); a.status != 404 {
		t.Errorf("ringing an unknown kind answers %d: %s", a.status, a.body)
	}
	w.exec("UPDATE work SET ring_id = NULL, lease_until = now() + interval '1 minute'")
	other := w.token(credentials.Deployer, w.create("Other").ID)
	for _, action := range []string{"ring", "retry"} {
		path := "/v1/queue/" + action
		w.send("POST", path, body).refused(t, 409, "conflict", "", "a worker runs it")
		w.send("POST", path, body, as(w.token(credentials.Viewer))).refused(t, 403, "forbidden", "", "")
		w.send("POST", path, body, as(other)).refused(t, 404, "not_found", "", "no such work")
		w.send("POST", path, map[string]any{"kind": tasks.TypeDeploy, "subject_id": p.ID}).refused(t, 404, "not_found", "", "no such work")
		w.send("POST", path, map[string]any{"kind": "sweep", "subject_id": p.ID}).refused(t, 400, "invalid", "kind", "unknown")
	}
}

// TestQueueFilters lists work by queue, kind and state, page by page.
func TestQueueFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.exec("DELETE FROM work")
	for kind, set := range map[string]string{
		tasks.TypeProvision: "due_at = now() - interval '1 minute'", tasks.TypePurge: "attempt = 2, cause = 'x', due_at = now() - interval '1 second'",
		tasks.TypeRetention: "due_at = now() + interval '1 hour'", tasks.TypeCatchUp: "lease_until = now() + interval '1 hour', worker = 'box, process 7', claimed_at = now()",
		tasks.TypeDeploy: "attempt = 1, cause = 'y', due_at = now() + interval '1 minute'",
	} {
		w.exec("INSERT INTO work (kind, subject_id) VALUES ($1, $2)", kind, p.ID)
		w.exec("UPDATE work SET "+set+" WHERE kind = $1", kind)
	}
	limited := w.token(credentials.Viewer, p.ID)
	for query, want := range map[string]string{
		"&state=running": "forge:catch-up", "&state=waiting": "pipeline:provision", "&state=later": "retention", "&state=failing": "purge pipeline:deploy",
		"&queue=forge": "forge:catch-up", "&queue=builds": "", "&kind=purge": "purge", "&queue=quick&state=failing&kind=purge": "purge", "&state=failing&pipeline=blog": "purge pipeline:deploy",
	} {
		for _, token := range []string{w.admin, limited} {
			var got []string
			for _, j := range w.queue(query, 1, token) {
				got = append(got, j.Kind)
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s lists %q, want %q", query, got, want)
			}
		}
	}
	for field, query := range map[string]string{"state": "state=none", "kind": "kind=none", "queue": "queue=sweep"} {
		w.send("GET", "/v1/queue?"+query, nil).refused(t, 400, "invalid", field, "expected one of")
	}
}

// A queue moves while the page is open, outlives its server, and is paused and
// resumed there.
func TestQueueInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := browse(t)
	p := w.create("Blog")
	w.send("POST", "/v1/pipelines/blog/provision", nil).into(t, 202, nil)
	b.signIn(w, w.admin, "/queue")
	b.shows("#queue", "Provision")
	w.exec("UPDATE work SET ring_id = NULL, attempt = 3, cause = $1, due_at = now() + interval '10 minutes'", hostile)
	b.shows("#queue .row .status.bad", "failing")
	b.shows("#queue .row", hostile)
	b.quiet()
	// The server goes, a worker takes the work, and the page catches up.
	address := w.server.Listener.Addr().String()
	if err := w.server.Config.Close(); err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE work SET lease_until = now() + interval '10 minutes', claimed_at = now(), worker = 'box, process 7'")
	b.shows("#lost:not([hidden])", "The connection was lost")
	w.restart(address)
	b.shows("#queue .row", "box, process 7")
	b.eventually("the page has its connection again", func() bool { return b.read("#lost:not([hidden])") == "" })
	b.said.clear() // that the connection was lost is what the browser logs
	b.do(chromedp.Click("#queue-quick summary", chromedp.NodeVisible), chromedp.SendKeys("#reason-quick", hostile, chromedp.NodeVisible), chromedp.Submit("#reason-quick"))
	b.shows("#queue-quick .tag", "paused")
	b.shows("#queue-quick .note", hostile)
	if n := w.count("SELECT count(*) FROM pauses WHERE queue = 'quick' AND reason = $1", hostile); n != 1 {
		t.Fatalf("%d queues are paused, want 1", n)
	}
	b.do(chromedp.Click("#queue-quick button.primary", chromedp.NodeVisible))
	b.eventually("the queue is resumed", func() bool { return w.count("SELECT count(*) FROM pauses") == 0 })
	b.shows("#queue-quick summary", "Pause")
	w.exec("UPDATE work SET lease_until = NULL")
	b.do(chromedp.Click(`#queue form[action$="/retry"] button`, chromedp.NodeVisible))
	b.eventually("the work is retried", func() bool { return w.count("SELECT count(*) FROM work WHERE attempt = 0 AND due_at <= now()") == 1 })
	w.exec("DELETE FROM work WHERE subject_id = $1", p.ID)
	b.shows("#queue .empty", "Nothing to do")
	if n := b.number(`document.images.length`); n != 0 {
		t.Errorf("the page has %d pictures", n)
	}
	b.quiet()
}

// TestQueueActionsNeedRoles checks the forms of the page, and a cancelled build.
func TestQueueActionsNeedRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("blog", "github", "team/blog", "")
	var d deployment
	w.send("POST", "/v1/pipelines/blog/deployments", nil).into(t, 202, &d)
	form := url.Values{"kind": {tasks.TypeBuild}, "subject": {d.ID.String()}, "queue": {"builds"}, "reason": {"x"}, "query": {"state=waiting&x=https://evil.test"}}
	act := func(action, token string) answer {
		return w.visit("POST", "/queue/actions/"+action, form, w.session(token))
	}
	for _, c := range []struct {
		action, token string
		status        int
	}{
		{"ring", w.token(credentials.Viewer), 403}, {"cancel", w.token(credentials.Viewer), 403}, {"pause", w.token(credentials.Deployer), 403},
		{"pause", w.token(credentials.Admin, p.ID), 403}, {"resume", w.token(credentials.Deployer), 403},
		{"cancel", w.token(credentials.Deployer, w.create("Other").ID), 404}, {"explode", w.admin, 404},
		{"ring", w.token(credentials.Deployer), 303}, {"cancel", w.token(credentials.Deployer, p.ID), 303}, {"cancel", w.admin, 404},
	} {
		a := act(c.action, c.token)
		if a.status != c.status || c.status == 303 && !strings.HasPrefix(a.header.Get("Location"), "/queue?state=waiting") {
			t.Errorf("%s answers %d %s, want %d", c.action, a.status, a.header.Get("Location"), c.status)
		}
	}
	form.Set("kind", "\x00")
	if a := act("ring", w.admin); a.status != 404 {
		t.Errorf("ringing an unknown kind answers %d", a.status)
	}
	if n := w.count("SELECT count(*) FROM deployments WHERE state = 'cancelled'"); n != 1 {
		t.Errorf("%d deployments are cancelled, want 1", n)
	}
	viewer := w.visit("GET", "/queue", nil, w.session(w.token(credentials.Viewer)))
	if viewer.status != 200 || strings.Contains(string(viewer.body), "/queue/actions/") {
		t.Errorf("a viewer is offered actions, or the page answers %d", viewer.status)
	}
	for _, query := range []string{"state=none", "after=x", "queue=none", "kind=%00"} {
		if a := w.visit("GET", "/queue?"+query, nil, w.session(w.admin)); a.status != 400 {
			t.Errorf("%s answers %d", query, a.status)
		}
	}
	if a := w.visit("GET", "/queue?pipeline=none", nil, w.session(w.admin)); a.status != 404 {
		t.Errorf("the queue of no pipeline answers %d", a.status)
	}
}
