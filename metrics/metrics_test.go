package metrics_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/sandbox"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/metrics"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

var errBroken = errors.New("broken")

// brokenQueue never has a message and fails to delete one.
type brokenQueue struct{ cloud.Queue }

func (brokenQueue) Receive(context.Context, time.Duration) ([]cloud.Message, error) { return nil, nil }
func (brokenQueue) Done(context.Context, ...cloud.Message) error                    { return errBroken }

// TestMetrics checks that calls are counted, that waiting work is read from the
// database, and that docs/operations.md lists each name.
func TestMetrics(t *testing.T) {
	t.Parallel()
	m := metrics.New()
	cfg, err := pgxpool.ParseConfig(stacktest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.Tracer = m.Tracer()
	db, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Work(db)
	q := queries.New(db)
	id := uuid.New()
	if _, err := q.PipelineCreate(t.Context(), queries.PipelineCreateParams{ID: id, Name: "blog", Slug: "blog", Host: "blog.localhost", Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second call changes nothing
		_, _ = q.PipelineRequestProvision(t.Context(), queries.PipelineRequestProvisionParams{ID: id, Actor: "test"})
	}
	local, err := localcloud.New(localcloud.Config{Root: t.TempDir(), Limits: site.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	counted := m.Cloud(local)
	if _, err := counted.CDN.Create(t.Context(), "troy-x", "blog.localhost"); err != nil {
		t.Fatal(err)
	}
	if _, err := counted.DNS.Lookup(t.Context(), "nobody.localhost"); err == nil {
		t.Fatal("there is a record")
	}
	if _, signs := counted.Store.(cloud.Signer); signs {
		t.Error("a store that signs nothing says that it does")
	}
	broken, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if _, err := counted.CDN.Create(broken, "troy-y", "other.localhost"); err == nil {
		t.Log("created despite its context")
	}
	built, err := sandbox.New(sandbox.Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = built.Close() })
	if _, err := m.Builder(built).Get(t.Context(), site.Tree{Pipeline: id, Deployment: id}); !errors.Is(err, builder.ErrNotFound) {
		t.Fatalf("a build that does not exist: %v", err)
	}
	taken := m.Queue(brokenQueue{})
	if _, err := taken.Receive(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if err := taken.Done(t.Context(), cloud.Message{}); !errors.Is(err, errBroken) {
		t.Fatalf("the error became %v", err)
	}
	confirm := m.ConfirmTopic(func(_ context.Context, topic, token string) error {
		if topic != "topic" || token != "token" {
			t.Errorf("%s, %s", topic, token)
		}
		return errBroken
	})
	if err := confirm(t.Context(), "topic", "token"); !errors.Is(err, errBroken) {
		t.Fatalf("the error became %v", err)
	}
	forge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Path[1:])
		w.WriteHeader(status)
	}))
	asks := http.Client{Transport: m.Forge(troy.GitHub, http.DefaultTransport)}
	for _, status := range []string{"200", "404", "429", "502"} {
		res, err := asks.Get(forge.URL + "/" + status)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	forge.Close()
	if res, err := asks.Get(forge.URL); err == nil {
		_ = res.Body.Close()
		t.Fatal("a closed server answers")
	}
	m.Request("GET", "/v1/pipelines", 200, time.Millisecond)
	m.Request("EVIL", "other", 405, time.Millisecond)
	m.Task("pipeline:provision", "done", time.Second)
	m.ClaimLost("pipeline:provision")
	m.Refused("TROY_AWS_APPS_QUEUE")
	m.Reconciled("pipeline:deploy")
	text := scrape(t, m)
	for _, line := range []string{
		`troy_transitions_total{transition="PipelineCreate"} 1`, `troy_transitions_total{transition="PipelineRequestProvision"} 1`,
		`troy_work_due{kind="pipeline:provision",queue="quick"} 1`, `troy_pipelines{status="provision_request"} 1`, `troy_database_up 1`, `troy_storage_bytes 0`,
		`troy_outside_calls_total{call="cdn.create",outcome="ok"} `, `troy_outside_calls_total{call="dns.lookup",outcome="expected"} 1`,
		`troy_outside_calls_total{call="builder.get",outcome="expected"} 1`, `troy_outside_calls_total{call="forge.github",outcome="ok"} 1`,
		`troy_outside_calls_total{call="forge.github",outcome="expected"} 1`, `troy_outside_calls_total{call="forge.github",outcome="failed"} 3`,
		`troy_outside_calls_total{call="queue.receive",outcome="ok"} 1`, `troy_outside_calls_total{call="queue.done",outcome="failed"} 1`,
		`troy_outside_calls_total{call="topic.confirm",outcome="failed"} 1`,
		`troy_http_requests_total{method="GET",route="/v1/pipelines",status="200"} 1`, `troy_http_requests_total{method="other",route="other",status="405"} 1`,
		`troy_tasks_total{kind="pipeline:provision",outcome="done"} 1`, `troy_claims_lost_total{kind="pipeline:provision"} 1`,
		`troy_messages_refused_total{queue="TROY_AWS_APPS_QUEUE"} 1`,
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("missing: %s", line)
		}
	}
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`(?m)^# TYPE (troy_\w+)`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(string(page), "`"+found[1]+"`") {
			t.Errorf("docs/operations.md does not list %s", found[1])
		}
	}
	for _, named := range regexp.MustCompile("`(troy_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(text, "# TYPE "+named[1]+" ") {
			t.Errorf("docs/operations.md lists %s, which does not exist", named[1])
		}
	}
	// Without Postgres the other metrics are still reported.
	db.Close()
	if text := scrape(t, m); !strings.Contains(text, "\ntroy_database_up 0") || !strings.Contains(text, "troy_tasks_total") {
		t.Errorf("without Postgres:\n%s", text)
	}
	// A nil *Metrics counts nothing and does not panic.
	var none *metrics.Metrics
	none.Request("GET", "x", 200, 0)
	none.Task("x", "done", 0)
	none.ClaimLost("x")
	none.Refused("x")
	none.Reconciled("x")
}
