// Package dashboard is what people see of Troy in a browser: server-rendered
// pages that also work without JavaScript, and that move by server-sent events
// with it. A page reads rows and an action goes to intake, as in the API.
// Package web serves it.
package dashboard

import (
	"context"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/health"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/network"
	"github.com/troy-iaas/troy/notify"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/traffic"
	"github.com/troy-iaas/troy/web/lists"
	"github.com/troy-iaas/troy/web/reply"
)

const (
	// policy lets pages load this package's files alone, and frames, inline
	// scripts and inline styles not at all.
	policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
	// most is how long a page may take to be made.
	most = 15 * time.Second
	// MostInspection is how long looking into a repository may take.
	MostInspection = time.Minute
	// maxForm is how many bytes a form may have.
	maxForm = 64 << 10
)

// Note is what the log of requests says about one.
type Note struct {
	Route, Actor, Pipeline, Deployment string
	Err                                error
}

// Config is what the pages show and depend on.
type Config struct {
	Host    string                   // Troy's own
	URL     string                   // Troy's own address
	SiteURL func(host string) string // where a site is reached
	Limits  site.Limits              // of a site
	Proxies network.Proxies          // whose X-Forwarded-For is believed
	// AccessLogs means that requests are counted from the CDN's access logs,
	// which come late.
	AccessLogs bool
	// Functions means that CloudFront's functions protect the sites.
	Functions bool
	// EdgeAddresses are those to which custom domains point.
	EdgeAddresses []netip.Addr
}

// Deps is what the pages work with.
type Deps struct {
	DB       queries.DBTX
	Intake   *intake.Intake
	Tokens   credentials.Tokens
	Sessions credentials.Sessions
	// Issuer lets people sign in with OpenID Connect; nil means by token alone.
	Issuer *credentials.Issuer
	// Files returns the files that a deployment publishes, sorted by path. The
	// error is NotFound if there are none yet or any more.
	Files func(context.Context, queries.Deployment) ([]site.File, error)
	// SetPassword sets a password of a pipeline's site.
	SetPassword func(ctx context.Context, p queries.Pipeline, name, password, actor string) error
	// Variables lists a pipeline's variables, and SetVariable sets one. They
	// return an Unavailable error if this installation can't store any.
	Variables   func(ctx context.Context, pipeline uuid.UUID) ([]Variable, error)
	SetVariable func(ctx context.Context, pipeline uuid.UUID, name, of, value string, hidden bool) error
	// AddNotifier adds a notifier of a pipeline or, without one, of all. It
	// returns the key that signs its webhooks.
	AddNotifier func(ctx context.Context, pipeline *uuid.UUID, kind notify.Kind, address string, to, events []string, actor string) (queries.Notifier, string, error)
	// RotateNotifier gives a webhook a new key and returns it.
	RotateNotifier func(context.Context, queries.Notifier) (queries.Notifier, string, error)
	// NewHook makes a deploy hook of a pipeline and returns its address.
	NewHook func(ctx context.Context, pipeline uuid.UUID, name, branch, actor string) (address string, err error)
	// Traffic returns the requests to a pipeline's site on the last days. The
	// error is Conflict if this installation does not count any.
	Traffic func(ctx context.Context, pipeline uuid.UUID, now time.Time, days int) (traffic.Summary, error)
	// Repositories finds those whose names contain a text; Inspect looks into
	// one of them.
	Repositories func(ctx context.Context, search string) (Repositories, error)
	Inspect      func(ctx context.Context, provider troy.Provider, name, branch, root string) (Inspection, error)
	// DomainProof reports whether DNS has the challenge of a custom domain; nil
	// means that no domain moves to another pipeline.
	DomainProof func(ctx context.Context, host, challenge string) (bool, error)
	// PausedInRedis returns the queues that are paused in Redis alone.
	PausedInRedis func(context.Context) ([]string, error)
	// System describes the installation; nil does not. Now is the clock.
	System *health.Overseer
	Now    func() time.Time
	// Note tells the log of requests of one; calls for the same request add up.
	Note func(context.Context, Note)
	// Stopping is closed when the process is about to stop, so that streams end.
	Stopping <-chan struct{}
	Log      *slog.Logger
}

// Dashboard serves the pages.
type Dashboard struct {
	cfg       Config
	deps      Deps
	q         *queries.Queries
	lists     lists.Lists
	templates *template.Template
	failures  *Failures
	refusals  *refusals
	streams   *reply.Places
}

