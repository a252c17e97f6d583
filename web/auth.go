package web

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// Role is what a token may do. Each role may what the one before it may.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"
	Deployer Role = "deployer"
	Admin    Role = "admin"
)

// Roles lists them, the weakest first.
func Roles() []Role { return []Role{Viewer, Deployer, Admin} }

// May reports whether r may do what needs least.
func (r Role) May(least Role) bool {
	have, need := slices.Index(Roles(), r), slices.Index(Roles(), least)
	return need >= 0 && have >= need
}

// tokenForm is 256 random bits behind a prefix that secret scanners know.
var tokenForm = regexp.MustCompile(`^troy_[A-Za-z0-9_-]{43}$`)

func tokenHash(token string) []byte {
	h := sha256.Sum256([]byte(token))
	return h[:]
}

// caller is who sent a request.
type caller struct {
	id        uuid.UUID // of the token
	name      string
	role      Role
	pipelines []uuid.UUID // nil: all
}

// actor is the caller's name in events.
func (c caller) actor() string { return "token " + c.name }

func (c caller) all() bool { return c.pipelines == nil }

func (c caller) sees(pipeline uuid.UUID) bool {
	return c.all() || slices.Contains(c.pipelines, pipeline)
}

// authenticate finds the caller by the bearer token (RFC 6750 §2.1) or, for
// browsers, by the password of HTTP Basic (RFC 7617).
func (s *server) authenticate(r *http.Request) (caller, error) {
	token, ok := credential(r)
	if !ok {
		return caller{}, troy.Errorf(troy.Unauthenticated, "a token is needed: Authorization: Bearer troy_…")
	}
	unknown := troy.Errorf(troy.Unauthenticated, "the token is unknown, was revoked or has expired")
	if !tokenForm.MatchString(token) {
		return caller{}, unknown
	}
	ctx, cancel := context.WithTimeout(r.Context(), quick)
	defer cancel()
	row, err := s.q.TokenGetByHash(ctx, tokenHash(token))
	if errors.Is(err, pgx.ErrNoRows) {
		return caller{}, unknown
	}
	if err != nil {
		return caller{}, fmt.Errorf("look up the token: %w", err)
	}
	if row.Stale {
		// Whether or not that can be noted now, the request is carried out.
		if err := s.q.TokenUsed(ctx, row.ID); err != nil {
			s.deps.Log.DebugContext(ctx, "the use of a token could not be noted", "error", err)
		}
	}
	who := caller{id: row.ID, name: row.Name, role: Role(row.Role), pipelines: row.Pipelines}
	note(r.Context()).actor = who.actor()
	return who, nil
}

func credential(r *http.Request) (string, bool) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return "", false
	}
	if _, password, ok := r.BasicAuth(); ok {
		return password, true
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}

// authorize is authenticate for those whose role may do what needs least.
func (s *server) authorize(r *http.Request, least Role) (caller, error) {
	who, err := s.authenticate(r)
	if err == nil && !who.role.May(least) {
		err = troy.Errorf(troy.Forbidden, "the token's role is %s; %s is needed", who.role, least)
	}
	return who, err
}

// mayAll reports whether the caller may what is of all pipelines at once, and
// answers those who may not. Browsers are asked for a token.
func (s *server) mayAll(w http.ResponseWriter, r *http.Request, least Role, why string) bool {
	who, err := s.authorize(r, least)
	if err == nil && !who.all() {
		err = troy.Errorf(troy.Forbidden, "the token is limited to named pipelines; %s", why)
	}
	if err == nil {
		return true
	}
	if troy.KindOf(err) == troy.Unauthenticated {
		w.Header().Set("WWW-Authenticate", adminChallenge)
	}
	s.fail(w, r, err)
	return false
}

// as makes a route of a handler for callers whose role is least or more. The
// request's context ends after the time, if it is not zero.
func (s *server) as(least Role, most time.Duration, h func(*gin.Context, caller) error) gin.HandlerFunc {
	return s.anonymous(func(c *gin.Context) error {
		who, err := s.authorize(c.Request, least)
		if err != nil {
			return err
		}
		if most > 0 {
			ctx, cancel := context.WithTimeout(c.Request.Context(), most)
			defer cancel()
			c.Request = c.Request.WithContext(ctx)
		}
		return h(c, who)
	})
}

// anonymous makes a route of a handler that checks its callers itself.
func (s *server) anonymous(h func(*gin.Context) error) gin.HandlerFunc {
	return func(c *gin.Context) {
		note(c.Request.Context()).route = c.FullPath()
		if err := h(c); err != nil {
			s.fail(c.Writer, c.Request, err)
		}
	}
}

// TokenKnown reports whether a token is one that was made here and has not
// expired.
func TokenKnown(ctx context.Context, db queries.DBTX, token string) (bool, error) {
	_, err := queries.New(db).TokenGetByHash(ctx, tokenHash(token))
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look a token up: %w", err)
	}
	return true, nil
}
