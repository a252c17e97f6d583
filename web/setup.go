package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/reply"
)

const (
	// setupPath is the page on which Troy's GitHub app is made.
	setupPath = "/setup/github"
	// setupValid is how long the way to GitHub and back may take: the code that
	// the browser comes back with is good for an hour itself.
	setupValid = time.Hour
	// convertTime bounds trading the code for the app.
	convertTime = 45 * time.Second
	maxAppName  = 34
)

// setupView is what the page shows: the first of Environment, NoKey and Action
// that is set, or the app there is and the form.
type setupView struct {
	frame
	Environment, NoKey bool
	App                *queries.ForgeApp
	Installed          bool

	Name, Organization string
	Problem, Field     string

	Action, Manifest, HookURL string
	Unreachable               bool
}

// setup makes a route of a page for admins of all pipelines.
func (s *server) setup(h func(context.Context, *gin.Context, caller) error) gin.HandlerFunc {
	return s.page(credentials.Admin, setupPath, func(ctx context.Context, c *gin.Context, who caller) error {
		if !who.All() {
			return troy.Errorf(troy.Forbidden, "the token is limited to named pipelines; the app serves all")
		}
		return h(ctx, c, who)
	})
}

func (s *server) showSetup(c *gin.Context, status int, v setupView) error {
	v.frame = s.pages.frame
	more := ""
	if v.Action != "" {
		action, err := url.Parse(v.Action)
		if err != nil {
			return fmt.Errorf("the address of GitHub's form: %w", err)
		}
		more = " " + action.Scheme + "://" + action.Host
	}
	return s.pages.show(c, status, setupPage, v, more)
}

// githubSetup is the page. With a name it shows what GitHub will be asked for,
// and its button hands the manifest over
// (docs.github.com, "Registering a GitHub App from a manifest").
func (s *server) githubSetup(ctx context.Context, c *gin.Context, who caller) error {
	v := setupView{
		Environment: s.cfg.GitHubFromEnvironment, NoKey: s.deps.Secrets == nil || s.deps.GitHubSetup == nil,
		// GitHub adds it when it sends people back who installed the app.
		Installed: c.Query("setup_action") == "install" || c.Query("setup_action") == "update",
	}
	if v.Environment || v.NoKey {
		return s.showSetup(c, http.StatusOK, v)
	}
	app, err := s.q.ForgeAppGet(ctx, string(troy.GitHub))
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("look up the GitHub app: %w", err)
	}
	if err == nil {
		v.App = &app
	}
	name, asked := c.GetQuery("name")
	if !asked {
		v.Name = forge.Cut("Troy "+s.pages.frame.Host, maxAppName)
		return s.showSetup(c, http.StatusOK, v)
	}
	v.Name, v.Organization = name, c.Query("organization")
	state := credentials.NewState()
	action, manifest, err := s.deps.GitHubSetup.Manifest(forge.AppRequest{
		Name: v.Name, Organization: v.Organization, State: string(state),
		URL: s.cfg.URL, HookURL: s.cfg.URL + "/hooks/github", RedirectURL: s.cfg.URL + setupPath + "/callback", SetupURL: s.cfg.URL + setupPath,
	})
	if e, ok := errors.AsType[*troy.Error](err); ok && (e.Field == "name" || e.Field == "organization") {
		v.Problem, v.Field = e.Message, e.Field
		return s.showSetup(c, reply.Status(e.Kind), v)
	}
	if err != nil {
		return err
	}
	if err := s.q.SetupStateIssue(ctx, queries.SetupStateIssueParams{
		Hash: state.Hash(), Provider: string(troy.GitHub), Actor: who.Actor(), ValidSeconds: setupValid.Seconds(),
	}); err != nil {
		return fmt.Errorf("issue a state for the set-up: %w", err)
	}
	v.Action, v.Manifest, v.HookURL, v.Unreachable = action, string(manifest), s.cfg.URL+"/hooks/github", loopback(s.pages.frame.Host)
	return s.showSetup(c, http.StatusOK, v)
}

// githubCallback takes the app that GitHub made. The state says that this
// admin began it: a page of someone else's can't hand in an app of theirs.
func (s *server) githubCallback(ctx context.Context, c *gin.Context, who caller) error {
	if s.cfg.GitHubFromEnvironment || s.deps.Secrets == nil || s.deps.GitHubSetup == nil {
		return troy.Errorf(troy.Conflict, "no app can be set up here")
	}
	_, err := s.q.SetupStateUse(ctx, queries.SetupStateUseParams{Hash: credentials.State(c.Query("state")).Hash(), Provider: string(troy.GitHub), Actor: who.Actor()})
	if errors.Is(err, pgx.ErrNoRows) {
		s.deps.Log.WarnContext(ctx, "an app was refused: its state was not issued to this caller, was used, or has expired",
			"request", note(ctx).request, "actor", who.Actor(), "remote", c.Request.RemoteAddr)
		return troy.Errorf(troy.Forbidden, "this set-up was not begun by you, was ended before, or took longer than an hour; begin again. An app that GitHub made meanwhile can be deleted there")
	}
	if err != nil {
		return fmt.Errorf("use the state of the set-up: %w", err)
	}
	// The code is spent by asking; a browser that leaves must not lose the keys.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), convertTime)
	defer cancel()
	app, err := s.deps.GitHubSetup.Convert(ctx, c.Query("code"))
	if err != nil {
		if _, ok := errors.AsType[*troy.Error](err); ok {
			return err
		}
		s.deps.Log.ErrorContext(ctx, "GitHub did not hand over the app", "request", note(ctx).request, "error", err)
		return troy.Errorf(troy.Unavailable, "GitHub did not hand over the app's keys. Delete the app there and begin again; Troy's log has the details under request %s", note(ctx).request)
	}
	sealed, err := credentials.SealApp(s.deps.Secrets, troy.GitHub, app)
	if err != nil {
		return err
	}
	if err := s.q.ForgeAppPut(ctx, queries.ForgeAppPutParams{
		Provider: string(troy.GitHub), AppID: strconv.FormatInt(app.ID, 10), Name: app.Name, Url: app.URL, Credentials: sealed, Actor: who.Actor(),
	}); err != nil {
		return fmt.Errorf("keep the GitHub app %d, which is to be deleted at GitHub now: %w", app.ID, err)
	}
	s.deps.Log.InfoContext(ctx, "the GitHub app was set up", "request", note(ctx).request, "app", app.ID, "slug", app.Slug, "actor", who.Actor())
	// Loading the page again must not send the code again.
	c.Redirect(http.StatusSeeOther, setupPath)
	return nil
}
