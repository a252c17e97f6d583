package lists

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// Preview is a preview of a pipeline's site.
type Preview struct {
	Label     string            `json:"label"`
	Kind      troy.PreviewKind  `json:"kind"`
	State     troy.PreviewState `json:"state"`
	StateName string            `json:"state_name"`
	Cause     string            `json:"cause,omitempty"`
	// Host and URL are its address.
	Host string `json:"host,omitempty"`
	URL  string `json:"url,omitempty"`
	// PullRequest is its number, and SourceURL the page at the forge.
	PullRequest *int64 `json:"pull_request,omitempty"`
	SourceURL   string `json:"source_url,omitempty"`
	Branch      string `json:"branch,omitempty"`
	Title       string `json:"title,omitempty"`
	Author      string `json:"author,omitempty"`
	Commit      string `json:"commit,omitempty"`
	Trusted     bool   `json:"trusted"`
	// Deployment is the number of the newest deployment, and Shown that of the
	// one at the address; 0 means none.
	Deployment int64      `json:"deployment,omitempty"`
	Shown      int64      `json:"shown,omitempty"`
	ShownAt    *time.Time `json:"shown_at,omitempty"`
	Pinned     bool       `json:"pinned"`
	CreatedAt  time.Time  `json:"created_at"`
	PushedAt   time.Time  `json:"pushed_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"` // not of pinned and closed ones
	ClosedAt   *time.Time `json:"closed_at,omitempty"`
}

// PreviewRow returns what PreviewList returns for one preview, also for a closed
// one.
func PreviewRow(ctx context.Context, q *queries.Queries, v queries.Preview) (queries.PreviewListRow, error) {
	row := queries.PreviewListRow{Preview: v}
	newest, err := q.PreviewNewest(ctx, v.ID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return row, fmt.Errorf("read the newest deployment of a preview: %w", err)
	}
	row.NewestNumber, row.NewestState, row.NewestCause = newest.Number, string(newest.State), newest.Cause
	if v.LiveDeploymentID != nil {
		live, err := q.DeploymentGet(ctx, *v.LiveDeploymentID)
		if err != nil {
			return row, fmt.Errorf("read the deployment that a preview shows: %w", err)
		}
		row.LiveNumber, row.LiveAt = live.Number, live.FinishedAt
	}
	return row, nil
}

// PreviewOf converts a row. It leaves the address empty.
func PreviewOf(r queries.PreviewListRow) Preview {
	p := r.Preview
	v := Preview{
		Label: p.Label, Kind: p.Kind, PullRequest: p.Number, SourceURL: p.Url, Branch: p.Branch, Title: p.Title, Author: p.Author,
		Trusted: p.Trusted, Deployment: r.NewestNumber, Shown: r.LiveNumber, ShownAt: utc(r.LiveAt), Pinned: p.Pinned,
		CreatedAt: p.CreatedAt.UTC(), PushedAt: p.PushedAt.UTC(), ClosedAt: utc(p.ClosedAt),
	}
	if p.HeadCommit != nil {
		v.Commit = *p.HeadCommit
	}
	if !p.Pinned && p.ClosedAt == nil {
		v.ExpiresAt = utc(&p.ExpiresAt)
	}
	v.State, v.Cause = previewState(r)
	v.StateName = v.State.String()
	return v
}

// previewState returns the state of a preview and its cause.
func previewState(r queries.PreviewListRow) (troy.PreviewState, string) {
	p := r.Preview
	switch state := troy.DeploymentState(r.NewestState); {
	case p.RemovedAt != nil:
		return troy.PreviewRemoved, p.ClosedCause
	case p.ClosedAt != nil:
		return troy.PreviewRemoving, p.ClosedCause
	case !p.Trusted && p.HeadCommit != nil && (p.ApprovedCommit == nil || *p.ApprovedCommit != *p.HeadCommit):
		return troy.PreviewNeedsApproval, "the author may not write to the repository"
	case state == "":
		return troy.PreviewEmpty, ""
	case state == troy.Waiting, state == troy.Building, state == troy.Publishing:
		return troy.PreviewState(state), ""
	case state == troy.Succeeded && p.LiveDeploymentID != nil:
		return troy.PreviewReady, ""
	case state == troy.Succeeded: // before the preview was opened again
		return troy.PreviewEmpty, ""
	}
	return troy.PreviewFailed, r.NewestCause
}
