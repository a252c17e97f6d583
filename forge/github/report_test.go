package github_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/github"
)

func report(state troy.DeploymentState) forge.Report {
	r := forge.Report{
		Deployment: "0199-d1", Pipeline: "0199-p1", Commit: sha1, Name: "Troy: blog", State: state,
		Title: "It is " + state.String(), Summary: "Built by *Troy*.", DetailsURL: "https://troy.example/d/1",
		SiteURL: "https://blog.example", Environment: "production: blog", Started: time.Unix(1_780_000_000, 0),
	}
	if state.Ended() {
		r.Ended = r.Started.Add(time.Minute)
	}
	return r
}

func TestReport(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	tell := func(r forge.Report, writes int) {
		t.Helper()
		before := f.writes
		if err := c.Report(t.Context(), site(), r); err != nil {
			t.Fatalf("report %s: %v", r.State, err)
		}
		if f.writes-before != writes {
			t.Errorf("%d writes to report %s, not %d", f.writes-before, r.State, writes)
		}
	}
	run := func(want ...any) {
		t.Helper()
		got := f.runs[0]
		if s := fmt.Sprint(got["status"], got["conclusion"]); len(f.runs) != 1 || s != fmt.Sprint(want...) {
			t.Errorf("%d runs, %s", len(f.runs), s)
		}
	}

	tell(report(troy.Waiting), 1) // a deployment that has not begun has no GitHub deployment
	run("queued", nil)
	tell(report(troy.Waiting), 0)
	tell(report(troy.Building), 3)
	run("in_progress", nil)
	tell(report(troy.Building), 0)
	tell(report(troy.Succeeded), 2)
	run("completed", "success")
	tell(report(troy.Succeeded), 0)
	tell(report(troy.Building), 0) // late
	run("completed", "success")

	if got := f.runs[0]; got["external_id"] != "0199-d1" || got["head_sha"] != sha1 || got["details_url"] != "https://troy.example/d/1" || got["actions"] != nil {
		t.Errorf("the check run is %v", got)
	}
	if len(f.deployments) != 1 || len(f.statuses["100"]) != 2 {
		t.Fatalf("%d deployments with the statuses %v", len(f.deployments), f.statuses)
	}
	if got := f.statuses["100"][0]; got["state"] != "success" || got["environment_url"] != "https://blog.example" || got["log_url"] != "https://troy.example/d/1" {
		t.Errorf("the deployment's status is %v", got)
	}

	// A later one made it inactive, as GitHub does; it stays inactive.
	f.set(func() {
		f.statuses["100"] = append([]map[string]any{{"state": "inactive"}}, f.statuses["100"]...)
	})
	tell(report(troy.Succeeded), 0)

	again := report(troy.Failed)
	again.Deployment = "0199-d2"
	tell(again, 3)
	if len(f.runs) != 2 || f.runs[1]["conclusion"] != "failure" || !strings.Contains(fmt.Sprint(f.runs[1]["actions"]), github.RerunAction) {
		t.Errorf("another deployment of the commit: %v", f.runs)
	}
	for state, conclusion := range map[troy.DeploymentState]string{troy.Cancelled: "cancelled", troy.Superseded: "neutral"} {
		r := report(state)
		r.Deployment = string(state)
		tell(r, 1)
		if got := f.runs[len(f.runs)-1]["conclusion"]; got != conclusion {
			t.Errorf("%s is %v", state, got)
		}
	}
	skipped := report(forge.Skipped)
	skipped.Deployment, skipped.Environment, skipped.Ended = "0199-s1", "", skipped.Started
	tell(skipped, 1)
	tell(skipped, 0)
	if got := f.runs[len(f.runs)-1]; got["status"] != "completed" || got["conclusion"] != "neutral" || got["completed_at"] == nil || got["actions"] != nil {
		t.Errorf("a skipped commit is %v", got)
	}
	none := report(troy.Succeeded)
	none.Deployment, none.Environment = "0199-d3", ""
	tell(none, 1)
}

