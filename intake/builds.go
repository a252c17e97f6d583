package intake

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

var commitForm = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// DeployCommit deploys a commit of the pipeline's repository; an empty commit
// means the head of its branch. A commit is a full id in lower-case hexadecimal
// digits.
func (in *Intake) DeployCommit(ctx context.Context, pipeline uuid.UUID, commit, actor string) (queries.Deployment, error) {
	if err := checkCommit(commit); err != nil {
		return queries.Deployment{}, err
	}
	var made queries.Deployment
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) (err error) {
		made, err = deployCommit(ctx, q, p, commit, "requested by hand", actor)
		return err
	})
	if err != nil {
		return queries.Deployment{}, fmt.Errorf("deploy pipeline %s: %w", pipeline, err)
	}
	return made, nil
}

// HasBuild reports whether a deployment is built from a commit.
func HasBuild(d queries.Deployment) bool {
	return d.Kind == troy.Automated || d.Kind == troy.Preview && (d.CommitSha != nil || d.Branch != nil)
}

func checkCommit(commit string) error {
	if commit != "" && !commitForm.MatchString(commit) {
		return troy.Errorf(troy.Invalid, "%q is not a full commit id (40 or 64 hexadecimal digits)", troy.Clip(commit)).At("commit")
	}
	return nil
}

// deployCommit makes a deployment of a locked pipeline.
func deployCommit(ctx context.Context, q *queries.Queries, p queries.Pipeline, commit, cause, actor string) (queries.Deployment, error) {
	if p.RepositoryFullName == nil {
		return queries.Deployment{}, troy.Errorf(troy.Conflict, "the pipeline %s has no repository; send a release, or a folder to build with troy deploy P --upload PATH", p.Slug)
	}
	if p.SourceProblem != "" {
		return queries.Deployment{}, troy.Errorf(troy.Conflict, "the pipeline %s cannot be built: %s", p.Slug, p.SourceProblem)
	}
	if err := refuseLocked(p); err != nil {
		return queries.Deployment{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return queries.Deployment{}, err
	}
	remember(ctx, id)
	if _, err := q.DeploymentCreate(ctx, queries.DeploymentCreateParams{
		ID: id, TreeID: id, PipelineID: p.ID, Kind: troy.Automated, Branch: p.RepositoryBranch, CommitSha: optional(commit), Cause: cause, Actor: actor,
	}); err != nil {
		return queries.Deployment{}, guarded(ctx, q, p.ID, Build, err)
	}
	return q.DeploymentGet(ctx, id)
}

// Retry repeats an ended deployment: it builds the commit of an automated one
// again, and publishes the files of another.
func (in *Intake) Retry(ctx context.Context, pipeline, id uuid.UUID, actor string) (queries.Deployment, error) {
	var made queries.Deployment
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := notInDeletion(p, Retrying); err != nil {
			return err
		}
		d, err := q.DeploymentGet(ctx, id)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && d.PipelineID != pipeline {
			return troy.Errorf(troy.NotFound, "the pipeline %s has no deployment %s", p.Slug, id)
		}
		if err == nil && d.Kind != troy.Preview { // a lock keeps only the site
			err = refuseLocked(p)
		}
		if err != nil {
			return err
		}
		const cause = "requested by hand"
		switch {
		case !d.State.Ended():
			return troy.Errorf(troy.Conflict, "deployment %d is %s; it has not ended yet", d.Number, d.State)
		case d.Kind == troy.Preview:
			made, err = in.retryPreview(ctx, q, p, d, actor)
			return err
		case d.Kind == troy.Automated:
			again, err := buildAgain(ctx, q, d, cause, actor)
			if err != nil {
				return guarded(ctx, q, p.ID, Retrying, err)
			}
			remember(ctx, again)
			made, err = q.DeploymentGet(ctx, again)
			return err
		case d.PrunedAt != nil || d.ManifestDigest == nil:
			return troy.Errorf(troy.Conflict, "the files of deployment %d were removed", d.Number)
		}
		made, err = repeat(ctx, q, d, d.Kind, cause, actor)
		return err
	})
	if err != nil {
		return queries.Deployment{}, fmt.Errorf("retry deployment %s of pipeline %s: %w", id, pipeline, err)
	}
	return made, nil
}
