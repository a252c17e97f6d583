package intake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

const (
	// maxHooks is how many deploy hooks a pipeline may have.
	maxHooks = 20
	// maxHookName is the maximum length of a hook's name, in characters.
	maxHookName = 100
	// maxHookTitle is that of a call's title. Longer ones are cut.
	maxHookTitle = 200
)

// AddHook adds a deploy hook to its pipeline. It returns Conflict if the
// pipeline has one of the name or too many.
func (in *Intake) AddHook(ctx context.Context, h queries.DeployHookAddParams) (queries.DeployHook, error) {
	var added queries.DeployHook
	if err := troy.CheckText("name", h.Name, maxHookName); err != nil {
		return added, err
	}
	if h.Branch != "" {
		if err := troy.CheckBranch(h.Branch); err != nil {
			return added, err
		}
	}
	err := in.locked(ctx, h.PipelineID, func(q *queries.Queries, p queries.Pipeline) error {
		remember(ctx, h.ID)
		if err := notInDeletion(p, ChangingHooks); err != nil {
			return err
		}
		list, err := q.DeployHookList(ctx, p.ID)
		if err != nil {
			return err
		}
		if len(list) >= maxHooks {
			return troy.Errorf(troy.Conflict, "the pipeline has %d deploy hooks; no more are allowed", len(list))
		}
		added, err = q.DeployHookAdd(ctx, h)
		if errors.Is(err, pgx.ErrNoRows) {
			return troy.Errorf(troy.Conflict, "the pipeline has a deploy hook %q; delete it or choose another name", h.Name).At("name")
		}
		if err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: HookCreate, Subject: added.Name, Detail: describeHook(added), Actor: h.CreatedBy, Pipeline: &p})
	})
	if err != nil {
		return added, fmt.Errorf("add a deploy hook to pipeline %s: %w", h.PipelineID, err)
	}
	return added, nil
}

// RemoveHook deletes a deploy hook, which is refused from then on.
func (in *Intake) RemoveHook(ctx context.Context, pipeline, id uuid.UUID, actor string) error {
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		removed, err := q.DeployHookRemove(ctx, id, p.ID)
		if errors.Is(err, pgx.ErrNoRows) {
			return troy.Errorf(troy.NotFound, "the pipeline has no deploy hook %s", id)
		}
		if err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: HookDelete, Subject: removed.Name, Detail: describeHook(removed), Actor: actor, Pipeline: &p})
	})
	if err != nil {
		return fmt.Errorf("delete a deploy hook of pipeline %s: %w", pipeline, err)
	}
	return nil
}

func describeHook(h queries.DeployHook) string {
	if h.Branch == "" {
		return "the pipeline's branch"
	}
	return "branch " + h.Branch
}

// CallHook deploys the newest commit of a hook's branch. Another branch than
// the pipeline's is shown in its preview. While a deployment that a hook would
// make waits, CallHook returns that one. title says for people why the hook
// was called. It returns NotFound if the hook was deleted.
func (in *Intake) CallHook(ctx context.Context, h queries.DeployHook, title string) (queries.Deployment, error) {
	var d queries.Deployment
	actor := "hook " + h.Name
	cause := "the deploy hook " + h.Name + " was called"
	if title = hookTitle(title); title != "" {
		cause += ": " + title
	}
	err := in.ChangePreviews(ctx, h.PipelineID, func(q *queries.Queries, p queries.Pipeline) error {
		n, err := q.DeployHookUsed(ctx, h.ID)
		if err != nil {
			return err
		}
		if n == 0 {
			return troy.Errorf(troy.NotFound, "the deploy hook was deleted")
		}
		own, err := ownBranch(ctx, q, p)
		if err != nil {
			return err
		}
		if h.Branch == "" || h.Branch == own {
			d, err = deployHead(ctx, q, p, cause, actor)
			return err
		}
		v, err := in.OpenPreview(ctx, q, p, PreviewSource{Kind: troy.BranchPreview, Branch: h.Branch, Author: actor, Trusted: true}, actor)
		if err != nil {
			return err
		}
		newest, err := q.PreviewNewest(ctx, v.ID)
		if err == nil && newest.State == troy.Waiting && newest.CommitSha == nil {
			d = newest
			return nil
		}
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("read the newest deployment of the preview %s: %w", v.Label, err)
		}
		d, _, err = in.BuildPreview(ctx, q, p, v, PreviewCommit{Branch: h.Branch}, actor)
		return err
	})
	if err != nil {
		return d, fmt.Errorf("call the deploy hook %s: %w", h.ID, err)
	}
	return d, nil
}

// hookTitle makes one line of a title, without invisible characters.
func hookTitle(title string) string {
	return troy.Cut(strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, title)), " "), maxHookTitle)
}

// ownBranch returns the branch whose pushes a pipeline deploys, or "" if it is
// the repository's default branch and Troy has not learned its name yet.
func ownBranch(ctx context.Context, q *queries.Queries, p queries.Pipeline) (string, error) {
	if branch := text(nil, p.RepositoryBranch); branch != "" || p.RepositoryProvider == nil || p.RepositoryID == nil {
		return branch, nil
	}
	r, err := q.RepositoryGet(ctx, *p.RepositoryProvider, *p.RepositoryID)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the repository of %s: %w", p.Slug, err)
	}
	return r.DefaultBranch, nil
}

// deployHead deploys the newest commit of a locked pipeline's branch, which the
// worker asks for when the build starts. If a deployment that waits will build
// the same, it returns that one.
func deployHead(ctx context.Context, q *queries.Queries, p queries.Pipeline, cause, actor string) (queries.Deployment, error) {
	waiting, err := q.DeploymentsUnpublished(ctx, p.ID)
	if err != nil {
		return queries.Deployment{}, fmt.Errorf("read what waits: %w", err)
	}
	if len(waiting) > 0 && waiting[0].State == troy.Waiting && waiting[0].CommitSha == nil {
		other, err := uploaded(ctx, q, waiting[0].ID)
		if err != nil {
			return queries.Deployment{}, fmt.Errorf("read what waits: %w", err)
		}
		if !other {
			return waiting[0], errors.Join(notInDeletion(p, Build), refuseLocked(p))
		}
	}
	return deployCommit(ctx, q, p, "", cause, actor)
}
