package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// RingKinds lists the kinds that RingByHand rings, sorted.
func RingKinds() []string {
	kinds := append(tasks.Kinds(), tasks.TypeSweep)
	slices.Sort(kinds)
	return kinds
}

// RingByHand rings a task for an operator and describes the result. In a Failed
// status it retries; if there is nothing to do, the description says why, and
// the error is nil. The sweep has no subject, so its id is ignored. RingByHand
// returns Invalid for an unknown kind and NotFound for an unknown subject.
func (in *Intake) RingByHand(ctx context.Context, kind string, id uuid.UUID, actor string) (result string, err error) {
	if !slices.Contains(RingKinds(), kind) {
		return "", troy.Errorf(troy.Invalid, "the kind %q is unknown; expected one of %s", troy.Clip(kind), strings.Join(RingKinds(), ", ")).At("kind")
	}
	if kind == tasks.TypeSweep {
		if err := in.bell.Sweep(ctx); err != nil {
			return "", troy.Errorf(troy.Unavailable, "the sweep can't be requested while Redis is away; the workers sweep on their own: %w", err)
		}
		return "a sweep is requested", nil
	}
	err = in.commit(ctx, func(_ pgx.Tx, q *queries.Queries) error {
		remember(ctx, id)
		switch {
		case kind == tasks.TypePreviewRemove, kind == tasks.TypePreviewReport:
			result, err = ringPreview(ctx, q, kind, id, actor)
			return err
		case kind == tasks.TypeNotify:
			result, err = hurry(ctx, q, kind, id, actor, "")
			if err == nil && result == "" {
				err = troy.Errorf(troy.NotFound, "waiting notification not found: %s; the subject of this task is a notification", id)
			}
			return err
		case kind == tasks.TypePullRequest:
			result, err = ringPullRequest(ctx, q, id, actor)
			return err
		case slices.Contains([]string{tasks.TypeBuild, tasks.TypePollBuild, tasks.TypeReport, tasks.TypePreviewBuild, tasks.TypePreviewPublish}, kind):
			result, err = ringDeployment(ctx, q, kind, id, actor)
			return err
		case kind == tasks.TypeCatchUp && id == uuid.Nil:
			result = "failed deliveries are requested again"
			return requestByHand(ctx, q, kind, id, actor)
		}
		p, err := lock(ctx, q, id)
		if kind == tasks.TypeRetention && troy.KindOf(err) == troy.NotFound {
			// Retention checks again for objects of a deleted pipeline.
			result, err = hurry(ctx, q, kind, id, actor, "")
			if err == nil && result == "" {
				err = troy.Errorf(troy.NotFound, "pipeline not found: %s; no check for its objects is left", id)
			}
			return err
		}
		if err != nil {
			return err
		}
		result, err = ring(ctx, q, kind, p, actor)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("ring %s of %s: %w", kind, id, err)
	}
	return result, nil
}

// ringPreview rings the report on a preview, or the removal of a closed one.
func ringPreview(ctx context.Context, q *queries.Queries, kind string, id uuid.UUID, actor string) (string, error) {
	v, err := q.PreviewGet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", troy.Errorf(troy.NotFound, "preview not found: %s; the subject of this task is a preview", id)
	}
	if err != nil {
		return "", err
	}
	if kind == tasks.TypePreviewReport {
		return fmt.Sprintf("the report on the preview %s is requested", v.Label), requestByHand(ctx, q, kind, id, actor)
	}
	return hurry(ctx, q, kind, id, actor, fmt.Sprintf("the preview %s is open or removed: there is nothing to remove", v.Label))
}

// ringPullRequest rings the decision about a pull request.
func ringPullRequest(ctx context.Context, q *queries.Queries, id uuid.UUID, actor string) (string, error) {
	row, err := q.PullRequestGet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", troy.Errorf(troy.NotFound, "pull request not found: %s; the subject of this task is a pull request", id)
	}
	if err != nil {
		return "", err
	}
	return hurry(ctx, q, tasks.TypePullRequest, id, actor, fmt.Sprintf("pull request %d waits for no decision: %s", row.Number, row.Decision))
}

