package intake

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// DeploySource builds and deploys what was uploaded as a release, which has all
// of its files and is sealed. Repeating it returns the same deployment. It
// returns Conflict if the release was published or has expired.
func (in *Intake) DeploySource(ctx context.Context, pipeline, release uuid.UUID, actor string) (queries.Deployment, error) {
	var made queries.Deployment
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		before, err := q.SourceOfRelease(ctx, release)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if err == nil {
			made, err = deployment(ctx, q, p.ID, before.DeploymentID, "source")
			remember(ctx, before.DeploymentID)
			return err
		}
		r, err := q.ReleaseGet(ctx, release, p.ID)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return troy.Errorf(troy.NotFound, "release not found: %s; it may have expired", release).At("source")
		case err != nil:
			return err
		case r.FinalizedAt != nil:
			return troy.Errorf(troy.Conflict, "the release was finalized, so its files can't be built").At("source")
		case r.Expired || r.GivenUpAt != nil:
			return troy.Errorf(troy.Conflict, "the release expired at %s; upload the source again", stamp(r.ExpiresAt)).At("source")
		}
		if err := refuseLocked(p); err != nil {
			return err
		}
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		remember(ctx, id)
		_, err = q.DeploymentCreate(ctx, queries.DeploymentCreateParams{
			ID: id, TreeID: id, PipelineID: p.ID, Kind: troy.Automated, Message: r.Message, Cause: "a source was uploaded", Actor: actor,
		})
		if err := guarded(ctx, q, p.ID, Build, err); err != nil {
			return err
		}
		if err := q.SourceAdd(ctx, id, release); err != nil {
			return err
		}
		made, err = q.DeploymentGet(ctx, id)
		return err
	})
	if err != nil {
		return made, fmt.Errorf("deploy the source %s of pipeline %s: %w", release, pipeline, err)
	}
	return made, nil
}

// uploaded reports whether a deployment is built from an upload.
func uploaded(ctx context.Context, q *queries.Queries, deployment uuid.UUID) (bool, error) {
	_, err := q.SourceGet(ctx, deployment)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
