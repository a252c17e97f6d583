package workers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// TestStopHandsLeasesBack stops workers during an outside call: the row is due
// at once, and the attempt does not count.
func TestStopHandsLeasesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	inside := make(chan struct{})
	var once sync.Once
	r.cloud.CDN = &hookedCDN{CDN: r.cloud.CDN, create: func(ctx context.Context, _ func() (cloud.Distribution, error)) (cloud.Distribution, error) {
		once.Do(func() { close(inside) })
		<-ctx.Done()
		return cloud.Distribution{}, ctx.Err()
	}}
	_, stop := r.start()
	id := r.pipeline("blog")
	r.requestProvision(id)
	<-inside
	stop()
	row, err := r.q.WorkGet(t.Context(), tasks.TypeProvision, id)
	if err != nil {
		t.Fatal(err)
	}
	if row.LeaseUntil != nil || row.Attempt != 0 || row.DueAt.After(time.Now().Add(time.Second)) {
		t.Errorf("after the stop the row is %+v, want it free, due, with no attempt counted", row)
	}
}

// TestLostLease takes the claim from a worker that hangs: its context ends, and
// what it does afterwards changes nothing.
func TestLostLease(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	inside := make(chan struct{})
	ended := make(chan struct{})
	var calls atomic.Int32
	r.cloud.CDN = &hookedCDN{CDN: r.cloud.CDN, create: func(ctx context.Context, real func() (cloud.Distribution, error)) (cloud.Distribution, error) {
		if calls.Add(1) == 1 {
			close(inside)
			<-ctx.Done()
			close(ended)
			return cloud.Distribution{}, ctx.Err()
		}
		return real()
	}}
	r.start()
	id := r.pipeline("blog")
	r.requestProvision(id)
	<-inside
	// The same as if the lease had expired under a stopped process.
	if _, err := r.db.Exec(t.Context(), "UPDATE work SET lease_until = now() - interval '1 second', epoch = nextval('work_epochs') WHERE subject_id = $1", id); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the context of a lost claim did not end")
	}
	r.waitFor(id, troy.ReadyForDeployment)
}

func TestFlushedRedis(t *testing.T) {
	t.Parallel()
	private := stacktest.NewPrivateRedis(t)
	r := newRigOn(t, private.URL)
	// The first sweep records this Redis.
	w := r.workers()
	if err := w.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	const n = 20
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = r.pipeline(troy.SlugVariant("blog", i+2))
		r.requestProvision(ids[i])
	}
	// All are rung up to the limit, and no worker takes them.
	if _, err := w.deps.Bell.Ring(t.Context(), tasks.QueueQuick); err != nil {
		t.Fatal(err)
	}
	// They were checked so often that their next check is a minute away. Only
	// noticing that Redis was emptied brings them sooner.
	if _, err := r.db.Exec(t.Context(), "UPDATE work SET rings = 5, ring_at = now() + interval '1 minute' WHERE ring_id IS NOT NULL"); err != nil {
		t.Fatal(err)
	}
	private.FlushAll()
	r.start()
	for _, id := range ids {
		r.waitFor(id, troy.ReadyForDeployment)
	}
}

func TestRedisAway(t *testing.T) {
	t.Parallel()
	private := stacktest.NewPrivateRedis(t)
	r := newRigOn(t, private.URL)
	r.start()
	id := r.pipeline("blog")
	private.Kill()
	r.requestProvision(id)
	private.Restart()
	r.waitFor(id, troy.ReadyForDeployment)
}

