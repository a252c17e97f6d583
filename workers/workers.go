// Package workers carries out the work that rows request. It has one file per
// task type, each a handler that reads the row, acts through the cloud and
// moves the row on. Every handler runs under a claim on its work row and may
// stop at any point; the next worker to claim the row continues from what is
// recorded. Only cmd/troyd uses this package.
package workers

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/bell"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/metrics"
	"github.com/troy-iaas/troy/notify"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/thumbnail"
)

// Config is the operator's settings.
type Config struct {
	// Slots is the number of quick tasks that this process runs at a time.
	Slots int
	// BuildSlots is the number of builds that this process runs at a time.
	BuildSlots int
	// PreviewSlots is the number of builds of previews that this process runs
	// at a time, besides the others; at least 1.
	PreviewSlots int
	// PreviewPatience is how long builds of previews let the builds of sites go
	// first; 0 means five minutes.
	PreviewPatience time.Duration
	// PreviewSuffix is the suffix of the hosts of previews.
	PreviewSuffix string
	// Limits bounds what a build may publish.
	Limits site.Limits
	// BuildLimits bounds builds; a pipeline's settings may lower it.
	BuildLimits builder.Limits
	// Submodules lists the private repositories that any repository may have as
	// a submodule; see forge.SourceConfig.
	Submodules []string
	// BuildPoll is the interval between polls of a build that runs without the
	// worker that started it. 0 means that builds do not run without their
	// worker.
	BuildPoll time.Duration
	// CatchUp is the interval between checks of branches for commits that no
	// webhook reported.
	CatchUp time.Duration
	// URL is Troy's own address and SiteURL a site's; reports contain them.
	URL     string
	SiteURL func(host string) string
	// Lease is how long a claim holds without a heartbeat; another worker then
	// takes over.
	Lease time.Duration
	// KeepDeployments is the number of deployments that retention keeps, at
	// least ten.
	KeepDeployments int
	// CarryAssets is how long the hashed assets of earlier deployments stay
	// reachable.
	CarryAssets time.Duration
	// UploadsValid is the maximum duration of an upload. A pipeline's storage
	// is checked once more this long after its deletion.
	UploadsValid time.Duration
	// Issuers are the names in CAA records (RFC 8659) of the authorities that
	// issue the certificates of custom domains.
	Issuers []string
	// IssuesCertificates means that the cloud issues certificates for custom
	// domains.
	IssuesCertificates bool
	// Version is the program's, for people.
	Version string
	// Reconcile is the interval between turns of the reconciliation, and the
	// time for which a row must have been unchanged before it repairs it; 0
	// means ten seconds.
	Reconcile time.Duration
	// TaskCheckInterval is how often asynq polls for tasks; 0 means that its
	// server is woken (tasks.Waiter).
	TaskCheckInterval time.Duration
}

// Deps holds the workers' dependencies.
type Deps struct {
	DB     *pgxpool.Pool
	Redis  redis.UniversalClient
	Client *tasks.Client
	Bell   *bell.Bell
	Cloud  cloud.Cloud
	// Builder builds; nil means that this installation has no builder.
	Builder builder.Builder
	// Forges has the configured forges.
	Forges map[troy.Provider]forge.Forge
	// Thumbnail takes a picture of a host, whose requests answers answers; nil
	// means that there are no thumbnails.
	Thumbnail func(ctx context.Context, host string, answers thumbnail.Answers) ([]byte, error)
	// DNS looks at custom domains; nil means that they can't be checked.
	DNS DomainChecker
	// Intake accepts the commits that were found.
	Intake *intake.Intake
	// Metrics counts work; nil disables it.
	Metrics *metrics.Metrics
	// Secrets decrypts the variables of builds and the targets of notifiers; nil
	// means that there are none.
	Secrets *secret.Sealer
	// Notify sends notifications.
	Notify *notify.Sender
	Log    *slog.Logger
}

// Workers runs the tasks of one process.
type Workers struct {
	cfg      Config
	deps     Deps
	q        *queries.Queries
	log      *slog.Logger
	name     string // of this process, in the rows that it claims
	handlers map[string]handler
	stopping atomic.Bool
	// catchUpsSeen is the last pipeline whose branch checks were verified, and
	// housekept the time of the last turn that did what can wait.
	catchUpsSeen uuid.UUID
	housekept    time.Time
	idle         time.Duration // between two looks while no work is outstanding
	// running counts the handlers. asynq releases a slot when its context ends,
	// while the handler may still be settling its row.
	running sync.WaitGroup
	active  active
	// strangers counts the builds of strangers' commits in this process.
	strangers atomic.Int64
}

// handler does one kind of work.
type handler struct {
	// run does the work. Its error decides what happens to the work row; see
	// settle.
	run func(context.Context, *claim) error
	// giveUp moves the subject to its Failed status and records the cause.
	giveUp func(ctx context.Context, c *claim, cause string) error
}

