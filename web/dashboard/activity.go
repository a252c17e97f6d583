package dashboard

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/web/lists"
)

const activityPerPage = 50

// activityFilter is which activity is listed, as it was typed.
type activityFilter struct {
	lists.ActivityFilter
	Pipeline, SinceText, UntilText string
	after                          string
}

func (f activityFilter) query() string {
	return nonEmpty(map[string]string{
		"actor": f.Actor, "what": f.What, "search": f.Search, "pipeline": f.Pipeline, "since": f.SinceText, "until": f.UntilText,
	})
}

// activityView is the page of what happened.
type activityView struct {
	frame
	activityFilter
	Actions  []string
	Statuses []troy.Status
	Stream   string
	Export   string // the address of all of it as JSON lines
	Charts   chartsView
	Now      activityNowView
}

// activityNowView is what of the page moves.
type activityNowView struct {
	Entries     []happenedView
	Next, First string
	Filtered    bool
	Until       time.Time // how far back a search has looked
}

// happenedView is an entry for people.
type happenedView struct {
	lists.Activity
	What, Tone string
	Path       string // of what it is about
}

func (d *Dashboard) activityFilterOf(v *visit) (activityFilter, error) {
	q := v.r.URL.Query()
	parsed, err := lists.ParseActivityFilter(q, time.Now())
	f := activityFilter{ActivityFilter: parsed, Pipeline: strings.TrimSpace(q.Get("pipeline")), SinceText: q.Get("since"), UntilText: q.Get("until"), after: q.Get("after")}
	if err != nil {
		return f, err
	}
	f.Only, err = d.only(v, f.Pipeline)
	return f, err
}

func (d *Dashboard) activity(v *visit) error {
	f, err := d.activityFilterOf(v)
	if err != nil {
		return err
	}
	now, err := d.entries(v, f)
	if err != nil {
		return err
	}
	made, err := d.render("activity_now", now)
	if err != nil {
		return err
	}
	stats, err := d.lists.Stats(v.ctx(), f.Only, time.Now())
	if err != nil {
		return err
	}
	view := activityView{
		frame: d.frame(v, "Activity"), activityFilter: f, Actions: lists.Actions(), Statuses: troy.Statuses(), Now: now,
		Export: address("/activity/export", f.query()), Charts: charts(stats),
	}
	if !f.searches() {
		view.Stream = address("/activity/live", f.query(), after(f.after), "seen="+digest(made))
	}
	return d.show(v, http.StatusOK, "activity.html", view)
}

// searches reports whether the filter has no index, so that a page reads many
// entries to find a few. Such a page is not kept up to date, because each look
// would read them again.
func (f activityFilter) searches() bool { return f.Search != "" || f.What != "" }

func (d *Dashboard) activityNow(v *visit) ([]byte, error) {
	f, err := d.activityFilterOf(v)
	if err != nil {
		return nil, err
	}
	if f.searches() {
		return nil, troy.Errorf(troy.Invalid, "a list that is filtered by action or text is not kept up to date; load the page again")
	}
	now, err := d.entries(v, f)
	if err != nil {
		return nil, err
	}
	return d.render("activity_now", now)
}

func (d *Dashboard) entries(v *visit, f activityFilter) (activityNowView, error) {
	view := activityNowView{Filtered: f.query() != ""}
	page, err := d.lists.Activity(v.ctx(), f.ActivityFilter, v.who, f.after, activityPerPage)
	if err != nil {
		return view, err
	}
	view.Until = page.Until
	if page.Next != "" {
		view.Next = address("/activity", f.query(), after(page.Next))
	}
	if f.after != "" {
		view.First = address("/activity", f.query())
	}
	for _, a := range page.Activity {
		if !v.who.Role.May(credentials.Admin) {
			a.Remote = ""
		}
		view.Entries = append(view.Entries, viewEntry(a))
	}
	return view, nil
}

// did are the words for actions. The name of what was changed follows, unless the
// action is in alone.
var did = map[string]string{ //nolint:gosec // no credentials
	"pipeline.configure": "changed", "pipeline.lock": "locked the pipeline", "pipeline.unlock": "unlocked the pipeline", "pipeline.purge": "purged old assets", "pipeline.clear-cache": "cleared the build cache of", "pipeline.quota": "set the quota:", "pipeline.prune": "pruned deployments:",
	"pipeline.delete-now": "ended the grace period of the deletion",
	"access.password-set": "set the site’s password", "access.password-remove": "removed the site’s password", "access.allow": "let in visitors from",
	"access.disallow": "removed the network", "access.off": "let everyone see the site", "access.scope": "changed what is protected to", "access.previews": "changed who can see previews to",
	"domain.add": "added the domain", "domain.move": "moved the domain", "domain.primary": "made the site’s address", "domain.remove": "removed the domain", "domain.state": "checked the domain",
	"preview.approve": "approved the preview", "preview.delete": "deleted the preview", "preview.pin": "pinned the preview", "preview.unpin": "unpinned the preview",
	"variable.set": "set the variable", "variable.remove": "removed the variable", "deployment.cancel": "cancelled the deployment",
	"token.create": "created the token", "token.revoke": "revoked the token", "token.exchange": "got a token:", "trust.add": "added the trust rule", "trust.remove": "removed the trust rule", "schedule.set": "set the schedule", "schedule.remove": "removed the schedule", "hook.create": "made the deploy hook", "hook.delete": "deleted the deploy hook", "app.setup": "set up the app", "app.import": "imported the app",
	"queue.pause": "paused the queue", "queue.resume": "resumed the queue", "work.ring": "rang", "work.retry": "retried",
	"notifier.add": "added the notifier", "notifier.disable": "disabled the notifier", "notifier.enable": "enabled the notifier", "notifier.remove": "removed the notifier", "notifier.rotate": "rotated the key of the notifier",
	"session.create": "signed in", "session.refuse": "was refused", "session.revoke": "revoked a session",
}

// alone are the actions whose words need no name after them.
var alone = map[string]bool{"pipeline.lock": true, "pipeline.unlock": true, "pipeline.purge": true, "pipeline.delete-now": true, "session.create": true}

func viewEntry(a lists.Activity) happenedView {
	v := happenedView{Activity: a, Tone: "idle", What: did[a.Action]}
	switch {
	case a.Action == lists.StatusAction:
		to := troy.Status(a.ToStatus)
		v.What, v.Tone = to.String(), tone(to)
	case v.What == "":
		v.What = a.Action + " " + a.Subject
	case !alone[a.Action]:
		v.What += " " + a.Subject
	}
	if a.Slug != "" {
		v.Path = "/pipelines/" + a.Slug
		if a.DeploymentNumber != nil {
			v.Path += fmt.Sprintf("/deployments/%d", *a.DeploymentNumber)
		}
	}
	return v
}
