// Package web is Troy's HTTP API (docs/api.md), the webhooks, the dashboard,
// the health endpoints and Asynqmon. A handler checks its input, calls intake
// to record it in one transaction, and answers; it does no work itself. `troyd
// web` and `troyd dev` serve it.
package web

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/health"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/network"
	"github.com/troy-iaas/troy/internal/password"
	"github.com/troy-iaas/troy/metrics"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web/dashboard"
	"github.com/troy-iaas/troy/web/lists"
	"github.com/troy-iaas/troy/web/reply"
)

// Config is the handler's configuration.
type Config struct {
	// URL is Troy's own address, as its users type it. A request to another
	// host is refused, except for loopback.
	URL string
	// SitesScheme is "https" or "http", the scheme of the sites; SitesPort is
	// their port, 0 for the scheme's own.
	SitesScheme string
	SitesPort   int
	// AppsSecret is the key of the app events' signatures. Without it no event
	// is accepted.
	AppsSecret string
	// SNSTopics are the ARNs of the topics whose messages are accepted.
	SNSTopics []string
	// Limits bounds releases; zero fields mean their defaults.
	Limits site.Limits
	// ReleaseValidity is how long a release can be uploaded and finalized; zero
	// means 24 hours.
	ReleaseValidity time.Duration
	// Proxies are the networks of the proxies whose X-Forwarded-For is believed;
	// nil means loopback.
	Proxies []netip.Prefix
	// AccessLogs means that workers count the requests to sites in the CDN's
	// access logs.
	AccessLogs bool
	// EdgeAddresses are those to which A and AAAA records of custom domains
	// point.
	EdgeAddresses []netip.Addr
	// BodyIdle is the maximum pause in a request's body; zero means 30 seconds.
	BodyIdle time.Duration
	// NotifyPrivate are the networks besides the public Internet to which
	// notifications may be sent.
	NotifyPrivate []netip.Prefix
	// NoEmail says why notifications can't be sent by e-mail; "" means that they
	// can.
	NoEmail string
	// Batch bounds requests with many files; zero means the defaults.
	Batch site.BatchLimits
}

// Deps holds the handler's dependencies. The caller closes them.
type Deps struct {
	DB     *pgxpool.Pool
	Redis  redis.UniversalClient // for Asynqmon
	Intake *intake.Intake
	Store  cloud.Store
	// Functions is cloud.Cloud's.
	Functions bool
	// Secrets seals pipelines' variables and the credentials of forges. Without
	// it neither can be stored.
	Secrets *secret.Sealer
	// Forges are the forges whose webhooks, messages and pages are served.
	Forges []forge.Adapter
	// System describes the installation; nil does not.
	System *health.Overseer
	// Issuer lets people sign in with OpenID Connect; nil means by token alone.
	Issuer *credentials.Issuer
	// CIIssuers are issuers of tokens of CI, with their providers, that trust
	// rules may name beside the usual ones.
	CIIssuers map[string]string
	// ConfirmTopic confirms the subscription to an SNS topic. Nil means that
	// none can be confirmed.
	ConfirmTopic func(ctx context.Context, topic, token string) error
	// SNSCertificate fetches an SNS certificate, and Now is the clock for
	// checking its messages; nil means the real ones. Tests set them.
	SNSCertificate func(ctx context.Context, address string) ([]byte, error)
	Now            func() time.Time
	// Metrics counts requests and is shown at /metrics; nil shows nothing.
	Metrics *metrics.Metrics
	Ready   []health.Check // for /readyz
	// Traffic returns the folder with the counts of requests to a pipeline's
	// site; nil means that no edge counts.
	Traffic func(pipeline uuid.UUID) string
	// DomainProof reports whether DNS has the challenge of a custom domain that
	// another pipeline has; nil means that none moves.
	DomainProof func(ctx context.Context, host, challenge string) (bool, error)
	// Stopping is closed when the process is about to stop, so that streams end
	// and their readers reconnect to another process. It may be nil.
	Stopping <-chan struct{}
	Log      *slog.Logger
}

