package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/lists"
)

// mostPreviews is the maximum number of previews on the page.
const mostPreviews = 200

// previewsView is the page of a pipeline's previews.
type previewsView struct {
	frame
	Name, Stream string
	Now          previewsNowView
}

// previewsNowView is what of the page moves.
type previewsNowView struct {
	Slug, Action string
	Deployer     bool
	Deleting     bool
	Builds       bool   // whether the pipeline has a repository
	Impossible   bool   // whether sites can't have previews here
	Command      string // what makes a preview
	Previews     []previewView
	More         bool
}

// previewView is a preview for people.
type previewView struct {
	lists.Preview
	Tone  string
	Title string
	Path  string // of the newest deployment's page, or ""
}

func (d *Dashboard) previews(v *visit) error {
	p, err := d.find(v)
	if troy.KindOf(err) == troy.NotFound {
		return d.gone(v, err)
	}
	if err != nil {
		return err
	}
	now, err := d.previewsOf(v, p)
	if err != nil {
		return err
	}
	made, err := d.render("previews_now", now)
	if err != nil {
		return err
	}
	return d.show(v, http.StatusOK, "previews.html", previewsView{
		frame: d.frame(v, p.Name+" previews"), Name: p.Name, Now: now, Stream: previewsPath(p) + "/live?seen=" + digest(made),
	})
}

func (d *Dashboard) previewsNow(v *visit) ([]byte, error) {
	p, err := d.find(v)
	if err != nil {
		return nil, err
	}
	now, err := d.previewsOf(v, p)
	if err != nil {
		return nil, err
	}
	return d.render("previews_now", now)
}

func (d *Dashboard) previewsOf(v *visit, p queries.Pipeline) (previewsNowView, error) {
	now := previewsNowView{
		Slug: p.Slug, Action: "/pipelines/" + p.Slug + "/actions/", Deployer: v.who.Role.May(credentials.Deployer), Deleting: p.Status.InDeletion(),
		Builds: p.RepositoryFullName != nil, Command: "troy release ./public --pipeline " + p.Slug + " --preview",
		Impossible: d.deps.Intake.PreviewHost("draft", p.Slug) == "",
	}
	rows, err := d.q.PreviewList(v.ctx(), queries.PreviewListParams{
		PipelineID: p.ID, BeforeTime: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), BeforeID: uuid.Max, PageLimit: mostPreviews + 1,
	})
	if err != nil {
		return now, fmt.Errorf("list the previews of pipeline %s: %w", p.ID, err)
	}
	if now.More = len(rows) > mostPreviews; now.More {
		rows = rows[:mostPreviews]
	}
	for _, row := range rows {
		now.Previews = append(now.Previews, d.viewPreview(p, row))
	}
	return now, nil
}

func (d *Dashboard) viewPreview(p queries.Pipeline, row queries.PreviewListRow) previewView {
	v := previewView{Preview: lists.PreviewOf(row)}
	if host := d.deps.Intake.PreviewHost(v.Label, p.Slug); host != "" {
		v.Host, v.URL = host, d.cfg.SiteURL(host)
	}
	switch v.State {
	case troy.PreviewReady:
		v.Tone = "good"
	case troy.PreviewFailed:
		v.Tone = "bad"
	case troy.PreviewBuilding, troy.PreviewPublishing:
		v.Tone = "busy"
	default:
		v.Tone = "wait"
	}
	if v.Title = firstLine(v.Preview.Title); v.Title == "" {
		v.Title = v.Label
	}
	if v.Deployment > 0 {
		v.Path = fmt.Sprintf("/pipelines/%s/deployments/%d", p.Slug, v.Deployment)
	}
	return v
}

func previewsPath(p queries.Pipeline) string { return "/pipelines/" + p.Slug + "/previews" }

func (d *Dashboard) createPreview(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	_, _, err := d.deps.Intake.PreviewBranch(v.ctx(), p.ID, form.Get("branch"), v.who.Actor())
	return previewsPath(p), err
}

func (d *Dashboard) promotePreview(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	var shown int64
	if _, err := fmt.Sscan(form.Get("shown"), &shown); err != nil {
		return "", troy.Errorf(troy.Invalid, "expected the number of a deployment").At("shown")
	}
	made, err := d.deps.Intake.PromotePreview(v.ctx(), p.ID, form.Get("label"), shown, v.who.Actor())
	return fmt.Sprintf("/pipelines/%s/deployments/%d", p.Slug, made.Number), err
}

func (d *Dashboard) pinPreview(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	return previewsPath(p), d.deps.Intake.PinPreview(v.ctx(), p.ID, form.Get("label"), true, v.who.Actor())
}

func (d *Dashboard) unpinPreview(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	return previewsPath(p), d.deps.Intake.PinPreview(v.ctx(), p.ID, form.Get("label"), false, v.who.Actor())
}

func (d *Dashboard) approvePreview(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	return previewsPath(p), d.deps.Intake.ApprovePreview(v.ctx(), p.ID, form.Get("label"), form.Get("commit"), v.who.Actor())
}

func (d *Dashboard) deletePreview(v *visit, p queries.Pipeline, form url.Values) (string, error) {
	label := form.Get("label")
	if form.Get("confirm") != label {
		return "", troy.Errorf(troy.Invalid, "type %s to confirm that the preview is to be deleted; nothing was done", troy.Clip(label)).At("confirm")
	}
	return previewsPath(p), d.deps.Intake.DeletePreview(v.ctx(), p.ID, label, v.who.Actor())
}
