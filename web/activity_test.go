package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/secret"
)

type activity struct {
	Time     time.Time  `json:"time"`
	Actor    string     `json:"actor"`
	Action   string     `json:"action"`
	Subject  string     `json:"subject"`
	Detail   string     `json:"detail"`
	Pipeline string     `json:"pipeline"`
	To       string     `json:"to"`
	Version  int64      `json:"version"`
	ID       *uuid.UUID `json:"pipeline_id"`
	Remote   string     `json:"remote"`
}

func (a activity) String() string { return a.Action + " " + a.Subject + a.To + " " + a.Pipeline }

// activity reads all pages, of size items each.
func (w *world) activity(query string, size int, token string) []activity {
	w.t.Helper()
	var all []activity
	after := ""
	for range 100 {
		var page struct {
			Activity []activity `json:"activity"`
			Next     string     `json:"next"`
		}
		w.send("GET", fmt.Sprintf("/v1/activity?limit=%d&after=%s%s", size, after, query), nil, as(token)).loose(w.t, &page)
		all = append(all, page.Activity...)
		if after = page.Next; after == "" {
			return all
		}
	}
	w.t.Fatal("the pages don't end")
	return nil
}

// loose reads an answer of which some fields are of interest.
func (a answer) loose(t *testing.T, v any) {
	t.Helper()
	if a.status != 200 {
		t.Fatalf("the answer is %d %s", a.status, a.body)
	}
	decodeLoose(t, a.body, v)
}

func TestActivity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withKey(secret.NewKey()))
	blog := w.create("Blog")
	w.create("Other")
	w.send("PATCH", "/v1/pipelines/blog", `{"watch_paths":["docs/**"],"build":{"output":"dist"}}`).into(t, 200, nil)
	w.send("PATCH", "/v1/pipelines/blog", `{"repository":{"provider":"github","full_name":"team/blog","branch":"main"}}`).into(t, 200, nil)
	w.send("PUT", "/v1/pipelines/blog/variables/API_KEY", `{"value":"not to be shown"}`).into(t, 200, nil)
	w.send("DELETE", "/v1/pipelines/blog/variables/API_KEY", nil).into(t, 204, nil)
	w.send("POST", "/v1/pipelines/blog/lock", `{"reason":"broken"}`).into(t, 200, nil)
	w.send("DELETE", "/v1/pipelines/blog/lock", nil).into(t, 200, nil)
	w.send("DELETE", "/v1/pipelines/blog/lock", nil).into(t, 200, nil) // changes nothing
	w.send("POST", "/v1/pipelines/blog/purge", `{"path":"assets/"}`).into(t, 202, nil)
	var ci apiToken
	w.send("POST", "/v1/tokens", `{"name":"ci","role":"deployer","expires":"never"}`).into(t, 201, &ci)
	w.send("DELETE", "/v1/tokens/"+ci.ID.String(), nil).into(t, 204, nil)
	// What is refused is not recorded.
	w.send("POST", "/v1/tokens", `{"name":"ci","role":"king"}`).refused(t, 400, "invalid", "role", "")
	w.send("DELETE", "/v1/pipelines/blog/variables/API_KEY", nil).refused(t, 404, "not_found", "", "")
	w.send("DELETE", "/v1/pipelines/blog/variables/%00", nil).refused(t, 404, "not_found", "", "no variable")

	all := w.activity("", 200, w.admin)
	want := []string{
		"token.revoke ci ", "token.create ci ", "pipeline.purge blog blog", "pipeline.unlock blog blog", "pipeline.lock blog blog",
		"variable.remove API_KEY blog", "variable.set API_KEY blog", "pipeline.configure repository blog", "pipeline.configure build.output, watch_paths blog",
		"pipeline.status pre_provisioned other", "pipeline.status pre_provisioned blog",
	}
	got := make([]string, len(all))
	for i, a := range all {
		got[i] = a.String()
		if i > 0 && a.Time.After(all[i-1].Time) {
			t.Errorf("%s comes before %s", all[i-1], a)
		}
		if a.Action != "pipeline.status" && (a.Actor != "token test-admin" || a.Remote != "127.0.0.1") {
			t.Errorf("%s was done by %q from %q", a, a.Actor, a.Remote)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the activity is\n%q, expected\n%q", got, want)
	}
	for action, detail := range map[string]string{"token.create": "deployer, never expires", "variable.set": "secret, production", "pipeline.lock": "broken", "pipeline.purge": "assets/"} {
		i := slices.IndexFunc(all, func(a activity) bool { return a.Action == action })
		if i < 0 || all[i].Detail != detail {
			t.Errorf("%s: %+v", action, all[max(i, 0)])
		}
	}

	// Pages lose and repeat nothing, whatever their size.
	for _, size := range []int{1, 2, 5} {
		paged := w.activity("", size, w.admin)
		if fmt.Sprint(paged) != fmt.Sprint(all) {
			t.Errorf("in pages of %d the activity is\n%v, expected\n%v", size, paged, all)
		}
	}
	// A limited token, and a filter, show one pipeline's.
	// The names of variables are for admins.
	limited := w.activity("", 2, w.token(credentials.Viewer, blog.ID))
	filtered := w.activity("&pipeline=blog", 3, w.admin)
	total := len(filtered)
	filtered = slices.DeleteFunc(filtered, func(a activity) bool { return strings.HasPrefix(a.Action, "variable.") })
	if total != 8 || len(filtered) != 6 || fmt.Sprint(limited) != fmt.Sprint(filtered) {
		t.Errorf("limited: %v, filtered: %v", limited, filtered)
	}
	for _, a := range limited {
		if a.Remote != "" {
			t.Errorf("a viewer sees the address in %+v", a)
		}
	}
	// A viewer of all pipelines sees no tokens.
	for _, a := range w.activity("", 200, w.token(credentials.Viewer)) {
		if a.ID == nil || a.Remote != "" {
			t.Errorf("a viewer sees %+v", a)
		}
	}
	for _, after := range []string{"x", "1.2.3", "99999999999999999999." + blog.ID.String() + ".0", "1." + blog.ID.String() + ".x", "9223372036854775807." + blog.ID.String() + ".0"} {
		w.send("GET", "/v1/activity?after="+after, nil).refused(t, 400, "invalid", "after", "")
	}
	w.send("GET", "/v1/activity?pipeline=none", nil).refused(t, 404, "not_found", "", "none")
	w.send("GET", "/v1/activity?pipeline=other", nil, as(w.token(credentials.Viewer, blog.ID))).refused(t, 404, "not_found", "", "other")
}

