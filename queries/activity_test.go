package queries_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/queries"
)

// TestActivityReadsAPage checks that lists of the activity and of outstanding
// work read about as many rows as they return, also with generic plans.
func TestActivityReadsAPage(t *testing.T) {
	t.Parallel()
	db := open(t)
	for _, sql := range []string{
		`INSERT INTO pipelines (id, name, slug, status, last_number)
			SELECT gen_random_uuid(), 'Site ' || i, 'site-' || i, 'deployed', 15 FROM generate_series(1, 20000) i`,
		`INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, started_at, finished_at)
			SELECT gen_random_uuid(), id, n, 'release', CASE n WHEN 15 THEN 'waiting' WHEN 14 THEN 'publishing' ELSE 'succeeded' END, gen_random_uuid(), 'test', now(),
			       CASE WHEN n < 14 THEN now() END
			FROM (SELECT id FROM pipelines LIMIT 3000) p, generate_series(1, 15) n`,
		"UPDATE pipelines p SET live_deployment_id = d.id FROM deployments d WHERE d.pipeline_id = p.id AND d.number = 13",
		`INSERT INTO events (pipeline_id, version, slug, to_status, actor, deployment_id, time)
			SELECT p.id, n, p.slug, 'deployed', 'test', p.live_deployment_id, now() - (random() * interval '90 days') FROM pipelines p, generate_series(1, 3) n`,
		`INSERT INTO audit (actor, action, subject, pipeline_id, slug, time)
			SELECT 'test', 'variable.set', 'A', CASE WHEN random() < 0.5 THEN id END, slug, now() - (random() * interval '90 days') FROM pipelines`,
		`INSERT INTO work (kind, subject_id, due_at, ring_id)
			SELECT 'retention', id, now() + random() * interval '1 day', CASE WHEN random() < 0.5 THEN gen_random_uuid() END FROM pipelines`,
		`INSERT INTO work (kind, subject_id, due_at, lease_until)
			SELECT 'deployment:build', id, now() - random() * interval '1 hour', CASE WHEN number = 14 AND random() < 0.005 THEN now() + interval '1 hour' END
			FROM deployments WHERE number >= 14`,
		// One pipeline has most deployments and events, and much work.
		`INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, started_at, finished_at)
			SELECT gen_random_uuid(), (SELECT pipeline_id FROM deployments LIMIT 1), n, 'release', 'succeeded', gen_random_uuid(), 'test', now(), now() FROM generate_series(100, 30000) n`,
		"UPDATE pipelines SET last_number = 30000 WHERE id = (SELECT pipeline_id FROM deployments WHERE number = 100)",
		`INSERT INTO work (kind, subject_id, due_at) SELECT 'forge:report', id, now() - number * interval '1 ms' FROM deployments WHERE number BETWEEN 1000 AND 6000`,
		`INSERT INTO events (pipeline_id, version, slug, to_status, actor, time)
			SELECT (SELECT pipeline_id FROM deployments WHERE number = 100), n, 'busy', 'deployed', 'test', now() - n * interval '1 hour' FROM generate_series(100, 30000) n`,
		`INSERT INTO audit (actor, action, subject) VALUES ('rare', 'token.create', 'ci')`,
		`UPDATE work SET attempt = 3, cause = 'Rate exceeded' WHERE kind = 'retention' AND random() < 0.02`,
		`UPDATE deployments SET finished_at = now() - interval '36 hours' WHERE number = 7 AND pipeline_id IN (SELECT pipeline_id FROM deployments WHERE number = 7 LIMIT 3)`,
		"VACUUM ANALYZE",
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	const limit = 51
	never := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	var busy []uuid.UUID
	if err := db.QueryRow(t.Context(), "SELECT array_agg(pipeline_id) FROM deployments WHERE number = 100").Scan(&busy); err != nil {
		t.Fatal(err)
	}
	var ids []uuid.UUID
	if err := db.QueryRow(t.Context(), "SELECT array_agg(pipeline_id) FROM (SELECT DISTINCT pipeline_id FROM deployments LIMIT 20) p").Scan(&ids); err != nil {
		t.Fatal(err)
	}
	ago := time.Now().Add(-30 * 24 * time.Hour)
	kinds := []string{"deployment:build", "forge:report", "pipeline:deploy", "pipeline:provision", "retention"}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		rolledBack(t, db, func(tx pgx.Tx) {
			exec(t, tx, "SET LOCAL plan_cache_mode = "+mode)
			q := queries.New(tx)
			for _, look := range []struct {
				name string
				run  func() (int, error)
				most int64
			}{
				{"ActivityList", func() (int, error) {
					l, err := q.ActivityList(t.Context(), queries.ActivityListParams{BeforeTime: ago, BeforeID: uuid.Max, BeforeNumber: 0, FromTime: time.Unix(0, 0), Events: true, Changes: true, PageLimit: limit, Everything: true})
					return len(l), err
				}, 6 * limit},
				{"ActivityList without tokens", func() (int, error) {
					l, err := q.ActivityList(t.Context(), queries.ActivityListParams{BeforeTime: ago, BeforeID: uuid.Max, BeforeNumber: 0, FromTime: ago.Add(-24 * time.Hour), Events: true, Changes: true, PageLimit: limit})
					return len(l), err
				}, 20 * limit},
				{"ActivityList of pipelines", func() (int, error) {
					l, err := q.ActivityList(t.Context(), queries.ActivityListParams{BeforeTime: time.Now(), BeforeID: uuid.Max, FromTime: time.Unix(0, 0), Events: true, Changes: true, PageLimit: limit, MostKeys: limit, Only: ids})
					return len(l), err
				}, 20*10 + 6*limit},
				{"ActivityList of a busy pipeline", func() (int, error) {
					l, err := q.ActivityList(t.Context(), queries.ActivityListParams{BeforeTime: ago, BeforeID: uuid.Max, FromTime: time.Unix(0, 0), Events: true, Changes: true, PageLimit: limit, MostKeys: limit, Only: busy})
					return len(l), err
				}, 6 * limit},
				{"ActivityList of an actor", func() (int, error) {
					l, err := q.ActivityList(t.Context(), queries.ActivityListParams{BeforeTime: time.Now(), BeforeID: uuid.Max, FromTime: time.Unix(0, 0), Events: true, Changes: true, PageLimit: limit, Actor: "rare", Everything: true})
					return len(l), err
				}, 6 * limit},
				{"ActivityEdge", func() (int, error) {
					l, err := q.ActivityEdge(t.Context(), queries.ActivityEdgeParams{BeforeTime: time.Now(), BeforeID: uuid.Max, Events: true, Changes: true, Scan: 500})
					return len(l), err
				}, 1100},
				{"QueueRunning", func() (int, error) {
					l, err := q.QueueRunning(t.Context(), queries.QueueRunningParams{Kinds: kinds, PageLimit: 200})
					return len(l), err
				}, 200 * 8},
				{"QueueWaiting", func() (int, error) {
					l, err := q.QueueWaiting(t.Context(), queries.QueueWaitingParams{Kinds: kinds, AfterTime: time.Unix(0, 0), Until: never, PageLimit: limit})
					return len(l), err
				}, 12*limit + 4*int64(len(kinds))},
				{"QueueWaiting, a later page", func() (int, error) {
					l, err := q.QueueWaiting(t.Context(), queries.QueueWaitingParams{Kinds: kinds, AfterTime: time.Now().Add(time.Hour), Until: never, PageLimit: limit})
					return len(l), err
				}, 12*limit + 4*int64(len(kinds))},
				{"QueueWaiting of pipelines", func() (int, error) {
					l, err := q.QueueWaiting(t.Context(), queries.QueueWaitingParams{Kinds: kinds, Only: ids, AfterTime: time.Unix(0, 0), Until: never, PageLimit: limit})
					return len(l), err
				}, 12 * limit},
				{"QueueWaiting of a busy pipeline", func() (int, error) {
					l, err := q.QueueWaiting(t.Context(), queries.QueueWaitingParams{Kinds: kinds, Only: busy, AfterTime: time.Unix(0, 0), Until: never, PageLimit: limit})
					return len(l), err
				}, 5000 + 12*limit}, // its outstanding work, which Postgres may sort; not its deployments
				{"QueueWaiting, failing", func() (int, error) {
					l, err := q.QueueWaiting(t.Context(), queries.QueueWaitingParams{Kinds: kinds, State: "failing", AfterTime: time.Unix(0, 0), Until: never, PageLimit: limit})
					return len(l), err
				}, 12 * limit},
				{"QueueWaiting, due", func() (int, error) {
					l, err := q.QueueWaiting(t.Context(), queries.QueueWaitingParams{Kinds: kinds, State: "healthy", AfterTime: time.Unix(0, 0), Until: time.Now(), PageLimit: limit})
					return len(l), err
				}, 12*limit + 4*int64(len(kinds))},
				{"QueueCounts", func() (int, error) { l, err := q.QueueCounts(t.Context(), 100, kinds); return len(l), err }, 500 * int64(len(kinds))},
				{"DaysOf a busy pipeline", func() (int, error) {
					l, err := q.DaysOf(t.Context(), queries.DaysOfParams{PipelineIds: busy, Each: 100, FromDay: time.Now().AddDate(0, 0, -30)})
					return len(l), err
				}, 250},
				{"DayCount", func() (int, error) {
					c, err := q.DayCount(t.Context(), time.Now().AddDate(0, 0, -2), time.Now().AddDate(0, 0, -1))
					return int(c.Succeeded), err
				}, 10},
				{"DeploymentsBrief", func() (int, error) { l, err := q.DeploymentsBrief(t.Context(), ids); return len(l), err }, 20 * 10},
			} {
				start := rowsRead(t, tx)
				n, err := look.run()
				if err != nil || n == 0 {
					t.Fatalf("%s returned %d rows, %v", look.name, n, err)
				}
				if read := rowsRead(t, tx) - start; read > look.most {
					t.Errorf("%s read %d rows for %d with %s; expected %d at most", look.name, read, n, mode, look.most)
				}
			}
		})
	}
}
