package queries_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/queries"
)

func open(t *testing.T) *pgxpool.Pool {
	t.Helper()
	db, err := pgxpool.New(t.Context(), stacktest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// rolledBack runs f in a transaction that is rolled back.
func rolledBack(t *testing.T, db interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}, f func(pgx.Tx),
) {
	t.Helper()
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tx.Rollback(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	f(tx)
}

func exec(t *testing.T, tx pgx.Tx, sql string, args ...any) {
	t.Helper()
	if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// A scene is a pipeline in one status with its rows: the deployment that the
// status is about, a possible waiting deployment, a possible live one, and the
// claim that a worker's transition needs.
type scene struct {
	pipeline, deployment, newer uuid.UUID
}

const epoch = 7

type variant struct {
	name             string
	live, waits      bool // a deployment is live; another one waits
	deploymentState  troy.DeploymentState
	deploymentKind   troy.DeploymentKind
	claimedByAnother bool
}

func setUp(t *testing.T, tx pgx.Tx, status troy.Status, kind string, v variant) scene {
	t.Helper()
	s := scene{uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())}
	exec(t, tx, `INSERT INTO pipelines (id, name, slug, status, version, last_number) VALUES ($1, 'Blog', 'blog', $2, 5, 3)`, s.pipeline, status)
	exec(t, tx, `INSERT INTO domains (host, pipeline_id, kind) VALUES ('blog.localhost', $1, 'site')`, s.pipeline)
	deployment := func(id uuid.UUID, number int, kind troy.DeploymentKind, state troy.DeploymentState) {
		exec(t, tx, `INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, started_at, finished_at)
			VALUES ($1, $2, $3, $4, $5, $1, 'test', CASE WHEN $5 = 'waiting' THEN NULL ELSE now() END,
			        CASE WHEN $5 IN ('succeeded', 'failed') THEN now() END)`, id, s.pipeline, number, kind, state)
	}
	if v.live {
		live := uuid.Must(uuid.NewV7())
		deployment(live, 1, troy.Release, troy.Succeeded)
		exec(t, tx, `UPDATE pipelines SET live_deployment_id = $1 WHERE id = $2`, live, s.pipeline)
	}
	deployment(s.deployment, 2, v.deploymentKind, v.deploymentState)
	if v.waits {
		deployment(s.newer, 3, v.deploymentKind, troy.Waiting)
	}
	if kind != "" {
		e := int64(epoch)
		if v.claimedByAnother {
			e++
		}
		subject := s.pipeline
		if strings.HasPrefix(kind, "deployment:") {
			subject = s.deployment
		}
		exec(t, tx, `INSERT INTO work (kind, subject_id, epoch, lease_until, attempt) VALUES ($1, $2, $3, now() + interval '1 minute', 1)`, kind, subject, e)
	}
	return s
}

// The named transitions. A claim on the kind makes those that have one.
var transitions = []struct {
	name string
	kind string
	run  func(context.Context, *queries.Queries, scene) (uuid.UUID, error)
}{
	{"PipelineRequestProvision", "", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.PipelineRequestProvision(ctx, queries.PipelineRequestProvisionParams{ID: s.pipeline, Actor: "test"})
	}},
	{"PipelineMarkProvisioning", "pipeline:provision", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.PipelineMarkProvisioning(ctx, queries.PipelineMarkProvisioningParams{ID: s.pipeline, Epoch: epoch, Actor: "test"})
	}},
	{"PipelineMarkReady", "pipeline:provision", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.PipelineMarkReady(ctx, queries.PipelineMarkReadyParams{ID: s.pipeline, Epoch: epoch, Actor: "test"})
	}},
	{"PipelineFailProvision", "pipeline:provision", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.PipelineFailProvision(ctx, queries.PipelineFailProvisionParams{ID: s.pipeline, Epoch: epoch, Actor: "test", Cause: "broken"})
	}},
	{"DeploymentCreate", "", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		id := uuid.Must(uuid.NewV7())
		return q.DeploymentCreate(ctx, queries.DeploymentCreateParams{ID: id, TreeID: id, PipelineID: s.pipeline, Kind: troy.Release, Actor: "test"})
	}},
	{"DeploymentStart", "pipeline:deploy", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.DeploymentStart(ctx, queries.DeploymentStartParams{PipelineID: s.pipeline, ID: s.deployment, Epoch: epoch, Actor: "test"})
	}},
	{"BuildStart", "deployment:build", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.BuildStart(ctx, queries.BuildStartParams{PipelineID: s.pipeline, ID: s.deployment, Epoch: epoch, Actor: "test"})
	}},
	{"DeploymentFail of a build", "deployment:build", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.DeploymentFail(ctx, queries.DeploymentFailParams{PipelineID: s.pipeline, ID: s.deployment, Kind: "deployment:build", SubjectID: s.deployment, Epoch: epoch, Actor: "test", Cause: "broken"})
	}},
	{"DeploymentSucceed", "pipeline:deploy", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.DeploymentSucceed(ctx, queries.DeploymentSucceedParams{PipelineID: s.pipeline, ID: s.deployment, Epoch: epoch, Actor: "test"})
	}},
	{"DeploymentFail", "pipeline:deploy", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.DeploymentFail(ctx, queries.DeploymentFailParams{PipelineID: s.pipeline, ID: s.deployment, Kind: "pipeline:deploy", SubjectID: s.pipeline, Epoch: epoch, Actor: "test", Cause: "broken"})
	}},
	{"DeploymentCancel", "", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.DeploymentCancel(ctx, queries.DeploymentCancelParams{PipelineID: s.pipeline, ID: s.deployment, Actor: "test"})
	}},
	{"DeploymentSupersede", "", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.DeploymentSupersede(ctx, queries.DeploymentSupersedeParams{PipelineID: s.pipeline, ID: s.deployment, Actor: "test"})
	}},
	{"PipelineScheduleDeletion", "", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.PipelineScheduleDeletion(ctx, queries.PipelineScheduleDeletionParams{ID: s.pipeline, Actor: "test"})
	}},
	{"PipelineRestore", "", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		id, err := q.PipelineScheduleDeletion(ctx, queries.PipelineScheduleDeletionParams{ID: s.pipeline, GraceSeconds: 3600, Actor: "test"})
		if err != nil {
			return id, err
		}
		if _, err := q.PipelineRestore(ctx, queries.PipelineRestoreParams{ID: s.pipeline, Actor: "test"}); !errors.Is(err, pgx.ErrNoRows) {
			return id, err
		}
		return id, nil // a deletion without a grace period
	}},
	{"PipelineMarkDeleting", "pipeline:poll-distro-disabled", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.PipelineMarkDeleting(ctx, queries.PipelineMarkDeletingParams{ID: s.pipeline, Kind: "pipeline:poll-distro-disabled", Epoch: epoch, Actor: "test"})
	}},
	{"PipelineFailDelete", "pipeline:teardown", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.PipelineFailDelete(ctx, queries.PipelineFailDeleteParams{ID: s.pipeline, Kind: "pipeline:teardown", Epoch: epoch, Actor: "test", Cause: "broken"})
	}},
	{"PipelineMarkDeleted", "pipeline:teardown", func(ctx context.Context, q *queries.Queries, s scene) (uuid.UUID, error) {
		return q.PipelineMarkDeleted(ctx, queries.PipelineMarkDeletedParams{ID: s.pipeline, Epoch: epoch, Actor: "test"})
	}},
}

