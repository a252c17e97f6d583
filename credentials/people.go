package credentials

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

const (
	// PersonValid is how long people stay signed in at most who have no token.
	// Only a sign-in asks the issuer whether they are still in their groups.
	PersonValid = 24 * time.Hour
	// AttemptValid is how long a sign-in with an issuer may take.
	AttemptValid = 10 * time.Minute
	// maxSubject is the longest id of a person (OpenID Connect Core 1.0 §2).
	maxSubject = 255
	maxTidy    = 200
	// maxFullName is how much of a full name a person's name has.
	maxFullName = 80
	maxAttempt  = 3500 // bytes of the cookie; browsers keep 4096
)

// Person is someone whom an issuer knows.
type Person struct {
	Issuer, Subject string
	FullName        string
	Email           string // only if the issuer verified it
	Role            Role
	Pipelines       []string // slugs; nil means all
	Groups          []string // those that gave the role
}

// Name is the person's name in lists and events. Without a verified email it
// has the subject, because a name may be anyone's.
func (p Person) Name() string {
	switch {
	case p.Email != "":
		return p.Email
	case p.FullName != "":
		// Cut first, or a long name would push the subject out.
		return tidy(clipTo(tidy(p.FullName), maxFullName) + " (" + p.Subject + ")")
	}
	return tidy(p.Subject)
}

// people is the name space of people's ids.
var people = uuid.MustParse("6f1f6c1e-8f0e-4f57-9d55-2f0c3f6f6b1a")

// ID is the person's id, which is the same at each sign-in.
func (p Person) ID() uuid.UUID { return uuid.NewSHA1(people, []byte(p.Issuer+"\x00"+p.Subject)) }

// tidy makes a short line of a text from outside, with single spaces.
func tidy(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) { // also characters that change the text's direction
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	return clipTo(strings.Join(strings.Fields(text), " "), maxTidy)
}

// SignInPerson begins a session of a person and records what the person may do
// from now on, in all sessions. The error is Unauthenticated if the state was
// used before.
func (s Sessions) SignInPerson(w http.ResponseWriter, r *http.Request, p Person, state string) (Holder, error) {
	ctx, q := r.Context(), queries.New(s.DB)
	fresh, err := q.SignInUse(ctx, hash(state), (2 * AttemptValid).Seconds())
	if err != nil {
		return Holder{}, fmt.Errorf("use up the state of a sign-in: %w", err)
	}
	if fresh == 0 {
		return Holder{}, unauthenticated("the sign-in was used before; sign in again")
	}
	if err := q.SignInsExpire(ctx); err != nil {
		return Holder{}, fmt.Errorf("remove old sign-ins: %w", err)
	}
	var pipelines []uuid.UUID
	if p.Pipelines != nil {
		if pipelines, err = q.PipelineIDs(ctx, p.Pipelines); err != nil {
			return Holder{}, fmt.Errorf("find the pipelines of a group: %w", err)
		}
	}
	secret, err := draw() // it is not kept, so no token has this hash
	if err != nil {
		return Holder{}, err
	}
	id, err := q.UserSignIn(ctx, queries.UserSignInParams{
		ID: p.ID(), Name: p.Name(), Role: string(p.Role), Hash: hash(secret), Pipelines: pipelines, ValidSeconds: PersonValid.Seconds(),
		Issuer: p.Issuer, Subject: p.Subject, FullName: p.FullName, Email: p.Email, Groups: p.Groups,
	})
	if err != nil {
		return Holder{}, fmt.Errorf("record the sign-in of %s: %w", p.Name(), err)
	}
	return holder(id, p.Name(), string(p.Role), pipelines, true), s.begin(w, r, id, PersonValid)
}

// Forget ends all sessions of a person and returns who it was. The error is
// NotFound if no one with the id has signed in.
func (s Sessions) Forget(ctx context.Context, id uuid.UUID) (Holder, error) {
	row, err := queries.New(s.DB).UserForget(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return Holder{}, troy.Errorf(troy.NotFound, "user not found: %s", id)
	}
	if err != nil {
		return Holder{}, fmt.Errorf("end the sessions of %s: %w", id, err)
	}
	return holder(id, row.Name, row.Role, row.Pipelines, true), nil
}

const attemptCookie = "troy-signin"

// KeepAttempt gives the browser the cookie of a sign-in that it begins. A path
// that is too long for the cookie is left out.
func (s Sessions) KeepAttempt(w http.ResponseWriter, a Attempt) error {
	if len(a.Next) > maxAttempt/2 {
		a.Next = "/"
	}
	text, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("write the sign-in: %w", err)
	}
	http.SetCookie(w, s.cookie(attemptCookie, base64.RawURLEncoding.EncodeToString(text), AttemptValid))
	return nil
}

// TakeAttempt returns the sign-in that the browser began, empty if there is
// none, and takes the cookie away.
func (s Sessions) TakeAttempt(w http.ResponseWriter, r *http.Request) (a Attempt) {
	c, err := r.Cookie(s.cookieName(attemptCookie))
	if err != nil || len(c.Value) > maxAttempt {
		return Attempt{}
	}
	http.SetCookie(w, s.cookie(attemptCookie, "", -time.Second))
	text, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || json.Unmarshal(text, &a) != nil {
		return Attempt{}
	}
	return a
}
