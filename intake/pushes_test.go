package intake_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// bound makes a pipeline that builds the repository with this number.
func (w *world) bound(repository int) queries.Pipeline {
	w.t.Helper()
	p, err := w.in.CreatePipeline(w.ctx(), intake.NewPipeline{
		Name:       fmt.Sprintf("Site %d", repository),
		Repository: &intake.Repository{Provider: "github", FullName: fmt.Sprintf("team/r%d", repository), Branch: "main"},
	}, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(p, troy.ReadyForDeployment)
	return p
}

func pushTo(repository, n int, message string) (intake.Delivery, troy.PushEvent) {
	commit := sha256.Sum256(fmt.Appendf(nil, "%d %d", repository, n))
	body := sha256.Sum256(fmt.Appendf(nil, "body %d %d %s", repository, n, message))
	return intake.Delivery{Provider: troy.GitHub, ID: uuid.NewString(), Type: "push", BodySHA256: body[:]}, troy.PushEvent{
		Repository: troy.ForgeRepository{Provider: troy.GitHub, ID: fmt.Sprint(repository), FullName: fmt.Sprintf("team/r%d", repository), DefaultBranch: "main"},
		Pusher:     "mona", Complete: true,
		Pushes: []troy.Push{{Kind: troy.Branch, Name: "main", After: fmt.Sprintf("%x", commit[:20]), Message: message, Author: "Mona", PathsComplete: true}},
	}
}

// A flood is committed in batches: each push has its own answer, the pushes of
// one repository keep their pipeline consistent, and a push that Postgres
// refuses does not block the others.
func TestPushesInAFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const repositories, each = 12, 10
	for r := range repositories {
		w.bound(r)
	}
	var mu sync.Mutex
	results := map[intake.Result]int{}
	refused := 0
	var group sync.WaitGroup
	for r := range repositories {
		for n := range each {
			group.Go(func() {
				message := "change"
				if r == 3 && n == 5 {
					message = "not valid in Postgres: \x00"
				}
				d, e := pushTo(r, n, message)
				for range 2 { // repeat every other one
					out, err := w.in.ForgeEvent(w.ctx(), d, e)
					mu.Lock()
					if err != nil {
						refused++
					} else {
						results[out.Result]++
					}
					mu.Unlock()
					if n%2 == 1 {
						break
					}
				}
			})
		}
	}
	group.Wait()
	if refused != 1 || results[intake.Accepted] != repositories*each-1 || results[intake.Duplicate] != repositories*each/2 {
		t.Errorf("%d refused, answers %v; want 1, %d accepted and %d duplicates", refused, results, repositories*each-1, repositories*each/2)
	}
	if n := w.count("SELECT count(*) FROM deployments"); n != repositories*each-1 {
		t.Errorf("%d deployments, want one for each push", n)
	}
	if n := w.count("SELECT count(DISTINCT (pipeline_id, number)) FROM deployments"); n != repositories*each-1 {
		t.Errorf("only %d have a distinct number", n)
	}
	if n := w.count("SELECT count(*) FROM deployments WHERE state = 'waiting'"); n != repositories {
		t.Errorf("%d wait, want the newest of each pipeline", n)
	}
	if n := w.count("SELECT count(*) FROM pipelines p JOIN deployments d ON d.pipeline_id = p.id AND d.number = p.last_number WHERE d.commit_sha = p.head_commit AND d.state = 'waiting'"); n != repositories {
		t.Errorf("the head of %d pipelines is the waiting commit, want all", n)
	}
	if n := w.count("SELECT count(*) FROM deliveries WHERE outcome = ''"); n != 0 {
		t.Errorf("%d deliveries have no outcome", n)
	}
}

