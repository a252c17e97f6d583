package credentials

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// Role says what a token may do. Each role includes the previous ones.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"
	Deployer Role = "deployer"
	Admin    Role = "admin"
)

// Roles returns all roles, the weakest first.
func Roles() []Role { return []Role{Viewer, Deployer, Admin} }

// May reports whether r includes the role least.
func (r Role) May(least Role) bool {
	have, need := slices.Index(Roles(), r), slices.Index(Roles(), least)
	return need >= 0 && have >= need
}

const (
	maxTokenName = 100
	// TokenValidity is the default validity of a token.
	TokenValidity = 90 * 24 * time.Hour
	// lookUpTime bounds the look-up of a token.
	lookUpTime = 15 * time.Second
)

// tokenForm is 256 random bits after a prefix that secret scanners recognise.
var tokenForm = regexp.MustCompile(`^troy_[A-Za-z0-9_-]{43}$`)

// hash returns the digest of a token or a state that is stored.
func hash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// Token is a token to create.
type Token struct {
	Name      string
	Role      Role
	Pipelines []uuid.UUID // nil means all
	Expires   *time.Time  // nil means never
	CreatedBy string      // an actor's name
	// Trust is the rule by which a job of CI gets it, nil for other tokens.
	Trust        *uuid.UUID
	PreviewsOnly bool // it may publish nothing but previews
}

// Make generates the token and returns it with the row to insert. The row holds
// only the token's SHA-256, so the token can't be shown again.
func (t Token) Make() (text string, row queries.TokenCreateParams, err error) {
	if strings.TrimSpace(t.Name) == "" || len(t.Name) > maxTokenName || strings.ContainsFunc(t.Name, isControl) {
		return "", row, troy.Errorf(troy.Invalid, "the name %q must have 1 to %d characters, without control characters", troy.Clip(t.Name), maxTokenName).At("name")
	}
	if !slices.Contains(Roles(), t.Role) {
		return "", row, troy.Errorf(troy.Invalid, "the role is %q; expected one of %v", troy.Clip(string(t.Role)), Roles()).At("role")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return "", row, err
	}
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", row, err
	}
	text = "troy_" + base64.RawURLEncoding.EncodeToString(random[:])
	return text, queries.TokenCreateParams{
		ID: id, Name: t.Name, Role: string(t.Role), Hash: hash(text), Pipelines: t.Pipelines, ExpiresAt: t.Expires, CreatedBy: t.CreatedBy,
		TrustID: t.Trust, PreviewsOnly: t.PreviewsOnly,
	}, nil
}

// Later is after every token was created and every person signed in. Lists that
// show the newest first begin before it.
func Later() time.Time { return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// Create generates the token, inserts its row and returns it.
func (t Token) Create(ctx context.Context, db queries.DBTX) (string, error) {
	text, row, err := t.Make()
	if err == nil {
		_, err = queries.New(db).TokenCreate(ctx, row)
	}
	if err != nil {
		return "", fmt.Errorf("create token %q: %w", t.Name, err)
	}
	return text, nil
}

// ParseExpiry parses the time when a token expires: "never", a date or a time
// (RFC 3339), or a duration from now, such as 90d or 12h. An empty text means
// TokenValidity. Errors are Invalid.
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
	return troy.Errorf(troy.Invalid, "the time is %q; expected 90d, 12h, 2027-01-31 or never", troy.Clip(text))
}

// Holder is the holder of a token, or a person who signed in without one.
type Holder struct {
	ID        uuid.UUID // the token's or the person's id
	Name      string
	Role      Role
	Pipelines []uuid.UUID // nil means all
	Person    bool
	// CI is set for a job of CI, which got its token by a trust rule.
	CI           bool
	PreviewsOnly bool // it may publish nothing but previews
}

// Actor returns the holder's name in events.
func (h Holder) Actor() string { return h.Kind() + " " + h.Name }

// Kind returns "token" or "user".
func (h Holder) Kind() string {
	if h.Person {
		return "user"
	}
	return "token"
}

// All reports whether the holder has access to all pipelines.
func (h Holder) All() bool { return h.Pipelines == nil }

// Sees reports whether the holder has access to a pipeline.
func (h Holder) Sees(pipeline uuid.UUID) bool {
	return h.All() || slices.Contains(h.Pipelines, pipeline)
}

// Known reports whether token is a valid token: Troy made it and it has not
// expired.
func Known(ctx context.Context, db queries.DBTX, token string) (bool, error) {
	_, err := queries.New(db).TokenGetByHash(ctx, hash(token))
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up a token: %w", err)
	}
	return true, nil
}

// Tokens authorizes requests by their tokens.
type Tokens struct {
	DB  queries.DBTX
	Log *slog.Logger
}

// Authorize returns the holder of a request's token. It returns an
// Unauthenticated error without a valid token. If the token's role does not
// include least, it returns the holder and a Forbidden error.
func (t Tokens) Authorize(r *http.Request, least Role) (Holder, error) {
	who, err := t.authenticate(r)
	if err == nil && !who.Role.May(least) {
		err = needs(who, least)
	}
	return who, err
}

// needs says which role is missing.
func needs(who Holder, least Role) error {
	return troy.Errorf(troy.Forbidden, "the %s's role is %s; %s is needed", who.Kind(), who.Role, least)
}

// AuthorizeAll is like Authorize, for requests that concern all pipelines at
// once. If the token is limited to some pipelines, the error ends with why.
func (t Tokens) AuthorizeAll(r *http.Request, least Role, why string) (Holder, error) {
	who, err := t.Authorize(r, least)
	if err == nil {
		err = who.MustAll(why)
	}
	return who, err
}

// MustAll returns a Forbidden error, with why, if the token is not for all
// pipelines.
func (h Holder) MustAll(why string) error {
	if !h.All() {
		return troy.Errorf(troy.Forbidden, "the %s is limited to named pipelines; %s", h.Kind(), why)
	}
	return nil
}

func (t Tokens) authenticate(r *http.Request) (Holder, error) {
	token, ok := tokenOf(r)
	if !ok {
		return Holder{}, troy.Errorf(troy.Unauthenticated, "a token is needed: Authorization: Bearer troy_…")
	}
	unknown := troy.Errorf(troy.Unauthenticated, "the token is unknown, was revoked or has expired")
	if !tokenForm.MatchString(token) {
		return Holder{}, unknown
	}
	ctx, cancel := context.WithTimeout(r.Context(), lookUpTime)
	defer cancel()
	q := queries.New(t.DB)
	row, err := q.TokenGetByHash(ctx, hash(token))
	if errors.Is(err, pgx.ErrNoRows) {
		return Holder{}, unknown
	}
	if err != nil {
		return Holder{}, fmt.Errorf("look up the token: %w", err)
	}
	if row.Stale {
		// The request is carried out even if its use can't be recorded.
		if err := q.TokenUsed(ctx, row.ID); err != nil {
			t.Log.DebugContext(ctx, "the use of a token could not be recorded", "error", err)
		}
	}
	return Holder{ID: row.ID, Name: row.Name, Role: Role(row.Role), Pipelines: row.Pipelines, CI: row.TrustID != nil, PreviewsOnly: row.PreviewsOnly}, nil
}

// tokenOf returns the bearer token of a request (RFC 6750 §2.1) or, for
// browsers, the password of HTTP Basic (RFC 7617).
func tokenOf(r *http.Request) (string, bool) {
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
