// Package bench measures Troy and a comparable tool in one run and prints the
// ratio. `make bench` runs it; docs/benchmarks.md has figures. It asserts no
// figures, since a busy machine measures badly.
package bench

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/bell"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/github"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/devstack"
	"github.com/troy-iaas/troy/queries"
	schema "github.com/troy-iaas/troy/sql"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/web"
	"github.com/troy-iaas/troy/workers"
)

const hookSecret = "the secret of the webhooks"

// quiet keeps logs out of the measurements and their output.
var quiet = slog.New(slog.DiscardHandler)

// world is Troy in this process, with a Postgres that waits for the disk and
// its own Redis.
type world struct {
	b           *testing.B
	databaseURL string
	db          *pgxpool.Pool
	redis       redis.UniversalClient
	client      *tasks.Client
	bell        *bell.Bell
	cloud       cloud.Cloud
	intake      *intake.Intake
	web         *httptest.Server
	previewed   uuid.UUID // the pipeline with previews, if any
}

func newWorld(b *testing.B) *world {
	b.Helper()
	ctx := b.Context()
	stack, err := devstack.Start(ctx, devstack.Config{Dir: b.TempDir(), Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := stack.Stop(ctx); err != nil {
			b.Error(err)
		}
	})
	if _, err := schema.Up(ctx, stack.DatabaseURL); err != nil {
		b.Fatal(err)
	}
	w := &world{b: b, databaseURL: stack.DatabaseURL}
	config, err := pgxpool.ParseConfig(stack.DatabaseURL)
	if err != nil {
		b.Fatal(err)
	}
	config.MaxConns = 32
	config.AfterConnect = queries.PlanOnce
	if w.db, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(w.db.Close)
	options, err := asynq.ParseRedisURI(stack.RedisURL)
	if err != nil {
		b.Fatal(err)
	}
	w.redis = options.MakeRedisClient().(redis.UniversalClient)
	b.Cleanup(func() { _ = w.redis.Close() })
	w.client = tasks.NewClient(w.redis)
	w.bell = bell.New(w.db, w.client, quiet, map[string]int{tasks.QueueQuick: 10, tasks.QueueBuilds: 2, tasks.QueuePreviews: 2, tasks.QueueForge: workers.ForgeSlots})
	bellCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	rung := make(chan struct{})
	go func() { w.bell.Run(bellCtx); close(rung) }()
	b.Cleanup(func() { stop(); <-rung })
	if w.cloud, err = localcloud.New(localcloud.Config{Root: b.TempDir()}); err != nil {
		b.Fatal(err)
	}
	w.intake = intake.New(w.db, w.bell, intake.Config{SitesSuffix: "sites.test"})
	github, err := github.NewForge(github.App{Own: &forge.App{WebhookSecret: hookSecret}}, github.Options{URL: "http://127.0.0.1", Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	handler, err := web.New(web.Config{URL: "http://127.0.0.1", SitesScheme: "http"}, web.Deps{
		DB: w.db, Redis: w.redis, Intake: w.intake, Store: w.cloud.Store, Log: quiet,
		Forges: []forge.Adapter{github.Adapter()},
	})
	if err != nil {
		b.Fatal(err)
	}
	w.web = httptest.NewServer(handler)
	b.Cleanup(w.web.Close)
	return w
}

// pipelines makes n Deployed pipelines with their own repositories, numbered
// from first, and the other rows of an installation in use: Postgres plans
// queries of an empty table as if it stayed empty.
func (w *world) pipelines(first, n int) {
	w.b.Helper()
	for _, statement := range []string{
		`INSERT INTO pipelines (id, name, slug, status, repository_provider, repository_full_name, repository_branch, repository_id, distribution_id, distribution_domain)
		 SELECT gen_random_uuid(), 'p' || i, 'p' || i, 'deployed', 'github', 'team/r' || i, 'main', i::text, 'd' || i, 'd' || i FROM generate_series($1::int, $2::int) i`,
		`INSERT INTO domains (host, pipeline_id, kind) SELECT slug || '.sites.test', id, 'site' FROM pipelines WHERE repository_id::int BETWEEN $1 AND $2`,
		`INSERT INTO repositories (provider, id, full_name, default_branch, installation_id)
		 SELECT 'github', i::text, 'team/r' || i, 'main', '9' FROM generate_series($1::int, $2::int) i`,
		`INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, finished_at)
		 SELECT gen_random_uuid(), id, 1, 'automated', 'succeeded', gen_random_uuid(), 'bench', now() FROM pipelines WHERE repository_id::int BETWEEN $1 AND $2`,
		`INSERT INTO events (pipeline_id, version, slug, from_status, to_status, actor)
		 SELECT id, 1, slug, 'deploying', 'deployed', 'bench' FROM pipelines WHERE repository_id::int BETWEEN $1 AND $2`,
		`INSERT INTO deliveries (source, id, type, outcome) SELECT 'github', gen_random_uuid()::text, 'push', 'accepted' FROM generate_series($1::int, $2::int)`,
		`INSERT INTO work (kind, subject_id, due_at) SELECT 'forge:catch-up', id, now() + interval '1 hour' FROM pipelines WHERE repository_id::int BETWEEN $1 AND $2`,
		`UPDATE pipelines SET last_number = 1 WHERE repository_id::int BETWEEN $1 AND $2`,
	} {
		if _, err := w.db.Exec(w.b.Context(), statement, first, first+n-1); err != nil {
			w.b.Fatal(err)
		}
	}
	for _, statement := range []string{
		`INSERT INTO installations (provider, id, account) VALUES ('github', '9', 'team') ON CONFLICT DO NOTHING`, `VACUUM ANALYZE`,
	} {
		if _, err := w.db.Exec(w.b.Context(), statement); err != nil {
			w.b.Fatal(err)
		}
	}
}

// pushBody is a push of a new commit, of the size of GitHub's.
func pushBody(repository int, branch string) string {
	commit := hex.EncodeToString(append(uuid.Must(uuid.NewV7()).NodeID(), []byte(uuid.NewString())[:14]...))
	filler := strings.Repeat(`"https://api.github.com/repos/team/blog/something{/sha}",`, 100)
	return fmt.Sprintf(`{"ref":"refs/heads/%[3]s","before":"%[4]s","after":"%[1]s","created":false,"deleted":false,"forced":false,
"repository":{"id":%[2]d,"name":"r%[2]d","full_name":"team/r%[2]d","default_branch":"main","private":true,"owner":{"login":"team"},"urls":[%[5]s"x"]},
"installation":{"id":9},"pusher":{"name":"mona"},"sender":{"login":"mona"},
"head_commit":{"id":"%[1]s","message":"Say hello","author":{"name":"Mona"},"added":["index.html"],"removed":[],"modified":[]},
"commits":[{"id":"%[1]s","message":"Say hello","author":{"name":"Mona"},"added":["index.html"],"removed":[],"modified":[]}]}`,
		commit, repository, branch, strings.Repeat("1", 40), filler)
}

// pushRequest is a push as GitHub sends it.
func pushRequest(repository int, branch string) []byte {
	body := pushBody(repository, branch)
	mac := hmac.New(sha256.New, []byte(hookSecret))
	mac.Write([]byte(body))
	return fmt.Appendf(nil, "POST /hooks/github HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
		"X-GitHub-Event: push\r\nX-GitHub-Delivery: %s\r\nX-Hub-Signature-256: sha256=%x\r\n\r\n%s", len(body), uuid.New(), mac.Sum(nil), body)
}

// dial opens a line to the API.
func (w *world) dial() *line {
	w.b.Helper()
	l, err := dial(w.b.Context(), w.web.Listener.Addr().String())
	if err != nil {
		w.b.Fatal(err)
	}
	w.b.Cleanup(l.close)
	return l
}

// deliver sends a push.
func (l *line) deliver(request []byte) error {
	status, answer, err := l.ask(request)
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("the delivery got the answer %d: %s", status, answer)
	}
	return err
}
