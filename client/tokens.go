package client

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// Token describes a token.
type Token struct {
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
	Role string    `json:"role"` // viewer, deployer or admin
	// Pipelines is nil if the token is good for all pipelines.
	Pipelines []uuid.UUID `json:"pipelines"`
	// Slugs are those of Pipelines that exist. Only Tokens has them.
	Slugs     []string  `json:"slugs,omitempty"`
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
	// LastUsedAt is accurate to the hour.
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"` // nil means never
	Expired    bool       `json:"expired"`
	// PreviewsOnly is set if the token may publish nothing but previews.
	PreviewsOnly bool `json:"previews_only,omitempty"`
	// Token is the token itself. Only the result of CreateToken has it.
	Token string `json:"token,omitempty"`
}

// NewToken is a token to create.
type NewToken struct {
	Name string `json:"name"`
	Role string `json:"role"`
	// Pipelines limits the token to these ids or slugs; nil means all.
	Pipelines []string `json:"pipelines,omitempty"`
	// Expires is a time, a duration such as "30d", or "never"; empty means 90
	// days.
	Expires string `json:"expires,omitempty"`
}

// Tokens yields the tokens, newest first. It ends after the first error.
func (c *Client) Tokens(ctx context.Context) iter.Seq2[Token, error] {
	type page struct {
		Tokens []Token `json:"tokens"`
		Next   string  `json:"next"`
	}
	return pages(func(after string) ([]Token, string, error) {
		var p page
		err := c.get(ctx, "/v1/tokens", pageQuery(nil, after), &p)
		return p.Tokens, p.Next, err
	})
}

// CreateToken creates a token. It can't be shown again. If the answer is lost,
// the error is a Conflict, and the token has to be revoked.
func (c *Client) CreateToken(ctx context.Context, n NewToken) (Token, error) {
	var t Token
	return t, c.post(ctx, "/v1/tokens", n, &t)
}

// RevokeToken revokes a token. The server refuses it from then on.
func (c *Client) RevokeToken(ctx context.Context, id uuid.UUID) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/tokens/" + id.String(), repeatable: true}, nil)
}
