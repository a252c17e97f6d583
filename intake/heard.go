package intake

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/queries"
)

// hear takes note of an outside event, in the transaction of what it does. It
// reports false for one that came before.
func (in *Intake) hear(ctx context.Context, q *queries.Queries, d queries.DeliveryRecordParams) (bool, error) {
	_, err := q.DeliveryRecord(ctx, d)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
