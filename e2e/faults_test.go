package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
)

func TestFailedToProvisionIsRetried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fault("dns.upsert before times=1 kind=permanent\n")
	w.start("web")
	w.start("work")
	id := w.event("Created", "blog", time.Now())
	p := w.waitFor(id, troy.FailedToProvision)
	if !strings.Contains(p.Cause, "make the DNS record of blog.localhost") {
		t.Errorf("cause %q", p.Cause)
	}
	out := w.must("troyd", "enqueue", "pipeline:provision", "blog")
	t.Logf("troyd enqueue: %s", out)
	w.waitFor(id, troy.ReadyForDeployment)
	if n := w.calls("cdn.create", id); n != 1 {
		t.Errorf("a distribution was requested %d times, want once: the retry resumes where it stopped", n)
	}
	if out := w.must("troyd", "enqueue", "pipeline:provision", "blog"); !strings.Contains(out, "Ready for Deployment") {
		t.Errorf("with nothing to do: %q, want the status by its name", out)
	}
}

func TestFailedToDeleteIsRetried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("web")
	w.start("work")
	born := time.Now()
	id := w.event("Created", "blog", born)
	w.waitFor(id, troy.ReadyForDeployment)
	w.fault("store.removeall before kind=permanent\n")
	w.event("Deleted", "blog", born.Add(time.Second))
	p := w.waitFor(id, troy.FailedToDelete)
	if !strings.Contains(p.Cause, "remove the objects") {
		t.Errorf("cause %q", p.Cause)
	}
	w.fault("")
	if _, err := w.api.RingTask(t.Context(), "pipeline:teardown", id); err != nil {
		t.Fatal(err)
	}
	w.waitFor(id, troy.Deleted)
	if left := w.traces(id, "blog.localhost"); len(left) > 0 {
		t.Errorf("left in the data folder: %v", left)
	}
}

func TestReleaseBeforeProvisioningEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fault("cdn.create hang\n")
	w.start("web")
	w.start("work")
	w.start("edge")
	id := w.event("Created", "blog", time.Now())
	w.waitFor(id, troy.Provisioning)
	w.must("troy", "release", w.folder(page("one")), "--pipeline", "blog", "--no-wait")
	if p, err := w.api.Pipeline(t.Context(), id); err != nil || p.Status != troy.Provisioning {
		t.Fatalf("%s, %v", p.Status, err)
	}
	w.fault("")
	w.waitFor(id, troy.Deployed)
	if status, body, _ := w.get("blog.localhost", "/"); status != 200 || !strings.Contains(body, "<title>one</title>") {
		t.Errorf("the edge answers %d %.60q", status, body)
	}
}

func TestDeletionInTheMiddleOfProvisioning(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"cdn.create", "dns.upsert"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fault(call + " hang\n")
			w.start("web")
			w.start("work")
			born := time.Now()
			id := w.event("Created", "blog", born)
			w.eventually("the worker is inside "+call, func() bool { return w.held(id, call) })
			w.event("Deleted", "blog", born.Add(time.Second))
			w.waitFor(id, troy.ScheduledForDeletion)
			w.fault("")
			w.waitFor(id, troy.Deleted)
			if left := w.traces(id, "blog.localhost"); len(left) > 0 {
				t.Errorf("left in the data folder: %v", left)
			}
		})
	}
}

// held reports whether the pipeline is Provisioning and has reached the call.
func (w *world) held(id, call string) bool {
	p, err := w.api.Pipeline(w.t.Context(), id)
	return err == nil && p.Status == troy.Provisioning && (call == "cdn.create" || w.calls("cdn.create", id) > 0)
}

// TestKilledWorker kills a worker in the middle: another finishes its work,
// within 15 seconds on an idle machine. The log has the figures.
func TestKilledWorker(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		during, script string
	}{
		{"provisioning, before its effect", "cdn.create hang\n"},
		{"provisioning, after its effect", "cdn.create killafter times=1\n"},
		{"publishing, before its effect", "store.seal hang\n"},
		{"publishing, after its effect", "cdn.flip killafter times=1\n"},
	} {
		t.Run(c.during, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.start("web")
			w.start("edge")
			one := w.start("work")
			publishing := strings.HasPrefix(c.during, "publishing")
			if !publishing {
				w.fault(c.script)
			}
			id := w.event("Created", "blog", time.Now())
			want := troy.Provisioning
			if publishing {
				w.waitFor(id, troy.ReadyForDeployment)
				w.fault(c.script)
				w.must("troy", "release", w.folder(page("one")), "--pipeline", "blog", "--no-wait")
				want = troy.Deploying
			}
			if strings.Contains(c.script, "kill") {
				<-one.gone
			} else {
				w.waitFor(id, want)
				one.kill()
			}
			w.fault("")
			killed := time.Now()
			w.start("work")
			if publishing {
				w.waitFor(id, troy.Deployed)
			} else {
				w.waitFor(id, troy.ReadyForDeployment)
			}
			t.Logf("another worker finished %.1f s after the first was killed", time.Since(killed).Seconds())
			if n := len(w.distributions()); n != 1 {
				t.Errorf("%d distributions were made, want 1: %v", n, w.distributions())
			}
			if publishing {
				if status, body, _ := w.get("blog.localhost", "/"); status != 200 || !strings.Contains(body, "<title>one</title>") {
					t.Errorf("the edge answers %d %.60q", status, body)
				}
			}
		})
	}
}

// TestStoppedWorker stops a worker in the middle: it hands its work back at
// once, not after the lease.
func TestStoppedWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "TROY_LEASE=5m")
	w.fault("cdn.create hang\n")
	w.start("web")
	one := w.start("work")
	id := w.event("Created", "blog", time.Now())
	w.waitFor(id, troy.Provisioning)
	w.start("work")
	one.signal(syscall.SIGTERM)
	<-one.gone
	w.fault("")
	w.waitFor(id, troy.ReadyForDeployment)
}

func TestFlushedRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("web")
	w.start("edge")
	// Redis knows the work, but no worker runs.
	first := w.start("work")
	w.waitFor(w.event("Created", "first", time.Now()), troy.ReadyForDeployment)
	first.signal(syscall.SIGTERM)
	<-first.gone
	var ids []string
	for i := range 30 {
		ids = append(ids, w.event("Created", fmt.Sprintf("app-%d", i), time.Now()))
	}
	w.redis.FlushAll()
	w.start("work")
	for _, id := range ids {
		w.waitFor(id, troy.ReadyForDeployment)
	}
}

func TestRedisRestartsEmpty(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("web")
	w.start("work")
	w.redis.Kill()
	id := w.event("Created", "blog", time.Now())
	w.redis.Restart()
	w.waitFor(id, troy.ReadyForDeployment)
}

// TestSitesStayUp cuts the edge off from Postgres and Redis: it has neither's
// address.
func TestSitesStayUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	web, work := w.start("web"), w.start("work")
	w.waitFor(w.event("Created", "blog", time.Now()), troy.ReadyForDeployment)
	w.must("troy", "release", w.folder(page("one")), "--pipeline", "blog")
	web.kill()
	work.kill()
	w.redis.Kill()
	w.env = slices.DeleteFunc(w.env, func(s string) bool {
		return strings.HasPrefix(s, "TROY_DATABASE_URL=") || strings.HasPrefix(s, "TROY_REDIS_URL=")
	})
	w.start("edge")
	if status, body, _ := w.get("blog.localhost", "/"); status != 200 || !strings.Contains(body, "<title>one</title>") {
		t.Errorf("the edge answers %d %.60q", status, body)
	}
}
