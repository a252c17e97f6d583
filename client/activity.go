package client

import (
	"context"
	"iter"
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

// Activity yields what happened to a pipeline or, if pipeline is empty, to all
// that the token may see, newest first. It ends after the first error.
func (c *Client) Activity(ctx context.Context, pipeline string) iter.Seq2[Activity, error] {
	type page struct {
		Activity []Activity `json:"activity"`
		Next     string     `json:"next"`
	}
	return pages(func(after string) ([]Activity, string, error) {
		var p page
		err := c.get(ctx, "/v1/activity", pageQuery(ofPipeline(pipeline), after), &p)
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
}

// Queue yields the work of a pipeline or, if pipeline is empty, of all that the
// token may see: first what is running, then the rest by the time when it is due.
// It ends after the first error.
func (c *Client) Queue(ctx context.Context, pipeline string) iter.Seq2[Work, error] {
	type page struct {
		Queue []Work `json:"queue"`
		Next  string `json:"next"`
	}
	return pages(func(after string) ([]Work, string, error) {
		var p page
		err := c.get(ctx, "/v1/queue", pageQuery(ofPipeline(pipeline), after), &p)
		return p.Queue, p.Next, err
	})
}

func ofPipeline(pipeline string) url.Values {
	if pipeline == "" {
		return nil
	}
	return url.Values{"pipeline": {pipeline}}
}
