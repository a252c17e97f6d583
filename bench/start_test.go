package bench

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/workers"
)

// starts is the number of measured pushes on each side.
const starts = 100

// rest is the pause before a push: the system is idle when it comes. Without it,
// the work that follows a build would still run.
const rest = 200 * time.Millisecond

// BenchmarkPushToStart measures the time from the webhook of a push to the
// start of its build's first phase on an idle system, and for comparison the
// same with asynq's default poll interval.
func BenchmarkPushToStart(b *testing.B) {
	w := newWorld(b)
	w.pipelines(1, 2*starts)
	ours := w.starts(1, starts, 0)
	theirs := w.starts(starts+1, starts, time.Second)
	result{"a push's webhook to the start of its build's first phase", quantiles(ours), "asynq's default: " + quantiles(theirs), ratioOf(ours, theirs), "p50 ≤ 5 ms, p99 ≤ 25 ms"}.add(b)
	b.ReportMetric(quantile(ours, 0.5), "p50-ms")
	b.ReportMetric(quantile(ours, 0.99), "p99-ms")
	b.ReportMetric(quantile(theirs, 0.5), "default-p50-ms")
	b.ReportMetric(quantile(theirs, 0.99), "default-p99-ms")
	b.ReportMetric(quantile(ours, 0.5)/quantile(theirs, 0.5), "ratio")
	b.ReportMetric(0, "ns/op")
}

// waitingPreviews is how many previews wait for their builds.
const waitingPreviews = 50

// BenchmarkPushToStartBesidePreviews measures the same while the builds of 50
// previews of another pipeline wait, and for comparison while none waits. Both
// sides take turns.
func BenchmarkPushToStartBesidePreviews(b *testing.B) {
	const rounds = 4
	w := newWorld(b)
	w.pipelines(1, 2*starts+1)
	if err := w.db.QueryRow(b.Context(), "SELECT id FROM pipelines WHERE repository_id = $1", fmt.Sprint(2*starts+1)).Scan(&w.previewed); err != nil {
		b.Fatal(err)
	}
	var alone, beside []time.Duration
	for round := range rounds {
		first := 1 + round*2*starts/rounds
		alone = append(alone, w.starts(first, starts/rounds, 0)...)
		w.previews(round)
		beside = append(beside, w.starts(first+starts/rounds, starts/rounds, 0)...)
		var waiting int
		if err := w.db.QueryRow(b.Context(), "SELECT count(*) FROM deployments WHERE pipeline_id = $1 AND state = 'waiting'", w.previewed).Scan(&waiting); err != nil {
			b.Fatal(err)
		}
		if waiting < waitingPreviews-2 { // two are built
			b.Fatalf("%d previews wait, want %d", waiting, waitingPreviews-2)
		}
		for n := range waitingPreviews {
			if err := w.intake.DeletePreview(b.Context(), w.previewed, fmt.Sprintf("topic-%d-%d", round, n), "bench"); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(quantile(alone, 0.5), "p50-ms")
	b.ReportMetric(quantile(alone, 0.99), "p99-ms")
	b.ReportMetric(quantile(beside, 0.5), "beside-p50-ms")
	b.ReportMetric(quantile(beside, 0.99), "beside-p99-ms")
	b.ReportMetric(quantile(beside, 0.5)/quantile(alone, 0.5), "ratio-p50")
	b.ReportMetric(quantile(beside, 0.99)/quantile(alone, 0.99), "ratio-p99")
	b.ReportMetric(0, "ns/op")
}

// previews opens the previews of 50 branches, with a build of each.
func (w *world) previews(round int) {
	w.b.Helper()
	for n := range waitingPreviews {
		branch := fmt.Sprintf("topic-%d-%d", round, n)
		err := w.intake.ChangePreviews(w.b.Context(), w.previewed, func(q *queries.Queries, p queries.Pipeline) error {
			v, err := w.intake.OpenPreview(w.b.Context(), q, p, intake.PreviewSource{Kind: troy.BranchPreview, Branch: branch, Trusted: true}, "bench")
			if err != nil {
				return err
			}
			_, _, err = w.intake.BuildPreview(w.b.Context(), q, p, v, intake.PreviewCommit{Commit: fmt.Sprintf("%040x", 1000*round+n+1), Branch: branch}, "bench")
			return err
		})
		if err != nil {
			w.b.Fatal(err)
		}
	}
}

// starts pushes to one repository after another and returns how long each build
// took to start. It waits for the end of each before it sends the next push. The
// builds of previews do not end.
func (w *world) starts(first, n int, interval time.Duration) []time.Duration {
	w.b.Helper()
	instantly := &instant{started: make(chan time.Time), endless: w.previewed}
	ctx, cancel := context.WithCancel(w.b.Context())
	ended := make(chan error, 1)
	runner := workers.New(workers.Config{
		Slots: 10, BuildSlots: 2, PreviewSlots: 2, PreviewSuffix: "sites.test", Lease: 6 * time.Second, KeepDeployments: 10, CarryAssets: time.Hour, UploadsValid: time.Hour,
		Limits: site.DefaultLimits(), BuildLimits: builder.Limits{Time: time.Minute}, CatchUp: time.Hour, TaskCheckInterval: interval,
		SiteURL: func(host string) string { return "http://" + host },
	}, workers.Deps{
		DB: w.db, Redis: w.redis, Client: w.client, Bell: w.bell, Cloud: w.cloud, Builder: instantly, Intake: w.intake, Log: quiet,
		Forges: map[troy.Provider]forge.Forge{troy.GitHub: still{}},
	})
	go func() { ended <- runner.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			w.b.Error(err)
		}
	}()
	var times []time.Duration
	l := w.dial()
	for i := range n {
		request := pushRequest(first+i, "main")
		sent := time.Now()
		if err := l.deliver(request); err != nil {
			w.b.Fatal(err)
		}
		times = append(times, (<-instantly.started).Sub(sent))
		w.idle(first + i)
		<-time.After(rest)
	}
	return times
}

// idle waits until a pipeline's deployment has ended.
func (w *world) idle(repository int) {
	w.b.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		var left int
		if err := w.db.QueryRow(w.b.Context(), `SELECT count(*) FROM pipelines p JOIN deployments d ON d.pipeline_id = p.id
			WHERE p.repository_id = $1 AND d.state NOT IN ('succeeded', 'failed', 'cancelled', 'superseded')`, fmt.Sprint(repository)).Scan(&left); err != nil {
			w.b.Fatal(err)
		}
		if left == 0 {
			return
		}
	}
}

