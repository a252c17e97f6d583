package queries

import (
	"cmp"
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// WorkRing runs WorkLockQueue and WorkRingNext for each queue, in one transaction
// of their own. All are sent at once; WorkRingNext still sees what was committed
// before its turn. The queues must be sorted, so that all processes lock them in
// the same order.
func (q *Queries) WorkRing(ctx context.Context, queues ...WorkRingNextParams) (rung []WorkRingNextRow, err error) {
	all := &pgx.Batch{}
	for _, arg := range queues {
		all.Queue(workLockQueue, arg.Queue)
		all.Queue(workRingNext, arg.Queue, arg.Bound, arg.Kinds)
	}
	answers := q.db.SendBatch(ctx, all)
	defer closeBatch(answers, &err)
	for range queues {
		if _, err := answers.Exec(); err != nil {
			return nil, err
		}
		rows, err := answers.Query()
		if err != nil {
			return nil, err
		}
		some, err := pgx.CollectRows(rows, pgx.RowToStructByPos[WorkRingNextRow])
		if err != nil {
			return nil, err
		}
		rung = append(rung, some...)
	}
	return rung, nil
}

// Locked runs a transition of a pipeline behind the pipeline's lock, in one
// transaction of their own. Both are sent at once; the transition still sees what
// was committed before the lock was acquired.
func Locked[P any](ctx context.Context, db DBTX, pipeline uuid.UUID, transition func(*Queries, context.Context, P) (uuid.UUID, error), params P) (id uuid.UUID, err error) {
	var e Exchange
	Ask(&e, (*Queries).PipelineLock, pipeline)
	moved := Ask(&e, transition, params)
	if err := e.Send(ctx, db); err != nil {
		return id, err
	}
	return moved.Row, moved.Err
}

// DeploymentMake is DeploymentCreate, and returns the deployment.
func (q *Queries) DeploymentMake(ctx context.Context, arg DeploymentCreateParams) (Deployment, error) {
	var e Exchange
	created, d := Ask(&e, (*Queries).DeploymentCreate, arg), Ask(&e, (*Queries).DeploymentGet, arg.ID)
	err := e.Send(ctx, q.db)
	return d.Row, cmp.Or(err, created.Err, d.Err)
}

// closeBatch ends a batch. An error of a statement ends the batch too, and Close
// returns it again, so it replaces err.
func closeBatch(answers pgx.BatchResults, err *error) {
	if failed := answers.Close(); failed != nil {
		*err = failed
	}
}

// Bulk statements are batches. These functions run them for a single row.

// DeploymentCreateParams are the parameters of DeploymentCreate.
type DeploymentCreateParams = DeploymentCreatesParams

// DeploymentCreate is DeploymentCreates for one deployment.
func (q *Queries) DeploymentCreate(ctx context.Context, arg DeploymentCreateParams) (id uuid.UUID, err error) {
	q.DeploymentCreates(ctx, []DeploymentCreatesParams{arg}).QueryRow(func(_ int, made uuid.UUID, failed error) { id, err = made, failed })
	return id, err
}

// PipelineLock is PipelineLocks for one pipeline.
func (q *Queries) PipelineLock(ctx context.Context, id uuid.UUID) (p Pipeline, err error) {
	q.PipelineLocks(ctx, []uuid.UUID{id}).QueryRow(func(_ int, locked Pipeline, failed error) { p, err = locked, failed })
	return p, err
}

// DeliverySettleParams are the parameters of DeliverySettle.
type DeliverySettleParams = DeliverySettlesParams

// DeliverySettle is DeliverySettles for one delivery.
func (q *Queries) DeliverySettle(ctx context.Context, arg DeliverySettleParams) (err error) {
	q.DeliverySettles(ctx, []DeliverySettlesParams{arg}).Exec(func(_ int, failed error) { err = failed })
	return err
}