// New returns the dashboard.
func New(cfg Config, deps Deps) (*Dashboard, error) {
	templates, err := parse()
	if err != nil {
		return nil, err
	}
	return &Dashboard{
		cfg: cfg, deps: deps, q: queries.New(deps.DB), lists: lists.Lists{Q: queries.New(deps.DB)}, templates: templates, failures: NewFailures(), refusals: newRefusals(), streams: reply.NewPlaces(mostStreams, mostStreamsOfOne),
	}, nil
}

// Mux takes handlers of patterns, as http.ServeMux does.
type Mux interface {
	HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request))
}

// Register adds the pages' paths to a mux. It takes no other path.
func (d *Dashboard) Register(mux Mux) {
	mux.HandleFunc("GET /static/{name}", serveStatic)
	mux.HandleFunc("GET "+credentials.LoginPath, d.open(d.loginShow))
	mux.HandleFunc("POST "+credentials.LoginPath, d.open(d.login))
	mux.HandleFunc("GET "+credentials.LoginPath+"/oidc", d.open(d.oidcBegin))
	mux.HandleFunc("GET "+credentials.CallbackPath, d.open(d.oidcFinish))
	mux.HandleFunc("POST /logout", d.open(d.logout))
	mux.HandleFunc("GET /{$}", d.page(d.overview))
	mux.HandleFunc("GET /live", d.live(d.overviewList))
	mux.HandleFunc("GET /new", d.page(d.newSite))
	mux.HandleFunc("GET /new/repositories", d.page(d.repositoriesShow))
	mux.HandleFunc("GET /new/repository", d.pageWithin(MostInspection, d.repositoryShow))
	mux.HandleFunc("POST /new/repository", d.pageWithin(MostInspection, d.repositoryConnect))
	mux.HandleFunc("GET /new/slug", d.page(d.slugSuggest))
	mux.HandleFunc("GET /queue", d.page(d.queue))
	mux.HandleFunc("GET /queue/live", d.live(d.queueNow))
	mux.HandleFunc("POST /queue/actions/{action}", d.page(d.queueAct))
	mux.HandleFunc("GET /activity", d.page(d.activity))
	mux.HandleFunc("GET /activity/live", d.live(d.activityNow))
	mux.HandleFunc("GET /palette", d.page(d.palette))
	mux.HandleFunc("GET /palette/{pipeline}", d.page(d.palettePipeline))
	mux.HandleFunc("GET /system", d.page(d.system))
	mux.HandleFunc("GET /system/access", d.page(d.access))
	mux.HandleFunc("GET /system/storage", d.page(d.storage))
	mux.HandleFunc("GET /system/notifications", d.page(d.notifications))
	mux.HandleFunc("POST /system/notifications/{action}", d.page(d.notificationsAct))
	mux.HandleFunc("POST /system/tokens", d.page(d.tokenCreate))
	mux.HandleFunc("POST /system/tokens/{token}/revoke", d.page(d.tokenRevoke))
	mux.HandleFunc("POST /system/users/{user}/revoke", d.page(d.userForget))
	mux.HandleFunc("POST /system/sessions/{session}/revoke", d.page(d.sessionRevoke))
	mux.HandleFunc("GET /pipelines/{pipeline}", d.page(d.pipeline))
	mux.HandleFunc("GET /pipelines/{pipeline}/settings", d.page(d.settings))
	mux.HandleFunc("GET /pipelines/{pipeline}/notifications", d.page(d.notifications))
	mux.HandleFunc("POST /pipelines/{pipeline}/notifications/{action}", d.page(d.notificationsAct))
	mux.HandleFunc("GET /pipelines/{pipeline}/traffic", d.page(d.traffic))
	mux.HandleFunc("GET /pipelines/{pipeline}/domains", d.page(d.domains))
	mux.HandleFunc("GET /pipelines/{pipeline}/domains/live", d.live(d.domainsNow))
	mux.HandleFunc("GET /pipelines/{pipeline}/previews", d.page(d.previews))
	mux.HandleFunc("GET /pipelines/{pipeline}/previews/live", d.live(d.previewsNow))
	mux.HandleFunc("POST /pipelines/{pipeline}/settings/hook", d.page(d.hookCreate))
	mux.HandleFunc("POST /pipelines/{pipeline}/settings/{section}", d.page(d.settingsChange))
	mux.HandleFunc("GET /pipelines/{pipeline}/thumbnail", d.page(d.thumbnail))
	mux.HandleFunc("GET /pipelines/{pipeline}/live", d.live(d.pipelineNow))
	mux.HandleFunc("POST /pipelines/{pipeline}/actions/{action}", d.page(d.act))
	mux.HandleFunc("GET /pipelines/{pipeline}/deployments/{deployment}", d.page(d.deployment))
	mux.HandleFunc("GET /pipelines/{pipeline}/deployments/{deployment}/files", d.page(d.filesShow))
	mux.HandleFunc("GET /pipelines/{pipeline}/deployments/{deployment}/changes", d.page(d.changesShow))
	mux.HandleFunc("GET /pipelines/{pipeline}/deployments/{deployment}/live", d.live(d.deploymentNow))
}

