package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

// PipelineChange is what ConfigurePipeline changes. A field that is nil stays
// as it is.
type PipelineChange struct {
	Repository    *RepositoryChange `json:"repository,omitempty"`
	WatchPaths    *[]string         `json:"watch_paths,omitempty"`
	CancelRunning *bool             `json:"cancel_running,omitempty"`
	// Build has the members of troy.BuildSettings that change, by their names
	// in JSON, like "drop_assets": true. An empty text leaves the decision to
	// the repository.
	Build map[string]any `json:"build,omitempty"`
	// NoRepository takes the repository away.
	NoRepository bool `json:"-"`
}

// RepositoryChange changes parts of where the source is. An empty branch is
// the repository's default, an empty root all of its folders.
type RepositoryChange struct {
	Provider *troy.Provider `json:"provider,omitempty"`
	FullName *string        `json:"full_name,omitempty"`
	Branch   *string        `json:"branch,omitempty"`
	Root     *string        `json:"root,omitempty"`
}

// ConfigurePipeline changes what a pipeline is built from, and how.
func (c *Client) ConfigurePipeline(ctx context.Context, pipeline string, change PipelineChange) (Pipeline, error) {
	var p Pipeline
	path, err := pipelinePath(pipeline)
	if err != nil {
		return p, err
	}
	var body any = change
	if change.NoRepository {
		change.Repository = nil
		body = struct {
			Repository any `json:"repository"`
			PipelineChange
		}{PipelineChange: change}
	}
	k, err := jsonCall(http.MethodPatch, path, body)
	if err != nil {
		return p, err
	}
	k.repeatable = true
	return p, c.do(ctx, k, &p)
}

// Deploy builds and deploys a commit of the pipeline's repository, by its full
// id, or for an empty one the head of its branch. It is not repeated when the
// answer is lost: a second build could be made.
func (c *Client) Deploy(ctx context.Context, pipeline, commit string) (Deployment, error) {
	body := map[string]string{}
	if commit != "" {
		body["commit"] = commit
	}
	return c.newDeployment(ctx, pipeline, "/deployments", body)
}

// RetryDeployment deploys again what a deployment that ended was to deploy,
// and returns the deployment that does so.
func (c *Client) RetryDeployment(ctx context.Context, pipeline string, id uuid.UUID) (Deployment, error) {
	return c.newDeployment(ctx, pipeline, "/deployments/"+id.String()+"/retry", nil)
}

// Variables returns a pipeline's variables by their names.
func (c *Client) Variables(ctx context.Context, pipeline string) ([]Variable, error) {
	var list struct {
		Variables []Variable `json:"variables"`
	}
	path, err := pipelinePath(pipeline)
	if err != nil {
		return nil, err
	}
	err = c.get(ctx, path+"/variables", nil, &list)
	return list.Variables, err
}

// SetVariable gives a pipeline's builds a variable. A secret is never shown
// again, and kept out of logs.
func (c *Client) SetVariable(ctx context.Context, pipeline, name, value string, secret bool) (Variable, error) {
	var v Variable
	path, err := variablePath(pipeline, name)
	if err != nil {
		return v, err
	}
	k, err := jsonCall(http.MethodPut, path, map[string]any{"value": value, "secret": secret})
	if err != nil {
		return v, err
	}
	k.repeatable = true
	return v, c.do(ctx, k, &v)
}

// RemoveVariable takes a variable away. It is not repeated when the answer is
// lost: the second answer would say that there is none.
func (c *Client) RemoveVariable(ctx context.Context, pipeline, name string) error {
	path, err := variablePath(pipeline, name)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path}, nil)
}

func variablePath(pipeline, name string) (string, error) {
	p, err := pipelinePath(pipeline)
	if err != nil {
		return "", err
	}
	if name == "" || name == "." || name == ".." || len(name) > 200 {
		return "", troy.Errorf(troy.Invalid, "%q can't be a variable's name", name).At("name")
	}
	return p + "/variables/" + url.PathEscape(name), nil
}
