package intake_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/tasks"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

func event(id string, typ intake.EventType, after time.Duration) intake.AppEvent {
	return intake.AppEvent{ID: id, Type: typ, Time: start.Add(after), App: intake.App{ID: "app-1", Name: "Blog"}}
}

func (w *world) event(e intake.AppEvent, want intake.Result) intake.Outcome {
	w.t.Helper()
	out, err := w.in.AppEvent(w.ctx(), e)
	if err != nil {
		w.t.Fatalf("event %s: %v", e.ID, err)
	}
	if out.Result != want {
		w.t.Fatalf("event %s is %s (%s), want %s", e.ID, out.Result, out.Detail, want)
	}
	return out
}

func TestCreatedMakesAPipelineAndRequestsProvisioning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := event("evt-1", intake.AppCreated, 0)
	e.App.Repository = &intake.Repository{Provider: "github", FullName: "team/blog", Branch: "main"}
	out := w.event(e, intake.Created)
	p := w.get(*out.PipelineID)
	if p.Slug != "blog" || p.Status != troy.ProvisionRequest || p.Name != "Blog" || *p.AppID != "app-1" || p.Version != 2 ||
		*p.RepositoryFullName != "team/blog" || *p.RepositoryBranch != "main" || p.RepositoryRoot != nil {
		t.Errorf("the pipeline is %+v", p)
	}
	if host, err := w.q.PipelineHost(w.ctx(), p.ID); err != nil || host != "blog.sites.test" {
		t.Errorf("the host is %q, %v", host, err)
	}
	if n := w.count("SELECT count(*) FROM events WHERE pipeline_id = $1 AND actor = 'app event evt-1'", p.ID); n != 2 {
		t.Errorf("%d events of the app event, want 2", n)
	}
	if _, err := w.q.WorkGet(w.ctx(), tasks.TypeProvision, p.ID); err != nil {
		t.Errorf("no work: %v", err)
	}
}

func TestTheSameEventAgainChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.event(event("evt-1", intake.AppCreated, 0), intake.Created)
	w.event(event("evt-2", intake.AppDeleted, time.Hour), intake.DeletionScheduled)
	again := w.event(event("evt-1", intake.AppCreated, 2*time.Hour), intake.Duplicate)
	if again.PipelineID == nil || *again.PipelineID != *first.PipelineID {
		t.Errorf("the duplicate names pipeline %v, the first %v", again.PipelineID, first.PipelineID)
	}
	if n := w.count("SELECT count(*) FROM pipelines"); n != 1 {
		t.Errorf("%d pipelines, want 1", n)
	}
}

func TestFiftyAtOnceMakeOnePipeline(t *testing.T) {
	t.Parallel()
	for _, same := range []bool{true, false} {
		t.Run(fmt.Sprintf("same id %v", same), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			results := make(chan intake.Result, 50)
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() {
					e := event("evt-1", intake.AppCreated, 0)
					if !same {
						e.ID = fmt.Sprintf("evt-%d", i)
					}
					out, err := w.in.AppEvent(w.ctx(), e)
					if err != nil {
						t.Error(err)
					}
					results <- out.Result
				})
			}
			wg.Wait()
			close(results)
			created := 0
			for r := range results {
				if r == intake.Created {
					created++
				}
			}
			if n := w.count("SELECT count(*) FROM pipelines"); n != 1 || created != 1 {
				t.Errorf("%d pipelines, %d outcomes of created, want 1", n, created)
			}
			if n := w.count("SELECT count(*) FROM events"); n != 2 {
				t.Errorf("%d events, want 2", n)
			}
		})
	}
}

