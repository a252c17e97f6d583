package workers

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/bell"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/metrics"
	"github.com/troy-iaas/troy/notify"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/thumbnail"
)

// rig is a database, a Redis and a local cloud, with workers that tests start.
type rig struct {
	t     *testing.T
	db    *pgxpool.Pool
	q     *queries.Queries
	redis redis.UniversalClient
	cloud cloud.Cloud
	slots int
	lease time.Duration
	idle  time.Duration // between two looks of idle workers
	// Dependencies of builds; nil means no builder.
	forge   *fakeForge
	builder *fakeBuilder
	// Settings of the workers: buildPoll, reconcile and buildSlots.
	buildPoll, reconcile time.Duration
	buildSlots           int
	patience             time.Duration // of builds of previews
	metrics              *metrics.Metrics
	grace                time.Duration // of deletions
	thumbnail            func(context.Context, string, thumbnail.Answers) ([]byte, error)
	quota                intake.Quota
	in                   *intake.Intake // of the workers that started last
	secrets              *secret.Sealer // nil means none
	dns                  DomainChecker  // nil means none
}

func newRig(t *testing.T) *rig { return newRigOn(t, stacktest.Redis(t)) }

func newRigOn(t *testing.T, redisURL string) *rig {
	t.Helper()
	db, err := pgxpool.New(t.Context(), stacktest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	options, err := asynq.ParseRedisURI(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := options.MakeRedisClient().(redis.UniversalClient)
	t.Cleanup(func() { _ = rdb.Close() })
	local, err := localcloud.New(localcloud.Config{Root: t.TempDir(), PollDelay: 100 * time.Millisecond, Limits: site.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, db: db, q: queries.New(db), redis: rdb, cloud: local, slots: 4, buildSlots: 1, lease: 4 * time.Second, metrics: metrics.New()}
}

func (r *rig) workers() *Workers {
	log := slog.New(slog.NewTextHandler(testWriter{r.t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	client := tasks.NewClient(r.redis)
	b := bell.New(r.db, client, log, map[string]int{tasks.QueueQuick: r.slots, tasks.QueueBuilds: r.buildSlots, tasks.QueuePreviews: r.buildSlots, tasks.QueueForge: ForgeSlots, tasks.QueueThumbnails: ThumbnailSlots, tasks.QueueDomains: DomainSlots, tasks.QueueNotifications: NotifySlots})
	r.in = intake.New(r.db, b, intake.Config{SitesSuffix: "localhost", DeleteGrace: r.grace, Quota: r.quota, PreviewKey: func(id uuid.UUID) ([]byte, error) {
		return r.secrets.Seal(secret.NewSigningKey(), secret.PreviewKey(id))
	}})
	deps := Deps{DB: r.db, Redis: r.redis, Client: client, Cloud: r.cloud, Intake: r.in, Thumbnail: r.thumbnail, Bell: b, Metrics: r.metrics, Secrets: r.secrets, DNS: r.dns, Log: log,
		Notify: notify.NewSender([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, nil)}
	if r.forge != nil {
		deps.Forges = map[troy.Provider]forge.Forge{troy.GitHub: r.forge}
	}
	if r.builder != nil {
		deps.Builder = r.builder
	}
	w := New(Config{
		Slots: r.slots, BuildSlots: r.buildSlots, PreviewSlots: r.buildSlots, PreviewPatience: r.patience, BuildPoll: r.buildPoll, Reconcile: r.reconcile, CatchUp: time.Minute, Limits: site.DefaultLimits(), Lease: r.lease, KeepDeployments: 10, CarryAssets: time.Hour, UploadsValid: time.Hour,
		SiteURL: func(host string) string { return "http://" + host }, PreviewSuffix: "localhost",
	}, deps)
	// Tests request work without a ring.
	w.idle = cmp.Or(r.idle, 200*time.Millisecond)
	return w
}

// withBuilds gives the rig a forge and a builder.
func (r *rig) withBuilds() *rig {
	r.forge, r.builder = newFakeForge(), newFakeBuilder(r.t)
	return r
}

// start runs workers until stop is called or the test ends.
func (r *rig) start() (w *Workers, stop func()) {
	r.t.Helper()
	w = r.workers()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done := make(chan error, 2)
	go func() { w.deps.Bell.Run(ctx); done <- nil }()
	go func() { done <- w.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				r.t.Error(err)
			}
		}
	}
	r.t.Cleanup(stop)
	return w, stop
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Logf("%s", p)
	}
	return len(p), nil
}

// pipeline makes a Pre Provisioned pipeline.
func (r *rig) pipeline(slug string) uuid.UUID {
	r.t.Helper()
	id := uuid.Must(uuid.NewV7())
	if _, err := r.q.PipelineCreate(r.t.Context(), queries.PipelineCreateParams{
		ID: id, Name: slug, Slug: slug, Host: slug + ".localhost", Actor: "test",
	}); err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *rig) requestProvision(id uuid.UUID) {
	r.t.Helper()
	if _, err := r.q.PipelineRequestProvision(r.t.Context(), queries.PipelineRequestProvisionParams{ID: id, Actor: "test"}); err != nil {
		r.t.Fatal(err)
	}
}

// release declares a tree with these files, uploads them and requests the
// deployment.
func (r *rig) release(pipeline uuid.UUID, files map[string]string) uuid.UUID {
	r.t.Helper()
	id := uuid.Must(uuid.NewV7())
	tree := site.Tree{Pipeline: pipeline, Deployment: id}
	upload(r.t, r.cloud.Store, tree, files)
	if _, err := r.q.DeploymentCreate(r.t.Context(), queries.DeploymentCreateParams{
		ID: id, TreeID: id, PipelineID: pipeline, Kind: troy.Release, Actor: "test",
	}); err != nil {
		r.t.Fatal(err)
	}
	return id
}

// waitFor polls until the pipeline has the status. It fails the test after half
// a minute, or when the row is gone unless the test waits for that.
func (r *rig) waitFor(id uuid.UUID, want troy.Status) queries.Pipeline {
	r.t.Helper()
	var p queries.Pipeline
	eventually(r.t, func() bool {
		var err error
		p, err = r.q.PipelineGet(r.t.Context(), id)
		if want == troy.Deleted {
			return err != nil
		}
		return err == nil && p.Status == want
	}, func() string { return "pipeline is " + p.Status.String() + " (" + p.Cause + "), want " + want.String() })
	return p
}

func eventually(t *testing.T, ok func() bool, what func() string) {
	t.Helper()
	if !poll.Until(t.Context(), 30*time.Second, 10*time.Millisecond, ok) {
		t.Fatal(what())
	}
}

// path lists the statuses in a pipeline's events.
func (r *rig) path(id uuid.UUID) []string {
	r.t.Helper()
	events, err := r.q.EventList(r.t.Context(), queries.EventListParams{PipelineID: id, PageLimit: 100})
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for i, e := range events {
		if e.Version != int64(i+1) {
			r.t.Errorf("event %d has version %d", i+1, e.Version)
		}
		out = append(out, string(e.ToStatus))
	}
	return out
}
