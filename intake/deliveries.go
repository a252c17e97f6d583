package intake

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/queries"
)

// recordDelivery records an outside event in the transaction of its effect. It
// returns false if the event was accepted before.
func (in *Intake) recordDelivery(ctx context.Context, q *queries.Queries, d queries.DeliveryRecordParams) (bool, error) {
	_, err := q.DeliveryRecord(ctx, d)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
