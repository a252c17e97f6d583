package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/poll"
)

// way is how a call fails.
type way struct {
	name  string
	fault awsdouble.Fault
	kill  bool // the worker is killed when the call arrives
	// cancel cancels the deployment when the call arrives.
	cancel bool
}

var ways = []way{
	{name: "throttled", fault: awsdouble.Throttled},
	{name: "5xx", fault: awsdouble.Failed},
	{name: "lost before its effect", fault: awsdouble.LostBefore},
	{name: "lost after its effect", fault: awsdouble.LostAfter},
	{name: "worker killed", fault: awsdouble.LostAfter, kill: true},
}

// enumerated is the number of concurrent worlds.
const enumerated = 3

// run is one life of a pipeline in which one call fails.
type run struct {
	k int
	way
}

// lab is a world whose AWS fails one call of each run.
type lab struct {
	*world
	aws    *amazon
	number int // of the run

	mu     sync.Mutex
	armed  *run
	base   int // number of the last call before the run
	met    string
	killed bool
	work   *process
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{}
	l.aws = newAmazon(t, awsdouble.Config{Settle: 60 * time.Millisecond, Fault: l.fault})
	l.world = newWorld(t, append(l.aws.settings(), "TROY_PROPAGATION_DELAY=60ms", "TROY_LEASE=4s", "TROY_LOG_LEVEL=info")...)
	l.start("web")
	l.work = l.start("work")
	return l
}

// fault fails the run's call, however often the SDK retries it.
func (l *lab) fault(c awsdouble.Call) awsdouble.Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.armed == nil || c.Number-l.base != l.armed.k {
		return awsdouble.None
	}
	l.met = c.String()
	if l.armed.kill && !l.killed {
		l.killed = true
		l.work.kill()
	}
	return l.armed.fault
}

// arm begins a run; nil means a run without faults.
func (l *lab) arm(r *run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed, l.base, l.met, l.killed = r, len(l.aws.Calls()), "", false
}

// revive starts a worker in place of a killed one.
func (l *lab) revive() {
	l.mu.Lock()
	dead := l.killed
	if dead {
		l.armed = nil // one death per run
	}
	l.killed = false
	l.mu.Unlock()
	if dead {
		l.work = l.start("work")
	}
}

// life takes a pipeline from its app's event to its deletion, and returns what
// is wrong at each step.
func (l *lab) life(r *run) (calls int, wrong []string) {
	l.number++
	app := fmt.Sprintf("app-%d", l.number)
	host := app + ".sites.test"
	l.arm(r)
	note := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	born := time.Now()
	id := l.event("Created", app, born)
	if !l.reaches(id, troy.ReadyForDeployment) {
		note("it is not Ready for Deployment")
	}
	one := 0
	for _, d := range l.aws.Distributions() {
		if d.Reference == "troy-"+id {
			one++
		}
	}
	records := slices.DeleteFunc(l.aws.Records(), func(r string) bool { return !strings.Contains(r, " "+host+" ") })
	if one != 1 || len(records) != 2 {
		note("%d distributions and the records %q", one, records)
	}
	var live []uuid.UUID
	for _, version := range []string{"one", "two"} {
		l.release(id, app, version, note)
		if p, err := l.api.Pipeline(l.t.Context(), id); err == nil && p.LiveDeploymentID != nil {
			live = append(live, *p.LiveDeploymentID)
		}
		if _, body := l.aws.get(l.t, host, "/"); body != version {
			note("readers get %.40q after the release of %s", body, version)
		}
	}
	if len(live) == 0 {
		return 0, append(wrong, "no deployment was live")
	}
	// Name the first deployment: a release may have been sent twice.
	l.retry(note, "the rollback", func() error {
		_, err := l.api.Rollback(l.t.Context(), id, live[0])
		return err
	})
	if !l.reaches(id, troy.Deployed) {
		note("it is not Deployed after the rollback")
	}
	if _, body := l.aws.get(l.t, host, "/"); body != "one" {
		note("readers get %.40q after the rollback", body)
	}
	l.event("Deleted", app, time.Now())
	if !l.reaches(id, troy.Deleted) {
		note("it is not Deleted")
	}
	for _, left := range l.aws.left(l.t) {
		note("left: %s", left)
	}
	l.revive()
	return len(l.aws.Calls()) - l.base, wrong
}

