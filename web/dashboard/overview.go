package dashboard

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

const (
	perPage = 25
	// mostFound is how many pipelines a search shows, and mostOwn how many of
	// a token that is limited to some.
	mostFound, mostOwn = 50, 500
	sparkBars          = 12
	maxWords           = 8
)

// filter is which pipelines are listed, and in what order.
type filter struct {
	Search, Status, Sort string
	after                string
}

// filterOf reads the query. It returns an Invalid error for an unknown status or
// order: a list that silently shows something else misleads.
func filterOf(r *http.Request) (filter, error) {
	q := r.URL.Query()
	f := filter{Search: strings.TrimSpace(q.Get("q")), Status: q.Get("status"), Sort: q.Get("sort"), after: q.Get("after")}
	if strings.ContainsRune(f.Search+f.after, 0) || !utf8.ValidString(f.Search+f.after) {
		return filter{}, troy.Errorf(troy.Invalid, "the search is not text").At("q")
	}
	if f.Status != "" {
		if s, err := troy.ParseStatus(f.Status); err != nil || s == troy.Deleted {
			return filter{}, troy.Errorf(troy.Invalid, "the status %q is unknown; choose one from the list", troy.Clip(f.Status)).At("status")
		}
	}
	switch f.Sort {
	case "":
		f.Sort = "changed"
	case "changed", "name":
	default:
		return filter{}, troy.Errorf(troy.Invalid, "the order %q is unknown; expected changed or name", troy.Clip(f.Sort)).At("sort")
	}
	return f, nil
}

// query is the filter as a query, without a place in the list.
func (f filter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"q": f.Search, "status": f.Status} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Sort != "changed" {
		q.Set("sort", f.Sort)
	}
	return q
}

