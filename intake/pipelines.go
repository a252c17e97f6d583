package intake

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// NewPipeline is what CreatePipeline makes.
type NewPipeline struct {
	Name       string
	Slug       string // made from the name when empty
	AppID      string // empty: of no app
	Repository *Repository
	Provision  bool // requests provisioning at once
}

// CreatePipeline makes a pipeline. A slug that is asked for and taken is a
// Conflict; one made from the name gets a number. A second pipeline of an app
// is a Conflict.
func (in *Intake) CreatePipeline(ctx context.Context, n NewPipeline, actor string) (queries.Pipeline, error) {
	if err := n.check(); err != nil {
		return queries.Pipeline{}, err
	}
	var p queries.Pipeline
	err := in.commit(ctx, func(tx pgx.Tx, q *queries.Queries) error {
		if n.AppID != "" {
			// Its events wait, so that the two don't make one pipeline each.
			if _, err := q.AppLock(ctx, n.AppID); err != nil {
				return err
			}
			p, err := q.PipelineGetByApp(ctx, n.AppID)
			if err == nil {
				return troy.Errorf(troy.Conflict, "the app %s has the pipeline %s already, which is %s", n.AppID, p.Slug, p.Status).At("app_id")
			}
			if !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
		}
		var err error
		p, err = in.create(ctx, tx, n, actor)
		return err
	})
	if err != nil {
		return queries.Pipeline{}, fmt.Errorf("create pipeline %q: %w", n.Name, err)
	}
	return p, nil
}

func (n NewPipeline) check() error {
	if err := troy.CheckText("name", n.Name, maxName); err != nil {
		return err
	}
	if n.Slug != "" {
		if err := troy.CheckSlug(n.Slug); err != nil {
			return err
		}
	}
	if n.AppID != "" {
		if err := troy.CheckText("app_id", n.AppID, maxID); err != nil {
			return err
		}
	}
	return n.Repository.check("repository.")
}

// create makes the pipeline under the first slug that is free.
func (in *Intake) create(ctx context.Context, tx pgx.Tx, n NewPipeline, actor string) (queries.Pipeline, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return queries.Pipeline{}, err
	}
	remember(ctx, id)
	args := queries.PipelineCreateParams{ID: id, Name: n.Name, AppID: optional(n.AppID), Actor: actor}
	if r := n.Repository; r != nil {
		args.RepositoryProvider, args.RepositoryFullName = &r.Provider, &r.FullName
		args.RepositoryBranch, args.RepositoryRoot = optional(r.Branch), optional(r.Root)
	}
	if err := in.insert(ctx, tx, n.Slug, args); err != nil {
		return queries.Pipeline{}, err
	}
	q := queries.New(tx)
	if n.Repository != nil {
		if err := catchUp(ctx, q, id); err != nil {
			return queries.Pipeline{}, err
		}
	}
	if n.Provision {
		if _, err := q.PipelineRequestProvision(ctx, queries.PipelineRequestProvisionParams{ID: id, Actor: actor}); err != nil {
			return queries.Pipeline{}, fmt.Errorf("request provisioning of %s: %w", id, err)
		}
	}
	return q.PipelineGet(ctx, id)
}

// catchUp asks for a look at the pipeline's branch, now and then for good: the
// commit at its head was pushed before Troy could hear of it.
func catchUp(ctx context.Context, q *queries.Queries, pipeline uuid.UUID) error {
	return q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeCatchUp, SubjectID: pipeline})
}

// insert tries the slugs in turn, each in a savepoint, since a refused
// statement would end the whole transaction.
func (in *Intake) insert(ctx context.Context, tx pgx.Tx, wanted string, args queries.PipelineCreateParams) error {
	for n := 1; ; n++ {
		args.Slug = wanted
		if wanted == "" {
			args.Slug = candidate(args.Name, n)
			if rests, err := slugRests(ctx, tx, args); err != nil {
				return err
			} else if rests && n < mostCandidates {
				continue
			}
		}
		args.Host = args.Slug + "." + in.cfg.SitesSuffix
		err := pgx.BeginFunc(ctx, tx, func(nested pgx.Tx) error {
			_, err := queries.New(nested).PipelineCreate(ctx, args)
			return err
		})
		if err == nil || !taken(err) {
			return err
		}
		if wanted != "" {
			return troy.Errorf(troy.Conflict, "the slug %q is taken; choose another", wanted).At("slug")
		}
		if n == mostCandidates {
			return troy.Errorf(troy.Conflict, "no slug made from the name is free; choose one").At("slug")
		}
	}
}

// slugRest is how long the slug of a deleted pipeline is not given to an app by
// itself: links, cookies and cached pages of the site before would be taken for
// those of the app's. An admin may ask for it by name.
const slugRest = 7 * 24 * time.Hour

func slugRests(ctx context.Context, tx pgx.Tx, args queries.PipelineCreateParams) (bool, error) {
	if args.AppID == nil {
		return false, nil
	}
	rests, err := queries.New(tx).SlugFreedLately(ctx, args.Slug, slugRest.Seconds())
	if err != nil {
		return false, fmt.Errorf("look up when the slug %s was free: %w", args.Slug, err)
	}
	return rests, nil
}

const (
	countedCandidates = 20 // "blog", "blog-2" … "blog-20"
	mostCandidates    = 40
)

// candidate is the n-th slug to try for a name. After the counted ones they
// are drawn: a thousand apps of one name must not try a thousand slugs each.
func candidate(name string, n int) string {
	slug := troy.SlugFrom(name)
	switch {
	case n == 1:
		return slug
	case n <= countedCandidates:
		return troy.SlugVariant(slug, n)
	}
	return troy.SlugVariant(slug, 1000+rand.IntN(1_000_000)) //nolint:gosec // a name, no secret
}

// taken reports whether a slug or its host belongs to another pipeline.
func taken(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "23505" && (pg.ConstraintName == "pipelines_slug_key" || pg.ConstraintName == "domains_pkey")
}

// RequestProvision asks for provisioning: of a new pipeline, or again of one
// that is Failed to Provision.
func (in *Intake) RequestProvision(ctx context.Context, id uuid.UUID, actor string) (queries.Pipeline, error) {
	return in.change(ctx, id, func(q *queries.Queries, _ queries.Pipeline) error {
		_, err := q.PipelineRequestProvision(ctx, queries.PipelineRequestProvisionParams{ID: id, Actor: actor})
		return guarded(ctx, q, id, Provision, err)
	})
}

// ScheduleDeletion asks for a pipeline's deletion, or again for one that is
// Failed to Delete.
func (in *Intake) ScheduleDeletion(ctx context.Context, id uuid.UUID, actor string) (queries.Pipeline, error) {
	return in.change(ctx, id, func(q *queries.Queries, _ queries.Pipeline) error {
		_, err := q.PipelineScheduleDeletion(ctx, queries.PipelineScheduleDeletionParams{ID: id, Actor: actor})
		return guarded(ctx, q, id, Delete, err)
	})
}

// guarded reads the error of a guarded statement.
func guarded(ctx context.Context, q *queries.Queries, id uuid.UUID, a Action, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return moved(ctx, q, id, a)
	}
	if err != nil {
		return fmt.Errorf("%s of pipeline %s: %w", a, id, err)
	}
	return nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
