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

// NewPipeline is the input of CreatePipeline.
type NewPipeline struct {
	Name       string
	Slug       string // derived from the name when empty
	AppID      string // empty: no app
	Repository *Repository
	Build      []byte // the build settings that are not the defaults, as in Configuration; nil for none
	Provision  bool   // requests provisioning at once
}

// CreatePipeline makes a pipeline. It returns Conflict for a requested slug
// that is taken, and for a second pipeline of an app; a slug that it derives
// from the name gets a number.
func (in *Intake) CreatePipeline(ctx context.Context, n NewPipeline, actor string) (queries.Pipeline, error) {
	if err := n.check(); err != nil {
		return queries.Pipeline{}, err
	}
	var p queries.Pipeline
	err := in.commit(ctx, func(tx pgx.Tx, q *queries.Queries) error {
		if n.AppID != "" {
			// Concurrent events of the app wait, so that two don't make one
			// pipeline each.
			if _, err := q.AppLock(ctx, n.AppID); err != nil {
				return err
			}
			p, err := q.PipelineGetByApp(ctx, n.AppID)
			if err == nil {
				return troy.Errorf(troy.Conflict, "the app %s already has the pipeline %s, which is %s", n.AppID, p.Slug, p.Status).At("app_id")
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

// create makes the pipeline under the first free slug.
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
	if err := in.protectNew(ctx, q, id); err != nil {
		return queries.Pipeline{}, err
	}
	if n.Build != nil {
		if err := in.configureNew(ctx, q, id, Configuration{Build: n.Build}); err != nil {
			return queries.Pipeline{}, err
		}
	}
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

// configureNew sets the build settings of a pipeline before its first build.
func (in *Intake) configureNew(ctx context.Context, q *queries.Queries, id uuid.UUID, c Configuration) error {
	p, err := q.PipelineGet(ctx, id)
	if err != nil {
		return err
	}
	params, err := c.apply(p, in.cfg.BuildLimits)
	if err != nil {
		return err
	}
	return q.PipelineConfigure(ctx, params)
}

// catchUp requests a check of the pipeline's branch now and then regularly: the
// commit at its head was pushed before Troy could get its webhook.
func catchUp(ctx context.Context, q *queries.Queries, pipeline uuid.UUID) error {
	return q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeCatchUp, SubjectID: pipeline})
}

// insert tries the slugs in turn, each in a savepoint, since a refused
// statement would abort the whole transaction.
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
			return troy.Errorf(troy.Conflict, "every slug made from the name is taken; choose one").At("slug")
		}
	}
}

// slugRest is how long a deleted pipeline's slug is not given to an app
// automatically: links, cookies and cached pages of the previous site would
// lead to the app's. An admin may request it by name.
const slugRest = 7 * 24 * time.Hour

func slugRests(ctx context.Context, tx pgx.Tx, args queries.PipelineCreateParams) (bool, error) {
	if args.AppID == nil {
		return false, nil
	}
	rests, err := queries.New(tx).SlugFreedLately(ctx, args.Slug, slugRest.Seconds())
	if err != nil {
		return false, fmt.Errorf("check when the slug %s became free: %w", args.Slug, err)
	}
	return rests, nil
}

const (
	countedCandidates = 20 // "blog", "blog-2" … "blog-20"
	mostCandidates    = 40
)

// candidate returns the n-th slug to try for a name. After the numbered ones
// they are random: a thousand apps of one name must not try a thousand slugs
// each.
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

// RequestProvision requests provisioning of a new pipeline, or of one that is
// Failed to Provision.
func (in *Intake) RequestProvision(ctx context.Context, id uuid.UUID, actor string) (queries.Pipeline, error) {
	return in.change(ctx, id, func(q *queries.Queries, _ queries.Pipeline) error {
		_, err := q.PipelineRequestProvision(ctx, queries.PipelineRequestProvisionParams{ID: id, Actor: actor})
		return guarded(ctx, q, id, Provision, err)
	})
}

// guarded converts the error of a guarded statement.
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