// release releases a site of one page.
func (l *lab) release(id, app, version string, note func(string, ...any)) {
	dir := l.folder(map[string]string{"index.html": version, "about.html": version, "404.html": "none of " + version, "same.css": "body{}"})
	for try := 0; ; try++ {
		l.revive()
		_, diag, status := l.run("troy", "release", dir, "--pipeline", app)
		if status == 0 {
			break
		}
		if try == 3 {
			note("the release of %s: exit status %d: %s", version, status, diag)
			return
		}
	}
	if !l.reaches(id, troy.Deployed) {
		note("it is not Deployed after the release of %s", version)
	}
}

// retry repeats f until it succeeds, as a client does after a 5xx.
func (l *lab) retry(note func(string, ...any), what string, f func() error) {
	var err error
	for range 4 {
		if err = f(); err == nil {
			return
		}
	}
	note("%s: %v", what, err)
}

// reaches waits for a status.
func (l *lab) reaches(id string, want troy.Status) bool {
	var last string
	reached := l.eventually(func() bool {
		p, err := l.api.Pipeline(l.t.Context(), id)
		last = fmt.Sprintf("%s: %s", p.Status, p.Cause)
		return err == nil && p.Status == want || want == troy.Deleted && troy.KindOf(err) == troy.NotFound
	})
	if !reached {
		l.t.Logf("%s is %s", id, last)
	}
	return reached
}

// eventually waits for a while, reviving the worker, and reports whether ok
// came true.
func (l *lab) eventually(ok func() bool) bool {
	return poll.Until(l.t.Context(), 45*time.Second, 20*time.Millisecond, func() bool {
		l.revive()
		return ok()
	})
}

// experiment runs lives in which one call fails.
type experiment interface {
	// life runs one, and returns its calls and what is wrong.
	life(r *run) (calls int, wrong []string)
	// metCall is the call that met the run's fault, or empty.
	metCall() string
}

func (l *lab) metCall() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.met
}

// TestFaultEnumeration fails each outside call of a pipeline's life in each
// way, one per run. Every run has to end as if nothing had happened.
// TROY_ENUMERATE=all runs them all, which takes many minutes; the default is an
// even sample.
func TestFaultEnumeration(t *testing.T) {
	t.Parallel()
	enumerate(t, "fault enumeration", ways, func() experiment { return newLab(t) })
}

func enumerate(t *testing.T, name string, ways []way, begin func() experiment) {
	first := begin()
	calls, wrong := first.life(nil)
	if len(wrong) > 0 {
		t.Fatalf("without a fault: %s", strings.Join(wrong, "; "))
	}
	var all []run
	for k := range calls {
		for _, w := range ways {
			all = append(all, run{k: k + 1, way: w})
		}
	}
	chosen := all
	if os.Getenv("TROY_ENUMERATE") != "all" {
		chosen = nil
		for i := 0; i < len(all); i += 97 { // not a multiple of the ways, so that every way occurs
			chosen = append(chosen, all[i])
		}
	}
	runs := make(chan run, len(chosen))
	for _, r := range chosen {
		runs <- r
	}
	close(runs)
	var mu sync.Mutex
	bad, missed := 0, 0
	var group sync.WaitGroup
	labs := []experiment{first}
	for len(labs) < enumerated {
		labs = append(labs, begin())
	}
	for _, l := range labs {
		group.Go(func() {
			for r := range runs {
				_, wrong := l.life(&r)
				met := l.metCall()
				mu.Lock()
				if met == "" {
					missed++
				}
				if len(wrong) > 0 {
					bad++
					t.Errorf("call %d (%s) %s: %s", r.k, met, r.name, strings.Join(wrong, "; "))
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	t.Logf("a life makes %d outside calls; %d of %d runs met their call", calls, len(chosen)-missed, len(chosen))
	fmt.Printf("%s: %d runs, %d wrong ends\n", name, len(chosen), bad)
}
