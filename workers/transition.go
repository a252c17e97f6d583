package workers

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/queries"
)

// move runs a transition of a pipeline behind the pipeline's lock. It returns
// errMoved if the statement returned no row: another worker or a request was
// faster.
//
// It takes the statement itself, not a function around it. So nothing can
// return an error between the statement and the commit, and errors that only
// say how a claim ends, like errMoved, never roll back the transition.
func move[P any](ctx context.Context, w *Workers, pipeline uuid.UUID, statement func(*queries.Queries, context.Context, P) (uuid.UUID, error), params P) error {
	err := pgx.BeginFunc(ctx, w.deps.DB, func(tx pgx.Tx) error {
		q := queries.New(tx)
		if _, err := q.PipelineLock(ctx, pipeline); err != nil {
			return err
		}
		_, err := statement(q, ctx, params)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return errMoved
	}
	return ofDatabase(err)
}
