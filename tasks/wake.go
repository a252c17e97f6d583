package tasks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// wakeChannel is the channel in Redis that carries the name of each queue that
// got a task, or one of the two messages below. A worker of an earlier version
// takes these for queues that it does not have.
const wakeChannel = "troy:woken"

const (
	messageSweep   = TypeSweep
	messageDelayed = "delayed" // some queue got a task for later
)

const (
	// lookEvery is the time between two looks into Redis. They find the tasks
	// whose message was lost, or that another program put there.
	lookEvery = 2 * time.Second
	// beginWithin is the time after which a taken task that no handler has got
	// frees its slot: asynq dropped it.
	beginWithin = 10 * time.Second
	// aliveEvery is the time between two pings of an idle subscription.
	aliveEvery = 30 * time.Second
)

// wake tells the waiting workers that a queue got a task. If that fails, they
// notice within lookEvery.
func (c *Client) wake(ctx context.Context, queue string) {
	c.redis.Publish(ctx, wakeChannel, queue)
}

// Waiter replaces the polls of asynq's server. asynq asks Redis for a task of
// each queue, sleeps if there is none, and asks again. A server with the client
// of a Waiter asks only for tasks of queues that may have some and that have a
// free slot, and waits for wake-ups otherwise.
type Waiter struct {
	redis redis.UniversalClient
	every time.Duration // between two looks
	begin time.Duration // see beginWithin
	polls bool
	names []string // of the queues

	sweep, woken, asked chan struct{}

	mu      sync.Mutex
	lines   map[string]*line
	changed chan struct{} // closed and replaced when a line changes
	failed  bool          // the last look
	held    string        // the generation that Redis held at the last look
}

// line is a queue as a Waiter knows it.
type line struct {
	slots   int
	running int         // handlers
	taken   []time.Time // when tasks were taken that no handler has got yet
	tasks   bool        // it may have tasks
	due     time.Time   // of its first delayed task; zero if none is known
}

func (l *line) free() bool { return l.running+len(l.taken) < l.slots }

// NewWaiter returns a Waiter for the queues of rdb, with the number of tasks of
// each that run at a time. If polls is true, the server polls as asynq's servers
// do, but for full queues.
func NewWaiter(rdb redis.UniversalClient, slots map[string]int, polls bool) *Waiter {
	w := &Waiter{
		redis: rdb, every: lookEvery, begin: beginWithin, polls: polls, lines: map[string]*line{}, changed: make(chan struct{}),
		sweep: make(chan struct{}, 1), woken: make(chan struct{}, 1), asked: make(chan struct{}, 1),
	}
	for queue, n := range slots {
		w.names = append(w.names, queue)
		w.lines[queue] = &line{slots: n}
	}
	return w
}

// Sweeps signals that a sweep should begin: one was requested, Redis was emptied
// or replaced, or it answers again.
func (w *Waiter) Sweeps() <-chan struct{} { return w.sweep }

// Woken signals that some queue of this Redis got a task.
func (w *Waiter) Woken() <-chan struct{} { return w.woken }

// signal leaves a signal in a channel that keeps one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run passes wake-ups on until ctx ends. go-redis connects again by itself, and
// Run then looks for what was missed.
func (w *Waiter) Run(ctx context.Context) {
	sub := w.redis.Subscribe(ctx, wakeChannel)
	defer func() { _ = sub.Close() }()
	var looks sync.WaitGroup
	defer looks.Wait()
	looks.Go(func() { w.lookOut(ctx) })
	messages := sub.ChannelWithSubscriptions(redis.WithChannelHealthCheckInterval(aliveEvery))
	for {
		select {
		case m, open := <-messages:
			if !open {
				return
			}
			switch m := m.(type) {
			case *redis.Message:
				w.hear(m.Payload)
			case *redis.Subscription:
				signal(w.asked)
			}
		case <-ctx.Done():
			return
		}
	}
}

// hear passes one message on.
func (w *Waiter) hear(message string) {
	switch message {
	case messageSweep:
		signal(w.sweep)
	case messageDelayed:
		signal(w.asked)
	default:
		w.change(func() {
			if l := w.lines[message]; l != nil {
				l.tasks = true
			}
		})
	}
	signal(w.woken)
}

// change changes lines, and wakes what waits for a change.
func (w *Waiter) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	close(w.changed)
	w.changed = make(chan struct{})
}

// lookOut looks into Redis at intervals and when it is asked to, until ctx ends.
func (w *Waiter) lookOut(ctx context.Context) {
	ticker := time.NewTicker(w.every)
	defer ticker.Stop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-w.asked:
		}
	}
}