type server struct {
	cfg      Config
	deps     Deps
	q        *queries.Queries
	tokens   credentials.Tokens
	sessions credentials.Sessions
	uploads  *uploads
	relieved atomic.Int64 // see relieve; in nanoseconds since 1970
	batches  batches
	trees    *trees

	repositories *repositories
	hosts        map[string]bool
	unverified   *unverified   // memory for messages from outside
	taken        chan struct{} // one slot for each message being processed
	follows      chan struct{} // one slot for each followed log
	reads        chan struct{} // one slot for each log that is sent once
	archives     chan struct{} // one slot for each archive that is received
	exports      *reply.Places
	lists        lists.Lists
	hashing      chan struct{} // one slot for each password that is hashed
	keeper       *password.Keeper
	signIn       *signInPages
	ci           *credentials.CI
	exchanges    *dashboard.Failures // of tokens of CI, by address
	hookFailures *dashboard.Failures // of deploy hooks, by address
	hookCalls    *hookCalls

	pages        *pages
	certificates certificates
	now          func() time.Time
}

// Maximum times of handlers. The store's calls check every file of a release.
const (
	quick = 15 * time.Second
	slow  = 5 * time.Minute
)

// mostExports is the maximum number of exports that a process sends at a time.
const mostExports = 8

// New returns the handler of all paths. It sets its own deadlines while it
// reads bodies and writes answers, so the server needs ReadHeaderTimeout and
// IdleTimeout alone. An error names the field of Config that is wrong.
func New(cfg Config, deps Deps) (http.Handler, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, troy.Errorf(troy.Invalid, "%q is not an address like https://troy.example.com", cfg.URL).At("URL")
	}
	if cfg.SitesScheme != "http" && cfg.SitesScheme != "https" {
		return nil, troy.Errorf(troy.Invalid, "%q is neither http nor https", cfg.SitesScheme).At("SitesScheme")
	}
	cfg.ReleaseValidity = cmp.Or(cfg.ReleaseValidity, 24*time.Hour)
	cfg.BodyIdle = cmp.Or(cfg.BodyIdle, 30*time.Second)
	if cfg.Batch == (site.BatchLimits{}) {
		cfg.Batch = site.DefaultBatchLimits()
	}
	if cfg.Proxies == nil {
		cfg.Proxies = network.Loopback()
	}
	defaults := site.DefaultLimits()
	cfg.Limits.Files = cmp.Or(cfg.Limits.Files, defaults.Files)
	cfg.Limits.FileBytes = cmp.Or(cfg.Limits.FileBytes, defaults.FileBytes)
	cfg.Limits.TotalBytes = cmp.Or(cfg.Limits.TotalBytes, defaults.TotalBytes)
	cfg.Limits.ZipRatio = cmp.Or(cfg.Limits.ZipRatio, defaults.ZipRatio)

	s := &server{
		cfg: cfg, deps: deps, q: queries.New(deps.DB), tokens: credentials.Tokens{DB: deps.DB, Log: deps.Log}, uploads: newUploads(4 * cfg.Limits.Files),
		trees: newTrees(deps.Store, 2*cfg.Limits.Files), repositories: newRepositories(deps.Forges), hosts: knownHosts(u),
		unverified: newUnverified(unverifiedBytes, unverifiedOfOne), taken: make(chan struct{}, mostTaken),
		archives: make(chan struct{}, mostArchives), follows: make(chan struct{}, mostFollowers), reads: make(chan struct{}, mostReaders),
		hashing: make(chan struct{}, 2), exports: reply.NewPlaces(mostExports, mostExportsOfOne), lists: lists.Lists{Q: queries.New(deps.DB)},
		certificates: certificates{fetch: fetchCertificate, fetches: rate.NewLimiter(2, 10)}, now: time.Now,
	}
	if deps.SNSCertificate != nil {
		s.certificates.fetch = deps.SNSCertificate
	}
	if deps.Now != nil {
		s.now = deps.Now
	}
	s.ci, s.exchanges = credentials.NewCI(cfg.URL, deps.CIIssuers, s.now), dashboard.NewFailures()
	s.hookFailures, s.hookCalls = dashboard.NewFailures(), newHookCalls()
	s.keeper = password.NewKeeper(func() time.Time { return s.now() })
	if s.signIn, err = newSignInPages(); err != nil {
		return nil, err
	}
	s.sessions = credentials.Sessions{DB: deps.DB, Log: deps.Log, HTTPS: u.Scheme == "https", Port: u.Port()}
	if s.pages, err = newPages(cfg.URL, deps.Forges); err != nil {
		return nil, err
	}
	people, err := s.dashboard(u.Host)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", health.Live)
	mux.Handle("/readyz", health.Ready(deps.Ready, deps.Log))
	if deps.Metrics != nil {
		mux.Handle("/metrics", s.knownHost(health.Metrics(deps.Metrics, s.mayAll)))
	}
	routes := s.routes(s.monitor())
	if err := s.apiRoutes(routes); err != nil {
		return nil, err
	}
	all := http.NewServeMux()
	people.Register(all)
	all.Handle("/", routes)
	guarded, err := s.sameOrigin(u, all)
	if err != nil {
		return nil, err
	}
	compressed, err := compress(guarded)
	if err != nil {
		return nil, err
	}
	mux.Handle(badgePath, s.knownHost(routes)) // also for pages of other sites
	mux.Handle("/", s.knownHost(compressed))
	return s.outermost(mux, u.Scheme == "https"), nil
}

