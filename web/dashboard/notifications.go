package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/notify"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/reply"
)

// notifiersView is the page of those who are told about a pipeline, or about
// all of them.
type notifiersView struct {
	frame
	Slug, Action  string // Slug is empty for all pipelines
	Admin         bool   // the visitor may see and change them
	Deleting      bool
	Made, Rotated *madeToken // the key of a webhook, shown once
	Error         string
	Form          notifierForm
	Notifiers     []notifierView
	Shared        int // those of all pipelines, which are told about this one too
}

// notifierForm is the form of a new notifier.
type notifierForm struct {
	Kind, To string
	Kinds    []notify.Kind
	Events   []eventChoice
}

type eventChoice struct {
	Name, Words string
	Checked     bool
}

type notifierView struct {
	queries.Notifier
	Chosen     string // the events, in words
	Overlap    bool   // earlier keys sign too
	Deliveries []queries.Notification
}

// eventWords are events for people.
var eventWords = map[string]string{
	"deployment.failed": "deployment failed", "deployment.recovered": "deployment recovered", "deployment.live": "deployment live",
	"preview.waiting": "preview waits for approval", "domain.failing": "domain failing", "quota.near": "quota near", "notifier.disabled": "notifier disabled",
}

func newNotifierForm(form url.Values) notifierForm {
	f := notifierForm{Kind: form.Get("kind"), To: form.Get("to"), Kinds: notify.Kinds()}
	chosen := form["event"]
	if form == nil {
		chosen = notify.DefaultEvents()
	}
	for _, e := range notify.Events() {
		f.Events = append(f.Events, eventChoice{e, eventWords[e], slices.Contains(chosen, e)})
	}
	return f
}

// notifierScope finds the path's pipeline, or returns nil if the page is about
// all of them.
func (d *Dashboard) notifierScope(v *visit) (*queries.Pipeline, error) {
	if v.r.PathValue("pipeline") == "" {
		return nil, nil
	}
	p, err := d.find(v)
	return &p, err
}

func (d *Dashboard) notifications(v *visit) error {
	p, err := d.notifierScope(v)
	if troy.KindOf(err) == troy.NotFound {
		return d.gone(v, err)
	}
	if err != nil {
		return err
	}
	view, err := d.notifiersOf(v, p)
	if err != nil {
		return err
	}
	return d.show(v, http.StatusOK, "notifications.html", view)
}

func (d *Dashboard) notifiersOf(v *visit, p *queries.Pipeline) (notifiersView, error) {
	view := notifiersView{Admin: operator(v.who), Action: "/system/notifications/", Form: newNotifierForm(nil), frame: d.frame(v, "Notifications")}
	args := queries.NotifierListParams{PageLimit: 200, Shared: operator(v.who), OnlyShared: true}
	if p != nil {
		view.Slug, view.Action, view.Deleting, view.Title = p.Slug, "/pipelines/"+p.Slug+"/notifications/", p.Status.InDeletion(), p.Name+" notifications"
		view.Admin, args.PipelineID = v.who.Role.May(credentials.Admin), &p.ID
	}
	if !view.Admin {
		return view, nil
	}
	rows, err := d.q.NotifierList(v.ctx(), args)
	if err != nil {
		return view, fmt.Errorf("list the notifiers: %w", err)
	}
	var ids []uuid.UUID
	for _, row := range rows {
		n := notifierView{Notifier: row.Notifier, Overlap: row.Notifier.EarlierUntil != nil && row.Notifier.EarlierUntil.After(d.deps.Now())}
		if (row.Notifier.PipelineID == nil) != (p == nil) {
			view.Shared++ // the others have pages of their own
			continue
		}
		var words []string
		for _, e := range n.Events {
			words = append(words, eventWords[e])
		}
		n.Chosen = strings.Join(words, ", ")
		view.Notifiers, ids = append(view.Notifiers, n), append(ids, n.ID)
	}
	recent, err := d.q.NotificationsRecent(v.ctx(), ids)
	if err != nil {
		return view, fmt.Errorf("list the notifications: %w", err)
	}
	for i, n := range view.Notifiers {
		for _, m := range recent {
			if m.NotifierID == n.ID {
				view.Notifiers[i].Deliveries = append(view.Notifiers[i].Deliveries, m)
			}
		}
	}
	return view, nil
}