// Whatever the order of events, the one with the latest time decides.
func TestTheLaterTimeWins(t *testing.T) {
	t.Parallel()
	type step struct {
		typ   intake.EventType
		after time.Duration
		want  intake.Result
	}
	for _, c := range []struct {
		name  string
		steps []step
		alive bool
	}{
		{"deleted before created", []step{{intake.AppDeleted, 2, intake.Ignored}, {intake.AppCreated, 1, intake.Ignored}}, false},
		{"at the same time deletion wins", []step{{intake.AppDeleted, 1, intake.Ignored}, {intake.AppCreated, 1, intake.Ignored}}, false},
		{"at the same time deletion wins, the other order", []step{{intake.AppCreated, 1, intake.Created}, {intake.AppDeleted, 1, intake.DeletionScheduled}}, false},
		{"created again later", []step{{intake.AppDeleted, 2, intake.Ignored}, {intake.AppCreated, 1, intake.Ignored}, {intake.AppCreated, 3, intake.Created}}, true},
		{"a late deletion from before", []step{{intake.AppCreated, 3, intake.Created}, {intake.AppDeleted, 2, intake.Ignored}}, true},
		{"created, deleted, created", []step{{intake.AppCreated, 1, intake.Created}, {intake.AppDeleted, 2, intake.DeletionScheduled}, {intake.AppCreated, 3, intake.Created}}, true},
		{"created twice", []step{{intake.AppCreated, 1, intake.Created}, {intake.AppCreated, 2, intake.Ignored}}, true},
		{"a deletion between two creations", []step{{intake.AppCreated, 1, intake.Created}, {intake.AppCreated, 3, intake.Ignored}, {intake.AppDeleted, 2, intake.Ignored}}, true},
		{"deleted twice", []step{{intake.AppCreated, 1, intake.Created}, {intake.AppDeleted, 3, intake.DeletionScheduled}, {intake.AppDeleted, 2, intake.Ignored}, {intake.AppDeleted, 4, intake.Ignored}}, false},
		{"an early creation after the deletion", []step{{intake.AppCreated, 1, intake.Created}, {intake.AppDeleted, 3, intake.DeletionScheduled}, {intake.AppCreated, 2, intake.Ignored}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for i, s := range c.steps {
				out := w.event(event(fmt.Sprintf("evt-%d", i), s.typ, s.after*time.Hour), s.want)
				if s.want == intake.Ignored && out.Detail == "" {
					t.Errorf("event %d was ignored without a reason", i)
				}
			}
			_, err := w.q.PipelineGetByApp(w.ctx(), "app-1")
			if alive := err == nil; alive != c.alive {
				t.Errorf("the app has a pipeline: %v, want %v", alive, c.alive)
			}
			if n := w.count("SELECT count(*) FROM deliveries WHERE outcome <> '' AND detail <> ''"); n != len(c.steps) {
				t.Errorf("%d events recorded with their outcome, want %d", n, len(c.steps))
			}
		})
	}
}

func TestOperatorsDeletionIsNotUndoneByAnOldEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out := w.event(event("evt-1", intake.AppCreated, time.Hour), intake.Created)
	if _, err := w.in.ScheduleDeletion(w.ctx(), *out.PipelineID, "test"); err != nil {
		t.Fatal(err)
	}
	w.event(event("evt-2", intake.AppCreated, 0), intake.Ignored)
	w.event(event("evt-3", intake.AppDeleted, 2*time.Hour), intake.Ignored)
	w.event(event("evt-4", intake.AppCreated, 3*time.Hour), intake.Created)
}