// knownHosts is how requests to Troy's address spell its Host.
func knownHosts(u *url.URL) map[string]bool {
	hosts := map[string]bool{hostKey(u.Host): true}
	standard := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	switch u.Port() {
	case "":
		hosts[hostKey(net.JoinHostPort(u.Hostname(), standard))] = true
	case standard:
		hosts[hostKey(u.Hostname())] = true
	}
	return hosts
}

func (s *server) routes(monitor http.Handler) *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.RedirectTrailingSlash = false
	e.HandleMethodNotAllowed = true
	e.ForwardedByClientIP = false
	e.NoRoute(func(c *gin.Context) {
		s.fail(c.Writer, c.Request, troy.Errorf(troy.NotFound, "there is nothing at this path"))
	})
	e.NoMethod(func(c *gin.Context) {
		reply.ErrorAs(c.Writer, http.StatusMethodNotAllowed, troy.Errorf(troy.Invalid, "%s is not allowed here; expected %s", c.Request.Method, c.Writer.Header().Get("Allow")))
	})

	e.GET("/access/:host", s.anonymous(s.siteSignIn))
	e.POST("/access/:host", s.anonymous(s.siteSignIn))
	e.GET(site.PreviewAsk, s.page(credentials.Viewer, "", s.previewSignIn))
	e.GET(badgePath+":badge", s.anonymous(s.badge))
	e.POST("/events/apps", s.anonymous(s.appEvent))
	e.POST("/events/sns", s.anonymous(s.snsEvent))
	e.POST(deployHookPath+":secret", s.anonymous(s.deployHookCall))
	for _, a := range s.deps.Forges {
		e.POST("/hooks/"+string(a.Provider), s.webhook(a))
		for _, r := range a.Routes {
			e.Handle(r.Method, r.Path, s.forgeRoute(a, r))
		}
	}
	e.GET("/pipelines/:pipeline/deployments/:deployment/log", s.anonymous(s.deploymentShowLog))
	e.GET("/activity/export", s.anonymous(s.activityShowExport))
	e.Any("/monitor", gin.WrapH(monitor))
	e.Any("/monitor/*path", gin.WrapH(monitor))

	v1 := e.Group("/v1")
	v1.GET("/whoami", s.as(credentials.Viewer, quick, s.whoami))
	v1.GET("/activity", s.as(credentials.Viewer, quick, s.activityList))
	// An export takes as long as its reader reads.
	v1.GET("/activity/export", s.as(credentials.Viewer, 0, s.activityExport))
	v1.GET("/stats", s.as(credentials.Viewer, quick, s.statsGet))
	v1.GET("/queue", s.as(credentials.Viewer, quick, s.queueList))
	v1.POST("/queue/ring", s.as(credentials.Deployer, quick, s.once(s.rungAgain, s.workRing)))
	v1.POST("/queue/retry", s.as(credentials.Deployer, quick, s.once(s.rungAgain, s.workRetry)))
	v1.GET("/queues", s.as(credentials.Viewer, quick, s.queuesList))
	v1.PUT("/queues/:queue/pause", s.as(credentials.Admin, quick, s.queuePause))
	v1.DELETE("/queues/:queue/pause", s.as(credentials.Admin, quick, s.queueResume))
	v1.GET("/pipelines", s.as(credentials.Viewer, quick, s.pipelineList))
	v1.POST("/pipelines", s.as(credentials.Admin, quick, s.once(s.pipelineAgain(http.StatusCreated), s.pipelineCreate)))
	v1.GET("/repositories", s.as(credentials.Admin, slow, s.repositoryList))
	v1.GET("/repositories/:provider/:owner/:name", s.as(credentials.Admin, dashboard.MostInspection, s.repositoryGet))
	v1.POST("/tasks", s.as(credentials.Admin, quick, s.once(s.rungAgain, s.taskRing)))
	v1.GET("/system", s.as(credentials.Admin, quick, s.systemShow))
	v1.GET("/users", s.as(credentials.Admin, quick, s.userList))
	v1.DELETE("/users/:user", s.as(credentials.Admin, quick, s.userForget))
	v1.GET("/sessions", s.as(credentials.Viewer, quick, s.sessionList))
	v1.DELETE("/sessions/:session", s.as(credentials.Viewer, quick, s.sessionRevoke))
	v1.GET("/storage", s.as(credentials.Viewer, quick, s.storageList))
	v1.GET("/notifiers", s.as(credentials.Admin, quick, s.notifierList))
	v1.POST("/notifiers", s.as(credentials.Admin, quick, s.once(s.notifierMade, s.notifierAdd)))
	v1.GET("/notifiers/:notifier", s.as(credentials.Admin, quick, s.notifierGet))
	v1.DELETE("/notifiers/:notifier", s.as(credentials.Admin, quick, s.notifierRemove))
	v1.POST("/notifiers/:notifier/enable", s.as(credentials.Admin, quick, s.once(s.notifierAgain, s.notifierEnable)))
	v1.POST("/notifiers/:notifier/rotate", s.as(credentials.Admin, quick, s.once(s.notifierRotated, s.notifierRotate)))
	v1.POST("/notifiers/:notifier/test", s.as(credentials.Admin, quick, s.once(s.deliveryAgain, s.notifierTest)))
	v1.GET("/notifiers/:notifier/deliveries", s.as(credentials.Admin, quick, s.deliveryList))
	v1.POST("/notifiers/:notifier/deliveries/:delivery/redeliver", s.as(credentials.Admin, quick, s.once(s.deliveryAgain, s.deliveryRedeliver)))
	v1.GET("/tokens", s.as(credentials.Admin, quick, s.tokenList))
	v1.POST("/tokens", s.as(credentials.Admin, quick, s.once(s.tokenMade, s.tokenCreate)))
	v1.DELETE("/tokens/:token", s.as(credentials.Admin, quick, s.tokenRevoke))
	v1.POST("/token", s.anonymous(s.tokenExchange))

	p := v1.Group("/pipelines/:pipeline")
	p.GET("", s.as(credentials.Viewer, quick, s.pipelineGet))
	p.PATCH("", s.as(credentials.Admin, quick, s.pipelineConfigure))
	p.DELETE("", s.as(credentials.Admin, quick, s.pipelineDelete))
	p.POST("/provision", s.as(credentials.Admin, quick, s.once(s.pipelineAgain(http.StatusAccepted), s.pipelineProvision)))
	p.POST("/restore", s.as(credentials.Admin, quick, s.once(s.pipelineAgain(http.StatusAccepted), s.pipelineRestore)))
	p.GET("/storage", s.as(credentials.Viewer, quick, s.storageGet))
	p.PUT("/quota", s.as(credentials.Admin, quick, s.quotaSet))
	p.POST("/prune", s.as(credentials.Deployer, slow, s.once(s.prunedAgain, s.pipelinePrune)))
	p.GET("/traffic", s.as(credentials.Viewer, quick, s.trafficGet))
	p.GET("/thumbnail", s.as(credentials.Viewer, quick, s.pipelineThumbnail))
	p.GET("/events", s.as(credentials.Viewer, quick, s.eventList))
	p.GET("/deployments", s.as(credentials.Viewer, quick, s.deploymentList))
	p.POST("/deployments", s.as(credentials.Deployer, slow, s.once(s.deploymentAgain, s.deploymentCreate)))
	p.GET("/deployments/:deployment", s.as(credentials.Viewer, quick, s.deploymentGet))
	p.GET("/deployments/:deployment/files", s.as(credentials.Viewer, quick, s.fileList))
	p.GET("/deployments/:deployment/rules", s.as(credentials.Viewer, quick, s.deploymentRules))
	p.GET("/deployments/:deployment/compare", s.as(credentials.Viewer, quick, s.deploymentCompare))
	// A log is followed for as long as the build takes.
	p.GET("/deployments/:deployment/log", s.as(credentials.Viewer, 0, s.deploymentLog))
	p.POST("/deployments/:deployment/retry", s.as(credentials.Deployer, quick, s.once(s.deploymentAgain, s.deploymentRetry)))
	p.POST("/deployments/:deployment/cancel", s.as(credentials.Deployer, quick, s.once(s.deploymentAgain, s.deploymentCancel)))
	p.GET("/variables", s.as(credentials.Admin, quick, s.variableList))
	p.GET("/variables/:name", s.as(credentials.Admin, quick, s.variableGet))
	p.PUT("/variables/:name", s.as(credentials.Admin, quick, s.variableSet))
	p.DELETE("/variables/:name", s.as(credentials.Admin, quick, s.variableRemove))
	p.GET("/access", s.as(credentials.Viewer, quick, s.accessGet))
	p.DELETE("/access", s.as(credentials.Admin, quick, s.changeAccess(s.accessOff)))
	p.PUT("/access/passwords/:name", s.as(credentials.Admin, quick, s.changeAccess(s.accessPasswordSet)))
	p.DELETE("/access/passwords/:name", s.as(credentials.Admin, quick, s.changeAccess(s.accessPasswordRemove)))
	p.POST("/access/networks", s.as(credentials.Admin, quick, s.once(s.accessAgain, s.changeAccess(s.accessAllow))))
	p.PUT("/access/scope", s.as(credentials.Admin, quick, s.changeAccess(s.accessScope)))
	p.PUT("/access/previews", s.as(credentials.Admin, quick, s.changeAccess(s.accessPreviews)))
	p.DELETE("/access/networks", s.as(credentials.Admin, quick, s.changeAccess(s.accessDisallow)))
	p.GET("/domains", s.as(credentials.Viewer, quick, s.domainList))
	p.POST("/domains", s.as(credentials.Admin, slow, s.once(s.domainsAgain(http.StatusCreated), s.domainAdd)))
	p.GET("/domains/:host", s.as(credentials.Viewer, quick, s.domainGet))
	p.DELETE("/domains/:host", s.as(credentials.Admin, quick, s.domainRemove))
	p.POST("/domains/:host/verify", s.as(credentials.Deployer, quick, s.once(s.domainAgain, s.domainVerify)))
	p.POST("/domains/:host/primary", s.as(credentials.Admin, quick, s.once(s.domainsAgain(http.StatusOK), s.domainPrimary)))
	p.GET("/trusts", s.as(credentials.Viewer, quick, s.trustList))
	p.POST("/trusts", s.as(credentials.Admin, quick, s.once(s.trustAgain, s.trustAdd)))
	p.DELETE("/trusts/:trust", s.as(credentials.Admin, quick, s.trustRemove))
	p.GET("/schedule", s.as(credentials.Viewer, quick, s.scheduleGet))
	p.PUT("/schedule", s.as(credentials.Admin, quick, s.scheduleSet))
	p.DELETE("/schedule", s.as(credentials.Admin, quick, s.scheduleRemove))
	p.GET("/cache", s.as(credentials.Viewer, quick, s.cacheList))
	p.DELETE("/cache", s.as(credentials.Deployer, quick, s.cacheClear))
	p.GET("/hooks", s.as(credentials.Viewer, quick, s.deployHookList))
	p.POST("/hooks", s.as(credentials.Admin, quick, s.once(s.deployHookMade, s.deployHookCreate)))
	p.DELETE("/hooks/:hook", s.as(credentials.Admin, quick, s.deployHookDelete))
	p.GET("/previews", s.as(credentials.Viewer, quick, s.previewList))
	p.POST("/previews", s.as(credentials.Deployer, quick, s.once(s.previewAgain(http.StatusAccepted), s.previewCreate)))
	p.GET("/previews/:label", s.as(credentials.Viewer, quick, s.previewGet))
	p.DELETE("/previews/:label", s.as(credentials.Deployer, quick, s.changePreview(http.StatusAccepted, s.deps.Intake.DeletePreview)))
	p.POST("/previews/:label/pin", s.as(credentials.Deployer, quick, s.once(s.previewAgain(http.StatusOK), s.changePreview(http.StatusOK, s.pinPreview(true)))))
	p.POST("/previews/:label/unpin", s.as(credentials.Deployer, quick, s.once(s.previewAgain(http.StatusOK), s.changePreview(http.StatusOK, s.pinPreview(false)))))
	p.POST("/previews/:label/approve", s.as(credentials.Deployer, quick, s.once(s.previewAgain(http.StatusAccepted), s.previewApprove)))
	p.POST("/previews/:label/promote", s.as(credentials.Deployer, quick, s.once(s.deploymentAgain, s.previewPromote)))
	p.POST("/purge", s.as(credentials.Deployer, quick, s.once(s.pipelineAgain(http.StatusAccepted), s.pipelinePurge)))
	p.POST("/lock", s.as(credentials.Deployer, quick, s.once(s.pipelineAgain(http.StatusOK), s.pipelineLock)))
	p.DELETE("/lock", s.as(credentials.Deployer, quick, s.pipelineUnlock))
	p.POST("/rollback", s.as(credentials.Deployer, quick, s.once(s.deploymentAgain, s.deploymentRollback)))
	p.POST("/promote", s.as(credentials.Deployer, quick, s.once(s.deploymentAgain, s.deploymentPromote)))
	p.POST("/releases", s.asPreviewer(credentials.Deployer, slow, s.releaseBegin))
	p.PUT("/archive", s.asPreviewer(credentials.Deployer, 0, s.archiveRelease))
	p.GET("/releases/:release", s.as(credentials.Viewer, slow, s.releaseGet))
	// An upload takes as long as its bytes keep coming.
	p.POST("/releases/:release/uploads", s.asPreviewer(credentials.Deployer, quick, s.releaseSign))
	p.POST("/releases/:release/files", s.asPreviewer(credentials.Deployer, 0, s.releaseBatch))
	p.POST("/releases/:release/missing", s.asPreviewer(credentials.Deployer, slow, s.releaseMissing))
	p.PUT("/releases/:release/files/:sha256", s.asPreviewer(credentials.Deployer, 0, s.releaseUpload))
	p.POST("/releases/:release/finalize", s.asPreviewer(credentials.Deployer, slow, s.once(s.deploymentAgain, s.releaseFinalize)))
	return e
}

// siteURL is where a site is reached.
func (s *server) siteURL(host string) string {
	if s.cfg.SitesPort != 0 {
		host = net.JoinHostPort(host, strconv.Itoa(s.cfg.SitesPort))
	}
	return fmt.Sprintf("%s://%s", s.cfg.SitesScheme, host)
}
