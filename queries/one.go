package queries

import (
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
	both := &pgx.Batch{}
	both.Queue(pipelineLocks, pipeline)
	if _, err := transition(New(queued{batch: both}), ctx, params); err != nil {
		return id, err
	}
	answers := db.SendBatch(ctx, both)
	defer closeBatch(answers, &err)
	if _, err := answers.Exec(); err != nil {
		return id, err
	}
	err = answers.QueryRow().Scan(&id)
	return id, err
}

// LockedThen is Locked, and reads a row after the transition, in the same
// exchange.
func LockedThen[P, R any](ctx context.Context, db DBTX, pipeline uuid.UUID, transition func(*Queries, context.Context, P) (uuid.UUID, error), params P,
	read func(*Queries, context.Context, uuid.UUID) (R, error), id uuid.UUID,
) (row R, err error) {
	all := &pgx.Batch{}
	all.Queue(pipelineLocks, pipeline)
	queue := New(queued{batch: all})
	if _, err := transition(queue, ctx, params); err != nil {
		return row, err
	}
	if _, err := read(queue, ctx, id); err != nil {
		return row, err
	}
	answers := db.SendBatch(ctx, all)
	defer closeBatch(answers, &err)
	if _, err := answers.Exec(); err != nil {
		return row, err
	}
	var moved uuid.UUID
	if err := answers.QueryRow().Scan(&moved); err != nil {
		return row, err
	}
	return read(New(answered{answers: answers}), ctx, id)
}

// DeploymentMake is DeploymentCreate, and returns the deployment.
func (q *Queries) DeploymentMake(ctx context.Context, arg DeploymentCreateParams) (d Deployment, err error) {
	both := newTogether(q.db)
	created := New(both).DeploymentCreates(ctx, []DeploymentCreatesParams{arg})
	read := &pgx.Batch{}
	read.Queue(deploymentGet, arg.ID)
	answers := both.SendBatch(ctx, read)
	defer closeBatch(answers, &err)
	created.QueryRow(func(_ int, _ uuid.UUID, failed error) { err = failed })
	if err != nil {
		return d, err
	}
	return New(answered{answers: answers}).DeploymentGet(ctx, arg.ID)
}

// closeBatch ends a batch. An error of a statement ends the batch too, and Close
// returns it again, so it replaces err.
func closeBatch(answers pgx.BatchResults, err *error) {
	if failed := answers.Close(); failed != nil {
		*err = failed
	}
}

// queued is a database that adds a statement to a batch in place of running it.
type queued struct {
	DBTX
	batch *pgx.Batch
}

func (q queued) QueryRow(_ context.Context, sql string, args ...any) pgx.Row {
	q.batch.Queue(sql, args...)
	return noRow{}
}

// answered is a database that has the answer to a statement that was queued.
type answered struct {
	DBTX
	answers pgx.BatchResults
}

func (a answered) QueryRow(context.Context, string, ...any) pgx.Row { return a.answers.QueryRow() }

type noRow struct{}

func (noRow) Scan(...any) error { return nil }

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
