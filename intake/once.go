package intake

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// Request is a request that is carried out at most once: a token's
// Idempotency-Key and a digest of the request.
type Request struct {
	Token  uuid.UUID
	Key    string
	Digest []byte

	subject uuid.UUID // what it made or moved
}

type requestKey struct{}

// Once returns a context in which the next change belongs to the request. If
// the request was carried out before, the change returns *Repeated and changes
// nothing; while another connection carries it out, the change waits for that.
// A key that was used for another request is a Conflict. Keys are kept for a
// day.
func Once(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, requestKey{}, &r)
}

// Repeated means that a request was carried out before.
type Repeated struct {
	Subject uuid.UUID // the pipeline, deployment or token that it made or moved
}

func (r *Repeated) Error() string {
	return "the request was carried out before, on " + r.Subject.String()
}

// Unsure means that a change may or may not have been made: the connection to
// Postgres was lost after COMMIT was sent and before the answer arrived.
type Unsure struct{ err error }

func (u *Unsure) Error() string { return "COMMIT was sent but not answered: " + u.err.Error() }

func (u *Unsure) Unwrap() error { return u.err }

// remember records what the context's request made or moved.
func remember(ctx context.Context, subject uuid.UUID) {
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		r.subject = subject
	}
}

// transaction runs f in one transaction and records in it that the context's
// request was carried out.
func transaction(ctx context.Context, db *pgxpool.Pool, f func(pgx.Tx, *queries.Queries) error) error {
	r, once := ctx.Value(requestKey{}).(*Request)
	var tx pgx.Tx
	if once {
		begin := queries.Begin(db)
		_, err := queries.New(begin).RequestBegin(ctx, queries.RequestBeginParams{TokenID: r.Token, Key: r.Key, Digest: r.Digest})
		tx = begin.Tx()
		defer tx.Rollback(context.WithoutCancel(ctx))
		if err != nil {
			return r.refused(ctx, queries.New(tx), err)
		}
	} else {
		var err error
		if tx, err = db.Begin(ctx); err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx))
	}
	q := queries.New(tx)
	if err := f(tx, q); err != nil {
		return err
	}
	if once {
		if err := q.RequestDone(ctx, queries.RequestDoneParams{SubjectID: &r.subject, TokenID: r.Token, Key: r.Key}); err != nil {
			return fmt.Errorf("record the result of request %q: %w", r.Key, err)
		}
	}
	return commit(ctx, tx)
}

// Refused returns err, for a request that was refused before its transaction
// began. If the request was carried out before, it returns *Repeated instead:
// what the first one did may be the reason why this one is refused.
func (in *Intake) Refused(ctx context.Context, err error) error {
	return transaction(ctx, in.db, func(pgx.Tx, *queries.Queries) error { return err })
}

// commit ends a transaction. An error other than *Unsure means that nothing
// changed.
func commit(ctx context.Context, tx pgx.Tx) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// pgconn.SafeToRetry doesn't help here: if a connection breaks during
	// COMMIT, pgx reports it as closed, as if nothing had been sent.
	closed := tx.Conn().IsClosed()
	err := tx.Commit(ctx)
	if err == nil || closed || errors.Is(err, pgx.ErrTxCommitRollback) {
		return err
	}
	if _, refused := errors.AsType[*pgconn.PgError](err); refused {
		return err
	}
	return &Unsure{err}
}

// refused says why the request's key can't be taken, after RequestBegin returned
// err.
func (r *Request) refused(ctx context.Context, q *queries.Queries, err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "23503" {
		return troy.Errorf(troy.Unauthenticated, "the token was revoked")
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("take the key %q of a request: %w", r.Key, err)
	}
	before, err := q.RequestGet(ctx, r.Token, r.Key)
	if err != nil {
		return fmt.Errorf("read the request with the key %q: %w", r.Key, err)
	}
	if !bytes.Equal(before.Digest, r.Digest) || before.SubjectID == nil {
		return troy.Errorf(troy.Conflict, "the key was used for another request within the last day; use a new key for each request").At("Idempotency-Key")
	}
	return &Repeated{*before.SubjectID}
}
