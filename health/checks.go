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

// Checks lists what /readyz asks. What stops the work but not the API (a paused
// queue, a Redis that may throw tasks away) makes work unready; web tells it
// and goes on, since /monitor is where it is mended.
func Checks(db *pgxpool.Pool, client redis.UniversalClient, work bool) []Check {
	return []Check{
		{Name: "Postgres", Check: func(ctx context.Context) error { return PostgresWrites(ctx, db) }},
		{Name: "Redis", Check: func(ctx context.Context) error { return RedisWrites(ctx, client) }},
		{Name: "schema", Check: func(ctx context.Context) error { return schema.Check(ctx, db) }},
		{Name: "Redis's policy", Check: func(ctx context.Context) error { return redisKeeps(ctx, client) }, TellOnly: !work},
		{Name: "queues", Check: func(ctx context.Context) error { return QueuesRun(ctx, client) }, TellOnly: !work},
	}
}

// rowQuerier is a pool or a connection of Postgres.
type rowQuerier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// PostgresWrites asks Postgres whether it takes writes.
func PostgresWrites(ctx context.Context, db rowQuerier) error {
	var replica, readOnly bool
	err := db.QueryRow(ctx, "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::bool").Scan(&replica, &readOnly)
	switch {
	case err != nil:
		return err
	case replica:
		return troy.Errorf(troy.Unavailable, "it is a replica and takes no writes")
	case readOnly:
		return troy.Errorf(troy.Unavailable, "it is read-only (default_transaction_read_only)")
	}
	return nil
}

// probeKey is written to see whether Redis takes writes.
const probeKey = "troy:probe"

// RedisWrites asks Redis to keep something for a minute. A replica, one that
// is full and one whose disk fails refuse.
func RedisWrites(ctx context.Context, client redis.UniversalClient) error {
	err := client.Set(ctx, probeKey, 1, time.Minute).Err()
	if err == nil {
		return nil
	}
	for prefix, said := range map[string]string{
		"READONLY": "it is a replica and takes no writes", "OOM": "it is full (maxmemory) and takes no writes",
		"MISCONF": "it takes no writes, because it can't write to its disk",
	} {
		if strings.HasPrefix(err.Error(), prefix) { // the code of Redis's protocol
			return troy.Errorf(troy.Unavailable, "%s", said)
		}
	}
	return err
}

// RedisPolicy is what Redis does when it is full, and empty for one that does
// not tell.
func RedisPolicy(ctx context.Context, client redis.UniversalClient) string {
	info, err := client.Info(ctx, "memory").Result()
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(info, "maxmemory_policy:")
	policy, _, _ := strings.Cut(rest, "\r\n")
	return policy
}

// redisKeeps reports a policy by which Redis throws tasks away when it is
// full. The policies volatile-… spare them: tasks have no time to live.
func redisKeeps(ctx context.Context, client redis.UniversalClient) error {
	if policy := RedisPolicy(ctx, client); strings.HasPrefix(policy, "allkeys-") {
		return troy.Errorf(troy.Unavailable, "it may throw tasks away (maxmemory-policy %s); set its maxmemory-policy to noeviction", policy)
	}
	return nil
}

// QueuesRun reports queues that are paused.
func QueuesRun(ctx context.Context, client redis.UniversalClient) error {
	paused, err := tasks.Paused(ctx, client)
	if err != nil {
		return nil //nolint:nilerr // whether Redis answers is another check's matter
	}
	if len(paused) > 0 {
		return troy.Errorf(troy.Unavailable, "paused: %s; no task of it is run until it is resumed, in /monitor", strings.Join(paused, ", "))
	}
	return nil
}

// watchEvery is the time between two looks at what the work depends on.
const watchEvery = 10 * time.Second

// Watch logs when one of the checks fails, and when it succeeds again, until the
// context ends.
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

// look logs what changed since the last look, which told holds.
func look(ctx context.Context, checks []Check, log *slog.Logger, told map[string]string) {
	for _, c := range checks {
		checkCtx, cancel := context.WithTimeout(ctx, watchEvery/2)
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
			log.LogAttrs(ctx, slog.LevelInfo, "work can go on", slog.String("check", c.Name))
		default:
			log.LogAttrs(ctx, slog.LevelWarn, "work can't go on as it should", slog.String("check", c.Name), slog.String("error", said))
		}
		told[c.Name] = said
	}
}