// ringDeployment rings a task whose subject is a deployment.
func ringDeployment(ctx context.Context, q *queries.Queries, kind string, id uuid.UUID, actor string) (string, error) {
	d, err := q.DeploymentGet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", troy.Errorf(troy.NotFound, "deployment not found: %s; the subject of this task is a deployment", id)
	}
	if err != nil {
		return "", err
	}
	if d.Kind != troy.Automated && (d.Kind != troy.Preview || kind == tasks.TypeReport || kind == tasks.TypeBuild) {
		return fmt.Sprintf("deployment %d is a %s: it has no build and no report", d.Number, d.Kind), nil
	}
	if kind == tasks.TypeReport {
		err := requestByHand(ctx, q, kind, id, actor)
		return fmt.Sprintf("the report on deployment %d is requested", d.Number), err
	}
	return hurry(ctx, q, kind, id, actor, fmt.Sprintf("deployment %d is %s and has no such work; use retry to make a new deployment", d.Number, d.State))
}

func ring(ctx context.Context, q *queries.Queries, kind string, p queries.Pipeline, actor string) (string, error) {
	const cause = "requested by hand"
	switch kind {
	case tasks.TypeProvision:
		if p.Status == troy.PreProvisioned || p.Status == troy.FailedToProvision {
			_, err := q.PipelineRequestProvision(ctx, queries.PipelineRequestProvisionParams{ID: p.ID, Cause: cause, Actor: actor})
			return fmt.Sprintf("provisioning of the pipeline %s is requested", p.Name), guarded(ctx, q, p.ID, Provision, err)
		}
	case tasks.TypeDeploy:
		if p.Status == troy.FailedToDeploy {
			return redeploy(ctx, q, p, cause, actor)
		}
		if p.Status == troy.Queued {
			// Requesting existing work again does no harm.
			err := requestByHand(ctx, q, kind, p.ID, actor)
			return fmt.Sprintf("the work of the pipeline %s, which is Queued, is rung", p.Name), err
		}
	case tasks.TypeTeardownStart, tasks.TypePollDistroDisabled, tasks.TypeTeardown:
		if p.DeleteDueAt != nil {
			return fmt.Sprintf("the deletion of the pipeline %s begins at %s; nothing was rung (to delete it at once: troy pipeline delete %s --now)", p.Name, minute(*p.DeleteDueAt), p.Slug), nil
		}
		if p.Status == troy.FailedToDelete {
			_, err := q.PipelineScheduleDeletion(ctx, queries.PipelineScheduleDeletionParams{ID: p.ID, Cause: cause, Actor: actor})
			return fmt.Sprintf("the deletion of the pipeline %s is scheduled again and resumes where it stopped", p.Name), guarded(ctx, q, p.ID, Delete, err)
		}
	case tasks.TypeCatchUp:
		if p.RepositoryFullName == nil {
			return fmt.Sprintf("the pipeline %s has no repository: there is no branch to check", p.Name), nil
		}
		err := requestByHand(ctx, q, kind, p.ID, actor)
		return fmt.Sprintf("the branch of the pipeline %s will be checked", p.Name), err
	case tasks.TypePurge:
		err := requestByHand(ctx, q, kind, p.ID, actor)
		return fmt.Sprintf("the purge of the pipeline %s is requested", p.Name), err
	case tasks.TypeAccess:
		err := requestByHand(ctx, q, kind, p.ID, actor)
		return fmt.Sprintf("who may see the site of the pipeline %s is applied again", p.Name), err
	case tasks.TypeDomainCheck:
		n, err := q.CustomDomainVerify(ctx, p.ID, "")
		if err != nil {
			return "", err
		}
		if n == 0 {
			return fmt.Sprintf("the pipeline %s has no custom domains", p.Name), nil
		}
		err = q.WorkRequest(ctx, queries.WorkRequestParams{Kind: kind, SubjectID: p.ID})
		return fmt.Sprintf("the domains of the pipeline %s will be checked", p.Name), err
	case tasks.TypeThumbnail:
		err := requestByHand(ctx, q, kind, p.ID, actor)
		return fmt.Sprintf("a picture of the site of the pipeline %s is requested", p.Name), err
	case tasks.TypeRetention:
		err := requestByHand(ctx, q, kind, p.ID, actor)
		return fmt.Sprintf("retention of the pipeline %s is requested", p.Name), err
	}
	return hurry(ctx, q, kind, p.ID, actor, fmt.Sprintf("the pipeline %s is %s: there is nothing to %s", p.Name, p.Status, verbOf(kind)))
}