func TestReportFindsItsOwnAmongMany(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	for i := range 150 {
		f.runs = append(f.runs, map[string]any{"id": i + 1, "head_sha": sha1, "name": "Troy: blog", "external_id": fmt.Sprint(i), "status": "queued"})
		f.deployments = append(f.deployments, map[string]any{"id": 100 + i, "ref": sha1, "environment": "production: blog", "payload": "text"})
	}
	r := report(troy.Building)
	r.Deployment = "120"
	if err := c.Report(t.Context(), site(), r); err != nil {
		t.Fatal(err)
	}
	if len(f.runs) != 150 || f.runs[120]["status"] != "in_progress" {
		t.Errorf("%d runs, the reported one is %v", len(f.runs), f.runs[120])
	}
}

// TestReportInParts removes one permission: the other part is still reported.
func TestReportInParts(t *testing.T) {
	t.Parallel()
	for missing, done := range map[string]func(f *fake) bool{
		"checks":      func(f *fake) bool { return len(f.deployments) == 1 && len(f.runs) == 0 },
		"deployments": func(f *fake) bool { return len(f.deployments) == 0 && len(f.runs) == 1 },
	} {
		f := newFake(t)
		delete(f.permissions, missing)
		err := f.client().Report(t.Context(), site(), report(troy.Succeeded))
		if !errors.Is(err, forge.ErrForbidden) || troy.KindOf(err) != troy.Forbidden || !done(f) {
			t.Errorf("without %s: %d runs, %d deployments, %v", missing, len(f.runs), len(f.deployments), err)
		}
	}
	f := newFake(t)
	f.fail = status(429, http.Header{"Retry-After": {"9"}}, "")
	err := f.client().Report(t.Context(), site(), report(troy.Succeeded))
	if limited, ok := errors.AsType[*forge.RateLimitError](err); !ok || limited.RetryAfter() != 9*time.Second {
		t.Errorf("limited: %v", err)
	}
	if n := len(f.calls); n != 2 {
		t.Errorf("%d calls although the limit was reached: %v", n, f.calls)
	}
}

func TestReportIsBounded(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	r := report(troy.Failed)
	r.Title, r.Summary = strings.Repeat("ü\n", 500), strings.Repeat("ä", 100_000)
	r.DetailsURL = "javascript:alert(1)"
	if err := f.client().Report(t.Context(), site(), r); err != nil {
		t.Fatal(err)
	}
	output := f.runs[0]["output"].(map[string]any)
	title, summary := output["title"].(string), output["summary"].(string)
	if len(title) > 255 || strings.ContainsAny(title, "\n\uFFFD") || len(summary) > 65_535 || f.runs[0]["details_url"] != nil {
		t.Errorf("a title of %d bytes, a summary of %d, %v", len(title), len(summary), f.runs[0]["details_url"])
	}
	r.Commit = "main"
	if err := f.client().Report(t.Context(), site(), r); troy.KindOf(err) != troy.Invalid {
		t.Errorf("a report about a branch: %v", err)
	}
}

func TestFailedDeliveries(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	attempt := func(id int, guid string, age time.Duration, status int) map[string]any {
		return map[string]any{"id": id, "guid": guid, "delivered_at": f.now.Add(-age), "status_code": status, "event": "push"}
	}
	f.deliveries = []map[string]any{ // newest first
		attempt(12, "young", 10*time.Second, 503),
		attempt(11, "again", 2*time.Minute, 502),
		attempt(10, "mended", 3*time.Minute, 202),
		attempt(9, "fine", 4*time.Minute, 200),
		attempt(8, "mended", 5*time.Minute, 500),
		attempt(7, "again", 6*time.Minute, 0),
		attempt(6, "never", 7*time.Minute, 401),
		attempt(5, "old", 2*time.Hour, 500),
	}
	got, err := f.client().Failed(t.Context(), f.now.Add(-time.Hour))
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got[0].ID != "never" || got[0].Attempt != 6 || got[0].Status != 401 || got[0].Attempts != 1 {
		t.Errorf("the oldest is %+v", got[0])
	}
	if got[1].ID != "again" || got[1].Attempt != 11 || got[1].Attempts != 2 || got[1].Event != "push" {
		t.Errorf("the second is %+v", got[1])
	}
	if err := f.client().Redeliver(t.Context(), got[1].Attempt); err != nil || fmt.Sprint(f.redelivered) != "[11]" {
		t.Errorf("asked for %v, %v", f.redelivered, err)
	}
	// Results from before an error are kept.
	pages := 0
	f.set(func() {
		f.fail = func(w http.ResponseWriter, _ *http.Request) bool {
			if pages++; pages < 3 {
				return false
			}
			refuse(w, 502, "bad gateway")
			return true
		}
	})
	if got, err := f.client().Failed(t.Context(), f.now.Add(-time.Hour)); err == nil || len(got) == 0 {
		t.Errorf("with a broken page: %d, %v", len(got), err)
	}
	f.set(func() {
		f.fail = func(w http.ResponseWriter, _ *http.Request) bool { refuse(w, 404, "Not Found"); return true }
	})
	if err := f.client().Redeliver(t.Context(), 5); troy.KindOf(err) != troy.NotFound {
		t.Errorf("a missing delivery: %v", err)
	}
}

