package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/tasks"
)

// office is a server that a Waiter wakes.
type office struct {
	queue
	waiter *tasks.Waiter
	took   chan string             // the types of the tasks
	handle func(*asynq.Task) error // after that; nil does nothing
	asked  *atomic.Int64           // how often the server ran a script that takes or moves tasks
	stop   func()
}

// asks counts the calls of asynq's scripts that take a task of a queue or move
// its delayed tasks.
type asks struct {
	queue string
	n     *atomic.Int64
}

func (a asks) DialHook(next redis.DialHook) redis.DialHook { return next }
func (a asks) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (a asks) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); args[0] == "evalsha" && len(args) > 4 && strings.HasPrefix(fmt.Sprint(args[3]), "asynq:{"+a.queue+"}:") &&
			(strings.HasSuffix(fmt.Sprint(args[4]), ":paused") || strings.HasSuffix(fmt.Sprint(args[4]), ":pending")) {
			a.n.Add(1)
		}
		return next(ctx, cmd)
	}
}

// newOffice starts a server of the queues quick, with five slots, and forge,
// with one. Its waiter looks into Redis at intervals of every. newOffice returns
// once wake-ups arrive.
func newOffice(t *testing.T, redisURL string, every time.Duration, handle func(*asynq.Task) error) *office {
	t.Helper()
	o := &office{queue: newQueueOn(t, redisURL), took: make(chan string, 100), handle: handle, asked: &atomic.Int64{}}
	o.redis.AddHook(asks{tasks.QueueQuick, o.asked})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	o.waiter = tasks.NewWaiter(o.redis, map[string]int{tasks.QueueQuick: 5, tasks.QueueForge: 1}, false)
	o.waiter.SetTimes(every, 100*time.Millisecond)
	ran := make(chan struct{})
	go func() { o.waiter.Run(ctx); close(ran) }()
	server := asynq.NewServerFromRedisClient(o.waiter.Client(ctx), asynq.Config{
		Concurrency: 6, Queues: map[string]int{tasks.QueueQuick: 1, tasks.QueueForge: 1}, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: time.Millisecond, DelayedTaskCheckInterval: 10 * time.Millisecond, ShutdownTimeout: time.Second,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Millisecond },
	})
	if err := server.Start(o.waiter.Handler(func(_ context.Context, task *asynq.Task) error {
		o.took <- task.Type()
		if o.handle != nil {
			return o.handle(task)
		}
		return nil
	})); err != nil {
		t.Fatal(err)
	}
	o.stop = sync.OnceFunc(func() {
		cancel()
		server.Shutdown()
		<-ran
	})
	t.Cleanup(o.stop)
	before := o.asked.Load()
	if !poll.Until(t.Context(), 20*time.Second, 10*time.Millisecond, func() bool {
		o.redis.Publish(t.Context(), tasks.WakeChannel, tasks.QueueQuick)
		return o.asked.Load() > before+1
	}) {
		t.Fatal("the waiter did not subscribe")
	}
	return o
}

