package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// maxShown is how many bytes of a log's end its page shows at first.
const maxShown = 1 << 20

// deploymentView is a deployment for people.
type deploymentView struct {
	queries.Deployment
	Path           string // of its page
	Tone           string
	Title          string // what it is about, in one line
	Commit, Branch string
	By             string // the commit's author, or who asked for it
	Took           string
	Share          int  // of the longest duration in the list, in percent
	IsLive         bool // it is what is live
	Cancel, Retry  bool // whether that may be asked for
	GoBack         bool
	Verb           string // what going to it is called
}

// view turns a row into a deployment for people.
func (d *Dashboard) view(r queries.Deployment, p queries.Pipeline) *deploymentView {
	v := &deploymentView{
		Deployment: r, Path: fmt.Sprintf("/pipelines/%s/deployments/%d", p.Slug, r.Number), Tone: stateTone(r.State), Title: firstLine(r.Message),
		Commit: deref(r.CommitSha), Branch: deref(r.Branch), By: deref(r.Author), IsLive: p.LiveDeploymentID != nil && *p.LiveDeploymentID == r.ID,
	}
	if v.By == "" {
		v.By = r.Actor
	}
	if v.Title == "" {
		v.Title = map[troy.DeploymentKind]string{
			troy.Automated: "Build", troy.Release: "Release", troy.Rollback: "Rollback", troy.Promotion: "Promotion", troy.Preview: "Preview",
		}[r.Kind]
	}
	if t, ok := ran(r); ok {
		v.Took = took(t)
	}
	deletion := p.Status.InDeletion()
	v.Cancel = (r.State == troy.Waiting || r.State == troy.Building) && !deletion
	v.Retry = r.State.Ended() && !deletion && (p.LockedAt == nil || r.Kind == troy.Preview) && (r.Kind == troy.Automated || r.PrunedAt == nil) &&
		(r.Kind != troy.Automated || r.CommitSha != nil || p.RepositoryProvider != nil) // an uploaded source is not kept
	v.GoBack = r.State == troy.Succeeded && !v.IsLive && r.PrunedAt == nil && !deletion
	if v.Verb = "Promote"; r.LiveAt != nil {
		v.Verb = "Roll back"
	}
	return v
}

func firstLine(s string) string {
	for i, r := range s {
		if r == '\n' || r == '\r' {
			return s[:i]
		}
	}
	return s
}

// deploymentPageView is the page of a deployment, which forges link to.
type deploymentPageView struct {
	frame
	Pipeline string
	Slug     string
	Stream   string
	Now      deploymentNowView
	// LogURL is where the log is; empty for what is not built. The page shows
	// it from LogFrom.
	LogURL  string
	LogFrom int64
	LogSize string
	All     string // the address of the page with the whole log
}

// deploymentNowView is what of the page moves.
type deploymentNowView struct {
	deploymentView
	Slug    string
	Address string // of the site, for the live one
	Source  *deploymentView
	Hint    string
	Waits   string // what a waiting deployment waits for
	Rule    string
	Attempt int32
	Warning []string
	Phases  []phaseView
	Rules   *rules.Report // nil if there is nothing to report
	Actions actionsView
}

// phaseView is a phase of a build and its place on the time line, in percent.
type phaseView struct {
	Name, Command, Took, Outcome, Tone string
	From, Share                        string
}

// findDeployment finds the path's deployment, by number or by id.
func (d *Dashboard) findDeployment(v *visit) (queries.Deployment, queries.Pipeline, error) {
	p, err := d.find(v)
	if err != nil {
		return queries.Deployment{}, p, err
	}
	r, err := d.deploymentOf(v, p, v.r.PathValue("deployment"))
	if err == nil {
		d.deps.Note(v.ctx(), Note{Deployment: r.ID.String()})
	}
	return r, p, err
}

func (d *Dashboard) deploymentOf(v *visit, p queries.Pipeline, ref string) (r queries.Deployment, err error) {
	if n, bad := strconv.ParseInt(ref, 10, 64); bad == nil {
		r, err = d.q.DeploymentGetByNumber(v.ctx(), p.ID, n)
	} else if id, bad := uuid.Parse(ref); bad == nil && len(ref) == 36 {
		r, err = d.q.DeploymentGet(v.ctx(), id)
	} else {
		err = pgx.ErrNoRows
	}
	if errors.Is(err, pgx.ErrNoRows) || err == nil && r.PipelineID != p.ID {
		return r, troy.Errorf(troy.NotFound, "the pipeline %s has no deployment %q", p.Slug, troy.Clip(ref))
	}
	if err != nil {
		return r, fmt.Errorf("read deployment %q: %w", troy.Clip(ref), err)
	}
	return r, nil
}

func (d *Dashboard) deployment(v *visit) error {
	r, p, err := d.findDeployment(v)
	if troy.KindOf(err) == troy.NotFound && p.Slug == "" {
		return d.gone(v, err)
	}
	if troy.KindOf(err) == troy.NotFound {
		d.failWith(v, err, failureView{Back: "/pipelines/" + p.Slug})
		return nil
	}
	if err != nil {
		return err
	}
	now, logged, err := d.deploymentIs(v, r, p)
	if err != nil {
		return err
	}
	made, err := d.render("deployment_now", now)
	if err != nil {
		return err
	}
	view := deploymentPageView{
		frame: d.frame(v, fmt.Sprintf("#%d of %s", r.Number, p.Name)), Pipeline: p.Name, Slug: p.Slug, Now: now,
		Stream: fmt.Sprintf("/pipelines/%s/deployments/%d/live?seen=%s", p.Slug, r.Number, digest(made)),
	}
	if intake.HasBuild(r) {
		view.LogURL = fmt.Sprintf("/pipelines/%s/deployments/%s/log", p.Slug, r.ID)
		view.LogSize = troy.Size(logged)
		if view.LogFrom = max(logged-maxShown, 0); v.r.URL.Query().Get("log") == "all" {
			view.LogFrom = 0
		}
		view.All = now.Path + "?log=all"
	}
	return d.show(v, http.StatusOK, "deployment.html", view)
}

