package client

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// Trust is a rule by which jobs of CI get tokens of a pipeline.
type Trust struct {
	ID       uuid.UUID `json:"id"`
	Provider string    `json:"provider"` // github, gitlab or bitbucket
	Issuer   string    `json:"issuer"`
	// RepositoryID and OwnerID are the provider's own ids, which survive renames.
	RepositoryID string `json:"repository_id"`
	OwnerID      string `json:"owner_id"`
	// Ref, Environment and Workflow are empty if the rule accepts any.
	Ref         string `json:"ref,omitempty"`
	Environment string `json:"environment,omitempty"`
	Workflow    string `json:"workflow,omitempty"`
	// PreviewsOnly is set if the rule's tokens may publish nothing but previews.
	PreviewsOnly bool      `json:"previews_only"`
	CreatedAt    time.Time `json:"created_at"`
	CreatedBy    string    `json:"created_by"`
}

// NewTrust is a trust rule to add.
type NewTrust struct {
	Provider     string `json:"provider"`
	Issuer       string `json:"issuer,omitempty"` // empty means the provider's own
	RepositoryID string `json:"repository_id"`
	OwnerID      string `json:"owner_id"`
	Ref          string `json:"ref,omitempty"`
	Environment  string `json:"environment,omitempty"`
	Workflow     string `json:"workflow,omitempty"`
	PreviewsOnly bool   `json:"previews_only,omitempty"`
}

// Trusts returns the trust rules of a pipeline, the oldest first.
func (c *Client) Trusts(ctx context.Context, pipeline string) ([]Trust, error) {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return nil, err
	}
	var list struct {
		Trusts []Trust `json:"trusts"`
	}
	err = c.get(ctx, path+"/trusts", nil, &list)
	return list.Trusts, err
}

// AddTrust adds a trust rule to a pipeline.
func (c *Client) AddTrust(ctx context.Context, pipeline string, n NewTrust) (Trust, error) {
	var t Trust
	path, err := pipelinePath(pipeline)
	if err != nil {
		return t, err
	}
	return t, c.post(ctx, path+"/trusts", n, &t)
}

// RemoveTrust removes a trust rule from a pipeline. The tokens that jobs got by
// it end at once.
func (c *Client) RemoveTrust(ctx context.Context, pipeline string, id uuid.UUID) error {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path + "/trusts/" + id.String()}, nil)
}

// Exchanged is a token that a job of CI got.
type Exchanged struct {
	Token        string    `json:"token"`
	ExpiresAt    time.Time `json:"expires_at"`
	Pipeline     string    `json:"pipeline"` // its slug
	PreviewsOnly bool      `json:"previews_only"`
}

// ExchangeToken exchanges a token of a CI's issuer for one of a pipeline. It
// needs no token. The issuer's token is good for one exchange, so ExchangeToken
// is not repeated if the answer is lost.
func (c *Client) ExchangeToken(ctx context.Context, pipeline, token string) (Exchanged, error) {
	var e Exchanged
	k, err := jsonCall(http.MethodPost, "/v1/token", map[string]string{"pipeline": pipeline, "token": token})
	if err != nil {
		return e, err
	}
	return e, c.do(ctx, k, &e)
}
