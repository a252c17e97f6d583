package intake

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// sourceSNS is the source of build updates in deliveries.
const sourceSNS = "sns"

// BuildUpdate is a message about a build that runs elsewhere.
type BuildUpdate struct {
	ID   string // the message's; repeated when it is sent again
	Type string
	// Deployment is the id of the deployment being built; may be empty.
	Deployment string
	Words      string // the reported state
}

// BuildUpdated makes the poll of a build due at once. The poll's result is what
// counts, so updates may come late, twice, in any order or never. An update of
// a build that is not polled is recorded and changes nothing.
func (in *Intake) BuildUpdated(ctx context.Context, u BuildUpdate) (Outcome, error) {
	var out Outcome
	err := in.commit(ctx, func(_ pgx.Tx, q *queries.Queries) error {
		fresh, err := in.recordDelivery(ctx, q, queries.DeliveryRecordParams{Source: sourceSNS, ID: u.ID, Type: u.Type})
		if err == nil && !fresh {
			out = heardBefore()
			return nil
		}
		if err != nil {
			return err
		}
		if out, err = buildUpdated(ctx, q, u); err != nil {
			return err
		}
		return q.DeliverySettle(ctx, queries.DeliverySettleParams{
			Source: sourceSNS, ID: u.ID, Outcome: string(out.Result), Detail: out.Detail, PipelineID: out.PipelineID,
		})
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("accept SNS message %s: %w", troy.Clip(u.ID), err)
	}
	if out.Result == Accepted {
		in.bell.Ask(tasks.QueueQuick)
	}
	return out, nil
}

func buildUpdated(ctx context.Context, q *queries.Queries, u BuildUpdate) (Outcome, error) {
	if u.Deployment == "" {
		return ignored(nil, "%s", u.Words), nil
	}
	id, err := uuid.Parse(u.Deployment)
	if err != nil {
		return ignored(nil, "%s: %q is not a deployment id", u.Words, troy.Clip(u.Deployment)), nil //nolint:nilerr // recorded, and nothing more
	}
	d, err := q.DeploymentGet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return ignored(nil, "%s: deployment not found: %s", u.Words, id), nil
	}
	if err != nil {
		return Outcome{}, err
	}
	if d.State != troy.Building {
		return ignored(&d.PipelineID, "%s: deployment %d is %s", u.Words, d.Number, d.State), nil
	}
	n, err := q.WorkSooner(ctx, tasks.TypePollBuild, id)
	if err != nil {
		return Outcome{}, err
	}
	if n == 0 {
		return ignored(&d.PipelineID, "%s: the build of deployment %d is not polled yet", u.Words, d.Number), nil
	}
	return Outcome{Result: Accepted, Detail: fmt.Sprintf("%s: the build of deployment %d is polled now", u.Words, d.Number), PipelineID: &d.PipelineID}, nil
}