func (d *Dashboard) deploymentNow(v *visit) ([]byte, error) {
	r, p, err := d.findDeployment(v)
	if err != nil {
		return nil, err
	}
	now, _, err := d.deploymentIs(v, r, p)
	if err != nil {
		return nil, err
	}
	return d.render("deployment_now", now)
}

// deploymentIs reads what of the page moves, and how long the log is.
func (d *Dashboard) deploymentIs(v *visit, r queries.Deployment, p queries.Pipeline) (n deploymentNowView, logged int64, err error) {
	n = deploymentNowView{deploymentView: *d.view(r, p), Slug: p.Slug, Actions: actionsOf(v.who, p)}
	if n.IsLive {
		host, err := d.q.PipelineAddress(v.ctx(), p.ID)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return n, 0, fmt.Errorf("read the host of pipeline %s: %w", p.ID, err)
		}
		if host != "" {
			n.Address = d.cfg.SiteURL(host)
		}
	}
	if own := d.deps.Intake.PreviewHost(troy.DeploymentLabel(r.Number), p.Slug); own != "" && !n.IsLive && r.State == troy.Succeeded && r.PrunedAt == nil {
		n.Address = d.cfg.SiteURL(own)
	}
	if r.State == troy.Waiting && p.Status.CanBecome(troy.ProvisionRequest) {
		n.Hint = fmt.Sprintf("The pipeline is %s; the deployment goes on once it is provisioned.", p.Status)
	} else if r.State == troy.Waiting {
		if n.Waits, err = d.waitsFor(v.ctx(), p, r); err != nil {
			return n, 0, err
		}
	}
	if r.SourceDeploymentID != nil {
		from, err := d.q.DeploymentsOf(v.ctx(), []uuid.UUID{*r.SourceDeploymentID})
		if err != nil {
			return n, 0, fmt.Errorf("read deployment %s: %w", *r.SourceDeploymentID, err)
		}
		for _, f := range from {
			n.Source = d.view(f, p)
		}
	}
	report, compiled, err := intake.RulesReport(v.ctx(), d.q, site.Tree{Pipeline: p.ID, Deployment: r.TreeID})
	if err != nil {
		return n, 0, err
	}
	if compiled && !report.Empty() {
		n.Rules = &report
	}
	if !intake.HasBuild(r) {
		return n, 0, nil
	}
	b, err := d.q.BuildGet(v.ctx(), r.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return n, 0, nil
	}
	if err != nil {
		return n, 0, fmt.Errorf("read the build of deployment %s: %w", r.ID, err)
	}
	n.Rule, n.Attempt, n.Warning = b.Rule, b.Attempt, b.Warnings
	if n.Phases, err = phases(b.Phases, time.Now()); err != nil {
		return n, 0, fmt.Errorf("read the phases of deployment %s: %w", r.ID, err)
	}
	return n, b.LogBytes, nil
}

// phaseName is a phase as its log calls it: "Download Source".
func phaseName(phase string) string {
	words := strings.Split(phase, "_")
	for i, w := range words {
		if w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}

// phases puts the phases of a build on a time line from the first one's start
// to the last one's end.
func phases(stored json.RawMessage, now time.Time) ([]phaseView, error) {
	var list []struct {
		Phase    string     `json:"phase"`
		Command  string     `json:"command"`
		Started  time.Time  `json:"started"`
		Ended    *time.Time `json:"ended"`
		ExitCode *int       `json:"exit_code"`
	}
	if err := json.Unmarshal(stored, &list); err != nil {
		return nil, err
	}
	var first, last time.Time
	for _, p := range list {
		end := now
		if p.Ended != nil && !p.Ended.IsZero() {
			end = *p.Ended
		}
		if first.IsZero() || p.Started.Before(first) {
			first = p.Started
		}
		if end.After(last) {
			last = end
		}
	}
	whole := max(last.Sub(first), time.Millisecond)
	percent := func(t time.Duration) string { return fmt.Sprintf("%.1f%%", max(0, 100*float64(t)/float64(whole))) }
	views := make([]phaseView, len(list))
	for i, p := range list {
		end := now
		if p.Ended != nil && !p.Ended.IsZero() {
			end = *p.Ended
		}
		v := phaseView{Name: phaseName(p.Phase), Command: p.Command, Took: took(end.Sub(p.Started)), From: percent(p.Started.Sub(first)), Share: percent(max(end.Sub(p.Started), whole/200))}
		switch {
		case p.ExitCode == nil:
			v.Outcome, v.Tone = "running", "busy"
		case *p.ExitCode == 0:
			v.Outcome, v.Tone = "done", "good"
		case *p.ExitCode < 0:
			v.Outcome, v.Tone = "stopped", "bad"
		default:
			v.Outcome, v.Tone = fmt.Sprintf("failed, exit code %d", *p.ExitCode), "bad"
		}
		views[i] = v
	}
	return views, nil
}
