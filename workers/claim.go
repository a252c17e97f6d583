package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// claim is a worker's claim on one work row.
type claim struct {
	task      tasks.Task
	epoch     int64
	requested int64
	pipeline  uuid.UUID // the subject's; zero if the subject is gone
	attempt   int
	age       time.Duration // since the work was requested
	log       *slog.Logger
}

// work claims a task's row, runs the handler while it renews the lease, and
// settles the row by the handler's error. If it claims no row, there is nothing
// to do.
func (w *Workers) work(ctx context.Context, h handler, t tasks.Task) error {
	log := w.log.With("task", t.Kind, "subject", t.Subject)
	policy, _ := tasks.PolicyOf(t.Kind)
	row, err := w.q.WorkClaim(ctx, queries.WorkClaimParams{
		LeaseSeconds: w.cfg.Lease.Seconds(), Kind: t.Kind, SubjectID: t.Subject, Queue: policy.Queue, Worker: w.name, Prompt: policy.Prompt,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		log.Debug("nothing to claim")
		return nil
	}
	if err != nil {
		return fmt.Errorf("claim %s %s: %w", t.Kind, t.Subject, err)
	}
	c := &claim{
		task: t, epoch: row.Epoch, requested: row.Requested, pipeline: row.PipelineID, attempt: int(row.Attempt),
		age: time.Duration(row.AgeSeconds * float64(time.Second)),
		log: log.With("epoch", row.Epoch, "attempt", row.Attempt),
	}
	// The claimed row gave its ring to another.
	w.deps.Bell.AskSoon()
	c.log.Debug("claimed")
	defer w.active.begin(t)()

	claimed := time.Now()
	held, stop := w.hold(ctx, c)
	if c.attempt > policy.Attempts+1 {
		// Every claim so far ended without an error: the worker died each time.
		err = troy.Errorf(troy.Conflict, "its worker stopped %d times before the work was done; the last cause: %s", c.attempt-1, row.Cause)
	} else {
		err = run(held, h, c)
	}
	lost := held.Err() != nil
	stop()
	outcome, err := w.settle(ctx, h, c, policy, err, lost)
	w.deps.Metrics.Task(t.Kind, outcome, time.Since(claimed))
	if lost && !w.stopping.Load() && outcome != "done" {
		w.deps.Metrics.ClaimLost(t.Kind)
	}
	return err
}

// run calls the handler. A panic is an error like any other: it counts as an
// attempt and is logged, and the process continues.
func run(ctx context.Context, h handler, c *claim) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
			c.log.Error("the handler panicked", "panic", r)
		}
	}()
	return h.run(ctx, c)
}

// leaseMargin is the time before the lease's end at which the context of every
// outside call ends, so that no call acts for a claim that another worker may
// hold.
const leaseMargin = time.Second

// hold renews the lease until stop is called. Its context ends when the claim
// is lost or the lease could not be renewed in time.
func (w *Workers) hold(ctx context.Context, c *claim) (held context.Context, stop func()) {
	held, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		beat := time.NewTicker(w.cfg.Lease / 4)
		defer beat.Stop()
		until := time.NewTimer(w.cfg.Lease - leaseMargin)
		defer until.Stop()
		for {
			select {
			case <-held.Done():
				return
			case <-until.C:
				c.log.Warn("the lease could not be renewed in time")
				cancel()
				return
			case <-beat.C:
			}
			asked := time.Now()
			beatCtx, done := context.WithTimeout(held, w.cfg.Lease/4)
			n, err := w.q.WorkHeartbeat(beatCtx, queries.WorkHeartbeatParams{
				LeaseSeconds: w.cfg.Lease.Seconds(), Kind: c.task.Kind, SubjectID: c.task.Subject, Epoch: c.epoch,
			})
			done()
			switch {
			case err != nil:
				c.log.Debug("heartbeat failed", "error", err)
			case n == 0:
				// The handler may have ended the claim itself with its last
				// transition.
				cancel()
				return
			default:
				until.Reset(time.Until(asked.Add(w.cfg.Lease - leaseMargin)))
			}
		}
	}()
	return held, func() { cancel(); <-ended }
}

// renew renews the lease. If the claim was lost it returns errHandedOver, which
// leaves the row to the next claim, as it is.
func (w *Workers) renew(ctx context.Context, c *claim) error {
	n, err := w.q.WorkHeartbeat(ctx, queries.WorkHeartbeatParams{
		LeaseSeconds: w.cfg.Lease.Seconds(), Kind: c.task.Kind, SubjectID: c.task.Subject, Epoch: c.epoch,
	})
	if err != nil {
		return fmt.Errorf("renew the lease: %w", err)
	}
	if n == 0 {
		return errHandedOver
	}
	return nil
}

// settleTimeout bounds the statements that follow a handler's return.
const settleTimeout = 5 * time.Second

