package workers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

const (
	// previewTurn is the wait of a preview's build while a site's build waits
	// for a worker.
	previewTurn = 2 * time.Second
	// previewPatience is how long it waits at most.
	previewPatience = 5 * time.Minute
	// previewBusy is the wait for another deployment of the same preview.
	previewBusy = time.Second
)

// previewBuild builds the commit of a preview's deployment, as build does for a
// site, after the builds of sites.
func (w *Workers) previewBuild(ctx context.Context, c *claim) error {
	wait, err := w.q.PreviewsMustWait(ctx)
	if err != nil {
		return fmt.Errorf("look for builds of sites: %w", err)
	}
	d, err := w.q.DeploymentGet(ctx, c.task.Subject)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the deployment: %w", err)
	}
	if wait && d.State == troy.Waiting && c.age < cmp.Or(w.cfg.PreviewPatience, previewPatience) {
		return comeBack(previewTurn, "the build of a site comes first")
	}
	if err == nil && !d.Trusted {
		defer w.strangers.Add(-1)
		if w.strangers.Add(1) > int64(max(w.cfg.PreviewSlots/2, 1)) {
			return comeBack(previewTurn, "builds of strangers' commits have half of the slots, and all of these are taken")
		}
	}
	return w.build(ctx, c)
}

// startPreview runs the statement with which a waiting deployment of a preview
// starts. Only one deployment of a preview runs at a time.
func startPreview[P any](ctx context.Context, w *Workers, d queries.Deployment, statement func(*queries.Queries, context.Context, P) (uuid.UUID, error), params P) error {
	err := move(ctx, w, d.PipelineID, statement, params)
	if !errors.Is(err, errMoved) {
		return err
	}
	now, err := w.q.DeploymentGet(ctx, d.ID)
	if err == nil && now.State == troy.Waiting {
		v, err := w.q.PreviewGet(ctx, *d.PreviewID)
		if err == nil && v.ClosedAt == nil {
			return comeBack(previewBusy, "another deployment of the preview is being published")
		}
	}
	return errMoved
}

// failPreview marks a deployment of a preview as failed. What the preview shows
// does not change.
func (w *Workers) failPreview(ctx context.Context, c *claim, d queries.Deployment, cause string) error {
	return move(ctx, w, d.PipelineID, (*queries.Queries).PreviewFail, queries.PreviewFailParams{Kind: c.task.Kind, ID: d.ID, Epoch: c.epoch, Cause: cause})
}

// hostOf returns the host at which a deployment will be seen.
func (w *Workers) hostOf(ctx context.Context, row *building) (string, error) {
	if row.Deployment.PreviewID == nil {
		return row.Host, nil
	}
	v, err := w.q.PreviewGet(ctx, *row.Deployment.PreviewID)
	if err != nil {
		return "", fmt.Errorf("read the preview: %w", err)
	}
	return site.PreviewHost(v.Label, row.Pipeline.Slug, w.cfg.PreviewSuffix), nil
}
