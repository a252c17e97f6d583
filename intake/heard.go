package intake

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/internal/mutant"
	"github.com/troy-iaas/troy/queries"
)

// hear takes note of an outside event, in the transaction of what it does. It
// reports false for one that came before.
func (in *Intake) hear(ctx context.Context, q *queries.Queries, d queries.DeliveryRecordParams) (bool, error) {
	if mutant.On(mutant.EarlyEvent) {
		q = queries.New(in.db)
		defer time.Sleep(200 * time.Millisecond)
	}
	_, err := q.DeliveryRecord(ctx, d)
	if errors.Is(err, pgx.ErrNoRows) {
		return mutant.On(mutant.DedupeOff), nil
	}
	return err == nil, err
}