// notificationsAct adds a notifier or changes one.
func (d *Dashboard) notificationsAct(v *visit) error {
	p, err := d.notifierScope(v)
	if troy.KindOf(err) == troy.NotFound {
		return d.gone(v, err)
	}
	if err != nil {
		return err
	}
	if p == nil {
		err = mustOperate(v.who, "only an admin of all pipelines can change who is told about all of them")
	} else {
		err = must(v.who, credentials.Admin)
	}
	if err != nil {
		return err
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		return badForm(err)
	}
	action := v.r.PathValue("action")
	if action == "add" {
		return d.addNotifier(v, p)
	}
	n, err := d.namedNotifier(v, p)
	if err != nil {
		return err
	}
	if action == "rotate" {
		return d.rotateNotifier(v, p, n)
	}
	if err := d.changeNotifier(v, n, action); err != nil {
		return err
	}
	to := "/system/notifications"
	if p != nil {
		to = "/pipelines/" + p.Slug + "/notifications"
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}

// addNotifier shows the key of a new webhook, this once.
func (d *Dashboard) addNotifier(v *visit, p *queries.Pipeline) error {
	form := v.r.PostForm
	kind, address, to := notify.Kind(form.Get("kind")), strings.TrimSpace(form.Get("to")), []string(nil)
	if kind == notify.Email {
		to, address = strings.FieldsFunc(address, func(r rune) bool { return r == ',' || r == ' ' }), ""
	}
	var pipeline *uuid.UUID
	if p != nil {
		pipeline = &p.ID
	}
	err := error(troy.Errorf(troy.Invalid, "choose at least one event"))
	var n queries.Notifier
	var key string
	if len(form["event"]) > 0 {
		n, key, err = d.deps.AddNotifier(v.ctx(), pipeline, kind, address, to, form["event"], v.who.Actor())
	}
	refused, wrong := errors.AsType[*troy.Error](err)
	if err != nil && !wrong {
		return err
	}
	view, err := d.notifiersOf(v, p)
	if err != nil {
		return err
	}
	if wrong {
		view.Form, view.Error = newNotifierForm(form), refused.Message
		return d.show(v, reply.Status(refused.Kind), "notifications.html", view)
	}
	view.Made = &madeToken{n.Label, key}
	return d.show(v, http.StatusOK, "notifications.html", view)
}

// rotateNotifier shows the new key of a webhook, this once.
func (d *Dashboard) rotateNotifier(v *visit, p *queries.Pipeline, n queries.Notifier) error {
	n, key, err := d.deps.RotateNotifier(v.ctx(), n)
	if err != nil {
		return err
	}
	view, err := d.notifiersOf(v, p)
	if err != nil {
		return err
	}
	view.Rotated = &madeToken{n.Label, key}
	return d.show(v, http.StatusOK, "notifications.html", view)
}

// namedNotifier finds the notifier that the form names.
func (d *Dashboard) namedNotifier(v *visit, p *queries.Pipeline) (queries.Notifier, error) {
	id, err := uuid.Parse(v.r.PostForm.Get("notifier"))
	if err != nil {
		return queries.Notifier{}, troy.Errorf(troy.Invalid, "the form names no notifier; open the page again").At("notifier")
	}
	row, err := d.q.NotifierGet(v.ctx(), id)
	n := row.Notifier
	if errors.Is(err, pgx.ErrNoRows) || err == nil && (p == nil) != (n.PipelineID == nil) || err == nil && p != nil && *n.PipelineID != p.ID {
		return n, troy.Errorf(troy.NotFound, "the notifier was removed")
	}
	if err != nil {
		return n, fmt.Errorf("read notifier %s: %w", id, err)
	}
	return n, nil
}

func (d *Dashboard) changeNotifier(v *visit, n queries.Notifier, action string) (err error) {
	switch action {
	case "test":
		_, err = d.deps.Intake.TestNotifier(v.ctx(), n, notify.Test)
	case "enable":
		_, err = d.deps.Intake.EnableNotifier(v.ctx(), n)
	case "remove":
		err = d.deps.Intake.RemoveNotifier(v.ctx(), n)
	case "redeliver":
		delivery, bad := uuid.Parse(v.r.PostForm.Get("delivery"))
		if bad != nil {
			return troy.Errorf(troy.Invalid, "the form names no delivery; open the page again").At("delivery")
		}
		_, err = d.deps.Intake.Redeliver(v.ctx(), n, delivery)
	default:
		return troy.Errorf(troy.NotFound, "action not found: %q", troy.Clip(action))
	}
	return err
}
