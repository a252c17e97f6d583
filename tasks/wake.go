package tasks

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// wakeChannel is the channel in Redis that carries the name of each queue that
// got a task.
const wakeChannel = "troy:woken"

// maxWait is how long a server waits for a task that it was not woken for.
const maxWait = 2 * time.Second

// wake tells the waiting workers that a queue got a task. If that fails, they
// notice within maxWait.
func (c *Client) wake(ctx context.Context, queue string) {
	c.redis.Publish(ctx, wakeChannel, queue)
}

// Waiter replaces the polls of asynq's servers. asynq asks Redis for a task,
// sleeps if there is none, and asks again. A server with a client of a Waiter
// waits for the next wake-up instead.
type Waiter struct {
	redis  redis.UniversalClient
	max    time.Duration // of one wait
	mu     sync.Mutex
	queues map[string]chan struct{}
}

// NewWaiter returns a Waiter for the queues of rdb.
func NewWaiter(rdb redis.UniversalClient) *Waiter {
	return &Waiter{redis: rdb, max: maxWait, queues: map[string]chan struct{}{}}
}

// Run passes wake-ups on until ctx ends. go-redis connects again by itself; what
// was published meanwhile is lost.
func (w *Waiter) Run(ctx context.Context) {
	sub := w.redis.Subscribe(ctx, wakeChannel)
	defer func() { _ = sub.Close() }()
	messages := sub.Channel()
	for {
		select {
		case m, open := <-messages:
			if !open {
				return
			}
			w.wake(m.Payload)
		case <-ctx.Done():
			return
		}
	}
}

// woken returns the channel that carries the wake-ups of a queue. It keeps one
// that came while no one waited.
func (w *Waiter) woken(queue string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queues[queue] == nil {
		w.queues[queue] = make(chan struct{}, 1)
	}
	return w.queues[queue]
}

func (w *Waiter) wake(queue string) {
	select {
	case w.woken(queue) <- struct{}{}:
	default:
	}
}

// Client returns the client for the only asynq server of a queue in this
// process. Its waits end when ctx ends.
func (w *Waiter) Client(ctx context.Context, queue string) redis.UniversalClient {
	return &waitingClient{UniversalClient: w.redis, ctx: ctx, queue: queue, max: w.max, woken: w.woken(queue)}
}

type waitingClient struct {
	redis.UniversalClient
	ctx   context.Context // of the server, not of a call
	queue string
	max   time.Duration
	woken chan struct{}
	empty bool // the last script that takes a task returned none
}

// EvalSha runs one of asynq's scripts. Only one goroutine of a server runs the
// script that takes a task, and it has nothing else to do. So if the last one
// returned no task, EvalSha waits before it runs the script again.
func (c *waitingClient) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	take := takes(keys)
	if take && c.empty {
		c.wait()
	}
	cmd := c.UniversalClient.EvalSha(ctx, sha, keys, args...)
	if take {
		c.empty = cmd.Err() != nil && !redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT")
	}
	if n, err := cmd.Int(); err == nil && n > 0 && forwards(keys) {
		c.Publish(ctx, wakeChannel, c.queue)
	}
	return cmd
}

func (c *waitingClient) wait() {
	timer := time.NewTimer(c.max)
	defer timer.Stop()
	select {
	case <-c.woken:
	case <-timer.C:
	case <-c.ctx.Done():
	}
}

// takes reports whether keys are those of asynq's script that takes a task from
// a queue.
func takes(keys []string) bool {
	return len(keys) == 4 && strings.HasSuffix(keys[0], ":pending") && strings.HasSuffix(keys[1], ":paused")
}

// forwards reports whether keys are those of asynq's script that moves delayed
// tasks that are due to the others. It returns their number.
func forwards(keys []string) bool {
	return len(keys) == 2 && strings.HasSuffix(keys[1], ":pending") && (strings.HasSuffix(keys[0], ":scheduled") || strings.HasSuffix(keys[0], ":retry"))
}
