package workers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// notDisabledDelay is the wait after the CDN rejects the deletion of a
// distribution as not disabled although it reported it disabled; this passes
// after a short while.
const notDisabledDelay = 5 * time.Second

// teardown removes a pipeline's resources: the distribution, the DNS record,
// the objects and the row. Then it checks that nothing is left.
func (w *Workers) teardown(ctx context.Context, c *claim) error {
	p, err := w.pipeline(ctx, c)
	if err != nil {
		return err
	}
	if p.Status != troy.Deleting {
		return errMoved
	}
	host, err := w.q.PipelineHost(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("read the host: %w", err)
	}

	if err := w.retractPreviews(ctx, c, p); err != nil {
		return err
	}
	if err := w.detachDomains(ctx, p); err != nil {
		return err
	}
	d, err := w.findDistribution(ctx, c, p)
	switch {
	case errors.Is(err, cloud.ErrNotFound):
		if p.DistributionID == nil {
			break
		}
		// Someone else deleted it. Its previews may still be served.
		if err := w.deps.Cloud.CDN.Delete(ctx, *p.DistributionID, ""); err != nil {
			return fmt.Errorf("remove what is left of the distribution %s: %w", *p.DistributionID, err)
		}
	case err != nil:
		return err
	default:
		if p.DistributionDomain == nil {
			p.DistributionDomain = &d.Domain
		}
		err := w.deps.Cloud.CDN.Delete(ctx, d.ID, d.ETag)
		if errors.Is(err, cloud.ErrNotDisabled) {
			return comeBack(min(notDisabledDelay, w.deps.Cloud.PropagationDelay), "the distribution is not disabled everywhere yet")
		}
		if err != nil {
			return fmt.Errorf("delete the distribution %s: %w", d.ID, err)
		}
	}
	if p.DistributionDomain != nil {
		if err := w.deps.Cloud.DNS.Delete(ctx, host, *p.DistributionDomain); err != nil {
			return fmt.Errorf("delete the DNS record of %s: %w", host, err)
		}
	}
	removed, err := w.deps.Cloud.Store.RemoveAll(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("remove the objects: %w", err)
	}
	if w.deps.Builder != nil {
		if err := w.deps.Builder.Remove(ctx, site.Tree{Pipeline: p.ID}); err != nil {
			return fmt.Errorf("remove the resources of its builds: %w", err)
		}
	}
	if err := w.nothingLeft(ctx, p, host); err != nil {
		return err
	}
	c.log.Info("torn down", "pipeline", p.ID, "slug", p.Slug, "objects", removed)
	return move(ctx, w, p.ID, (*queries.Queries).PipelineMarkDeleted, queries.PipelineMarkDeletedParams{
		ID: p.ID, Epoch: c.epoch, Actor: actor, LookAgainSeconds: w.cfg.UploadsValid.Seconds(),
		Cause: fmt.Sprintf("distribution, DNS record and %s removed; nothing is left", troy.Count(removed, "object", "objects")),
	})
}

// nothingLeft checks that every resource is gone. The next attempt removes
// those that are not.
func (w *Workers) nothingLeft(ctx context.Context, p queries.Pipeline, host string) error {
	if d, err := w.deps.Cloud.CDN.Find(ctx, reference(p.ID)); err == nil {
		return fmt.Errorf("the distribution %s is still there", d.ID)
	} else if !errors.Is(err, cloud.ErrNotFound) {
		return fmt.Errorf("look for a distribution: %w", err)
	}
	target, err := w.deps.Cloud.DNS.Lookup(ctx, host)
	if err == nil && p.DistributionDomain != nil && target == *p.DistributionDomain {
		return fmt.Errorf("the DNS record of %s is still there", host)
	} else if err != nil && !errors.Is(err, cloud.ErrNotFound) {
		return fmt.Errorf("look for the DNS record of %s: %w", host, err)
	}
	left, err := w.deps.Cloud.Store.RemoveAll(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("look for objects: %w", err)
	}
	if left > 0 {
		return fmt.Errorf("%d objects were still there", left)
	}
	return nil
}

// detachDomains makes the cloud stop serving all custom domains of a pipeline.
// Their rows go with the pipeline's.
func (w *Workers) detachDomains(ctx context.Context, p queries.Pipeline) error {
	domains, err := w.q.CustomDomainsOf(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("read the domains: %w", err)
	}
	ending := 0
	for _, d := range domains {
		from := d.DetachFrom
		if p.DistributionID != nil {
			from = append(from, *p.DistributionID)
		}
		if w.deps.Cloud.Domains == nil {
			return nil
		}
		err := w.detach(ctx, d.Host, from)
		if errors.Is(err, cloud.ErrNotDisabled) {
			ending++ // all of them end at the same time
			continue
		}
		if err != nil {
			return fmt.Errorf("detach the domain %s: %w", d.Host, err)
		}
	}
	if ending > 0 {
		return comeBack(w.deps.Cloud.PropagationDelay, "the cloud is still ending the service of "+troy.Count(ending, "domain", "domains"))
	}
	return nil
}