// New returns workers that are not running yet.
func New(cfg Config, deps Deps) *Workers {
	w := &Workers{cfg: cfg, deps: deps, q: queries.New(marked{deps.DB}), log: deps.Log, name: processName(), idle: idleInterval}
	w.handlers = map[string]handler{
		tasks.TypeProvision:          {w.provision, w.failProvision},
		tasks.TypeDeploy:             {w.deploy, w.failDeploy},
		tasks.TypeSchedule:           {w.schedule, w.giveUpSchedule},
		tasks.TypeTeardownStart:      {w.teardownStart, w.failDelete},
		tasks.TypePollDistroDisabled: {w.pollDistroDisabled, w.failDelete},
		tasks.TypeTeardown:           {w.teardown, w.failDelete},
		tasks.TypeBuild:              {w.build, w.failBuild},
		tasks.TypePollBuild:          {w.pollBuild, w.giveUpPoll},
		tasks.TypeReport:             {w.report, w.giveUpReport},
		tasks.TypeCatchUp:            {w.catchUp, w.giveUpCatchUp},
		tasks.TypePurge:              {w.purge, w.giveUpPurge},
		tasks.TypeAccess:             {w.access, w.giveUpAccess},
		tasks.TypeDomainCheck:        {w.domainCheck, w.giveUpDomainCheck},
		tasks.TypeThumbnail:          {w.thumbnail, w.giveUpThumbnail},
		tasks.TypeRetention:          {w.retention, w.giveUpRetention},
		tasks.TypePreviewBuild:       {w.previewBuild, w.failBuild},
		tasks.TypePreviewPublish:     {w.previewPublish, w.failPreviewPublish},
		tasks.TypePullRequest:        {w.pullRequest, w.giveUpPullRequest},
		tasks.TypePreviewReport:      {w.previewReport, w.giveUpPreviewReport},
		tasks.TypePreviewRemove:      {w.previewRemove, w.giveUpPreviewRemove},
		tasks.TypeNotify:             {w.notify, w.giveUpNotify},
	}
	return w
}

// processName returns the name of this process for people: the machine and the
// process id.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%.100s, process %d", host, os.Getpid())
}

// shutdownTimeout is how long a stop waits for handlers to hand back their
// leases.
const shutdownTimeout = 8 * time.Second

// Run works until the context ends. Then it hands the leases back at once
// without counting an attempt.
func (w *Workers) Run(ctx context.Context) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()

	slots := map[string]int{
		tasks.QueueQuick: w.cfg.Slots, tasks.QueueBuilds: w.cfg.BuildSlots, tasks.QueuePreviews: max(w.cfg.PreviewSlots, 1), tasks.QueueForge: ForgeSlots,
		tasks.QueueThumbnails: ThumbnailSlots, tasks.QueueDomains: DomainSlots, tasks.QueueNotifications: NotifySlots,
	}
	waiter := tasks.NewWaiter(w.deps.Redis, slots, w.cfg.TaskCheckInterval > 0)
	server := w.server(ctx, base, waiter, slots)
	if err := server.Start(waiter.Handler(w.handle)); err != nil {
		return fmt.Errorf("start the workers: %w", err)
	}
	if err := w.q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeCatchUp, SubjectID: uuid.Nil}); err != nil {
		w.log.Warn("failed deliveries are not checked until the next start", "error", err)
	}
	var background sync.WaitGroup
	background.Go(func() { waiter.Run(ctx) })
	background.Go(func() { w.present(ctx) })
	background.Go(func() { w.countTraffic(ctx) })
	background.Go(func() { w.keepCachesTidy(ctx) })
	w.look(ctx, waiter)

	w.stopping.Store(true)
	server.Stop()
	cancel()
	server.Shutdown()
	settled := make(chan struct{})
	go func() { w.running.Wait(); background.Wait(); close(settled) }()
	select {
	case <-settled:
	case <-time.After(shutdownTimeout):
		w.log.Warn("stopped before every lease was handed back; the sweep takes back the rest")
	}
	return nil
}

// ForgeSlots is the number of concurrent calls to forges in one process.
const ForgeSlots = 4

// server returns the asynq server of all queues. The waiter gives each queue its
// own slots.
func (w *Workers) server(ctx, base context.Context, waiter *tasks.Waiter, slots map[string]int) *asynq.Server {
	all, queues := 0, map[string]int{}
	for queue, n := range slots {
		all += n
		queues[queue] = 1
	}
	// The waiter does the waiting. These intervals bound the waits between its
	// wake-up and asynq's next call.
	polls, delayed := 100*time.Microsecond, 100*time.Millisecond
	if w.cfg.TaskCheckInterval > 0 {
		polls, delayed = w.cfg.TaskCheckInterval, time.Second
	}
	return asynq.NewServerFromRedisClient(waiter.Client(ctx), asynq.Config{
		Concurrency:              all,
		Queues:                   queues,
		BaseContext:              func() context.Context { return base },
		TaskCheckInterval:        polls,
		DelayedTaskCheckInterval: delayed,
		JanitorInterval:          time.Hour, // it removes completed tasks that are kept, and none is
		RetryDelayFunc:           retryDelay,
		ShutdownTimeout:          shutdownTimeout,
		Logger:                   asynqLog{w.log},
		LogLevel:                 asynq.WarnLevel,
	})
}