// A commit in several concurrent deliveries is deployed once: the second sees
// the result of the first.
func TestACommitToldOfAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bound(1)
	var group sync.WaitGroup
	for n := range 60 {
		group.Go(func() {
			d, e := pushTo(1, n, "change")
			e.Pushes[0].After = strings.Repeat("a", 40)
			if _, err := w.in.ForgeEvent(w.ctx(), d, e); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := w.count("SELECT count(*) FROM deployments"); n != 1 {
		t.Errorf("%d deployments of one commit", n)
	}
}

// A sender that leaves before its push is accepted blocks no other.
func TestPushAfterItsContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bound(1)
	ctx, cancel := context.WithCancel(w.ctx())
	cancel()
	d, e := pushTo(1, 1, "change")
	if _, err := w.in.ForgeEvent(ctx, d, e); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	d, e = pushTo(1, 2, "change")
	if out, err := w.in.ForgeEvent(w.ctx(), d, e); err != nil || out.Result != intake.Accepted {
		t.Errorf("%+v, %v", out, err)
	}
}

// A pipeline with a thousand pushes has one waiting build, so that another's
// first build is right behind it.
func TestManyPushesDelayNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bound(1)
	w.bound(2)
	var group sync.WaitGroup
	for worker := range 20 {
		group.Go(func() {
			for n := range 50 {
				d, e := pushTo(1, 50*worker+n, "change")
				if _, err := w.in.ForgeEvent(w.ctx(), d, e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	d, e := pushTo(2, 1, "the first")
	out, err := w.in.ForgeEvent(w.ctx(), d, e)
	if err != nil || out.PipelineID == nil {
		t.Fatalf("%+v, %v", out, err)
	}
	if n := w.count("SELECT count(*) FROM deployments WHERE state = 'waiting'"); n != 2 {
		t.Errorf("%d deployments wait, want one of each pipeline", n)
	}
	if n := w.count("SELECT count(*) FROM work WHERE kind = 'deployment:build'"); n > 2 {
		t.Errorf("%d builds wait, want at most one of each pipeline", n)
	}
	var first uuid.UUID
	if err := w.db.QueryRow(w.ctx(), "SELECT id FROM deployments WHERE pipeline_id = $1", *out.PipelineID).Scan(&first); err != nil {
		t.Fatal(err)
	}
	kinds, queues := tasks.Queues()
	places, err := w.q.WorkPositions(w.ctx(), queries.WorkPositionsParams{PipelineIds: []uuid.UUID{first}, Kinds: kinds, Queues: queues})
	if err != nil || len(places) == 0 || places[0].Position > 2 {
		t.Errorf("the other's first build is at %+v, %v; want it second at most", places, err)
	}
}

// The read of a branch that is older than the webhooks accepted since
// supersedes nothing.
func TestStaleLook(t *testing.T) {
	t.Parallel()
	for _, known := range []string{"", "a"} {
		t.Run("known "+known, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.bound(1)
			base := ""
			if known != "" {
				base = commit(known)
				w.push(1, troy.Push{After: base})
			}
			w.push(1, troy.Push{Before: commit("a"), After: commit("b")})
			w.push(1, troy.Push{Before: commit("b"), After: commit("c")})
			w.exec("DELETE FROM work WHERE kind = 'forge:catch-up'")
			if _, err := w.in.HeadFound(w.ctx(), p.ID, intake.Head{Branch: "main", Commit: commit("b"), Base: base}); err != nil {
				t.Fatal(err)
			}
			if head := w.get(p.ID).HeadCommit; head == nil || *head != commit("c") {
				t.Errorf("the newest commit is %v, want c", head)
			}
			if n := w.count("SELECT count(*) FROM deployments WHERE state = 'waiting' AND commit_sha = $1", commit("c")); n != 1 {
				t.Errorf("%d deployments of c wait, want 1", n)
			}
			if n := w.count("SELECT count(*) FROM work WHERE kind = 'forge:catch-up' AND subject_id = $1", p.ID); n != 1 {
				t.Errorf("the branch is not read again")
			}
		})
	}
}
