package bench

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/workers"
)

// starts is the number of measured pushes on each side.
const starts = 100

// BenchmarkPushToStart measures the time from the webhook of a push to the
// start of its build's first phase on an idle system, and for comparison the
// same with asynq's default poll interval.
func BenchmarkPushToStart(b *testing.B) {
	w := newWorld(b)
	w.pipelines(1, 2*starts)
	ours := w.starts(1, 0)
	theirs := w.starts(starts+1, time.Second)
	b.ReportMetric(quantile(ours, 0.5), "p50-ms")
	b.ReportMetric(quantile(ours, 0.99), "p99-ms")
	b.ReportMetric(quantile(theirs, 0.5), "default-p50-ms")
	b.ReportMetric(quantile(theirs, 0.99), "default-p99-ms")
	b.ReportMetric(quantile(ours, 0.5)/quantile(theirs, 0.5), "ratio")
	b.ReportMetric(0, "ns/op")
}

// starts pushes to one repository after another and returns how long each build
// took to start. It waits for the end of each before it sends the next push.
func (w *world) starts(first int, interval time.Duration) []time.Duration {
	w.b.Helper()
	instantly := &instant{started: make(chan time.Time)}
	ctx, cancel := context.WithCancel(w.b.Context())
	ended := make(chan error, 1)
	runner := workers.New(workers.Config{
		Slots: 10, BuildSlots: 2, Lease: 6 * time.Second, KeepDeployments: 10, CarryAssets: time.Hour, UploadsValid: time.Hour,
		Limits: site.DefaultLimits(), BuildTime: time.Minute, CatchUp: time.Hour, TaskCheckInterval: interval,
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
	for i := range starts {
		body := pushBody(first+i, "main")
		sent := time.Now()
		if err := w.deliver(body); err != nil {
			w.b.Fatal(err)
		}
		times = append(times, (<-instantly.started).Sub(sent))
		w.idle(first + i)
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

// instant is a builder whose builds fail as soon as they have started.
type instant struct{ started chan time.Time }

func (i *instant) Start(context.Context, builder.Spec) error {
	i.started <- time.Now()
	return nil
}

func (i *instant) Get(context.Context, site.Tree) (builder.Build, error) {
	return builder.Build{State: builder.Failed, Cause: "the benchmark needs only the start", Phases: []builder.PhaseRun{}}, nil
}

func (i *instant) Log(context.Context, site.Tree, string) (builder.LogPage, error) {
	return builder.LogPage{End: true}, nil
}
func (i *instant) Stop(context.Context, site.Tree) error { return nil }
func (i *instant) Artifact(context.Context, site.Tree) (*site.Source, error) {
	return nil, cloud.ErrNotFound
}
func (i *instant) Remove(context.Context, site.Tree) error { return nil }

// still is a forge that answers no requests: a push has everything that its
// build needs to start.
type still struct{ forge.Forge }

func (still) Archive(context.Context, forge.Repository, string) (io.ReadCloser, error) {
	return nil, forge.ErrNoCommit
}

func (still) Report(context.Context, forge.Repository, forge.Report) error { return nil }
