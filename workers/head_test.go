package workers

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// building makes a ready pipeline that builds its own repository.
func (r *rig) building(name string) queries.Pipeline {
	r.t.Helper()
	p, err := r.in.CreatePipeline(r.t.Context(), intake.NewPipeline{
		Name: name, Provision: true, Repository: &intake.Repository{Provider: "github", FullName: "team/" + name, Branch: "main"},
	}, "test")
	if err != nil {
		r.t.Fatal(err)
	}
	return r.waitFor(p.ID, troy.ReadyForDeployment)
}

// caughtUp waits until the branch of a new pipeline was read. If it has a commit
// then, the pipeline is deployed.
func (r *rig) caughtUp(pipeline uuid.UUID) {
	r.t.Helper()
	eventually(r.t, func() bool {
		var later bool
		err := r.db.QueryRow(r.t.Context(), "SELECT due_at > now() AND lease_until IS NULL FROM work WHERE kind = 'forge:catch-up' AND subject_id = $1", pipeline).Scan(&later)
		return err == nil && later
	}, func() string { return "the branch was not read" })
}

// pushed delivers the webhook of a push to a pipeline's branch.
func (r *rig) pushed(name, before, after string) intake.Outcome {
	r.t.Helper()
	return r.pushedPaths(name, before, after)
}

// pushedPaths sets the files that the push changed.
func (r *rig) pushedPaths(name, before, after string, paths ...string) intake.Outcome {
	r.t.Helper()
	out, err := r.in.ForgeEvent(r.t.Context(), intake.Delivery{Provider: troy.GitHub, ID: uuid.NewString(), Type: "push"}, troy.PushEvent{
		Repository: troy.ForgeRepository{Provider: troy.GitHub, ID: "team/" + name, FullName: "team/" + name, DefaultBranch: "main"},
		Pusher:     "ada", Complete: true,
		Pushes: []troy.Push{{Kind: troy.Branch, Name: "main", Before: before, After: after, Message: "a change", Author: "ada", Paths: paths, PathsComplete: true}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// head moves the branch at the forge.
func (r *rig) head(name, commit string) {
	r.forge.set(func() { r.forge.heads["team/"+name] = commit })
}

// restsWith waits until a pipeline is Deployed and a commit is live.
func (r *rig) restsWith(id uuid.UUID, commit string) {
	r.t.Helper()
	var p queries.Pipeline
	eventually(r.t, func() bool {
		var err error
		if p, err = r.q.PipelineGet(r.t.Context(), id); err != nil || p.Status != troy.Deployed || p.LiveDeploymentID == nil {
			return false
		}
		d, err := r.q.DeploymentGet(r.t.Context(), *p.LiveDeploymentID)
		return err == nil && deref(d.CommitSha) == commit
	}, func() string { return fmt.Sprintf("the pipeline is %s, and the commit is not live", p.Status) })
}

// runs is the number of times that a test repeats a race: a few, or
// TROY_TEST_RUNS.
func runs(t *testing.T) int {
	t.Helper()
	text := os.Getenv("TROY_TEST_RUNS")
	if text == "" {
		return 3
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestBranchMovesDuringBuild pushes a commit while its parent is being built.
// Whether its webhook arrives late or before the parent's, it is live in the
// end.
func TestBranchMovesDuringBuild(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		push func(r *rig, id uuid.UUID, name, older, newer string)
	}{
		{"the newer webhook is late", func(r *rig, id uuid.UUID, name, older, newer string) {
			r.head(name, older)
			r.pushed(name, "", older)
			<-r.builder.started
			r.head(name, newer)
			r.builder.release(id)
		}},
		{"the newer webhook comes first", func(r *rig, id uuid.UUID, name, older, newer string) {
			r.head(name, newer)
			r.pushed(name, older, newer)
			<-r.builder.started
			r.pushed(name, commitID("long ago"), older)
			r.builder.release(id)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t).withBuilds()
			r.start()
			var slowest time.Duration
			for i := range runs(t) {
				name := fmt.Sprintf("blog-%d", i)
				older, newer := commitID(name+" older"), commitID(name+" newer")
				p := r.building(name)
				r.builder.hold(p.ID)
				c.push(r, p.ID, name, older, newer)
				released := time.Now()
				r.restsWith(p.ID, newer)
				slowest = max(slowest, time.Since(released))
				r.pushed(name, older, newer) // at last, or again
				r.restsWith(p.ID, newer)
				for len(r.builder.started) > 0 {
					<-r.builder.started
				}
			}
			t.Logf("%d of %d times the newer commit was live, after at most %s", runs(t), runs(t), slowest.Round(time.Millisecond))
		})
	}
}
