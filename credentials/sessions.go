package credentials

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

const (
	// SessionValid is how long a browser stays signed in at most.
	SessionValid = 7 * 24 * time.Hour
	// SessionIdle is how long it stays signed in without a request.
	SessionIdle = 12 * time.Hour
	// LoginPath is where people sign in, below Troy's address.
	LoginPath = "/login"
	// LinkValid is how long a sign-in link is good for.
	LinkValid = 10 * time.Minute
	// securePrefix begins the names of cookies over HTTPS. A browser takes such a
	// cookie only from the host itself and for all paths (RFC 6265bis §4.1.3.2),
	// so no neighbour can set it.
	securePrefix = "__Host-"
	maxUserAgent = 300
)

// Sessions keeps which browsers are signed in, each with a token or as a person
// whom an Issuer knows. A session ends with its token, and a person's a day
// after the last sign-in.
type Sessions struct {
	DB  queries.DBTX
	Log *slog.Logger
	// HTTPS says that browsers reach Troy by HTTPS.
	HTTPS bool
	// Port is the port of Troy's own address, empty for the scheme's own. All
	// ports of a host share their cookies (RFC 6265 §8.5), so over plain HTTP it
	// is part of the cookie's name.
	Port string
}

// Session is a browser that is signed in.
type Session struct {
	ID        string // names it in lists; it is not the cookie
	Holder    Holder
	CreatedAt time.Time
	LastSeen  time.Time
	ExpiresAt time.Time
	UserAgent string
}

// draw returns 256 random bits.
func draw() (string, error) {
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(random[:]), nil
}

// IssueLink makes a link that signs in once, with a token, and returns its path
// and query below Troy's address.
func (s Sessions) IssueLink(ctx context.Context, token string) (string, error) {
	row, err := queries.New(s.DB).TokenGetByHash(ctx, hash(token))
	if err != nil {
		return "", fmt.Errorf("look up the token of the sign-in link: %w", err)
	}
	code, err := s.insert(ctx, row.ID, true, LinkValid, "")
	return LoginPath + "?once=" + code, err
}

func (s Sessions) insert(ctx context.Context, token uuid.UUID, once bool, valid time.Duration, agent string) (string, error) {
	text, err := draw()
	if err != nil {
		return "", err
	}
	q := queries.New(s.DB)
	err = q.SessionCreate(ctx, queries.SessionCreateParams{Hash: hash(text), TokenID: token, Once: once, ValidSeconds: valid.Seconds(), UserAgent: agent})
	if err != nil {
		return "", fmt.Errorf("write the session: %w", err)
	}
	if err := q.SessionsTidy(ctx, token); err != nil {
		return "", fmt.Errorf("remove old sessions: %w", err)
	}
	return text, nil
}

// errCIPages keeps a token that a job of CI got from outliving it in a session,
// and from doing on pages what it may not do by the API.
var errCIPages = troy.Errorf(troy.Forbidden, "a job of CI has the token, which is for the API alone")

// SignIn begins a session with a token, and gives the browser its cookie. The
// session that the browser had ends. The error is Unauthenticated if the token
// is not known.
func (s Sessions) SignIn(w http.ResponseWriter, r *http.Request, token string) (Holder, error) {
	unknown := troy.Errorf(troy.Unauthenticated, "the token is unknown, was revoked or has expired")
	token = strings.TrimSpace(token)
	if !tokenForm.MatchString(token) {
		return Holder{}, unknown
	}
	row, err := queries.New(s.DB).TokenGetByHash(r.Context(), hash(token))
	if errors.Is(err, pgx.ErrNoRows) {
		return Holder{}, unknown
	}
	if err != nil {
		return Holder{}, fmt.Errorf("look up the token: %w", err)
	}
	if row.TrustID != nil {
		return Holder{}, errCIPages
	}
	who := holder(row.ID, row.Name, row.Role, row.Pipelines, false)
	return who, s.begin(w, r, row.ID, SessionValid)
}

// SignInOnce is SignIn by the code of a link, which is used up.
func (s Sessions) SignInOnce(w http.ResponseWriter, r *http.Request, code string) (Holder, error) {
	row, err := queries.New(s.DB).SessionRedeem(r.Context(), hash(code))
	if errors.Is(err, pgx.ErrNoRows) {
		return Holder{}, troy.Errorf(troy.Unauthenticated, "the sign-in link was used before or is older than %s", minutes(LinkValid))
	}
	if err != nil {
		return Holder{}, fmt.Errorf("use the sign-in link: %w", err)
	}
	who := holder(row.ID, row.Name, row.Role, row.Pipelines, false)
	return who, s.begin(w, r, row.ID, SessionValid)
}

