package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/lists"
	"github.com/troy-iaas/troy/web/reply"
)

// Variable is a variable of a pipeline's builds. Value is empty for a secret.
type Variable struct {
	Name, Context, Value string

	Secret    bool
	ChangedAt time.Time
	Problem   string // why the value can't be shown
}

// settingsView is the page of a pipeline's settings.
type settingsView struct {
	frame
	Pipeline queries.Pipeline
	Action   string // what the forms' addresses begin with
	Tag      string // of the settings that the page shows
	At       int64  // when the page was made, in microseconds
	Admin    bool
	Deleting bool
	Actions  actionsView
	Saved    string // the section that was just saved
	Failed   string // the section whose form was refused
	Failure  string
	Changed  []changeView // what others changed since the page was made
	Source   []fieldView
	Build    []fieldView
	// NoVariables says why there can be none.
	NoVariables string
	Variables   []Variable
	Variable    fieldView // the name in the form of a new variable
	Context     fieldView
	Value       fieldView
	Protection  protectionView
	AllTokens   bool // whether the visitor may see tokens
	Tokens      []queries.TokenListRow
	MoreTokens  bool
	Trusts      []queries.Trust
	Schedule    *queries.Schedule
	Cron        fieldView
	Zone        fieldView
	Hooks       []queries.DeployHook
	Hook        fieldView // the name in the form of a new deploy hook
	HookBranch  fieldView
	MadeHook    *madeToken // the address of one that was just made
}

// changeView is a change of the settings for people.
type changeView struct {
	Actor, What string
	Time        time.Time
}

// fieldView is a field of a form.
type fieldView struct {
	Name, Label, Help, Kind string
	Value                   string
	Options                 []string
	Checked                 bool
	Error                   string
	// Now is the stored value if it is another one by now than in the form.
	Now      string
	Conflict bool
}

// ID is the id of the field's element.
func (f fieldView) ID() string { return "f-" + strings.NewReplacer(".", "-", "_", "-").Replace(f.Name) }

// choices are the values of settings that have a few.
var choices = map[string][]string{
	"build.trailing_slash": {"", "auto", "always", "never"},
	"build.pull_requests":  {"", "all", "ready", "none"},
	"repository.provider":  {"github", "bitbucket"},
}

// sourceFields are the fields of where a pipeline's source is.
func sourceFields(p queries.Pipeline) []fieldView {
	return []fieldView{
		{Name: "repository.provider", Label: "Forge", Kind: "select", Value: deref(p.RepositoryProvider), Options: choices["repository.provider"]},
		{Name: "repository.full_name", Label: "Repository", Kind: "text", Value: deref(p.RepositoryFullName), Help: "owner and name, like team/blog"},
		{Name: "repository.branch", Label: "Branch", Kind: "text", Value: deref(p.RepositoryBranch), Help: "the branch to build; empty means the repository’s default branch"},
		{Name: "repository.root", Label: "Root folder", Kind: "text", Value: deref(p.RepositoryRoot), Help: "the folder of the site’s source; empty means the whole repository"},
		{Name: "watch_paths", Label: "Watched paths", Kind: "area", Value: strings.Join(p.WatchPaths, "\n"), Help: "one pattern per line; a push that changes no matching file is not built. Empty means the root folder"},
		{Name: "cancel_running", Label: "New commits", Kind: "check", Checked: p.CancelRunning, Help: "a newer commit stops the running build"},
	}
}

// buildFields are the fields of the build settings.
func buildFields(p queries.Pipeline) ([]fieldView, error) {
	var build troy.BuildSettings
	if err := json.Unmarshal(p.BuildSettings, &build); err != nil {
		return nil, fmt.Errorf("read the build settings of pipeline %s: %w", p.ID, err)
	}
	var list []fieldView
	v := reflect.ValueOf(build)
	for i, field := range reflect.VisibleFields(v.Type()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		f := fieldView{Name: "build." + name, Label: field.Tag.Get("label"), Help: field.Tag.Get("help")}
		f.Options = choices[f.Name]
		switch field.Type.Kind() {
		case reflect.Bool:
			f.Kind, f.Checked = "check", v.Field(i).Bool()
		case reflect.String:
			if f.Kind, f.Value = "text", v.Field(i).String(); f.Options != nil {
				f.Kind = "select"
			}
		case reflect.Int:
			if f.Kind = "number"; !v.Field(i).IsZero() {
				f.Value = strconv.FormatInt(v.Field(i).Int(), 10)
			}
			f.Help += "; empty means the installation’s limit"
		default:
			continue // no form for it yet
		}
		if f.Kind == "select" && !slices.Contains(f.Options, f.Value) {
			f.Options = append([]string{f.Value}, f.Options...) // an old value
		}
		list = append(list, f)
	}
	return list, nil
}

