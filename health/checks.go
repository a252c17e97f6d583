package health

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy"
	schema "github.com/troy-iaas/troy/sql"
	"github.com/troy-iaas/troy/tasks"
)

// Checks returns the checks of /readyz. A paused queue, or a Redis that may
// evict tasks, stops the work but not the API. It makes a worker unready; web
// reports it and stays ready, because /monitor is needed to fix it.
func Checks(db *pgxpool.Pool, client redis.UniversalClient, work bool) []Check {
	return []Check{
		{Name: "Postgres", Check: func(ctx context.Context) error { return PostgresWrites(ctx, db) }},
		{Name: "Redis", Check: func(ctx context.Context) error { return RedisWrites(ctx, client) }},
		{Name: "schema", Check: func(ctx context.Context) error { return schema.Check(ctx, db) }},
		{Name: "Redis's policy", Check: func(ctx context.Context) error { return redisKeeps(ctx, client) }, TellOnly: !work},
		{Name: "queues", Check: func(ctx context.Context) error { return QueuesRun(ctx, client) }, TellOnly: !work},
		{Name: "paused queues", Check: func(ctx context.Context) error { return QueuesPaused(ctx, db) }, TellOnly: true},
	}
}

// rowQuerier is a pool or a connection of Postgres.
type rowQuerier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// PostgresWrites returns an Unavailable error if Postgres does not accept
// writes.
func PostgresWrites(ctx context.Context, db rowQuerier) error {
	var replica, readOnly bool
	err := db.QueryRow(ctx, "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::bool").Scan(&replica, &readOnly)
	switch {
	case err != nil:
		return err
	case replica:
		return troy.Errorf(troy.Unavailable, "it is a replica and does not accept writes")
	case readOnly:
		return troy.Errorf(troy.Unavailable, "it is read-only (default_transaction_read_only)")
	}
	return nil
}

// probeKey is written to test whether Redis accepts writes.
const probeKey = "troy:probe"

// RedisWrites sets a key that expires after a minute. It returns an Unavailable
// error if Redis is a replica, is full or can't write to its disk.
func RedisWrites(ctx context.Context, client redis.UniversalClient) error {
	err := client.Set(ctx, probeKey, 1, time.Minute).Err()
	if err == nil {
		return nil
	}
	for prefix, said := range map[string]string{
		"READONLY": "it is a replica and does not accept writes", "OOM": "it is full (maxmemory) and does not accept writes",
		"MISCONF": "it does not accept writes because it can't write to its disk",
	} {
		if strings.HasPrefix(err.Error(), prefix) { // an error code of Redis's protocol
			return troy.Errorf(troy.Unavailable, "%s", said)
		}
	}
	return err
}

// RedisPolicy returns Redis's eviction policy, or "" if Redis does not report
// it.
func RedisPolicy(ctx context.Context, client redis.UniversalClient) string {
	info, err := client.Info(ctx, "memory").Result()
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(info, "maxmemory_policy:")
	policy, _, _ := strings.Cut(rest, "\r\n")
	return policy
}

// redisKeeps returns an error if Redis's policy may evict tasks. The volatile-…
// policies don't, because tasks have no expiry.
func redisKeeps(ctx context.Context, client redis.UniversalClient) error {
	if policy := RedisPolicy(ctx, client); strings.HasPrefix(policy, "allkeys-") {
		return troy.Errorf(troy.Unavailable, "it may evict tasks (maxmemory-policy %s); set maxmemory-policy to noeviction", policy)
	}
	return nil
}

// QueuesRun returns an error that lists the queues that are paused in Redis, if
// any.
func QueuesRun(ctx context.Context, client redis.UniversalClient) error {
	paused, err := tasks.Paused(ctx, client)
	if err != nil {
		return nil //nolint:nilerr // another check covers Redis's availability
	}
	if len(paused) > 0 {
		return troy.Errorf(troy.Unavailable, "paused: %s; their tasks wait until the queues are resumed in /monitor", strings.Join(paused, ", "))
	}
	return nil
}

// QueuesPaused returns an error that lists the queues that are paused in Troy,
// if any, with who paused each and why.
func QueuesPaused(ctx context.Context, db rowQuerier) error {
	var paused string
	err := db.QueryRow(ctx, "SELECT coalesce(string_agg(queue || ' (by ' || actor || ': ' || reason || ')', ', ' ORDER BY queue), '') FROM pauses").Scan(&paused)
	if err != nil || paused == "" {
		return nil //nolint:nilerr // another check covers Postgres's availability
	}
	return troy.Errorf(troy.Unavailable, "paused: %s; to resume a queue: troy queue resume QUEUE", paused)
}

// watchEvery is the interval of the checks.
const watchEvery = 30 * time.Second

// Watch logs each check that starts to fail or succeeds again, until the
// context is done.
func Watch(ctx context.Context, checks []Check, log *slog.Logger) {
	told := map[string]string{}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		look(ctx, checks, log, told)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look logs the checks whose result changed. told holds the errors logged
// before.
func look(ctx context.Context, checks []Check, log *slog.Logger, told map[string]string) {
	for _, c := range checks {
		checkCtx, cancel := context.WithTimeout(ctx, watchEvery/6)
		err := c.Check(checkCtx)
		cancel()
		if ctx.Err() != nil {
			return
		}
		said := ""
		if err != nil {
			said = fmt.Sprint(err)
		}
		switch said {
		case told[c.Name]:
		case "":
			log.LogAttrs(ctx, slog.LevelInfo, "the check succeeds again", slog.String("check", c.Name))
		default:
			log.LogAttrs(ctx, slog.LevelWarn, "the check fails", slog.String("check", c.Name), slog.String("error", said))
		}
		told[c.Name] = said
	}
}