// settle records the result in the work row and returns it as a word. It
// ignores the end of the context: a stop hands the lease back too.
func (w *Workers) settle(ctx context.Context, h handler, c *claim, policy tasks.Policy, err error, lost bool) (outcome string, _ error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	// Rows that the handler wrote, or that are due again, may need a ring.
	defer w.deps.Bell.AskAny()

	switch {
	case err == nil, errors.Is(err, errMoved):
		_, err := w.q.WorkFinish(ctx, queries.WorkFinishParams{
			Kind: c.task.Kind, SubjectID: c.task.Subject, Epoch: c.epoch, Requested: c.requested,
		})
		if err != nil {
			return "done", fmt.Errorf("finish %s %s: %w", c.task.Kind, c.task.Subject, err)
		}
		c.log.Debug("done")
		return "done", nil
	case errors.Is(err, errHandedOver):
		return "done", nil
	case w.stopping.Load() && lost:
		_, err := w.q.WorkRelease(ctx, queries.WorkReleaseParams{Kind: c.task.Kind, SubjectID: c.task.Subject, Epoch: c.epoch})
		if err != nil {
			return "handed_back", fmt.Errorf("hand back %s %s: %w", c.task.Kind, c.task.Subject, err)
		}
		c.log.Info("handed back")
		if _, err := w.deps.Bell.Ring(ctx, policy.Queue); err != nil {
			c.log.Debug("the sweep will ring instead", "error", err)
		}
		return "handed_back", nil
	}

	v := judge(err, policy, c.attempt, c.age)
	if v.giveUp {
		c.log.Warn("given up", "cause", v.cause)
		err := h.giveUp(ctx, c, v.cause)
		if errors.Is(err, errHandedOver) {
			return "given_up", nil
		}
		if err == nil || errors.Is(err, errMoved) {
			_, err = w.q.WorkFinish(ctx, queries.WorkFinishParams{
				Kind: c.task.Kind, SubjectID: c.task.Subject, Epoch: c.epoch, Requested: c.requested,
			})
			return "given_up", err
		}
		// Giving up can fail too, and is then retried.
		v = verdict{delay: policy.MaxDelay / 4, failed: true, cause: sentence(err)}
	}
	outcome = "waits"
	if v.failed {
		outcome = "again"
	}
	return outcome, w.again(ctx, c, v)
}

// again makes the row due again. After a failed attempt asynq retries the same
// task, and the row keeps its ring.
func (w *Workers) again(ctx context.Context, c *claim, v verdict) error {
	var ring *uuid.UUID
	if v.failed {
		if text, ok := asynq.GetTaskID(ctx); ok {
			if id, err := uuid.Parse(text); err == nil {
				ring = &id
			}
		}
	}
	_, err := w.q.WorkAgain(ctx, queries.WorkAgainParams{
		Cause: v.cause, Failed: v.failed, Keep: v.keep, Fresh: v.fresh, Requested: c.requested, DelaySeconds: v.delay.Seconds(),
		RingID: ring, Kind: c.task.Kind, SubjectID: c.task.Subject, Epoch: c.epoch,
	})
	if err != nil {
		return fmt.Errorf("postpone %s %s: %w", c.task.Kind, c.task.Subject, err)
	}
	if !v.failed {
		c.log.Debug("comes back", "delay", v.delay, "why", v.cause)
		return nil
	}
	c.log.Warn("the work will be retried", "delay", v.delay, "cause", v.cause)
	return &retryError{delay: v.delay, cause: v.cause}
}

// anewDelay is the wait before work that used up its attempts, but must not be
// dropped, starts again.
const anewDelay = time.Hour

// anew ends the claim of work that is given up for now: after the delay it
// comes back as new work with all of its attempts.
func (w *Workers) anew(ctx context.Context, c *claim, delay time.Duration, cause string) error {
	if err := w.again(ctx, c, verdict{delay: delay, fresh: true, cause: cause}); err != nil {
		return err
	}
	return errHandedOver
}

// handOver ends the claim by requesting another kind of work on the subject. If
// this work was requested again meanwhile, it runs again first.
func (w *Workers) handOver(ctx context.Context, c *claim, to tasks.Task, delay time.Duration) error {
	n, err := w.q.WorkHandOver(ctx, queries.WorkHandOverParams{
		Kind: c.task.Kind, SubjectID: c.task.Subject, Epoch: c.epoch, Requested: c.requested,
		ToKind: to.Kind, DelaySeconds: delay.Seconds(),
	})
	if err != nil {
		return fmt.Errorf("hand over to %s: %w", to.Kind, err)
	}
	if n == 0 {
		return errMoved
	}
	w.deps.Bell.Ask(tasks.QueueOf(to.Kind))
	return errHandedOver
}