func variants() []variant {
	var out []variant
	for _, live := range []bool{false, true} {
		for _, waits := range []bool{false, true} {
			for _, state := range []troy.DeploymentState{troy.Waiting, troy.Building, troy.Publishing} {
				out = append(out, variant{
					name: fmt.Sprintf("live=%t waits=%t %s", live, waits, state),
					live: live, waits: waits, deploymentState: state, deploymentKind: troy.Automated,
				})
			}
		}
	}
	return out
}

// TestTransitions runs every named transition against a pipeline in each of the
// twelve statuses, with each deployment state, with and without a live
// deployment and a waiting one. Together they must match the table in package
// troy exactly: the table allows each step of a query, and a query makes each
// step of the table.
func TestTransitions(t *testing.T) {
	t.Parallel()
	db := open(t)
	made := map[string]map[string]bool{} // "from → to" by query
	for _, tr := range transitions {
		for _, status := range troy.RowStatuses() {
			for _, v := range variants() {
				rolledBack(t, db, func(tx pgx.Tx) {
					s := setUp(t, tx, status, tr.kind, v)
					q := queries.New(tx)
					_, err := tr.run(t.Context(), q, s)
					moved := err == nil
					if err != nil && !errors.Is(err, pgx.ErrNoRows) {
						t.Fatalf("%s from %s, %s: %v", tr.name, status, v.name, err)
					}
					events, err := q.EventList(t.Context(), queries.EventListParams{PipelineID: s.pipeline, PageLimit: 10})
					if err != nil {
						t.Fatal(err)
					}
					if !moved && len(events) > 0 {
						t.Errorf("%s from %s, %s: reported no transition, but wrote %d events", tr.name, status, v.name, len(events))
					}
					at, version := status, int64(5)
					for _, e := range events {
						if e.FromStatus == nil || *e.FromStatus != at {
							t.Errorf("%s from %s, %s: event %d is from %v, the pipeline was %s", tr.name, status, v.name, e.Version, e.FromStatus, at)
						}
						version++
						if e.Version != version {
							t.Errorf("%s from %s, %s: version %d, want %d", tr.name, status, v.name, e.Version, version)
						}
						step := string(at) + " → " + string(e.ToStatus)
						if !at.CanBecome(e.ToStatus) {
							t.Errorf("%s from %s, %s: made %s", tr.name, status, v.name, step)
						}
						if made[step] == nil {
							made[step] = map[string]bool{}
						}
						made[step][tr.name] = true
						at = e.ToStatus
					}
					p, err := q.PipelineGet(t.Context(), s.pipeline)
					switch {
					case at == troy.Deleted:
						if !errors.Is(err, pgx.ErrNoRows) {
							t.Errorf("%s: the row is still there: %v", tr.name, err)
						}
						return
					case err != nil:
						t.Fatal(err)
					case p.Status != at || p.Version != version:
						t.Errorf("%s from %s, %s: the row says %s at version %d, the events %s at %d", tr.name, status, v.name, p.Status, p.Version, at, version)
					}
					if len(events) > 0 {
						checkWork(t, q, p, s, fmt.Sprintf("%s from %s, %s", tr.name, status, v.name))
					}
				})
			}
		}
	}

	want := map[string]bool{}
	for _, from := range troy.RowStatuses() {
		for _, to := range from.Next() {
			want[string(from)+" → "+string(to)] = true
		}
	}
	got := map[string]bool{}
	for step := range made {
		got[step] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps of the table (-) against those made (+):\n%s", diff)
	}
	for _, step := range slices.Sorted(maps.Keys(made)) {
		t.Logf("%-50s %s", step, strings.Join(slices.Sorted(maps.Keys(made[step])), ", "))
	}
}

