package workers

import (
	"context"
	"errors"
	"fmt"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
)

// pollDistroDisabled checks whether the distribution is disabled everywhere. If
// it is not, the task comes back later and holds no worker meanwhile.
func (w *Workers) pollDistroDisabled(ctx context.Context, c *claim) error {
	p, err := w.pipeline(ctx, c)
	if err != nil {
		return err
	}
	if p.Status != troy.ScheduledForDeletion {
		return errMoved
	}
	d, err := w.findDistribution(ctx, c, p)
	switch {
	case errors.Is(err, cloud.ErrNotFound):
		return w.markDeleting(ctx, c, p.ID, "the distribution is gone")
	case err != nil:
		return err
	case d.Enabled:
		// An operator enabled it again, or the read is not consistent with the
		// write yet.
		if err := w.deps.Cloud.CDN.Disable(ctx, d.ID, d.ETag); err != nil && !errors.Is(err, cloud.ErrNotFound) {
			return fmt.Errorf("disable the distribution %s again: %w", d.ID, err)
		}
		return comeBack(w.deps.Cloud.PropagationDelay, "the distribution was still enabled")
	case !d.Deployed:
		return comeBack(w.deps.Cloud.PropagationDelay, "the distribution is still being disabled")
	}
	return w.markDeleting(ctx, c, p.ID, "the distribution is disabled")
}
