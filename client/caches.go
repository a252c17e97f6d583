package client

import (
	"context"
	"net/http"
	"time"
)

// Cache is a dependency cache of a pipeline's builds.
type Cache struct {
	// Scope is "site", or which previews use it: "branch NAME" or "pull request
	// NUMBER".
	Scope   string `json:"scope"`
	Manager string `json:"manager"`
	// Bytes is the size of all copies; Copies is how many machines keep it.
	Bytes  int64     `json:"bytes"`
	UsedAt time.Time `json:"used_at"`
	Copies int64     `json:"copies"`
}

// Caches returns the dependency caches of a pipeline's builds, the site's first.
func (c *Client) Caches(ctx context.Context, pipeline string) ([]Cache, error) {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return nil, err
	}
	var list struct {
		Caches []Cache `json:"caches"`
	}
	err = c.get(ctx, path+"/cache", nil, &list)
	return list.Caches, err
}

// ClearCaches makes the next builds of a pipeline and its previews start without
// a cache.
func (c *Client) ClearCaches(ctx context.Context, pipeline string) error {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path + "/cache", repeatable: true}, nil)
}