func minutes(d time.Duration) string { return fmt.Sprintf("%.0f minutes", d.Minutes()) }

// begin rotates the session: what the browser had before is worth nothing.
func (s Sessions) begin(w http.ResponseWriter, r *http.Request, token uuid.UUID, valid time.Duration) error {
	if _, err := s.SignOut(r); err != nil && troy.KindOf(err) != troy.NotFound {
		return err
	}
	agent := strings.ToValidUTF8(strings.ReplaceAll(r.UserAgent(), "\x00", ""), "")
	text, err := s.insert(r.Context(), token, false, valid, clipTo(agent, maxUserAgent))
	if err != nil {
		return err
	}
	http.SetCookie(w, s.cookie("troy", text, valid))
	// Whether or not that can be noted now, the browser is signed in.
	if err := queries.New(s.DB).TokenUsed(r.Context(), token); err != nil {
		s.Log.DebugContext(r.Context(), "the use of a token could not be noted", "error", err)
	}
	return nil
}

func clipTo(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// SignOut ends the browser's session and returns it. The error is NotFound if
// there is none.
func (s Sessions) SignOut(r *http.Request) (Session, error) {
	text, ok := s.textOf(r)
	if !ok {
		return Session{}, troy.Errorf(troy.NotFound, "you are not signed in")
	}
	return s.endOf(r.Context(), hash(text), nil)
}

// TakeCookie takes the cookie of its session away from a browser.
func (s Sessions) TakeCookie(w http.ResponseWriter) {
	http.SetCookie(w, s.cookie("troy", "", -time.Second))
}

// endOf ends a session, of any token or of one. The error is NotFound if there
// is none.
func (s Sessions) endOf(ctx context.Context, sum []byte, only *uuid.UUID) (Session, error) {
	row, err := queries.New(s.DB).SessionEnd(ctx, sum, only)
	if errors.Is(err, pgx.ErrNoRows) {
		return Session{}, troy.Errorf(troy.NotFound, "the session has ended already")
	}
	if err != nil {
		return Session{}, fmt.Errorf("end a session: %w", err)
	}
	return Session{ID: hex.EncodeToString(sum), Holder: holder(row.ID, row.Name, row.Role, row.Pipelines, row.Person), CreatedAt: row.CreatedAt, UserAgent: row.UserAgent}, nil
}

// Find returns the holder of the token that the browser is signed in with. The
// error is Unauthenticated if it is not signed in.
func (s Sessions) Find(r *http.Request) (Holder, error) {
	text, ok := s.textOf(r)
	if !ok {
		return Holder{}, troy.Errorf(troy.Unauthenticated, "you are not signed in")
	}
	ctx, cancel := context.WithTimeout(r.Context(), lookUpTime)
	defer cancel()
	q := queries.New(s.DB)
	row, err := q.SessionGet(ctx, hash(text), SessionIdle.Seconds())
	if errors.Is(err, pgx.ErrNoRows) {
		return Holder{}, troy.Errorf(troy.Unauthenticated, "your session has ended; sign in again")
	}
	if err != nil {
		return Holder{}, fmt.Errorf("look up the session: %w", err)
	}
	// A page that is only left open is not in use.
	if row.Stale && !Streams(r) {
		// Whether or not that can be noted now, the request is carried out.
		if err := errors.Join(q.SessionSeen(ctx, hash(text)), q.TokenUsed(ctx, row.ID)); err != nil {
			s.Log.DebugContext(ctx, "the use of a session could not be noted", "error", err)
		}
	}
	return holder(row.ID, row.Name, row.Role, row.Pipelines, row.Person), nil
}

func holder(id uuid.UUID, name, role string, pipelines []uuid.UUID, person bool) Holder {
	return Holder{ID: id, Name: name, Role: Role(role), Pipelines: pipelines, Person: person}
}

// Streams reports whether a request is for server-sent events.
func Streams(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// SessionPlace is a place in the list of sessions: after the session with this
// time and id.
type SessionPlace struct {
	At time.Time
	ID string
}

// List returns up to limit sessions that a holder may see and revoke, the newest
// first: of an admin of all pipelines all, of others those with the same token.
// The zero place is the first page. List returns an Invalid error if the place
// is not one of a session.
func (s Sessions) List(ctx context.Context, who Holder, after SessionPlace, limit int32) ([]Session, error) {
	sum, err := hex.DecodeString(after.ID)
	if err != nil {
		return nil, troy.Errorf(troy.Invalid, "expected the place of a session").At("after")
	}
	if after == (SessionPlace{}) {
		after.At = Later()
	}
	rows, err := s.rows(ctx, who.only(), queries.SessionListParams{
		IdleSeconds: SessionIdle.Seconds(), BeforeTime: after.At, BeforeHash: sum, PageLimit: limit,
	})
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	list := make([]Session, 0, len(rows))
	for _, r := range rows {
		list = append(list, Session{
			ID: hex.EncodeToString(r.Hash), Holder: holder(r.ID, r.Name, r.Role, r.Pipelines, r.Person),
			CreatedAt: r.CreatedAt, LastSeen: r.LastSeenAt, ExpiresAt: r.ExpiresAt, UserAgent: r.UserAgent,
		})
	}
	return list, nil
}

// rows reads the sessions of all tokens, or of one.
func (s Sessions) rows(ctx context.Context, only *uuid.UUID, page queries.SessionListParams) ([]queries.SessionListRow, error) {
	if only == nil {
		return queries.New(s.DB).SessionList(ctx, page)
	}
	own, err := queries.New(s.DB).SessionListOf(ctx, queries.SessionListOfParams{
		TokenID: *only, IdleSeconds: page.IdleSeconds, BeforeTime: page.BeforeTime, BeforeHash: page.BeforeHash, PageLimit: page.PageLimit,
	})
	rows := make([]queries.SessionListRow, len(own))
	for i, r := range own {
		rows[i] = queries.SessionListRow(r)
	}
	return rows, err
}

// only is the token that a holder sees the sessions of; nil for all.
func (h Holder) only() *uuid.UUID {
	if h.All() && h.Role.May(Admin) {
		return nil
	}
	return &h.ID
}

// Revoke ends a session of List and returns it. The error is NotFound if there
// is none.
func (s Sessions) Revoke(ctx context.Context, who Holder, id string) (Session, error) {
	sum, err := hex.DecodeString(id)
	if err != nil {
		return Session{}, troy.Errorf(troy.NotFound, "session not found: %q", troy.Clip(id))
	}
	return s.endOf(ctx, sum, who.only())
}

// Current is the ID of the browser's own session, empty without one.
func (s Sessions) Current(r *http.Request) string {
	text, ok := s.textOf(r)
	if !ok {
		return ""
	}
	return hex.EncodeToString(hash(text))
}

// Sent reports whether a request carries a session's cookie, valid or not.
func (s Sessions) Sent(r *http.Request) bool {
	_, sent := s.textOf(r)
	return sent
}

func (s Sessions) textOf(r *http.Request) (string, bool) {
	c, err := r.Cookie(s.cookieName("troy"))
	if err != nil || len(c.Value) != 43 {
		return "", false
	}
	return c.Value, true
}

func (s Sessions) cookieName(name string) string {
	switch {
	case s.HTTPS:
		return securePrefix + name
	case s.Port != "":
		return name + "-" + s.Port
	}
	return name
}

// cookie makes a cookie that the browser sends only to Troy. A negative age
// removes it.
func (s Sessions) cookie(name, text string, age time.Duration) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // over plain HTTP a browser takes no secure cookie
		Name: s.cookieName(name), Value: text, Path: "/", MaxAge: int(age.Seconds()), HttpOnly: true, Secure: s.HTTPS, SameSite: http.SameSiteLaxMode,
	}
}

// Visitor finds who looks at a page: the holder of the token that the request
// carries, else of the one that the browser is signed in with. Its errors are
// those of Tokens.Authorize.
func (s Sessions) Visitor(r *http.Request, tokens Tokens, least Role) (Holder, error) {
	if r.Header.Get("Authorization") != "" {
		who, err := tokens.Authorize(r, least)
		if err == nil && who.CI {
			err = errCIPages
		}
		return who, err
	}
	who, err := s.Find(r)
	if err == nil && !who.Role.May(least) {
		err = needs(who, least)
	}
	return who, err
}
