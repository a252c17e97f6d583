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
// It takes the statement itself, not a function around it. So it is sent with
// the lock, in one round trip, and errors that only say how a claim ends, like
// errMoved, never roll back the transition.
func move[P any](ctx context.Context, w *Workers, pipeline uuid.UUID, statement func(*queries.Queries, context.Context, P) (uuid.UUID, error), params P) error {
	_, err := queries.Locked(ctx, w.deps.DB, pipeline, statement, params)
	if errors.Is(err, pgx.ErrNoRows) {
		return errMoved
	}
	return ofDatabase(err)
}
