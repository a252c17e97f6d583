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
	// redeliverWindow is how far back GitHub redelivers webhooks
	// (docs.github.com/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks).
	redeliverWindow = 3 * 24 * time.Hour
	// redeliverAttempts is the number of failures after which a delivery is not
	// requested again.
	redeliverAttempts = 5
)

// catchUp finds what no webhook reported. For a pipeline it looks for an
// unknown commit at the head of the branch; for the subject that is not a
// pipeline, it looks for deliveries that forges could not make. It runs again
// every interval.
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
	next := &waitError{delay: w.cfg.CatchUp, why: "the branch is checked again later", fresh: true}
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
	if err == nil {
		err = w.lookAtPullRequests(ctx, c, p)
	}
	if errors.Is(err, forge.ErrNoRepository) || errors.Is(err, forge.ErrNoCommit) || errors.Is(err, forge.ErrInstallation) || errors.Is(err, forge.ErrForbidden) {
		// An admin may fix it at the forge.
		c.log.Info("the branch cannot be read", "pipeline", p.ID, "error", err)
		return next
	}
	if err != nil {
		return err
	}
	if moved {
		c.log.Info("found a commit that no webhook reported", "pipeline", p.ID)
	}
	return next
}

// problemEnded asks the forge for a repository that could not be read, and
// clears the problem if the forge answers. Webhooks alone are not enough: the
// delivery for an uninstalled app may arrive after the one for its next
// installation, or the latter never.
func (w *Workers) problemEnded(ctx context.Context, p queries.Pipeline) (queries.Pipeline, error) {
	found, err := w.deps.Forges[troy.Provider(*p.RepositoryProvider)].Repository(ctx, forge.Repository{ID: deref(p.RepositoryID), FullName: *p.RepositoryFullName})
	if err != nil {
		return p, fmt.Errorf("look up %s: %w", *p.RepositoryFullName, err)
	}
	if err := w.q.RepositorySeen(ctx, queries.RepositorySeenParams{
		Provider: *p.RepositoryProvider, ID: found.ID, FullName: found.FullName, DefaultBranch: found.DefaultBranch, InstallationID: nonEmpty(found.Installation),
	}); err != nil {
		return p, fmt.Errorf("record the repository: %w", err)
	}
	if _, err := w.q.PipelinesSourceProblem(ctx, queries.PipelinesSourceProblemParams{Provider: *p.RepositoryProvider, RepositoryID: found.ID}); err != nil {
		return p, fmt.Errorf("clear the problem: %w", err)
	}
	return w.q.PipelineGet(ctx, p.ID)
}

// lookAtBranch reads the head of a pipeline's branch and records whether the
// branch exists.
func (w *Workers) lookAtBranch(ctx context.Context, p queries.Pipeline) (moved bool, err error) {
	s, head, err := w.headOf(ctx, p)
	gone := errors.Is(err, forge.ErrNoCommit)
	if err != nil && !gone {
		return false, err
	}
	if gone != intake.BranchProblem(p.SourceProblem) {
		if err := w.deps.Intake.BranchFound(ctx, p.ID, s.branch, !gone); err != nil {
			return false, fmt.Errorf("record whether the branch exists: %w", err)
		}
	}
	if gone {
		return false, nil
	}
	return w.headSeen(ctx, p, s, head)
}

// redeliverers returns the forges that can redeliver failed deliveries.
func (w *Workers) redeliverers() map[troy.Provider]forge.Deliveries {
	out := map[troy.Provider]forge.Deliveries{}
	for provider, f := range w.deps.Forges {
		if d, ok := f.(forge.Deliveries); ok {
			out[provider] = d
		}
	}
	return out
}

// catchUpDeliveries asks the forges to redeliver failed deliveries that were
// never accepted.
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
	return &waitError{delay: w.cfg.CatchUp, why: "failed deliveries are checked again later", fresh: true}
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
			return fmt.Errorf("look up a delivery: %w", known)
		}
		if err := f.Redeliver(ctx, d.Attempt); err != nil {
			return fmt.Errorf("request delivery %s again: %w", d.ID, err)
		}
		asked++
	}
	if asked > 0 {
		c.log.Info("requested failed deliveries again", "deliveries", asked)
	}
	if err != nil {
		return fmt.Errorf("list failed deliveries: %w", err)
	}
	return nil
}

// giveUpCatchUp starts again after a delay: a long outage of a forge ends, and
// wrong credentials get fixed.
func (w *Workers) giveUpCatchUp(ctx context.Context, c *claim, cause string) error {
	c.log.Error("catching up failed repeatedly", "subject", c.task.Subject, "cause", cause)
	return w.anew(ctx, c, 10*w.cfg.CatchUp, cause)
}
