package queries_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/queries"
)

// exchanges counts the batches that are sent.
type exchanges struct {
	*pgxpool.Pool
	n int
}

func (e *exchanges) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	e.n++
	return e.Pool.SendBatch(ctx, b)
}

func newExchanges(t *testing.T) *exchanges {
	t.Helper()
	db, err := pgxpool.New(t.Context(), stacktest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return &exchanges{Pool: db}
}

// TestTogether reads the results of two batches, of which the first is empty, and
// of two of which the first fails.
func TestTogether(t *testing.T) {
	t.Parallel()
	db := newExchanges(t)
	pipeline := uuid.Must(uuid.NewV7())
	if _, err := queries.New(db).PipelineCreate(t.Context(), queries.PipelineCreateParams{ID: pipeline, Name: "blog", Slug: "blog", Host: "blog.localhost", Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	read := func(ids []uuid.UUID, deployment queries.DeploymentCreateParams) (found []string, created, locked error) {
		both := queries.New(db).Together()
		creates := both.DeploymentCreates(t.Context(), []queries.DeploymentCreateParams{deployment})
		locks := both.PipelineLocks(t.Context(), ids)
		creates.QueryRow(func(_ int, _ uuid.UUID, err error) { created = err })
		locks.QueryRow(func(_ int, p queries.Pipeline, err error) {
			found, locked = append(found, p.Slug), errors.Join(locked, err)
		})
		return found, created, locked
	}
	whole := queries.DeploymentCreateParams{ID: uuid.New(), TreeID: uuid.New(), PipelineID: pipeline, Kind: "release", Actor: "test"}
	if found, created, locked := read([]uuid.UUID{pipeline}, whole); created != nil || locked != nil || len(found) != 1 || found[0] != "blog" {
		t.Errorf("the pipelines %q, %v, %v; want blog", found, created, locked)
	}
	if found, created, locked := read(nil, whole); created == nil || locked != nil || len(found) != 0 {
		t.Errorf("a repeated deployment and no pipelines: %q, %v, %v; want an error of the first", found, created, locked)
	}
	whole.ID = uuid.New()
	whole.Kind = "unknown"
	if _, created, locked := read([]uuid.UUID{pipeline}, whole); created == nil || locked == nil {
		t.Errorf("after a statement that failed: %v, %v; want two errors", created, locked)
	}
	if db.n != 3 {
		t.Errorf("%d exchanges, want one for each of the three", db.n)
	}
	if n := db.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are not released", n)
	}
}

// TestBegin begins transactions with a batch, with a row, and with a statement
// that fails.
func TestBegin(t *testing.T) {
	t.Parallel()
	db := newExchanges(t)
	create := func(q *queries.Queries, slug string) error {
		_, err := q.PipelineCreate(t.Context(), queries.PipelineCreateParams{ID: uuid.Must(uuid.NewV7()), Name: slug, Slug: slug, Host: slug + ".localhost", Actor: "test"})
		return err
	}
	count := func() (n int) {
		t.Helper()
		if err := db.QueryRow(t.Context(), "SELECT count(*) FROM pipelines").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for i, step := range []struct {
		name   string
		first  func(q *queries.Queries) error
		commit bool
		rows   int
	}{
		{"a row, rolled back", func(q *queries.Queries) error { return create(q, "one") }, false, 0},
		{"a row, committed", func(q *queries.Queries) error { return create(q, "one") }, true, 2},
		{"a batch, committed", func(q *queries.Queries) error {
			_, err := q.PipelineLock(t.Context(), uuid.New())
			if errors.Is(err, pgx.ErrNoRows) {
				err = nil
			}
			return err
		}, true, 3},
	} {
		before := count()
		begin := queries.Begin(db)
		if err := step.first(queries.New(begin)); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		tx := begin.Tx()
		if err := create(queries.New(tx), string(rune('a'+i))); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if n := count(); n != before {
			t.Errorf("%s: %d rows are seen before its end, want %d", step.name, n, before)
		}
		end := tx.Rollback
		if step.commit {
			end = tx.Commit
		}
		if err := end(t.Context()); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if n := count(); n != step.rows {
			t.Errorf("%s: %d rows, want %d", step.name, n, step.rows)
		}
	}

	begin := queries.Begin(db)
	if err := create(queries.New(begin), "one"); err == nil {
		t.Error("a second pipeline with the same slug was made")
	}
	if err := begin.Tx().Rollback(t.Context()); err != nil {
		t.Errorf("roll back after a failed first statement: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	begin = queries.Begin(db)
	if _, err := queries.New(begin).PipelineLock(gone, uuid.New()); !errors.Is(err, context.Canceled) {
		t.Errorf("a transaction of a context that ended: %v", err)
	}
	if err := begin.Tx().Rollback(t.Context()); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("roll back what was not begun: %v", err)
	}
	if n := db.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are not released", n)
	}
}

// TestExchange sends statements of each form at once: two that return a row, of
// which one finds none, one that returns many, and a batch of one. If one fails,
// so do those after it, and nothing is changed.
func TestExchange(t *testing.T) {
	t.Parallel()
	db := newExchanges(t)
	pipeline := uuid.Must(uuid.NewV7())
	if _, err := queries.New(db).PipelineCreate(t.Context(), queries.PipelineCreateParams{ID: pipeline, Name: "blog", Slug: "blog", Host: "blog.localhost", Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	deployment := queries.DeploymentCreateParams{ID: uuid.New(), TreeID: uuid.New(), PipelineID: pipeline, Kind: "release", Actor: "test"}
	exchange := func(deployment queries.DeploymentCreateParams) (p queries.Pipeline, got [4]error, n int, err error) {
		var e queries.Exchange
		locked := queries.Ask(&e, (*queries.Queries).PipelineLock, pipeline)
		live := queries.Ask(&e, (*queries.Queries).DeploymentLive, pipeline)
		created := queries.Ask(&e, (*queries.Queries).DeploymentCreate, deployment)
		list := queries.Ask(&e, (*queries.Queries).DeploymentList, queries.DeploymentListParams{PipelineID: pipeline, PageLimit: 10})
		before := db.n
		err = e.Send(t.Context(), db)
		if db.n != before+1 {
			t.Errorf("%d batches were sent, want one", db.n-before)
		}
		return locked.Row, [4]error{locked.Err, live.Err, created.Err, list.Err}, len(list.Row), err
	}
	p, got, n, err := exchange(deployment)
	if err != nil || p.Slug != "blog" || got != [4]error{nil, pgx.ErrNoRows, nil, nil} || n != 1 {
		t.Errorf("the pipeline is %q, the errors are %v, %d deployments, %v", p.Slug, got, n, err)
	}
	if _, _, _, err := exchange(deployment); err == nil { // the deployment exists
		t.Error("an exchange with a statement that failed returned no error")
	}
	if p, err := queries.New(db).PipelineGet(t.Context(), pipeline); err != nil || p.LastNumber != 1 {
		t.Errorf("the failed exchange left the pipeline with %d deployments, %v", p.LastNumber, err)
	}
}
