// Package stacktest gives each test its own Postgres database and Redis. The
// servers belong to the test binary: the first test that needs them starts
// them, and they end with the binary, even after a crash. If Postgres or Redis
// is not installed, the test fails with the command that installs it; no test
// is skipped.
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

// timeout bounds each step, so that a hanging test reports where it hangs.
const timeout = time.Minute

// redisDatabases is the maximum number of concurrent tests with a Redis.
const redisDatabases = 1024

// All tests of the binary share the two servers. These are the only globals,
// because there is no other place to keep them.
var (
	postgres = sync.OnceValues(startPostgres)
	server   = sync.OnceValues(startRedis)
)

// cluster is a Postgres with the migrated template.
type cluster struct {
	admin    string // URL of a user who may create databases
	template string
}

// Database returns the URL of a new database for the test with the current
// schema. It is dropped at the test's end, together with its connections. If
// TROY_TEST_DATABASE_URL is set, it names the server to use instead of a
// private Postgres; its user must have permission to create databases.
func Database(t testing.TB) string {
	t.Helper()
	c, err := postgres()
	if err != nil {
		t.Fatalf("stacktest: Postgres: %v", err)
	}
	return create(t, c, " TEMPLATE "+identifier(c.template))
}

// EmptyDatabase is like Database, without a schema.
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

// Redis returns the URL of the test's own database on the binary's Redis, in
// the form of asynq.ParseRedisURI. The test owns the keys, but not the channels
// and not FLUSHALL: a test that flushes or kills Redis uses NewPrivateRedis.
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

// PrivateRedis is a Redis server of one test. Like a Redis without persistence,
// it loses its data in a Kill.
type PrivateRedis struct {
	URL string // unchanged by a Restart

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
		r.t.Fatalf("stacktest: port %d of the killed Redis is in use", r.cfg.Port)
	}
	r.cfg.Port = r.server.Port
}

// Kill kills the server. All of its data is lost.
func (r *PrivateRedis) Kill() {
	r.t.Helper()
	r.server.Kill()
	if err := os.RemoveAll(r.cfg.Dir); err != nil {
		r.t.Fatalf("stacktest: %v", err)
	}
}

// Restart starts the server again, empty and on the same port. It first kills a
// running one.
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
	// A template of other migrations has another name.
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

// makeTemplate creates the migrated template if it does not exist. It renames
// the template when it is complete; the lock keeps other test binaries on the
// same server from creating it at the same time.
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

// redisServer is the binary's Redis and the numbers of its unused databases.
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
