package dashboard

import (
	"net/http"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// systemView is the page about Troy itself.
type systemView struct {
	frame
	Sessions []credentials.Session
	Current  string
	All      bool // sessions of all tokens are listed
}

func (d *Dashboard) system(v *visit) error {
	list, err := d.deps.Sessions.List(v.ctx(), v.who)
	if err != nil {
		return err
	}
	return d.show(v, http.StatusOK, "system.html", systemView{
		frame: d.frame(v, "System"), Sessions: list, Current: d.deps.Sessions.Current(v.r), All: v.who.All() && v.who.Role.May(credentials.Admin),
	})
}

func (d *Dashboard) sessionRevoke(v *visit) error {
	err := d.deps.Intake.Recorded(v.ctx(), func(db queries.DBTX) (intake.Change, error) {
		s := d.deps.Sessions
		s.DB = db
		ended, err := s.Revoke(v.ctx(), v.who, v.r.PathValue("session"))
		return intake.Change{Action: intake.SessionRevoke, Subject: ended.Holder.Actor(), Detail: browser(ended.UserAgent)}, err
	})
	if err != nil {
		d.failWith(v, err, failureView{Back: "/system"})
		return nil
	}
	http.Redirect(v.w, v.r, "/system", http.StatusSeeOther)
	return nil
}
