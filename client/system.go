package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
)

// System describes an installation of Troy.
type System struct {
	At      time.Time `json:"at"` // when this was true
	Version string    `json:"version"`
	Commit  string    `json:"commit,omitempty"`
	Go      string    `json:"go"`
	Schema  int64     `json:"schema"` // the newest migration that was applied
	// SweptAt is when the last sweep finished, and Redis whether Redis works.
	SweptAt   time.Time     `json:"swept_at"`
	Redis     bool          `json:"redis"`
	Findings  []Finding     `json:"findings"`
	Workers   []Worker      `json:"workers"`
	Forges    []ForgeAccess `json:"forges"`
	SignIn    *SignIn       `json:"sign_in,omitempty"` // nil means by token alone
	Retention Retention     `json:"retention"`
}

// Finding is the result of a check.
type Finding struct {
	Part string `json:"part"`
	Said string `json:"said"`
	// Remedy says what to do; it is empty if all is well.
	Remedy string `json:"remedy,omitempty"`
}

// Worker is a process that runs the workers.
type Worker struct {
	ID         uuid.UUID `json:"id"`
	Host       string    `json:"host"`
	PID        int64     `json:"pid"`
	Version    string    `json:"version"`
	Slots      int       `json:"slots"`
	BuildSlots int       `json:"build_slots"`
	StartedAt  time.Time `json:"started_at"`
	SeenAt     time.Time `json:"seen_at"`
	// Silent means that it was killed or can't reach Postgres.
	Silent  bool      `json:"silent"`
	Running []Running `json:"running"`
}

// Running is a task that a worker carries out.
type Running struct {
	Kind      string    `json:"kind"`
	SubjectID uuid.UUID `json:"subject_id"`
	Pipeline  string    `json:"pipeline,omitempty"` // the slug
	Number    int64     `json:"number,omitempty"`   // of the deployment
}

// ForgeAccess is an installation at a forge.
type ForgeAccess struct {
	Provider  string    `json:"provider"`
	Account   string    `json:"account"`
	ID        string    `json:"id"`
	State     string    `json:"state"` // active or suspended
	ChangedAt time.Time `json:"changed_at"`
}

// SignIn is the OpenID Connect issuer with which people sign in.
type SignIn struct {
	Issuer  string  `json:"issuer"`
	Answers bool    `json:"answers"`
	Groups  []Group `json:"groups"`
}

// Group is a group that may use Troy.
type Group struct {
	Name      string   `json:"name"`
	Role      string   `json:"role"`
	Pipelines []string `json:"pipelines"` // slugs; nil means all
}

// Retention is what Troy keeps, and for how long.
type Retention struct {
	Deployments         int   `json:"deployments"` // of a pipeline, besides the live one
	CarryAssetsSeconds  int64 `json:"carry_assets_seconds"`
	UploadsValidSeconds int64 `json:"uploads_valid_seconds"`
	DeliveriesDays      int   `json:"deliveries_days"`
}

// System describes the installation.
func (c *Client) System(ctx context.Context) (System, error) {
	var s System
	return s, c.get(ctx, "/v1/system", nil, &s)
}

// User is someone who signed in to the dashboard with OpenID Connect.
type User struct {
	ID         uuid.UUID `json:"id"`
	Name       string    `json:"name"` // in events
	FullName   string    `json:"full_name,omitempty"`
	Email      string    `json:"email,omitempty"`
	Role       string    `json:"role"`
	Pipelines  []string  `json:"pipelines"` // slugs; nil means all
	Groups     []string  `json:"groups"`
	SignedInAt time.Time `json:"signed_in_at"`
	// Expired means that the last sign-in is more than a day ago.
	Expired bool `json:"expired"`
}

// SignOutUser ends all sessions of a user. It needs an admin's token for all
// pipelines.
func (c *Client) SignOutUser(ctx context.Context, id uuid.UUID) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/users/" + id.String()}, nil)
}

// Users yields the users, the last sign-in first. It ends after the first error.
func (c *Client) Users(ctx context.Context) iter.Seq2[User, error] {
	type page struct {
		Users []User `json:"users"`
		Next  string `json:"next"`
	}
	return pages(func(after string) ([]User, string, error) {
		var p page
		err := c.get(ctx, "/v1/users", pageQuery(nil, after), &p)
		return p.Users, p.Next, err
	})
}

// Session is a browser that is signed in to the dashboard.
type Session struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"` // token or user
	HolderID  uuid.UUID `json:"holder_id"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	CreatedAt time.Time `json:"created_at"`
	SeenAt    time.Time `json:"seen_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Browser   string    `json:"browser"` // its User-Agent
}

// Sessions yields the sessions, the newest first: for an admin of all pipelines
// all, else those of the own token. It ends after the first error.
func (c *Client) Sessions(ctx context.Context) iter.Seq2[Session, error] {
	type page struct {
		Sessions []Session `json:"sessions"`
		Next     string    `json:"next"`
	}
	return pages(func(after string) ([]Session, string, error) {
		var p page
		err := c.get(ctx, "/v1/sessions", pageQuery(nil, after), &p)
		return p.Sessions, p.Next, err
	})
}

// RevokeSession signs a browser out.
func (c *Client) RevokeSession(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/sessions/" + url.PathEscape(id), repeatable: true}, nil)
}

// Storage is what a pipeline stores. Files that its deployments share count for
// each of them.
type Storage struct {
	PipelineID  uuid.UUID `json:"pipeline_id"`
	Pipeline    string    `json:"pipeline"` // the slug
	Name        string    `json:"name"`
	Deployments int64     `json:"deployments"` // with files of their own
	Files       int64     `json:"files"`
	Bytes       int64     `json:"bytes"`
	// UsedFiles and UsedBytes count shared files once, and unfinished uploads.
	UsedFiles int64 `json:"used_files"`
	UsedBytes int64 `json:"used_bytes"`
}

// Storage yields what the pipelines store that the token may see, the largest
// first. It ends after the first error.
func (c *Client) Storage(ctx context.Context) iter.Seq2[Storage, error] {
	type page struct {
		Storage []Storage `json:"storage"`
		Next    string    `json:"next"`
	}
	return pages(func(after string) ([]Storage, string, error) {
		var p page
		err := c.get(ctx, "/v1/storage", pageQuery(nil, after), &p)
		return p.Storage, p.Next, err
	})
}
