package dashboard

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web/lists"
)

// protectionView is the card about who may see a pipeline's site.
type protectionView struct {
	Protected, InForce bool
	Problem            string // why it is not in force
	Passwords          []queries.AccessPasswordListRow
	Networks           []string
	Previews           bool // only the previews are protected
	SignedIn           bool // the previews need a session of the dashboard
	CanSignIn          bool // previews can need such a session here
	// The fields of the forms.
	Name, Password, Network fieldView
}

// Passworded means that there are passwords or networks.
func (p protectionView) Passworded() bool { return len(p.Passwords) > 0 || len(p.Networks) > 0 }

// Who says in words who may see the site.
func (p protectionView) Who() string {
	if p.SignedIn {
		return p.signedInWho()
	}
	what := "the site"
	if p.Previews {
		what = "previews. Everyone can see the site"
	}
	switch {
	case len(p.Passwords) > 0 && len(p.Networks) > 0:
		return "Only people who know a password and come from a listed network can see " + what + "."
	case len(p.Passwords) > 0:
		return "Only people who know a password can see " + what + "."
	case len(p.Networks) > 0:
		return "Only people who come from a listed network can see " + what + "."
	}
	return "Everyone can see the site. Add a password or a network to protect it."
}

func (p protectionView) signedInWho() string {
	who := "Only people who are signed in to Troy and may see this pipeline can see previews"
	if len(p.Networks) > 0 {
		who += ", from a listed network"
	}
	if len(p.Passwords) > 0 {
		who += ". Programs can send a password"
	}
	if p.Previews {
		return who + ". Everyone can see the site."
	}
	p.SignedIn = false
	return who + ". " + p.Who()
}

func (d *Dashboard) protectionOf(v *visit, p queries.Pipeline) (protectionView, error) {
	view := protectionView{
		InForce: true, CanSignIn: !d.cfg.Functions,
		Name:     fieldView{Name: "password_name", Label: "Name", Kind: "text", Help: "for whom the password is, like client; an existing name gets the new password"},
		Password: fieldView{Name: "password", Label: "Password", Kind: "password", Help: "at least 8 characters; it is never shown again"},
		Network:  fieldView{Name: "network", Label: "Network", Kind: "text", Help: "like 203.0.113.0/24, 2001:db8::/32 or a single address"},
	}
	if d.cfg.Functions {
		view.Password.Help += fmt.Sprintf("; programs need one that is made by troy access %s password add NAME --generate", p.Slug)
	}
	row, passwords, ok, err := intake.Protection(v.ctx(), d.q, p.ID)
	if err != nil || !ok {
		return view, err
	}
	view.Passwords, view.Networks, view.Previews = passwords, row.Access.Networks, row.Access.Scope == intake.ScopePreviews
	view.SignedIn = row.Access.PreviewKey != nil
	view.Protected = view.Passworded() || view.SignedIn
	// Without a distribution nothing is served; provisioning applies it.
	view.InForce = row.Access.Applied == row.Access.Generation || p.DistributionID == nil
	view.Problem = lists.ProblemFor(v.who.Role, row.Cause)
	return view, nil
}

// protectionPatience is how long a form waits until its change holds, so that
// the page that follows says so.
const protectionPatience = 3 * time.Second

// held waits a short while until the latest change holds. The page says if it
// does not.
func (d *Dashboard) held(v *visit, p queries.Pipeline, err error) error {
	if err != nil {
		return err
	}
	until := time.NewTimer(protectionPatience)
	defer until.Stop()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		view, err := d.protectionOf(v, p)
		if err != nil || view.InForce {
			return nil // the change is made; the page shows what is wrong
		}
		select {
		case <-until.C:
			return nil
		case <-v.ctx().Done():
			return nil
		case <-again.C:
		}
	}
}

func (d *Dashboard) savePassword(v *visit, p queries.Pipeline, form url.Values) error {
	err := d.deps.SetPassword(v.ctx(), p, strings.TrimSpace(form.Get("password_name")), form.Get("password"), v.who.Actor())
	if e, ok := errors.AsType[*troy.Error](err); ok && e.Field == "name" {
		err = troy.Errorf(e.Kind, "%s", e.Message).At("password_name")
	}
	return d.held(v, p, err)
}

func (d *Dashboard) removePassword(v *visit, p queries.Pipeline, form url.Values) error {
	return d.held(v, p, d.deps.Intake.RemoveAccessPassword(v.ctx(), p.ID, form.Get("name"), v.who.Actor()))
}

func (d *Dashboard) allowNetwork(v *visit, p queries.Pipeline, form url.Values) error {
	network, err := site.ParseNetwork(strings.TrimSpace(form.Get("network")))
	if err != nil {
		return troy.Errorf(troy.Invalid, "%w", err).At("network")
	}
	return d.held(v, p, d.deps.Intake.AllowNetwork(v.ctx(), p.ID, network, v.who.Actor()))
}

func (d *Dashboard) disallowNetwork(v *visit, p queries.Pipeline, form url.Values) error {
	network, err := site.ParseNetwork(form.Get("network"))
	if err != nil {
		return err
	}
	return d.held(v, p, d.deps.Intake.DisallowNetwork(v.ctx(), p.ID, network, v.who.Actor()))
}

func (d *Dashboard) protectScope(v *visit, p queries.Pipeline, form url.Values) error {
	return d.held(v, p, d.deps.Intake.SetAccessScope(v.ctx(), p.ID, form.Get("scope"), v.who.Actor()))
}

func (d *Dashboard) protectPreviews(v *visit, p queries.Pipeline, form url.Values) error {
	return d.held(v, p, d.deps.Intake.SetPreviewAccess(v.ctx(), p.ID, form.Get("previews"), v.who.Actor()))
}

func (d *Dashboard) unprotect(v *visit, p queries.Pipeline, form url.Values) error {
	if form.Get("confirm") != p.Slug {
		return troy.Errorf(troy.Invalid, "type %s to confirm that everyone may see the site", p.Slug)
	}
	return d.held(v, p, d.deps.Intake.Unprotect(v.ctx(), p.ID, v.who.Actor()))
}
