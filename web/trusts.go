package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/network"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/reply"
)

type trustJSON struct {
	ID           uuid.UUID `json:"id"`
	Provider     string    `json:"provider"`
	Issuer       string    `json:"issuer"`
	RepositoryID string    `json:"repository_id"`
	OwnerID      string    `json:"owner_id"`
	Ref          string    `json:"ref,omitempty"`
	Environment  string    `json:"environment,omitempty"`
	Workflow     string    `json:"workflow,omitempty"`
	PreviewsOnly bool      `json:"previews_only"`
	CreatedAt    time.Time `json:"created_at"`
	CreatedBy    string    `json:"created_by"`
}

func trustOf(t queries.Trust) trustJSON {
	return trustJSON{t.ID, t.Provider, t.Issuer, t.RepositoryID, t.OwnerID, t.Ref, t.Environment, t.Workflow, t.PreviewsOnly, t.CreatedAt.UTC(), t.CreatedBy}
}

func (s *server) trustList(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	rows, err := s.q.TrustList(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("list the trust rules of pipeline %s: %w", p.ID, err)
	}
	list := make([]trustJSON, len(rows))
	for i, t := range rows {
		list[i] = trustOf(t)
	}
	reply.JSON(c.Writer, http.StatusOK, map[string]any{"trusts": list})
	return nil
}

func (s *server) trustAdd(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	var body struct {
		Provider     string `json:"provider"`
		Issuer       string `json:"issuer"`
		RepositoryID string `json:"repository_id"`
		OwnerID      string `json:"owner_id"`
		Ref          string `json:"ref"`
		Environment  string `json:"environment"`
		Workflow     string `json:"workflow"`
		PreviewsOnly bool   `json:"previews_only"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	rule, err := s.ci.Complete(queries.TrustAddParams{
		ID: id, PipelineID: p.ID, Provider: body.Provider, Issuer: body.Issuer, RepositoryID: body.RepositoryID, OwnerID: body.OwnerID,
		Ref: body.Ref, Environment: body.Environment, Workflow: body.Workflow, PreviewsOnly: body.PreviewsOnly, CreatedBy: who.Actor(),
	})
	if err != nil {
		return err
	}
	t, err := s.deps.Intake.AddTrust(ctx, rule)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusCreated, trustOf(t))
	return nil
}

// trustAgain answers for a rule that was added before with the same key.
func (s *server) trustAgain(c *gin.Context, id uuid.UUID) error {
	t, err := s.q.TrustGet(c.Request.Context(), id)
	if errors.Is(err, pgx.ErrNoRows) {
		return gone("trust rule", id)
	}
	if err != nil {
		return fmt.Errorf("read trust rule %s: %w", id, err)
	}
	reply.JSON(c.Writer, http.StatusCreated, trustOf(t))
	return nil
}

func (s *server) trustRemove(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	id, err := pathID(c, "trust")
	if err != nil {
		return err
	}
	if err := s.deps.Intake.RemoveTrust(ctx, p.ID, id, who.Actor()); err != nil {
		return err
	}
	c.Writer.WriteHeader(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}

// tokenExchange gives a job of CI a token of a pipeline for one of its issuer.
// An address whose tokens are refused too often has to wait.
func (s *server) tokenExchange(c *gin.Context) error {
	address := network.Subscriber(network.Proxies(s.cfg.Proxies).Client(c.Request))
	if s.exchanges.TooMany(address) {
		c.Header("Retry-After", "6")
		reply.ErrorAs(c.Writer, http.StatusTooManyRequests, troy.Errorf(troy.Unavailable, "too many tokens from your address were refused; try again in a few seconds"))
		return nil
	}
	err := s.exchange(c)
	switch troy.KindOf(err) {
	case troy.Unauthenticated, troy.Forbidden, troy.Invalid, troy.TooLarge:
		if err != nil {
			s.exchanges.Add(address)
		}
	}
	return err
}

func (s *server) exchange(c *gin.Context) error {
	ctx, cancel := context.WithTimeout(c.Request.Context(), quick)
	defer cancel()
	var body struct {
		Pipeline string `json:"pipeline"`
		Token    string `json:"token"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	if body.Token == "" {
		return troy.Errorf(troy.Invalid, "it is missing; expected the token of the job's issuer").At("token")
	}
	p, err := s.findPipeline(ctx, body.Pipeline)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("find pipeline %q: %w", troy.Clip(body.Pipeline), err)
	}
	// A pipeline that does not exist has no rules either, so the answer is the
	// same.
	rules, err := s.q.TrustList(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("read the trust rules of pipeline %s: %w", p.ID, err)
	}
	grant, err := s.ci.Verify(ctx, body.Token, rules)
	if err != nil {
		return err
	}
	if p.Status.InDeletion() {
		return intake.Refuse(p, intake.Deploy)
	}
	note(ctx).pipeline = p.ID.String()
	expires := s.now().Add(credentials.CITokenValid).Truncate(time.Second)
	token, row, err := credentials.Token{
		Name: grant.Name, Role: credentials.Deployer, Pipelines: []uuid.UUID{p.ID}, Expires: &expires,
		CreatedBy: credentials.CIProviderName(grant.Trust.Provider), Trust: &grant.Trust.ID, PreviewsOnly: grant.PreviewsOnly,
	}.Make()
	if err != nil {
		return err
	}
	actor := "token " + grant.Name
	note(ctx).actor = actor
	ctx = intake.By(ctx, actor, network.Proxies(s.cfg.Proxies).Name(c.Request))
	if _, err := s.deps.Intake.ExchangeToken(ctx, p, row, grant.Used, grant.Until); err != nil {
		return err
	}
	c.Header("Cache-Control", "no-store")
	reply.JSON(c.Writer, http.StatusCreated, struct {
		Token        string    `json:"token"`
		ExpiresAt    time.Time `json:"expires_at"`
		Pipeline     string    `json:"pipeline"`
		PreviewsOnly bool      `json:"previews_only"`
	}{token, expires.UTC(), p.Slug, grant.PreviewsOnly})
	return nil
}
