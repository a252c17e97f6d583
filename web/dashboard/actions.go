package dashboard

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// action is something that a visitor does to a pipeline or a deployment. It
// returns where to go afterwards.
type action struct {
	least credentials.Role
	do    func(d *Dashboard, v *visit, p queries.Pipeline, form url.Values) (string, error)
}

// actions are all of them, by the names in their addresses.
func actions() map[string]action {
	return map[string]action{
		"deploy":    {credentials.Deployer, (*Dashboard).deploy},
		"rollback":  {credentials.Deployer, (*Dashboard).goBack},
		"cancel":    {credentials.Deployer, (*Dashboard).cancel},
		"retry":     {credentials.Deployer, (*Dashboard).retry},
		"lock":      {credentials.Deployer, (*Dashboard).lock},
		"unlock":    {credentials.Deployer, (*Dashboard).unlock},
		"provision": {credentials.Admin, (*Dashboard).provision},
		"delete":    {credentials.Admin, (*Dashboard).remove},
		"restore":   {credentials.Admin, (*Dashboard).restore},

		"domain-add":     {credentials.Admin, (*Dashboard).addDomain},
		"domain-primary": {credentials.Admin, (*Dashboard).primaryDomain},
		"domain-remove":  {credentials.Admin, (*Dashboard).removeDomain},
		"domain-verify":  {credentials.Deployer, (*Dashboard).verifyDomain},

		"preview-approve": {credentials.Deployer, (*Dashboard).approvePreview},
		"preview-create":  {credentials.Deployer, (*Dashboard).createPreview},
		"preview-delete":  {credentials.Deployer, (*Dashboard).deletePreview},
		"preview-pin":     {credentials.Deployer, (*Dashboard).pinPreview},
		"preview-promote": {credentials.Deployer, (*Dashboard).promotePreview},
		"preview-unpin":   {credentials.Deployer, (*Dashboard).unpinPreview},
	}
}

// act carries an action out and goes on to where its effect is seen.
func (d *Dashboard) act(v *visit) error {
	name := v.r.PathValue("action")
	a, known := actions()[name]
	if !known {
		return troy.Errorf(troy.NotFound, "action not found: %q", troy.Clip(name))
	}
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
	to, err := d.carryOut(v, a, name, p, form)
	if err != nil {
		return d.refused(v, p, form, err)
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}

func (d *Dashboard) carryOut(v *visit, a action, name string, p queries.Pipeline, form url.Values) (string, error) {
	if err := must(v.who, a.least); err != nil {
		return "", err
	}
	if key := form.Get("key"); key != "" && len(key) <= 64 {
		// A form that is sent twice is carried out once.
		sum := sha256.Sum256([]byte(name + "\n" + form.Get("deployment") + "\n" + key))
		once := intake.Request{Token: v.who.ID, Key: "page-" + base64.RawURLEncoding.EncodeToString(sum[:]), Digest: sum[:]}
		v = &visit{w: v.w, r: v.r.WithContext(intake.Once(v.ctx(), once)), who: v.who}
	}
	to, err := a.do(d, v, p, form)
	if _, again := errors.AsType[*intake.Repeated](err); again {
		return "/pipelines/" + p.Slug, nil
	}
	return to, err
}

// refused says why, and what others did since the page was made.
func (d *Dashboard) refused(v *visit, p queries.Pipeline, form url.Values, err error) error {
	view := failureView{Back: "/pipelines/" + p.Slug}
	if seen, bad := strconv.ParseInt(form.Get("seen"), 10, 64); bad == nil && seen > 0 {
		since, err := d.events(v, p.ID, seen, eventsShown)
		if err != nil {
			return err
		}
		view.Since = since
	}
	d.failWith(v, err, view)
	return nil
}

// formKey names the forms of a pipeline as it is shown: what anyone does to it
// changes the name.
func formKey(p queries.Pipeline) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %d", p.ID, p.Version, p.LastNumber, p.UpdatedAt.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

// chosen is the deployment that a form is about.
func chosen(form url.Values) (uuid.UUID, error) {
	id, err := uuid.Parse(form.Get("deployment"))
	if err != nil {
		return id, troy.Errorf(troy.Invalid, "the form names no deployment; open the page again").At("deployment")
	}
	return id, nil
}

func pageOf(p queries.Pipeline, r queries.Deployment) string {
	return fmt.Sprintf("/pipelines/%s/deployments/%d", p.Slug, r.Number)
}

func (d *Dashboard) deploy(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	r, err := d.deps.Intake.DeployCommit(v.ctx(), p.ID, form.Get("commit"), v.who.Actor())
	return pageOf(p, r), err
}

// goBack makes a deployment live again that was live, or another one live for
// the first time.
func (d *Dashboard) goBack(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	id, err := chosen(form)
	if err != nil {
		return "", err
	}
	target, err := d.deploymentOf(v, p, id.String())
	if err != nil {
		return "", err
	}
	now := actionsOf(v.who, p)
	seen := intake.Seen{Live: cmp.Or(form.Get("live"), now.LiveID), Newest: now.Newest}
	if number, err := strconv.ParseInt(form.Get("newest"), 10, 64); err == nil {
		seen.Newest = number
	}
	r, err := d.deps.Intake.GoBack(v.ctx(), target, seen, v.who.Actor())
	return pageOf(p, r), err
}

func (d *Dashboard) cancel(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	id, err := chosen(form)
	if err != nil {
		return "", err
	}
	r, err := d.deps.Intake.CancelDeployment(v.ctx(), p.ID, id, v.who.Actor())
	return pageOf(p, r), err
}

func (d *Dashboard) retry(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	id, err := chosen(form)
	if err != nil {
		return "", err
	}
	r, err := d.deps.Intake.Retry(v.ctx(), p.ID, id, v.who.Actor())
	return pageOf(p, r), err
}

func (d *Dashboard) lock(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	_, err := d.deps.Intake.Lock(v.ctx(), p.ID, form.Get("reason"), v.who.Actor())
	return "/pipelines/" + p.Slug, err
}

func (d *Dashboard) unlock(v *visit, p queries.Pipeline, _ url.Values) (string, error) {
	_, err := d.deps.Intake.Unlock(v.ctx(), p.ID, v.who.Actor())
	return "/pipelines/" + p.Slug, err
}

func (d *Dashboard) provision(v *visit, p queries.Pipeline, _ url.Values) (string, error) {
	_, err := d.deps.Intake.RequestProvision(v.ctx(), p.ID, v.who.Actor())
	return "/pipelines/" + p.Slug, err
}

func (d *Dashboard) remove(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	if form.Get("confirm") != p.Slug {
		return "", troy.Errorf(troy.Invalid, "type %s to confirm that the pipeline and its site are to be deleted; nothing was done", p.Slug).At("confirm")
	}
	request := d.deps.Intake.ScheduleDeletion
	if form.Get("now") != "" {
		request = d.deps.Intake.DeleteNow
	}
	_, err := request(v.ctx(), p.ID, v.who.Actor())
	return "/pipelines/" + p.Slug, err
}

func (d *Dashboard) restore(v *visit, p queries.Pipeline, _ url.Values) (string, error) {
	_, err := d.deps.Intake.Restore(v.ctx(), p.ID, v.who.Actor())
	return "/pipelines/" + p.Slug, err
}
