package dashboard

import (
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/reply"
)

// oidcBegin sends a browser to the issuer.
func (d *Dashboard) oidcBegin(v *visit) error {
	if d.deps.Issuer == nil {
		return noIssuer()
	}
	if strings.Contains(v.r.Header.Get("Sec-Purpose"), "prefetch") || v.r.Method != http.MethodGet {
		v.w.WriteHeader(http.StatusServiceUnavailable)
		return nil
	}
	next := localPath(v.r.URL.Query().Get("next"))
	to, attempt, err := d.deps.Issuer.Begin(v.ctx(), next)
	if err != nil {
		return d.showProblem(v, next, err)
	}
	if err := d.deps.Sessions.KeepAttempt(v.w, attempt); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}

// oidcFinish signs in who comes back from the issuer.
func (d *Dashboard) oidcFinish(v *visit) error {
	if d.deps.Issuer == nil {
		return noIssuer()
	}
	v.r = v.r.WithContext(intake.By(v.ctx(), "", d.cfg.Proxies.Name(v.r)))
	attempt := d.deps.Sessions.TakeAttempt(v.w, v.r)
	next := localPath(attempt.Next)
	address := d.addressOf(v.r)
	done, err := d.failures.exchange(v.ctx(), address)
	if err != nil {
		return d.showProblem(v, next, err)
	}
	defer done()
	if d.failures.TooMany(address) {
		// An address with this many failures must not make Troy ask the issuer.
		return d.showTooMany(v, next)
	}
	person, err := d.deps.Issuer.Finish(v.ctx(), attempt, v.r.URL.Query())
	switch kind := troy.KindOf(err); {
	case err == nil:
		return d.signIn(v, next, d.deps.Issuer.Name(), func(s credentials.Sessions) (credentials.Holder, error) {
			return s.SignInPerson(v.w, v.r, person, attempt.State)
		})
	case kind == troy.Forbidden:
		// Who is in no group any more is signed out everywhere.
		if failed := d.forget(v, person.ID(), "in no group that may use Troy", "user "+person.Name()); failed != nil && troy.KindOf(failed) != troy.NotFound {
			return failed
		}
		d.recordRefusal(v, intake.Change{Subject: d.deps.Issuer.Name(), Actor: "user " + person.Name()}, err)
	case kind == troy.Unauthenticated:
		return d.refuse(v, next, d.deps.Issuer.Name(), err)
	}
	return d.showProblem(v, next, err)
}

// forget ends all sessions of a person and records it, with why if it is known. The error is NotFound if
// there is no such person.
func (d *Dashboard) forget(v *visit, person uuid.UUID, why, actor string) error {
	detail := "everywhere"
	if why != "" {
		detail += ": " + why
	}
	return d.deps.Intake.Recorded(v.ctx(), func(db queries.DBTX) (intake.Change, error) {
		s := d.deps.Sessions
		s.DB = db
		who, err := s.Forget(v.ctx(), person)
		return intake.Change{Action: intake.SessionRevoke, Subject: who.Actor(), Detail: detail, Actor: actor}, err
	})
}

// showProblem shows the page to sign in with what went wrong.
func (d *Dashboard) showProblem(v *visit, next string, err error) error {
	if troy.KindOf(err) == troy.Internal {
		return err
	}
	d.deps.Note(v.ctx(), Note{Err: err})
	return d.showLogin(v, reply.Status(troy.KindOf(err)), loginView{Next: next, Problem: sentence(public(err).Message)})
}

func noIssuer() error {
	return troy.Errorf(troy.NotFound, "this server lets people sign in by token alone")
}
