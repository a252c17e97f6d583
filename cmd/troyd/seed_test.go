package main

import (
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/queries"
)

func TestSeed(t *testing.T) {
	t.Parallel()
	db, err := pgxpool.New(t.Context(), stacktest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	count := func(sql string) (n int) {
		t.Helper()
		if err := db.QueryRow(t.Context(), sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	s := seeding{pipelines: 60, deployments: 150, suffix: "localhost"}
	if err := s.fill(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	usage := usageError{}
	if err := s.fill(t.Context(), db); !errors.As(err, &usage) {
		t.Errorf("it fills a database with pipelines: %v", err)
	}
	s.add = true
	if err := s.fill(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	few := seeding{pipelines: 5, deployments: 2, add: true, suffix: "localhost"} // some without a deployment
	if err := few.fill(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]int{
		"SELECT count(*) FROM pipelines": 125, "SELECT count(*) FROM deployments": 302, "SELECT count(*) FROM domains": 125,
		// What the rows promise each other.
		"SELECT count(*) FROM pipelines p WHERE version <> (SELECT max(version) FROM events e WHERE e.pipeline_id = p.id)":                           0,
		"SELECT count(*) FROM pipelines p WHERE version <> (SELECT count(*) FROM events e WHERE e.pipeline_id = p.id)":                               0,
		"SELECT count(*) FROM pipelines p WHERE last_number <> (SELECT count(*) FROM deployments d WHERE d.pipeline_id = p.id)":                      0,
		"SELECT count(*) FROM pipelines p WHERE status <> (SELECT to_status FROM events e WHERE e.pipeline_id = p.id ORDER BY version DESC LIMIT 1)": 0,
		"SELECT count(*) FROM pipelines p LEFT JOIN deployments d ON d.id = p.live_deployment_id AND d.state = 'succeeded' AND d.pipeline_id = p.id " +
			"WHERE p.live_deployment_id IS NOT NULL AND d.id IS NULL": 0,
		"SELECT count(*) FROM pipelines WHERE created_at > now() OR updated_at > now()": 0,
		"SELECT count(*) FROM work": 0,
	} {
		if got := count(what); got != want {
			t.Errorf("%s: %d; expected %d", what, got, want)
		}
	}
	// They are as those that Troy makes, and the reconciliation has nothing to do.
	list, err := queries.New(db).PipelineList(t.Context(), uuid.Max, 1000)
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[troy.Status]int{}
	for i, p := range list {
		statuses[p.Status]++
		if !p.Status.Resting() || troy.CheckSlug(p.Slug) != nil || i > 0 && list[i-1].ID.String() <= p.ID.String() {
			t.Errorf("pipeline %s is %s", p.Slug, p.Status)
		}
	}
	if statuses[troy.Deployed] == 0 || statuses[troy.FailedToDeploy] == 0 || statuses[troy.ReadyForDeployment] == 0 {
		t.Errorf("the statuses are %v", statuses)
	}
}
