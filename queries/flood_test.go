package queries_test

import (
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// flooded opens a database in which, for each kind, more rows wait than
// Postgres has statistics of.
func flooded(t *testing.T) *pgxpool.Pool {
	t.Helper()
	db := open(t)
	for _, sql := range []string{
		"ALTER TABLE work SET (autovacuum_enabled = off)", "ALTER TABLE pipelines SET (autovacuum_enabled = off)", "ALTER TABLE deployments SET (autovacuum_enabled = off)",
		"INSERT INTO work (kind, subject_id) SELECT 'forge:catch-up', gen_random_uuid() FROM generate_series(1, 20000)",
		`INSERT INTO pipelines (id, name, slug, status, repository_provider, repository_full_name, repository_branch, repository_id)
			SELECT gen_random_uuid(), 'p' || i, 'p' || i, 'deployed', 'github', 'team/r' || i, 'main', i::text FROM generate_series(1, 5000) i`,
		`INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, finished_at)
			SELECT gen_random_uuid(), id, 1, 'automated', 'succeeded', gen_random_uuid(), 'test', now() FROM pipelines`,
		"VACUUM ANALYZE",
		"UPDATE pipelines SET status = 'queued'",
		`INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor)
			SELECT gen_random_uuid(), id, 2, 'automated', 'waiting', gen_random_uuid(), 'test' FROM pipelines`,
		`INSERT INTO work (kind, subject_id) SELECT kind, gen_random_uuid() FROM generate_series(1, 5000),
			unnest(ARRAY['deployment:build', 'deployment:poll-build', 'forge:report', 'pipeline:deploy', 'pipeline:provision',
				'pipeline:teardown', 'pipeline:poll-distro-disabled', 'retention']) kind`,
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	return db
}

// rowsRead returns the number of rows and index entries that the transaction
// has read so far.
func rowsRead(t *testing.T, tx pgx.Tx) (n int64) {
	t.Helper()
	if err := tx.QueryRow(t.Context(), `SELECT sum(pg_stat_get_xact_tuples_returned(c.oid))::bigint FROM pg_class c
		WHERE c.relname IN ('work', 'pipelines', 'deployments', 'builds', 'releases', 'events', 'audit') OR c.oid IN (
			SELECT i.indexrelid FROM pg_index i JOIN pg_class o ON o.oid = i.indrelid
			WHERE o.relname IN ('work', 'pipelines', 'deployments', 'builds', 'releases', 'events', 'audit'))`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// mostRead is the maximum number of rows that one transition may read, however
// many wait.
const mostRead = 100

// TestTransitionsInAFlood checks that transitions read only the rows that they
// concern.
func TestTransitionsInAFlood(t *testing.T) {
	t.Parallel()
	db := flooded(t)
	for _, tr := range transitions {
		for _, status := range troy.RowStatuses() {
			for _, v := range variants() {
				rolledBack(t, db, func(tx pgx.Tx) {
					s := setUp(t, tx, status, tr.kind, v)
					var n int64
					// Run each twice, because the first execution may read more
					// for planning.
					for range 2 {
						rolledBack(t, tx, func(tx pgx.Tx) {
							before := rowsRead(t, tx)
							_, err := tr.run(t.Context(), queries.New(tx), s)
							if err != nil && !errors.Is(err, pgx.ErrNoRows) {
								t.Fatal(err)
							}
							n = rowsRead(t, tx) - before
						})
					}
					if n > mostRead {
						t.Errorf("%s from %s, %s, read %d rows", tr.name, status, v.name, n)
					}
				})
			}
		}
	}
}

// TestDeploymentCreateInAFlood does the same for pushes, which supersede each
// other.
func TestDeploymentCreateInAFlood(t *testing.T) {
	t.Parallel()
	db := flooded(t)
	id := uuid.New()
	rolledBack(t, db, func(tx pgx.Tx) {
		exec(t, tx, "INSERT INTO pipelines (id, name, slug, status) VALUES ($1, 'blog', 'blog', 'deployed')", id)
		q := queries.New(tx)
		var last uuid.UUID
		for _, what := range []string{"the first push", "one that supersedes it", "one that supersedes that"} {
			before := rowsRead(t, tx)
			last = uuid.Must(uuid.NewV7())
			if _, err := q.DeploymentCreate(t.Context(), queries.DeploymentCreateParams{
				ID: last, TreeID: last, PipelineID: id, Kind: troy.Automated, Actor: "test", Cause: "a commit was pushed",
			}); err != nil {
				t.Fatal(err)
			}
			if n := rowsRead(t, tx) - before; n > mostRead {
				t.Errorf("%s read %d rows", what, n)
			}
		}
		// Only the newest deployment's build is requested; the older ones have
		// none left.
		var builds int
		if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM work w JOIN deployments d ON d.id = w.subject_id
			WHERE w.kind = 'deployment:build' AND d.pipeline_id = $1 AND d.id <> $2`, id, last).Scan(&builds); err != nil {
			t.Fatal(err)
		}
		if builds != 0 {
			t.Errorf("%d builds of superseded deployments are requested", builds)
		}
	})
}

// TestRingInAFlood checks that a ring reads only the rows that it rings,
// however many rows of any kind wait.
func TestRingInAFlood(t *testing.T) {
	t.Parallel()
	db := flooded(t)
	const bound = 20
	kinds := []string{"pipeline:deploy", "pipeline:provision", "retention", "forge:report"}
	rolledBack(t, db, func(tx pgx.Tx) {
		before := rowsRead(t, tx)
		rung, err := queries.New(tx).WorkRingNext(t.Context(), queries.WorkRingNextParams{Queue: "quick", Bound: bound, Kinds: kinds})
		if err != nil || len(rung) != bound {
			t.Errorf("%d rows were rung, %v; want %d", len(rung), err, bound)
		}
		if n, most := rowsRead(t, tx)-before, int64(3*bound*len(kinds)); n > most {
			t.Errorf("a ring read %d rows, want %d at most", n, most)
		}
	})
}

// TestPositionsInAFlood checks that places in a queue cost the same however
// many rows wait, and that the first ones are right.
func TestPositionsInAFlood(t *testing.T) {
	t.Parallel()
	db := flooded(t)
	kinds := []string{"pipeline:deploy", "pipeline:provision", "deployment:build"}
	names := []string{"quick", "quick", "builds"}
	rolledBack(t, db, func(tx pgx.Tx) {
		ids := make([]uuid.UUID, 3)
		for i, due := range []string{"now() - interval '3 hours'", "now() - interval '2 hours'", "now()"} {
			ids[i] = uuid.New()
			exec(t, tx, "INSERT INTO work (kind, subject_id, due_at) VALUES ($1, $2, "+due+")", kinds[i%2], ids[i])
		}
		before := rowsRead(t, tx)
		places, err := queries.New(tx).WorkPositions(t.Context(), queries.WorkPositionsParams{PipelineIds: ids, Kinds: kinds, Queues: names})
		if err != nil {
			t.Fatal(err)
		}
		if n, most := rowsRead(t, tx)-before, int64(2*1000*len(kinds)+mostRead); n > most {
			t.Errorf("it read %d rows, want %d at most", n, most)
		}
		got := map[uuid.UUID]int64{}
		for _, p := range places {
			got[p.PipelineID] = p.Position
		}
		if len(got) != 2 || got[ids[0]] != 1 || got[ids[1]] != 2 {
			t.Errorf("the positions are %v; expected 1 and 2, and none for the last of thousands", got)
		}
	})
}
