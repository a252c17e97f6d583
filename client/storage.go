package client

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

// Usage is what a pipeline stores, and what it may. Files that its trees share
// count once. Unfinished uploads count from their declaration.
type Usage struct {
	PipelineID   uuid.UUID `json:"pipeline_id"`
	Bytes        int64     `json:"bytes"`
	Files        int64     `json:"files"`
	OpenReleases int64     `json:"open_releases"`
	// CountedAt is when the files were counted last. Since then, only what was
	// added is known.
	CountedAt *time.Time `json:"counted_at,omitempty"`
	Quota     Quota      `json:"quota"`
	OwnQuota  OwnQuota   `json:"own_quota"`
}

// Quota are limits; 0 means no limit.
type Quota struct {
	Bytes        int64 `json:"bytes"`
	Files        int64 `json:"files"`
	OpenReleases int64 `json:"open_releases"`
}

// OwnQuota are the limits of a pipeline that differ from the installation's; a
// nil one is the installation's, 0 means no limit.
type OwnQuota struct {
	Bytes        *int64 `json:"bytes"`
	Files        *int64 `json:"files"`
	OpenReleases *int64 `json:"open_releases"`
}

// Usage returns what a pipeline stores.
func (c *Client) Usage(ctx context.Context, pipeline string) (Usage, error) {
	var u Usage
	path, err := pipelinePath(pipeline)
	if err != nil {
		return u, err
	}
	return u, c.get(ctx, path+"/storage", nil, &u)
}

// SetQuota sets the limits of a pipeline that differ from the installation's.
// Only unlimited admins may.
func (c *Client) SetQuota(ctx context.Context, pipeline string, own OwnQuota) (Usage, error) {
	var u Usage
	path, err := pipelinePath(pipeline)
	if err != nil {
		return u, err
	}
	k, err := jsonCall(http.MethodPut, path+"/quota", own)
	if err != nil {
		return u, err
	}
	k.repeatable = true
	return u, c.do(ctx, k, &u)
}

// Pruning is what a prune removes. Files and Bytes are those that nothing else
// of the pipeline needs.
type Pruning struct {
	DryRun      bool     `json:"dry_run"`
	Deployments []Pruned `json:"deployments"`
	Files       int64    `json:"files"`
	Bytes       int64    `json:"bytes"`
}

// Pruned is a deployment whose files are removed.
type Pruned struct {
	ID        uuid.UUID            `json:"id"`
	Number    int64                `json:"number"`
	Kind      troy.DeploymentKind  `json:"kind"`
	State     troy.DeploymentState `json:"state"`
	Message   string               `json:"message"`
	Files     int64                `json:"files"`
	Bytes     int64                `json:"bytes"`
	CreatedAt time.Time            `json:"created_at"`
}

// Prune removes the files of a pipeline's deployments except the live one, the
// newest keep (0 means 10, the least) and those that open previews show. With
// dryRun it changes nothing.
func (c *Client) Prune(ctx context.Context, pipeline string, keep int, dryRun bool) (Pruning, error) {
	var p Pruning
	path, err := pipelinePath(pipeline)
	if err != nil {
		return p, err
	}
	body := map[string]any{"dry_run": dryRun}
	if keep != 0 {
		body["keep"] = keep
	}
	k, err := jsonCall(http.MethodPost, path+"/prune", body)
	if err != nil {
		return p, err
	}
	k.repeatable = true
	return p, c.do(ctx, k, &p)
}