// Another app does not get the address of a recently deleted site unless an
// admin requests it.
func TestTheSlugOfADeletedPipelineRests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := w.create("Blog")
	if _, err := w.db.Exec(w.ctx(), `WITH gone AS (DELETE FROM pipelines WHERE id = $1 RETURNING *)
		INSERT INTO events (pipeline_id, version, slug, to_status, actor) SELECT id, version + 1, slug, 'deleted', 'test' FROM gone`, gone.ID); err != nil {
		t.Fatal(err)
	}
	slugOf := func(app, name string) string {
		t.Helper()
		out, err := w.in.AppEvent(w.ctx(), intake.AppEvent{ID: "evt-" + app, Type: intake.AppCreated, Time: time.Now(), App: intake.App{ID: app, Name: name}})
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.q.PipelineGet(w.ctx(), *out.PipelineID)
		if err != nil {
			t.Fatal(err)
		}
		return p.Slug
	}
	if slug := slugOf("app-1", "Blog"); slug != "blog-2" {
		t.Errorf("another app's pipeline has the slug %s", slug)
	}
	p, err := w.in.CreatePipeline(w.ctx(), intake.NewPipeline{Name: "Blog", Slug: "blog"}, "test")
	if err != nil {
		t.Fatalf("an admin requests the slug: %v", err)
	}
	if _, err := w.db.Exec(w.ctx(), "DELETE FROM pipelines WHERE id = $1", p.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.Exec(w.ctx(), "UPDATE events SET time = time - interval '8 days' WHERE to_status = 'deleted'"); err != nil {
		t.Fatal(err)
	}
	if slug := slugOf("app-2", "Blog"); slug != "blog" {
		t.Errorf("after a week an app's pipeline has the slug %s", slug)
	}
}

func TestParseAppEvent(t *testing.T) {
	t.Parallel()
	const good = `{"id":"evt-1","type":"Created","time":"2026-01-02T16:04:05.123456789+01:00","app":{"id":"app-1","name":"Blog","repository":{"provider":"github","full_name":"team/blog","branch":"main","root":"site"}}}`
	e, err := intake.ParseAppEvent([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if want := start.Add(123456 * time.Microsecond); !e.Time.Equal(want) || e.Time.Location() != time.UTC || e.App.Repository.Root != "site" {
		t.Errorf("got %+v", e)
	}
	if _, err := intake.ParseAppEvent([]byte(`{"id":"e","type":"Deleted","time":"2026-01-02T15:04:05Z","app":{"id":"a","name":"n","repository":null}}`)); err != nil {
		t.Errorf("without a repository: %v", err)
	}
	change := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the body", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for _, c := range []struct{ name, body, field string }{
		{"empty", "", ""},
		{"not JSON", "{", ""},
		{"a list", "[]", ""},
		{"null", "null", "id"},
		{"trailing data", good + "{}", ""},
		{"not UTF-8", change("Blog", "Bl\xffog"), "app.name"},
		{"unknown field", change(`"id":"evt-1"`, `"id":"evt-1","extra":1`), "extra"},
		{"unknown inner field", change(`"name":"Blog"`, `"name":"Blog","owner":"x"`), "app.owner"},
		{"another case", change(`"type"`, `"Type"`), "Type"},
		{"twice", change(`"id":"evt-1"`, `"id":"evt-1","id":"evt-2"`), "id"},
		{"id missing", change(`"id":"evt-1",`, ""), "id"},
		{"id a number", change(`"evt-1"`, "1"), "id"},
		{"id too long", change("evt-1", strings.Repeat("x", 129)), "id"},
		{"id with a line end", change("evt-1", `evt\n1`), "id"},
		{"id with NUL", change("evt-1", `evt\u00001`), "id"},
		{"type missing", change(`"type":"Created",`, ""), "type"},
		{"type unknown", change(`"Created"`, `"created"`), "type"},
		{"time missing", change(`"time":"2026-01-02T16:04:05.123456789+01:00",`, ""), "time"},
		{"time bad", change("2026-01-02T16", "2026-13-02T16"), "time"},
		{"time a number", change(`"2026-01-02T16:04:05.123456789+01:00"`, "1"), "time"},
		{"app missing", change(`"app":{"id":"app-1","name":"Blog",`, `"app":{`), "app.id"},
		{"app null", `{"id":"e","type":"Deleted","time":"2026-01-02T15:04:05Z","app":null}`, "app.id"},
		{"app a string", `{"id":"e","type":"Deleted","time":"2026-01-02T15:04:05Z","app":"x"}`, "app"},
		{"app.id too long", change("app-1", strings.Repeat("x", 129)), "app.id"},
		{"name empty", change("Blog", "  "), "app.name"},
		{"name too long", change("Blog", strings.Repeat("ä", 201)), "app.name"},
		{"name with a control character", change("Blog", `Bl\u0007og`), "app.name"},
		{"name that turns text around", change("Blog", `Blog\u202Egnp.exe`), "app.name"},
		{"provider unknown", change(`"github"`, `"svn"`), "app.repository.provider"},
		{"provider missing", change(`"provider":"github",`, ""), "app.repository.provider"},
		{"full_name without owner", change("team/blog", "blog"), "app.repository.full_name"},
		{"full_name that climbs", change("team/blog", "../blog"), "app.repository.full_name"},
		{"full_name that stands still", change("team/blog", "team/."), "app.repository.full_name"},
		{"full_name with a query", change("team/blog", "team/blog?a=b"), "app.repository.full_name"},
		{"branch too long", change("main", strings.Repeat("b", 256)), "app.repository.branch"},
		{"root absolute", change(`"site"`, `"/etc"`), "app.repository.root"},
		{"root outside", change(`"site"`, `"a/../../b"`), "app.repository.root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := intake.ParseAppEvent([]byte(c.body))
			e, ok := errors.AsType[*troy.Error](err)
			if !ok || e.Kind != troy.Invalid || e.Field != c.field || e.Message == "" {
				t.Errorf("error %#v, want Invalid at %q", err, c.field)
			}
		})
	}
	if _, err := intake.ParseAppEvent([]byte(change("Blog", strings.Repeat("ä", 200)))); err != nil {
		t.Errorf("200 characters are refused: %v", err)
	}
}