// requestByHand requests work and records who did it.
func requestByHand(ctx context.Context, q *queries.Queries, kind string, id uuid.UUID, actor string) error {
	if err := q.WorkRequest(ctx, queries.WorkRequestParams{Kind: kind, SubjectID: id}); err != nil {
		return err
	}
	w, err := q.WorkGet(ctx, kind, id)
	if err != nil {
		return err
	}
	return auditWork(ctx, q, w, WorkRing, actor)
}

// hurry makes existing work due at once and records who did it. If there is
// none, it returns nothing.
func hurry(ctx context.Context, q *queries.Queries, kind string, id uuid.UUID, actor, nothing string) (string, error) {
	w, err := q.WorkGet(ctx, kind, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nothing, nil
	}
	if err != nil {
		return "", err
	}
	n, err := q.WorkHurry(ctx, kind, id)
	if err != nil {
		return "", err
	}
	if n > 0 {
		if err := auditWork(ctx, q, w, WorkRing, actor); err != nil {
			return "", err
		}
		return fmt.Sprintf("the work was waiting since %s and is rung", w.Since.UTC().Format(time.RFC3339)), nil
	}
	w, err = q.WorkGet(ctx, kind, id)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && w.LeaseUntil == nil {
		return "a worker has just finished it", nil
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("a worker runs it now (attempt %d) and holds it until at least %s", w.Attempt, w.LeaseUntil.UTC().Format(time.RFC3339)), nil
}

// redeploy makes a deployment with the tree of the newest failed one.
func redeploy(ctx context.Context, q *queries.Queries, p queries.Pipeline, cause, actor string) (string, error) {
	if err := refuseLocked(p); err != nil {
		return "", err
	}
	d, err := newestFailed(ctx, q, p.ID)
	switch {
	case err != nil:
		return "", err
	case d == nil:
		return fmt.Sprintf("the pipeline %s is %s, but none of its newest deployments failed: there is nothing to deploy again", p.Name, p.Status), nil
	case d.Kind == troy.Automated && d.ManifestDigest == nil:
		if _, err := buildAgain(ctx, q, *d, cause, actor); err != nil {
			return "", guarded(ctx, q, p.ID, Deploy, err)
		}
		return fmt.Sprintf("the commit of deployment %d, which failed, is built again", d.Number), nil
	case d.PrunedAt != nil:
		return fmt.Sprintf("the files of deployment %d, which failed, were removed: there is nothing to deploy again", d.Number), nil
	case d.ManifestDigest == nil:
		return fmt.Sprintf("deployment %d failed before it had files: there is nothing to deploy again", d.Number), nil
	}
	made, err := repeat(ctx, q, *d, d.Kind, cause, actor)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("deployment %d publishes the files of deployment %d, which failed", made.Number, d.Number), nil
}

func newestFailed(ctx context.Context, q *queries.Queries, pipeline uuid.UUID) (*queries.Deployment, error) {
	newest, err := q.DeploymentList(ctx, queries.DeploymentListParams{PipelineID: pipeline, PageLimit: 200})
	if err != nil {
		return nil, err
	}
	for _, d := range newest {
		if d.State == troy.Failed && d.PreviewID == nil {
			return &d, nil
		}
	}
	return nil, nil
}

func verbOf(kind string) string {
	switch kind {
	case tasks.TypeProvision:
		return "provision"
	case tasks.TypeDeploy:
		return "deploy"
	}
	return "tear down"
}
