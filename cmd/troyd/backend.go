package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/bell"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/health"
	"github.com/troy-iaas/troy/metrics"
	"github.com/troy-iaas/troy/queries"
	schema "github.com/troy-iaas/troy/sql"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/workers"
)

// backend has the connections of web and work.
type backend struct {
	db     *pgxpool.Pool
	redis  redis.UniversalClient
	client *tasks.Client
	bell   *bell.Bell
	cloud  cloud.Cloud
	meters *metrics.Metrics
	log    *slog.Logger
}

// withBackend runs a command with the configuration and the backend of
// commandConfig. check, if not nil, checks the configuration before any
// connection.
func withBackend(ctx context.Context, check func(config) error, run func(config, *backend) error) error {
	cfg, err := commandConfig()
	if err != nil {
		return err
	}
	if check != nil {
		if err := check(cfg); err != nil {
			return err
		}
	}
	b, err := connect(ctx, cfg, cfg.logger())
	if err != nil {
		return err
	}
	defer b.close()
	return run(cfg, b)
}

// connectTimeout is how long the start waits for Postgres to answer.
const connectTimeout = 10 * time.Second

// connect opens the connections and checks the schema. Redis may be
// unavailable: rows are rung when it answers.
func connect(ctx context.Context, cfg config, log *slog.Logger) (*backend, error) {
	if err := cfg.needConnections(); err != nil {
		return nil, usageError{err}
	}
	options, err := asynq.ParseRedisURI(cfg.RedisURL)
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_REDIS_URL: %w", withoutURL(err, cfg.RedisURL))}
	}
	rdb, ok := options.MakeRedisClient().(redis.UniversalClient)
	if !ok {
		return nil, usageError{errors.New("TROY_REDIS_URL: expected a single Redis or Sentinel")}
	}
	poolConfig, err := pgxpool.ParseConfig(cfg.DatabaseURL)
	if err != nil {
		return nil, usageError{fmt.Errorf("TROY_DATABASE_URL: %w", withoutURL(err, cfg.DatabaseURL))}
	}
	poolConfig.MaxConns = max(poolConfig.MaxConns, int32(cfg.Workers+cfg.BuildSlots+cfg.PreviewSlots+workers.ForgeSlots+workers.DomainSlots+workers.NotifySlots+10))
	poolConfig.ConnConfig.ConnectTimeout = connectTimeout
	poolConfig.AfterConnect = queries.PlanOnce
	meters := metrics.New()
	poolConfig.ConnConfig.Tracer = meters.Tracer()
	db, err := pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return nil, fmt.Errorf("connect to Postgres: %w", withoutURL(err, cfg.DatabaseURL))
	}
	meters.Work(db)
	b := &backend{db: db, redis: rdb, client: tasks.NewClient(rdb), meters: meters, log: log}
	b.bell = bell.New(db, b.client, log, map[string]int{
		tasks.QueueQuick: cfg.Workers, tasks.QueueBuilds: cfg.BuildSlots, tasks.QueuePreviews: cfg.PreviewSlots, tasks.QueueForge: workers.ForgeSlots,
		tasks.QueueThumbnails: workers.ThumbnailSlots, tasks.QueueDomains: workers.DomainSlots, tasks.QueueNotifications: workers.NotifySlots,
	})

	checkCtx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := schema.Check(checkCtx, db); err != nil {
		b.close()
		return nil, withoutURL(err, cfg.DatabaseURL)
	}
	sites, err := openCloud(ctx, cfg, db)
	if err != nil {
		b.close()
		return nil, err
	}
	if sites, err = withFaults(sites, cfg.Faults); err != nil {
		b.close()
		return nil, usageError{fmt.Errorf("TROY_FAULTS: %w", err)}
	}
	b.cloud = meters.Cloud(sites)
	return b, nil
}

// ready returns the health checks of the API, and of the work.
func (b *backend) ready(work bool) []health.Check { return health.Checks(b.db, b.redis, work) }

// watch logs failing checks of the work until the context ends.
func (b *backend) watch(ctx context.Context) { health.Watch(ctx, b.ready(true), b.log) }

func (b *backend) close() {
	b.db.Close()
	if err := b.redis.Close(); err != nil {
		b.log.Debug("close Redis", "error", err)
	}
}

// withoutURL removes a connection's address, and the password in it, from an
// error's text.
func withoutURL(err error, url string) error {
	if err == nil || url == "" {
		return err
	}
	// A quoted carriage return, as from a file, has another form.
	quoted := strings.Trim(strconv.Quote(url), `"`)
	text := strings.NewReplacer(url, "(the address)", quoted, "(the address)").Replace(err.Error())
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}

// listen opens an address for serving. Its error names the setting.
func listen(ctx context.Context, setting, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot listen on %s: %w; stop the server there or set another address", setting, addr, err)
	}
	return l, nil
}

// stopTimeout is how long open requests may continue during a stop.
const stopTimeout = 10 * time.Second

// serve serves until the context ends, and then lets open requests end.
func serve(ctx context.Context, l net.Listener, server *http.Server) error {
	failed := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			failed <- server.ServeTLS(l, "", "")
			return
		}
		failed <- server.Serve(l)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := server.Shutdown(stopCtx); err != nil {
		return server.Close()
	}
	return nil
}
