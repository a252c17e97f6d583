package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// maxReason is the maximum length of a lock's reason, in characters.
const maxReason = 200

// heldPush is the newest commit that a lock held back. An empty Commit means
// the head of the branch.
type heldPush struct {
	Commit  string `json:"commit,omitempty"`
	Branch  string `json:"branch,omitempty"`
	Author  string `json:"author,omitempty"`
	Message string `json:"message,omitempty"`
	Actor   string `json:"actor"` // who pushed or requested it
}

// Lock stops all deployments of a pipeline except those made by a rollback or a
// promotion. It cancels automated deployments that wait or are being built;
// Unlock deploys the newest of them, or a later push. It returns Conflict if
// the pipeline is already locked.
func (in *Intake) Lock(ctx context.Context, pipeline uuid.UUID, reason, actor string) (queries.Pipeline, error) {
	if err := troy.CheckText("reason", reason, maxReason); err != nil {
		return queries.Pipeline{}, err
	}
	p, err := in.change(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := notInDeletion(p, Locking); err != nil {
			return err
		}
		if err := refuseLocked(p); err != nil {
			return err
		}
		if err := q.PipelineSetLock(ctx, queries.PipelineSetLockParams{LockedBy: actor, LockReason: reason, ID: p.ID}); err != nil {
			return err
		}
		if err := Audit(ctx, q, Change{Action: Locked, Subject: p.Slug, Detail: reason, Actor: actor, Pipeline: &p}); err != nil {
			return err
		}
		p.LockedBy, p.LockReason = actor, reason
		return holdBack(ctx, q, p)
	})
	if err != nil {
		return p, fmt.Errorf("lock pipeline %s: %w", pipeline, err)
	}
	return p, nil
}

// holdBack cancels the automated deployments that are not being published yet,
// and records the newest.
func holdBack(ctx context.Context, q *queries.Queries, p queries.Pipeline) error {
	found, err := q.DeploymentsUnpublished(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("list the deployments to cancel: %w", err)
	}
	for _, d := range found {
		if _, err := q.DeploymentCancel(ctx, queries.DeploymentCancelParams{ID: d.ID, PipelineID: p.ID, Cause: lockedBy(p), Actor: p.LockedBy}); err != nil {
			return fmt.Errorf("cancel deployment %d: %w", d.Number, err)
		}
	}
	if len(found) == 0 {
		return nil
	}
	newest := found[0]
	return hold(ctx, q, p.ID, heldPush{
		Commit: text(nil, newest.CommitSha), Branch: text(nil, newest.Branch), Author: text(nil, newest.Author), Message: newest.Message, Actor: newest.Actor,
	})
}

func hold(ctx context.Context, q *queries.Queries, pipeline uuid.UUID, h heldPush) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := q.PipelineHold(ctx, b, pipeline); err != nil {
		return fmt.Errorf("record the held push: %w", err)
	}
	return nil
}

// Unlock removes a pipeline's lock and deploys the newest commit that the lock
// held back. It does nothing if the pipeline is not locked.
func (in *Intake) Unlock(ctx context.Context, pipeline uuid.UUID, actor string) (queries.Pipeline, error) {
	p, err := in.change(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if p.LockedAt == nil {
			return nil
		}
		if err := q.PipelineRemoveLock(ctx, p.ID); err != nil {
			return err
		}
		if err := Audit(ctx, q, Change{Action: Unlocked, Subject: p.Slug, Actor: actor, Pipeline: &p}); err != nil {
			return err
		}
		if p.RepositoryFullName == nil || p.Status.InDeletion() {
			return nil
		}
		if p.HeldPush != nil && p.SourceProblem == "" {
			if err := deployHeld(ctx, q, p, actor); err != nil {
				return err
			}
		}
		return catchUp(ctx, q, p.ID)
	})
	if err != nil {
		return p, fmt.Errorf("unlock pipeline %s: %w", pipeline, err)
	}
	return p, nil
}

func deployHeld(ctx context.Context, q *queries.Queries, p queries.Pipeline, actor string) error {
	var h heldPush
	if err := json.Unmarshal(p.HeldPush, &h); err != nil {
		return fmt.Errorf("read the held push: %w", err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	_, err = q.DeploymentCreate(ctx, queries.DeploymentCreateParams{
		ID: id, TreeID: id, PipelineID: p.ID, Kind: troy.Automated, CommitSha: optional(h.Commit), Branch: optional(h.Branch),
		Author: optional(h.Author), Message: h.Message, Actor: h.Actor, Cause: "unlocked by " + actor,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return moved(ctx, q, p.ID, Deploy)
	}
	return err
}

// lockedBy says who locked a pipeline, and why.
func lockedBy(p queries.Pipeline) string {
	return fmt.Sprintf("locked by %s: %s", p.LockedBy, p.LockReason)
}

// refuseLocked returns a Conflict if a pipeline is locked.
func refuseLocked(p queries.Pipeline) error {
	if p.LockedAt == nil {
		return nil
	}
	return troy.Errorf(troy.Conflict, "the pipeline %s is %s; to unlock it: troy unlock %s", p.Slug, lockedBy(p), p.Slug)
}
