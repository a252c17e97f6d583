package tasks_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/tasks"
)

// queue is a client on the test's own Redis, and asynq's view of it.
type queue struct {
	redis     redis.UniversalClient
	client    *tasks.Client
	inspector *asynq.Inspector
}

func newQueue(t *testing.T) queue {
	t.Helper()
	return newQueueOn(t, stacktest.Redis(t))
}

func newQueueOn(t *testing.T, redisURL string) queue {
	t.Helper()
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	t.Cleanup(func() { _ = rdb.Close() })
	return queue{rdb, tasks.NewClient(rdb), asynq.NewInspectorFromRedisClient(rdb)}
}

func (q queue) info(t *testing.T, name, id string) *asynq.TaskInfo {
	t.Helper()
	info, err := q.inspector.GetTaskInfo(name, id)
	if err != nil {
		t.Fatalf("look up the task %s: %v", id, err)
	}
	return info
}

func TestRing(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for _, task := range []tasks.Task{
		{Kind: tasks.TypeProvision, Subject: uuid.New()}, {Kind: tasks.TypeDeploy, Subject: uuid.New()}, {Kind: tasks.TypeTeardownStart, Subject: uuid.New()},
		{Kind: tasks.TypePollDistroDisabled, Subject: uuid.New()}, {Kind: tasks.TypeTeardown, Subject: uuid.New()}, {Kind: tasks.TypeRetention, Subject: uuid.New()},
	} {
		policy := policyOf(t, task.Kind)
		// Each ring has its own id, because a row may be rung again while the
		// task of an earlier ring is still in Redis.
		for range 2 {
			id := uuid.New()
			if err := q.client.Ring(t.Context(), task, id, 0); err != nil {
				t.Fatal(err)
			}
			info := q.info(t, policy.Queue, id.String())
			if info.Type != task.Kind || info.State != asynq.TaskStatePending || info.Timeout != policy.Deadline || info.MaxRetry <= policy.Attempts {
				t.Errorf("the task of %s is %+v", task.Kind, info)
			}
			if got, want := string(info.Payload), `{"subject":"`+task.Subject.String()+`"}`; got != want {
				t.Errorf("the task of %s carries %s, want only ids: %s", task.Kind, got, want)
			}
			if subject, err := tasks.Subject(asynq.NewTask(info.Type, info.Payload)); err != nil || subject != task.Subject {
				t.Errorf("its subject is parsed as %s, %v", subject, err)
			}
			err := q.client.Ring(t.Context(), task, id, 0)
			if !errors.Is(err, asynq.ErrTaskIDConflict) || !strings.Contains(err.Error(), task.Subject.String()) {
				t.Errorf("a ring with an id that is in use: %v", err)
			}
		}
	}
	err := q.client.Ring(t.Context(), tasks.Task{Kind: "pipeline:unknown", Subject: uuid.New()}, uuid.New(), 0)
	if err == nil || !strings.Contains(err.Error(), "pipeline:unknown") {
		t.Errorf("a ring for an unknown kind: %v", err)
	}
}

func TestSubjectOfBadPayloads(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{"", "\xff\x00", "[]", `{"subject":"not an id"}`, `{"subject":7}`} {
		id, err := tasks.Subject(asynq.NewTask(tasks.TypeProvision, []byte(payload)))
		if err == nil || id != uuid.Nil || !strings.Contains(err.Error(), tasks.TypeProvision) {
			t.Errorf("payload %q: %s, %v; want an error that names the task", payload, id, err)
		}
	}
}

func TestStandsInLine(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	ring := func(delay time.Duration) uuid.UUID {
		t.Helper()
		id := uuid.New()
		if err := q.client.Ring(t.Context(), tasks.Task{Kind: tasks.TypeProvision, Subject: uuid.New()}, id, delay); err != nil {
			t.Fatal(err)
		}
		return id
	}
	want := func(what string, id uuid.UUID, want bool) {
		t.Helper()
		if got := q.client.StandsInLine(tasks.QueueQuick, id); got != want {
			t.Errorf("%s waits in the queue: %t, want %t", what, got, want)
		}
	}
	want("nothing in a queue that does not exist", uuid.New(), false)
	waiting, later, deleted, archived := ring(0), ring(time.Hour), ring(0), ring(0)
	if err := q.inspector.DeleteTask(tasks.QueueQuick, deleted.String()); err != nil {
		t.Fatal(err)
	}
	if err := q.inspector.ArchiveTask(tasks.QueueQuick, archived.String()); err != nil {
		t.Fatal(err)
	}
	want("a task that waits", waiting, true)
	want("a task that comes later", later, false)
	want("a deleted task", deleted, false)
	want("an archived task", archived, false)
	want("a task that does not exist", uuid.New(), false)
	if q.client.StandsInLine("unknown", waiting) {
		t.Error("a task is in another queue than its own")
	}

	// A worker took it and runs it, or died. Its row has a lease, and the task
	// no longer waits.
	taken, goOn := make(chan struct{}), make(chan struct{})
	serve(t, q, func(ctx context.Context, _ *asynq.Task) error {
		close(taken)
		select {
		case <-goOn:
		case <-ctx.Done():
		}
		return nil
	})
	<-taken
	want("a task that is taken", waiting, false)
	close(goOn)
}