// visit is one request for a page and who sent it.
type visit struct {
	w   http.ResponseWriter
	r   *http.Request
	who credentials.Holder
}

func (v *visit) ctx() context.Context { return v.r.Context() }

// open makes a handler of a page that needs no sign-in.
func (d *Dashboard) open(h func(*visit) error) http.HandlerFunc { return d.openWithin(most, h) }

func (d *Dashboard) openWithin(most time.Duration, h func(*visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d.deps.Note(r.Context(), Note{Route: route(r)})
		ctx, cancel := context.WithTimeout(r.Context(), most)
		defer cancel()
		v := &visit{w: w, r: r.WithContext(ctx)}
		if err := h(v); err != nil {
			d.fail(v, err)
		}
	}
}

// page makes a handler of a page for those who are signed in. Others are sent
// to sign in and come back to the same place.
func (d *Dashboard) page(h func(*visit) error) http.HandlerFunc { return d.pageWithin(most, h) }

func (d *Dashboard) pageWithin(most time.Duration, h func(*visit) error) http.HandlerFunc {
	return d.openWithin(most, func(v *visit) error {
		if err := d.welcome(v); err != nil {
			if signedOut(v.r, err) {
				Login(v.w, v.r)
				return nil
			}
			return err
		}
		return h(v)
	})
}

// welcome finds who visits.
func (d *Dashboard) welcome(v *visit) (err error) {
	v.who, err = d.deps.Sessions.Visitor(v.r, d.deps.Tokens, credentials.Viewer)
	if v.who.ID != uuid.Nil {
		d.deps.Note(v.ctx(), Note{Actor: v.who.Actor()})
		v.r = v.r.WithContext(intake.By(v.ctx(), v.who.Actor(), d.cfg.Proxies.Name(v.r)))
	}
	return err
}

func route(r *http.Request) string {
	_, path, _ := strings.Cut(r.Pattern, " ")
	return path
}

// failureView is the page that says what did not work.
type failureView struct {
	frame
	Heading, Failure string
	Back             string
	Since            []eventView // what others did meanwhile
}

// fail answers with what went wrong and what to do.
func (d *Dashboard) fail(v *visit, err error) {
	d.failWith(v, err, failureView{})
}

func (d *Dashboard) failWith(v *visit, err error, view failureView) {
	d.deps.Note(v.ctx(), Note{Err: err})
	e := public(err)
	if e.Kind == troy.Internal {
		e.Message = "Internal error; Troy's log has the details under request " + v.w.Header().Get("X-Request-Id")
	}
	view.Heading, view.Failure = headings[e.Kind], sentence(e.Message)
	if view.Heading == "" {
		view.Heading = "That did not work"
	}
	if view.Back == "" {
		view.Back = "/"
	}
	view.frame = d.frame(v, view.Heading)
	if err := d.show(v, reply.Status(e.Kind), "failure.html", view); err != nil {
		d.deps.Log.ErrorContext(v.ctx(), "the page of a failure could not be shown", "error", err)
		http.Error(v.w, e.Message, reply.Status(e.Kind))
	}
}

func public(err error) *troy.Error {
	if _, ok := errors.AsType[*intake.Unsure](err); ok {
		return troy.Errorf(troy.Unsure, "it may have been done: the connection to Postgres was lost before its answer; look at the page again before you repeat it")
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return troy.Errorf(troy.TooLarge, "the form is larger than %d bytes", maxForm)
	}
	e := *reply.Public(err)
	return &e
}

var headings = map[troy.ErrorKind]string{
	troy.NotFound: "Not found", troy.Forbidden: "You may not do that", troy.Conflict: "That is not possible now", troy.Moved: "Someone else was faster",
	troy.Unavailable: "Try again in a moment", troy.Invalid: "That did not work", troy.Unauthenticated: "Sign in",
}

// sentence makes one of an error's text.
func sentence(s string) string {
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}
