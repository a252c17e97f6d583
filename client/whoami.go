package client

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Whoami describes a client's token and the server that it calls.
type Whoami struct {
	Token  Holder `json:"token"`
	Server Server `json:"server"`
}

// Holder describes a token without the token itself.
type Holder struct {
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
	Role string    `json:"role"` // viewer, deployer or admin
	// Pipelines and Slugs are nil if the token is valid for all pipelines.
	Pipelines []uuid.UUID `json:"pipelines"`
	Slugs     []string    `json:"slugs"`
	// ExpiresAt is nil if the token never expires.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// Server describes a server.
type Server struct {
	URL     string `json:"url"`
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
}

// Whoami returns the client's token and the server, as the server sees them. It
// returns an Unauthenticated error if the token is unknown, revoked or expired.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	var w Whoami
	return w, c.get(ctx, "/v1/whoami", nil, &w)
}
