package queries_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// TestReconciliationReadsWhatIsUnfinished checks that the second net reads only
// unfinished rows, among thousands of finished ones.
func TestReconciliationReadsWhatIsUnfinished(t *testing.T) {
	t.Parallel()
	db := open(t)
	for _, sql := range []string{
		`INSERT INTO pipelines (id, name, slug, status, updated_at)
			SELECT gen_random_uuid(), 'p' || i, 'p' || i, 'deployed', now() - interval '1 hour' FROM generate_series(1, 5000) i`,
		`INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, finished_at, reported_state)
			SELECT gen_random_uuid(), id, n, 'automated', 'succeeded', gen_random_uuid(), 'test', now(), 'succeeded' FROM pipelines, generate_series(1, 3) n`,
		"INSERT INTO builds (deployment_id, finished_at, emptied) SELECT id, now(), true FROM deployments",
		`INSERT INTO releases (id, pipeline_id, manifest_digest, files, bytes, actor, expires_at, finalized_at)
			SELECT gen_random_uuid(), id, '', 1, 1, 'test', now(), now() FROM pipelines`,
		"INSERT INTO work (kind, subject_id, due_at) SELECT 'forge:catch-up', id, now() + interval '1 minute' FROM pipelines",
		"INSERT INTO access (pipeline_id, salt, applied) SELECT id, '', 1 FROM pipelines WHERE slug NOT IN ('p8', 'p9')",
		"VACUUM ANALYZE",
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	rolledBack(t, db, func(tx pgx.Tx) {
		// Leave one row of each kind behind.
		exec(t, tx, "UPDATE pipelines SET status = 'queued' WHERE slug = 'p1'")
		exec(t, tx, "UPDATE pipelines SET status = 'deleting' WHERE slug = 'p2'")
		exec(t, tx, `UPDATE deployments SET state = 'waiting', finished_at = NULL, reported_state = 'waiting'
			WHERE number = 3 AND pipeline_id = (SELECT id FROM pipelines WHERE slug = 'p1')`)
		exec(t, tx, "UPDATE builds SET emptied = false WHERE deployment_id = (SELECT id FROM deployments WHERE number = 2 AND pipeline_id = (SELECT id FROM pipelines WHERE slug = 'p3'))")
		exec(t, tx, "UPDATE deployments SET reported_state = 'building' WHERE number = 3 AND pipeline_id = (SELECT id FROM pipelines WHERE slug = 'p4')")
		exec(t, tx, "UPDATE releases SET finalized_at = NULL WHERE pipeline_id = (SELECT id FROM pipelines WHERE slug = 'p5')")
		exec(t, tx, "INSERT INTO skips (id, pipeline_id, commit_sha, reason) SELECT gen_random_uuid(), id, 'c', 'test' FROM pipelines WHERE slug = 'p7'")
		exec(t, tx, "INSERT INTO purges (pipeline_id, path, actor) SELECT id, 'a.js', 'test' FROM pipelines WHERE slug = 'p6'")
		exec(t, tx, "UPDATE pipelines SET distribution_id = 'd' WHERE slug = 'p8'")
		exec(t, tx, "INSERT INTO access (pipeline_id, salt) SELECT id, '' FROM pipelines WHERE slug IN ('p8', 'p9')") // p9 is not provisioned
		q := queries.New(tx)
		for _, look := range []struct {
			name string
			run  func() (int, error)
			want int
			most int64
		}{
			{"WorkMissing", func() (int, error) {
				rows, err := q.WorkMissing(t.Context(), queries.WorkMissingParams{})
				return len(rows), err
			}, 8, mostRead},
			{"PipelinesAstray", func() (int, error) { rows, err := q.PipelinesAstray(t.Context()); return len(rows), err }, 0, mostRead},
			{"CatchUpMissing", func() (int, error) { rows, err := q.CatchUpMissing(t.Context(), uuid.Nil); return len(rows), err }, 200, 5 * 200},
		} {
			before := rowsRead(t, tx)
			n, err := look.run()
			if err != nil {
				t.Fatal(err)
			}
			read := rowsRead(t, tx) - before
			t.Logf("%s found %d rows and read %d", look.name, n, read)
			if n != look.want {
				t.Errorf("%s found %d rows, want %d", look.name, n, look.want)
			}
			if read > look.most {
				t.Errorf("%s read %d rows, want at most %d", look.name, read, look.most)
			}
		}
	})
}

// TestNothingIsMissing checks that the second net ignores rows in order: each
// status with the work that leads out of it, and deployments that wait for
// provisioning or behind another.
func TestNothingIsMissing(t *testing.T) {
	t.Parallel()
	db := open(t)
	for _, c := range []struct {
		status troy.Status
		kind   string
		v      variant
	}{
		{troy.PreProvisioned, "", variant{deploymentState: troy.Waiting}},
		{troy.ProvisionRequest, "pipeline:provision", variant{deploymentState: troy.Waiting}},
		{troy.Provisioning, "pipeline:provision", variant{deploymentState: troy.Waiting}},
		{troy.FailedToProvision, "", variant{deploymentState: troy.Waiting}},
		{troy.ReadyForDeployment, "", variant{deploymentState: troy.Failed}},
		{troy.Queued, "pipeline:deploy", variant{deploymentState: troy.Waiting, waits: true}},
		{troy.Queued, "deployment:build", variant{deploymentState: troy.Waiting, waits: true}},
		{troy.Deploying, "deployment:build", variant{deploymentState: troy.Building, waits: true}},
		{troy.Deploying, "deployment:poll-build", variant{deploymentState: troy.Building, waits: true}},
		{troy.Deploying, "pipeline:deploy", variant{deploymentState: troy.Publishing, waits: true}},
		{troy.Deployed, "", variant{deploymentState: troy.Failed, live: true}},
		{troy.FailedToDeploy, "", variant{deploymentState: troy.Failed}},
		{troy.ScheduledForDeletion, "pipeline:teardown-start", variant{deploymentState: troy.Failed}},
		{troy.ScheduledForDeletion, "pipeline:poll-distro-disabled", variant{deploymentState: troy.Failed}},
		{troy.Deleting, "pipeline:teardown", variant{deploymentState: troy.Failed}},
		{troy.FailedToDelete, "", variant{deploymentState: troy.Failed}},
	} {
		rolledBack(t, db, func(tx pgx.Tx) {
			c.v.deploymentKind = troy.Automated
			s := setUp(t, tx, c.status, c.kind, c.v)
			exec(t, tx, "UPDATE deployments SET reported_state = state")
			q := queries.New(tx)
			missing, err := q.WorkMissing(t.Context(), queries.WorkMissingParams{})
			if err != nil {
				t.Fatal(err)
			}
			astray, err := q.PipelinesAstray(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(missing) != 0 || len(astray) != 0 {
				t.Errorf("%s with %q: %+v is missing, %v contradict themselves", c.status, c.kind, missing, astray)
			}
			if c.kind == "" {
				return
			}
			// Without the work, the second net reports it, whatever other work
			// there is.
			exec(t, tx, "DELETE FROM work WHERE kind = $1", c.kind)
			exec(t, tx, "INSERT INTO work (kind, subject_id) VALUES ('retention', $1), ('forge:report', $2)", s.pipeline, s.deployment)
			if missing, err = q.WorkMissing(t.Context(), queries.WorkMissingParams{PipelineID: &s.pipeline}); err != nil || len(missing) != 1 {
				t.Errorf("%s without %q: %+v, %v; want one row", c.status, c.kind, missing, err)
			}
		})
	}
}
