package client

import (
	"context"
	"net/url"
	"strconv"
)

// Requests counts requests, and the bytes of their responses.
type Requests struct {
	Requests int64 `json:"requests"`
	Bytes    int64 `json:"bytes"`
	NotFound int64 `json:"not_found"` // status 404 and 410
	Errors   int64 `json:"errors"`    // status 500 and higher
}

// Traffic is what was counted at a pipeline's site.
type Traffic struct {
	Requests
	Paths   []PathRequests    `json:"paths"`   // the most requested first
	Missing []MissingRequests `json:"missing"` // the most missed first
	Days    []DayRequests     `json:"days"`    // the oldest first
}

// PathRequests counts the requests of a path. Error is how many of them may
// belong to other paths.
type PathRequests struct {
	Path     string `json:"path"`
	Requests int64  `json:"requests"`
	Bytes    int64  `json:"bytes"`
	Error    int64  `json:"error,omitempty"`
}

// MissingRequests counts the requests of a missing path from one referrer.
type MissingRequests struct {
	Path     string `json:"path"`
	Referrer string `json:"referrer"`
	Requests int64  `json:"requests"`
	Error    int64  `json:"error,omitempty"`
}

// DayRequests counts the requests of a day in UTC.
type DayRequests struct {
	Day string `json:"day"` // "2026-11-29"
	Requests
}

// Traffic returns the requests to a pipeline's site on the last days, 1 to 90.
// The error is Conflict if the installation does not count any.
func (c *Client) Traffic(ctx context.Context, pipeline string, days int) (t Traffic, err error) {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return t, err
	}
	err = c.get(ctx, path+"/traffic", url.Values{"days": {strconv.Itoa(days)}}, &t)
	return t, err
}