// serve runs a server of the quick queue, configured like the workers', until
// the test ends.
func serve(t *testing.T, q queue, handle asynq.HandlerFunc) {
	t.Helper()
	server := asynq.NewServerFromRedisClient(q.redis, asynq.Config{
		Concurrency: 20, Queues: map[string]int{tasks.QueueQuick: 1}, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: 10 * time.Millisecond, DelayedTaskCheckInterval: 100 * time.Millisecond, ShutdownTimeout: time.Second,
	})
	if err := server.Start(handle); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
}

// TestDelaysAreNeverEarly rings with delays and at times that are not whole
// seconds. asynq truncates both.
func TestDelaysAreNeverEarly(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	delays := []time.Duration{
		time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, 950 * time.Millisecond, 999 * time.Millisecond,
		time.Second, 1001 * time.Millisecond, 1500 * time.Millisecond, 1999 * time.Millisecond,
	}
	type ring struct {
		asked time.Time
		delay time.Duration
	}
	var mu sync.Mutex
	rings := map[uuid.UUID]ring{}
	early := map[time.Duration]time.Duration{}
	done := make(chan struct{})
	serve(t, q, func(_ context.Context, task *asynq.Task) error {
		subject, err := tasks.Subject(task)
		mu.Lock()
		defer mu.Unlock()
		r, known := rings[subject]
		switch after := time.Since(r.asked); {
		case err != nil || !known:
			t.Errorf("an unknown task came: %s, %v", task.Payload(), err)
		case after < r.delay:
			early[r.delay] = after
		}
		delete(rings, subject)
		if len(rings) == 0 {
			close(done)
		}
		return nil
	})
	mu.Lock()
	for _, delay := range delays {
		task, id := tasks.Task{Kind: tasks.TypeProvision, Subject: uuid.New()}, uuid.New()
		r := ring{time.Now(), delay}
		rings[task.Subject] = r
		if err := q.client.Ring(t.Context(), task, id, delay); err != nil {
			t.Fatal(err)
		}
		info := q.info(t, tasks.QueueQuick, id.String())
		if at := info.NextProcessAt; info.State != asynq.TaskStateScheduled || at.Before(r.asked.Add(delay)) || at.After(time.Now().Add(delay+time.Second)) {
			t.Errorf("a ring in %s, requested at %s, is %s for %s; want it within a second after", delay, r.asked, info.State, at)
		}
	}
	mu.Unlock()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("not all tasks came")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(early) > 0 {
		t.Errorf("tasks came before their delay had passed (delay: when): %v", early)
	}
}

func TestAsynqDelay(t *testing.T) {
	t.Parallel()
	// For any fraction of a second, truncation must leave the whole delay, and
	// at most a second more.
	for _, delay := range []time.Duration{0, 1, time.Millisecond, 999 * time.Millisecond, time.Second, time.Second + 1, 90 * time.Second, 6 * time.Hour} {
		for fraction := time.Duration(0); fraction < time.Second; fraction += 37 * time.Millisecond {
			at := (fraction + tasks.AsynqDelay(delay)).Truncate(time.Second) - fraction
			if at < delay || at > delay+time.Second {
				t.Errorf("a delay of %s requested %s after the full second ends after %s", delay, fraction, at)
			}
		}
	}
}

func TestGeneration(t *testing.T) {
	t.Parallel()
	private := stacktest.NewPrivateRedis(t)
	q := newQueueOn(t, private.URL)
	read := func() int64 {
		t.Helper()
		n, err := q.client.Generation(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	got := []int64{read()}
	if err := q.client.SetGeneration(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	got = append(got, read())
	private.FlushAll()
	got = append(got, read())
	if diff := cmp.Diff([]int64{0, 7, 0}, got); diff != "" {
		t.Errorf("a new Redis, one with a generation, an emptied one (-want +got):\n%s", diff)
	}

	// An unavailable Redis is not a new one.
	private.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if n, err := q.client.Generation(ctx); err == nil {
		t.Errorf("a Redis that is away holds the generation %d", n)
	}
	if err := q.client.SetGeneration(ctx, 8); err == nil {
		t.Error("a Redis that is away took a generation")
	}
	if err := q.client.Sweep(ctx); err == nil {
		t.Error("a Redis that is away took a sweep")
	}
	if err := q.client.Ring(ctx, tasks.Task{Kind: tasks.TypeProvision, Subject: uuid.New()}, uuid.New(), 0); err == nil {
		t.Error("a Redis that is away took a ring")
	}
}
