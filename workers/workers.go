// Package workers does the work that rows ask for: one file per task type,
// each a handler that reads the row, acts through the cloud and moves the row
// on. Every handler runs under a claim on its work row and may be stopped at
// any point; whoever claims next goes on from what is recorded. cmd/troyd runs
// it; nothing else calls it.
package workers

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/bell"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// Config is what an operator can set.
type Config struct {
	// Slots is how many quick tasks this process runs at a time.
	Slots int
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
}

// Deps is what the workers act on.
type Deps struct {
	DB     *pgxpool.Pool
	Redis  redis.UniversalClient
	Client *tasks.Client
	Bell   *bell.Bell
	Cloud  cloud.Cloud
	Log    *slog.Logger
}

// Workers runs the tasks of one process.
type Workers struct {
	cfg      Config
	deps     Deps
	q        *queries.Queries
	log      *slog.Logger
	handlers map[string]handler
	stopping atomic.Bool
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
	w := &Workers{cfg: cfg, deps: deps, q: queries.New(deps.DB), log: deps.Log}
	w.handlers = map[string]handler{
		tasks.TypeProvision:          {w.provision, w.failProvision},
		tasks.TypeDeploy:             {w.deploy, w.failDeploy},
		tasks.TypeTeardownStart:      {w.teardownStart, w.failDelete},
		tasks.TypePollDistroDisabled: {w.pollDistroDisabled, w.failDelete},
		tasks.TypeTeardown:           {w.teardown, w.failDelete},
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

	quick := w.server(base, tasks.QueueQuick, w.cfg.Slots)
	sweeps := w.server(base, tasks.QueueSweep, 1)
	if err := quick.Start(asynq.HandlerFunc(w.handle)); err != nil {
		return err
	}
	if err := sweeps.Start(asynq.HandlerFunc(w.handleSweep)); err != nil {
		quick.Shutdown()
		return err
	}
	w.tick(ctx)

	w.stopping.Store(true)
	quick.Stop()
	sweeps.Stop()
	cancel()
	quick.Shutdown()
	sweeps.Shutdown()
	settled := make(chan struct{})
	go func() { w.running.Wait(); close(settled) }()
	select {
	case <-settled:
	case <-time.After(shutdownTimeout):
		w.log.Warn("stopped before every lease was handed back; the sweep takes the rest back")
	}
	return nil
}

func (w *Workers) server(base context.Context, queue string, slots int) *asynq.Server {
	return asynq.NewServerFromRedisClient(w.deps.Redis, asynq.Config{
		Concurrency: slots,
		Queues:      map[string]int{queue: 1},
		BaseContext: func() context.Context { return base },
		// asynq polls for tasks; its default of a second is felt.
		TaskCheckInterval:        10 * time.Millisecond,
		DelayedTaskCheckInterval: time.Second,
		RetryDelayFunc:           retryDelay,
		ShutdownTimeout:          shutdownTimeout,
		Logger:                   asynqLog{w.log.With("queue", queue)},
		LogLevel:                 asynq.WarnLevel,
	})
}
