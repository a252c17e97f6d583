package intake

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/queries"
)

// CreateToken writes a token down.
func (in *Intake) CreateToken(ctx context.Context, t queries.TokenCreateParams) (queries.Token, error) {
	var row queries.Token
	err := transaction(ctx, in.db, func(_ pgx.Tx, q *queries.Queries) (err error) {
		remember(ctx, t.ID)
		row, err = q.TokenCreate(ctx, t)
		return err
	})
	return row, err
}
