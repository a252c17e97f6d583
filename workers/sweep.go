package workers

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

const (
	// sweepInterval is the time between two looks of a process for what the
	// sweep has to do, while work is outstanding, and between two sweeps of all
	// processes.
	sweepInterval = 2 * time.Second
	// idleInterval is the time between two looks while no work is outstanding.
	idleInterval = 10 * time.Second
	// sweepTime bounds a sweep.
	sweepTime = time.Minute
	// DeliveriesKept is how long a delivery's id is kept.
	DeliveriesKept = 30 * 24 * time.Hour
)

// look looks for what the sweep has to do until the context ends. A wake-up
// means that work is outstanding.
func (w *Workers) look(ctx context.Context, waiter *tasks.Waiter) {
	var next time.Time
	requested := false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-waiter.Woken():
			if soon := time.Now().Add(sweepInterval); soon.Before(next) {
				next = soon
				timer.Reset(sweepInterval)
			}
			continue
		case <-waiter.Sweeps():
			requested = true
		case <-timer.C:
		}
		pause, err := w.lookOnce(ctx, requested)
		if requested = err != nil && requested; err != nil && ctx.Err() == nil {
			w.log.Warn("sweep", "error", err)
		}
		next = time.Now().Add(pause)
		timer.Reset(pause)
	}
}

// lookOnce sweeps if there is something to do or a sweep was requested, and
// reconciles if it is time to. It returns how long to wait for the next look.
func (w *Workers) lookOnce(ctx context.Context, requested bool) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	found, err := w.q.BellLook(ctx, tasks.Kinds())
	if err != nil {
		return sweepInterval, fmt.Errorf("look for what the sweep has to do: %w", err)
	}
	if found.SetBack {
		n, err := w.q.WorkSetBack(ctx, w.cfg.Lease.Seconds())
		if err != nil {
			return sweepInterval, fmt.Errorf("move work to a clock that was set back: %w", err)
		}
		w.log.Warn("Postgres' clock was set back", "work", n)
		found.Due = true
	}
	if found.Due && !requested {
		// One process takes the turn.
		turn, err := w.q.BellSweep(ctx, (sweepInterval - sweepInterval/10).Seconds())
		if err != nil {
			return sweepInterval, fmt.Errorf("take the turn to sweep: %w", err)
		}
		requested = turn > 0
	}
	if requested {
		if err := w.sweep(ctx); err != nil {
			return sweepInterval, err
		}
	}
	interval := cmp.Or(w.cfg.Reconcile, reconcileInterval)
	if found.ReconciledSecondsAgo >= interval.Seconds() {
		// This comes after the sweep, so that a slow turn delays no ring.
		if err := w.reconcile(ctx); err != nil {
			w.log.Warn("reconcile", "error", err)
		}
	}
	if found.Due || found.Outstanding || requested {
		return min(sweepInterval, interval), nil
	}
	return min(w.idle, interval), nil
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
	_, err = w.deps.Bell.RingAny(ctx)
	return err
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
