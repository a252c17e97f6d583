// Package bell wakes the workers. After a commit it marks waiting work rows of
// a queue as rung, up to the queue's bound, and enqueues their tasks. Web and
// workers call it. The sweep rings the rows that the bell missed, so a lost
// ring costs seconds but never the work.
package bell

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/time/rate"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// Bell rings queues.
type Bell struct {
	db     *pgxpool.Pool
	client *tasks.Client
	log    *slog.Logger
	bounds map[string]int64
	asked  map[string]chan struct{}
	any    chan struct{} // like asked, for whatever queue has rows to ring
	soon   atomic.Bool   // AskSoon was called, and AskAny follows
}

// New returns a bell for the queues in slots, which maps each queue to the
// number of tasks that one worker process runs at a time. At most twice that
// many rows of a queue are rung at once, so that a flood of work does not flood
// Redis.
func New(db *pgxpool.Pool, client *tasks.Client, log *slog.Logger, slots map[string]int) *Bell {
	b := &Bell{db: db, client: client, log: log, bounds: map[string]int64{}, asked: map[string]chan struct{}{}, any: make(chan struct{}, 1)}
	for queue, n := range slots {
		b.bounds[queue] = 2 * int64(n)
		b.asked[queue] = make(chan struct{}, 1)
	}
	return b
}

// toRing returns the bell's queues that have rows to ring, sorted.
func (b *Bell) toRing(ctx context.Context) ([]string, error) {
	kinds, err := queries.New(b.db).WorkToRing(ctx, tasks.Kinds())
	if err != nil {
		return nil, fmt.Errorf("look for rows to ring: %w", err)
	}
	var found []string
	for _, kind := range kinds {
		if queue := tasks.QueueOf(kind); b.bounds[queue] > 0 {
			found = append(found, queue)
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// Ask makes Run ring the queue soon. It returns at once. Calls during a ring
// lead to one further ring.
func (b *Bell) Ask(queues ...string) {
	for _, queue := range queues {
		select {
		case b.asked[queue] <- struct{}{}:
		default:
		}
	}
}

// AskAny makes Run look soon which queues have rows to ring, and ring these. It
// returns at once.
func (b *Bell) AskAny() {
	select {
	case b.any <- struct{}{}:
	default:
	}
}

// AskSoon is AskAny after a moment, for what may follow the work that people
// wait for. Calls during the moment share it.
func (b *Bell) AskSoon() {
	if b.soon.CompareAndSwap(false, true) {
		time.AfterFunc(ringSoon, func() {
			b.soon.Store(false)
			b.AskAny()
		})
	}
}

// Resume makes Redis give out the tasks of a queue again, and rings it. It waits
// for Redis no longer than a moment.
func (b *Bell) Resume(ctx context.Context, queue string) {
	ctx, cancel := context.WithTimeout(ctx, resumeTimeout)
	defer cancel()
	if err := b.client.Resume(ctx, queue); err != nil {
		b.log.Warn("if the queue is paused in Redis too, resume it again", "queue", queue, "error", err)
	}
	b.Ask(queue)
}

const resumeTimeout = 2 * time.Second

// Sweep asks the workers for a sweep.
func (b *Bell) Sweep(ctx context.Context) error { return b.client.Sweep(ctx) }

// A queue is rung ringBurst times without a pause, and then every ringPause.
// Requests during the pause share one ring: without it, a flood of webhooks
// would keep Postgres busy with rings.
const (
	ringPause = 10 * time.Millisecond
	ringBurst = 10
)

// ringSoon is the moment of AskSoon: the time in which a build starts or a
// pointer flips.
const ringSoon = 10 * time.Millisecond

// Run rings the requested queues until the context is done.
func (b *Bell) Run(ctx context.Context) {
	var group sync.WaitGroup
	for queue, asked := range b.asked {
		group.Go(func() {
			b.answer(ctx, asked, func() error {
				_, err := b.Ring(ctx, queue)
				return err
			})
		})
	}
	group.Go(func() {
		b.answer(ctx, b.any, func() error {
			ctx, cancel := context.WithTimeout(ctx, ringTimeout)
			defer cancel()
			_, err := b.RingAny(ctx)
			return err
		})
	})
	group.Wait()
}

// answer calls ring for each request, but no more often than the pace allows,
// until the context is done.
func (b *Bell) answer(ctx context.Context, asked <-chan struct{}, ring func() error) {
	pace := rate.NewLimiter(rate.Every(ringPause), ringBurst)
	for pace.Wait(ctx) == nil {
		select {
		case <-ctx.Done():
			return
		case <-asked:
		}
		if err := ring(); err != nil && ctx.Err() == nil {
			b.log.Warn("a ring failed; the sweep will ring instead", "error", err)
		}
	}
}

// ringTimeout bounds one ring, so that a hanging Postgres or Redis does not
// block the following rings.
const ringTimeout = 10 * time.Second

// RingAny rings the waiting rows of all queues, up to their bounds, and returns
// the number of rows.
func (b *Bell) RingAny(ctx context.Context) (int, error) {
	waiting, err := b.toRing(ctx)
	if err != nil || len(waiting) == 0 {
		return 0, err
	}
	return b.ring(ctx, waiting)
}

// Ring rings the waiting rows of a queue, up to its bound, and returns their
// number.
func (b *Bell) Ring(ctx context.Context, queue string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, ringTimeout)
	defer cancel()
	return b.ring(ctx, []string{queue})
}

func (b *Bell) ring(ctx context.Context, names []string) (int, error) {
	params := make([]queries.WorkRingNextParams, len(names))
	for i, queue := range names {
		params[i] = queries.WorkRingNextParams{Queue: queue, Bound: b.bounds[queue], Kinds: tasks.KindsOf(queue)}
	}
	rung, err := queries.New(b.db).WorkRing(ctx, params...)
	if err != nil {
		return 0, fmt.Errorf("mark rows as rung, of the queues %s: %w", strings.Join(names, ", "), err)
	}
	for i, r := range rung {
		delay := time.Duration(r.DelaySeconds * float64(time.Second))
		if err := b.client.Ring(ctx, tasks.Task{Kind: r.Kind, Subject: r.SubjectID}, r.RingID, delay); err != nil {
			return i, err
		}
	}
	return len(rung), nil
}