type work struct {
	Kind       string     `json:"kind"`
	Queue      string     `json:"queue"`
	Pipeline   string     `json:"pipeline"`
	Number     *int64     `json:"number"`
	State      string     `json:"state"`
	Why        string     `json:"why"`
	Position   *int64     `json:"position"`
	Attempts   int        `json:"attempts"`
	Cause      string     `json:"cause"`
	DueAt      time.Time  `json:"due_at"`
	LeaseUntil *time.Time `json:"lease_until"`
}

func (w *world) queue(query string, size int, token string) []work {
	w.t.Helper()
	var all []work
	after := ""
	for range 100 {
		var page struct {
			Queue []work `json:"queue"`
			Next  string `json:"next"`
		}
		w.send("GET", fmt.Sprintf("/v1/queue?limit=%d&after=%s%s", size, after, query), nil, as(token)).loose(w.t, &page)
		all = append(all, page.Queue...)
		if after = page.Next; after == "" {
			return all
		}
	}
	w.t.Fatal("the pages don't end")
	return nil
}

func TestQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	blog, shop, docs, later := w.create("Blog"), w.create("Shop"), w.create("Docs"), w.create("Later")
	for _, p := range []pipeline{blog, shop, docs, later} {
		w.send("POST", "/v1/pipelines/"+p.Slug+"/provision", nil).into(t, 202, nil)
	}
	w.exec("UPDATE work SET ring_id = NULL, due_at = now() - interval '1 minute' WHERE subject_id = $1", shop.ID)
	w.exec("UPDATE work SET ring_id = NULL, lease_until = now() + interval '1 minute', attempt = 1 WHERE subject_id = $1", blog.ID)
	w.exec("UPDATE work SET ring_id = NULL, attempt = 3, cause = 'Rate exceeded', due_at = now() + interval '1 minute' WHERE subject_id = $1", docs.ID)
	w.exec("UPDATE work SET ring_id = NULL, due_at = now() + interval '1 hour' WHERE subject_id = $1", later.ID)
	w.exec("INSERT INTO work (kind, subject_id, due_at) VALUES ('retention', $1, now() + interval '2 hours')", uuid.New()) // of a deleted pipeline

	all := w.queue("", 200, w.admin)
	var got []string
	for _, j := range all {
		got = append(got, fmt.Sprint(j.Kind, " ", j.Pipeline, " ", j.State))
		if j.Queue == "" || j.Why == "" || j.DueAt.IsZero() {
			t.Errorf("it lacks something: %+v", j)
		}
	}
	want := []string{
		"pipeline:provision blog running", "pipeline:provision shop waiting", "pipeline:provision docs failing", "pipeline:provision later later", "retention  later",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("the queue is %q, expected %q", got, want)
	}
	if all[0].LeaseUntil == nil || all[1].Position == nil || *all[1].Position != 1 || all[2].Attempts != 3 || all[2].Cause != "Rate exceeded" || all[2].Position != nil {
		t.Errorf("the queue is %+v", all)
	}
	for _, size := range []int{1, 2} {
		paged := w.queue("", size, w.admin)
		if len(paged) != len(all) {
			t.Errorf("in pages of %d: %+v", size, paged)
		}
	}
	if some := w.queue("", 1, w.token(credentials.Viewer, docs.ID, blog.ID)); len(some) != 2 || some[0].Pipeline != "blog" || some[1].Pipeline != "docs" {
		t.Errorf("a limited token sees %+v", some)
	} else if some[1].Cause != "" || some[1].Why == "" {
		t.Errorf("a viewer sees the cause %q, which can name parts of the installation", some[1].Cause)
	}
	if some := w.queue("&pipeline=shop", 1, w.admin); len(some) != 1 || some[0].Pipeline != "shop" {
		t.Errorf("the queue of shop is %+v", some)
	}
	w.send("GET", "/v1/queue?after=1.2.3", nil).refused(t, 400, "invalid", "after", "")
	w.send("GET", "/v1/queue?pipeline=none", nil).refused(t, 404, "not_found", "", "none")
}

