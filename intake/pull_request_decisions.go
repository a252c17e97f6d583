package intake

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// unpreviewed requests a report to the forge that says why the newest commit of a
// pull request has no preview. A check that the forge requires would wait
// without end. Troy reports nothing if the pipeline has no previews of pull
// requests at all, or if the commit's id is abbreviated, as Bitbucket's deliveries have it.
func unpreviewed(ctx context.Context, q *queries.Queries, p queries.Pipeline, commit, why string) error {
	var settings troy.BuildSettings
	if err := json.Unmarshal(p.BuildSettings, &settings); err != nil {
		return fmt.Errorf("read the build settings: %w", err)
	}
	if settings.PullRequests == troy.NoPullRequests || len(commit) < len("da39a3ee5e6b4b0d3255bfef95601890afd80709") {
		return nil
	}
	var failed error
	q.SkipCreates(ctx, []queries.SkipCreatesParams{{ID: uuid.Must(uuid.NewV7()), PipelineID: p.ID, CommitSha: commit, Reason: why, Preview: true}}).
		Exec(func(_ int, err error) { failed = err })
	return failed
}

// PullRequestDecision is what a worker decided about the newest commit of a pull
// request.
type PullRequestDecision struct {
	// Version is the version of the row on which the decision is based.
	ID      uuid.UUID
	Version int64
	// Skip says why there is no preview; the members below Head are not set then.
	Skip string
	// Head is the commit that is not built, or empty if it is not known.
	Head   string
	Source PreviewSource
	Commit PreviewCommit
	// Why says why the author is trusted or not.
	Why string
}

// PullRequestDecided opens the preview of a pull request and requests the build
// of its newest commit. It does nothing if more is known of the pull request by
// now; another decision was requested then.
func (in *Intake) PullRequestDecided(ctx context.Context, pipeline uuid.UUID, d PullRequestDecision) error {
	err := in.ChangePreviews(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		decision := d.Skip
		if decision == "" {
			decision = d.Why
		}
		n, err := q.PullRequestDecide(ctx, queries.PullRequestDecideParams{ID: d.ID, Version: d.Version, Decision: decision})
		if err != nil || n == 0 {
			return err
		}
		if d.Skip != "" {
			return unpreviewed(ctx, q, p, d.Head, d.Skip)
		}
		actor := atForge(d.Source.Author, text(nil, p.RepositoryProvider))
		v, err := in.OpenPreview(ctx, q, p, d.Source, actor)
		if err != nil {
			return err
		}
		if _, _, err := in.BuildPreview(ctx, q, p, v, d.Commit, actor); err != nil {
			return err
		}
		return q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypePreviewReport, SubjectID: v.ID})
	})
	if err != nil {
		return fmt.Errorf("preview pull request %d of pipeline %s: %w", d.Source.Number, pipeline, err)
	}
	return nil
}
