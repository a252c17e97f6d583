package intake

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/watch"
)

// Head is the newest commit of a branch.
type Head struct {
	Branch, Commit, Message, Author string
	// Base is the head that Troy knew when it read the branch, or empty. If
	// Troy knows another by now, the read may be stale: the branch is read
	// again. Paths are the files that differ between the two. PathsComplete
	// reports whether Paths has all of them.
	Base          string
	Paths         []string
	PathsComplete bool
}

// HeadFound accepts a commit at the head of a pipeline's branch that no webhook
// reported, or not enough about. It reports whether it made a deployment.
func (in *Intake) HeadFound(ctx context.Context, pipeline uuid.UUID, h Head) (made bool, err error) {
	var n notes
	err = in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		push := troy.Push{
			Kind: troy.Branch, Name: h.Branch, After: h.Commit, Message: h.Message, Author: h.Author, Skip: watch.SkipReason(h.Message),
			Before: h.Base, Paths: h.Paths, PathsComplete: h.PathsComplete && h.Base != "",
		}
		if h.Base == "" && p.HeadCommit != nil && *p.HeadCommit != h.Commit {
			// A first head was accepted since the read, which may be older.
			return catchUp(ctx, q, p.ID)
		}
		if p.HeadCommit == nil {
			if builds, err := headAsked(ctx, q, p, h.Commit); err != nil {
				return err
			} else if builds {
				return q.PipelineSawHead(ctx, h.Commit, p.ID)
			}
		}
		actor := "catch-up"
		if p.AskedCommit == h.Commit {
			actor = p.AskedBy
		}
		decided := decide(&p, h.Branch, push, actor, &n)
		return perform(ctx, q, []decision{decided}, nil)
	})
	if err != nil {
		return false, fmt.Errorf("accept commit %s of pipeline %s: %w", h.Commit, pipeline, err)
	}
	return n.changed, nil
}

// headAsked reports whether the pipeline's running or next deployment builds the
// newest commit of its branch. Another one of that commit would take its place.
func headAsked(ctx context.Context, q *queries.Queries, p queries.Pipeline, head string) (bool, error) {
	running, err := q.DeploymentRunning(ctx, p.ID)
	if err == nil && running.Kind == troy.Automated && text(nil, running.CommitSha) == head {
		return true, nil
	}
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return false, err
	}
	next, err := q.DeploymentNextWaiting(ctx, p.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil || next.Kind != troy.Automated || next.CommitSha != nil {
		return false, err
	}
	upload, err := uploaded(ctx, q, next.ID)
	return !upload, err
}
