package intake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// maxTrusts is how many trust rules a pipeline may have.
const maxTrusts = 20

// AddTrust adds a trust rule to its pipeline. It returns Conflict if the
// pipeline has the rule or too many.
func (in *Intake) AddTrust(ctx context.Context, t queries.TrustAddParams) (queries.Trust, error) {
	var added queries.Trust
	err := in.locked(ctx, t.PipelineID, func(q *queries.Queries, p queries.Pipeline) error {
		remember(ctx, t.ID)
		if err := notInDeletion(p, ChangingTrusts); err != nil {
			return err
		}
		list, err := q.TrustList(ctx, p.ID)
		if err != nil {
			return err
		}
		if len(list) >= maxTrusts {
			return troy.Errorf(troy.Conflict, "the pipeline has %d trust rules; no more are allowed", len(list))
		}
		added, err = q.TrustAdd(ctx, t)
		if errors.Is(err, pgx.ErrNoRows) {
			return troy.Errorf(troy.Conflict, "the pipeline has this trust rule already")
		}
		if err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: TrustAdd, Subject: added.ID.String(), Detail: describeTrust(added), Actor: t.CreatedBy, Pipeline: &p})
	})
	if err != nil {
		return added, fmt.Errorf("add a trust rule to pipeline %s: %w", t.PipelineID, err)
	}
	return added, nil
}

// RemoveTrust removes a trust rule. The tokens that jobs got by it end at once.
func (in *Intake) RemoveTrust(ctx context.Context, pipeline, id uuid.UUID, actor string) error {
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		removed, err := q.TrustRemove(ctx, id, p.ID)
		if errors.Is(err, pgx.ErrNoRows) {
			return troy.Errorf(troy.NotFound, "the pipeline has no trust rule %s", id)
		}
		if err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: TrustRemove, Subject: id.String(), Detail: describeTrust(removed), Actor: actor, Pipeline: &p})
	})
	if err != nil {
		return fmt.Errorf("remove a trust rule of pipeline %s: %w", pipeline, err)
	}
	return nil
}

// describeTrust says what a rule accepts.
func describeTrust(t queries.Trust) string {
	parts := []string{t.Provider, "repository " + t.RepositoryID, "owner " + t.OwnerID}
	for _, part := range []struct{ name, value string }{{"ref", t.Ref}, {"environment", t.Environment}, {"workflow", t.Workflow}} {
		if part.value != "" {
			parts = append(parts, part.name+" "+part.value)
		}
	}
	if t.PreviewsOnly {
		parts = append(parts, "previews only")
	}
	return strings.Join(parts, ", ")
}

// ExchangeToken stores the token of a job of CI, for which the job's own token
// is used up. It returns Unauthenticated if that was used before, and Forbidden
// if the trust rule was removed meanwhile.
func (in *Intake) ExchangeToken(ctx context.Context, p queries.Pipeline, t queries.TokenCreateParams, used []byte, until time.Time) (queries.Token, error) {
	var row queries.Token
	err := transaction(ctx, in.db, func(_ pgx.Tx, q *queries.Queries) error {
		_, err := q.TrustLock(ctx, *t.TrustID)
		if errors.Is(err, pgx.ErrNoRows) {
			return troy.Errorf(troy.Forbidden, "the trust rule was removed")
		}
		if err != nil {
			return err
		}
		n, err := q.SignInUseUntil(ctx, used, until)
		if err != nil {
			return err
		}
		if n == 0 {
			return troy.Errorf(troy.Unauthenticated, "the token was exchanged before (its jti); each is good for one exchange, so get another")
		}
		if row, err = q.TokenCreate(ctx, t); err != nil {
			return err
		}
		detail := describeToken(row)
		if t.PreviewsOnly {
			detail += ", previews only"
		}
		return Audit(ctx, q, Change{Action: TokenExchange, Subject: t.Name, Detail: detail, Pipeline: &p})
	})
	return row, err
}
