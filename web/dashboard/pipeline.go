package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

const (
	deploymentsPerPage = 20
	// flowEvents is how many of the newest events the way in the diagram is
	// read from, and eventsShown how many are listed.
	flowEvents, eventsShown = 200, 12
)

// pipelineView is the page of a pipeline.
type pipelineView struct {
	frame
	Stream string
	Charts chartsView
	Now    nowView
	Drop   *dropView // nil for those who may not deploy
}

// nowView is what of the page moves.
type nowView struct {
	queries.Pipeline
	Dot, Address, Site string
	Thumbnail          string // its address
	Live               *deploymentView
	RuleProblems       int // of the live site's rules
	RuleErrors         int // how many of them are errors
	Flow               flowView
	Deployments        []deploymentView
	Failed             *deploymentView // the one that Cause is about, if it is shown
	Next, First        string
	Events             []eventView
	Settings           []setting
	Place              int64 // in the queue, or 0
	Actions            actionsView
	RepositoryURL      string
}

// setting is a line of the settings.
type setting struct {
	Name, Value string
	Code        bool
}

// eventView is an event for people.
type eventView struct {
	queries.Event
	From string
}

// actionsView is what a visitor may do to a pipeline, each with why not.
type actionsView struct {
	Path       string // what the actions' addresses begin with
	Seen       int64  // the version of the pipeline that is shown
	LiveID     string
	Newest     int64  // the number of the newest deployment that is shown
	Key        string // of the forms: sent twice, an action is carried out once
	Role       credentials.Role
	Deployer   bool
	Admin      bool
	Deploy     bool
	Provision  bool
	Delete     bool
	Restore    bool   // whether its deletion can be undone
	Grace      string // how long a deletion could be undone, empty if not at all
	GoBack     bool
	Locked     bool
	MayLock    bool
	Repository bool
}

// find finds the path's pipeline. One that the visitor may not see does not
// exist.
func (d *Dashboard) find(v *visit) (queries.Pipeline, error) {
	ref := v.r.PathValue("pipeline")
	p, err := d.lookUp(v, ref)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !v.who.Sees(p.ID) {
		return p, troy.Errorf(troy.NotFound, "there is no pipeline %q", troy.Clip(ref))
	}
	if err != nil {
		return p, fmt.Errorf("find pipeline %q: %w", troy.Clip(ref), err)
	}
	d.deps.Note(v.ctx(), Note{Pipeline: p.ID.String()})
	return p, nil
}

func (d *Dashboard) lookUp(v *visit, ref string) (queries.Pipeline, error) {
	if id, err := uuid.Parse(ref); err == nil && len(ref) == 36 {
		p, err := d.q.PipelineGet(v.ctx(), id)
		if !errors.Is(err, pgx.ErrNoRows) {
			return p, err
		}
	}
	if troy.CheckSlug(ref) != nil {
		return queries.Pipeline{}, pgx.ErrNoRows
	}
	return d.q.PipelineGetBySlug(v.ctx(), ref)
}

func (d *Dashboard) pipeline(v *visit) error {
	p, err := d.find(v)
	if troy.KindOf(err) == troy.NotFound {
		return d.gone(v, err)
	}
	if err != nil {
		return err
	}
	now, err := d.now(v, p)
	if err != nil {
		return err
	}
	made, err := d.render("pipeline_now", now)
	if err != nil {
		return err
	}
	view := pipelineView{frame: d.frame(v, p.Name), Now: now, Stream: "/pipelines/" + p.Slug + "/live?seen=" + digest(made)}
	if now.Actions.Deployer && now.Actions.MayLock && now.LockedAt == nil {
		drop, err := d.drop(p.Slug)
		if err != nil {
			return err
		}
		view.Drop = &drop
	}
	stats, err := d.lists.Stats(v.ctx(), []uuid.UUID{p.ID}, time.Now())
	if err != nil {
		return err
	}
	view.Charts = charts(stats)
	if before := v.r.URL.Query().Get("before"); before != "" {
		view.Stream += "&before=" + strconv.Itoa(int(now.before()))
	}
	return d.show(v, http.StatusOK, "pipeline.html", view)
}

// before is the number that the list of deployments ends before.
func (n nowView) before() int64 {
	if len(n.Deployments) == 0 {
		return 1
	}
	return n.Deployments[0].Number + 1
}

func (d *Dashboard) pipelineNow(v *visit) ([]byte, error) {
	p, err := d.find(v)
	if err != nil {
		return nil, err
	}
	now, err := d.now(v, p)
	if err != nil {
		return nil, err
	}
	return d.render("pipeline_now", now)
}

