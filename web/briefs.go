package web

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

// briefJSON is what a pipeline says about one of its deployments.
type briefJSON struct {
	ID      uuid.UUID            `json:"id"`
	Number  int64                `json:"number"`
	Kind    troy.DeploymentKind  `json:"kind"`
	State   troy.DeploymentState `json:"state"`
	Commit  string               `json:"commit,omitempty"`
	Branch  string               `json:"branch,omitempty"`
	Message string               `json:"message,omitempty"`
	By      string               `json:"by"`
	// Since is when it went live or, before that, when it was started or created.
	Since time.Time `json:"since"`
}

// brief has a pipeline's live deployment, and the one that is running or waits
// the longest.
type brief struct{ live, next *briefJSON }

func (s *server) briefs(ctx context.Context, pipelines []uuid.UUID) (map[uuid.UUID]brief, error) {
	rows, err := s.q.DeploymentsBrief(ctx, pipelines)
	if err != nil {
		return nil, fmt.Errorf("read the deployments of pipelines: %w", err)
	}
	out := map[uuid.UUID]brief{}
	for _, d := range rows {
		j := &briefJSON{
			ID: d.ID, Number: d.Number, Kind: d.Kind, State: d.State, Commit: deref(d.CommitSha), Branch: deref(d.Branch),
			Message: d.Message, By: cmp.Or(deref(d.Author), d.Actor), Since: d.CreatedAt.UTC(),
		}
		if d.StartedAt != nil {
			j.Since = d.StartedAt.UTC()
		}
		b := out[d.PipelineID]
		switch {
		case d.Live:
			if d.LiveAt != nil {
				j.Since = d.LiveAt.UTC()
			}
			b.live = j
		case b.next == nil || b.next.State == troy.Waiting && d.State != troy.Waiting:
			b.next = j
		}
		out[d.PipelineID] = b
	}
	return out, nil
}
