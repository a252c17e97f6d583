package dashboard

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// sectionChange is what the form of a section does, and the section of the page
// that shows its effect.
type sectionChange struct {
	shownIn string
	do      func(d *Dashboard, v *visit, p queries.Pipeline, form url.Values) error
}

// sections are the forms of the settings, by the names in their addresses.
func sections() map[string]sectionChange {
	return map[string]sectionChange{
		"source":          {"source", (*Dashboard).saveSource},
		"disconnect":      {"source", (*Dashboard).disconnect},
		"build":           {"build", (*Dashboard).saveBuild},
		"variable":        {"variables", (*Dashboard).saveVariable},
		"variable-remove": {"variables", (*Dashboard).removeVariable},
		"password":        {"protection", (*Dashboard).savePassword},
		"password-remove": {"protection", (*Dashboard).removePassword},
		"network":         {"protection", (*Dashboard).allowNetwork},
		"network-remove":  {"protection", (*Dashboard).disallowNetwork},
		"protect":         {"protection", (*Dashboard).protectScope},
		"previews":        {"protection", (*Dashboard).protectPreviews},
		"unprotect":       {"protection", (*Dashboard).unprotect},
		"schedule":        {"schedule", (*Dashboard).saveSchedule},
		"hook-delete":     {"hooks", (*Dashboard).deleteHook},
		"token-revoke":    {"access", (*Dashboard).revokeToken},
	}
}

// settingsChange carries out a form of the settings, and shows the page again.
func (d *Dashboard) settingsChange(v *visit) error {
	section := v.r.PathValue("section")
	change, known := sections()[section]
	if !known {
		return troy.Errorf(troy.NotFound, "there is no section %q", troy.Clip(section))
	}
	p, err := d.find(v)
	if troy.KindOf(err) == troy.NotFound {
		return d.gone(v, err)
	}
	if err != nil {
		return err
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		return badForm(err)
	}
	if err := must(v.who, credentials.Admin); err != nil {
		return d.settingsRefused(v, p, section, v.r.PostForm, err)
	}
	if err := change.do(d, v, p, v.r.PostForm); err != nil {
		return d.settingsRefused(v, p, section, v.r.PostForm, err)
	}
	http.Redirect(v.w, v.r, fmt.Sprintf("/pipelines/%s/settings?saved=%s#%s", p.Slug, change.shownIn, change.shownIn), http.StatusSeeOther)
	return nil
}

// sameSettings is a check that the settings are those of the form's page.
func sameSettings(form url.Values) func(queries.Pipeline) error {
	return func(p queries.Pipeline) error {
		tag, err := intake.SettingsTag(p)
		if err != nil || tag == form.Get("tag") {
			return err
		}
		return troy.Errorf(troy.Moved, "the settings changed after you opened the page; nothing was saved. Your values are in the form: compare them, and save again")
	}
}

// configure saves the fields that differ from what is stored, so that an old
// value is not checked anew.
func (d *Dashboard) configure(v *visit, p queries.Pipeline, form url.Values, c intake.Configuration) error {
	c.SameRepository, c.Check = !v.who.All(), sameSettings(form)
	if c.Repository == nil && c.WatchPaths == nil && c.CancelRunning == nil && c.Build == nil {
		return c.Check(p) // nothing changes
	}
	_, err := d.deps.Intake.Configure(v.ctx(), p.ID, c)
	return err
}

func (d *Dashboard) saveSource(v *visit, p queries.Pipeline, form url.Values) error {
	var c intake.Configuration
	r := &intake.RepositoryChange{}
	for name, part := range map[string]struct {
		to     **string
		stored *string
	}{
		"repository.provider": {&r.Provider, p.RepositoryProvider}, "repository.full_name": {&r.FullName, p.RepositoryFullName},
		"repository.branch": {&r.Branch, p.RepositoryBranch}, "repository.root": {&r.Root, p.RepositoryRoot},
	} {
		if sent := strings.TrimSpace(form.Get(name)); form.Has(name) && sent != deref(part.stored) {
			*part.to, c.Repository = &sent, r
		}
	}
	if p.RepositoryFullName == nil && strings.TrimSpace(form.Get("repository.full_name")) == "" {
		c.Repository = nil // a forge alone connects nothing
	}
	if paths := lines(form.Get("watch_paths")); form.Has("watch_paths") && strings.Join(paths, "\n") != strings.Join(p.WatchPaths, "\n") {
		c.WatchPaths = paths
	}
	if cancels := form.Get("cancel_running") != ""; cancels != p.CancelRunning {
		c.CancelRunning = &cancels
	}
	return d.configure(v, p, form, c)
}

// lines splits a text area. It never returns nil.
func lines(text string) []string {
	out := []string{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

func (d *Dashboard) disconnect(v *visit, p queries.Pipeline, form url.Values) error {
	return d.configure(v, p, form, intake.Configuration{Repository: &intake.RepositoryChange{Remove: true}})
}

func (d *Dashboard) saveBuild(v *visit, p queries.Pipeline, form url.Values) error {
	fields, err := buildFields(p)
	if err != nil {
		return err
	}
	change := map[string]any{}
	for _, f := range fields {
		name := strings.TrimPrefix(f.Name, "build.")
		switch sent := strings.TrimSpace(form.Get(f.Name)); {
		case f.Kind == "check" && f.Checked != (sent != ""):
			change[name] = sent != ""
		case f.Kind == "number" && form.Has(f.Name) && f.Value != sent:
			n, err := strconv.Atoi(cmp.Or(sent, "0"))
			if err != nil {
				return troy.Errorf(troy.Invalid, "it is %q; expected a number", troy.Clip(sent)).At(f.Name)
			}
			change[name] = n
		case f.Kind != "check" && form.Has(f.Name) && f.Value != sent:
			change[name] = sent
		}
	}
	if len(change) == 0 {
		return d.configure(v, p, form, intake.Configuration{})
	}
	encoded, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("encode the build settings: %w", err)
	}
	return d.configure(v, p, form, intake.Configuration{Build: encoded})
}

func (d *Dashboard) saveVariable(v *visit, p queries.Pipeline, form url.Values) error {
	// A browser sends line breaks as CRLF.
	value := strings.ReplaceAll(form.Get("value"), "\r\n", "\n")
	return d.deps.SetVariable(v.ctx(), p.ID, strings.TrimSpace(form.Get("name")), strings.TrimSpace(form.Get("context")), value, form.Get("secret") != "")
}

func (d *Dashboard) removeVariable(v *visit, p queries.Pipeline, form url.Values) error {
	return d.deps.Intake.RemoveVariable(v.ctx(), p.ID, form.Get("name"), form.Get("context"))
}

func (d *Dashboard) revokeToken(v *visit, _ queries.Pipeline, form url.Values) error {
	if err := mayTokens(v.who); err != nil {
		return err
	}
	id, err := uuid.Parse(form.Get("token"))
	if err != nil {
		return troy.Errorf(troy.Invalid, "the form names no token; open the page again")
	}
	t, err := d.q.TokenGet(v.ctx(), id)
	if err == nil && form.Get("confirm") != t.Name {
		return troy.Errorf(troy.Invalid, "type %s to confirm that the token is to be revoked; nothing was done", t.Name).At("confirm")
	}
	if err == nil {
		_, err = d.deps.Intake.RevokeToken(v.ctx(), id, v.who.Actor())
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return troy.Errorf(troy.NotFound, "the token was revoked already")
	}
	return err
}

func parseMicro(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	return time.UnixMicro(n), err
}