// gone answers for a pipeline that does not exist, and says who deleted it if
// it did.
func (d *Dashboard) gone(v *visit, notFound error) error {
	slug := v.r.PathValue("pipeline")
	view := failureView{}
	if troy.CheckSlug(slug) == nil {
		id, err := d.q.EventPipelineBySlug(v.ctx(), slug)
		if err == nil && v.who.Sees(id) {
			if view.Since, err = d.events(v, id, 0, 5); err != nil {
				return err
			}
		} else if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("find the events of pipeline %q: %w", slug, err)
		}
	}
	d.failWith(v, notFound, view)
	return nil
}

// events reads the newest events after a version.
func (d *Dashboard) events(v *visit, id uuid.UUID, after int64, limit int32) ([]eventView, error) {
	rows, err := d.q.EventsLatest(v.ctx(), id, limit)
	if err != nil {
		return nil, fmt.Errorf("read events of %s: %w", id, err)
	}
	return eventViews(rows, after), nil
}

func eventViews(rows []queries.Event, after int64) (views []eventView) {
	for _, e := range rows {
		if e.Version <= after {
			continue
		}
		w := eventView{Event: e}
		if e.FromStatus != nil {
			w.From = e.FromStatus.String()
		}
		views = append(views, w)
	}
	return views
}

// now reads what of the page moves.
func (d *Dashboard) now(v *visit, p queries.Pipeline) (nowView, error) {
	n := nowView{Pipeline: p, Dot: tone(p.Status), Actions: actionsOf(v.who, p)}
	n.Actions.Grace = d.grace(p)
	var err error
	if n.Place, err = d.place(v.ctx(), p); err != nil {
		return n, err
	}
	host, err := d.q.PipelineAddress(v.ctx(), p.ID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return n, fmt.Errorf("read the host of pipeline %s: %w", p.ID, err)
	}
	if host != "" {
		n.Site, n.Address = host, d.cfg.SiteURL(host)
	}
	if p.LiveDeploymentID != nil {
		live, err := d.q.DeploymentsOf(v.ctx(), []uuid.UUID{*p.LiveDeploymentID})
		if err != nil {
			return n, fmt.Errorf("read the live deployment of %s: %w", p.ID, err)
		}
		for _, l := range live {
			n.Live = d.view(l, p)
			report, _, err := intake.RulesReport(v.ctx(), d.q, site.Tree{Pipeline: p.ID, Deployment: l.TreeID})
			if err != nil {
				return n, err
			}
			n.RuleErrors, n.RuleProblems = report.Errors, report.Errors+report.Warnings
		}
	}
	pictures, err := d.thumbnails(v, map[uuid.UUID]string{p.ID: p.Slug})
	if err != nil {
		return n, err
	}
	n.Thumbnail = pictures[p.ID]
	if err := d.deploymentPage(v, &n); err != nil {
		return n, err
	}
	events, err := d.q.EventsLatest(v.ctx(), p.ID, flowEvents)
	if err != nil {
		return n, fmt.Errorf("read events of %s: %w", p.ID, err)
	}
	n.Flow, n.Events = flow(p.Status, events), eventViews(events[:min(len(events), eventsShown)], 0)
	stored, err := d.deps.Intake.StorageOf(v.ctx(), d.q, p.ID)
	if err != nil {
		return n, err
	}
	schedule, err := d.scheduleOf(v, p)
	if err != nil {
		return n, err
	}
	n.Settings, err = settingLines(p, stored, schedule)
	if p.RepositoryFullName != nil && p.RepositoryProvider != nil {
		n.RepositoryURL = map[string]string{"github": "https://github.com/", "bitbucket": "https://bitbucket.org/"}[*p.RepositoryProvider] + *p.RepositoryFullName
	}
	return n, err
}

// deploymentPage reads a page of the pipeline's deployments, the newest first.
func (d *Dashboard) deploymentPage(v *visit, n *nowView) error {
	args := queries.DeploymentListParams{PipelineID: n.ID, PageLimit: deploymentsPerPage + 1}
	if text := v.r.URL.Query().Get("before"); text != "" {
		before, err := strconv.ParseInt(text, 10, 64)
		if err != nil || before < 0 {
			return troy.Errorf(troy.Invalid, "expected the address of a page of this list").At("before")
		}
		args.Before, n.First = &before, "/pipelines/"+n.Slug
	}
	rows, err := d.q.DeploymentList(v.ctx(), args)
	if err != nil {
		return fmt.Errorf("list deployments of %s: %w", n.ID, err)
	}
	if len(rows) > deploymentsPerPage {
		rows = rows[:deploymentsPerPage]
		n.Next = fmt.Sprintf("/pipelines/%s?before=%d", n.Slug, rows[len(rows)-1].Number)
	}
	longest := time.Second
	for _, r := range rows {
		if t, ok := ran(r); ok {
			longest = max(longest, t)
		}
	}
	for _, r := range rows {
		w := d.view(r, n.Pipeline)
		if t, ok := ran(r); ok {
			w.Share = max(1, int(100*t/longest))
		}
		n.Deployments = append(n.Deployments, *w)
		if n.Failed == nil && n.Status == troy.FailedToDeploy && r.State == troy.Failed && r.PreviewID == nil {
			n.Failed = w
		}
	}
	return nil
}