func (d *Dashboard) settings(v *visit) error {
	p, err := d.find(v)
	if troy.KindOf(err) == troy.NotFound {
		return d.gone(v, err)
	}
	if err != nil {
		return err
	}
	view, err := d.settingsOf(v, p)
	if err != nil {
		return err
	}
	view.Saved = v.r.URL.Query().Get("saved")
	return d.show(v, http.StatusOK, "settings.html", view)
}

// settingsOf reads what the page shows.
func (d *Dashboard) settingsOf(v *visit, p queries.Pipeline) (settingsView, error) {
	view := settingsView{
		frame: d.frame(v, "Settings of "+p.Name), Pipeline: p, Action: "/pipelines/" + p.Slug + "/settings/", At: time.Now().UnixMicro(),
		Admin: v.who.Role.May(credentials.Admin), Deleting: p.Status.InDeletion(), Actions: actionsOf(v.who, p), AllTokens: operator(v.who),
		Source:   sourceFields(p),
		Variable: fieldView{Name: "name", Label: "Name", Kind: "text"}, Value: fieldView{Name: "value", Label: "Value", Kind: "area"},
		Cron:       fieldView{Name: "schedule_cron", Label: "Times", Kind: "text", Help: "minute, hour, day of the month, month and day of the week, like 30 4 * * 1-5; or @daily. Empty means no schedule"},
		Zone:       fieldView{Name: "schedule_zone", Label: "Time zone", Kind: "text", Help: "like Europe/Berlin; empty means UTC"},
		Hook:       fieldView{Name: "hook_name", Label: "Name", Kind: "text", Help: "who calls it, like cms; events show it"},
		HookBranch: fieldView{Name: "hook_branch", Label: "Branch", Kind: "text", Help: "empty means the pipeline’s branch; another branch is shown in its preview"},
		Context: fieldView{
			Name: "context", Label: "Context", Kind: "text", Options: []string{troy.AllContexts, troy.ProductionContext, troy.PreviewContext, troy.BranchContext("")},
			Help: "the builds that get it: all, production, preview, or preview:BRANCH for the previews of one branch. Empty means production for a secret, and all for any other value",
		},
	}
	view.Actions.Grace = d.grace(p)
	var err error
	if view.Tag, err = intake.SettingsTag(p); err != nil {
		return view, err
	}
	if view.Build, err = buildFields(p); err != nil {
		return view, err
	}
	if view.Admin {
		view.Variables, err = d.deps.Variables(v.ctx(), p.ID)
		if e, ok := errors.AsType[*troy.Error](err); ok && e.Kind == troy.Unavailable {
			view.NoVariables = sentence(e.Message)
		} else if err != nil {
			return view, err
		}
	}
	if view.Protection, err = d.protectionOf(v, p); err != nil {
		return view, err
	}
	if view.Trusts, err = d.q.TrustList(v.ctx(), p.ID); err != nil {
		return view, fmt.Errorf("list the trust rules of pipeline %s: %w", p.ID, err)
	}
	if view.Schedule, err = d.scheduleOf(v, p); err != nil {
		return view, err
	}
	if view.Schedule != nil {
		view.Cron.Value, view.Zone.Value = view.Schedule.Cron, view.Schedule.Zone
	}
	if view.Hooks, err = d.q.DeployHookList(v.ctx(), p.ID); err != nil {
		return view, fmt.Errorf("list the deploy hooks of pipeline %s: %w", p.ID, err)
	}
	if view.AllTokens {
		view.Tokens, view.MoreTokens, err = d.tokensOf(v, p.ID)
	}
	return view, err
}

const (
	tokensRead  = 200 // in a page
	tokenPages  = 5
	tokensShown = 100
)

