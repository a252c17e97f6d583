package workers

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

const (
	// sweepMissing is the time without a sweep after which the tick calls it
	// directly: Redis or asynq does not deliver it.
	sweepMissing = 10 * time.Second
	// DeliveriesKept is how long a delivery's id is kept.
	DeliveriesKept = 30 * 24 * time.Hour
)

// tick requests a sweep every interval until the context ends.
func (w *Workers) tick(ctx context.Context) {
	ticker := time.NewTicker(tasks.SweepInterval)
	defer ticker.Stop()
	for {
		if err := w.tickOnce(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("sweep", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (w *Workers) tickOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepMissing)
	defer cancel()
	asked := w.deps.Client.Sweep(ctx, time.Now())
	bell, err := w.q.BellGet(ctx)
	if err != nil {
		return fmt.Errorf("read when the last sweep was: %w", err)
	}
	if bell.SweptSecondsAgo < sweepMissing.Seconds() {
		return nil
	}
	if asked != nil {
		w.log.Warn("sweeping without Redis", "error", asked)
	}
	return w.sweep(ctx)
}

// sweep finds unclaimed rows and rings them: rows whose lease expired, rows
// whose task is no longer in Redis, and rows that were never rung. Its cost
// depends on the number of due rows, not of all rows.
func (w *Workers) sweep(ctx context.Context) error {
	if err := w.noticeNewRedis(ctx); err != nil {
		// Expired leases are taken back all the same.
		w.log.Warn("Redis does not answer", "error", err)
	}
	expired, err := w.q.WorkExpire(ctx)
	if err != nil {
		return fmt.Errorf("take back leases: %w", err)
	}
	if expired > 0 {
		w.log.Info("took back expired leases", "rows", expired)
	}
	if err := w.lookAtOverdue(ctx); err != nil {
		return err
	}
	waiting, err := w.deps.Bell.ToRing(ctx)
	if err != nil {
		return err
	}
	for _, queue := range waiting {
		if _, err := w.deps.Bell.Ring(ctx, queue); err != nil {
			return err
		}
	}
	if err := w.q.BellSwept(ctx); err != nil {
		return fmt.Errorf("record the sweep: %w", err)
	}
	// This comes after the sweep is recorded, so that a slow turn delays no
	// ring.
	if err := w.reconcile(ctx); err != nil {
		w.log.Warn("reconcile", "error", err)
	}
	return nil
}

// noticeNewRedis compares the generation of rings in Redis with the database's.
// If it differs or is missing, Redis was emptied or replaced: every rung row
// waits for a ring again.
func (w *Workers) noticeNewRedis(ctx context.Context) error {
	return pgx.BeginFunc(ctx, w.deps.DB, func(tx pgx.Tx) error {
		q := queries.New(tx)
		if err := q.BellLock(ctx); err != nil {
			return fmt.Errorf("wait for another sweep: %w", err)
		}
		held, err := w.deps.Client.Generation(ctx)
		if err != nil {
			return err
		}
		bell, err := q.BellGet(ctx)
		if err != nil {
			return fmt.Errorf("read the generation: %w", err)
		}
		if held == bell.Generation {
			return nil
		}
		next, err := q.BellNextGeneration(ctx)
		if err != nil {
			return fmt.Errorf("begin a generation: %w", err)
		}
		n, err := q.WorkForgetRings(ctx)
		if err != nil {
			return fmt.Errorf("forget the rings of another Redis: %w", err)
		}
		w.log.Info("Redis is new or was emptied; ringing again", "generation", next, "rows", n)
		return w.deps.Client.SetGeneration(ctx, next)
	})
}

// lookAtOverdue sorts the rung rows that no worker claimed in time: those whose
// task is still in the queue are checked later, the others wait for a ring.
func (w *Workers) lookAtOverdue(ctx context.Context) error {
	rows, err := w.q.WorkOverdue(ctx, tasks.Kinds())
	if err != nil {
		return fmt.Errorf("read the overdue rings: %w", err)
	}
	if len(rows) == 0 {
		return nil
	}
	var inLine, lost []uuid.UUID
	for _, r := range rows {
		if w.deps.Client.StandsInLine(tasks.QueueOf(r.Kind), r.RingID) {
			inLine = append(inLine, r.RingID)
		} else {
			lost = append(lost, r.RingID)
		}
	}
	if _, err := w.q.WorkLookLater(ctx, inLine); err != nil {
		return fmt.Errorf("postpone overdue rings: %w", err)
	}
	n, err := w.q.WorkUnring(ctx, lost)
	if err != nil {
		return fmt.Errorf("forget lost rings: %w", err)
	}
	if n > 0 {
		w.log.Info("rings were lost; ringing again", "rows", n)
	}
	return nil
}
