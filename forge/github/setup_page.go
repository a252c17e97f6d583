package github

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/queries"
)

//go:embed setup_github.html
var pages embed.FS

const (
	setupPage = "setup_github.html"
	// setupPath is the page on which Troy's GitHub app is made.
	setupPath = "/setup/github"
	// setupValid is how long the way to GitHub and back may take: the browser's
	// code is itself valid for an hour.
	setupValid = time.Hour
	// convertTime bounds the exchange of the code for the app.
	convertTime = 45 * time.Second
)

// setupView is the page's content: the first of Environment, NoKey and Action
// that is set, or the existing app and the form.
type setupView struct {
	Environment, NoKey bool
	App                *queries.ForgeApp
	Installed          bool

	Name, Organization string
	Problem, Field     string

	Action, Manifest, HookURL string
	Unreachable               bool
}

// show answers with the page. Its form may lead to GitHub.
func (v setupView) show(status int) forge.Answer {
	return forge.Answer{Status: status, Page: &forge.Page{Template: setupPage, View: v, FormTo: v.Action}}
}

// setup is the page. With a name it shows the request to GitHub, and its button
// submits the manifest (docs.github.com, "Registering a GitHub App from a
// manifest").
func (f *Forge) setup(ctx context.Context, r forge.Request) (forge.Answer, error) {
	query := r.HTTP.URL.Query()
	v := setupView{
		Environment: f.app.Own != nil, NoKey: f.app.Secrets == nil,
		// GitHub adds it when users come back from installing the app.
		Installed: query.Get("setup_action") == "install" || query.Get("setup_action") == "update",
	}
	if v.Environment || v.NoKey {
		return v.show(http.StatusOK), nil
	}
	q := queries.New(f.app.DB)
	app, err := q.ForgeAppGet(ctx, string(troy.GitHub))
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return forge.Answer{}, fmt.Errorf("look up the GitHub app: %w", err)
	}
	if err == nil {
		v.App = &app
	}
	own, err := url.Parse(f.url)
	if err != nil {
		return forge.Answer{}, fmt.Errorf("read Troy's own address: %w", err)
	}
	if !query.Has("name") {
		v.Name = troy.Cut("Troy "+cmp.Or(own.Host, f.url), maxAppName)
		return v.show(http.StatusOK), nil
	}
	v.Name, v.Organization = query.Get("name"), query.Get("organization")
	state := credentials.NewState()
	action, manifest, err := f.Manifest(forge.AppRequest{
		Name: v.Name, Organization: v.Organization, State: string(state),
		URL: f.url, HookURL: f.url + "/hooks/github", RedirectURL: f.url + setupPath + "/callback", SetupURL: f.url + setupPath,
	})
	if e, ok := errors.AsType[*troy.Error](err); ok && (e.Field == "name" || e.Field == "organization") {
		v.Problem, v.Field = e.Message, e.Field
		return v.show(http.StatusBadRequest), nil
	}
	if err != nil {
		return forge.Answer{}, err
	}
	if err := q.SetupStateIssue(ctx, queries.SetupStateIssueParams{
		Hash: state.Hash(), Provider: string(troy.GitHub), Actor: r.Admin, ValidSeconds: setupValid.Seconds(),
	}); err != nil {
		return forge.Answer{}, fmt.Errorf("issue a state for the set-up: %w", err)
	}
	v.Action, v.Manifest, v.HookURL, v.Unreachable = action, string(manifest), f.url+"/hooks/github", forge.IsLoopback(strings.ToLower(own.Hostname()))
	return v.show(http.StatusOK), nil
}

// callback accepts the app that GitHub made. The state proves that this admin
// began the setup: another site's page can't submit its own app.
func (f *Forge) callback(ctx context.Context, r forge.Request) (forge.Answer, error) {
	if f.app.Own != nil || f.app.Secrets == nil {
		return forge.Answer{}, troy.Errorf(troy.Conflict, "no app can be set up here")
	}
	query := r.HTTP.URL.Query()
	_, err := queries.New(f.app.DB).SetupStateUse(ctx, queries.SetupStateUseParams{
		Hash: credentials.State(query.Get("state")).Hash(), Provider: string(troy.GitHub), Actor: r.Admin,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		f.log.WarnContext(ctx, "an app was refused: its state was not issued to this caller, was used, or has expired",
			"request", r.ID, "actor", r.Admin, "remote", r.HTTP.RemoteAddr)
		return forge.Answer{}, troy.Errorf(troy.Forbidden, "you did not begin this setup, it has ended, or it took longer than an hour; begin again. If GitHub made an app meanwhile, you can delete it there")
	}
	if err != nil {
		return forge.Answer{}, fmt.Errorf("use the state of the set-up: %w", err)
	}
	// Asking uses up the code; a browser that leaves must not lose the keys.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), convertTime)
	defer cancel()
	app, err := f.Convert(ctx, query.Get("code"))
	if err != nil {
		if _, ok := errors.AsType[*troy.Error](err); ok {
			return forge.Answer{}, err
		}
		f.log.ErrorContext(ctx, "GitHub did not return the app", "request", r.ID, "error", err)
		return forge.Answer{}, troy.Errorf(troy.Unavailable, "GitHub did not return the app's keys. Delete the app there and begin again; Troy's log has the details under request %s", r.ID)
	}
	if err := f.app.store(ctx, app, r.Admin); err != nil {
		return forge.Answer{}, err
	}
	f.log.InfoContext(ctx, "the GitHub app was set up", "request", r.ID, "app", app.ID, "slug", app.Slug, "actor", r.Admin)
	// Reloading the page must not send the code again.
	return forge.Answer{Location: setupPath}, nil
}
