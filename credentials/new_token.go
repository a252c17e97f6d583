package credentials

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// NewToken is a token as people ask for it.
type NewToken struct {
	Name      string
	Role      Role
	Pipelines []string // ids or slugs; nil means all
	Expires   string   // see ParseExpiry
}

// Resolve finds the pipelines and the time that n names. Its errors are Invalid
// at the field.
func (n NewToken) Resolve(ctx context.Context, db queries.DBTX, now time.Time, by string) (Token, error) {
	t := Token{Name: n.Name, Role: n.Role, CreatedBy: by}
	var err error
	if t.Expires, err = ParseExpiry(n.Expires, now); err != nil {
		if e, ok := errors.AsType[*troy.Error](err); ok {
			return t, e.At("expires")
		}
		return t, err
	}
	if n.Pipelines != nil {
		t.Pipelines = []uuid.UUID{}
	}
	for _, ref := range n.Pipelines {
		p, err := findPipeline(ctx, queries.New(db), ref)
		if errors.Is(err, pgx.ErrNoRows) {
			return t, troy.Errorf(troy.Invalid, "pipeline not found: %q", troy.Clip(ref)).At("pipelines")
		}
		if err != nil {
			return t, fmt.Errorf("find pipeline %q: %w", ref, err)
		}
		t.Pipelines = append(t.Pipelines, p.ID)
	}
	return t, nil
}

// findPipeline finds a pipeline by its id in the usual form, or by its slug.
func findPipeline(ctx context.Context, q *queries.Queries, ref string) (queries.Pipeline, error) {
	if id, err := uuid.Parse(ref); err == nil && len(ref) == 36 {
		p, err := q.PipelineGet(ctx, id)
		if !errors.Is(err, pgx.ErrNoRows) {
			return p, err
		}
	}
	if troy.CheckSlug(ref) != nil {
		return queries.Pipeline{}, pgx.ErrNoRows
	}
	return q.PipelineGetBySlug(ctx, ref)
}
