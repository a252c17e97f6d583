package queries_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/queries"
)

// TestOverviewReadsAPage holds the dashboard's queries to reading about what
// they return, however many pipelines there are, also once Postgres plans them
// without knowing their arguments.
func TestOverviewReadsAPage(t *testing.T) {
	t.Parallel()
	db := open(t)
	const pipelines = 30_000
	for _, sql := range []string{
		fmt.Sprintf(`INSERT INTO pipelines (id, name, slug, status, repository_full_name, last_number, updated_at)
			SELECT gen_random_uuid(), 'Site ' || i, 'site-' || i, CASE WHEN i %% 1000 = 7 THEN 'failed_to_deploy' ELSE 'deployed' END, 'team/repo' || i, 15, now() - (i || ' seconds')::interval
			FROM generate_series(1, %d) i`, pipelines),
		`INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, finished_at)
			SELECT gen_random_uuid(), id, n, 'automated', 'succeeded', gen_random_uuid(), 'test', now() FROM (SELECT id FROM pipelines LIMIT 3000) p, generate_series(1, 15) n`,
		"INSERT INTO domains (host, pipeline_id, kind) SELECT slug || '.test', id, 'site' FROM pipelines",
		"UPDATE pipelines p SET live_deployment_id = d.id FROM deployments d WHERE d.pipeline_id = p.id AND d.number = 15",
		"VACUUM ANALYZE",
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	const limit = 26
	before := time.Now().Add(-time.Hour)
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		rolledBack(t, db, func(tx pgx.Tx) {
			exec(t, tx, "SET LOCAL plan_cache_mode = "+mode)
			q := queries.New(tx)
			list, err := q.OverviewByChange(t.Context(), queries.OverviewByChangeParams{BeforeTime: before, BeforeID: uuid.Max, PageLimit: limit})
			if err != nil || len(list) != limit {
				t.Fatalf("%d pipelines, %v", len(list), err)
			}
			ids := make([]uuid.UUID, 0, limit)
			lives := make([]uuid.UUID, 0, limit)
			for _, p := range list {
				ids = append(ids, p.ID)
				if p.LiveDeploymentID != nil {
					lives = append(lives, *p.LiveDeploymentID)
				}
			}
			status := "failed_to_deploy"
			count := func(list []queries.Pipeline, err error) (int, error) { return len(list), err }
			for _, look := range []struct {
				name string
				run  func() (int, error)
				most int64
			}{
				{"OverviewByChange", func() (int, error) {
					return count(q.OverviewByChange(t.Context(), queries.OverviewByChangeParams{BeforeTime: before, BeforeID: uuid.Max, PageLimit: limit}))
				}, 4 * limit},
				{"OverviewByChangeOfStatus", func() (int, error) {
					return count(q.OverviewByChangeOfStatus(t.Context(), queries.OverviewByChangeOfStatusParams{Status: status, BeforeTime: time.Now(), BeforeID: uuid.Max, PageLimit: limit}))
				}, 4 * limit},
				{"OverviewByName", func() (int, error) { return count(q.OverviewByName(t.Context(), "site-2", limit)) }, 4 * limit},
				{"OverviewByNameOfStatus", func() (int, error) {
					return count(q.OverviewByNameOfStatus(t.Context(), queries.OverviewByNameOfStatusParams{Status: status, After: "", PageLimit: limit}))
				}, 4 * limit},
				{"OverviewFound, one", func() (int, error) {
					return count(q.OverviewFound(t.Context(), queries.OverviewFoundParams{Words: "repo29999:*", PageLimit: 101}))
				}, 20},
				// All are found: the bitmap has each, and 2,000 are looked at.
				{"OverviewFound, all", func() (int, error) {
					return count(q.OverviewFound(t.Context(), queries.OverviewFoundParams{Words: "s:*", PageLimit: 101}))
				}, pipelines + 3*2000},
				{"OverviewOf", func() (int, error) {
					return count(q.OverviewOf(t.Context(), queries.OverviewOfParams{Ids: ids, Words: "site:*", PageLimit: 501}))
				}, 4 * limit},
				{"PipelineAddresses", func() (int, error) { l, err := q.PipelineAddresses(t.Context(), ids); return len(l), err }, 4 * limit},
				{"DeploymentsOf", func() (int, error) { l, err := q.DeploymentsOf(t.Context(), lives); return len(l) + 1, err }, 4 * limit},
				{"DeploymentsLatest", func() (int, error) { l, err := q.DeploymentsLatest(t.Context(), 12, ids); return len(l) + 1, err }, 4 * 13 * limit},
				{"DeploymentGetByNumber", func() (int, error) {
					_, err := q.DeploymentGetByNumber(t.Context(), list[0].ID, 99)
					return 1, ignoreNone(err)
				}, 10},
				{"EventsLatest", func() (int, error) { _, err := q.EventsLatest(t.Context(), ids[0], 200); return 1, err }, 10},
			} {
				start := rowsRead(t, tx)
				n, err := look.run()
				if err != nil || n == 0 {
					t.Fatalf("%s returned %d rows, %v", look.name, n, err)
				}
				if read := rowsRead(t, tx) - start; read > look.most {
					t.Errorf("%s read %d rows for %d with %s, want %d at most", look.name, read, n, mode, look.most)
				}
			}
		})
	}
}

func ignoreNone(err error) error {
	if err == pgx.ErrNoRows { //nolint:errorlint // queries return it as it is
		return nil
	}
	return err
}
