package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
)

// Notifier is told about events of pipelines.
type Notifier struct {
	ID uuid.UUID `json:"id"`
	// PipelineID is nil for a notifier of all pipelines.
	PipelineID *uuid.UUID `json:"pipeline_id"`
	Slug       string     `json:"slug,omitempty"`
	Kind       string     `json:"kind"`  // webhook, slack, discord, teams or email
	Label      string     `json:"label"` // its host and last characters, or the addresses of e-mail
	Events     []string   `json:"events"`
	CreatedAt  time.Time  `json:"created_at"`
	CreatedBy  string     `json:"created_by"`
	// Failures counts the attempts that failed since the last one that did not.
	Failures int `json:"failures"`
	// DisabledAt is set if Troy has disabled it.
	DisabledAt     *time.Time `json:"disabled_at,omitempty"`
	DisabledReason string     `json:"disabled_reason,omitempty"`
	// SigningKey signs webhooks. Only the results of AddNotifier and RotateNotifier
	// have it.
	SigningKey string `json:"signing_key,omitempty"`
	// EarlierKeysUntil is when the last of the keys that were replaced ends. It is
	// nil if there are none.
	EarlierKeysUntil *time.Time `json:"earlier_keys_until,omitempty"`
}

// NewNotifier is a notifier to add.
type NewNotifier struct {
	Pipeline string   `json:"pipeline,omitempty"` // its slug or id; empty means all
	Kind     string   `json:"kind"`
	URL      string   `json:"url,omitempty"`    // for every kind but email
	To       []string `json:"to,omitempty"`     // addresses, for email
	Events   []string `json:"events,omitempty"` // nil means all except deployment.live
}

// Delivery is what a notifier was sent.
type Delivery struct {
	ID         uuid.UUID       `json:"id"` // also the webhook-id
	PipelineID *uuid.UUID      `json:"pipeline_id"`
	Event      string          `json:"event"`
	Details    json.RawMessage `json:"details"`
	CreatedAt  time.Time       `json:"created_at"`
	State      string          `json:"state"` // waiting, delivered or failed
	Attempts   int             `json:"attempts"`
	TriedAt    *time.Time      `json:"tried_at,omitempty"`
	Status     int             `json:"status"` // of the last answer; 0 if there was none
	Answer     string          `json:"answer"`
}

// Notifiers yields the notifiers that concern a pipeline, or every one if
// pipeline is empty, oldest first. It ends after the first error.
func (c *Client) Notifiers(ctx context.Context, pipeline string) iter.Seq2[Notifier, error] {
	type page struct {
		Notifiers []Notifier `json:"notifiers"`
		Next      string     `json:"next"`
	}
	query := url.Values{}
	if pipeline != "" {
		query.Set("pipeline", pipeline)
	}
	return pages(func(after string) ([]Notifier, string, error) {
		var p page
		err := c.get(ctx, "/v1/notifiers", pageQuery(query, after), &p)
		return p.Notifiers, p.Next, err
	})
}

// Notifier returns a notifier.
func (c *Client) Notifier(ctx context.Context, id uuid.UUID) (Notifier, error) {
	var n Notifier
	return n, c.get(ctx, notifierPath(id), nil, &n)
}

// AddNotifier adds a notifier. The signing key of a webhook can't be shown
// again. If the answer is lost, the error is a Conflict, and the notifier has to
// be removed.
func (c *Client) AddNotifier(ctx context.Context, n NewNotifier) (Notifier, error) {
	var made Notifier
	return made, c.post(ctx, "/v1/notifiers", n, &made)
}

// RemoveNotifier removes a notifier with its deliveries.
func (c *Client) RemoveNotifier(ctx context.Context, id uuid.UUID) error {
	return c.do(ctx, call{method: http.MethodDelete, path: notifierPath(id)}, nil)
}

// EnableNotifier enables a notifier that was disabled.
func (c *Client) EnableNotifier(ctx context.Context, id uuid.UUID) (Notifier, error) {
	var n Notifier
	return n, c.post(ctx, notifierPath(id)+"/enable", nil, &n)
}

// RotateNotifier gives a webhook a new signing key, which can't be shown again.
// Those before it sign too for 24 hours. If the answer is lost, the error is a
// Conflict, and the key has to be rotated again.
func (c *Client) RotateNotifier(ctx context.Context, id uuid.UUID) (Notifier, error) {
	var n Notifier
	return n, c.post(ctx, notifierPath(id)+"/rotate", nil, &n)
}

// TestNotifier sends a test message.
func (c *Client) TestNotifier(ctx context.Context, id uuid.UUID) (Delivery, error) {
	var d Delivery
	return d, c.post(ctx, notifierPath(id)+"/test", nil, &d)
}

// Deliveries yields what a notifier was sent, newest first. It ends after the
// first error.
func (c *Client) Deliveries(ctx context.Context, id uuid.UUID) iter.Seq2[Delivery, error] {
	type page struct {
		Deliveries []Delivery `json:"deliveries"`
		Next       string     `json:"next"`
	}
	return pages(func(after string) ([]Delivery, string, error) {
		var p page
		err := c.get(ctx, notifierPath(id)+"/deliveries", pageQuery(nil, after), &p)
		return p.Deliveries, p.Next, err
	})
}

// Redeliver sends a delivery again, with the same id.
func (c *Client) Redeliver(ctx context.Context, notifier, delivery uuid.UUID) (Delivery, error) {
	var d Delivery
	return d, c.post(ctx, notifierPath(notifier)+"/deliveries/"+delivery.String()+"/redeliver", nil, &d)
}

func notifierPath(id uuid.UUID) string { return "/v1/notifiers/" + id.String() }