// grace says how long a deletion of a pipeline could be undone.
func (d *Dashboard) grace(p queries.Pipeline) string {
	if g := d.deps.Intake.DeleteGrace(); g > 0 && p.Status != troy.FailedToDelete {
		return period(g)
	}
	return ""
}

// actionsOf says what a visitor may do.
func actionsOf(who credentials.Holder, p queries.Pipeline) actionsView {
	allowed := intake.Allowed(p.Status)
	a := actionsView{
		Path: "/pipelines/" + p.Slug + "/actions/", Seen: p.Version, Newest: p.LastNumber, Key: formKey(p), Role: who.Role, LiveID: "none",
		Deployer: who.Role.May(credentials.Deployer), Admin: who.Role.May(credentials.Admin),
		Deploy: slices.Contains(allowed, intake.Deploy) && p.LockedAt == nil, Provision: slices.Contains(allowed, intake.Provision),
		Delete: slices.Contains(allowed, intake.Delete), GoBack: slices.Contains(allowed, intake.GoBack),
		Locked: p.LockedAt != nil, MayLock: !p.Status.InDeletion(), Repository: p.RepositoryFullName != nil,
		Restore: p.DeleteDueAt != nil,
	}
	if p.LiveDeploymentID != nil {
		a.LiveID = p.LiveDeploymentID.String()
	}
	return a
}

// settingLines lists what a pipeline is built from, and how.
func settingLines(p queries.Pipeline, stored intake.Storage, schedule *queries.Schedule) ([]setting, error) {
	var build troy.BuildSettings
	if err := json.Unmarshal(p.BuildSettings, &build); err != nil {
		return nil, fmt.Errorf("read the build settings of pipeline %s: %w", p.ID, err)
	}
	var list []setting
	add := func(name, value string, code bool) {
		if value != "" {
			list = append(list, setting{name, value, code})
		}
	}
	add("Branch", deref(p.RepositoryBranch), true)
	add("Root folder", deref(p.RepositoryRoot), true)
	add("Workspace", p.Workspace, true)
	if len(p.WatchPaths) == 0 {
		const shown = 10
		for _, u := range p.Unwatched[:min(shown, len(p.Unwatched))] {
			add("Not watched", u, true)
		}
		if more := len(p.Unwatched) - shown; more > 0 {
			add("Not watched", fmt.Sprintf("and %d more", more), false)
		}
	}
	for _, w := range p.WatchPaths {
		add("Watched", w, true)
	}
	if s := schedule; s != nil {
		add("Schedule", s.Cron+" "+s.Zone, true)
		add("Deploys next", stamp(s.NextAt), false)
		add("Skipped last", s.Problem, false)
	}
	if p.CancelRunning {
		add("A newer commit", "stops the build that runs", false)
	}
	add("Install", build.Install, true)
	add("Build", build.Build, true)
	add("Test", build.Test, true)
	add("Output folder", build.Output, true)
	add("Trailing slash", build.TrailingSlash, false)
	if build.DropAssets {
		add("Earlier assets", "dropped with the next deployment", false)
	}
	add("Build limits", limitsLine(build), false)
	add("Stored", storedLine(stored), false)
	add("App", deref(p.AppID), true)
	add("ID", p.ID.String(), true)
	return list, nil
}

// limitsLine is what limits a pipeline's builds more than those of others, or "".
func limitsLine(s troy.BuildSettings) string {
	var words []string
	if s.Minutes > 0 {
		words = append(words, troy.Count(s.Minutes, "minute", "minutes"))
	}
	if s.MemoryMiB > 0 {
		words = append(words, troy.Size(int64(s.MemoryMiB)<<20)+" of memory")
	}
	if s.CPUs > 0 {
		words = append(words, troy.Count(s.CPUs, "CPU", "CPUs"))
	}
	if s.Processes > 0 {
		words = append(words, troy.Count(s.Processes, "process", "processes"))
	}
	return strings.Join(words, ", ")
}

// storedLine is what a pipeline stores and may store, or "" for nothing.
func storedLine(s intake.Storage) string {
	if s.Files == 0 {
		return ""
	}
	text := fmt.Sprintf("%s in %s", troy.Size(s.Bytes), troy.Count(int(s.Files), "file", "files"))
	if s.Quota.Bytes > 0 {
		text = fmt.Sprintf("%s of %s in %s", troy.Size(s.Bytes), troy.Size(s.Quota.Bytes), troy.Count(int(s.Files), "file", "files"))
	}
	return text
}
