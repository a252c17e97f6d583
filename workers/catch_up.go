package workers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

const (
	// redeliverWindow is how far back GitHub sends deliveries again
	// (docs.github.com/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks).
	redeliverWindow = 3 * 24 * time.Hour
	// redeliverAttempts is after how many failures a delivery is left alone.
	redeliverAttempts = 5
)

// catchUp finds what no webhook told of: for a pipeline, a commit at the head
// of its branch that nobody heard of; for the subject that is not a pipeline, the
// deliveries that forges could not make. It comes back every interval.
func (w *Workers) catchUp(ctx context.Context, c *claim) error {
	if c.task.Subject == uuid.Nil {
		return w.catchUpDeliveries(ctx, c)
	}
	p, err := w.q.PipelineGet(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the pipeline: %w", err)
	}
	if p.RepositoryFullName == nil || p.Status.InDeletion() {
		return nil
	}
	next := &waitError{delay: w.cfg.CatchUp, why: "the branch is looked at again", fresh: true}
	if w.deps.Forges[troy.Provider(deref(p.RepositoryProvider))] == nil {
		return next
	}
	if p.SourceProblem != "" && !intake.BranchProblem(p.SourceProblem) {
		p, err = w.problemEnded(ctx, p)
	}
	var moved bool
	if err == nil {
		moved, err = w.lookAtBranch(ctx, p)
	}
	if errors.Is(err, forge.ErrNoRepository) || errors.Is(err, forge.ErrNoCommit) || errors.Is(err, forge.ErrInstallation) || errors.Is(err, forge.ErrForbidden) {
		// Someone may put it right at the forge.
		c.log.Info("the branch cannot be read", "pipeline", p.ID, "error", err)
		return next
	}
	if err != nil {
		return err
	}
	if moved {
		c.log.Info("found a commit that no webhook told of", "pipeline", p.ID)
	}
	return next
}

// problemEnded asks the forge for a repository that could not be read, and
// clears the problem if it answers. Webhooks alone do not tell: that of an
// uninstalled app may come after that of its next installation, or the latter
// never.
func (w *Workers) problemEnded(ctx context.Context, p queries.Pipeline) (queries.Pipeline, error) {
	found, err := w.deps.Forges[troy.Provider(*p.RepositoryProvider)].Repository(ctx, forge.Repository{ID: deref(p.RepositoryID), FullName: *p.RepositoryFullName})
	if err != nil {
		return p, fmt.Errorf("look up %s: %w", *p.RepositoryFullName, err)
	}
	if err := w.q.RepositorySeen(ctx, queries.RepositorySeenParams{
		Provider: *p.RepositoryProvider, ID: found.ID, FullName: found.FullName, DefaultBranch: found.DefaultBranch, InstallationID: nonEmpty(found.Installation),
	}); err != nil {
		return p, fmt.Errorf("write down the repository: %w", err)
	}
	if _, err := w.q.PipelinesSourceProblem(ctx, queries.PipelinesSourceProblemParams{Provider: *p.RepositoryProvider, RepositoryID: found.ID}); err != nil {
		return p, fmt.Errorf("clear the problem: %w", err)
	}
	return w.q.PipelineGet(ctx, p.ID)
}

// lookAtBranch looks at the head of a pipeline's branch, and notes whether the
// branch is there.
func (w *Workers) lookAtBranch(ctx context.Context, p queries.Pipeline) (moved bool, err error) {
	s, head, err := w.headOf(ctx, p)
	gone := errors.Is(err, forge.ErrNoCommit)
	if err != nil && !gone {
		return false, err
	}
	if gone != intake.BranchProblem(p.SourceProblem) {
		if err := w.deps.Intake.BranchFound(ctx, p.ID, s.branch, !gone); err != nil {
			return false, fmt.Errorf("note whether the branch is there: %w", err)
		}
	}
	if gone {
		return false, nil
	}
	return w.headSeen(ctx, p, s, head)
}

// redeliverers are the forges that send again what they could not deliver.
func (w *Workers) redeliverers() map[troy.Provider]forge.Deliveries {
	out := map[troy.Provider]forge.Deliveries{}
	for provider, f := range w.deps.Forges {
		if d, ok := f.(forge.Deliveries); ok {
			out[provider] = d
		}
	}
	return out
}

// catchUpDeliveries asks the forges for the deliveries that failed and were
// never taken in.
func (w *Workers) catchUpDeliveries(ctx context.Context, c *claim) error {
	forges := w.redeliverers()
	if len(forges) == 0 {
		return nil
	}
	var errs []error
	for provider, f := range forges {
		errs = append(errs, w.redeliver(ctx, c, provider, f))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return &waitError{delay: w.cfg.CatchUp, why: "failed deliveries are asked for again", fresh: true}
}

func (w *Workers) redeliver(ctx context.Context, c *claim, provider troy.Provider, f forge.Deliveries) error {
	failed, err := f.Failed(ctx, time.Now().Add(-redeliverWindow))
	asked := 0
	for _, d := range failed {
		if d.Attempts >= redeliverAttempts {
			continue
		}
		_, known := w.q.DeliveryGet(ctx, string(provider), d.ID)
		if known == nil {
			continue
		}
		if !errors.Is(known, pgx.ErrNoRows) {
			return fmt.Errorf("look a delivery up: %w", known)
		}
		if err := f.Redeliver(ctx, d.Attempt); err != nil {
			return fmt.Errorf("ask for delivery %s again: %w", d.ID, err)
		}
		asked++
	}
	if asked > 0 {
		c.log.Info("asked for deliveries that failed", "deliveries", asked)
	}
	if err != nil {
		return fmt.Errorf("list the deliveries that failed: %w", err)
	}
	return nil
}

// giveUpCatchUp begins anew after a while: a forge that was away for long, or
// credentials that were wrong, may come right.
func (w *Workers) giveUpCatchUp(ctx context.Context, c *claim, cause string) error {
	c.log.Error("catching up failed again and again", "subject", c.task.Subject, "cause", cause)
	return w.anew(ctx, c, 10*w.cfg.CatchUp, cause)
}
