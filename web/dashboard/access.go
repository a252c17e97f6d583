package dashboard

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// accessPage is how many tokens, people and browsers the page lists.
const accessPage = 50

// accessView is the page of who may use Troy: tokens, people and browsers.
type accessView struct {
	frame
	Admin        bool // the visitor is an admin of all pipelines
	Tokens       []queries.TokenListRow
	NextTokens   string // the address of the next page
	Users        []queries.UserListRow
	NextUsers    string
	Issuer       string // its name, empty without one
	Groups       []credentials.Group
	Sessions     []credentials.Session
	NextSessions string
	Current      string
	Key          string // of the form that makes a token
	Made         *madeToken
}

// madeToken is a token that was just made. It is shown this once.
type madeToken struct{ Name, Text string }

func (d *Dashboard) access(v *visit) error { return d.showAccess(v, nil) }

func (d *Dashboard) showAccess(v *visit, made *madeToken) error {
	view := accessView{frame: d.frame(v, "Access"), Admin: operator(v.who), Current: d.deps.Sessions.Current(v.r), Key: uuid.NewString(), Made: made}
	if err := d.addSessions(v, &view); err != nil {
		return err
	}
	if view.Admin {
		if err := errors.Join(d.addTokens(v, &view), d.addUsers(v, &view)); err != nil {
			return err
		}
	}
	return d.show(v, http.StatusOK, "access.html", view)
}

func (d *Dashboard) addTokens(v *visit, view *accessView) error {
	before, id, err := placeOf(v, "tokens")
	if err != nil {
		return err
	}
	rows, err := d.q.TokenList(v.ctx(), queries.TokenListParams{BeforeTime: before, BeforeID: id, PageLimit: accessPage + 1})
	if err != nil {
		return fmt.Errorf("list tokens: %w", err)
	}
	if len(rows) > accessPage {
		rows = rows[:accessPage]
		last := rows[accessPage-1]
		view.NextTokens = fmt.Sprintf("/system/access?tokens=%d.%s", last.CreatedAt.UnixMicro(), last.ID)
	}
	view.Tokens = rows
	return nil
}

func (d *Dashboard) addUsers(v *visit, view *accessView) error {
	if d.deps.Issuer != nil {
		view.Issuer, view.Groups = d.deps.Issuer.Name(), d.deps.Issuer.Groups()
	}
	before, id, err := placeOf(v, "users")
	if err != nil {
		return err
	}
	rows, err := d.q.UserList(v.ctx(), queries.UserListParams{BeforeTime: before, BeforeID: id, PageLimit: accessPage + 1})
	if err != nil {
		return fmt.Errorf("list users: %w", err)
	}
	if len(rows) > accessPage {
		rows = rows[:accessPage]
		last := rows[accessPage-1]
		view.NextUsers = fmt.Sprintf("/system/access?users=%d.%s", last.SignedInAt.UnixMicro(), last.ID)
	}
	view.Users = rows
	return nil
}

func (d *Dashboard) addSessions(v *visit, view *accessView) error {
	var after credentials.SessionPlace
	if text := v.r.URL.Query().Get("sessions"); text != "" {
		micros, id, _ := strings.Cut(text, ".")
		n, err := strconv.ParseInt(micros, 10, 64)
		if after = (credentials.SessionPlace{At: time.UnixMicro(n), ID: id}); err != nil || id == "" || after.At.Year() < 1 || after.At.Year() > 9999 {
			return badPage()
		}
	}
	rows, err := d.deps.Sessions.List(v.ctx(), v.who, after, accessPage+1)
	if troy.KindOf(err) == troy.Invalid {
		return badPage()
	}
	if err != nil {
		return err
	}
	if len(rows) > accessPage {
		rows = rows[:accessPage]
		last := rows[accessPage-1]
		view.NextSessions = fmt.Sprintf("/system/access?sessions=%d.%s", last.CreatedAt.UnixMicro(), last.ID)
	}
	view.Sessions = rows
	return nil
}

// mayTokens returns an error if the visitor may not manage tokens.
func mayTokens(who credentials.Holder) error {
	return mustOperate(who, "only an admin of all pipelines can create and revoke tokens")
}

// mustOperate returns an error if the visitor is not an admin of all pipelines.
// It ends with why, if the pipelines are what is lacking.
func mustOperate(who credentials.Holder, why string) error {
	if err := must(who, credentials.Admin); err != nil {
		return err
	}
	return who.MustAll(why)
}

// must returns an error that names the role least, if the visitor has a lesser
// one.
func must(who credentials.Holder, least credentials.Role) error {
	if who.Role.May(least) {
		return nil
	}
	return troy.Errorf(troy.Forbidden, "this needs the role %s; you are signed in as the %s %q, a %s", least, who.Kind(), who.Name, who.Role)
}

