package client

import (
	"context"
	"net/http"
	"time"
)

// Schedule says when a pipeline deploys by itself.
type Schedule struct {
	// Cron has the five fields of cron, or is a name such as @daily. Zone is a
	// time zone of the IANA database.
	Cron string `json:"cron"`
	Zone string `json:"zone"`
	// NextAt is when it is due next, and LastAt when it was carried out last.
	NextAt time.Time  `json:"next_at"`
	LastAt *time.Time `json:"last_at,omitempty"`
	// Problem says why the last time made no deployment.
	Problem string    `json:"problem,omitempty"`
	SetBy   string    `json:"set_by"`
	SetAt   time.Time `json:"set_at"`
}

// Schedule returns a pipeline's schedule. The error is NotFound if it has none.
func (c *Client) Schedule(ctx context.Context, pipeline string) (Schedule, error) {
	var s Schedule
	path, err := pipelinePath(pipeline)
	if err != nil {
		return s, err
	}
	return s, c.get(ctx, path+"/schedule", nil, &s)
}

// SetSchedule makes a pipeline deploy the newest commit of its branch at the
// times of a schedule, in place of an earlier schedule. An empty zone means UTC.
func (c *Client) SetSchedule(ctx context.Context, pipeline, cron, zone string) (Schedule, error) {
	var s Schedule
	path, err := pipelinePath(pipeline)
	if err != nil {
		return s, err
	}
	body := map[string]string{"cron": cron}
	if zone != "" {
		body["zone"] = zone
	}
	k, err := jsonCall(http.MethodPut, path+"/schedule", body)
	if err != nil {
		return s, err
	}
	k.repeatable = true
	return s, c.do(ctx, k, &s)
}

// RemoveSchedule removes a pipeline's schedule. It does not retry after a lost
// response, because the second response would be NotFound.
func (c *Client) RemoveSchedule(ctx context.Context, pipeline string) error {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path + "/schedule"}, nil)
}
