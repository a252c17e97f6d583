// Package stacktest gives tests a Postgres database and a Redis of their own.
// The servers are private to the test binary, start when the first test asks
// for them and end with the binary, however it ends. Without Postgres or Redis
// installed a test fails with the command that installs it; none is skipped.
package stacktest

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/internal/devstack"
	schema "github.com/troy-iaas/troy/sql"
)

// timeout bounds each step, so that a test that hangs says where.
const timeout = time.Minute

// redisDatabases is how many tests of a binary can have a Redis at once.
const redisDatabases = 1024

// The two servers are one for the whole test binary, which has no other place
// to keep them: they are the only globals here.
var (
	postgres = sync.OnceValues(startPostgres)
	server   = sync.OnceValues(startRedis)
)

// cluster is a Postgres and the migrated template in it.
type cluster struct {
	admin    string // URL that may create databases
	template string
}

// Database returns the URL of a database of the test's own with the schema
// migrated up. It is dropped when the test ends, with the connections that
// are open then. TROY_TEST_DATABASE_URL, when set, is used in place of a
// private Postgres; its user must be allowed to create databases.
func Database(t testing.TB) string {
	t.Helper()
	c, err := postgres()
	if err != nil {
		t.Fatalf("stacktest: Postgres: %v", err)
	}
	return create(t, c, " TEMPLATE "+identifier(c.template))
}

// EmptyDatabase is Database without any schema.
func EmptyDatabase(t testing.TB) string {
	t.Helper()
	c, err := postgres()
	if err != nil {
		t.Fatalf("stacktest: Postgres: %v", err)
	}
	return create(t, c, "")
}

func create(t testing.TB, c cluster, options string) string {
	t.Helper()
	name := "troy_test_" + strings.ToLower(rand.Text())
	if err := execute(c.admin, "CREATE DATABASE "+identifier(name)+options); err != nil {
		t.Fatalf("stacktest: create a database: %v", err)
	}
	t.Cleanup(func() {
		if err := execute(c.admin, "DROP DATABASE IF EXISTS "+identifier(name)+" WITH (FORCE)"); err != nil {
			t.Errorf("stacktest: drop a database: %v", err)
		}
	})
	u, err := schema.WithDatabase(c.admin, name)
	if err != nil {
		t.Fatalf("stacktest: %v", err)
	}
	return u
}

// Redis returns the URL of a database of the test's own on the binary's Redis
// (asynq.ParseRedisURI reads it). Its keys are the test's own; channels and
// FLUSHALL are not: what flushes or kills uses NewPrivateRedis.
func Redis(t testing.TB) string {
	t.Helper()
	s, err := server()
	if err != nil {
		t.Fatalf("stacktest: Redis: %v", err)
	}
	var n int
	select {
	case n = <-s.free:
	default:
		t.Fatalf("stacktest: all %d Redis databases are in use", redisDatabases)
	}
	u := strings.TrimSuffix(s.url, "/0") + fmt.Sprintf("/%d", n)
	t.Cleanup(func() {
		if err := do(u, func(ctx context.Context, c *redis.Client) error { return c.FlushDB(ctx).Err() }); err != nil {
			t.Errorf("stacktest: empty a Redis database: %v", err)
			return
		}
		s.free <- n
	})
	return u
}

// PrivateRedis is a Redis server of one test. It keeps nothing over a Kill,
// like one without persistence.
type PrivateRedis struct {
	URL string // stays the same over a Restart

	t      testing.TB
	cfg    devstack.RedisConfig
	server *devstack.Redis
}

// NewPrivateRedis starts a Redis server that ends with the test.
func NewPrivateRedis(t testing.TB) *PrivateRedis {
	t.Helper()
	r := &PrivateRedis{t: t, cfg: devstack.RedisConfig{Password: rand.Text(), Ephemeral: true, Logger: quiet()}}
	r.start()
	r.URL = r.server.URL
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := r.server.Stop(ctx); err != nil {
			t.Errorf("stacktest: %v", err)
		}
	})
	return r
}

func (r *PrivateRedis) start() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var err error
	if r.cfg.Dir, err = os.MkdirTemp("", "troy-test-redis-"); err != nil {
		r.t.Fatalf("stacktest: %v", err)
	}
	if r.server, err = devstack.StartRedis(ctx, r.cfg); err != nil {
		r.t.Fatalf("stacktest: Redis: %v", err)
	}
	if r.cfg.Port != 0 && r.server.Port != r.cfg.Port {
		r.t.Fatalf("stacktest: port %d of the Redis that was killed is taken", r.cfg.Port)
	}
	r.cfg.Port = r.server.Port
}

// Kill ends the server at once. Everything in it is lost.
func (r *PrivateRedis) Kill() {
	r.t.Helper()
	r.server.Kill()
	if err := os.RemoveAll(r.cfg.Dir); err != nil {
		r.t.Fatalf("stacktest: %v", err)
	}
}

// Restart starts the server again, empty, on the same port; one that still
// runs is killed first.
func (r *PrivateRedis) Restart() {
	r.t.Helper()
	r.Kill()
	r.start()
}

// FlushAll empties the server.
func (r *PrivateRedis) FlushAll() {
	r.t.Helper()
	if err := do(r.URL, func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() }); err != nil {
		r.t.Fatalf("stacktest: flush Redis: %v", err)
	}
}

func startPostgres() (cluster, error) {
	hash, err := schema.Hash()
	if err != nil {
		return cluster{}, err
	}
	// A template of other migrations has another name and is not used.
	c := cluster{admin: os.Getenv("TROY_TEST_DATABASE_URL"), template: "troy_template_" + hash}
	if c.admin == "" {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		p, err := devstack.StartEphemeralPostgres(ctx, quiet())
		if err != nil {
			return cluster{}, err
		}
		c.admin = p.URL
	}
	return c, c.makeTemplate()
}

// makeTemplate makes the migrated template unless it is there. It gets its
// name when it is whole; the lock keeps test binaries on one server from
// making it at the same time.
func (c cluster) makeTemplate() error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.admin)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext($1))", c.template); err != nil {
		return fmt.Errorf("lock the template: %w", err)
	}
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", c.template).Scan(&exists); err != nil || exists {
		return err
	}
	half := c.template + "_new"
	if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+identifier(half)); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+identifier(half)); err != nil {
		return err
	}
	u, err := schema.WithDatabase(c.admin, half)
	if err != nil {
		return err
	}
	if _, err := schema.Up(ctx, u); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "ALTER DATABASE "+identifier(half)+" RENAME TO "+identifier(c.template))
	return err
}

// redisServer is the binary's Redis and the numbers of its databases that no
// test uses.
type redisServer struct {
	url  string
	free chan int
}

func startRedis() (redisServer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "troy-test-redis-")
	if err != nil {
		return redisServer{}, err
	}
	r, err := devstack.StartRedis(ctx, devstack.RedisConfig{Dir: dir, Password: rand.Text(), Databases: redisDatabases, Ephemeral: true, Logger: quiet()})
	if err != nil {
		return redisServer{}, err
	}
	s := redisServer{url: r.URL, free: make(chan int, redisDatabases)}
	for n := range redisDatabases {
		s.free <- n
	}
	return s, nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func identifier(name string) string { return pgx.Identifier{name}.Sanitize() }

func execute(databaseURL, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

func do(redisURL string, f func(context.Context, *redis.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	opts, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	c := redis.NewClient(opts)
	defer c.Close()
	return f(ctx, c)
}
