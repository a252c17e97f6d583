package web

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

const (
	maxTokenName = 100
	// TokenValidity is how long a token is good for unless another time is
	// asked for.
	TokenValidity = 90 * 24 * time.Hour
)

// NewToken is a token to be made.
type NewToken struct {
	Name      string
	Role      Role
	Pipelines []uuid.UUID // nil: all
	Expires   *time.Time  // nil: never
	CreatedBy string      // an actor's name
}

// make draws the token and writes its row, which has only its SHA-256: it
// can't be shown again.
func (n NewToken) make() (token string, row queries.TokenCreateParams, err error) {
	if strings.TrimSpace(n.Name) == "" || len(n.Name) > maxTokenName || strings.ContainsFunc(n.Name, isControl) {
		return "", row, troy.Errorf(troy.Invalid, "the name %q must have 1 to %d characters, none of them a control character", clip(n.Name), maxTokenName).At("name")
	}
	if !slices.Contains(Roles(), n.Role) {
		return "", row, troy.Errorf(troy.Invalid, "the role is %q; expected one of %v", clip(string(n.Role)), Roles()).At("role")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return "", row, err
	}
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", row, err
	}
	token = "troy_" + base64.RawURLEncoding.EncodeToString(random[:])
	return token, queries.TokenCreateParams{
		ID: id, Name: n.Name, Role: string(n.Role), Hash: tokenHash(token), Pipelines: n.Pipelines, ExpiresAt: n.Expires, CreatedBy: n.CreatedBy,
	}, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// Create makes the token and returns it.
func (n NewToken) Create(ctx context.Context, db queries.DBTX) (string, error) {
	token, row, err := n.make()
	if err == nil {
		_, err = queries.New(db).TokenCreate(ctx, row)
	}
	if err != nil {
		return "", fmt.Errorf("create token %q: %w", n.Name, err)
	}
	return token, nil
}

// CreateToken makes a token and returns it. pipelines limits it to those; nil
// means all. expires nil means never.
func CreateToken(ctx context.Context, db queries.DBTX, name string, role Role, pipelines []uuid.UUID, expires *time.Time) (string, error) {
	return NewToken{Name: name, Role: role, Pipelines: pipelines, Expires: expires}.Create(ctx, db)
}

// ParseExpiry reads when a token is to expire: "never", a day or a time
// (RFC 3339), or how long from now, like 90d or 12h. Empty is TokenValidity.
func ParseExpiry(text string, now time.Time) (*time.Time, error) {
	after := TokenValidity
	switch days, isDays := strings.CutSuffix(text, "d"); {
	case text == "never":
		return nil, nil
	case text == "":
	case isDays:
		d, err := time.ParseDuration(days + "h")
		if err != nil || strings.ContainsAny(days, "hmsun") || d > 100_000*time.Hour {
			return nil, badExpiry(text)
		}
		after = 24 * d
	default:
		for _, layout := range []string{time.DateOnly, time.RFC3339} {
			if at, err := time.Parse(layout, text); err == nil {
				return future(at, now)
			}
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, badExpiry(text)
		}
		after = d
	}
	return future(now.Add(after).Truncate(time.Second), now)
}

func future(at, now time.Time) (*time.Time, error) {
	if !at.After(now) {
		return nil, troy.Errorf(troy.Invalid, "%s is not in the future", at.UTC().Format(time.RFC3339))
	}
	return &at, nil
}

func badExpiry(text string) error {
	return troy.Errorf(troy.Invalid, "%q is neither never, nor a time like 90d, 12h or 2027-01-31", clip(text))
}

type tokenJSON struct {
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
	Role Role      `json:"role"`
	// Pipelines is null for a token that may see all.
	Pipelines  []uuid.UUID `json:"pipelines"`
	CreatedBy  string      `json:"created_by"`
	CreatedAt  time.Time   `json:"created_at"`
	LastUsedAt *time.Time  `json:"last_used_at,omitempty"`
	ExpiresAt  *time.Time  `json:"expires_at,omitempty"`
	Expired    bool        `json:"expired"`
	// Token is the token itself, in the answer to its making alone.
	Token string `json:"token,omitempty"`
}

