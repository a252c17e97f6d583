package queries

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Together returns queries whose batches are sent in one exchange: when the first
// result is read. All results must be read, in the order of the batches.
func (q *Queries) Together() *Queries { return New(newTogether(q.db)) }

func newTogether(db DBTX) *together { return &together{DBTX: db, all: &pgx.Batch{}} }

// together is a database that collects batches.
type together struct {
	DBTX
	ctx   context.Context // of the first batch
	all   *pgx.Batch
	parts int
	sent  pgx.BatchResults
}

func (t *together) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if t.ctx == nil {
		t.ctx = ctx
	}
	for _, q := range b.QueuedQueries {
		t.all.Queue(q.SQL, q.Arguments...)
	}
	t.parts++
	return &part{from: t}
}

func (t *together) results() pgx.BatchResults {
	if t.sent == nil {
		t.sent = t.DBTX.SendBatch(t.ctx, t.all)
	}
	return t.sent
}

// part is the results of one of the batches.
type part struct {
	from   *together
	closed bool
}

func (p *part) Exec() (pgconn.CommandTag, error) { return p.from.results().Exec() }
func (p *part) Query() (pgx.Rows, error)         { return p.from.results().Query() }
func (p *part) QueryRow() pgx.Row                { return p.from.results().QueryRow() }
func (p *part) Tx() pgx.Tx                       { return nil }

// Close closes all results with the last part.
func (p *part) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	if p.from.parts--; p.from.parts > 0 {
		return nil
	}
	return p.from.results().Close()
}

// Opening is a database whose first statement, a batch or a row, begins a
// transaction in the same exchange. The others belong to Tx.
type Opening struct {
	DBTX
	tx pgx.Tx
}

// Begin returns a database that begins a transaction in db.
func Begin(db DBTX) *Opening { return &Opening{DBTX: db} }

// Tx returns the transaction after the first statement. If that failed, it has to
// be rolled back all the same.
func (o *Opening) Tx() pgx.Tx { return o.tx }

// SendBatch begins the transaction and sends the batch.
func (o *Opening) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	all := &pgx.Batch{}
	all.BeginTx(pgx.TxOptions{})
	for _, q := range b.QueuedQueries {
		all.Queue(q.SQL, q.Arguments...)
	}
	answers := o.DBTX.SendBatch(ctx, all)
	o.tx = answers.Tx()
	_, _ = answers.Exec() // an error is the next result's too
	return answers
}

// QueryRow begins the transaction and sends the statement.
func (o *Opening) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	one := &pgx.Batch{}
	one.Queue(sql, args...)
	return openingRow{o.SendBatch(ctx, one)}
}

type openingRow struct{ answers pgx.BatchResults }

func (r openingRow) Scan(dest ...any) (err error) {
	defer closeBatch(r.answers, &err)
	return r.answers.QueryRow().Scan(dest...)
}
