package intake

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// sourceBuilds is the source of build requests in deliveries.
const sourceBuilds = "builds"

// BuildRequest requests a pipeline's build (docs/api.md, "Build requests").
type BuildRequest struct {
	ID       string `json:"id"`
	Pipeline string `json:"pipeline"` // its id or its slug
	Commit   string `json:"commit"`   // a full id; empty: the head of its branch
}

// ParseBuildRequest reads and checks the body of a build request. Errors are
// *troy.Error of kind Invalid with the invalid field.
func ParseBuildRequest(body []byte) (BuildRequest, error) {
	var r BuildRequest
	if err := DecodeJSON(bytes.NewReader(body), &r); err != nil {
		return BuildRequest{}, err
	}
	if err := troy.CheckText("id", r.ID, maxID); err != nil {
		return BuildRequest{}, err
	}
	if err := troy.CheckText("pipeline", r.Pipeline, maxID); err != nil {
		return BuildRequest{}, err
	}
	return r, checkCommit(r.Commit)
}

// BuildRequested deploys what a build request names, in one transaction.
// Repeating an id changes nothing. It returns NotFound if the pipeline does not
// exist, and Conflict if it cannot be built. It records neither, so that the
// same request can be sent again later.
func (in *Intake) BuildRequested(ctx context.Context, r BuildRequest) (Outcome, error) {
	actor := "build request " + r.ID
	var out Outcome
	err := in.commit(ctx, func(_ pgx.Tx, q *queries.Queries) error {
		fresh, err := in.recordDelivery(ctx, q, queries.DeliveryRecordParams{Source: sourceBuilds, ID: r.ID, Type: "build"})
		if err == nil && !fresh {
			out = Outcome{Result: Duplicate, Detail: "the request was accepted before"}
			return nil
		}
		if err != nil {
			return err
		}
		id, err := uuid.Parse(r.Pipeline)
		if err != nil {
			p, err := q.PipelineGetBySlug(ctx, r.Pipeline)
			if errors.Is(err, pgx.ErrNoRows) {
				return troy.Errorf(troy.NotFound, "pipeline not found: %s", troy.Clip(r.Pipeline)).At("pipeline")
			}
			if err != nil {
				return err
			}
			id = p.ID
		}
		p, err := lock(ctx, q, id)
		if err != nil {
			return err
		}
		d, err := deployCommit(ctx, q, p, r.Commit, "a build was requested", actor)
		if err != nil {
			return err
		}
		out = Outcome{Result: BuildStarted, Detail: fmt.Sprintf("deployment %d of the pipeline %s", d.Number, p.Slug), PipelineID: &p.ID}
		return q.DeliverySettle(ctx, queries.DeliverySettleParams{
			Source: sourceBuilds, ID: r.ID, Outcome: string(out.Result), Detail: out.Detail, PipelineID: out.PipelineID,
		})
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("accept build request %s: %w", r.ID, err)
	}
	return out, nil
}