func (who caller) mayTokens() error {
	if !who.all() {
		return troy.Errorf(troy.Forbidden, "the token is limited to named pipelines; tokens are an unlimited admin's to see, make and revoke")
	}
	return nil
}

func (s *server) tokenList(c *gin.Context, who caller) error {
	if err := who.mayTokens(); err != nil {
		return err
	}
	rows, err := s.q.TokenList(c.Request.Context())
	if err != nil {
		return fmt.Errorf("list tokens: %w", err)
	}
	list := make([]tokenJSON, 0, len(rows))
	for _, t := range rows {
		list = append(list, tokenJSON{
			ID: t.ID, Name: t.Name, Role: Role(t.Role), Pipelines: t.Pipelines, CreatedBy: t.CreatedBy,
			CreatedAt: t.CreatedAt.UTC(), LastUsedAt: utc(t.LastUsedAt), ExpiresAt: utc(t.ExpiresAt), Expired: t.Expired,
		})
	}
	reply(c.Writer, http.StatusOK, map[string]any{"tokens": list})
	return nil
}

func (s *server) tokenCreate(c *gin.Context, who caller) error {
	if err := who.mayTokens(); err != nil {
		return err
	}
	ctx := c.Request.Context()
	var body struct {
		Name      string   `json:"name"`
		Role      Role     `json:"role"`
		Pipelines []string `json:"pipelines"`
		Expires   string   `json:"expires"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	n := NewToken{Name: body.Name, Role: body.Role, CreatedBy: who.actor()}
	var err error
	if n.Expires, err = ParseExpiry(body.Expires, s.now()); err != nil {
		e, _ := errors.AsType[*troy.Error](err)
		return e.At("expires")
	}
	if body.Pipelines != nil {
		n.Pipelines = []uuid.UUID{}
	}
	for _, ref := range body.Pipelines {
		p, err := s.findPipeline(ctx, ref)
		if errors.Is(err, pgx.ErrNoRows) {
			return troy.Errorf(troy.Invalid, "there is no pipeline %q", clip(ref)).At("pipelines")
		}
		if err != nil {
			return fmt.Errorf("find pipeline %q: %w", ref, err)
		}
		n.Pipelines = append(n.Pipelines, p.ID)
	}
	token, row, err := n.make()
	if err != nil {
		return err
	}
	t, err := s.deps.Intake.CreateToken(ctx, row)
	if err != nil {
		return err
	}
	s.deps.Log.InfoContext(ctx, "made a token", "token", t.Name, "token_id", t.ID, "role", t.Role, "actor", who.actor())
	c.Header("Location", "/v1/tokens/"+t.ID.String())
	reply(c.Writer, http.StatusCreated, tokenJSON{
		ID: t.ID, Name: t.Name, Role: Role(t.Role), Pipelines: t.Pipelines, CreatedBy: t.CreatedBy,
		CreatedAt: t.CreatedAt.UTC(), ExpiresAt: utc(t.ExpiresAt), Token: token,
	})
	return nil
}

// tokenMade answers for a token that was made before with the same key: it
// can't be shown again.
func (s *server) tokenMade(_ *gin.Context, id uuid.UUID) error {
	return troy.Errorf(troy.Conflict, "the token %s was made by the first request with this key, and can't be shown again; if it did not arrive, revoke it and make another with a new key", id).At("Idempotency-Key")
}

func (s *server) tokenRevoke(c *gin.Context, who caller) error {
	if err := who.mayTokens(); err != nil {
		return err
	}
	ctx := c.Request.Context()
	id, err := pathID(c, "token")
	if err != nil {
		return err
	}
	name, err := s.q.TokenRevoke(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return troy.Errorf(troy.NotFound, "there is no token %s", id)
	}
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	s.deps.Log.InfoContext(ctx, "revoked a token", "token", name, "token_id", id, "actor", who.actor())
	c.Writer.WriteHeader(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}
