// Package bell rings: after a commit it marks the waiting work rows of a
// queue as rung, as many as the queue's bound allows, and enqueues their
// tasks. Web and workers ring through it, and the sweep rings what they
// missed. A ring that is lost costs seconds, never the work.
package bell

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// Bell rings the queues.
type Bell struct {
	db     *pgxpool.Pool
	client *tasks.Client
	log    *slog.Logger
	bounds map[string]int64
	asked  map[string]chan struct{}
}

// New returns a bell for the queues with the given numbers of slots (how many
// tasks one worker process runs at a time). At most twice as many rows of a
// queue are rung at once, so that a flood of work does not flood Redis.
func New(db *pgxpool.Pool, client *tasks.Client, log *slog.Logger, slots map[string]int) *Bell {
	b := &Bell{db: db, client: client, log: log, bounds: map[string]int64{}, asked: map[string]chan struct{}{}}
	for queue, n := range slots {
		b.bounds[queue] = 2 * int64(n)
		b.asked[queue] = make(chan struct{}, 1)
	}
	return b
}

// Queues lists the queues that the bell rings.
func (b *Bell) Queues() []string { return slices.Sorted(maps.Keys(b.bounds)) }

// Ask makes Run ring the queue soon and returns at once. Asking while a ring
// is under way makes it ring once more.
func (b *Bell) Ask(queue string) {
	select {
	case b.asked[queue] <- struct{}{}:
	default:
	}
}

// Sweep asks for a sweep: those who ask within the same interval ask for the
// same one.
func (b *Bell) Sweep(ctx context.Context) error { return b.client.Sweep(ctx, time.Now()) }

// ringPause is how long the bell rests after a ring. Who asks meanwhile is
// rung for together: rings without a rest would keep Postgres busy with little
// else while webhooks come in a flood.
const ringPause = 10 * time.Millisecond

// Run rings what is asked for until the context ends.
func (b *Bell) Run(ctx context.Context) {
	done := make(chan struct{})
	for queue, asked := range b.asked {
		go func() {
			defer func() { done <- struct{}{} }()
			rest := time.NewTimer(0)
			defer rest.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-rest.C:
				}
				select {
				case <-ctx.Done():
					return
				case <-asked:
				}
				if _, err := b.Ring(ctx, queue); err != nil && ctx.Err() == nil {
					b.log.Warn("the sweep will ring instead", "queue", queue, "error", err)
				}
				rest.Reset(ringPause)
			}
		}()
	}
	for range b.asked {
		<-done
	}
}

// ringTimeout bounds one ring: a Postgres or Redis that does not answer must
// not keep the bell from the rings that follow.
const ringTimeout = 10 * time.Second

// Ring rings a queue's waiting rows up to its bound and returns how many it
// rang.
func (b *Bell) Ring(ctx context.Context, queue string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, ringTimeout)
	defer cancel()
	var rung []queries.WorkRingNextRow
	err := pgx.BeginFunc(ctx, b.db, func(tx pgx.Tx) error {
		q := queries.New(tx)
		// A ring that a crash of Postgres forgets is rung again; waiting for
		// the disk would only delay it.
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = off"); err != nil {
			return err
		}
		if err := q.WorkLockQueue(ctx, queue); err != nil {
			return err
		}
		var err error
		rung, err = q.WorkRingNext(ctx, b.bounds[queue], tasks.KindsOf(queue))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("mark rows of queue %s as rung: %w", queue, err)
	}
	for i, r := range rung {
		delay := time.Duration(r.DelaySeconds * float64(time.Second))
		if err := b.client.Ring(ctx, tasks.Task{Kind: r.Kind, Subject: r.SubjectID}, r.RingID, delay); err != nil {
			return i, err
		}
	}
	return len(rung), nil
}
