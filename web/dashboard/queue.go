package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/web/lists"
)

const workPerPage = 50

// queueFilter is which work is listed.
type queueFilter struct {
	lists.WorkFilter
	Pipeline string
	after    string
}

// query is the filter as a query, without a place in the list.
func (f queueFilter) query() string {
	return nonEmpty(map[string]string{"queue": f.Queue, "kind": f.Kind, "state": f.State, "pipeline": f.Pipeline})
}

// nonEmpty encodes the values that are given.
func nonEmpty(values map[string]string) string {
	q := url.Values{}
	for name, value := range values {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q.Encode()
}

// address joins a path and queries that are not empty.
func address(path string, queries ...string) string {
	queries = slices.DeleteFunc(queries, func(q string) bool { return q == "" })
	if len(queries) == 0 {
		return path
	}
	return path + "?" + strings.Join(queries, "&")
}

func after(place string) string { return nonEmpty(map[string]string{"after": place}) }

// queueView is the page of the outstanding work.
type queueView struct {
	frame
	queueFilter
	Queues, Kinds, States []string
	Stream                string
	Now                   queueNowView
}

// queueNowView is what of the page moves.
type queueNowView struct {
	Queues   []queueCard
	Work     []workView
	Next     string
	First    string
	Filtered bool
	Query    string // the filter, to come back to
	Deployer bool
	Admin    bool // of all pipelines
}

type queueCard struct {
	lists.Queue
	InRedis bool
	Counts  bool // whether the counts are shown
}

// workView is a task for people.
type workView struct {
	lists.Work
	Name, Tone       string
	Path             string // of what it is about
	Ring, Retry      bool
	Cancel           bool
	Deployment       string // to cancel
	PipelinePath     string
	RunningFor       string
	LeaseFor, DueFor string
}

func (d *Dashboard) queueFilterOf(v *visit) (queueFilter, error) {
	q := v.r.URL.Query()
	f := queueFilter{WorkFilter: lists.WorkFilter{Queue: q.Get("queue"), Kind: q.Get("kind"), State: q.Get("state")}, Pipeline: q.Get("pipeline"), after: q.Get("after")}
	if err := f.Check(); err != nil {
		return f, err
	}
	only, err := d.only(v, f.Pipeline)
	f.Only = only
	return f, err
}

// only returns the pipelines that a list is limited to, by its filter or the
// visitor's token, or nil for all. A deleted pipeline is found by its events.
func (d *Dashboard) only(v *visit, ref string) ([]uuid.UUID, error) {
	if ref == "" {
		return v.who.Pipelines, nil
	}
	none := troy.Errorf(troy.NotFound, "there is no pipeline %q", troy.Clip(ref)).At("pipeline")
	p, err := d.lookUp(v, ref)
	id := p.ID
	if errors.Is(err, pgx.ErrNoRows) && troy.CheckSlug(ref) == nil {
		id, err = d.q.EventPipelineBySlug(v.ctx(), ref)
	}
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !v.who.Sees(id) {
		return nil, none
	}
	if err != nil {
		return nil, fmt.Errorf("find pipeline %q: %w", troy.Clip(ref), err)
	}
	return []uuid.UUID{id}, nil
}

func (d *Dashboard) queue(v *visit) error {
	f, err := d.queueFilterOf(v)
	if err != nil {
		return err
	}
	now, err := d.work(v, f)
	if err != nil {
		return err
	}
	made, err := d.render("queue_now", now)
	if err != nil {
		return err
	}
	view := queueView{frame: d.frame(v, "Queue"), queueFilter: f, Queues: lists.WorkQueues(), Kinds: lists.WorkKinds(), States: lists.States(), Now: now}
	view.Stream = address("/queue/live", f.query(), after(f.after), "seen="+digest(made))
	return d.show(v, http.StatusOK, "queue.html", view)
}

func (d *Dashboard) queueNow(v *visit) ([]byte, error) {
	f, err := d.queueFilterOf(v)
	if err != nil {
		return nil, err
	}
	now, err := d.work(v, f)
	if err != nil {
		return nil, err
	}
	return d.render("queue_now", now)
}

// work reads what of the page moves.
func (d *Dashboard) work(v *visit, f queueFilter) (queueNowView, error) {
	view := queueNowView{Query: f.query(), Filtered: f.query() != "", Deployer: v.who.Role.May(credentials.Deployer), Admin: v.who.All() && v.who.Role.May(credentials.Admin)}
	queues, err := d.lists.Queues(v.ctx())
	if err != nil {
		return view, err
	}
	// While Redis is away, it gives out no tasks at all.
	inRedis, _ := d.deps.PausedInRedis(v.ctx())
	for _, q := range queues {
		view.Queues = append(view.Queues, queueCard{q, slices.Contains(inRedis, q.Name), v.who.All()})
	}
	page, err := d.lists.Work(v.ctx(), f.WorkFilter, v.who, f.after, workPerPage)
	if err != nil {
		return view, err
	}
	if page.Next != "" {
		view.Next = address("/queue", f.query(), after(page.Next))
	}
	if f.after != "" {
		view.First = address("/queue", f.query())
	}
	for _, w := range page.Work {
		view.Work = append(view.Work, viewWork(w, time.Now()))
	}
	return view, nil
}

// coarse is how long something takes, without seconds: a page that moves each
// second would be sent each second.
func coarse(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func viewWork(w lists.Work, now time.Time) workView {
	v := workView{Work: w, Name: kindName(w.Kind), Tone: map[string]string{lists.Running: "busy", lists.Waiting: "wait", lists.Failing: "bad"}[w.State]}
	if v.Tone == "" {
		v.Tone = "idle"
	}
	if w.Pipeline != "" {
		v.PipelinePath = "/pipelines/" + w.Pipeline
		v.Path = v.PipelinePath
	}
	if w.Number != nil {
		v.Path += fmt.Sprintf("/deployments/%d", *w.Number)
		v.Deployment = w.SubjectID.String()
	}
	v.Ring = w.State == lists.Waiting || w.State == lists.Later
	v.Retry = w.State == lists.Failing
	v.Cancel = w.Kind == "deployment:build" && w.Number != nil
	if w.ClaimedAt != nil {
		v.RunningFor = coarse(now.Sub(*w.ClaimedAt))
	}
	v.DueFor = coarse(w.DueAt.Sub(now))
	return v
}

// kindName is a kind of work for people.
func kindName(kind string) string {
	_, name, found := strings.Cut(kind, ":")
	if !found {
		name = kind
	}
	name = strings.ReplaceAll(name, "-", " ")
	return strings.ToUpper(name[:1]) + name[1:]
}

// queueActions are what a visitor does to the queue, by the names in their
// addresses. They return Invalid, NotFound and Conflict errors of intake.
func (d *Dashboard) queueAct(v *visit) error {
	name := v.r.PathValue("action")
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		return badForm(err)
	}
	form := v.r.PostForm
	back := address("/queue", localQuery(form.Get("query")))
	if err := d.doQueue(v, name, form); err != nil {
		d.failWith(v, err, failureView{Back: back})
		return nil
	}
	http.Redirect(v.w, v.r, back, http.StatusSeeOther)
	return nil
}

// localQuery returns a query as this package encodes it.
func localQuery(text string) string {
	q, err := url.ParseQuery(text)
	if err != nil {
		return ""
	}
	return q.Encode()
}

func (d *Dashboard) doQueue(v *visit, name string, form url.Values) error {
	switch name {
	case "pause", "resume":
		if err := mustOperate(v.who, "a queue has the work of all pipelines"); err != nil {
			return err
		}
		if name == "pause" {
			return d.deps.Intake.PauseQueue(v.ctx(), form.Get("queue"), form.Get("reason"), v.who.Actor())
		}
		return d.deps.Intake.ResumeQueue(v.ctx(), form.Get("queue"), v.who.Actor())
	case "ring", "retry", "cancel":
		if err := must(v.who, credentials.Deployer); err != nil {
			return err
		}
		return d.doWork(v, name, form)
	}
	return troy.Errorf(troy.NotFound, "action not found: %q", troy.Clip(name))
}

func noWork() error {
	return troy.Errorf(troy.NotFound, "there is no such work: it is done, or it was never requested")
}

func (d *Dashboard) doWork(v *visit, name string, form url.Values) error {
	subject, err := uuid.Parse(form.Get("subject"))
	if err != nil {
		return troy.Errorf(troy.Invalid, "the form names no work; open the page again").At("subject")
	}
	if _, ok := tasks.PolicyOf(form.Get("kind")); !ok {
		return noWork()
	}
	w, err := d.q.WorkGet(v.ctx(), form.Get("kind"), subject)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !v.who.All() && (w.PipelineID == nil || !v.who.Sees(*w.PipelineID)) {
		return noWork()
	}
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", troy.Clip(form.Get("kind")), subject, err)
	}
	if name == "cancel" {
		if w.PipelineID == nil {
			return troy.Errorf(troy.Conflict, "the deployment of this work was deleted")
		}
		_, err = d.deps.Intake.CancelDeployment(v.ctx(), *w.PipelineID, subject, v.who.Actor())
		return err
	}
	_, err = d.deps.Intake.HurryWork(v.ctx(), w.Kind, subject, name == "retry", v.who.Actor())
	return err
}
