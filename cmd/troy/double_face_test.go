package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// more are the routes that concern more than one pipeline.
func (d *double) more() map[string]func(*http.Request) (answer, error) {
	return map[string]func(*http.Request) (answer, error){
		"GET /v1/repositories/{provider}/{owner}/{name}": d.inspect,

		"GET /v1/repositories":            d.repositories,
		"GET /v1/whoami":                  d.whoami,
		"GET /v1/activity":                d.activity,
		"GET /v1/queue":                   d.queueList,
		"POST /v1/queue/ring":             d.workRing,
		"POST /v1/queue/retry":            d.workRing,
		"GET /v1/queues":                  d.queuesList,
		"PUT /v1/queues/{queue}/pause":    d.queuePause,
		"DELETE /v1/queues/{queue}/pause": d.queueResume,
		"GET /v1/stats":                   d.stats,
		"GET /v1/tokens":                  d.tokenList,
		"POST /v1/tokens":                 d.tokenCreate,
		"DELETE /v1/tokens/{id}":          d.tokenRevoke,
		"GET /v1/system":                  d.system,
		"GET /v1/users":                   d.users,
		"DELETE /v1/users/{id}":           d.userForget,
		"GET /v1/storage":                 d.storage,
		"GET /v1/sessions":                d.sessionList,
		"DELETE /v1/sessions/{id}":        d.sessionRevoke,

		"GET /v1/pipelines/{p}/traffic": d.on(d.traffic),
		"GET /v1/pipelines/{p}/storage": d.on(d.usage),
		"PUT /v1/pipelines/{p}/quota":   d.on(d.setQuota),
		"POST /v1/pipelines/{p}/prune":  d.on(d.prune),
	}
}

// activity lists the events of pipelines as the activity, and a token.
func (d *double) activity(r *http.Request) (answer, error) {
	list := []client.Activity{{Time: d.pipelines[0].CreatedAt.Add(time.Minute), Actor: "token laptop", Action: "token.create", Subject: "ci\x1b[31m", Detail: "deployer", Remote: "192.0.2.1"}}
	for _, p := range d.pipelines {
		if ref := r.URL.Query().Get("pipeline"); ref != "" && ref != p.Slug {
			continue
		} else if ref != "" {
			list = nil
		}
		for _, e := range slices.Backward(p.events) {
			a := client.Activity{
				Time: e.Time, Actor: e.Actor, Action: "pipeline.status", Detail: e.Cause, PipelineID: &p.ID, Pipeline: p.Slug,
				From: e.From, To: e.To, ToName: e.ToName, Version: e.Version, DeploymentID: e.DeploymentID,
			}
			if x, err := p.deployment(fmt.Sprint(e.DeploymentID)); err == nil {
				a.Number = &x.Number
			}
			list = append(list, a)
		}
	}
	return page("activity", list, r)
}

func (d *double) queueList(r *http.Request) (answer, error) {
	now := time.Now()
	blog := d.pipelines[1]
	list := []client.Work{
		{Kind: "deployment:build", Queue: "builds", Pipeline: "blog", PipelineID: &blog.ID, Number: new(int64(7)), State: "running", Why: "a worker runs it", Attempts: 1, Since: now.Add(-time.Minute), DueAt: now, LeaseUntil: new(now.Add(5 * time.Second))},
		{Kind: "pipeline:deploy", Queue: "quick", Pipeline: "shop", State: "waiting", Why: "all workers of the queue are busy", Position: new(int64(3)), Since: now, DueAt: now},
		{Kind: "pipeline:teardown-start", Queue: "quick", Pipeline: "old", State: "failing", Why: "the last attempt failed", Attempts: 4, Cause: "Rate exceeded \x1b]0;evil\x07", Since: now, DueAt: now.Add(90 * time.Second)},
		{Kind: "retention", Queue: "quick", State: "later", Why: "it is due later", Since: now, DueAt: now.Add(time.Hour)},
	}
	for name, of := range map[string]func(client.Work) string{
		"pipeline": func(w client.Work) string { return w.Pipeline }, "queue": func(w client.Work) string { return w.Queue },
		"kind": func(w client.Work) string { return w.Kind }, "state": func(w client.Work) string { return w.State },
	} {
		if value := r.URL.Query().Get(name); value != "" {
			list = slices.DeleteFunc(list, func(w client.Work) bool { return of(w) != value })
		}
	}
	return page("queue", list, r)
}

func (d *double) workRing(r *http.Request) (answer, error) {
	var body struct {
		Kind    string    `json:"kind"`
		Subject uuid.UUID `json:"subject_id"`
	}
	err := decode(r, &body)
	return answer{202, map[string]any{"id": body.Subject, "kind": body.Kind, "result": "the work is rung\x1b[31m"}}, err
}

func (d *double) queuesList(*http.Request) (answer, error) {
	q := client.Queue{Name: "builds", Kinds: []string{"deployment:build"}, Pause: d.pause}
	return answer{200, map[string]any{"queues": []client.Queue{q, {Name: "forge", PausedInRedis: d.pause != nil}}}}, nil
}

