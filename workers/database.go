package workers

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/troy-iaas/troy/queries"
)

// databaseError wraps the error of a statement that Postgres did not answer:
// the connection broke, or there was none. It does not count against the work.
type databaseError struct{ err error }

func (e *databaseError) Error() string { return e.err.Error() }
func (e *databaseError) Unwrap() error { return e.err }

// ofDatabase marks an error of a statement that was not answered. It does not
// change errors that Postgres returned or that pgx derived from its answer.
func ofDatabase(err error) error {
	var said *pgconn.PgError
	switch {
	case err == nil, errors.Is(err, pgx.ErrNoRows), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &said) && (len(said.Code) < 3 || said.Code[:3] != "57P" && said.Code[:2] != "08"):
		// 57P: an operator stopped it; 08: connection exceptions
		// (www.postgresql.org/docs/current/errcodes-appendix.html).
		return err
	}
	var scan pgx.ScanArgError
	if errors.As(err, &scan) {
		return err
	}
	return &databaseError{err}
}

// marked is a database that marks the errors of unanswered statements.
type marked struct{ queries.DBTX }

func (m marked) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	tag, err := m.DBTX.Exec(ctx, sql, args...)
	return tag, ofDatabase(err)
}

func (m marked) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := m.DBTX.Query(ctx, sql, args...)
	return markedRows{rows}, ofDatabase(err)
}

func (m marked) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return markedRow{m.DBTX.QueryRow(ctx, sql, args...)}
}

type markedRows struct{ pgx.Rows }

func (r markedRows) Err() error             { return ofDatabase(r.Rows.Err()) }
func (r markedRows) Scan(dest ...any) error { return ofDatabase(r.Rows.Scan(dest...)) }

type markedRow struct{ pgx.Row }

func (r markedRow) Scan(dest ...any) error { return ofDatabase(r.Row.Scan(dest...)) }

func (m marked) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return markedBatch{m.DBTX.SendBatch(ctx, b)}
}

type markedBatch struct{ pgx.BatchResults }

func (b markedBatch) Exec() (pgconn.CommandTag, error) {
	tag, err := b.BatchResults.Exec()
	return tag, ofDatabase(err)
}

func (b markedBatch) Query() (pgx.Rows, error) {
	rows, err := b.BatchResults.Query()
	return markedRows{rows}, ofDatabase(err)
}

func (b markedBatch) QueryRow() pgx.Row { return markedRow{b.BatchResults.QueryRow()} }
func (b markedBatch) Close() error      { return ofDatabase(b.BatchResults.Close()) }
