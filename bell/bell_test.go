package bell_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/bell"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

const slots = 5

// tower is a bell with its Postgres and Redis, and asynq's view of the rung
// tasks.
type tower struct {
	t         *testing.T
	db        *pgxpool.Pool
	q         *queries.Queries
	bell      *bell.Bell
	inspector *asynq.Inspector
	log       *lines
	rings     *rings
}

// rings counts the rings that began, by the lock that each takes.
type rings struct{ atomic.Int64 }

func (r *rings) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	if strings.Contains(data.Batch.QueuedQueries[0].SQL, "WorkLockQueue") {
		r.Add(1)
	}
	return ctx
}

func (r *rings) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

func (r *rings) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func (r *rings) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (r *rings) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func newTower(t *testing.T) *tower { return newTowerOn(t, stacktest.Redis(t)) }

func newTowerOn(t *testing.T, redisURL string) *tower {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(stacktest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = 20
	count := &rings{}
	cfg.ConnConfig.Tracer = count
	db, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	t.Cleanup(func() { _ = rdb.Close() })
	log := &lines{}
	return &tower{
		t: t, db: db, q: queries.New(db), inspector: asynq.NewInspectorFromRedisClient(rdb), log: log, rings: count,
		bell: bell.New(db, tasks.NewClient(rdb), slog.New(slog.NewTextHandler(log, nil)), map[string]int{tasks.QueueQuick: slots, tasks.QueueBuilds: slots, tasks.QueueForge: slots, tasks.QueueThumbnails: slots, tasks.QueueDomains: slots, tasks.QueuePreviews: slots, tasks.QueueNotifications: slots}),
	}
}

// lines is a log for tests.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// request requests work for a new subject.
func (w *tower) request(delay time.Duration) uuid.UUID {
	w.t.Helper()
	id := uuid.New()
	if err := w.q.WorkRequest(w.t.Context(), queries.WorkRequestParams{Kind: tasks.TypeRetention, SubjectID: id, DelaySeconds: delay.Seconds()}); err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *tower) ring() int {
	w.t.Helper()
	n, err := w.bell.Ring(w.t.Context(), tasks.QueueQuick)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// standing returns the number of tasks in Redis that are pending and scheduled.
func (w *tower) standing() (pending, scheduled int) {
	w.t.Helper()
	info, err := w.inspector.GetQueueInfo(tasks.QueueQuick)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return 0, 0
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return info.Pending, info.Scheduled
}

func (w *tower) wantStanding(what string, pending, scheduled int) {
	w.t.Helper()
	if p, s := w.standing(); p != pending || s != scheduled {
		w.t.Errorf("%s: %d tasks are pending and %d are scheduled, want %d and %d", what, p, s, pending, scheduled)
	}
}

// run runs the bell until stop is called.
func (w *tower) run() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	ended := make(chan struct{})
	go func() { w.bell.Run(ctx); close(ended) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			w.t.Error("the bell did not stop")
		}
	})
	w.t.Cleanup(stop)
	return stop
}

func (w *tower) eventually(what string, so func() bool) {
	w.t.Helper()
	if !poll.Until(w.t.Context(), 20*time.Second, 10*time.Millisecond, so) {
		w.t.Fatalf("timed out: %s; the log: %s", what, w.log)
	}
}

func TestRingMarksAndEnqueues(t *testing.T) {
	t.Parallel()
	w := newTower(t)
	if n := w.ring(); n != 0 {
		t.Errorf("with nothing to do %d rows were rung", n)
	}
	subject := w.request(0)
	if n := w.ring(); n != 1 {
		t.Fatalf("%d rows were rung, want 1", n)
	}
	row, err := w.q.WorkGet(t.Context(), tasks.TypeRetention, subject)
	if err != nil || row.RingID == nil {
		t.Fatalf("the row is not marked: %+v, %v", row, err)
	}
	info, err := w.inspector.GetTaskInfo(tasks.QueueQuick, row.RingID.String())
	if err != nil || info.State != asynq.TaskStatePending || !strings.Contains(string(info.Payload), subject.String()) {
		t.Errorf("the task of the row is %+v, %v", info, err)
	}
	if n := w.ring(); n != 0 {
		t.Errorf("a row that is rung was rung again, %d times", n)
	}

	// Requested again, it is rung again with another id.
	if err := w.q.WorkRequest(t.Context(), queries.WorkRequestParams{Kind: tasks.TypeRetention, SubjectID: subject}); err != nil {
		t.Fatal(err)
	}
	if n := w.ring(); n != 1 {
		t.Errorf("after another request %d rows were rung, want 1", n)
	}
	w.wantStanding("after two rings", 2, 0)
}