// instant is a builder whose builds fail as soon as they have started, except
// for one pipeline's.
type instant struct {
	started chan time.Time
	endless uuid.UUID
}

func (i *instant) Start(_ context.Context, spec builder.Spec) error {
	if spec.Tree.Pipeline != i.endless {
		i.started <- time.Now()
	}
	return nil
}

func (i *instant) Get(_ context.Context, t site.Tree) (builder.Build, error) {
	if t.Pipeline == i.endless {
		return builder.Build{State: builder.Running, Phases: []builder.PhaseRun{}}, nil
	}
	return builder.Build{State: builder.Failed, Cause: "the benchmark needs only the start", Phases: []builder.PhaseRun{}}, nil
}

func (i *instant) Log(context.Context, site.Tree, string) (builder.LogPage, error) {
	return builder.LogPage{End: true}, nil
}
func (i *instant) Stop(context.Context, site.Tree) error { return nil }
func (i *instant) Artifact(context.Context, site.Tree) (*site.Source, error) {
	return nil, cloud.ErrNotFound
}
func (i *instant) Remove(context.Context, site.Tree) error                          { return nil }
func (i *instant) RemoveCaches(context.Context, uuid.UUID, string, time.Time) error { return nil }
func (i *instant) Caches(context.Context) (builder.Caches, error) {
	return builder.Caches{}, nil
}

// still is a forge that answers no requests: a push has everything that its
// build needs to start.
type still struct{ forge.Forge }

func (still) Archive(context.Context, forge.Repository, string) (io.ReadCloser, error) {
	return nil, forge.ErrNoCommit
}

func (still) Report(context.Context, forge.Repository, forge.Report) error { return nil }
