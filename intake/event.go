package intake

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
)

// EventType says what happened to an app.
type EventType string

// The types of app events.
const (
	AppCreated EventType = "Created"
	AppDeleted EventType = "Deleted"
)

// AppEvent is the platform's message about an app (docs/api.md, "App events").
type AppEvent struct {
	ID   string    `json:"id"`
	Type EventType `json:"type"`
	// Time orders the events of one app. Postgres stores microseconds, so
	// ParseAppEvent truncates to them.
	Time time.Time `json:"time"`
	App  App       `json:"app"`
}

// App is the event's app.
type App struct {
	ID         string      `json:"id"`
	Name       string      `json:"name"`
	Repository *Repository `json:"repository"`
}

// Repository is the location of an app's source.
type Repository struct {
	Provider string `json:"provider"`  // one of troy.Providers
	FullName string `json:"full_name"` // "team/blog"
	Branch   string `json:"branch"`    // empty: the repository's default
	Root     string `json:"root"`      // folder of the site's source; empty: all
}

// fullName allows the letters that the forges allow. The name becomes part of
// API addresses, so no character may end its path segment.
var fullName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$`)

// ParseAppEvent reads and checks the body of an app event. Errors are
// *troy.Error of kind Invalid with the invalid field.
func ParseAppEvent(body []byte) (AppEvent, error) {
	var e AppEvent
	if err := DecodeJSON(bytes.NewReader(body), &e); err != nil {
		return AppEvent{}, err
	}
	e.Time = e.Time.UTC().Truncate(time.Microsecond)
	if err := e.check(); err != nil {
		return AppEvent{}, err
	}
	return e, nil
}

func (e AppEvent) check() error {
	if err := troy.CheckText("id", e.ID, maxID); err != nil {
		return err
	}
	switch e.Type {
	case AppCreated, AppDeleted:
	case "":
		return troy.Errorf(troy.Invalid, "the value is missing or empty").At("type")
	default:
		return troy.Errorf(troy.Invalid, "the type is %q; expected %s or %s", troy.Clip(string(e.Type)), AppCreated, AppDeleted).At("type")
	}
	if e.Time.IsZero() {
		return troy.Errorf(troy.Invalid, "the value is missing").At("time")
	}
	if err := troy.CheckText("app.id", e.App.ID, maxID); err != nil {
		return err
	}
	if err := troy.CheckText("app.name", e.App.Name, maxName); err != nil {
		return err
	}
	return e.App.Repository.check("app.repository.")
}

func (r *Repository) check(prefix string) error {
	if r == nil {
		return nil
	}
	if err := r.checkName(prefix); err != nil {
		return err
	}
	if err := r.checkBranch(prefix); err != nil {
		return err
	}
	return r.checkRoot(prefix)
}

func (r *Repository) checkName(prefix string) error {
	if err := troy.CheckText(prefix+"provider", r.Provider, maxID); err != nil {
		return err
	}
	if !slices.Contains(troy.Providers(), troy.Provider(r.Provider)) {
		var known []string
		for _, p := range troy.Providers() {
			known = append(known, string(p))
		}
		slices.Sort(known)
		return troy.Errorf(troy.Invalid, "the provider is %q; expected one of %s", troy.Clip(r.Provider), strings.Join(known, ", ")).At(prefix + "provider")
	}
	if err := troy.CheckText(prefix+"full_name", r.FullName, maxRef); err != nil {
		return err
	}
	owner, name, _ := strings.Cut(r.FullName, "/")
	dots := []string{".", ".."}
	if !fullName.MatchString(r.FullName) || slices.Contains(dots, owner) || slices.Contains(dots, name) {
		return troy.Errorf(troy.Invalid, "the name is %q; expected a name like team/blog", troy.Clip(r.FullName)).At(prefix + "full_name")
	}
	return nil
}

func (r *Repository) checkBranch(prefix string) error {
	if r.Branch == "" {
		return nil
	}
	if err := troy.CheckText(prefix+"branch", r.Branch, maxRef); err != nil {
		return err
	}
	if troy.CheckBranch(r.Branch) != nil {
		return troy.Errorf(troy.Invalid, "%q is not a valid branch name (git-check-ref-format)", troy.Clip(r.Branch)).At(prefix + "branch")
	}
	return nil
}

func (r *Repository) checkRoot(prefix string) error {
	if r.Root == "" {
		return nil
	}
	if err := troy.CheckText(prefix+"root", r.Root, maxRoot); err != nil {
		return err
	}
	if strings.HasPrefix(r.Root, "/") || strings.Contains(r.Root, `\`) || slices.Contains(strings.Split(r.Root, "/"), "..") {
		return troy.Errorf(troy.Invalid, "the folder is %q; expected a path inside the repository, relative to its root", troy.Clip(r.Root)).At(prefix + "root")
	}
	return nil
}