// tokenCreate makes a token and shows it, this once: a form that is sent again
// makes no other.
func (d *Dashboard) tokenCreate(v *visit) error {
	form, err := d.operatorForm(v)
	if err != nil {
		return d.failBack(v, err)
	}
	n := credentials.NewToken{Name: form.Get("name"), Role: credentials.Role(form.Get("role")), Expires: strings.TrimSpace(form.Get("expires"))}
	if slugs := strings.FieldsFunc(form.Get("pipelines"), func(r rune) bool { return r == ' ' || r == ',' }); len(slugs) > 0 {
		n.Pipelines = slugs
	}
	t, err := n.Resolve(v.ctx(), d.deps.DB, d.deps.Now(), v.who.Actor())
	if err != nil {
		return d.failBack(v, err)
	}
	text, row, err := t.Make()
	if err != nil {
		return d.failBack(v, err)
	}
	ctx := v.ctx()
	if key := form.Get("key"); key != "" && len(key) <= 64 {
		sum := sha256.Sum256([]byte("token\n" + key))
		ctx = intake.Once(ctx, intake.Request{Token: v.who.ID, Key: "page-" + base64.RawURLEncoding.EncodeToString(sum[:]), Digest: sum[:]})
	}
	_, err = d.deps.Intake.CreateToken(ctx, row)
	if _, again := errors.AsType[*intake.Repeated](err); again {
		return d.failBack(v, troy.Errorf(troy.Conflict, "the form was sent before; the token that it made can't be shown again. If you did not keep it, revoke it and make another"))
	}
	if err != nil {
		return d.failBack(v, err)
	}
	return d.showAccess(v, &madeToken{row.Name, text})
}

func (d *Dashboard) tokenRevoke(v *visit) error {
	form, err := d.operatorForm(v)
	if err != nil {
		return d.failBack(v, err)
	}
	id, err := uuid.Parse(v.r.PathValue("token"))
	if err != nil {
		return d.failBack(v, troy.Errorf(troy.NotFound, "there is no token %q", troy.Clip(v.r.PathValue("token"))))
	}
	t, err := d.q.TokenGet(v.ctx(), id)
	if errors.Is(err, pgx.ErrNoRows) {
		return d.failBack(v, troy.Errorf(troy.NotFound, "the token was revoked before"))
	}
	if err != nil {
		return err
	}
	if form.Get("confirm") != t.Name {
		return d.failBack(v, troy.Errorf(troy.Invalid, "type %s to confirm that the token is to be revoked; nothing was done", t.Name).At("confirm"))
	}
	_, err = d.deps.Intake.RevokeToken(v.ctx(), id, v.who.Actor())
	if errors.Is(err, pgx.ErrNoRows) {
		return d.failBack(v, troy.Errorf(troy.NotFound, "the token was revoked before"))
	}
	if err != nil {
		return d.failBack(v, err)
	}
	http.Redirect(v.w, v.r, "/system/access", http.StatusSeeOther)
	return nil
}

// userForget signs a person out everywhere.
func (d *Dashboard) userForget(v *visit) error {
	form, err := d.operatorForm(v)
	if err != nil {
		return d.failBack(v, err)
	}
	id, err := uuid.Parse(v.r.PathValue("user"))
	if err != nil {
		return d.failBack(v, troy.Errorf(troy.NotFound, "there is no user %q", troy.Clip(v.r.PathValue("user"))))
	}
	u, err := d.q.TokenGet(v.ctx(), id)
	if errors.Is(err, pgx.ErrNoRows) {
		return d.failBack(v, troy.Errorf(troy.NotFound, "the user was signed out before"))
	}
	if err != nil {
		return err
	}
	if form.Get("confirm") != u.Name {
		return d.failBack(v, troy.Errorf(troy.Invalid, "type %s to confirm that all browsers of the user are to be signed out; nothing was done", u.Name).At("confirm"))
	}
	if err := d.forget(v, id, "", v.who.Actor()); err != nil {
		return d.failBack(v, err)
	}
	http.Redirect(v.w, v.r, "/system/access", http.StatusSeeOther)
	return nil
}

// operatorForm reads the form of someone who may manage tokens.
func (d *Dashboard) operatorForm(v *visit) (url.Values, error) {
	if err := mayTokens(v.who); err != nil {
		return nil, err
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		return nil, badForm(err)
	}
	return v.r.PostForm, nil
}

// failBack shows a failure that leads back to the page of access.
func (d *Dashboard) failBack(v *visit, err error) error {
	d.failWith(v, err, failureView{Back: "/system/access"})
	return nil
}

func (d *Dashboard) sessionRevoke(v *visit) error {
	own := v.r.PathValue("session") == d.deps.Sessions.Current(v.r)
	err := d.deps.Intake.Recorded(v.ctx(), func(db queries.DBTX) (intake.Change, error) {
		s := d.deps.Sessions
		s.DB = db
		ended, err := s.Revoke(v.ctx(), v.who, v.r.PathValue("session"))
		return intake.Change{Action: intake.SessionRevoke, Subject: ended.Holder.Actor(), Detail: troy.BrowserName(ended.UserAgent)}, err
	})
	if err != nil {
		return d.failBack(v, err)
	}
	to := "/system/access"
	if own {
		to = credentials.LoginPath
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}
