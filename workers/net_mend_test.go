package workers

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/tasks"
)

// reconciled returns the metric's nonzero lines.
func (r *rig) reconciled() string {
	rec := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	var lines []string
	for line := range strings.Lines(rec.Body.String()) {
		if strings.HasPrefix(line, "troy_reconciled_total{") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// TestContradictionsAreMended writes statuses that contradict the deployments,
// which no transition does.
func TestContradictionsAreMended(t *testing.T) {
	t.Parallel()
	const (
		live = "UPDATE pipelines SET status = 'deployed' WHERE id = $1"
		add  = "INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, started_at) SELECT gen_random_uuid(), $1, 9, 'release', %s, tree_id, 'test', now() FROM deployments WHERE pipeline_id = $1 AND number = 1"
	)
	waits, runs := fmt.Sprintf(add, "'waiting'"), fmt.Sprintf(add, "'publishing'")
	for name, c := range map[string]struct {
		sql   []string
		want  troy.Status
		state troy.DeploymentState // of the added deployment
	}{
		"a deployment waits while the pipeline rests":                     {[]string{waits}, troy.Deployed, troy.Succeeded},
		"a deployment waits behind a failure":                             {[]string{waits, "UPDATE pipelines SET status = 'failed_to_deploy' WHERE id = $1"}, troy.Deployed, troy.Succeeded},
		"a deployment runs while the pipeline rests":                      {[]string{runs}, troy.Deployed, troy.Failed},
		"the pipeline is Queued for nothing":                              {[]string{"UPDATE pipelines SET status = 'queued' WHERE id = $1"}, troy.Deployed, ""},
		"the pipeline is Deploying nothing":                               {[]string{"UPDATE pipelines SET status = 'deploying' WHERE id = $1"}, troy.Deployed, ""},
		"the pipeline is Deploying while the next waits":                  {[]string{waits, "UPDATE pipelines SET status = 'deploying' WHERE id = $1"}, troy.Deployed, troy.Succeeded},
		"nothing was ever live":                                           {[]string{"UPDATE pipelines SET status = 'deploying', live_deployment_id = NULL WHERE id = $1"}, troy.ReadyForDeployment, ""},
		"a deployment waits in a pipeline that is scheduled for deletion": {[]string{waits, "UPDATE pipelines SET status = 'failed_to_delete' WHERE id = $1"}, troy.FailedToDelete, troy.Cancelled},
		"a deployment runs while the pipeline is Queued":                  {[]string{runs, "UPDATE pipelines SET status = 'queued' WHERE id = $1"}, troy.Deployed, troy.Failed},
		"nothing is wrong, and nothing changes":                           {[]string{live}, troy.Deployed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.reconcile = 100 * time.Millisecond
			w, stop := r.start()
			id := r.pipeline("blog")
			r.requestProvision(id)
			w.deps.Bell.Ask(tasks.QueueQuick, tasks.QueueForge)
			r.waitFor(id, troy.ReadyForDeployment)
			r.release(id, map[string]string{"index.html": "one"})
			w.deps.Bell.Ask(tasks.QueueQuick, tasks.QueueForge)
			r.waitFor(id, troy.Deployed)
			stop()
			for _, sql := range c.sql {
				if _, err := r.db.Exec(t.Context(), sql, id); err != nil {
					t.Fatal(err)
				}
			}
			r.start()
			eventually(t, func() bool {
				p, err := r.q.PipelineGet(t.Context(), id)
				if err != nil || p.Status != c.want {
					return false
				}
				var state troy.DeploymentState
				err = r.db.QueryRow(t.Context(), "SELECT coalesce(max(state), '') FROM deployments WHERE pipeline_id = $1 AND number = 9", id).Scan(&state)
				return err == nil && state == c.state
			}, func() string { return "it was not mended" })
			// Versions without gaps; path checks them.
			r.path(id)
			if found := r.reconciled(); (found != "") != (len(c.sql) > 0 && c.sql[0] != live) {
				t.Errorf("the metric says %q", found)
			}
		})
	}
}

// queryAll reads all rows of a query.
func queryAll[T any](t *testing.T, r *rig, sql string) []T {
	t.Helper()
	rows, err := r.db.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[T])
	if err != nil {
		t.Fatal(err)
	}
	return all
}
