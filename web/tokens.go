package web

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/lists"
	"github.com/troy-iaas/troy/web/reply"
)

type tokenJSON struct {
	ID   uuid.UUID        `json:"id"`
	Name string           `json:"name"`
	Role credentials.Role `json:"role"`
	// Pipelines is null for a token with access to all.
	Pipelines []uuid.UUID `json:"pipelines"`
	// Slugs are those of Pipelines that exist; only lists have them.
	Slugs      []string   `json:"slugs,omitempty"`
	CreatedBy  string     `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	Expired    bool       `json:"expired"`
	// PreviewsOnly is set for a token that may publish nothing but previews.
	PreviewsOnly bool `json:"previews_only,omitempty"`
	// Token is the token itself; only the answer to its creation has it.
	Token string `json:"token,omitempty"`
}

func mayTokens(who caller) error {
	return who.MustAll("only an unlimited admin may see, make and revoke tokens")
}

func (s *server) tokenList(c *gin.Context, who caller) error {
	if err := mayTokens(who); err != nil {
		return err
	}
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	before, err := pg.place(lists.Place{At: credentials.Later()})
	if err != nil {
		return err
	}
	rows, err := s.q.TokenList(c.Request.Context(), queries.TokenListParams{BeforeTime: before.At, BeforeID: before.ID, PageLimit: pg.limit + 1})
	if err != nil {
		return fmt.Errorf("list tokens: %w", err)
	}
	rows, more := cut(rows, pg)
	answer := struct {
		Tokens []tokenJSON `json:"tokens"`
		Next   string      `json:"next,omitempty"`
	}{Tokens: make([]tokenJSON, 0, len(rows))}
	for _, t := range rows {
		answer.Tokens = append(answer.Tokens, tokenJSON{
			ID: t.ID, Name: t.Name, Role: credentials.Role(t.Role), Pipelines: t.Pipelines, Slugs: t.Slugs, CreatedBy: t.CreatedBy,
			CreatedAt: t.CreatedAt.UTC(), LastUsedAt: utc(t.LastUsedAt), ExpiresAt: utc(t.ExpiresAt), Expired: t.Expired, PreviewsOnly: t.PreviewsOnly,
		})
	}
	if more {
		last := rows[len(rows)-1]
		answer.Next = lists.Place{At: last.CreatedAt, ID: last.ID}.String()
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

func (s *server) tokenCreate(c *gin.Context, who caller) error {
	if err := mayTokens(who); err != nil {
		return err
	}
	ctx := c.Request.Context()
	var body struct {
		Name      string           `json:"name"`
		Role      credentials.Role `json:"role"`
		Pipelines []string         `json:"pipelines"`
		Expires   string           `json:"expires"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	n, err := credentials.NewToken{Name: body.Name, Role: body.Role, Pipelines: body.Pipelines, Expires: body.Expires}.Resolve(ctx, s.deps.DB, s.now(), who.Actor())
	if err != nil {
		return err
	}
	token, row, err := n.Make()
	if err != nil {
		return err
	}
	t, err := s.deps.Intake.CreateToken(ctx, row)
	if err != nil {
		return err
	}
	s.deps.Log.InfoContext(ctx, "made a token", "token", t.Name, "token_id", t.ID, "role", t.Role, "actor", who.Actor())
	c.Header("Location", "/v1/tokens/"+t.ID.String())
	reply.JSON(c.Writer, http.StatusCreated, tokenJSON{
		ID: t.ID, Name: t.Name, Role: credentials.Role(t.Role), Pipelines: t.Pipelines, CreatedBy: t.CreatedBy,
		CreatedAt: t.CreatedAt.UTC(), ExpiresAt: utc(t.ExpiresAt), Token: token,
	})
	return nil
}

// tokenMade answers for a token that was made before with the same key: it
// can't be shown again.
func (s *server) tokenMade(_ *gin.Context, id uuid.UUID) error {
	return troy.Errorf(troy.Conflict, "the first request with this key made the token %s, which can't be shown again; if it did not arrive, revoke it and make another with a new key", id).At("Idempotency-Key")
}

func (s *server) tokenRevoke(c *gin.Context, who caller) error {
	if err := mayTokens(who); err != nil {
		return err
	}
	ctx := c.Request.Context()
	id, err := pathID(c, "token")
	if err != nil {
		return err
	}
	name, err := s.deps.Intake.RevokeToken(ctx, id, who.Actor())
	if errors.Is(err, pgx.ErrNoRows) {
		return troy.Errorf(troy.NotFound, "token not found: %s", id)
	}
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	s.deps.Log.InfoContext(ctx, "revoked a token", "token", name, "token_id", id, "actor", who.Actor())
	c.Writer.WriteHeader(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}
