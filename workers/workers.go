// Package workers does the work that rows ask for: one file per task type,
// each a handler that reads the row, acts through the cloud and moves the row
// on. Every handler runs under a claim on its work row and may be stopped at
// any point; whoever claims next goes on from what is recorded. cmd/troyd runs
// it; nothing else calls it.
package workers

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
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
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// Config is what an operator can set.
type Config struct {
	// Slots is how many quick tasks this process runs at a time.
	Slots int
	// BuildSlots is how many builds this process runs at a time.
	BuildSlots int
	// Limits bounds what a build may publish.
	Limits site.Limits
	// BuildTime is how long a build may take.
	BuildTime time.Duration
	// Submodules lists the private repositories that any repository may have as
	// a submodule, as forge.SourceConfig has them.
	Submodules []string
	// BuildPoll is how often a build is looked at that goes on without the
	// worker that started it. 0 means that none does.
	BuildPoll time.Duration
	// CatchUp is how often branches are looked at for commits that no webhook
	// told of.
	CatchUp time.Duration
	// URL is Troy's own address and SiteURL a site's, for reports.
	URL     string
	SiteURL func(host string) string
	// Lease is how long a claim holds without a heartbeat: a worker that died
	// is replaced after it.
	Lease time.Duration
	// KeepDeployments is how many deployments retention keeps, at least ten.
	KeepDeployments int
	// CarryAssets is how long the hashed assets of earlier deployments stay
	// reachable.
	CarryAssets time.Duration
	// UploadsValid is how long an upload may take. A pipeline's storage is
	// looked at once more this long after the pipeline is gone.
	UploadsValid time.Duration
	// Reconcile is how often rows are looked for that nothing would ever move,
	// and for how long such a row must have been unchanged; 0 means ten seconds.
	Reconcile time.Duration
	// TaskCheckInterval is how often asynq looks for tasks; 0 means every 10
	// ms. Its own default of a second is felt.
	TaskCheckInterval time.Duration
}

// Deps is what the workers act on.
type Deps struct {
	DB     *pgxpool.Pool
	Redis  redis.UniversalClient
	Client *tasks.Client
	Bell   *bell.Bell
	Cloud  cloud.Cloud
	// Builder builds; nil means that this installation builds nothing.
	Builder builder.Builder
	// Forges are those that are set up.
	Forges map[troy.Provider]forge.Forge
	// Intake takes in the commits that were found.
	Intake *intake.Intake
	// Metrics counts what is done; nil counts nothing.
	Metrics *metrics.Metrics
	// Secrets opens the variables of builds; nil means that there are none.
	Secrets *secret.Sealer
	Log     *slog.Logger
}

// Workers runs the tasks of one process.
type Workers struct {
	cfg      Config
	deps     Deps
	q        *queries.Queries
	log      *slog.Logger
	handlers map[string]handler
	stopping atomic.Bool
	// catchUpsSeen is the last pipeline whose looks at its branch were seen to.
	// catchUps guards it: the tick may sweep beside asynq's sweep.
	catchUps     sync.Mutex
	catchUpsSeen uuid.UUID
	// running counts the handlers. asynq gives up a slot when its context
	// ends, while the handler may still be settling its row.
	running sync.WaitGroup
}

// handler does one kind of work.
type handler struct {
	// run does it. Its error says what becomes of the work row; see settle.
	run func(context.Context, *claim) error
	// giveUp moves the subject to its Failed status with the cause in words.
	giveUp func(ctx context.Context, c *claim, cause string) error
}

// New returns workers that are not running yet.
func New(cfg Config, deps Deps) *Workers {
	w := &Workers{cfg: cfg, deps: deps, q: queries.New(marked{deps.DB}), log: deps.Log}
	w.handlers = map[string]handler{
		tasks.TypeProvision:          {w.provision, w.failProvision},
		tasks.TypeDeploy:             {w.deploy, w.failDeploy},
		tasks.TypeTeardownStart:      {w.teardownStart, w.failDelete},
		tasks.TypePollDistroDisabled: {w.pollDistroDisabled, w.failDelete},
		tasks.TypeTeardown:           {w.teardown, w.failDelete},
		tasks.TypeBuild:              {w.build, w.failBuild},
		tasks.TypePollBuild:          {w.pollBuild, w.giveUpPoll},
		tasks.TypeReport:             {w.report, w.giveUpReport},
		tasks.TypeCatchUp:            {w.catchUp, w.giveUpCatchUp},
		tasks.TypePurge:              {w.purge, w.giveUpPurge},
		tasks.TypeRetention:          {w.retention, w.giveUpRetention},
	}
	return w
}

// shutdownTimeout is how long a stop waits for handlers to hand back their
// leases.
const shutdownTimeout = 8 * time.Second

// Run works until the context ends. Then the leases are handed back at once,
// without an attempt counted.
func (w *Workers) Run(ctx context.Context) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()

	servers := []*asynq.Server{
		w.server(base, tasks.QueueQuick, w.cfg.Slots),
		w.server(base, tasks.QueueBuilds, w.cfg.BuildSlots),
		w.server(base, tasks.QueueForge, ForgeSlots),
		w.server(base, tasks.QueueSweep, 1),
	}
	for i, server := range servers {
		handle := w.handle
		if i == len(servers)-1 {
			handle = w.handleSweep
		}
		if err := server.Start(asynq.HandlerFunc(handle)); err != nil {
			for _, started := range servers[:i] {
				started.Shutdown()
			}
			return fmt.Errorf("start the workers: %w", err)
		}
	}
	if err := w.q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeCatchUp, SubjectID: uuid.Nil}); err != nil {
		w.log.Warn("failed deliveries are not asked for until the next start", "error", err)
	}
	w.tick(ctx)

	w.stopping.Store(true)
	for _, server := range servers {
		server.Stop()
	}
	cancel()
	for _, server := range servers {
		server.Shutdown()
	}
	settled := make(chan struct{})
	go func() { w.running.Wait(); close(settled) }()
	select {
	case <-settled:
	case <-time.After(shutdownTimeout):
		w.log.Warn("stopped before every lease was handed back; the sweep takes the rest back")
	}
	return nil
}

// ForgeSlots is how many calls of forges one process has under way at a time.
const ForgeSlots = 4

func (w *Workers) server(base context.Context, queue string, slots int) *asynq.Server {
	return asynq.NewServerFromRedisClient(w.deps.Redis, asynq.Config{
		Concurrency:              slots,
		Queues:                   map[string]int{queue: 1},
		BaseContext:              func() context.Context { return base },
		TaskCheckInterval:        cmp.Or(w.cfg.TaskCheckInterval, 10*time.Millisecond),
		DelayedTaskCheckInterval: time.Second,
		RetryDelayFunc:           retryDelay,
		ShutdownTimeout:          shutdownTimeout,
		Logger:                   asynqLog{w.log.With("queue", queue)},
		LogLevel:                 asynq.WarnLevel,
	})
}