func (o *office) takes(t *testing.T, what, kind string) {
	t.Helper()
	select {
	case got := <-o.took:
		if got != kind {
			t.Errorf("%s: took a task of type %s, want %s", what, got, kind)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: no task was taken", what)
	}
}

func (o *office) ring(t *testing.T, kind string, delay time.Duration) {
	t.Helper()
	if err := o.client.Ring(t.Context(), tasks.Task{Kind: kind, Subject: uuid.New()}, uuid.New(), delay); err != nil {
		t.Fatal(err)
	}
}

// TestServersAreWoken uses a server that takes nothing without a wake-up.
func TestServersAreWoken(t *testing.T) {
	t.Parallel()
	var fails atomic.Int64
	o := newOffice(t, stacktest.Redis(t), time.Hour, func(*asynq.Task) error {
		if fails.Add(-1) >= 0 {
			return errors.New("failed")
		}
		return nil
	})
	for range 20 {
		o.ring(t, tasks.TypeProvision, 0)
		o.takes(t, "a ring", tasks.TypeProvision)
	}
	for range 20 {
		o.ring(t, tasks.TypeProvision, 0)
	}
	for range 20 {
		o.takes(t, "one of many rings", tasks.TypeProvision)
	}
	o.ring(t, tasks.TypeProvision, time.Millisecond)
	o.takes(t, "a delayed ring", tasks.TypeProvision)
	fails.Store(1)
	o.ring(t, tasks.TypeProvision, 0)
	o.takes(t, "a ring whose work fails", tasks.TypeProvision)
	o.takes(t, "its retry", tasks.TypeProvision)

	if err := o.inspector.PauseQueue(tasks.QueueQuick); err != nil {
		t.Fatal(err)
	}
	before := o.asked.Load()
	o.ring(t, tasks.TypeProvision, 0)
	if !poll.Until(t.Context(), 20*time.Second, time.Millisecond, func() bool { return o.asked.Load() > before }) {
		t.Fatal("the server did not ask for the task of a paused queue")
	}
	if err := o.client.Resume(t.Context(), tasks.QueueQuick); err != nil {
		t.Fatal(err)
	}
	o.takes(t, "a ring after the pause", tasks.TypeProvision)
	o.stop() // it waits for a wake-up, and stops all the same
}

// TestSlots fills a queue with one slot. Its other tasks wait, and those of
// other queues do not.
func TestSlots(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	o := newOffice(t, stacktest.Redis(t), 20*time.Millisecond, func(task *asynq.Task) error {
		if task.Type() == tasks.TypeReport {
			<-goOn
		}
		return nil
	})
	o.ring(t, tasks.TypeReport, 0)
	o.takes(t, "a ring", tasks.TypeReport)
	o.ring(t, tasks.TypeReport, 0)
	for range 20 {
		o.ring(t, tasks.TypeProvision, 0)
		o.takes(t, "a ring of another queue", tasks.TypeProvision)
	}
	goOn <- struct{}{}
	o.takes(t, "the ring that waited", tasks.TypeReport)
	goOn <- struct{}{}

	// asynq drops a task whose deadline has passed, before the handler.
	if _, err := asynq.NewClientFromRedisClient(o.redis).Enqueue(asynq.NewTask("late", nil), asynq.Queue(tasks.QueueForge), asynq.Deadline(time.Now().Add(-time.Hour)), asynq.MaxRetry(0)); err != nil {
		t.Fatal(err)
	}
	if !poll.Until(t.Context(), 20*time.Second, time.Millisecond, func() bool {
		late, err := o.inspector.ListArchivedTasks(tasks.QueueForge)
		return err == nil && len(late) == 1
	}) {
		t.Fatal("asynq did not drop a task whose deadline had passed")
	}
	o.ring(t, tasks.TypeReport, 0)
	o.takes(t, "a ring after a task that no handler got", tasks.TypeReport)
	goOn <- struct{}{}
}

// TestLostWakeUps puts tasks into Redis without a wake-up, and cuts the
// connection that carries them. Redis cuts those of all tests, so this one is
// not parallel.
func TestLostWakeUps(t *testing.T) {
	o := newOffice(t, stacktest.Redis(t), 50*time.Millisecond, nil)
	other := asynq.NewClientFromRedisClient(o.redis)
	enqueue := func(options ...asynq.Option) {
		t.Helper()
		if _, err := other.Enqueue(asynq.NewTask("other", nil), append(options, asynq.Queue(tasks.QueueQuick))...); err != nil {
			t.Fatal(err)
		}
	}
	enqueue()
	o.takes(t, "a task of another program", "other")
	enqueue(asynq.ProcessIn(time.Second))
	o.takes(t, "a delayed task of another program", "other")
	if n, err := o.redis.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Result(); err != nil || n == 0 {
		t.Fatalf("cut %d subscriptions: %v", n, err)
	}
	o.ring(t, tasks.TypeProvision, 0)
	o.takes(t, "a ring while the subscription is cut", tasks.TypeProvision)
}

// TestNewSubscription cuts the connection that carries wake-ups, and loses one.
// The new subscription finds the task without a look at an interval.
func TestNewSubscription(t *testing.T) {
	o := newOffice(t, stacktest.Redis(t), time.Hour, nil)
	if _, err := asynq.NewClientFromRedisClient(o.redis).Enqueue(asynq.NewTask("other", nil), asynq.Queue(tasks.QueueQuick)); err != nil {
		t.Fatal(err)
	}
	if n, err := o.redis.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Result(); err != nil || n == 0 {
		t.Fatalf("cut %d subscriptions: %v", n, err)
	}
	o.takes(t, "a task whose message was lost with the connection", "other")
}

// TestNoPolls checks that a server does not ask for tasks while wake-ups are for
// another queue. The wake-ups of other tests arrive too, so it is not parallel.
func TestNoPolls(t *testing.T) {
	o := newOffice(t, stacktest.Redis(t), time.Hour, nil)
	o.ring(t, tasks.TypeProvision, 0)
	o.takes(t, "a ring", tasks.TypeProvision)
	// The server may ask once more for a wake-up that came before.
	before := o.asked.Load()
	for range 2000 {
		o.redis.Publish(t.Context(), tasks.WakeChannel, tasks.QueueForge)
	}
	if asked := o.asked.Load() - before; asked > 5 {
		t.Errorf("the server asked %d times for a task while none came", asked)
	}
	o.ring(t, tasks.TypeProvision, 0)
	o.takes(t, "another ring", tasks.TypeProvision)
}

// TestSweepsAreRequested requests a sweep, empties Redis, and stops it for a
// while.
func TestSweepsAreRequested(t *testing.T) {
	t.Parallel()
	private := stacktest.NewPrivateRedis(t)
	o := newOffice(t, private.URL, 20*time.Millisecond, nil)
	if err := o.client.SetGeneration(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	sweeps := func(what string) {
		t.Helper()
		select {
		case <-o.waiter.Sweeps():
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: no sweep is requested", what)
		}
	}
	sweeps("a new generation")
	if err := o.client.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	sweeps("an operator's request")
	private.FlushAll()
	sweeps("a Redis that was emptied")
	private.Kill()
	if !poll.Until(t.Context(), 20*time.Second, time.Millisecond, o.waiter.Failed) {
		t.Fatal("the looks into a stopped Redis succeed")
	}
	private.Restart()
	sweeps("a Redis that answers again")
}
