package workers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// previewUnready is the wait for the provisioning of a site.
const previewUnready = 5 * time.Second

// previewSequence returns the sequence of the pointer with which a deployment
// shows itself. The next one is for the pointer that replaces it if it fails
// afterwards.
func previewSequence(number int64) int64 { return 2 * number }

// previewPublish completes the files of a preview's deployment and makes the
// preview and the deployment's own address show them.
func (w *Workers) previewPublish(ctx context.Context, c *claim) error {
	d, p, v, err := w.previewOf(ctx, c.task.Subject)
	if err != nil {
		return err
	}
	if w.deps.Cloud.Previews == nil {
		return troy.Errorf(troy.Conflict, "the service that hosts the sites can't serve previews")
	}
	if p.DistributionID == nil {
		return comeBack(previewUnready, "the site is not provisioned yet")
	}
	if err := w.awaitProtection(ctx, p.ID); err != nil {
		return err
	}
	if d.State == troy.Waiting {
		if err := startPreview(ctx, w, d, (*queries.Queries).PreviewPublishStart, queries.PreviewPublishStartParams{ID: d.ID, PipelineID: p.ID, Epoch: c.epoch}); err != nil {
			return err
		}
	} else if d.State != troy.Publishing {
		return errMoved
	}
	if d.SealedAt == nil {
		if err := w.sealPreview(ctx, c, d); err != nil {
			return err
		}
	}
	// Also for a closed preview, which may be opened again before this ends. The
	// removal of a closed one waits for this.
	if err := w.showPreview(ctx, *p.DistributionID, p, v, d); err != nil {
		return err
	}
	c.log.Info("preview published", "pipeline", p.ID, "preview", v.Label, "deployment", d.ID)
	return move(ctx, w, p.ID, (*queries.Queries).PreviewSucceed, queries.PreviewSucceedParams{ID: d.ID, Epoch: c.epoch, RetentionSeconds: retentionDelay.Seconds()})
}

// previewOf reads a deployment of a preview, its pipeline and its preview.
func (w *Workers) previewOf(ctx context.Context, deployment uuid.UUID) (d queries.Deployment, p queries.Pipeline, v queries.Preview, err error) {
	if d, err = w.q.DeploymentGet(ctx, deployment); err == nil && d.PreviewID == nil {
		err = errMoved
	}
	if err == nil {
		p, err = w.q.PipelineGet(ctx, d.PipelineID)
	}
	if err == nil {
		v, err = w.q.PreviewGet(ctx, *d.PreviewID)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		err = errMoved
	}
	if err != nil && !errors.Is(err, errMoved) {
		err = fmt.Errorf("read the deployment of a preview: %w", err)
	}
	return d, p, v, err
}

// sealPreview completes the tree of a preview's deployment. A tree that another
// deployment completed stays as it is: it may be live.
func (w *Workers) sealPreview(ctx context.Context, c *claim, d queries.Deployment) error {
	owner := d
	if d.TreeID != d.ID {
		var err error
		if owner, err = w.q.DeploymentGet(ctx, d.TreeID); err != nil {
			return fmt.Errorf("read the deployment of the files: %w", err)
		}
	}
	if owner.SealedAt == nil {
		if err := w.seal(ctx, owner, site.Tree{Pipeline: d.PipelineID, Deployment: d.TreeID}, nil); err != nil {
			return err
		}
	}
	n, err := w.q.PreviewRecordSealed(ctx, d.ID, c.epoch)
	if err != nil {
		return fmt.Errorf("record that the files are complete: %w", err)
	}
	if n == 0 {
		return errMoved
	}
	return nil
}

func (w *Workers) showPreview(ctx context.Context, distribution string, p queries.Pipeline, v queries.Preview, d queries.Deployment) error {
	err := w.address(ctx, distribution, d.PipelineID, d.Number, d.TreeID)
	if errors.Is(err, cloud.ErrNotDeployed) {
		return comeBack(previewUnready, "what serves the previews is being made")
	}
	if err != nil {
		return err
	}
	pointer := site.Pointer{Sequence: previewSequence(d.Number), Pipeline: d.PipelineID, Deployment: d.TreeID}
	err = w.deps.Cloud.Previews.Point(ctx, distribution, v.Label, pointer)
	if stale, ok := errors.AsType[*cloud.StalePointerError](err); ok {
		now, readErr := w.q.PipelineGet(ctx, p.ID)
		if readErr != nil {
			return fmt.Errorf("read the pipeline: %w", readErr)
		}
		if stale.InForce <= previewSequence(now.LastNumber)+1 {
			return fmt.Errorf("show the files at the preview's address: %w", err)
		}
		// This database did not assign that number, so it was restored from an
		// older backup.
		if err := w.deps.Cloud.Previews.Unpoint(ctx, distribution, v.Label, stale.InForce); err != nil {
			return fmt.Errorf("remove the pointer of a later deployment: %w", err)
		}
		err = w.deps.Cloud.Previews.Point(ctx, distribution, v.Label, pointer)
	}
	if err != nil {
		return fmt.Errorf("show the files at the preview's address: %w", err)
	}
	return nil
}

