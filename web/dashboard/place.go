package dashboard

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// place returns the place in its queue of the work that a pipeline waits for,
// or 0 if it waits for none.
func (d *Dashboard) place(ctx context.Context, p queries.Pipeline) (int64, error) {
	if p.Status != troy.Queued && p.Status != troy.ProvisionRequest {
		return 0, nil
	}
	return d.placeOf(ctx, p.ID, tasks.OfStatus(p.Status))
}

// placeOf returns the place of work of some kinds with a subject, or 0 if none is
// due.
func (d *Dashboard) placeOf(ctx context.Context, subject uuid.UUID, of []string) (int64, error) {
	kinds, queues := tasks.Queues()
	places, err := d.q.WorkPositions(ctx, queries.WorkPositionsParams{PipelineIds: []uuid.UUID{subject}, Kinds: kinds, Queues: queues})
	if err != nil {
		return 0, fmt.Errorf("read the place of %s in the queue: %w", subject, err)
	}
	for _, at := range places {
		if at.PipelineID == subject && slices.Contains(of, at.Kind) {
			return at.Position, nil
		}
	}
	return 0, nil
}

// waitsFor says what a waiting deployment waits for, or returns "".
func (d *Dashboard) waitsFor(ctx context.Context, p queries.Pipeline, r queries.Deployment) (string, error) {
	if r.PreviewID != nil {
		n, err := d.placeOf(ctx, r.ID, []string{tasks.TypePreviewBuild})
		if err != nil || n == 0 {
			return "", err
		}
		return fmt.Sprintf("It is at place %d in the queue of previews.", n), nil
	}
	if p.Status == troy.Deploying {
		running, err := d.q.DeploymentRunning(ctx, p.ID)
		if errors.Is(err, pgx.ErrNoRows) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("read the running deployment of pipeline %s: %w", p.ID, err)
		}
		return fmt.Sprintf("It waits for deployment #%d of this pipeline.", running.Number), nil
	}
	n, err := d.place(ctx, p)
	if err != nil || n == 0 {
		return "", err
	}
	return fmt.Sprintf("It is at place %d in the queue.", n), nil
}