// address is where the filter's list is, from a place in it.
func (f filter) address(path, after string) string {
	q := f.query()
	if after != "" {
		q.Set("after", after)
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// words turns a search into a text search for words that begin like its own.
func words(search string) string {
	fields := strings.FieldsFunc(strings.ToLower(search), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	fields = fields[:min(len(fields), maxWords)]
	for i, w := range fields {
		fields[i] = w + ":*"
	}
	return strings.Join(fields, " & ")
}

// overviewView is the page of all pipelines.
type overviewView struct {
	frame
	filter
	Statuses []troy.Status
	List     listView
	Stream   string
}

// listView is what of the page moves.
type listView struct {
	Rows  []rowView
	Next  string // the address of the next page
	First string // that of the first, if this is another
	// Empty says that there is no pipeline at all, None that none fits.
	Empty, None bool
	More        bool // more fit than are shown
	MayCreate   bool
	Host        string
}

// rowView is a pipeline in the list.
type rowView struct {
	queries.Pipeline
	Dot, Address string // of the site
	Site         string
	Thumbnail    string // its address
	Live, Last   *deploymentView
	Spark        sparkView
}

func (d *Dashboard) overview(v *visit) error {
	f, err := filterOf(v.r)
	if err != nil {
		return err
	}
	list, err := d.rows(v, f)
	if err != nil {
		return err
	}
	made, err := d.render("overview_list", list)
	if err != nil {
		return err
	}
	view := overviewView{frame: d.frame(v, "Pipelines"), filter: f, Statuses: troy.RowStatuses(), List: list}
	stream := f.address("/live", f.after)
	if view.Stream = stream + "?seen=" + digest(made); strings.Contains(stream, "?") {
		view.Stream = stream + "&seen=" + digest(made)
	}
	return d.show(v, http.StatusOK, "overview.html", view)
}

// overviewList is what of the page moves.
func (d *Dashboard) overviewList(v *visit) ([]byte, error) {
	f, err := filterOf(v.r)
	if err != nil {
		return nil, err
	}
	list, err := d.rows(v, f)
	if err != nil {
		return nil, err
	}
	return d.render("overview_list", list)
}

// list reads the pipelines of a filter, one more than are shown.
func (d *Dashboard) list(v *visit, f filter) (list []queries.Pipeline, shown int, err error) {
	ctx := v.ctx()
	status := &f.Status
	if f.Status == "" {
		status = nil
	}
	byName, search := f.Sort == "name", words(f.Search)
	switch {
	case f.Search != "" && search == "":
		return nil, perPage, nil // punctuation begins no word
	case !v.who.All():
		list, err = d.q.OverviewOf(ctx, queries.OverviewOfParams{Ids: v.who.Pipelines, Status: status, Words: search, ByName: byName, PageLimit: mostOwn + 1})
		return list, mostOwn, err
	case search != "":
		list, err = d.q.OverviewFound(ctx, queries.OverviewFoundParams{Status: status, ByName: byName, Words: search, PageLimit: mostFound + 1})
		return list, mostFound, err
	case byName && status == nil:
		list, err = d.q.OverviewByName(ctx, f.after, perPage+1)
	case byName:
		list, err = d.q.OverviewByNameOfStatus(ctx, queries.OverviewByNameOfStatusParams{Status: f.Status, After: f.after, PageLimit: perPage + 1})
	default:
		var before time.Time
		var id uuid.UUID
		if before, id, err = place(f.after); err != nil {
			return nil, 0, err
		}
		if status == nil {
			list, err = d.q.OverviewByChange(ctx, queries.OverviewByChangeParams{BeforeTime: before, BeforeID: id, PageLimit: perPage + 1})
		} else {
			list, err = d.q.OverviewByChangeOfStatus(ctx, queries.OverviewByChangeOfStatusParams{Status: f.Status, BeforeTime: before, BeforeID: id, PageLimit: perPage + 1})
		}
	}
	return list, perPage, err
}

// place reads where in the list by change a page begins: before a pipeline's
// last change.
func place(after string) (time.Time, uuid.UUID, error) {
	if after == "" {
		return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), uuid.Max, nil
	}
	bad := troy.Errorf(troy.Invalid, "expected the address of a page of this list").At("after")
	text, err := base64.RawURLEncoding.DecodeString(after)
	if err != nil {
		return time.Time{}, uuid.Nil, bad
	}
	micros, id, _ := strings.Cut(string(text), " ")
	n, err := strconv.ParseInt(micros, 10, 64)
	if err != nil || n < 0 || n > 1<<54 {
		return time.Time{}, uuid.Nil, bad
	}
	parsed, err := uuid.Parse(id)
	if err != nil {
		return time.Time{}, uuid.Nil, bad
	}
	return time.UnixMicro(n), parsed, nil
}

func (f filter) next(last queries.Pipeline) string {
	after := last.Slug
	if f.Sort == "changed" {
		after = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", last.UpdatedAt.UnixMicro(), last.ID))
	}
	return f.address("/", after)
}

// rows makes the list of a filter.
func (d *Dashboard) rows(v *visit, f filter) (listView, error) {
	view := listView{MayCreate: operator(v.who), Host: d.cfg.Host}
	list, shown, err := d.list(v, f)
	if err != nil {
		return view, fmt.Errorf("list pipelines: %w", err)
	}
	if len(list) > shown {
		list = list[:shown]
		if shown == perPage {
			view.Next = f.next(list[len(list)-1])
		}
		view.More = view.Next == ""
	}
	if f.after != "" {
		view.First = f.address("/", "")
	}
	if len(list) == 0 {
		view.None = len(f.query()) > 0 && (f.Search != "" || f.Status != "") || f.after != ""
		view.Empty = !view.None
		return view, nil
	}
	ids, lives := make([]uuid.UUID, 0, len(list)), []uuid.UUID{}
	for _, p := range list {
		ids = append(ids, p.ID)
		if p.LiveDeploymentID != nil {
			lives = append(lives, *p.LiveDeploymentID)
		}
	}
	hosts, err := d.q.PipelineAddresses(v.ctx(), ids)
	if err != nil {
		return view, fmt.Errorf("read the hosts of pipelines: %w", err)
	}
	latest, err := d.q.DeploymentsLatest(v.ctx(), sparkBars, ids)
	if err != nil {
		return view, fmt.Errorf("read the latest deployments: %w", err)
	}
	live, err := d.q.DeploymentsOf(v.ctx(), lives)
	if err != nil {
		return view, fmt.Errorf("read the live deployments: %w", err)
	}
	at, slugs := map[uuid.UUID]int{}, map[uuid.UUID]string{}
	for i, p := range list {
		at[p.ID], slugs[p.ID] = i, p.Slug
		view.Rows = append(view.Rows, rowView{Pipeline: p, Dot: tone(p.Status)})
	}
	pictures, err := d.thumbnails(v, slugs)
	if err != nil {
		return view, err
	}
	for i := range view.Rows {
		view.Rows[i].Thumbnail = pictures[view.Rows[i].ID]
	}
	for _, h := range hosts {
		r := &view.Rows[at[h.PipelineID]]
		r.Site, r.Address = h.Host, d.cfg.SiteURL(h.Host)
	}
	for _, l := range live {
		r := &view.Rows[at[l.PipelineID]]
		r.Live = d.view(l, r.Pipeline)
	}
	bars := map[uuid.UUID][]queries.Deployment{}
	for _, l := range latest { // the newest first
		r := &view.Rows[at[l.PipelineID]]
		if r.Last == nil {
			r.Last = d.view(l, r.Pipeline)
		}
		bars[l.PipelineID] = append(bars[l.PipelineID], l)
	}
	for i := range view.Rows {
		view.Rows[i].Spark = spark(bars[view.Rows[i].ID])
	}
	return view, nil
}

// tone is the class of a status's dot.
func tone(s troy.Status) string {
	switch s {
	case troy.Deployed:
		return "good"
	case troy.FailedToDeploy, troy.FailedToProvision, troy.FailedToDelete:
		return "bad"
	case troy.Provisioning, troy.Deploying, troy.Deleting:
		return "busy"
	case troy.ProvisionRequest, troy.Queued, troy.ScheduledForDeletion:
		return "wait"
	}
	return "idle"
}

// stateTone is that of a deployment's state.
func stateTone(s troy.DeploymentState) string {
	switch s {
	case troy.Succeeded:
		return "good"
	case troy.Failed:
		return "bad"
	case troy.Building, troy.Publishing:
		return "busy"
	case troy.Waiting:
		return "wait"
	}
	return "idle"
}
