package lists

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
)

const (
	// StatusAction is the action of the events of pipelines.
	StatusAction = "pipeline.status"
	// maxSearch is the maximum length of a search, in bytes.
	maxSearch = 200
	// mostScanned is about how many entries a filter without an index of its own
	// looks at for one page. The next page continues from there.
	mostScanned = 20_000
)

// ActivityFilter says which activity is listed. Empty fields mean all.
type ActivityFilter struct {
	Actor  string
	What   string // an action, the part of one before its dot, or a status
	Search string
	// The entries are from Since on and before Until.
	Since, Until time.Time
	Only         []uuid.UUID // the pipelines; nil means all
}

// ParseActivityFilter reads a query's actor, what, search, since and until. It
// returns an Invalid error that names the field. Times are RFC 3339, days in
// UTC, or durations before now.
func ParseActivityFilter(query url.Values, now time.Time) (ActivityFilter, error) {
	f := ActivityFilter{Actor: strings.TrimSpace(query.Get("actor")), What: query.Get("what"), Search: strings.TrimSpace(query.Get("search"))}
	for field, value := range map[string]string{"actor": f.Actor, "what": f.What, "search": f.Search} {
		if len(value) > maxSearch || !isText(value) {
			return ActivityFilter{}, troy.Errorf(troy.Invalid, "expected a text of at most %d bytes", maxSearch).At(field)
		}
	}
	if err := checkWhat(f.What); err != nil {
		return ActivityFilter{}, err
	}
	for field, into := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		text := query.Get(field)
		if text == "" {
			continue
		}
		at, err := moment(text, now)
		if err != nil {
			return ActivityFilter{}, troy.Errorf(troy.Invalid, "it is %q; expected a day like 2026-01-31, a time like 2026-01-31T15:04:05Z, or a duration before now like 30d or 12h", troy.Clip(text)).At(field)
		}
		*into = at
	}
	return f, nil
}

// moment reads a time in one of the forms that filters take.
func moment(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, text); err == nil && at.Year() > 0 {
			return at, nil
		}
	}
	if days, found := strings.CutSuffix(text, "d"); found {
		n, err := strconv.ParseUint(days, 10, 16)
		return now.Add(-time.Duration(n) * 24 * time.Hour), err
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = fmt.Errorf("the duration is negative")
	}
	return now.Add(-d), err
}

// Activity is an event of a pipeline or another change.
type Activity = queries.ActivityListRow

// ActivityPage is a page of the activity. A page of a search can have fewer
// entries than its limit, or none, and a next page all the same.
type ActivityPage struct {
	Activity []Activity
	Next     string // the next page's after; empty for the last
	// Until is how far back a search has looked, if that is not the end.
	Until time.Time
}

// Activity lists what happened, newest first, as far as who may see it.
func (l Lists) Activity(ctx context.Context, f ActivityFilter, who credentials.Holder, after string, limit int32) (ActivityPage, error) {
	page := ActivityPage{Activity: []Activity{}}
	args, err := f.params(who, after, limit)
	if err != nil {
		return page, err
	}
	edge, err := l.edge(ctx, &args)
	if err != nil {
		return page, err
	}
	rows, err := l.Q.ActivityList(ctx, args)
	if err != nil {
		return page, fmt.Errorf("list the activity: %w", err)
	}
	switch {
	case len(rows) > int(limit):
		rows = rows[:limit]
		last := rows[limit-1]
		page.Next = activityPlace(last.Time, last.ID, last.Number)
	case edge != nil:
		page.Next, page.Until = activityPlace(edge.Time, edge.ID, edge.Number), edge.Time
	}
	page.Activity = append(page.Activity, rows...)
	return page, nil
}

func activityPlace(at time.Time, id uuid.UUID, number int64) string {
	return Place{at, id, strconv.FormatInt(number, 10)}.String()
}

func (f ActivityFilter) params(who credentials.Holder, after string, limit int32) (queries.ActivityListParams, error) {
	args := queries.ActivityListParams{
		Only: f.Only, Actor: f.Actor, Search: strings.ToLower(f.Search), FromTime: f.Since, BeforeTime: credentials.Later(),
		Events: true, Changes: true, Everything: who.Role.May(credentials.Admin), PageLimit: limit + 1, MostKeys: limit + 1,
	}
	if f.Since.IsZero() {
		args.FromTime = time.Unix(0, 0)
	}
	if !f.Until.IsZero() {
		args.BeforeTime = f.Until
	}
	if status, err := troy.ParseStatus(f.What); err == nil {
		args.Changes, args.ToStatus = false, string(status)
	} else if f.What != "" {
		args.Action = f.What
		args.Changes = f.What != StatusAction
		args.Events = f.What == StatusAction || f.What == "pipeline"
	}
	if after == "" {
		return args, nil
	}
	place, err := ParsePlace(after)
	if err != nil {
		return args, err
	}
	number, err := strconv.ParseInt(place.Last, 10, 64)
	if err != nil {
		return args, troy.Errorf(troy.Invalid, "expected the value of next from an earlier page").At("after")
	}
	args.BeforeTime, args.BeforeID, args.BeforeNumber = place.At, place.ID, number
	return args, nil
}

