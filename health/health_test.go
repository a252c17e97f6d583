package health

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/metrics"
	"github.com/troy-iaas/troy/tasks"
)

// TestReadinessTellsWhatStopsTheWork puts Postgres and Redis into states in
// which they answer but can't do their work.
func TestReadinessTellsWhatStopsTheWork(t *testing.T) {
	t.Parallel()
	private := stacktest.NewPrivateRedis(t)
	database := stacktest.Database(t)
	db, err := pgxpool.New(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	var buffer bytes.Buffer
	log := slog.New(slog.NewTextHandler(&buffer, nil))
	opts, err := redis.ParseURL(private.URL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { _ = rdb.Close() })
	set := func(name, value string) func() {
		return func() {
			t.Helper()
			if err := rdb.ConfigSet(t.Context(), name, value).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	statement := func(sql string) func() {
		return func() {
			t.Helper()
			conn, err := pgx.Connect(t.Context(), database)
			if err != nil {
				t.Fatal(err)
			}
			// The setting applies to new connections.
			if _, err := conn.Exec(t.Context(), "SET default_transaction_read_only = off"); err != nil {
				t.Fatal(err)
			}
			_, err = conn.Exec(t.Context(), strings.ReplaceAll(sql, "DB", pgx.Identifier{conn.Config().Database}.Sanitize()))
			_ = conn.Close(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			db.Reset()
		}
	}
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	pause := func(f func(string) error) func() {
		return func() {
			t.Helper()
			if err := f(tasks.QueueQuick); err != nil {
				t.Fatal(err)
			}
		}
	}
	told := map[string]string{}
	for name, c := range map[string]struct {
		into, outOf func()
		says        string
		web, work   int
	}{
		"a read-only Postgres": {statement("ALTER DATABASE DB SET default_transaction_read_only = on"), statement("ALTER DATABASE DB RESET default_transaction_read_only"), "Postgres: it is read-only", 503, 503},
		"a full Redis":         {set("maxmemory", "1"), set("maxmemory", "0"), "Redis: it is full", 503, 503},
		"a replica":            {func() { rdb.ReplicaOf(t.Context(), "127.0.0.1", "1") }, func() { rdb.ReplicaOf(t.Context(), "NO", "ONE") }, "Redis: it is a replica", 503, 503},
		"a Redis that evicts":  {set("maxmemory-policy", "allkeys-lru"), set("maxmemory-policy", "noeviction"), "Redis's policy: it may evict tasks (maxmemory-policy allkeys-lru)", 200, 503},
		"a paused queue":       {pause(inspector.PauseQueue), pause(inspector.UnpauseQueue), "queues: paused: quick", 200, 503},
	} {
		for _, stopped := range []bool{true, false} {
			if stopped {
				c.into()
			} else {
				c.outOf()
			}
			for work, want := range map[bool]int{false: c.web, true: c.work} {
				says := c.says
				if !stopped {
					want, says = 200, "ok\n"
				}
				r := &answerRecorder{}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				Handler(Checks(db, rdb, work), credentials.Tokens{DB: db, Log: slog.New(slog.DiscardHandler)}, metrics.New()).ServeHTTP(r, req)
				if r.status != want || !strings.Contains(r.String(), says) {
					t.Errorf("%s (stopped: %t, work: %t): %d %q, want %d and %q", name, stopped, work, r.status, r.String(), want, says)
				}
				if !stopped && r.String() != "ok\n" {
					t.Errorf("%s, fixed: %q", name, r.String())
				}
			}
			buffer.Reset()
			look(t.Context(), Checks(db, rdb, true), log, told)
			look(t.Context(), Checks(db, rdb, true), log, told)
			level := map[bool]string{true: "level=WARN", false: "level=INFO"}[stopped]
			if strings.Count(buffer.String(), "\n") != 1 || !strings.Contains(buffer.String(), level) {
				t.Errorf("%s (stopped: %t): logged %q, want one line of %s", name, stopped, buffer.String(), level)
			}
		}
	}
}

// answerRecorder records a response.
type answerRecorder struct {
	bytes.Buffer
	status int
	header http.Header
}

func (r *answerRecorder) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}

func (r *answerRecorder) WriteHeader(status int) { r.status = status }
