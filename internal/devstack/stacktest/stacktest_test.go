package stacktest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	schema "github.com/troy-iaas/troy/sql"
)

func TestDatabasesAreMigratedAndApart(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a, b := connect(t, stacktest.Database(t)), connect(t, stacktest.Database(t))
	if err := schema.Check(ctx, a); err != nil {
		t.Errorf("a fresh test database: %v", err)
	}
	if _, err := a.Exec(ctx, "INSERT INTO apps (id) VALUES ('one')"); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := b.QueryRow(ctx, "SELECT count(*) FROM apps").Scan(&n); err != nil || n != 0 {
		t.Errorf("the other test's database has %d apps, %v; want 0", n, err)
	}
}

func TestEmptyDatabaseHasNoTables(t *testing.T) {
	t.Parallel()
	var n int
	err := connect(t, stacktest.EmptyDatabase(t)).QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&n)
	if err != nil || n != 0 {
		t.Errorf("%d tables, %v; want 0", n, err)
	}
}

func TestRedisDatabasesAreApartAndEmptiedAfterUse(t *testing.T) {
	t.Parallel()
	var first string
	t.Run("one test", func(t *testing.T) {
		first = stacktest.Redis(t)
		a, b := dial(t, first), dial(t, stacktest.Redis(t))
		if err := a.Set(t.Context(), "key", "value", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if n, err := b.DBSize(t.Context()).Result(); err != nil || n != 0 {
			t.Errorf("the other test's Redis has %d keys, %v; want 0", n, err)
		}
	})
	if n, err := dial(t, first).DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Errorf("after its test a Redis database has %d keys, %v; want 0", n, err)
	}
}

func TestPrivateRedisIsFlushedKilledAndRestarted(t *testing.T) {
	t.Parallel()
	r := stacktest.NewPrivateRedis(t)
	c := dial(t, r.URL)
	ctx := t.Context()
	set := func() {
		t.Helper()
		if err := c.Set(ctx, "key", "value", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	size := func() int64 {
		t.Helper()
		n, err := c.DBSize(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	set()
	if r.FlushAll(); size() != 0 {
		t.Error("FlushAll left keys")
	}
	set()
	r.Kill()
	if err := c.Ping(ctx).Err(); err == nil {
		t.Error("a killed Redis answered")
	}
	if r.Restart(); size() != 0 {
		t.Error("a killed Redis kept keys")
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func dial(t *testing.T, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opts)
	t.Cleanup(func() { _ = c.Close() })
	return c
}