// look reads what waits in Redis, in one exchange.
func (w *Waiter) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	type answers struct {
		pending *redis.IntCmd
		delayed [2]*redis.ZSliceCmd
	}
	found := map[string]answers{}
	var held *redis.StringCmd
	_, err := w.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, queue := range w.names {
			found[queue] = answers{p.LLen(ctx, queueKey(queue, "pending")), [2]*redis.ZSliceCmd{
				p.ZRangeWithScores(ctx, queueKey(queue, "scheduled"), 0, 0), p.ZRangeWithScores(ctx, queueKey(queue, "retry"), 0, 0),
			}}
		}
		held = p.Get(ctx, generationKey)
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.failed = true
		return
	}
	now := time.Now()
	w.change(func() {
		for queue, a := range found {
			l := w.lines[queue]
			l.tasks = l.tasks || a.pending.Val() > 0
			l.due = time.Time{}
			for _, first := range a.delayed {
				for _, z := range first.Val() {
					if due := time.Unix(int64(z.Score), 0); l.due.IsZero() || due.Before(l.due) {
						l.due = due
					}
				}
			}
			l.taken = slices.DeleteFunc(l.taken, func(at time.Time) bool { return now.Sub(at) > w.begin })
		}
		if w.failed || w.held != held.Val() {
			signal(w.sweep)
		}
		w.failed, w.held = false, held.Val()
	})
}

// mayTake reports whether the server should ask for a task of a queue. If no
// queue has a free slot and may have tasks, it waits first, and then returns
// false: the request has the end of the task's lease, which was calculated before
// the wait. asynq asks again at once, and stops a task whose lease has ended.
func (w *Waiter) mayTake(ctx context.Context, queue string) bool {
	for waited := false; ; waited = true {
		w.mu.Lock()
		l, ready := w.lines[queue], w.polls
		for _, other := range w.lines {
			ready = ready || other.tasks && other.free()
		}
		if ready {
			may := !waited && l != nil && (l.tasks || w.polls) && l.free()
			if may {
				l.tasks = false // unless a task is found, or a wake-up comes meanwhile
			}
			w.mu.Unlock()
			return may
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// tookOne notes the result of the script that takes a task.
func (w *Waiter) tookOne(queue string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lines[queue]
	switch {
	case l == nil:
	case err == nil:
		l.taken = append(l.taken, time.Now())
		l.tasks = true // there may be more
	case redis.HasErrorPrefix(err, "NOSCRIPT"):
		l.tasks = true // asynq sends the script next
	}
}

// mayForward reports whether a delayed task of a queue is due. If none of any
// queue is, it waits first.
func (w *Waiter) mayForward(ctx context.Context, queue string) bool {
	for {
		w.mu.Lock()
		if w.polls {
			w.mu.Unlock()
			return true
		}
		now, first := time.Now(), time.Time{}
		for _, l := range w.lines {
			if !l.due.IsZero() && (first.IsZero() || l.due.Before(first)) {
				first = l.due
			}
		}
		if !first.IsZero() && !first.After(now) {
			l := w.lines[queue]
			may := l != nil && !l.due.IsZero() && !l.due.After(now)
			w.mu.Unlock()
			return may
		}
		changed := w.changed
		w.mu.Unlock()
		var due <-chan time.Time
		timer := (*time.Timer)(nil)
		if !first.IsZero() {
			timer = time.NewTimer(first.Sub(now))
			due = timer.C
		}
		select {
		case <-changed:
		case <-due:
		case <-ctx.Done():
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return false
		}
	}
}

// forwarded notes that no more delayed tasks of a queue are due. The next look
// finds when the next one is.
func (w *Waiter) forwarded(queue string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.lines[queue]; l != nil {
		l.due = time.Time{}
	}
	signal(w.asked)
}

// Handler returns a handler for the server: h, which frees a slot at its end.
func (w *Waiter) Handler(h asynq.HandlerFunc) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		queue, _ := asynq.GetQueueName(ctx)
		l := w.lines[queue]
		if l == nil {
			return h(ctx, t)
		}
		w.mu.Lock()
		l.taken = l.taken[min(1, len(l.taken)):]
		l.running++
		w.mu.Unlock()
		defer w.change(func() { l.running-- })
		return h(ctx, t)
	})
}

// Client returns the client for the asynq server of the queues. Its waits end
// when ctx ends.
func (w *Waiter) Client(ctx context.Context) redis.UniversalClient {
	return &waitingClient{UniversalClient: w.redis, ctx: ctx, waiter: w}
}

// queueKey is one of asynq's own keys.
func queueKey(queue, kind string) string { return "asynq:{" + queue + "}:" + kind }

// queueOf returns the queue of one of asynq's keys.
func queueOf(key string) string {
	_, rest, _ := strings.Cut(key, "{")
	queue, _, _ := strings.Cut(rest, "}")
	return queue
}
