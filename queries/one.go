package queries

import (
	"context"

	"github.com/google/uuid"
)

// Bulk statements are batches. These functions run them for a single row.

// DeploymentCreateParams are the parameters of DeploymentCreate.
type DeploymentCreateParams = DeploymentCreatesParams

// DeploymentCreate is DeploymentCreates for one deployment.
func (q *Queries) DeploymentCreate(ctx context.Context, arg DeploymentCreateParams) (id uuid.UUID, err error) {
	q.DeploymentCreates(ctx, []DeploymentCreatesParams{arg}).QueryRow(func(_ int, made uuid.UUID, failed error) { id, err = made, failed })
	return id, err
}

// PipelineLock is PipelineLocks for one pipeline.
func (q *Queries) PipelineLock(ctx context.Context, id uuid.UUID) (p Pipeline, err error) {
	q.PipelineLocks(ctx, []uuid.UUID{id}).QueryRow(func(_ int, locked Pipeline, failed error) { p, err = locked, failed })
	return p, err
}

// DeliverySettleParams are the parameters of DeliverySettle.
type DeliverySettleParams = DeliverySettlesParams

// DeliverySettle is DeliverySettles for one delivery.
func (q *Queries) DeliverySettle(ctx context.Context, arg DeliverySettleParams) (err error) {
	q.DeliverySettles(ctx, []DeliverySettlesParams{arg}).Exec(func(_ int, failed error) { err = failed })
	return err
}
