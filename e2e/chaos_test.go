//go:build chaos

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack"
	"github.com/troy-iaas/troy/internal/devstack/gittest"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
)

// chaos is one installation under faults: its parts, its load, and its
// violations.
type chaos struct {
	t     *testing.T
	w     *world
	g     *github
	ctx   context.Context
	lease time.Duration

	postgresConfig devstack.PostgresConfig
	postgres       *devstack.Postgres
	db             *pgxpool.Pool // directly
	postgresProxy  *proxy
	redisProxy     *proxy
	double         *awsdouble.Double
	webs, works    []*part
	apis           []*client.Client
	seed           uint64
	installations  atomic.Int64 // of the app, so far

	mu         sync.Mutex
	faults     map[string]int
	traffic    map[string]int // the teams' actions and the webhooks' fates
	violations []string
	checks     map[string]int // of violations
	recoveries []time.Duration
	logs       []*lines          // of all workers so far
	repaired   int               // by the second net
	expected   map[string]string // deployment → expected content of its pages
	seen       map[string]string // deployment → seen content of a page
	live       map[string]bool   // hosts that have to answer
	answers    atomic.Int64
	requests   atomic.Int64
	watches    sync.WaitGroup
	stop       context.CancelFunc // ends the run at the first violation, for mutants
	stepTime   time.Duration
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// violation records a broken promise and the check that found it.
func (c *chaos) violation(check, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checks[check]++
	if len(c.violations) < 40 {
		c.violations = append(c.violations, check+": "+fmt.Sprintf(format, args...))
	}
	if c.stop != nil {
		c.stop()
	}
}

func environmentInt(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// watchdog records in the database which process ends whose claims.
const watchdog = `
CREATE TABLE chaos_holder (kind text, subject_id uuid, app text, PRIMARY KEY (kind, subject_id));
CREATE TABLE chaos_stolen (at timestamptz DEFAULT now(), kind text, subject_id uuid, holder text, by_app text, what text);
CREATE FUNCTION chaos_watch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE me text := current_setting('application_name'); held text;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.epoch <> OLD.epoch AND NEW.lease_until IS NOT NULL THEN
        IF OLD.lease_until > clock_timestamp() THEN
            INSERT INTO chaos_stolen (kind, subject_id, by_app, what) VALUES (OLD.kind, OLD.subject_id, me, 'claimed what is held');
        END IF;
        INSERT INTO chaos_holder VALUES (NEW.kind, NEW.subject_id, me) ON CONFLICT (kind, subject_id) DO UPDATE SET app = me;
    ELSIF OLD.lease_until > clock_timestamp() AND me LIKE 'work-%' AND OLD.kind NOT LIKE 'deployment:%' AND OLD.kind NOT IN ('preview:build', 'preview:publish')
          AND (TG_OP = 'DELETE' OR NEW.lease_until IS NULL) THEN
        SELECT app INTO held FROM chaos_holder h WHERE h.kind = OLD.kind AND h.subject_id = OLD.subject_id;
        IF held IS DISTINCT FROM me THEN
            INSERT INTO chaos_stolen (kind, subject_id, holder, by_app, what) VALUES (OLD.kind, OLD.subject_id, held, me, 'ended the claim of another');
        END IF;
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER chaos_watch BEFORE UPDATE OR DELETE ON work FOR EACH ROW EXECUTE FUNCTION chaos_watch();
`

func (c *chaos) startPostgres(ctx context.Context) (err error) {
	c.postgres, err = devstack.StartPostgres(ctx, c.postgresConfig)
	if err == nil {
		c.postgresConfig.Port = c.postgres.Port
	}
	return err
}

func newChaos(t *testing.T, seed uint64) *chaos {
	t.Helper()
	c := &chaos{
		t: t, seed: seed, lease: 4 * time.Second, faults: map[string]int{}, traffic: map[string]int{}, checks: map[string]int{}, expected: map[string]string{},
		seen: map[string]string{}, live: map[string]bool{}, stepTime: time.Duration(environmentInt("STEP_SECONDS", 180)) * time.Second,
	}
	// A durable Postgres in a folder that its account can reach.
	root, err := os.MkdirTemp("/tmp", "troy-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	c.postgresConfig = devstack.PostgresConfig{Dir: filepath.Join(root, "p"), Root: filepath.Join(root, "p"), Password: rand.Text(), Logger: slog.New(slog.DiscardHandler)}
	if err := os.MkdirAll(c.postgresConfig.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.startPostgres(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = c.postgres.Stop(ctx)
	})
	migrate := exec.CommandContext(t.Context(), filepath.Join(binaries, "troyd"), "migrate", "up")
	migrate.Env = []string{"TROY_DATABASE_URL=" + c.postgres.URL}
	if out, err := migrate.CombinedOutput(); err != nil {
		t.Fatalf("migrate up: %v\n%s", err, out)
	}
	if c.db, err = pgxpool.New(t.Context(), c.postgres.URL+"&pool_max_conns=20"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.db.Close)
	if _, err := c.db.Exec(t.Context(), watchdog); err != nil {
		t.Fatal(err)
	}

	c.double = awsdouble.Start(awsdouble.Config{})
	t.Cleanup(c.double.Close)
	c.double.MakeQueue(awsdouble.QueueConfig{Name: "builds-dead"})
	queue := c.double.MakeQueue(awsdouble.QueueConfig{Name: "builds", DeadLetters: "builds-dead", MaxReceives: 1000})
	c.g = newGitHub(t)
	c.installations.Store(100)
	c.g.redeliver = func(a attempt) {
		c.tell("webhooks sent again on Troy's request")
		go func() { c.g.tried(a.guid, a.event, c.hook(a.event, a.guid, a.body), a.body) }()
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key)

	w := &world{t: t, dir: filepath.Join(root, "w"), database: c.postgres.URL, redis: stacktest.NewPrivateRedis(t), edge: freeAddress(t)}
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c.w = w
	w.faults = filepath.Join(w.dir, "faults")
	c.postgresProxy = newProxy(t, fmt.Sprintf("127.0.0.1:%d", c.postgres.Port))
	c.redisProxy = newProxy(t, hostOf(t, w.redis.URL))
	hostile, err := gittest.Hostile(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	w.env = append(hostile,
		"PATH="+os.Getenv("PATH"), "TROY_DATA_DIR="+filepath.Join(w.dir, "data"), "TROY_FAULTS="+w.faults,
		"TROY_DATABASE_URL="+w.database, "TROY_REDIS_URL="+w.redis.URL,
		"TROY_EDGE_ADDR="+w.edge, "TROY_APPS_SECRET="+appsSecret, "TROY_PROPAGATION_DELAY=200ms", "TROY_LOG_LEVEL=info",
		"TROY_LEASE="+c.lease.String(), "TROY_DELETE_GRACE=0s", "TROY_BUILD_ISOLATION=none", "TROY_BUILD_TOOLS=machine", "TROY_BUILD_SLOTS=8", "TROY_PREVIEW_SLOTS=8", "TROY_CATCH_UP=8s",
		"TROY_GITHUB_URL="+c.g.server.URL+"/api/v3", "TROY_GITHUB_CLIENT_ID="+githubClientID, "TROY_GITHUB_APP_ID="+githubAppID,
		"TROY_GITHUB_KEY_FILE="+c.g.keyFile, "TROY_GITHUB_SECRET="+githubSecret, "TROY_SECRET_KEY="+hex.EncodeToString(key),
		"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_EC2_METADATA_DISABLED=true", "TROY_AWS_REGION=us-east-1",
		"TROY_AWS_ENDPOINT="+c.double.URL(), "TROY_AWS_BUILDS_QUEUE="+queue,
	)
	w.web = "127.0.0.1:1"
	w.token = strings.TrimSpace(w.must("troyd", "token", "create", "--role", "admin", "--name", "chaos"))
	for n := range 2 {
		address := freeAddress(t)
		c.webs = append(c.webs, &part{kind: "web", number: n, env: []string{"TROY_ADDR=" + address, "TROY_URL=http://" + address}})
		api, err := client.New("http://"+address, w.token)
		if err != nil {
			t.Fatal(err)
		}
		api.Attempts = 2
		c.apis = append(c.apis, api)
	}
	for n := range 3 {
		c.works = append(c.works, &part{kind: "work", number: n, env: []string{"TROY_REDIS_URL=" + strings.Replace(w.redis.URL, hostOf(t, w.redis.URL), c.redisProxy.address, 1)}})
	}
	for _, p := range append(slices.Clone(c.webs), c.works...) {
		c.begin(p)
	}
	c.spawn("edge", w.env)
	w.web = strings.TrimPrefix(c.apis[0].BaseURL, "http://")
	w.api = c.apis[0]
	w.eventually("web answers", func() bool { return w.answers("http://" + w.web + "/readyz") })
	t.Cleanup(func() {
		for _, p := range append(slices.Clone(c.webs), c.works...) {
			p.process.signal(syscall.SIGCONT)
			p.process.kill()
		}
	})
	return c
}

func hostOf(t *testing.T, address string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, strings.Replace(address, "redis://", "http://", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	return req.URL.Host
}

// databaseFor is the address of Postgres for a part: work connects through the
// proxy, with a new application_name for each run.
func (c *chaos) databaseFor(p *part) string {
	address := c.postgres.URL
	if p.kind == "work" {
		address = strings.Replace(address, fmt.Sprintf("127.0.0.1:%d", c.postgres.Port), c.postgresProxy.address, 1)
	}
	joint := "?"
	if strings.Contains(address, "?") {
		joint = "&"
	}
	return address + joint + "application_name=" + p.app
}

// spawn starts a troyd that may end at any time.
func (c *chaos) spawn(kind string, env []string) *process {
	p := &process{name: kind, log: &lines{}, gone: make(chan struct{})}
	p.cmd = exec.Command(filepath.Join(binaries, "troyd"), kind)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, p.log, p.log
	if kind == "work" {
		c.mu.Lock()
		c.logs = append(c.logs, p.log)
		c.mu.Unlock()
	}
	if err := p.cmd.Start(); err != nil {
		c.t.Errorf("start %s: %v", kind, err)
		close(p.gone)
		return p
	}
	if kind == "edge" {
		c.t.Cleanup(p.kill)
	}
	go func() { _ = p.cmd.Wait(); close(p.gone) }()
	return p
}