// edge bounds what a filter without an index looks at. It returns the place
// where the page ends, or nil if it may read to the end.
func (l Lists) edge(ctx context.Context, args *queries.ActivityListParams) (*queries.ActivityEdgeRow, error) {
	indexed := args.Search == "" && args.ToStatus == "" && (args.Action == "" || !args.Changes) && args.Everything && (args.Only == nil || args.Actor == "")
	if indexed {
		return nil, nil
	}
	scan := max(mostScanned/int64(max(len(args.Only), 1)), int64(args.PageLimit))
	args.MostKeys = int32(scan) + 1 //nolint:gosec // at most mostScanned
	edges, err := l.Q.ActivityEdge(ctx, queries.ActivityEdgeParams{
		Only: args.Only, Actor: args.Actor, Events: args.Events, Changes: args.Changes,
		BeforeTime: args.BeforeTime, BeforeID: args.BeforeID, BeforeNumber: args.BeforeNumber,
		Scan: scan,
	})
	if err != nil {
		return nil, fmt.Errorf("bound the search of the activity: %w", err)
	}
	if len(edges) == 0 || edges[0].Time.Before(args.FromTime) {
		return nil, nil
	}
	e := edges[0]
	args.FromTime, args.FromID, args.FromNumber = e.Time, e.ID, e.Number
	return &e, nil
}

// Export yields the activity of a filter, newest first, page by page, until
// each returns an error. before is called before each page.
func (l Lists) Export(ctx context.Context, f ActivityFilter, who credentials.Holder, before func() error, each func(Activity) error) error {
	const perPage = 500
	after := ""
	for {
		if err := before(); err != nil {
			return err
		}
		page, err := l.Activity(ctx, f, who, after, perPage)
		if err != nil {
			return err
		}
		for _, a := range page.Activity {
			if err := each(a); err != nil {
				return err
			}
		}
		if page.Next == "" || page.Next == after {
			return nil
		}
		after = page.Next
	}
}

// recorded are the actions of the activity.
func recorded() []string {
	return []string{
		"access.allow", "access.disallow", "access.off", "access.password-remove", "access.password-set", "access.previews", "access.scope", "app.import", "app.setup",
		"deployment.cancel", "notifier.add", "notifier.disable", "notifier.enable", "notifier.remove", "notifier.rotate", "domain.add", "domain.move", "domain.primary", "domain.remove", "domain.state", "hook.create", "hook.delete", "pipeline.clear-cache", "pipeline.configure", "pipeline.delete-now", "pipeline.lock", "pipeline.prune", "pipeline.purge", "pipeline.quota", StatusAction, "pipeline.unlock",
		"preview.approve", "preview.delete", "preview.pin", "preview.unpin", "queue.pause", "queue.resume", "schedule.remove", "schedule.set", "session.create", "session.refuse", "session.revoke", "token.create", "token.exchange", "token.revoke", "trust.add", "trust.remove",
		"variable.remove", "variable.set", "work.retry", "work.ring",
	}
}

// checkWhat returns an Invalid error unless what is empty, an action, the part
// of one before its dot, or a status.
func checkWhat(what string) error {
	_, err := troy.ParseStatus(what)
	if what == "" || err == nil || slices.ContainsFunc(recorded(), func(a string) bool { return a == what || strings.HasPrefix(a, what+".") }) {
		return nil
	}
	return troy.Errorf(troy.Invalid, "it is %q; expected a status, such as failed_to_deploy, the part of an action before its dot, such as token, or an action: %s",
		troy.Clip(what), strings.Join(recorded(), ", ")).At("what")
}

// Actions are the groups of actions and the actions that filters offer.
func Actions() []string {
	return []string{StatusAction, "pipeline", "deployment", "preview", "variable", "access", "domain", "queue", "work", "token", "trust", "hook", "schedule", "notifier", "session", "app"}
}
