package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/internal/awsdouble"
)

// buildWays are the faults of a build's calls: those of all calls, and a
// concurrent cancellation.
var buildWays = append([]way{
	{name: "cancelled", cancel: true},
	{name: "cancelled, worker killed", fault: awsdouble.LostAfter, cancel: true, kill: true},
}, ways...)

// buildLab is a lab with a pipeline that is built on CodeBuild.
type buildLab struct {
	*lab
	github   *github
	pipeline string
}

func newBuildLab(t *testing.T) *buildLab {
	t.Helper()
	l := &buildLab{lab: &lab{}}
	var id string
	l.aws, l.world, l.github, id = codeBuildWorld(t, awsdouble.Config{Settle: 60 * time.Millisecond, Fault: func(c awsdouble.Call) awsdouble.Fault {
		return l.meets(c)
	}}, true, "TROY_LEASE=4s", "TROY_LOG_LEVEL=info")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pipeline, l.work = id, l.worker
	return l
}

// meets cancels the deployment at the run's call, if that is its fault, and
// then continues as lab.fault does.
func (l *buildLab) meets(c awsdouble.Call) awsdouble.Fault {
	l.mu.Lock()
	cancel := l.armed != nil && l.armed.cancel && l.met == "" && c.Number-l.base == l.armed.k
	l.mu.Unlock()
	if cancel {
		for d, err := range l.api.Deployments(l.t.Context(), l.pipeline) {
			if err == nil && !d.State.Ended() {
				// It may have ended already.
				_, _ = l.api.CancelDeployment(l.t.Context(), l.pipeline, d.ID)
			}
		}
	}
	return l.fault(c)
}

// life pushes a commit, waits for its end, and returns what is wrong.
func (l *buildLab) life(r *run) (calls int, wrong []string) {
	l.number++
	version := fmt.Sprintf("version %d", l.number)
	note := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	builds := len(l.aws.Builds())
	l.arm(r)
	files := map[string]string{"troy.toml": "[build]\ncommand = \"mkdir dist; echo '" + version + "' > dist/index.html\"\noutput = \"dist\"\n"}
	if l.number == 1 {
		files["package.json"], files["package-lock.json"], files["build.js"] = "", "", "" // npm takes its time
	}
	commit := l.github.pushed(l.world, version, files)
	var d client.Deployment
	if !l.eventually(func() bool {
		for found, err := range l.api.Deployments(l.t.Context(), l.pipeline) {
			if err == nil && found.Commit == commit {
				d = found
				return d.State.Ended()
			}
		}
		return false
	}) {
		note("the deployment is %s", d.State)
	}
	cancelled := r != nil && r.cancel && d.State == troy.Cancelled
	if d.State != troy.Succeeded && !cancelled {
		note("the deployment is %s: %s", d.State, d.Cause)
	}
	if !l.reaches(l.pipeline, troy.Deployed) {
		note("the pipeline is not Deployed")
	}
	if _, body := l.aws.get(l.t, "blog.sites.test", "/"); !cancelled && strings.TrimSpace(body) != version {
		note("readers get %.40q", body)
	}
	if !l.eventually(func() bool { return l.count("SELECT count(*) FROM work WHERE subject_id = $1", d.ID) == 0 }) {
		note("work of the deployment is left")
	}
	for _, key := range l.aws.s3.Keys(l.t, workBucket) {
		if strings.Contains(key, d.ID.String()) && !strings.HasPrefix(key, "manifests/") {
			note("left: %s", key)
		}
	}
	started := l.aws.Builds()
	started = started[:len(started)-builds]
	if len(started) != 1 && !cancelled || len(started) > 1 {
		note("%d builds", len(started))
	}
	for _, b := range started {
		if strings.HasSuffix(b, "IN_PROGRESS") {
			note("the build %s still runs", b)
		}
	}
	l.revive()
	return len(l.aws.Calls()) - l.base, wrong
}

// count counts rows in the database.
func (l *buildLab) count(query string, args ...any) (n int) {
	l.t.Helper()
	db, err := pgx.Connect(l.t.Context(), l.database)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = db.Close(l.t.Context()) }()
	if err := db.QueryRow(l.t.Context(), query, args...).Scan(&n); err != nil {
		l.t.Fatal(err)
	}
	return n
}

// TestBuildFaultEnumeration fails each outside call of a build on CodeBuild in
// each way, one per run, as TestFaultEnumeration does with a pipeline's life,
// and cancels the deployment at each.
func TestBuildFaultEnumeration(t *testing.T) {
	t.Parallel()
	enumerate(t, "build fault enumeration", buildWays, func() experiment { return newBuildLab(t) })
}
