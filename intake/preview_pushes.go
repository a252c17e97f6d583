package intake

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// branchOfPipeline identifies a branch's preview.
type branchOfPipeline struct {
	pipeline uuid.UUID
	branch   string
}

// previewBranches builds the pushed commits of branches that have previews, and
// closes the previews of deleted branches. The pipelines are locked.
func (s *pushes) previewBranches(ctx context.Context, q *queries.Queries, batch []*push, bound [][]queries.PushRecordsRow, pipelines map[uuid.UUID]*queries.Pipeline, open []queries.Preview) error {
	known := map[branchOfPipeline]queries.Preview{}
	for _, v := range open {
		known[branchOfPipeline{v.PipelineID, v.Branch}] = v
	}
	for i, p := range batch {
		for _, row := range bound[i] {
			if row.PipelineID == nil || pipelines[*row.PipelineID] == nil {
				continue
			}
			for _, one := range p.pushes.Pushes {
				v, ok := known[branchOfPipeline{*row.PipelineID, one.Name}]
				if !ok || one.Kind != troy.Branch {
					continue
				}
				if err := s.previewPush(ctx, q, *pipelines[*row.PipelineID], v, one, "push by "+orUnknown(p.pushes.Pusher)); err != nil {
					return fmt.Errorf("preview the branch %s of %s: %w", one.Name, pipelines[*row.PipelineID].Slug, err)
				}
			}
		}
	}
	return nil
}

func (s *pushes) previewPush(ctx context.Context, q *queries.Queries, p queries.Pipeline, v queries.Preview, push troy.Push, actor string) error {
	if push.Deleted {
		return s.in.ClosePreview(ctx, q, p, v, "the branch was deleted", actor)
	}
	_, _, err := s.in.BuildPreview(ctx, q, p, v, PreviewCommit{Commit: push.After, Branch: push.Name, Author: push.Author, Message: push.Message}, actor)
	switch troy.KindOf(err) {
	case troy.Conflict, troy.Invalid: // the pipeline can't be built now
		return nil
	}
	return err
}
