package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

// Activity is an event of a pipeline, or another change.
type Activity struct {
	Time  time.Time `json:"time"`
	Actor string    `json:"actor"`
	// Action is "pipeline.status" for an event of a pipeline; otherwise it
	// names the change, such as "token.create".
	Action  string `json:"action"`
	Subject string `json:"subject,omitempty"` // the name of what was changed
	Detail  string `json:"detail,omitempty"`
	// PipelineID is nil if it concerns all pipelines.
	PipelineID *uuid.UUID `json:"pipeline_id,omitempty"`
	Pipeline   string     `json:"pipeline,omitempty"` // the slug
	// From, To, ToName and Version belong to events of pipelines.
	From         troy.Status `json:"from,omitempty"`
	To           troy.Status `json:"to,omitempty"`
	ToName       string      `json:"to_name,omitempty"`
	Version      int64       `json:"version,omitempty"`
	DeploymentID *uuid.UUID  `json:"deployment_id,omitempty"`
	// Number is the deployment's, as long as it exists.
	Number *int64 `json:"number,omitempty"`
	// Remote is the address that a change came from. Only admins see it.
	Remote string `json:"remote,omitempty"`
}

// ActivityFilter says which activity is listed. Empty fields mean all.
type ActivityFilter struct {
	Pipeline string // an id or a slug
	Actor    string // "token ci"
	What     string // an action, the part of one before its dot, or a status
	Search   string
	// Since and Until are a day, a time or a duration before now, such as "30d".
	Since, Until string
}

func (f ActivityFilter) query() url.Values {
	return given(map[string]string{"pipeline": f.Pipeline, "actor": f.Actor, "what": f.What, "search": f.Search, "since": f.Since, "until": f.Until})
}

// given returns the values that are not empty as a query.
func given(values map[string]string) url.Values {
	q := url.Values{}
	for name, value := range values {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// Activity yields what happened, as far as the token may see it, newest first.
// It reads a page at a time and ends after the first error.
func (c *Client) Activity(ctx context.Context, f ActivityFilter) iter.Seq2[Activity, error] {
	type page struct {
		Activity []Activity `json:"activity"`
		Next     string     `json:"next"`
	}
	return pages(func(after string) ([]Activity, string, error) {
		var p page
		err := c.get(ctx, "/v1/activity", pageQuery(f.query(), after), &p)
		return p.Activity, p.Next, err
	})
}

// Work is a task that is not done yet.
type Work struct {
	Kind       string     `json:"kind"` // "pipeline:provision"
	Queue      string     `json:"queue"`
	SubjectID  uuid.UUID  `json:"subject_id"`
	PipelineID *uuid.UUID `json:"pipeline_id,omitempty"`
	Pipeline   string     `json:"pipeline,omitempty"` // the slug
	Number     *int64     `json:"number,omitempty"`   // of the deployment
	// State is running, waiting, failing or later; Why explains it.
	State string `json:"state"`
	Why   string `json:"why"`
	// Position is the place in the queue, from 1.
	Position *int64 `json:"position,omitempty"`
	// Attempts counts those since the last progress, and Cause says why the
	// last one failed.
	Attempts int       `json:"attempts"`
	Cause    string    `json:"cause,omitempty"`
	Since    time.Time `json:"since"`
	DueAt    time.Time `json:"due_at"`
	// LeaseUntil is when another worker takes over from one that says nothing.
	LeaseUntil *time.Time `json:"lease_until,omitempty"`
	// Worker is the process that runs it, since ClaimedAt. Only admins see it.
	Worker    string     `json:"worker,omitempty"`
	ClaimedAt *time.Time `json:"claimed_at,omitempty"`
}

// WorkFilter says which work is listed. Empty fields mean all.
type WorkFilter struct {
	Pipeline           string // an id or a slug
	Queue, Kind, State string
}

// Queue yields the work of a filter, as far as the token may see it: first what
// is running, then the rest by the time when it is due. It ends after the first
// error.
func (c *Client) Queue(ctx context.Context, f WorkFilter) iter.Seq2[Work, error] {
	type page struct {
		Queue []Work `json:"queue"`
		Next  string `json:"next"`
	}
	return pages(func(after string) ([]Work, string, error) {
		var p page
		err := c.get(ctx, "/v1/queue", pageQuery(given(map[string]string{"pipeline": f.Pipeline, "queue": f.Queue, "kind": f.Kind, "state": f.State}), after), &p)
		return p.Queue, p.Next, err
	})
}

// RingWork makes waiting work due at once and describes the result. With afresh,
// the work also gets all of its attempts.
func (c *Client) RingWork(ctx context.Context, w Work, afresh bool) (string, error) {
	path := "/v1/queue/ring"
	if afresh {
		path = "/v1/queue/retry"
	}
	var answer struct {
		Result string `json:"result"`
	}
	err := c.post(ctx, path, map[string]any{"kind": w.Kind, "subject_id": w.SubjectID}, &answer)
	return answer.Result, err
}

// Queue is a queue of work.
type Queue struct {
	Name  string   `json:"name"`
	Kinds []string `json:"kinds"`
	Pause *Lock    `json:"pause,omitempty"` // nil while it runs
	// PausedInRedis says that Asynqmon paused it.
	PausedInRedis bool `json:"paused_in_redis"`
	// The counts are nil for tokens that are limited to some pipelines. If More
	// is set, the counts are minimums.
	Running *int64 `json:"running,omitempty"`
	Due     *int64 `json:"due,omitempty"`
	Failing *int64 `json:"failing,omitempty"`
	More    bool   `json:"more,omitempty"`
}

// Queues lists the queues.
func (c *Client) Queues(ctx context.Context) ([]Queue, error) {
	var answer struct {
		Queues []Queue `json:"queues"`
	}
	err := c.get(ctx, "/v1/queues", nil, &answer)
	return answer.Queues, err
}

// PauseQueue stops workers from beginning work of a queue.
func (c *Client) PauseQueue(ctx context.Context, queue, reason string) (q Queue, err error) {
	k, err := jsonCall(http.MethodPut, queuePath(queue), map[string]string{"reason": reason})
	if err != nil {
		return q, err
	}
	k.repeatable = true
	return q, c.do(ctx, k, &q)
}

// ResumeQueue lets workers begin work of a queue again.
func (c *Client) ResumeQueue(ctx context.Context, queue string) (q Queue, err error) {
	return q, c.do(ctx, call{method: http.MethodDelete, path: queuePath(queue), repeatable: true}, &q)
}

func queuePath(queue string) string { return "/v1/queues/" + url.PathEscape(queue) + "/pause" }

// Day counts the deployments that ended on a day in UTC.
type Day struct {
	Day        string   `json:"day"`
	Succeeded  int64    `json:"succeeded"`
	Failed     int64    `json:"failed"`
	Cancelled  int64    `json:"cancelled"`
	Superseded int64    `json:"superseded"`
	BuildP50   *float64 `json:"build_p50,omitempty"` // seconds; nil if no build ended
	BuildP95   *float64 `json:"build_p95,omitempty"`
}

// Stats are the statistics of the last 30 days, the oldest first.
type Stats struct {
	Days []Day `json:"days"`
	Cut  bool  `json:"cut,omitempty"` // whether there are more deployments than were counted
}

// Stats counts the deployments of a pipeline or, if pipeline is empty, of all
// that the token may see.
func (c *Client) Stats(ctx context.Context, pipeline string) (s Stats, err error) {
	err = c.get(ctx, "/v1/stats", given(map[string]string{"pipeline": pipeline}), &s)
	return s, err
}