func TestAppSetup(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	req := forge.AppRequest{
		Name: "Troy Acme", State: "a b&c", URL: "https://troy.example", HookURL: "https://troy.example/hooks/github",
		RedirectURL: "https://troy.example/setup/github",
	}
	action, manifest, err := c.Manifest(req)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(action)
	if err != nil || u.Host != "github.example" || u.Path != "/settings/apps/new" || u.Query().Get("state") != "a b&c" {
		t.Errorf("the form goes to %s (%v)", action, err)
	}
	var m struct {
		Hook        struct{ URL string } `json:"hook_attributes"`
		RedirectURL string               `json:"redirect_url"`
		Public      *bool                `json:"public"`
		Permissions map[string]string    `json:"default_permissions"`
		Events      []string             `json:"default_events"`
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatal(err)
	}
	if m.Hook.URL != req.HookURL || m.RedirectURL != req.RedirectURL || m.Public == nil || *m.Public ||
		m.Permissions["contents"] != "read" || m.Permissions["checks"] != "write" || m.Permissions["pull_requests"] != "write" ||
		m.Permissions["issues"] != "read" || !strings.Contains(fmt.Sprint(m.Events), "push") || !strings.Contains(fmt.Sprint(m.Events), "issue_comment") {
		t.Errorf("the manifest is %s", manifest)
	}
	req.Organization = "acme"
	if action, _, err := c.Manifest(req); err != nil || !strings.HasPrefix(action, "https://github.example/organizations/acme/settings/apps/new?") {
		t.Errorf("an organization's form goes to %s, %v", action, err)
	}
	for field, breakIt := range map[string]func(r *forge.AppRequest){
		"state": func(r *forge.AppRequest) { r.State = "" }, "name": func(r *forge.AppRequest) { r.Name = strings.Repeat("x", 35) },
		"organization": func(r *forge.AppRequest) { r.Organization = "a/../b" }, "hook_url": func(r *forge.AppRequest) { r.HookURL = "troy.example" },
	} {
		bad := req
		breakIt(&bad)
		_, _, err := c.Manifest(bad)
		if e, ok := errors.AsType[*troy.Error](err); !ok || e.Field != field {
			t.Errorf("a bad %s: %v", field, err)
		}
	}

	app, err := c.Convert(t.Context(), "goodcode")
	if err != nil || app.ID != 99 || app.ClientID != clientID || app.WebhookSecret != "wh-very-secret" || app.PrivateKey == "" {
		t.Errorf("the app is %v, %v", app, err)
	}
	for _, code := range []string{"", "../../user", "badcode-very-secret"} {
		_, err := c.Convert(t.Context(), code)
		if err == nil || code != "" && strings.Contains(err.Error(), code) {
			t.Errorf("the code %q: %v", code, err)
		}
	}
	f.set(func() {
		f.fail = func(w http.ResponseWriter, _ *http.Request) bool {
			answer(w, 201, map[string]any{"id": 1})
			return true
		}
	})
	if _, err := c.Convert(t.Context(), "goodcode"); err == nil {
		t.Error("an app without a key was accepted")
	}
}
