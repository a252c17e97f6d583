package intake_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/bell"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// world is an intake on its own database.
type world struct {
	t  *testing.T
	db *pgxpool.Pool
	q  *queries.Queries
	in *intake.Intake

	bell *bell.Bell
}

func newWorld(t *testing.T, change ...func(*intake.Config)) *world {
	t.Helper()
	db, err := pgxpool.New(t.Context(), stacktest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	opts, err := redis.ParseURL(stacktest.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { rdb.Close() })
	b := bell.New(db, tasks.NewClient(rdb), slog.New(slog.DiscardHandler), map[string]int{tasks.QueueQuick: 10, tasks.QueueForge: 4})
	cfg := intake.Config{SitesSuffix: "sites.test", AutoProvision: true}
	for _, f := range change {
		f(&cfg)
	}
	return &world{t: t, db: db, q: queries.New(db), in: intake.New(db, b, cfg), bell: b}
}

func (w *world) ctx() context.Context { return w.t.Context() }

func (w *world) create(name string) queries.Pipeline {
	w.t.Helper()
	p, err := w.in.CreatePipeline(w.ctx(), intake.NewPipeline{Name: name}, "test")
	if err != nil {
		w.t.Fatalf("create pipeline %q: %v", name, err)
	}
	return p
}

// put moves a pipeline to a status as the workers would.
func (w *world) put(p queries.Pipeline, s troy.Status) {
	w.t.Helper()
	w.exec("UPDATE pipelines SET status = $2 WHERE id = $1", p.ID, s)
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(w.ctx(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) count(sql string, args ...any) int {
	w.t.Helper()
	var n int
	if err := w.db.QueryRow(w.ctx(), sql, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func (w *world) get(id uuid.UUID) queries.Pipeline {
	w.t.Helper()
	p, err := w.q.PipelineGet(w.ctx(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// ended makes a deployment in a state that the workers would set.
func (w *world) ended(p queries.Pipeline, state troy.DeploymentState, live bool) queries.Deployment {
	w.t.Helper()
	id := uuid.Must(uuid.NewV7())
	w.exec(`WITH n AS (UPDATE pipelines SET last_number = last_number + 1, live_deployment_id = CASE WHEN $4 THEN $2::uuid ELSE live_deployment_id END WHERE id = $1 RETURNING last_number)
		INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, manifest_digest, files, bytes, message, started_at, live_at, finished_at)
		SELECT $2, $1, n.last_number, 'release', $3, $2, 'test', 'digest', 2, 20, 'hello', clock_timestamp(),
		       CASE WHEN $4 THEN clock_timestamp() END, CASE WHEN $3 IN ('succeeded', 'failed', 'cancelled') THEN clock_timestamp() END FROM n`,
		p.ID, id, string(state), live)
	d, err := w.q.DeploymentGet(w.ctx(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func wantKind(t *testing.T, err error, want troy.ErrorKind, text string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want %s with %q", want, text)
	}
	if got := troy.KindOf(err); got != want {
		t.Fatalf("error is %s, want %s: %v", got, want, err)
	}
	if !contains(err.Error(), text) {
		t.Fatalf("error %q does not contain %q", err, text)
	}
}

var start = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// eventually polls until ok.
func (w *world) eventually(what string, so func() bool) {
	w.t.Helper()
	if !poll.Until(w.t.Context(), 20*time.Second, 10*time.Millisecond, so) {
		w.t.Fatalf("not in time: %s", what)
	}
}