// tokensOf lists the newest tokens that may touch a pipeline.
func (d *Dashboard) tokensOf(v *visit, pipeline uuid.UUID) (list []queries.TokenListRow, more bool, err error) {
	args := queries.TokenListParams{BeforeTime: time.Now().Add(time.Hour), BeforeID: uuid.Max, PageLimit: tokensRead}
	for range tokenPages {
		page, err := d.q.TokenList(v.ctx(), args)
		if err != nil {
			return nil, false, fmt.Errorf("list the tokens of pipeline %s: %w", pipeline, err)
		}
		for _, t := range page {
			if t.Pipelines == nil || slices.Contains(t.Pipelines, pipeline) {
				list = append(list, t)
			}
		}
		if len(list) > tokensShown {
			return list[:tokensShown], true, nil
		}
		if len(page) < tokensRead {
			return list, false, nil
		}
		last := page[len(page)-1]
		args.BeforeTime, args.BeforeID = last.CreatedAt, last.ID
	}
	return list, true, nil
}

// settingsRefused shows the page again with what was sent, what is wrong with
// it and what others changed meanwhile.
func (d *Dashboard) settingsRefused(v *visit, p queries.Pipeline, section string, form url.Values, err error) error {
	if now, gone := d.q.PipelineGet(v.ctx(), p.ID); gone == nil {
		p = now
	}
	view, bad := d.settingsOf(v, p)
	if bad != nil {
		return bad
	}
	e := public(err)
	if e.Kind == troy.Internal {
		return err
	}
	d.deps.Note(v.ctx(), Note{Err: err})
	view.Failed, view.Failure = section, sentence(e.Message)
	switch section {
	case "source":
		view.fill(view.Source, form, e)
	case "build":
		view.fill(view.Build, form, e)
	case "variable":
		fields := []fieldView{view.Variable, view.Context, view.Value}
		view.fill(fields, form, e)
		view.Variable, view.Context, view.Value = fields[0], fields[1], fields[2]
		if form.Get("secret") != "" {
			view.Value.Value = "" // a secret is never shown
		}
	case "schedule":
		fields := []fieldView{view.Cron, view.Zone}
		view.fill(fields, form, e)
		view.Cron, view.Zone = fields[0], fields[1]
	case "hook":
		fields := []fieldView{view.Hook, view.HookBranch}
		view.fill(fields, form, e)
		view.Hook, view.HookBranch = fields[0], fields[1]
	case "password":
		fields := []fieldView{view.Protection.Name, view.Protection.Password}
		view.fill(fields, form, e)
		fields[1].Value = "" // a password is never shown
		view.Protection.Name, view.Protection.Password = fields[0], fields[1]
	case "network":
		fields := []fieldView{view.Protection.Network}
		view.fill(fields, form, e)
		view.Protection.Network = fields[0]
	}
	if e.Kind == troy.Moved {
		if view.Changed, bad = d.changesSince(v, p, form.Get("at")); bad != nil {
			return bad
		}
	}
	return d.show(v, reply.Status(e.Kind), "settings.html", view)
}

// fill puts what was sent into the fields, and the error at its field.
func (view *settingsView) fill(fields []fieldView, form url.Values, e *troy.Error) {
	for i := range fields {
		f := &fields[i]
		sent, checked := strings.ReplaceAll(form.Get(f.Name), "\r\n", "\n"), form.Get(f.Name) != ""
		if e.Kind == troy.Moved {
			switch {
			case f.Kind == "check" && f.Checked != checked:
				f.Conflict, f.Now = true, map[bool]string{true: "on", false: "off"}[f.Checked]
			case f.Kind != "check" && f.Value != sent:
				f.Conflict, f.Now = true, f.Value
			}
		}
		if f.Kind == "check" {
			f.Checked = checked
		} else {
			f.Value = sent
		}
		if e.Field == f.Name {
			f.Error = sentence(e.Message)
			view.Failure = "Nothing was saved; see " + f.Label + "."
		}
	}
}

// changesSince lists who changed the settings after the page was made.
func (d *Dashboard) changesSince(v *visit, p queries.Pipeline, at string) ([]changeView, error) {
	since, err := parseMicro(at)
	if err != nil {
		return nil, nil //nolint:nilerr // the form does not say when the page was made
	}
	page, err := d.lists.Activity(v.ctx(), lists.ActivityFilter{What: intake.Configured, Since: since, Only: []uuid.UUID{p.ID}}, v.who, "", 50)
	if err != nil {
		return nil, fmt.Errorf("read the changes of pipeline %s: %w", p.ID, err)
	}
	var list []changeView
	for _, r := range page.Activity {
		if r.Time.After(since) {
			list = append(list, changeView{Actor: r.Actor, What: r.Subject, Time: r.Time})
		}
	}
	return list, nil
}