func (d *double) queuePause(r *http.Request) (answer, error) {
	var body struct {
		Reason string `json:"reason"`
	}
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if r.PathValue("queue") != "builds" {
		return fail(troy.Invalid, "queue not found: %q; expected one of builds, domains, forge, previews, quick, thumbnails", r.PathValue("queue"))
	}
	d.pause = &client.Lock{By: "token laptop", Reason: body.Reason, At: time.Now()}
	return answer{200, client.Queue{Name: "builds", Pause: d.pause}}, nil
}

func (d *double) queueResume(r *http.Request) (answer, error) {
	d.pause = nil
	return answer{200, client.Queue{Name: r.PathValue("queue")}}, nil
}

func (d *double) stats(r *http.Request) (answer, error) {
	s := client.Stats{Days: []client.Day{{Day: "2026-01-30"}, {Day: "2026-01-31", Succeeded: 3, Failed: 1, Cancelled: 2, BuildP50: new(12.34), BuildP95: new(90.0)}}}
	if r.URL.Query().Get("pipeline") == "old" {
		s.Days = s.Days[:1]
	}
	return answer{200, s}, nil
}

func (d *double) tokenList(r *http.Request) (answer, error) { return page("tokens", d.tokens, r) }

func (d *double) tokenCreate(r *http.Request) (answer, error) {
	var n client.NewToken
	if err := decode(r, &n); err != nil {
		return answer{}, err
	}
	if n.Role != "viewer" && n.Role != "deployer" && n.Role != "admin" {
		return answer{}, troy.Errorf(troy.Invalid, "the role is %q; expected one of [viewer deployer admin]", n.Role).At("role")
	}
	t := client.Token{ID: uuid.New(), Name: n.Name, Role: n.Role, CreatedBy: "token laptop", CreatedAt: time.Now(), ExpiresAt: new(time.Now().Add(90*24*time.Hour + time.Minute))}
	for _, slug := range n.Pipelines {
		t.Pipelines, t.Slugs = append(t.Pipelines, uuid.New()), append(t.Slugs, slug)
	}
	d.tokens = append(d.tokens, t)
	t.Token = "troy_" + n.Name
	return answer{201, t}, nil
}

func (d *double) tokenRevoke(r *http.Request) (answer, error) {
	before := len(d.tokens)
	d.tokens = slices.DeleteFunc(d.tokens, func(t client.Token) bool { return t.ID.String() == r.PathValue("id") })
	if len(d.tokens) == before {
		return fail(troy.NotFound, "token not found: %s", r.PathValue("id"))
	}
	return answer{204, nil}, nil
}

func (d *double) whoami(r *http.Request) (answer, error) {
	w := client.Whoami{
		Token:  client.Holder{ID: uuid.New(), Name: "laptop", Role: "admin"},
		Server: client.Server{URL: "http://" + r.Host, Version: "v1.2.3"},
	}
	if r.Header.Get("Authorization") == "Bearer viewer" {
		at := time.Now().Add(30*24*time.Hour + time.Hour)
		w.Token.Name, w.Token.Role, w.Token.ExpiresAt = "reader", "viewer", &at
		w.Token.Pipelines, w.Token.Slugs = []uuid.UUID{d.pipelines[0].ID}, []string{"old"}
	}
	return answer{200, w}, nil
}

// makeDev writes what troyd dev leaves in its data folder: dev .troy URL.
func makeDev(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	text, err := json.Marshal(map[string]any{"pid": 1, "settings": map[string]string{"TROY_URL": args[1]}})
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, "dev.json"), text, 0o600))
	ts.Check(os.WriteFile(filepath.Join(dir, "admin-token"), []byte("admin\n"), 0o600))
}

// wantMode checks a file's permissions: mode 0600 FILE.
func wantMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("the mode of %s is %s; expected %s", args[1], got, args[0])
	}
}

// traffic is that of a site with one busy day; old has none.
func (d *double) traffic(_ *http.Request, p *doublePipeline) (answer, error) {
	if p.Slug == "old" {
		return answer{200, client.Traffic{}}, nil
	}
	busy := client.Requests{Requests: 12345, Bytes: 5 << 20, NotFound: 3, Errors: 1}
	return answer{200, client.Traffic{
		Requests: busy,
		Days:     []client.DayRequests{{Day: "2026-11-28"}, {Day: "2026-11-29", Requests: busy}},
		Paths:    []client.PathRequests{{Path: "/", Requests: 12000, Bytes: 4 << 20}, {Path: "/a/very/long/path/that/does/not/fit/in/a/terminal/of/eighty/columns/index.html", Requests: 341, Bytes: 1 << 20}},
		Missing:  []client.MissingRequests{{Path: "/lost\x1b[31m", Referrer: "other.example/page", Requests: 2}, {Path: "/favicon.ico", Requests: 1}},
	}}, nil
}
