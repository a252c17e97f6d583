package workers

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
)

// notesCommits has the database note, for each row that a transaction inserts
// into these tables or whose value it changes, what its commit waits for. Each
// table has its column.
func (r *rig) notesCommits(tables map[string]string) {
	r.t.Helper()
	statements := []string{
		// The server of the tests waits for nothing; "local" is the disk.
		"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = local', current_database()); END $$",
		"CREATE TABLE commits (what text, waits_for text)",
		`CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO commits VALUES (TG_TABLE_NAME || ' ' || (to_jsonb(NEW) ->> TG_ARGV[0]), current_setting('synchronous_commit')); RETURN NULL; END $$`,
	}
	for table, column := range tables {
		statements = append(statements, fmt.Sprintf(`CREATE CONSTRAINT TRIGGER note_commit AFTER INSERT OR UPDATE OF %[2]s ON %[1]s DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION note_commit('%[2]s')`, table, column))
	}
	for _, sql := range statements {
		if _, err := r.db.Exec(r.t.Context(), sql); err != nil {
			r.t.Fatalf("%s: %v", sql, err)
		}
	}
	r.db.Reset() // connections have the database's setting from their start
}

// TestCommitsWaitForTheDisk goes through a pipeline's life. Each answer of Troy,
// and each result, waits for the disk; only the start of a build does
// not, which is repeated if it is lost.
func TestCommitsWaitForTheDisk(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.notesCommits(map[string]string{"deliveries": "outcome", "deployments": "state", "pipelines": "live_deployment_id", "events": "to_status"})
	_, stop := r.start()
	p := r.building("blog")
	r.caughtUp(p.ID)
	r.head("blog", commitID("one"))
	r.pushed("blog", "", commitID("one"))
	r.restsWith(p.ID, commitID("one"))
	first := *r.waitFor(p.ID, troy.Deployed).LiveDeploymentID
	r.head("blog", commitID("two"))
	r.pushed("blog", commitID("one"), commitID("two"))
	r.restsWith(p.ID, commitID("two"))
	if _, err := r.in.Rollback(t.Context(), p.ID, first, "test"); err != nil {
		t.Fatal(err)
	}
	r.restsWith(p.ID, commitID("one"))
	r.builder.fail(p.ID, true)
	r.head("blog", commitID("three"))
	r.pushed("blog", commitID("two"), commitID("three"))
	r.waitFor(p.ID, troy.FailedToDeploy)
	if _, err := r.in.ScheduleDeletion(t.Context(), p.ID, "test"); err != nil {
		t.Fatal(err)
	}
	r.waitFor(p.ID, troy.Deleted)
	stop()

	rows, err := r.db.Query(t.Context(), "SELECT DISTINCT what || ': ' || waits_for FROM commits WHERE what IS NOT NULL")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	prompt := []string{"deployments building: off", "events deploying: off"}
	for _, want := range []string{
		"deliveries accepted: local", "deployments waiting: local", "deployments publishing: local", "deployments succeeded: local", "deployments failed: local",
		"pipelines " + first.String() + ": local", "events queued: local", "events deploying: local", "events deployed: local", "events failed_to_deploy: local",
		"events scheduled_for_deletion: local", "events deleting: local",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no commit is noted as %q: %q", want, got)
		}
	}
	for _, one := range got {
		if strings.HasSuffix(one, ": off") && !slices.Contains(prompt, one) {
			t.Errorf("a commit does not wait for the disk: %s", one)
		}
	}
}