// TestPipelinesSayWhatIsLive checks the live and the next deployment of
// pipelines in lists.
func TestPipelinesSayWhatIsLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.create("Empty")
	first := w.released(p, "one")
	w.exec("UPDATE deployments SET state = 'succeeded', started_at = now(), finished_at = now(), live_at = '2026-01-02T03:04:05Z' WHERE id = $1", first.ID)
	w.exec("UPDATE pipelines SET live_deployment_id = $1, status = 'deployed' WHERE id = $2", first.ID, p.ID)
	second := w.released(p, "two")
	type brief struct {
		ID     uuid.UUID `json:"id"`
		Number int64     `json:"number"`
		State  string    `json:"state"`
		By     string    `json:"by"`
		Since  time.Time `json:"since"`
	}
	var list struct {
		Pipelines []struct {
			Slug       string
			Live, Next *brief
		} `json:"pipelines"`
	}
	w.send("GET", "/v1/pipelines", nil).loose(t, &list)
	if len(list.Pipelines) != 2 || list.Pipelines[0].Slug != "empty" || list.Pipelines[0].Live != nil || list.Pipelines[0].Next != nil {
		t.Fatalf("the list is %+v", list)
	}
	got := list.Pipelines[1]
	if got.Live == nil || got.Live.ID != first.ID || got.Live.Number != 1 || got.Live.State != "succeeded" || got.Live.By != "token test-admin" ||
		!got.Live.Since.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("live is %+v", got.Live)
	}
	// A number is as good as an id.
	var byNumber deployment
	w.send("GET", "/v1/pipelines/blog/deployments/2", nil).into(t, 200, &byNumber)
	if byNumber.ID != second.ID {
		t.Errorf("deployment 2 is %+v", byNumber)
	}
	for _, ref := range []string{"3", "0", "-1", "99999999999999999999"} {
		w.send("GET", "/v1/pipelines/blog/deployments/"+ref, nil).refused(t, 404, "not_found", "", ref)
	}
	w.send("GET", "/v1/pipelines/empty/deployments/1", nil).refused(t, 404, "not_found", "", "no deployment")
	if got.Next == nil || got.Next.ID != second.ID || got.Next.Number != 2 || got.Next.State != "waiting" {
		t.Errorf("next is %+v", got.Next)
	}
}

// TestBrokenExports has a reader leave in the middle of an export, and the
// database fail: the answer is aborted, so it does not look complete, and the
// next exports have their places.
func TestBrokenExports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec("INSERT INTO audit (actor, action, subject, detail, time) SELECT 'token ann', 'token.create', 'line ' || n, repeat('x', 200), now() - make_interval(secs => n) FROM generate_series(1, 3000) n")
	const path = "/v1/activity/export"
	whole := len(w.send("GET", path, nil).body)
	export := func(name string, breaks func(leave context.CancelFunc)) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		request := httptest.NewRequest("GET", path, nil).WithContext(ctx)
		request.Host = "troy.test"
		request.Header.Set("Authorization", "Bearer "+w.admin)
		var once sync.Once
		reader := &leaver{ResponseRecorder: httptest.NewRecorder(), leave: func() { once.Do(func() { breaks(cancel) }) }}
		var aborted any
		func() {
			defer func() { aborted = recover() }()
			w.server.Config.Handler.ServeHTTP(reader, request)
		}()
		if err, _ := aborted.(error); !errors.Is(err, http.ErrAbortHandler) || reader.got == 0 || reader.got >= whole {
			t.Errorf("%s: the answer ended with %v after %d of %d bytes; expected it to be aborted", name, aborted, reader.got, whole)
		}
	}
	// One holder has two at a time.
	for range 3 {
		export("a reader that leaves", func(leave context.CancelFunc) { leave() })
	}
	export("a database that fails", func(context.CancelFunc) { w.exec("ALTER TABLE audit RENAME TO away") })
	w.exec("ALTER TABLE away RENAME TO audit")
	if a := w.send("GET", path, nil); a.status != 200 || len(a.body) != whole {
		t.Errorf("the next export answers %d with %d bytes, want %d", a.status, len(a.body), whole)
	}
}
