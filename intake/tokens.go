package intake

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// CreateToken stores a new token.
func (in *Intake) CreateToken(ctx context.Context, t queries.TokenCreateParams) (queries.Token, error) {
	var row queries.Token
	err := transaction(ctx, in.db, func(_ pgx.Tx, q *queries.Queries) (err error) {
		remember(ctx, t.ID)
		if row, err = q.TokenCreate(ctx, t); err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: TokenCreate, Subject: t.Name, Detail: describeToken(row), Actor: t.CreatedBy})
	})
	return row, err
}

// RevokeToken deletes a token and returns its name. If there is none, the error
// is pgx.ErrNoRows.
func (in *Intake) RevokeToken(ctx context.Context, id uuid.UUID, actor string) (name string, err error) {
	err = transaction(ctx, in.db, func(_ pgx.Tx, q *queries.Queries) error {
		if name, err = q.TokenRevoke(ctx, id); err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: TokenRevoke, Subject: name, Detail: id.String(), Actor: actor})
	})
	return name, err
}

// describeToken says what a token may do, and until when.
func describeToken(t queries.Token) string {
	text := t.Role
	if t.Pipelines != nil {
		text += " of " + troy.Count(len(t.Pipelines), "pipeline", "pipelines")
	}
	if t.ExpiresAt == nil {
		return text + ", never expires"
	}
	return text + ", expires " + t.ExpiresAt.UTC().Format(time.RFC3339)
}