// failPreviewPublish marks a deployment as failed. If its preview may show it,
// the preview shows again what it showed before.
func (w *Workers) failPreviewPublish(ctx context.Context, c *claim, cause string) error {
	d, p, v, err := w.previewOf(ctx, c.task.Subject)
	if err != nil {
		return err
	}
	if d.State == troy.Publishing && d.SealedAt != nil && p.DistributionID != nil && w.deps.Cloud.Previews != nil {
		err := w.putBackPreview(ctx, c, *p.DistributionID, v, d)
		if errors.Is(err, errHandedOver) {
			return err
		}
		if permanent(err) || errors.Is(err, cloud.ErrNotFound) {
			// Retries would hold up the preview's next deployment and its removal.
			c.log.Error("a preview may show a deployment that failed", "pipeline", p.ID, "preview", v.Label, "deployment", d.ID, "error", err)
		} else if err != nil {
			return fmt.Errorf("restore the preview after %s: %w", cause, err)
		}
	}
	return w.failPreview(ctx, c, d, cause)
}

// putBackPreview renews the lease before each call: the handler may have ended
// because another worker took the claim.
func (w *Workers) putBackPreview(ctx context.Context, c *claim, distribution string, v queries.Preview, d queries.Deployment) error {
	sequence := previewSequence(d.Number) + 1
	if err := w.renew(ctx, c); err != nil {
		return err
	}
	if err := w.deps.Cloud.Previews.Unpoint(ctx, distribution, troy.DeploymentLabel(d.Number), addressSequence); err != nil {
		return err
	}
	if err := w.renew(ctx, c); err != nil {
		return err
	}
	if v.LiveDeploymentID == nil {
		return w.deps.Cloud.Previews.Unpoint(ctx, distribution, v.Label, sequence)
	}
	live, err := w.q.DeploymentGet(ctx, *v.LiveDeploymentID)
	if err != nil {
		return fmt.Errorf("read the deployment that the preview shows: %w", err)
	}
	return w.deps.Cloud.Previews.Point(ctx, distribution, v.Label, site.Pointer{Sequence: sequence, Pipeline: d.PipelineID, Deployment: live.TreeID})
}

// addressSequence is the sequence of the pointers of deployments' own
// addresses, which never change.
const addressSequence = 1

// address makes the deployment's own address show its tree.
func (w *Workers) address(ctx context.Context, distribution string, pipeline uuid.UUID, number int64, tree uuid.UUID) error {
	label, pointer := troy.DeploymentLabel(number), site.Pointer{Sequence: addressSequence, Pipeline: pipeline, Deployment: tree}
	err := w.deps.Cloud.Previews.Point(ctx, distribution, label, pointer)
	if errors.Is(err, cloud.ErrStalePointer) {
		// Another deployment had the number, so this database was restored from
		// an older backup.
		if err = w.deps.Cloud.Previews.Unpoint(ctx, distribution, label, math.MaxInt64); err == nil {
			err = w.deps.Cloud.Previews.Point(ctx, distribution, label, pointer)
		}
	}
	if err != nil {
		return fmt.Errorf("give deployment %d its address: %w", number, err)
	}
	return nil
}

// addressing is address for a site's deployment that is live. If it fails,
// retention repeats it.
func (w *Workers) addressing(ctx context.Context, c *claim, distribution string, d queries.Deployment) {
	if w.deps.Cloud.Previews == nil {
		return
	}
	if err := w.address(ctx, distribution, d.PipelineID, d.Number, d.TreeID); err != nil && !errors.Is(err, cloud.ErrNotDeployed) {
		c.log.Warn("a deployment has no address of its own yet", "error", err)
	}
}

// addresses removes the own addresses of deployments whose trees were given up,
// and repeats those of the others, which may be missing. What people have to
// repair first does not hold up the removal of the trees.
func (w *Workers) addresses(ctx context.Context, c *claim, pipeline queries.Pipeline, pruned []queries.DeploymentsPruneRow) error {
	if w.deps.Cloud.Previews == nil || pipeline.DistributionID == nil {
		return nil
	}
	distribution := *pipeline.DistributionID
	for _, d := range pruned {
		if err := w.deps.Cloud.Previews.Unpoint(ctx, distribution, troy.DeploymentLabel(d.Number), math.MaxInt64); err != nil {
			return fmt.Errorf("remove the address of deployment %d: %w", d.Number, err)
		}
	}
	if pipeline.Status.InDeletion() {
		return nil
	}
	if err := w.awaitProtection(ctx, pipeline.ID); err != nil {
		return err
	}
	kept, err := w.q.DeploymentsAddressed(ctx, pipeline.ID)
	if err != nil {
		return fmt.Errorf("list the deployments with addresses: %w", err)
	}
	for _, d := range kept {
		err := w.address(ctx, distribution, pipeline.ID, d.Number, d.TreeID)
		switch kind := troy.KindOf(err); {
		case errors.Is(err, cloud.ErrNotFound):
			return nil // the distribution is deleted
		case errors.Is(err, cloud.ErrNotDeployed):
			return comeBack(previewUnready, "what serves the previews is being made")
		case kind == troy.Conflict || kind == troy.Forbidden:
			c.log.Warn("deployments have no addresses of their own", "error", err)
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}
