package workers

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// actor is the actor in the workers' events.
const actor = "worker"

// reference is the CDN's caller reference for a pipeline's distribution. It
// derives from the pipeline alone, so that a distribution that was made but not
// recorded is found again.
func reference(pipeline uuid.UUID) string { return "troy-" + pipeline.String() }

// provision makes a pipeline's distribution and DNS record: Provision Request →
// Provisioning → Ready for Deployment.
func (w *Workers) provision(ctx context.Context, c *claim) error {
	p, err := w.pipeline(ctx, c)
	if err != nil {
		return err
	}
	switch p.Status {
	case troy.ProvisionRequest:
		if err := move(ctx, w, p.ID, (*queries.Queries).PipelineMarkProvisioning, queries.PipelineMarkProvisioningParams{ID: p.ID, Epoch: c.epoch, Actor: actor}); err != nil {
			return err
		}
	case troy.Provisioning:
	default:
		return errMoved
	}
	host, err := w.q.PipelineHost(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("read the host: %w", err)
	}

	if p.DistributionID == nil {
		d, err := w.makeDistribution(ctx, p.ID, host)
		if err != nil {
			return err
		}
		if err := w.recordDistribution(ctx, c, d); err != nil {
			return err
		}
		p.DistributionID, p.DistributionDomain = &d.ID, &d.Domain
	}
	if p.RecordHost == nil {
		if err := w.deps.Cloud.DNS.Upsert(ctx, host, *p.DistributionDomain); err != nil {
			return fmt.Errorf("make the DNS record of %s: %w", host, err)
		}
		n, err := w.q.PipelineRecordHost(ctx, queries.PipelineRecordHostParams{RecordHost: host, ID: p.ID, Kind: c.task.Kind, Epoch: c.epoch})
		if err != nil {
			return fmt.Errorf("record the DNS record: %w", err)
		}
		if n == 0 {
			return errMoved
		}
	}
	// Before the site can have content.
	if err := w.applyAccess(ctx, c, p.ID, *p.DistributionID); err != nil {
		return err
	}
	c.log.Info("provisioned", "pipeline", p.ID, "distribution", *p.DistributionID, "host", host)
	return move(ctx, w, p.ID, (*queries.Queries).PipelineMarkReady, queries.PipelineMarkReadyParams{ID: p.ID, Epoch: c.epoch, Actor: actor})
}

// makeDistribution makes the pipeline's distribution, or adopts the one from an
// attempt whose answer was lost.
func (w *Workers) makeDistribution(ctx context.Context, pipeline uuid.UUID, host string) (cloud.Distribution, error) {
	d, err := w.deps.Cloud.CDN.Create(ctx, reference(pipeline), host)
	if errors.Is(err, cloud.ErrExists) {
		d, err = w.deps.Cloud.CDN.Find(ctx, reference(pipeline))
	}
	if err != nil {
		return cloud.Distribution{}, fmt.Errorf("make the distribution for %s: %w", host, err)
	}
	return d, nil
}

// recordDistribution records the distribution, whatever the pipeline's status.
func (w *Workers) recordDistribution(ctx context.Context, c *claim, d cloud.Distribution) error {
	n, err := w.q.PipelineRecordDistribution(ctx, queries.PipelineRecordDistributionParams{
		DistributionID: &d.ID, DistributionDomain: &d.Domain, ID: c.task.Subject, Kind: c.task.Kind, Epoch: c.epoch,
	})
	if err != nil {
		return fmt.Errorf("record the distribution: %w", err)
	}
	if n == 0 {
		return errMoved
	}
	return nil
}

func (w *Workers) failProvision(ctx context.Context, c *claim, cause string) error {
	return move(ctx, w, c.task.Subject, (*queries.Queries).PipelineFailProvision, queries.PipelineFailProvisionParams{
		ID: c.task.Subject, Epoch: c.epoch, Cause: cause, Actor: actor,
	})
}

// pipeline reads the claim's pipeline again.
func (w *Workers) pipeline(ctx context.Context, c *claim) (queries.Pipeline, error) {
	p, err := w.q.PipelineGet(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, errMoved
	}
	if err != nil {
		return p, fmt.Errorf("read the pipeline: %w", err)
	}
	c.log.Debug("read the pipeline", "slug", p.Slug, "status", string(p.Status), "kind", tasks.OfStatus(p.Status))
	return p, nil
}