func FuzzParseAppEvent(f *testing.F) {
	for _, s := range []string{
		`{"id":"evt-1","type":"Created","time":"2026-01-02T15:04:05Z","app":{"id":"app-1","name":"Blog"}}`,
		`{"id":"evt-2","type":"Deleted","time":"2026-01-02T15:04:05+01:00","app":{"id":"app-1","name":"B","repository":{"provider":"bitbucket","full_name":"a/b"}}}`,
		`{"id":"evt-1","type":"Created","time":"0000-01-01T00:00:00Z","app":{"id":"app-1","name":"\u0000"}}`,
		`null`, `{}`, `[]`, `"`, "\xff", `{"app":{"repository":{"root":".."}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := intake.ParseAppEvent(body)
		if err != nil {
			if troy.KindOf(err) != troy.Invalid {
				t.Fatalf("the error is %s: %v", troy.KindOf(err), err)
			}
			if !strings.Contains(err.Error(), ":") && len(err.Error()) > 300 {
				t.Fatalf("a long error: %v", err)
			}
			return
		}
		for _, s := range []string{e.ID, e.App.ID, e.App.Name} {
			if strings.TrimSpace(s) == "" || strings.ContainsRune(s, 0) || len([]rune(s)) > 200 {
				t.Fatalf("accepted %q", s)
			}
		}
		if troy.CheckSlug(troy.SlugFrom(e.App.Name)) != nil {
			t.Fatalf("the name %q has no slug", e.App.Name)
		}
	})
}

// A time far in the future would block its app's events until then.
func TestEventsFromTheFutureAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := event("evt-1", intake.AppDeleted, 0)
	e.Time = time.Now().Add(time.Hour)
	_, err := w.in.AppEvent(w.ctx(), e)
	wantKind(t, err, troy.Invalid, "ahead of Troy's clock")
	if n := w.count("SELECT count(*) FROM deliveries") + w.count("SELECT count(*) FROM apps"); n != 0 {
		t.Errorf("%d rows were written", n)
	}
	e.Time = time.Now().Add(time.Minute)
	w.event(e, intake.Ignored)
	e = event("evt-2", intake.AppCreated, 0)
	e.Time = time.Now().Add(2 * time.Minute)
	w.event(e, intake.Created)
}
