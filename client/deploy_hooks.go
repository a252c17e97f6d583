package client

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// DeployHook is an address at which anyone who knows it starts a deployment of
// a pipeline.
type DeployHook struct {
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
	// Branch is empty for the pipeline's branch.
	Branch     string     `json:"branch,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	CreatedBy  string     `json:"created_by"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
	// URL is the address, which has the secret. Only CreateDeployHook returns it.
	URL string `json:"url,omitempty"`
}

// DeployHooks returns the deploy hooks of a pipeline, the oldest first.
func (c *Client) DeployHooks(ctx context.Context, pipeline string) ([]DeployHook, error) {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return nil, err
	}
	var list struct {
		Hooks []DeployHook `json:"hooks"`
	}
	err = c.get(ctx, path+"/hooks", nil, &list)
	return list.Hooks, err
}

// CreateDeployHook makes a deploy hook of a pipeline. An empty branch means the
// pipeline's. Its address can't be shown again. If the answer is lost, the error
// is a Conflict, and the hook has to be deleted.
func (c *Client) CreateDeployHook(ctx context.Context, pipeline, name, branch string) (DeployHook, error) {
	var h DeployHook
	path, err := pipelinePath(pipeline)
	if err != nil {
		return h, err
	}
	return h, c.post(ctx, path+"/hooks", map[string]string{"name": name, "branch": branch}, &h)
}

// DeleteDeployHook deletes a deploy hook of a pipeline. Its calls are refused
// from then on.
func (c *Client) DeleteDeployHook(ctx context.Context, pipeline string, id uuid.UUID) error {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path + "/hooks/" + id.String()}, nil)
}
