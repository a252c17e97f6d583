package workers

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/devstack"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	schema "github.com/troy-iaas/troy/sql" //nolint:depguard // the Postgres that this test crashes is its own
	"github.com/troy-iaas/troy/tasks"
)

// durably gives the rig a Postgres of its own that waits for the disk.
func (r *rig) durably() *rig {
	r.t.Helper()
	root, err := os.MkdirTemp("/tmp", "troy-crash-")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil { // for the server's account
		r.t.Fatal(err)
	}
	config := devstack.PostgresConfig{Dir: filepath.Join(root, "p"), Root: filepath.Join(root, "p"), Password: rand.Text(), Logger: slog.New(slog.DiscardHandler)}
	if err := os.Mkdir(config.Dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	server, err := devstack.StartPostgres(r.t.Context(), config)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), time.Minute)
		defer cancel()
		_ = server.Stop(ctx)
	})
	if _, err := schema.Up(r.t.Context(), server.URL); err != nil {
		r.t.Fatal(err)
	}
	if r.db, err = pgxpool.New(r.t.Context(), server.URL); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.db.Close)
	r.q = queries.New(r.db)
	return r
}

// crashes stops the process that writes what commits did not wait for, and
// returns a function that crashes Postgres: all its processes end at once, as in
// an immediate stop, and it recovers from what is on the disk.
func (r *rig) crashes() (crash func()) {
	r.t.Helper()
	writer := r.count("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
	if err := syscall.Kill(writer, syscall.SIGSTOP); err != nil {
		r.t.Fatal(err)
	}
	kill := func() { _ = syscall.Kill(writer, syscall.SIGKILL) }
	r.t.Cleanup(kill)
	return func() {
		kill()
		eventually(r.t, func() bool {
			r.db.Reset()
			var other bool
			err := r.db.QueryRow(r.t.Context(), "SELECT pid <> $1 FROM pg_stat_activity WHERE backend_type = 'walwriter'", writer).Scan(&other)
			return err == nil && other
		}, func() string { return "Postgres did not come back" })
	}
}

// TestCrashedClaims has Postgres crash and lose a worker's claim, and what the
// worker committed since then without waiting for the disk. Another worker
// does the work; the first one, which goes on, changes nothing.
func TestCrashedClaims(t *testing.T) {
	t.Parallel()
	// Between the crash and the first worker's next step, the other one claims the
	// work and does all of it, or only its first step.
	type step func(w *Workers, ctx context.Context, c *claim) error
	claimed := func(*Workers, context.Context, *claim) error { return nil }
	buildStarted := func(w *Workers, ctx context.Context, c *claim) error {
		_, err := w.startBuild(ctx, c)
		return err
	}
	deployStarted := func(w *Workers, ctx context.Context, c *claim) error {
		_, _, _, err := w.deploymentOf(ctx, c)
		return err
	}
	for name, c := range map[string]struct {
		kind        string
		before      step // of the first worker, lost
		other, rest step // of the other worker, before and after the first one goes on
	}{
		"a build's claim":               {tasks.TypeBuild, claimed, (*Workers).build, claimed},
		"a build's start":               {tasks.TypeBuild, buildStarted, (*Workers).build, claimed},
		"a build's, and both go on":     {tasks.TypeBuild, buildStarted, buildStarted, (*Workers).build},
		"a rollback's claim":            {tasks.TypeDeploy, claimed, (*Workers).deploy, claimed},
		"a rollback's, both go on":      {tasks.TypeDeploy, claimed, deployStarted, (*Workers).deploy},
		"a rollback's, the other later": {tasks.TypeDeploy, claimed, claimed, (*Workers).deploy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t).withBuilds().durably()
			r.lease = time.Minute // no heartbeat ends a claim before the statements notice
			var flips atomic.Int64
			r.cloud.CDN = &hookedCDN{CDN: r.cloud.CDN, flip: func(_ context.Context, _ site.Pointer, real func() error) error {
				flips.Add(1)
				return real()
			}}
			_, stop := r.start()
			p := r.building("blog")
			r.caughtUp(p.ID)
			task := tasks.Task{Kind: c.kind, Subject: p.ID}
			if c.kind == tasks.TypeDeploy {
				r.release(p.ID, map[string]string{"index.html": "one"})
				first := *r.waitFor(p.ID, troy.Deployed).LiveDeploymentID
				second := r.release(p.ID, map[string]string{"index.html": "two"})
				eventually(t, func() bool { return *r.waitFor(p.ID, troy.Deployed).LiveDeploymentID == second }, func() string { return "the second release did not go live" })
				stop()
				if _, err := r.in.Rollback(t.Context(), p.ID, first, "test"); err != nil {
					t.Fatal(err)
				}
			} else {
				stop()
				r.head("blog", commitID("one"))
				r.pushed("blog", "", commitID("one"))
				if err := r.db.QueryRow(t.Context(), "SELECT subject_id FROM work WHERE kind = $1", c.kind).Scan(&task.Subject); err != nil {
					t.Fatal(err)
				}
			}
			flips.Store(0)
			events := len(r.path(p.ID))
			held := func() int {
				return r.count("SELECT count(*) FROM work WHERE kind = $1 AND subject_id = $2 AND lease_until IS NOT NULL", task.Kind, task.Subject)
			}
			done := func() string {
				starts := r.count("SELECT coalesce(sum(attempt), 0) FROM builds")
				return fmt.Sprintf("%v, %d flips, %d starts in the builder and %d in rows", r.path(p.ID)[events:], flips.Load(), len(r.builder.started), starts)
			}
			crash := r.crashes()
			one, two := r.workers(), r.workers()
			run := func(w *Workers, steps ...func(context.Context, *claim) error) {
				err := w.work(t.Context(), handler{run: func(ctx context.Context, c *claim) error {
					for _, s := range steps {
						if err := s(ctx, c); err != nil {
							return err
						}
					}
					return nil
				}, giveUp: func(context.Context, *claim, string) error { return errMoved }}, task)
				if err != nil {
					t.Error(err)
				}
			}
			of := func(w *Workers, s step) func(context.Context, *claim) error {
				return func(ctx context.Context, c *claim) error { return s(w, ctx, c) }
			}
			goOn := map[string]step{tasks.TypeBuild: (*Workers).build, tasks.TypeDeploy: (*Workers).deploy}[c.kind]
			run(one, of(one, c.before), func(ctx context.Context, lost *claim) error {
				if held() != 1 {
					t.Error("the work is not claimed before the crash")
				}
				crash()
				if held() != 0 || r.count("SELECT count(*) FROM work WHERE kind = $1 AND subject_id = $2", task.Kind, task.Subject) != 1 {
					t.Fatal("the crash lost no claim, or more than a claim")
				}
				run(two, of(two, c.other), func(context.Context, *claim) error {
					before := done()
					if err := goOn(one, ctx, lost); err == nil {
						t.Error("the worker whose claim was lost finished the work")
					}
					if got := done(); got != before {
						t.Errorf("the worker whose claim was lost went on from %s to %s", before, got)
					}
					return nil
				}, of(two, c.rest))
				return errMoved
			})
			want := "[deploying deployed], 1 flips, 0 starts in the builder and 0 in rows"
			if c.kind == tasks.TypeBuild {
				want = "[deploying], 0 flips, 1 starts in the builder and 1 in rows"
				if n := r.count("SELECT count(*) FROM work WHERE kind = $1 AND subject_id = $2", tasks.TypeDeploy, p.ID); n != 1 {
					t.Errorf("the deployment is requested %d times, want once", n)
				}
			}
			if got := done(); got != want {
				t.Errorf("done was %s, want %s", got, want)
			}
		})
	}
}
