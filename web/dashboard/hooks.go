package dashboard

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
)

// hookCreate makes a deploy hook and shows its address, this once. A form that
// is sent again is refused, because the name is taken.
func (d *Dashboard) hookCreate(v *visit) error {
	p, err := d.find(v)
	if troy.KindOf(err) == troy.NotFound {
		return d.gone(v, err)
	}
	if err != nil {
		return err
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		return badForm(err)
	}
	form := v.r.PostForm
	name := strings.TrimSpace(form.Get("hook_name"))
	if err := must(v.who, credentials.Admin); err != nil {
		return d.settingsRefused(v, p, "hook", form, err)
	}
	address, err := d.deps.NewHook(v.ctx(), p.ID, name, strings.TrimSpace(form.Get("hook_branch")), v.who.Actor())
	if e, ok := errors.AsType[*troy.Error](err); ok && e.Field != "" {
		err = e.At("hook_" + e.Field)
	}
	if err != nil {
		return d.settingsRefused(v, p, "hook", form, err)
	}
	view, err := d.settingsOf(v, p)
	if err != nil {
		return err
	}
	view.MadeHook = &madeToken{name, address}
	return d.show(v, http.StatusOK, "settings.html", view)
}

func (d *Dashboard) deleteHook(v *visit, p queries.Pipeline, form url.Values) error {
	id, err := uuid.Parse(form.Get("hook"))
	if err != nil {
		return troy.Errorf(troy.Invalid, "the form names no deploy hook; open the page again")
	}
	return d.deps.Intake.RemoveHook(v.ctx(), p.ID, id, v.who.Actor())
}