// checkWork checks that a pipeline has work in every status but the resting
// ones.
func checkWork(t *testing.T, q *queries.Queries, p queries.Pipeline, s scene, where string) {
	t.Helper()
	rows, err := q.WorkOf(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	building, err := q.WorkOf(t.Context(), s.deployment)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, r := range append(rows, building...) {
		kinds[r.Kind] = true
	}
	var want []string
	switch p.Status {
	case troy.ProvisionRequest, troy.Provisioning:
		want = []string{"pipeline:provision"}
	case troy.Queued, troy.Deploying:
		if !kinds["deployment:build"] {
			want = []string{"pipeline:deploy"}
		}
	case troy.ScheduledForDeletion:
		want = []string{"pipeline:teardown-start"}
	case troy.Deleting:
		want = []string{"pipeline:teardown"}
	}
	for _, k := range want {
		if !kinds[k] {
			t.Errorf("%s: the pipeline is %s without work %s, only %v", where, p.Status, k, slices.Sorted(maps.Keys(kinds)))
		}
	}
}

// TestTransitionsNeedTheClaim runs the workers' transitions with another epoch
// than the row's. No row may change.
func TestTransitionsNeedTheClaim(t *testing.T) {
	t.Parallel()
	db := open(t)
	for _, tr := range transitions {
		if tr.kind == "" {
			continue
		}
		for _, status := range troy.RowStatuses() {
			for _, v := range variants() {
				v.claimedByAnother = true
				rolledBack(t, db, func(tx pgx.Tx) {
					s := setUp(t, tx, status, tr.kind, v)
					if _, err := tr.run(t.Context(), queries.New(tx), s); !errors.Is(err, pgx.ErrNoRows) {
						t.Errorf("%s from %s, %s: got %v with another worker's claim, want no row", tr.name, status, v.name, err)
					}
				})
			}
		}
	}
}

// TestChecksListTheStatuses compares the CHECKs of the schema with the Go
// lists.
func TestChecksListTheStatuses(t *testing.T) {
	t.Parallel()
	db := open(t)
	texts := func(n int, value func(int) string) map[string]bool {
		out := map[string]bool{}
		for i := range n {
			out[value(i)] = true
		}
		return out
	}
	all, rows := troy.Statuses(), troy.RowStatuses()
	states, kinds := troy.DeploymentStates(), troy.DeploymentKinds()
	for constraint, want := range map[string]map[string]bool{
		"pipelines_status_check":  texts(len(rows), func(i int) string { return string(rows[i]) }),
		"events_from_check":       texts(len(all), func(i int) string { return string(all[i]) }),
		"events_to_check":         texts(len(all), func(i int) string { return string(all[i]) }),
		"deployments_state_check": texts(len(states), func(i int) string { return string(states[i]) }),
		"deployments_kind_check":  texts(len(kinds), func(i int) string { return string(kinds[i]) }),
	} {
		var def string
		if err := db.QueryRow(t.Context(), "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1", constraint).Scan(&def); err != nil {
			t.Fatalf("%s: %v", constraint, err)
		}
		got := map[string]bool{}
		for i, part := range strings.Split(def, "'") {
			if i%2 == 1 {
				got[part] = true
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: Go (-) against SQL (+):\n%s", constraint, diff)
		}
	}
}

// Each end of a build by a worker makes poll-build due, which stops the build
// and removes its resources. This includes the end of a claim on poll-build
// itself.
func TestEndedBuildsAreRemoved(t *testing.T) {
	t.Parallel()
	db := open(t)
	for _, kind := range []string{"deployment:build", "deployment:poll-build"} {
		for _, waits := range []bool{false, true} {
			rolledBack(t, db, func(tx pgx.Tx) {
				q := queries.New(tx)
				s := setUp(t, tx, troy.Deploying, kind, variant{deploymentState: troy.Building, deploymentKind: troy.Automated, waits: waits})
				if _, err := q.DeploymentFail(t.Context(), queries.DeploymentFailParams{PipelineID: s.pipeline, ID: s.deployment, Kind: kind, SubjectID: s.deployment, Epoch: epoch, Actor: "test", Cause: "broken"}); err != nil {
					t.Fatalf("%s: %v", kind, err)
				}
				row, err := q.WorkGet(t.Context(), "deployment:poll-build", s.deployment)
				if err != nil || row.LeaseUntil != nil || row.Epoch == epoch {
					t.Errorf("after the failure by %s (another waits: %v) poll-build is %+v, %v", kind, waits, row, err)
				}
				if _, err := q.WorkGet(t.Context(), "deployment:build", s.deployment); !errors.Is(err, pgx.ErrNoRows) {
					t.Errorf("after the failure by %s the build is still requested: %v", kind, err)
				}
			})
		}
	}
	rolledBack(t, db, func(tx pgx.Tx) {
		q := queries.New(tx)
		s := setUp(t, tx, troy.Deploying, "deployment:build", variant{deploymentState: troy.Building, deploymentKind: troy.Automated})
		digest := strings.Repeat("0", 64)
		if _, err := q.BuildPublish(t.Context(), queries.BuildPublishParams{PipelineID: s.pipeline, ID: s.deployment, Kind: "deployment:build", Epoch: epoch, ManifestDigest: &digest, Files: 1, Bytes: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := q.WorkGet(t.Context(), "deployment:poll-build", s.deployment); err != nil {
			t.Errorf("after the build is stored poll-build is %v", err)
		}
	})
}

// TestBuildHandOverIsForTheNext supersedes a deployment between the read of the
// next one and the hand-over to its build: pipeline:deploy stays, so the newer
// deployment is built.
func TestBuildHandOverIsForTheNext(t *testing.T) {
	t.Parallel()
	rolledBack(t, open(t), func(tx pgx.Tx) {
		q := queries.New(tx)
		s := setUp(t, tx, troy.Queued, "", variant{deploymentState: troy.Waiting, deploymentKind: troy.Automated})
		exec(t, tx, "INSERT INTO work (kind, subject_id) VALUES ('pipeline:deploy', $1)", s.pipeline)
		claim := func() queries.WorkClaimRow {
			t.Helper()
			c, err := q.WorkClaim(t.Context(), queries.WorkClaimParams{Kind: "pipeline:deploy", SubjectID: s.pipeline, LeaseSeconds: 60})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		handOver := func(c queries.WorkClaimRow, deployment uuid.UUID, want int64) {
			t.Helper()
			n, err := q.BuildHandOver(t.Context(), queries.BuildHandOverParams{PipelineID: s.pipeline, Epoch: c.Epoch, Requested: c.Requested, ID: deployment})
			if err != nil || n != want {
				t.Fatalf("%d hand-overs, %v; want %d", n, err, want)
			}
		}
		first := claim()
		newer := uuid.Must(uuid.NewV7())
		if _, err := q.DeploymentCreate(t.Context(), queries.DeploymentCreateParams{
			ID: newer, TreeID: newer, PipelineID: s.pipeline, Kind: troy.Automated, Actor: "test", Cause: "a commit was pushed",
		}); err != nil {
			t.Fatal(err)
		}
		handOver(first, s.deployment, 0)
		if _, err := q.WorkFinish(t.Context(), queries.WorkFinishParams{Kind: "pipeline:deploy", SubjectID: s.pipeline, Epoch: first.Epoch, Requested: first.Requested}); err != nil {
			t.Fatal(err)
		}
		handOver(claim(), newer, 1)
		if _, err := q.WorkGet(t.Context(), "deployment:build", newer); err != nil {
			t.Errorf("the build of the newer deployment: %v", err)
		}
	})
}

// TestErrorsOfBatches runs batches whose first statement fails. Its error is
// returned once, although it ends the batch too.
func TestErrorsOfBatches(t *testing.T) {
	t.Parallel()
	tx, err := open(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), "SELECT 1 / 0"); err == nil {
		t.Fatal("the transaction is not aborted")
	}
	for name, run := range map[string]func() error{
		"WorkRing": func() error {
			_, err := queries.New(tx).WorkRing(t.Context(), queries.WorkRingNextParams{})
			return err
		},
		"Locked": func() error {
			_, err := queries.Locked(t.Context(), tx, uuid.New(), (*queries.Queries).BuildStart, queries.BuildStartParams{})
			return err
		},
	} {
		if err := run(); err == nil || strings.Count(err.Error(), "25P02") != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