func TestRingBoundIsPerQueueAndLaterRowsApart(t *testing.T) {
	t.Parallel()
	w := newTower(t)
	for range 3 * slots {
		w.request(0)
	}
	for range 3 {
		w.request(30 * time.Second)
	}
	w.request(time.Hour) // Postgres keeps the delay
	if n, want := w.ring(), 2*slots+3; n != want {
		t.Errorf("%d rows were rung, want %d", n, want)
	}
	w.wantStanding("at the bound", 2*slots, 3)
	// A claimed row makes room for another.
	list, err := w.inspector.ListPendingTasks(tasks.QueueQuick, asynq.PageSize(100))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := tasks.Subject(asynq.NewTask(list[0].Type, list[0].Payload))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.q.WorkClaim(t.Context(), queries.WorkClaimParams{Kind: tasks.TypeRetention, SubjectID: subject, LeaseSeconds: 60}); err != nil {
		t.Fatal(err)
	}
	if n := w.ring(); n != 1 {
		t.Errorf("after one claim %d rows were rung, want 1", n)
	}
	if n, err := w.bell.Ring(t.Context(), "unknown"); n != 0 || err != nil {
		t.Errorf("a queue without rows: %d rung, %v", n, err)
	}
}

// TestEveryKindIsRung requests work of each kind and checks that its task is in
// the queue of the kind's policy.
func TestEveryKindIsRung(t *testing.T) {
	t.Parallel()
	w := newTower(t)
	_, queues := tasks.Queues()
	for _, kind := range tasks.Kinds() {
		id := uuid.New()
		if err := w.q.WorkRequest(t.Context(), queries.WorkRequestParams{Kind: kind, SubjectID: id}); err != nil {
			t.Fatal(err)
		}
		for _, queue := range slices.Compact(slices.Sorted(slices.Values(queues))) {
			want := 0
			if queue == tasks.QueueOf(kind) {
				want = 1
			}
			if n, err := w.bell.Ring(t.Context(), queue); err != nil || n != want {
				t.Errorf("%s: ringing %s rang %d rows, %v; want %d", kind, queue, n, err, want)
			}
		}
		row, err := w.q.WorkGet(t.Context(), kind, id)
		if err != nil || row.RingID == nil {
			t.Fatalf("%s: the row is %+v, %v; want it rung", kind, row, err)
		}
		// The previous version finds rows by this column.
		if builds := kind == tasks.TypeBuild; (row.Queue == tasks.QueueBuilds) != builds {
			t.Errorf("%s: its row is in the queue %q for the previous version", kind, row.Queue)
		}
		if info, err := w.inspector.GetTaskInfo(tasks.QueueOf(kind), row.RingID.String()); err != nil || info.Type != kind {
			t.Errorf("%s: its task is %+v, %v", kind, info, err)
		}
		if _, err := w.db.Exec(t.Context(), "UPDATE work SET ring_at = now() - interval '1 second'"); err != nil {
			t.Fatal(err)
		}
		overdue, err := w.q.WorkOverdue(t.Context(), tasks.Kinds())
		if err != nil || len(overdue) != 1 || overdue[0].Kind != kind {
			t.Errorf("%s: overdue are %+v, %v", kind, overdue, err)
		}
		if _, err := w.db.Exec(t.Context(), "DELETE FROM work"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBoundHoldsUnderConcurrency(t *testing.T) {
	t.Parallel()
	w := newTower(t)
	w.run()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			err := pgx.BeginFunc(t.Context(), w.db, func(tx pgx.Tx) error {
				return queries.New(tx).WorkRequest(t.Context(), queries.WorkRequestParams{Kind: tasks.TypeRetention, SubjectID: uuid.New()})
			})
			if err != nil {
				t.Error(err)
			}
			w.bell.Ask(tasks.QueueQuick)
			if _, err := w.bell.Ring(t.Context(), tasks.QueueQuick); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w.eventually("the bound is filled", func() bool { pending, _ := w.standing(); return pending >= 2*slots })
	w.ring()
	w.wantStanding("fifty rows, requested at once", 2*slots, 0)
	var rows, rung int
	if err := w.db.QueryRow(t.Context(), "SELECT count(*), count(ring_id) FROM work").Scan(&rows, &rung); err != nil {
		t.Fatal(err)
	}
	if rows != 50 || rung != 2*slots {
		t.Errorf("%d rows, %d of them rung; want 50 and %d", rows, rung, 2*slots)
	}
}

// TestAskCoalesces calls Ask many times during a ring: the bell rings once more
// and finds the rows committed meanwhile.
func TestAskCoalesces(t *testing.T) {
	t.Parallel()
	w := newTower(t)
	// Holding the queue's lock blocks the ring.
	tx, err := w.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if err := queries.New(tx).WorkLockQueue(t.Context(), tasks.QueueQuick); err != nil {
		t.Fatal(err)
	}
	before := w.rings.Load()
	stop := w.run()
	w.bell.Ask(tasks.QueueQuick)
	waiting := func() int {
		var n int
		if err := w.db.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	w.eventually("a ring waits for the lock", func() bool { return waiting() == 1 })
	subject := w.request(0)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for range 1000 {
			w.bell.Ask(tasks.QueueQuick)
		}
	}()
	select {
	case <-asked:
	case <-time.After(10 * time.Second):
		t.Fatal("Ask blocks during a ring")
	}
	if n := waiting(); n != 1 {
		t.Errorf("%d rings are under way, want 1", n)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.eventually("the row is rung", func() bool {
		row, err := w.q.WorkGet(t.Context(), tasks.TypeRetention, subject)
		return err == nil && row.RingID != nil
	})
	w.eventually("it rings once more", func() bool { return w.rings.Load() >= before+2 })
	w.ring() // a third ring would have time to happen
	stop()
	if n := w.rings.Load() - before; n != 3 {
		t.Errorf("asked a thousand times, the bell rang %d times, want twice", n-1)
	}
	w.wantStanding("in the end", 1, 0)
}

// TestAskAny requests work of two queues and asks for any. Both are rung, within
// the bound of each.
func TestAskAny(t *testing.T) {
	t.Parallel()
	w := newTower(t)
	report := uuid.New()
	if err := w.q.WorkRequest(t.Context(), queries.WorkRequestParams{Kind: tasks.TypeReport, SubjectID: report}); err != nil {
		t.Fatal(err)
	}
	retention := w.request(0)
	stands := func(queue string, ring uuid.UUID) bool {
		info, err := w.inspector.GetTaskInfo(queue, ring.String())
		return err == nil && info.State == asynq.TaskStatePending
	}
	w.run()
	w.bell.AskAny()
	w.eventually("the rows of both queues are rung", func() bool {
		for kind, subject := range map[string]uuid.UUID{tasks.TypeReport: report, tasks.TypeRetention: retention} {
			row, err := w.q.WorkGet(t.Context(), kind, subject)
			if err != nil || row.RingID == nil || !stands(tasks.QueueOf(kind), *row.RingID) {
				return false
			}
		}
		return true
	})
	if n, err := w.bell.RingAny(t.Context()); err != nil || n != 0 {
		t.Errorf("then %d more rows were rung (%v), want none", n, err)
	}
}

// TestAskSoon asks twice for a look a moment later, and again after the look.
// Each moment has one look.
func TestAskSoon(t *testing.T) {
	t.Parallel()
	w := newTower(t)
	w.run()
	for round := 1; round <= 2; round++ {
		w.request(0)
		w.bell.AskSoon()
		w.bell.AskSoon()
		w.eventually("the row is rung", func() bool {
			var rung int
			err := w.db.QueryRow(t.Context(), "SELECT count(ring_id) FROM work").Scan(&rung)
			return err == nil && rung == round
		})
		if got := w.rings.Load(); got != int64(round) {
			t.Errorf("%d rings began in %d rounds", got, round)
		}
	}
}

// TestAskAfterStop checks that Ask does not block a handler that outlives the
// bell.
func TestAskAfterStop(t *testing.T) {
	t.Parallel()
	w := newTower(t)
	w.run()()
	for range 10 {
		w.bell.Ask(tasks.QueueQuick)
		w.bell.Ask("unknown") // a queue without a bell
	}
}

// TestRedisAway loses a ring: the row keeps the work, the log says that the
// sweep will ring, and the bell continues.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	private := stacktest.NewPrivateRedis(t)
	w := newTowerOn(t, private.URL)
	w.run()
	private.Kill()
	lost := w.request(0)
	w.bell.Ask(tasks.QueueQuick)
	w.eventually("the lost ring is logged", func() bool { return strings.Contains(w.log.String(), "the sweep will ring instead") })
	if row, err := w.q.WorkGet(t.Context(), tasks.TypeRetention, lost); err != nil || row.LeaseUntil != nil {
		t.Errorf("the row of the lost ring is %+v, %v; want it free", row, err)
	}
	private.Restart()
	next := w.request(0)
	w.bell.Ask(tasks.QueueQuick)
	w.eventually("the next row's task is pending", func() bool {
		row, err := w.q.WorkGet(t.Context(), tasks.TypeRetention, next)
		if err != nil || row.RingID == nil {
			return false
		}
		_, err = w.inspector.GetTaskInfo(tasks.QueueQuick, row.RingID.String())
		return err == nil
	})
}

func TestPostgresAway(t *testing.T) {
	t.Parallel()
	w := newTower(t)
	w.db.Close()
	n, err := w.bell.Ring(t.Context(), tasks.QueueQuick)
	if err == nil || n != 0 || !strings.Contains(err.Error(), tasks.QueueQuick) {
		t.Errorf("a ring without Postgres: %d, %v; want an error that names the queue", n, err)
	}
}
