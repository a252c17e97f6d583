package queries

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Exchange collects statements and sends them at once. Outside of a transaction
// they are one of their own. The zero Exchange is empty.
type Exchange struct {
	batch pgx.Batch
	reads []func(pgx.BatchResults) error
}

// Answer is what a statement of an Exchange returned, once that is sent.
type Answer[R any] struct {
	Row R
	Err error
}

// Ask adds a statement to an exchange, or a batch of one. It runs after those
// that were added before: if they include PipelineLock, it sees everything that
// was committed before the lock was acquired.
func Ask[P, R any](e *Exchange, statement func(*Queries, context.Context, P) (R, error), params P) *Answer[R] {
	a := &Answer[R]{}
	_, _ = statement(New(queued{batch: &e.batch}), context.Background(), params) // only adds it
	e.reads = append(e.reads, func(answers pgx.BatchResults) error {
		a.Row, a.Err = statement(New(answered{answers: answers}), context.Background(), params)
		return a.Err
	})
	return a
}

// Send sends the statements and reads their answers. It returns the first error,
// which is also that of all statements after it, except pgx.ErrNoRows: that stays
// with its answer.
func (e *Exchange) Send(ctx context.Context, db DBTX) (err error) {
	answers := db.SendBatch(ctx, &e.batch)
	defer closeBatch(answers, &err)
	for _, read := range e.reads {
		if failed := read(answers); failed != nil && !errors.Is(failed, pgx.ErrNoRows) {
			return failed
		}
	}
	return nil
}

// errQueued ends a statement that is only added to a batch.
var errQueued = errors.New("the statement is queued")

// queued is a database that adds a statement to a batch in place of running it.
type queued struct {
	DBTX
	batch *pgx.Batch
}

func (q queued) QueryRow(_ context.Context, sql string, args ...any) pgx.Row {
	q.batch.Queue(sql, args...)
	return noRow{}
}

func (q queued) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	q.batch.Queue(sql, args...)
	return nil, errQueued
}

func (q queued) SendBatch(_ context.Context, b *pgx.Batch) pgx.BatchResults {
	for _, one := range b.QueuedQueries {
		q.batch.Queue(one.SQL, one.Arguments...)
	}
	return noResults{}
}

// answered is a database that has the answer to a statement that was queued.
type answered struct {
	DBTX
	answers pgx.BatchResults
}

func (a answered) QueryRow(context.Context, string, ...any) pgx.Row { return a.answers.QueryRow() }

func (a answered) Query(context.Context, string, ...any) (pgx.Rows, error) { return a.answers.Query() }

func (a answered) SendBatch(context.Context, *pgx.Batch) pgx.BatchResults {
	return answersOfOthers{a.answers}
}

// answersOfOthers are answers that stay open for the statements that follow.
type answersOfOthers struct{ pgx.BatchResults }

func (answersOfOthers) Close() error { return nil }

// noResults are those of a batch that is only added to another.
type noResults struct{ pgx.BatchResults }

func (noResults) QueryRow() pgx.Row { return noRow{} }
func (noResults) Close() error      { return nil }

type noRow struct{}

func (noRow) Scan(...any) error { return nil }