// TestRingsAreBounded has a thousand rows wait while no worker runs. However
// many sweeps and other rings there are, Redis holds at most twice as many
// tasks as there are slots.
func TestRingsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if _, err := r.db.Exec(t.Context(), "INSERT INTO work (kind, subject_id) SELECT 'retention', gen_random_uuid() FROM generate_series(1, 1000)"); err != nil {
		t.Fatal(err)
	}
	w := r.workers()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 3 {
				if err := w.sweep(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// Rings that no worker claimed in time are checked again.
	if _, err := r.db.Exec(t.Context(), "UPDATE work SET ring_at = now() WHERE ring_id IS NOT NULL"); err != nil {
		t.Fatal(err)
	}
	if err := w.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	info, err := inspector.GetQueueInfo(tasks.QueueQuick)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size != 2*r.slots {
		t.Errorf("Redis holds %d tasks, want %d", info.Size, 2*r.slots)
	}
	// All are done in the end, without one sweep for each.
	r.start()
	eventually(t, func() bool {
		var n int
		err := r.db.QueryRow(t.Context(), "SELECT count(*) FROM work").Scan(&n)
		return err == nil && n == 0
	}, func() string { return "rows are left" })
}

func TestPoisonIsDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := asynq.NewClientFromRedisClient(r.redis)
	for _, task := range []*asynq.Task{
		asynq.NewTask("pipeline:unknown", []byte(`{}`)),
		asynq.NewTask(tasks.TypeProvision, []byte("\xff\x00 not JSON")),
		asynq.NewTask(tasks.TypeProvision, []byte(`{"subject":"not an id"}`)),
	} {
		if _, err := client.Enqueue(task, asynq.Queue(tasks.QueueQuick)); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	r.provisioned("blog")
	inspector := asynq.NewInspectorFromRedisClient(r.redis)
	eventually(t, func() bool {
		info, err := inspector.GetQueueInfo(tasks.QueueQuick)
		return err == nil && info.Size == 0
	}, func() string { return "tasks are left in the queue" })
}

func TestClaimsExcludeEachOther(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := uuid.Must(uuid.NewV7())
	if err := r.q.WorkRequest(t.Context(), queries.WorkRequestParams{Kind: tasks.TypeRetention, SubjectID: id}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var epochs []int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			row, err := r.q.WorkClaim(t.Context(), queries.WorkClaimParams{Kind: tasks.TypeRetention, SubjectID: id, LeaseSeconds: 60})
			if err == nil {
				mu.Lock()
				epochs = append(epochs, row.Epoch)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(epochs) != 1 {
		t.Fatalf("%d of 20 claimed, want 1", len(epochs))
	}
	// It is requested again while claimed: finishing leaves it due.
	if err := r.q.WorkRequest(t.Context(), queries.WorkRequestParams{Kind: tasks.TypeRetention, SubjectID: id}); err != nil {
		t.Fatal(err)
	}
	finish := queries.WorkFinishParams{Kind: tasks.TypeRetention, SubjectID: id, Epoch: epochs[0], Requested: 1}
	if _, err := r.q.WorkFinish(t.Context(), finish); err != nil {
		t.Fatal(err)
	}
	second, err := r.q.WorkClaim(t.Context(), queries.WorkClaimParams{Kind: tasks.TypeRetention, SubjectID: id, LeaseSeconds: 60})
	if err != nil {
		t.Fatalf("work that was requested again is not due: %v", err)
	}
	// The first claim is over: it can't finish, postpone or renew.
	if n, err := r.q.WorkFinish(t.Context(), finish); n != 0 || err != nil {
		t.Errorf("an ended claim finished %d rows, %v", n, err)
	}
	if n, err := r.q.WorkAgain(t.Context(), queries.WorkAgainParams{Kind: finish.Kind, SubjectID: id, Epoch: epochs[0]}); n != 0 || err != nil {
		t.Errorf("an ended claim postponed %d rows, %v", n, err)
	}
	if n, err := r.q.WorkHeartbeat(t.Context(), queries.WorkHeartbeatParams{Kind: finish.Kind, SubjectID: id, Epoch: epochs[0], LeaseSeconds: 60}); n != 0 || err != nil {
		t.Errorf("an ended claim renewed %d rows, %v", n, err)
	}
	if second.Epoch == epochs[0] {
		t.Errorf("two claims have the epoch %d", second.Epoch)
	}
	// Nor does it hand over work that was requested again.
	if err := r.q.WorkRequest(t.Context(), queries.WorkRequestParams{Kind: tasks.TypeRetention, SubjectID: id}); err != nil {
		t.Fatal(err)
	}
	over := queries.WorkHandOverParams{Kind: tasks.TypeRetention, SubjectID: id, Epoch: second.Epoch, Requested: second.Requested, ToKind: tasks.TypeReport}
	if n, err := r.q.WorkHandOver(t.Context(), over); n != 0 || err != nil {
		t.Errorf("work that was requested again was handed over: %d rows, %v", n, err)
	}
	over.Requested++
	if n, err := r.q.WorkHandOver(t.Context(), over); n != 1 || err != nil {
		t.Errorf("handed over: %d rows, %v", n, err)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	policy := tasks.Policy{Attempts: 3, Deadline: time.Hour, Delay: time.Second, MaxDelay: time.Minute}
	broken := errors.New("broken")
	for _, c := range []struct {
		name    string
		err     error
		attempt int
		age     time.Duration
		giveUp  bool
		failed  bool
		cause   string
	}{
		{"a first failure is retried", broken, 1, 0, false, true, "broken"},
		{"the last attempt is final", broken, 3, 0, true, true, "failed 3 times: broken"},
		{"past the deadline", broken, 1, 2 * time.Hour, true, true, "not done after 1h0m0s: broken"},
		{"an error that retries do not fix", troy.Errorf(troy.Conflict, "taken"), 1, 0, true, true, "taken"},
		{"files that were never uploaded", &cloud.MissingError{Files: []site.File{{Path: "a"}}}, 1, 0, true, true, "a file has not been uploaded: a"},
		{"coming back is not a failure", comeBack(time.Minute, "in progress"), 9, 0, false, false, "in progress"},
		{"coming back past the deadline is", comeBack(time.Minute, "in progress"), 1, 2 * time.Hour, true, true, "not done after 1h0m0s: in progress"},
		{"Postgres does not answer", fmt.Errorf("read the build: %w", ofDatabase(io.ErrUnexpectedEOF)), 9, 0, false, false, "read the build: unexpected EOF"},
		{"Postgres was stopped", ofDatabase(&pgconn.PgError{Severity: "FATAL", Code: "57P01", Message: "stopped"}), 9, 0, false, false, "FATAL: stopped (SQLSTATE 57P01)"},
		{"a statement takes too long", ofDatabase(&pgconn.PgError{Severity: "ERROR", Code: "57014", Message: "canceled"}), 3, 0, true, true, "failed 3 times: ERROR: canceled (SQLSTATE 57014)"},
		{"Postgres returns an error", ofDatabase(&pgconn.PgError{Severity: "ERROR", Code: "23505", Message: "twice"}), 3, 0, true, true, "failed 3 times: ERROR: twice (SQLSTATE 23505)"},
		{"the source ends early", io.ErrUnexpectedEOF, 3, 0, true, true, "failed 3 times: unexpected EOF"},
		{"told when", throttled{}, 3, 0, false, false, "slow down"},
		{"control characters are removed", errors.New("a\x1b[31mb\nsecond line"), 1, 0, false, true, "a[31mb"},
	} {
		v := judge(c.err, policy, c.attempt, c.age)
		if v.giveUp != c.giveUp || v.cause != c.cause || (!c.giveUp && v.failed != c.failed) {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
	if v := judge(throttled{}, policy, 1, 0); v.delay != 42*time.Second {
		t.Errorf("told to wait 42 s, waits %s", v.delay)
	}
}

// Every kind of statement that Postgres does not answer is distinguished from a
// forge or a cloud that does not answer.
func TestUnansweredStatements(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	q := queries.New(marked{r.db})
	if _, err := q.PipelineGet(t.Context(), uuid.New()); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("an answered statement: %v", err)
	}
	r.db.Close()
	_, one := q.PipelineGet(t.Context(), uuid.New())
	_, many := q.VariableList(t.Context(), uuid.New(), "")
	exec := q.BuildEmptied(t.Context(), uuid.New())
	for what, err := range map[string]error{"one row": one, "rows": many, "none": exec} {
		if v := judge(err, tasks.Policy{Attempts: 1, Deadline: time.Hour}, 5, 0); err == nil || v.giveUp || v.failed {
			t.Errorf("%s: verdict on %v: %+v", what, err, v)
		}
	}
}

type throttled struct{}

func (throttled) Error() string             { return "slow down" }
func (throttled) RetryAfter() time.Duration { return 42 * time.Second }

// TestEveryKindHasAHandler compares the handlers with the table of policies.
func TestEveryKindHasAHandler(t *testing.T) {
	t.Parallel()
	w := New(Config{}, Deps{})
	var handled []string
	for kind := range w.handlers {
		handled = append(handled, kind)
	}
	slices.Sort(handled)
	if diff := cmp.Diff(tasks.Kinds(), handled); diff != "" {
		t.Errorf("kinds (-) against handlers (+):\n%s", diff)
	}
	for _, s := range troy.RowStatuses() {
		if s.Resting() != (tasks.OfStatus(s) == nil) {
			t.Errorf("%s: resting is %t, its work is %v", s, s.Resting(), tasks.OfStatus(s))
		}
		for _, kind := range tasks.OfStatus(s) {
			if p, ok := tasks.PolicyOf(kind); !ok || p.Deadline <= 0 || p.Attempts <= 0 {
				t.Errorf("%s: %s has no deadline or no attempts: %+v", s, kind, p)
			}
		}
	}
}

// TestPromptStatements runs statements that only note a time, or that a new claim
// repeats: they do not wait for the disk.
func TestPromptStatements(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pipeline, deployment := r.pipeline("blog"), uuid.Must(uuid.NewV7())
	if _, err := r.db.Exec(t.Context(), "UPDATE pipelines SET status = 'ready_for_deployment', distribution_id = 'd', distribution_domain = 'd' WHERE id = $1", pipeline); err != nil {
		t.Fatal(err)
	}
	if _, err := r.q.DeploymentCreate(t.Context(), queries.DeploymentCreateParams{ID: deployment, TreeID: deployment, PipelineID: pipeline, Kind: troy.Automated, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Exec(t.Context(), "UPDATE work SET epoch = 7 WHERE subject_id = $1", deployment); err != nil {
		t.Fatal(err)
	}
	for name, statement := range map[string]func(q *queries.Queries) error{
		"BellSweep":     func(q *queries.Queries) error { _, err := q.BellSweep(t.Context(), 0); return err },
		"BellReconcile": func(q *queries.Queries) error { _, err := q.BellReconcile(t.Context(), 0); return err },
		"WorkerSeen": func(q *queries.Queries) error {
			return q.WorkerSeen(t.Context(), queries.WorkerSeenParams{ID: uuid.New(), Running: []byte("[]")})
		},
		"BuildStart": func(q *queries.Queries) error {
			_, err := q.BuildStart(t.Context(), queries.BuildStartParams{PipelineID: pipeline, ID: deployment, Epoch: 7, Actor: "test"})
			return err
		},
	} {
		tx, err := r.db.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := statement(queries.New(tx)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got string
		if err := tx.QueryRow(t.Context(), "SHOW synchronous_commit").Scan(&got); err != nil || got != "off" {
			t.Errorf("%s: synchronous_commit is %q (%v), want off", name, got, err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestPromptClaims makes claims on one connection: only prompt ones do not wait
// for the disk, and what follows on the connection does.
func TestPromptClaims(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	conn, err := r.db.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), "SET synchronous_commit = 'local'"); err != nil {
		t.Fatal(err)
	}
	q := queries.New(conn)
	for _, prompt := range []bool{true, false} {
		id := uuid.Must(uuid.NewV7())
		if err := q.WorkRequest(t.Context(), queries.WorkRequestParams{Kind: tasks.TypeRetention, SubjectID: id}); err != nil {
			t.Fatal(err)
		}
		row, err := q.WorkClaim(t.Context(), queries.WorkClaimParams{Kind: tasks.TypeRetention, SubjectID: id, LeaseSeconds: 60, Prompt: prompt})
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "off", false: "local"}[prompt]; row.SynchronousCommit != want {
			t.Errorf("a claim with prompt %t has synchronous_commit %s, want %s", prompt, row.SynchronousCommit, want)
		}
		var after string
		if err := conn.QueryRow(t.Context(), "SHOW synchronous_commit").Scan(&after); err != nil || after != "local" {
			t.Errorf("after it synchronous_commit is %s, %v; want local", after, err)
		}
	}
}

// TestWorkersClaimPromptly has a worker claim work of a prompt kind and of another
// one, and looks at what the commits of its claims wait for.
func TestWorkersClaimPromptly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.workers()
	for _, sql := range []string{
		"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = local', current_database()); END $$",
		"CREATE TABLE commits (kind text, waits_for text)",
		`CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO commits VALUES (NEW.kind, current_setting('synchronous_commit')); RETURN NULL; END $$`,
		`CREATE CONSTRAINT TRIGGER note_commit AFTER UPDATE ON work DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
			WHEN (OLD.lease_until IS NULL AND NEW.lease_until IS NOT NULL) EXECUTE FUNCTION note_commit()`,
	} {
		if _, err := r.db.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	r.db.Reset() // connections have the database's setting from their start
	nothing := handler{run: func(context.Context, *claim) error { return nil }}
	for kind, want := range map[string]string{tasks.TypeDeploy: "off", tasks.TypeRetention: "local"} {
		task := tasks.Task{Kind: kind, Subject: uuid.Must(uuid.NewV7())}
		if err := r.q.WorkRequest(t.Context(), queries.WorkRequestParams{Kind: kind, SubjectID: task.Subject}); err != nil {
			t.Fatal(err)
		}
		if err := w.work(t.Context(), nothing, task); err != nil {
			t.Fatal(err)
		}
		if r.count("SELECT count(*) FROM commits WHERE kind = $1 AND waits_for = $2", kind, want) != 1 {
			t.Errorf("the claim of %s does not have synchronous_commit %s", kind, want)
		}
	}
}
