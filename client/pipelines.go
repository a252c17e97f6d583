package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/troy-iaas/troy"
)

// pageSize is the API's maximum for one page.
const pageSize = 200

// filesPageSize is the maximum for one page of files.
const filesPageSize = 5_000

// NewPipeline describes the pipeline to create.
type NewPipeline struct {
	Name  string `json:"name"`
	Slug  string `json:"slug,omitempty"` // made from the name if empty
	AppID string `json:"app_id,omitempty"`
	// Provision requests provisioning at once; nil means yes.
	Provision *bool `json:"provision,omitempty"`
}

// Pipelines yields the pipelines that the token can see, newest first. If
// status is not empty, it yields only pipelines with that status. It stops
// after the first error.
func (c *Client) Pipelines(ctx context.Context, status troy.Status) iter.Seq2[Pipeline, error] {
	query := url.Values{}
	if status != "" {
		query.Set("status", string(status))
	}
	type page struct {
		Pipelines []Pipeline `json:"pipelines"`
		Next      string     `json:"next"`
	}
	return pages(func(after string) ([]Pipeline, string, error) {
		var p page
		err := c.get(ctx, "/v1/pipelines", pageQuery(query, after), &p)
		return p.Pipelines, p.Next, err
	})
}

// Pipeline returns the pipeline with this id or slug.
func (c *Client) Pipeline(ctx context.Context, pipeline string) (Pipeline, error) {
	var p Pipeline
	path, err := pipelinePath(pipeline)
	if err != nil {
		return p, err
	}
	err = c.do(ctx, call{method: http.MethodGet, path: path, repeatable: true, tag: &p.ETag}, &p)
	return p, err
}

// CreatePipeline creates a pipeline. Retries after a lost response create only
// one.
func (c *Client) CreatePipeline(ctx context.Context, n NewPipeline) (Pipeline, error) {
	var p Pipeline
	return p, c.post(ctx, "/v1/pipelines", n, &p)
}

// ProvisionPipeline requests provisioning.
func (c *Client) ProvisionPipeline(ctx context.Context, pipeline string) (Pipeline, error) {
	var p Pipeline
	path, err := pipelinePath(pipeline)
	if err != nil {
		return p, err
	}
	return p, c.post(ctx, path+"/provision", nil, &p)
}

// DeletePipeline schedules a pipeline's deletion, which begins after the
// server's grace period; now ends that period. From Failed to Delete it retries
// at once.
func (c *Client) DeletePipeline(ctx context.Context, pipeline string, now bool) (Pipeline, error) {
	var p Pipeline
	path, err := pipelinePath(pipeline)
	if err != nil {
		return p, err
	}
	call := call{method: http.MethodDelete, path: path, repeatable: true}
	if now {
		call.query = url.Values{"now": {"true"}}
	}
	return p, c.do(ctx, call, &p)
}

// RestorePipeline undoes the deletion of a pipeline before it begins.
func (c *Client) RestorePipeline(ctx context.Context, pipeline string) (Pipeline, error) {
	var p Pipeline
	path, err := pipelinePath(pipeline)
	if err != nil {
		return p, err
	}
	return p, c.post(ctx, path+"/restore", nil, &p)
}

// LockPipeline locks a pipeline: until it is unlocked, only rollbacks and
// promotions are published.
func (c *Client) LockPipeline(ctx context.Context, pipeline, reason string) (Pipeline, error) {
	var p Pipeline
	path, err := pipelinePath(pipeline)
	if err != nil {
		return p, err
	}
	return p, c.post(ctx, path+"/lock", map[string]string{"reason": reason}, &p)
}

// UnlockPipeline removes a pipeline's lock, if it has one. The newest commit
// that the lock held back is deployed.
func (c *Client) UnlockPipeline(ctx context.Context, pipeline string) (Pipeline, error) {
	var p Pipeline
	path, err := pipelinePath(pipeline)
	if err != nil {
		return p, err
	}
	return p, c.do(ctx, call{method: http.MethodDelete, path: path + "/lock", repeatable: true}, &p)
}

// Purge removes assets that the site keeps from earlier deployments: the file
// at path, the files of a folder if path ends in a slash, or all of them if
// path is empty. It only sends the request; workers remove the files within
// seconds.
func (c *Client) Purge(ctx context.Context, pipeline, what string) (Pipeline, error) {
	var p Pipeline
	path, err := pipelinePath(pipeline)
	if err != nil {
		return p, err
	}
	k, err := jsonCall(http.MethodPost, path+"/purge", map[string]string{"path": what})
	if err != nil {
		return p, err
	}
	k.repeatable = true
	return p, c.do(ctx, k, &p)
}

// Events yields the events of an existing or a deleted pipeline, oldest first.
// It stops after the first error.
func (c *Client) Events(ctx context.Context, pipeline string) iter.Seq2[Event, error] {
	type page struct {
		Events []Event `json:"events"`
		Next   string  `json:"next"`
	}
	return pages(func(after string) ([]Event, string, error) {
		var p page
		path, err := pipelinePath(pipeline)
		if err == nil {
			err = c.get(ctx, path+"/events", pageQuery(nil, after), &p)
		}
		return p.Events, p.Next, err
	})
}

// RingTask rings a task by hand: kind is its type ("pipeline:provision"), id
// its subject's; a sweep has none. From a Failed status this is the retry.
func (c *Client) RingTask(ctx context.Context, kind, id string) (Ring, error) {
	var r Ring
	body := map[string]string{"kind": kind}
	if id != "" {
		body["id"] = id
	}
	return r, c.post(ctx, "/v1/tasks", body, &r)
}

func pipelinePath(pipeline string) (string, error) {
	p, err := segment("pipeline", pipeline)
	return "/v1/pipelines/" + p, err
}

func pageQuery(query url.Values, after string) url.Values {
	q := url.Values{"limit": {strconv.Itoa(pageSize)}}
	for name, values := range query {
		q[name] = values
	}
	if after != "" {
		q.Set("after", after)
	}
	return q
}

// pages yields the items of all pages.
func pages[T any](page func(after string) (items []T, next string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		after := ""
		for {
			items, next, err := page(after)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			// A page that links to itself would never end.
			if next == "" || next == after {
				return
			}
			after = next
		}
	}
}
