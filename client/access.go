package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/troy-iaas/troy"
)

// Access says who may see a pipeline's site. With networks, a visitor's address
// must be in one of them; with passwords, the visitor must know one of them.
type Access struct {
	Protected bool `json:"protected"`
	// Scope is what is protected: "site", which includes the previews, or
	// "previews".
	Scope string `json:"scope"`
	// InForce is false until the latest change has reached every place that
	// serves the site.
	InForce bool `json:"in_force"`
	// Previews is who may see the previews: "public", everyone; "password",
	// those whom the passwords and networks admit; "signed-in", those who are
	// signed in to Troy's dashboard and may see the pipeline.
	Previews  string           `json:"previews"`
	Passwords []AccessPassword `json:"passwords"`
	Networks  []string         `json:"networks"`
	ChangedAt *time.Time       `json:"changed_at,omitempty"`
	// Problem says why the latest change is not in force yet, if an attempt to
	// apply it failed.
	Problem string `json:"problem,omitempty"`
}

// AccessPassword is a password of a site. The server never shows the password
// itself.
type AccessPassword struct {
	Name      string    `json:"name"`
	ChangedAt time.Time `json:"changed_at"`
}

// Access returns who may see a pipeline's site.
func (c *Client) Access(ctx context.Context, pipeline string) (Access, error) {
	var a Access
	path, err := pipelinePath(pipeline)
	if err != nil {
		return a, err
	}
	return a, c.get(ctx, path+"/access", nil, &a)
}

// SetAccessPassword adds a password to a pipeline's site, or changes it, which
// ends the sessions that began with it. generated says that the password is
// random, with at least 20 characters; on AWS, programs can send only such a
// password. Like the other changes, it holds when Access.InForce is true.
func (c *Client) SetAccessPassword(ctx context.Context, pipeline, name, password string, generated bool) (Access, error) {
	path, err := accessPasswordPath(pipeline, name)
	if err != nil {
		return Access{}, err
	}
	body := struct {
		Password  string `json:"password"`
		Generated bool   `json:"generated,omitempty"`
	}{password, generated}
	return c.changeAccess(ctx, http.MethodPut, path, body, true)
}

// RemoveAccessPassword removes a password from a pipeline's site. It does not
// retry after a lost response, because the second response would be NotFound.
func (c *Client) RemoveAccessPassword(ctx context.Context, pipeline, name string) (Access, error) {
	path, err := accessPasswordPath(pipeline, name)
	if err != nil {
		return Access{}, err
	}
	return c.changeAccess(ctx, http.MethodDelete, path, nil, false)
}

// AllowNetwork lets visitors from a network see a pipeline's site, and keeps
// those from networks that are not listed from it.
func (c *Client) AllowNetwork(ctx context.Context, pipeline, network string) (Access, error) {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return Access{}, err
	}
	return c.changeAccess(ctx, http.MethodPost, path+"/access/networks", map[string]string{"network": network}, true)
}

// DisallowNetwork removes a network from the list. It does not retry after a
// lost response, because the second response would be NotFound.
func (c *Client) DisallowNetwork(ctx context.Context, pipeline, network string) (Access, error) {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return Access{}, err
	}
	return c.changeAccess(ctx, http.MethodDelete, path+"/access/networks?network="+url.QueryEscape(network), nil, false)
}

// SetAccessScope sets what the passwords and networks protect: "site" or
// "previews". It returns a Conflict error if the site has neither a password nor a network.
func (c *Client) SetAccessScope(ctx context.Context, pipeline, scope string) (Access, error) {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return Access{}, err
	}
	return c.changeAccess(ctx, http.MethodPut, path+"/access/scope", map[string]string{"scope": scope}, true)
}

// SetPreviewAccess sets who may see the previews: "public", "password" or
// "signed-in". "signed-in" again signs everyone out of them.
func (c *Client) SetPreviewAccess(ctx context.Context, pipeline, previews string) (Access, error) {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return Access{}, err
	}
	return c.changeAccess(ctx, http.MethodPut, path+"/access/previews", map[string]string{"previews": previews}, true)
}

// Unprotect removes all passwords and networks, so that everyone may see the
// site.
func (c *Client) Unprotect(ctx context.Context, pipeline string) (Access, error) {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return Access{}, err
	}
	return c.changeAccess(ctx, http.MethodDelete, path+"/access", nil, true)
}

func (c *Client) changeAccess(ctx context.Context, method, path string, body any, repeatable bool) (Access, error) {
	var a Access
	k := call{method: method, path: path}
	if body != nil {
		var err error
		if k, err = jsonCall(method, path, body); err != nil {
			return a, err
		}
	}
	k.repeatable = repeatable
	return a, c.do(ctx, k, &a)
}

func accessPasswordPath(pipeline, name string) (string, error) {
	p, err := pipelinePath(pipeline)
	if err != nil {
		return "", err
	}
	if name == "" || name == "." || name == ".." || len(name) > 200 {
		return "", troy.Errorf(troy.Invalid, "%q is not a valid name of a password", name).At("name")
	}
	return p + "/access/passwords/" + url.PathEscape(name), nil
}
