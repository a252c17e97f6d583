package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

// PipelineChange lists the settings to change. Nil fields stay unchanged.
type PipelineChange struct {
	Repository    *RepositoryChange `json:"repository,omitempty"`
	WatchPaths    *[]string         `json:"watch_paths,omitempty"`
	CancelRunning *bool             `json:"cancel_running,omitempty"`
	// Build has the settings of troy.BuildSettings to change, by their JSON
	// names, such as "drop_assets": true. An empty text leaves the decision to
	// the repository.
	Build map[string]any `json:"build,omitempty"`
	// NoRepository disconnects the repository.
	NoRepository bool `json:"-"`
	// IfMatch is the ETag of the settings that the change is made from. If
	// they are others by now, the error is Moved. Empty means no condition.
	IfMatch string `json:"-"`
}

// RepositoryChange lists the parts of a pipeline's source to change. An empty
// branch means the repository's default, an empty root the whole repository.
type RepositoryChange struct {
	Provider *troy.Provider `json:"provider,omitempty"`
	FullName *string        `json:"full_name,omitempty"`
	Branch   *string        `json:"branch,omitempty"`
	Root     *string        `json:"root,omitempty"`
}

// ConfigurePipeline changes the settings of a pipeline's builds. With IfMatch it
// does not retry after a lost response, because the first attempt may have
// changed the ETag.
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
	k.repeatable = change.IfMatch == ""
	if change.IfMatch != "" {
		k.header.Set("If-Match", change.IfMatch)
	}
	k.tag = &p.ETag
	err = c.do(ctx, k, &p)
	return p, err
}

// Deploy builds and deploys a commit of the pipeline's repository, given by its
// full id, or the head of its branch if commit is empty. Deploy does not retry
// after a lost response, because that could start a second build.
func (c *Client) Deploy(ctx context.Context, pipeline, commit string) (Deployment, error) {
	body := map[string]string{}
	if commit != "" {
		body["commit"] = commit
	}
	return c.newDeployment(ctx, pipeline, "/deployments", body)
}

// DeploySource builds and deploys the files of a release that has all of them
// and is not finalized: in the order of their paths the parts, of at most
// SourcePart bytes each, of a tar under Zstandard with one folder at the top. The
// release is removed after the build.
func (c *Client) DeploySource(ctx context.Context, pipeline string, release uuid.UUID) (Deployment, error) {
	return c.newDeployment(ctx, pipeline, "/deployments", map[string]string{"source": release.String()})
}

// SourcePart is the maximum size of a part of a source, in bytes.
const SourcePart = 8 << 20

// RetryDeployment deploys the commit or the files of an ended deployment again,
// and returns the new deployment.
func (c *Client) RetryDeployment(ctx context.Context, pipeline string, id uuid.UUID) (Deployment, error) {
	return c.newDeployment(ctx, pipeline, "/deployments/"+id.String()+"/retry", nil)
}

// Variables returns the values of a pipeline's variables, sorted by name and
// context.
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

// VariableValue is a value of a variable for the builds of a context: "all",
// "production", "preview" or "preview:" and a branch. Without a context, a secret
// is for production and any other value for all; it replaces the variable's only
// value for one of these two.
type VariableValue struct {
	Value   string `json:"value"`
	Secret  bool   `json:"secret"`
	Context string `json:"context,omitempty"`
}

// SetVariable sets a variable for a pipeline's builds. The server never shows a
// secret again and keeps it out of logs.
func (c *Client) SetVariable(ctx context.Context, pipeline, name string, value VariableValue) (Variable, error) {
	var v Variable
	path, err := variablePath(pipeline, name)
	if err != nil {
		return v, err
	}
	k, err := jsonCall(http.MethodPut, path, value)
	if err != nil {
		return v, err
	}
	k.repeatable = true
	return v, c.do(ctx, k, &v)
}

// RemoveVariable removes the value of a variable for a context, which may be
// empty if the variable has only one. It does not retry after a lost response,
// because the second response would be NotFound.
func (c *Client) RemoveVariable(ctx context.Context, pipeline, name, context string) error {
	path, err := variablePath(pipeline, name)
	if err != nil {
		return err
	}
	k := call{method: http.MethodDelete, path: path}
	if context != "" {
		k.query = url.Values{"context": {context}}
	}
	return c.do(ctx, k, nil)
}

func variablePath(pipeline, name string) (string, error) {
	p, err := pipelinePath(pipeline)
	if err != nil {
		return "", err
	}
	if name == "" || name == "." || name == ".." || len(name) > 200 {
		return "", troy.Errorf(troy.Invalid, "%q is not a valid variable name", name).At("name")
	}
	return p + "/variables/" + url.PathEscape(name), nil
}
