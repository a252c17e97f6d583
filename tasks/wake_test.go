package tasks_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/tasks"
)

// office is a server that a Waiter wakes.
type office struct {
	queue
	took  chan string   // the types of the tasks
	asked *atomic.Int64 // how often the server asked for a task
	stop  func()
}

// asks counts the calls of asynq's script that takes a task.
type asks struct{ n *atomic.Int64 }

func (a asks) DialHook(next redis.DialHook) redis.DialHook { return next }
func (a asks) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (a asks) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); args[0] == "evalsha" && len(args) > 4 && strings.HasSuffix(fmt.Sprint(args[4]), ":paused") {
			a.n.Add(1)
		}
		return next(ctx, cmd)
	}
}

// newOffice starts a server of a queue that waits at most max for a wake-up. It
// returns once wake-ups arrive.
func newOffice(t *testing.T, name string, max time.Duration) *office {
	t.Helper()
	q := newQueue(t)
	o := &office{queue: q, took: make(chan string, 100), asked: &atomic.Int64{}}
	q.redis.AddHook(asks{o.asked})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	waiter := tasks.NewWaiter(q.redis)
	waiter.SetMaxWait(max)
	ran := make(chan struct{})
	go func() { waiter.Run(ctx); close(ran) }()
	server := asynq.NewServerFromRedisClient(waiter.Client(ctx, name), asynq.Config{
		Concurrency: 5, Queues: map[string]int{name: 1}, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: time.Millisecond, DelayedTaskCheckInterval: 100 * time.Millisecond, ShutdownTimeout: time.Second,
	})
	if err := server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		o.took <- task.Type()
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
		q.redis.Publish(t.Context(), tasks.WakeChannel, name)
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

func (o *office) ring(t *testing.T, delay time.Duration) {
	t.Helper()
	if err := o.client.Ring(t.Context(), tasks.Task{Kind: tasks.TypeProvision, Subject: uuid.New()}, uuid.New(), delay); err != nil {
		t.Fatal(err)
	}
}

// TestServersAreWoken uses servers that take nothing without a wake-up.
func TestServersAreWoken(t *testing.T) {
	t.Parallel()
	o := newOffice(t, tasks.QueueQuick, time.Hour)
	for range 20 {
		o.ring(t, 0)
		o.takes(t, "a ring", tasks.TypeProvision)
	}
	for range 20 {
		o.ring(t, 0)
	}
	for range 20 {
		o.takes(t, "one of many rings", tasks.TypeProvision)
	}
	o.ring(t, time.Millisecond)
	o.takes(t, "a delayed ring", tasks.TypeProvision)

	if err := o.inspector.PauseQueue(tasks.QueueQuick); err != nil {
		t.Fatal(err)
	}
	before := o.asked.Load()
	o.ring(t, 0)
	if !poll.Until(t.Context(), 20*time.Second, time.Millisecond, func() bool { return o.asked.Load() > before }) {
		t.Fatal("the server did not ask for the task of a paused queue")
	}
	if err := o.client.Resume(t.Context(), tasks.QueueQuick); err != nil {
		t.Fatal(err)
	}
	o.takes(t, "a ring after the pause", tasks.TypeProvision)

	sweeps := newOffice(t, tasks.QueueSweep, time.Hour)
	if err := sweeps.client.Sweep(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	sweeps.takes(t, "a sweep", tasks.TypeSweep)
	sweeps.stop() // it waits for a wake-up, and stops all the same
}

// TestLostWakeUps puts tasks into Redis without a wake-up, and cuts the
// connection that carries them. Redis cuts those of all tests, so this one is
// not parallel.
func TestLostWakeUps(t *testing.T) {
	o := newOffice(t, tasks.QueueQuick, 50*time.Millisecond)
	enqueue := func() {
		t.Helper()
		if _, err := asynq.NewClientFromRedisClient(o.redis).Enqueue(asynq.NewTask("other", nil), asynq.Queue(tasks.QueueQuick)); err != nil {
			t.Fatal(err)
		}
	}
	enqueue()
	o.takes(t, "a task of another program", "other")
	if n, err := o.redis.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Result(); err != nil || n == 0 {
		t.Fatalf("cut %d subscriptions: %v", n, err)
	}
	o.ring(t, 0)
	o.takes(t, "a ring while the subscription is cut", tasks.TypeProvision)
}

// TestNoPolls checks that a server does not ask for tasks while wake-ups are for
// another queue. The wake-ups of other tests arrive too, so it is not parallel.
func TestNoPolls(t *testing.T) {
	o := newOffice(t, tasks.QueueQuick, time.Hour)
	o.ring(t, 0)
	o.takes(t, "a ring", tasks.TypeProvision)
	// The server may ask once more for a wake-up that came before.
	before := o.asked.Load()
	for range 2000 {
		o.redis.Publish(t.Context(), tasks.WakeChannel, tasks.QueueForge)
	}
	if asked := o.asked.Load() - before; asked > 5 {
		t.Errorf("the server asked %d times for a task while none came", asked)
	}
	o.ring(t, 0)
	o.takes(t, "another ring", tasks.TypeProvision)
}
