package intake_test

import (
	"context"
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

func TestCreatePipelineFindsAFreeSlug(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := []string{"blog", "blog-2", "blog-3"}
	for _, slug := range want {
		if p := w.create("Blog"); p.Slug != slug || p.Status != troy.PreProvisioned {
			t.Errorf("slug %q, status %s, want %q", p.Slug, p.Status, slug)
		}
	}
	// A taken host counts too, even without its slug.
	other := w.create("Other")
	w.exec("INSERT INTO domains (host, pipeline_id, kind) VALUES ('shop.sites.test', $1, 'site')", other.ID)
	if p := w.create("Shop"); p.Slug != "shop-2" {
		t.Errorf("slug %q, want shop-2", p.Slug)
	}
	for range 30 {
		w.create("Blog")
	}
	_, err := w.in.CreatePipeline(w.ctx(), intake.NewPipeline{Name: "x", Slug: "blog"}, "test")
	wantKind(t, err, troy.Conflict, "taken")
}

func TestCreatePipelineRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.in.CreatePipeline(w.ctx(), intake.NewPipeline{Name: "Blog", AppID: "app-1"}, "test"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		p     intake.NewPipeline
		kind  troy.ErrorKind
		field string
	}{
		{"no name", intake.NewPipeline{}, troy.Invalid, "name"},
		{"a long name", intake.NewPipeline{Name: strings.Repeat("x", 201)}, troy.Invalid, "name"},
		{"a bad slug", intake.NewPipeline{Name: "x", Slug: "A b"}, troy.Invalid, "slug"},
		{"a reserved slug", intake.NewPipeline{Name: "x", Slug: "www"}, troy.Invalid, "slug"},
		{"a bad app", intake.NewPipeline{Name: "x", AppID: "a\x00"}, troy.Invalid, "app_id"},
		{"an app with a pipeline", intake.NewPipeline{Name: "x", AppID: "app-1"}, troy.Conflict, "app_id"},
		{"a bad repository", intake.NewPipeline{Name: "x", Repository: &intake.Repository{Provider: "svn"}}, troy.Invalid, "repository.provider"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.in.CreatePipeline(w.ctx(), c.p, "test")
			e, ok := errors.AsType[*troy.Error](err)
			if !ok || e.Kind != c.kind || e.Field != c.field {
				t.Errorf("error %v, want %s at %s", err, c.kind, c.field)
			}
		})
	}
}

// Tries every action in every status: it succeeds, or the error names the
// status and the allowed statuses.
func TestActionsByStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	actions := map[string]struct {
		do      func(queries.Pipeline) error
		allowed func(troy.Status) bool
	}{
		"provision": {
			func(p queries.Pipeline) error {
				_, err := w.in.RequestProvision(w.ctx(), p.ID, "test")
				return err
			},
			func(s troy.Status) bool { return s == troy.PreProvisioned || s == troy.FailedToProvision },
		},
		"delete": {
			func(p queries.Pipeline) error {
				_, err := w.in.ScheduleDeletion(w.ctx(), p.ID, "test")
				return err
			},
			func(s troy.Status) bool { return s != troy.ScheduledForDeletion && s != troy.Deleting },
		},
		"release": {
			func(p queries.Pipeline) error {
				_, err := w.in.Finalize(w.ctx(), w.release(p))
				return err
			},
			func(s troy.Status) bool { return !s.InDeletion() },
		},
		"rollback": {
			func(p queries.Pipeline) error {
				d := w.ended(p, troy.Succeeded, true)
				w.ended(p, troy.Succeeded, true)
				_, err := w.in.Rollback(w.ctx(), p.ID, d.ID, "test")
				return err
			},
			func(s troy.Status) bool { return !s.InDeletion() },
		},
		"cancel": {
			func(p queries.Pipeline) error {
				d := w.ended(p, troy.Waiting, false)
				_, err := w.in.CancelDeployment(w.ctx(), p.ID, d.ID, "test")
				return err
			},
			func(s troy.Status) bool { return !s.InDeletion() },
		},
	}
	for name, a := range actions {
		for _, s := range troy.RowStatuses() {
			p := w.create(name)
			w.put(p, s)
			err := a.do(p)
			if a.allowed(s) {
				if err != nil {
					t.Errorf("%s in %s: %v", name, s, err)
				}
				continue
			}
			next := "only "
			if s.InDeletion() && s != troy.FailedToDelete {
				next = "wait for the end of its deletion"
			}
			if troy.KindOf(err) != troy.Conflict || !contains(err.Error(), s.String()) || !contains(err.Error(), next) {
				t.Errorf("%s in %s: %v, want a conflict that names the status and the allowed statuses", name, s, err)
			}
			if now := w.get(p.ID); now.Status != s {
				t.Errorf("%s in %s: refused, but the status is %s", name, s, now.Status)
			}
		}
	}
	_, err := w.in.ScheduleDeletion(w.ctx(), uuid.New(), "test")
	wantKind(t, err, troy.NotFound, "pipeline not found")
}

// release starts a release as web does.
func (w *world) release(p queries.Pipeline) intake.Finalization {
	w.t.Helper()
	id := uuid.Must(uuid.NewV7())
	w.exec(`INSERT INTO releases (id, pipeline_id, manifest_digest, files, bytes, message, actor, expires_at)
		VALUES ($1, $2, 'digest', 1, 10, 'hello', 'test', now() + interval '1 hour')`, id, p.ID)
	return intake.Finalization{Pipeline: p.ID, Release: id, Publish: true, Actor: "test"}
}

func TestFinalizeTwiceAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	f := w.release(p)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if d, err := w.in.Finalize(w.ctx(), f); err != nil || d.ID != f.Release || d.Number != 1 {
				t.Errorf("deployment %+v, %v", d, err)
			}
		})
	}
	wg.Wait()
	if n := w.count("SELECT count(*) FROM deployments"); n != 1 {
		t.Errorf("%d deployments, want 1", n)
	}
	if now := w.get(p.ID); now.Status != troy.Queued {
		t.Errorf("the pipeline is %s", now.Status)
	}
}

func TestFinalizeExpectsWhatIsLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.Deployed)
	f := w.release(p)
	f.ExpectLive = uuid.NewString()
	_, err := w.in.Finalize(w.ctx(), f)
	wantKind(t, err, troy.Moved, "live deployment is none")
	f.ExpectLive = "nothing"
	_, err = w.in.Finalize(w.ctx(), f)
	wantKind(t, err, troy.Invalid, "expect_live")
	f.ExpectLive = intake.NothingLive
	d, err := w.in.Finalize(w.ctx(), f)
	if err != nil || *d.ExpectLive != intake.NothingLive {
		t.Fatalf("%+v, %v", d, err)
	}
	live := w.ended(p, troy.Succeeded, true)
	f = w.release(p)
	f.ExpectLive = intake.NothingLive
	_, err = w.in.Finalize(w.ctx(), f)
	wantKind(t, err, troy.Moved, live.ID.String())
	f.ExpectLive = strings.ToUpper(live.ID.String())
	if _, err = w.in.Finalize(w.ctx(), f); err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE pipelines SET live_deployment_id = NULL")
	if _, err = w.in.Finalize(w.ctx(), f); err != nil {
		t.Errorf("the same again after live moved: %v", err)
	}
}

func TestFinalizeRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	f := w.release(p)
	w.exec("UPDATE releases SET expires_at = now() - interval '1 second' WHERE id = $1", f.Release)
	_, err := w.in.Finalize(w.ctx(), f)
	wantKind(t, err, troy.Conflict, "expired")
	f.Release = uuid.New()
	_, err = w.in.Finalize(w.ctx(), f)
	wantKind(t, err, troy.NotFound, "release not found")
	other := w.release(w.create("Other"))
	other.Pipeline = p.ID
	_, err = w.in.Finalize(w.ctx(), other)
	wantKind(t, err, troy.NotFound, "release not found")
}

func TestFinalizeWithoutPublishing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.Deployed)
	f := w.release(p)
	f.Publish = false
	d, err := w.in.Finalize(w.ctx(), f)
	if err != nil || d.State != troy.Succeeded || d.LiveAt != nil {
		t.Fatalf("%+v, %v", d, err)
	}
	if now := w.get(p.ID); now.Status != troy.Deployed {
		t.Errorf("the pipeline is %s", now.Status)
	}
	_, err = w.in.Rollback(w.ctx(), p.ID, d.ID, "test")
	wantKind(t, err, troy.Conflict, "never live")
	made, err := w.in.Promote(w.ctx(), p.ID, d.ID, "test")
	if err != nil || made.Kind != troy.Promotion || made.TreeID != d.TreeID || *made.SourceDeploymentID != d.ID || made.Files != d.Files {
		t.Fatalf("%+v, %v", made, err)
	}
}

func TestRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.Deployed)
	_, err := w.in.Rollback(w.ctx(), p.ID, uuid.Nil, "test")
	wantKind(t, err, troy.Conflict, "has no live deployment")
	first := w.ended(p, troy.Succeeded, true)
	_, err = w.in.Rollback(w.ctx(), p.ID, uuid.Nil, "test")
	wantKind(t, err, troy.Conflict, "no other deployment")
	failed := w.ended(p, troy.Failed, false)
	second := w.ended(p, troy.Succeeded, true)
	_, err = w.in.Rollback(w.ctx(), p.ID, second.ID, "test")
	wantKind(t, err, troy.Conflict, "already live")
	_, err = w.in.Promote(w.ctx(), p.ID, failed.ID, "test")
	wantKind(t, err, troy.Conflict, "is Failed")
	_, err = w.in.Promote(w.ctx(), p.ID, uuid.New(), "test")
	wantKind(t, err, troy.NotFound, "no deployment")
	other := w.ended(w.create("Other"), troy.Succeeded, true)
	_, err = w.in.Promote(w.ctx(), p.ID, other.ID, "test")
	wantKind(t, err, troy.NotFound, "no deployment")
	w.exec("UPDATE deployments SET pruned_at = now() WHERE id = $1", failed.ID)

	made, err := w.in.Rollback(w.ctx(), p.ID, uuid.Nil, "test")
	if err != nil || made.TreeID != first.ID || made.State != troy.Waiting || made.Message != "hello" {
		t.Fatalf("%+v, %v", made, err)
	}
	if now := w.get(p.ID); now.Status != troy.Queued {
		t.Errorf("the pipeline is %s", now.Status)
	}
	// With a deployment on its way, a rollback to the live deployment is
	// possible.
	if _, err := w.in.Promote(w.ctx(), p.ID, second.ID, "test"); err != nil {
		t.Error(err)
	}
	w.exec("UPDATE deployments SET pruned_at = now() WHERE id = $1", first.ID)
	_, err = w.in.Promote(w.ctx(), p.ID, first.ID, "test")
	wantKind(t, err, troy.Conflict, "removed")
}

// Whichever comes first, a deletion never loses a promotion halfway.
func TestPromoteWhileDeleting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 10 {
		p := w.create(fmt.Sprintf("Blog %d", i))
		w.put(p, troy.Deployed)
		old := w.ended(p, troy.Succeeded, true)
		w.ended(p, troy.Succeeded, true)
		var promoted, deleted error
		var wg sync.WaitGroup
		wg.Go(func() { _, promoted = w.in.Promote(w.ctx(), p.ID, old.ID, "test") })
		wg.Go(func() { _, deleted = w.in.ScheduleDeletion(w.ctx(), p.ID, "test") })
		wg.Wait()
		if deleted != nil {
			t.Fatal(deleted)
		}
		if promoted != nil {
			wantKind(t, promoted, troy.Conflict, "Scheduled for Deletion")
		}
		if n := w.count("SELECT count(*) FROM deployments WHERE pipeline_id = $1 AND finished_at IS NULL", p.ID); n != 0 {
			t.Errorf("%d deployments are still on their way", n)
		}
	}
}

func TestCancelRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.Deploying)
	d := w.ended(p, troy.Publishing, false)
	_, err := w.in.CancelDeployment(w.ctx(), p.ID, d.ID, "test")
	wantKind(t, err, troy.Conflict, "can't be cancelled")
	d = w.ended(p, troy.Succeeded, true)
	_, err = w.in.CancelDeployment(w.ctx(), p.ID, d.ID, "test")
	wantKind(t, err, troy.Conflict, "is Succeeded")
	_, err = w.in.CancelDeployment(w.ctx(), p.ID, uuid.New(), "test")
	wantKind(t, err, troy.NotFound, "no deployment")
}

func TestRingByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		name   string
		kind   string
		status troy.Status
		before func(queries.Pipeline)
		says   string
		after  troy.Status
	}{
		{"provision a new one", tasks.TypeProvision, troy.PreProvisioned, nil, "is requested", troy.ProvisionRequest},
		{"provision again", tasks.TypeProvision, troy.FailedToProvision, nil, "is requested", troy.ProvisionRequest},
		{"provision what is live", tasks.TypeProvision, troy.Deployed, nil, "is Deployed: there is nothing to provision", troy.Deployed},
		{"deploy again", tasks.TypeDeploy, troy.FailedToDeploy, func(p queries.Pipeline) { w.ended(p, troy.Failed, false); w.ended(p, troy.Cancelled, false) }, "deployment 3 publishes the files of deployment 1", troy.Queued},
		{"deploy again without files", tasks.TypeDeploy, troy.FailedToDeploy, func(p queries.Pipeline) {
			w.ended(p, troy.Failed, false)
			w.exec("UPDATE deployments SET pruned_at = now() WHERE pipeline_id = $1", p.ID)
		}, "were removed", troy.FailedToDeploy},
		{"deploy nothing", tasks.TypeDeploy, troy.ReadyForDeployment, nil, "is Ready for Deployment: there is nothing to deploy", troy.ReadyForDeployment},
		{"tear down again", tasks.TypeTeardown, troy.FailedToDelete, nil, "scheduled again", troy.ScheduledForDeletion},
		{"start to tear down again", tasks.TypeTeardownStart, troy.FailedToDelete, nil, "scheduled again", troy.ScheduledForDeletion},
		{"poll again", tasks.TypePollDistroDisabled, troy.FailedToDelete, nil, "scheduled again", troy.ScheduledForDeletion},
		{"tear down what is live", tasks.TypeTeardown, troy.Deployed, nil, "nothing to tear down", troy.Deployed},
		{"retention", tasks.TypeRetention, troy.Deployed, nil, "is requested", troy.Deployed},
		{"purge", tasks.TypePurge, troy.Deployed, nil, "is requested", troy.Deployed},
		{"access", tasks.TypeAccess, troy.Deployed, nil, "is applied again", troy.Deployed},
		{"hurry", tasks.TypeDeploy, troy.Queued, func(p queries.Pipeline) {
			w.exec("INSERT INTO work (kind, subject_id, due_at) VALUES ('pipeline:deploy', $1, now() + interval '1 hour')", p.ID)
		}, "is rung", troy.Queued},
		{"held", tasks.TypeDeploy, troy.Deploying, func(p queries.Pipeline) {
			w.exec("INSERT INTO work (kind, subject_id, lease_until) VALUES ('pipeline:deploy', $1, now() + interval '1 hour')", p.ID)
		}, "runs it now", troy.Deploying},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := w.create("Blog")
			w.put(p, c.status)
			if c.before != nil {
				c.before(p)
			}
			says, err := w.in.RingByHand(w.ctx(), c.kind, p.ID, "operator ada")
			if err != nil || !contains(says, c.says) {
				t.Fatalf("%q, %v, want %q", says, err, c.says)
			}
			now := w.get(p.ID)
			if now.Status != c.after {
				t.Errorf("the pipeline is %s, want %s", now.Status, c.after)
			}
			// What no status shows, the audit trail does.
			rung := 0
			if c.after == c.status && (strings.Contains(says, "is rung") || strings.Contains(says, "is requested") || strings.Contains(says, "applied again")) {
				rung = 1
			}
			if n := w.count("SELECT count(*) FROM audit WHERE pipeline_id = $1 AND action = 'work.ring' AND subject = $2 AND actor = 'operator ada'", p.ID, c.kind); n != rung {
				t.Errorf("%d entries of the audit trail, want %d", n, rung)
			}
			if c.after != c.status {
				if n := w.count("SELECT count(*) FROM events WHERE pipeline_id = $1 AND actor = 'operator ada'", p.ID); n != 1 {
					t.Errorf("%d events with the operator's name, want 1", n)
				}
			}
		})
	}
	if n := w.count("SELECT count(*) FROM work WHERE kind = 'pipeline:deploy' AND lease_until IS NULL AND due_at > now()"); n != 0 {
		t.Error("the hurried work is still due later")
	}
	_, err := w.in.RingByHand(w.ctx(), "pipeline:build", uuid.New(), "ada")
	wantKind(t, err, troy.Invalid, "pipeline:provision")
	for _, kind := range tasks.Kinds() {
		_, err := w.in.RingByHand(w.ctx(), kind, uuid.New(), "ada")
		wantKind(t, err, troy.NotFound, "not found: ")
	}
	gone := uuid.New()
	w.exec("INSERT INTO work (kind, subject_id, due_at) VALUES ('retention', $1, now() + interval '1 day')", gone)
	if says, err := w.in.RingByHand(w.ctx(), tasks.TypeRetention, gone, "ada"); err != nil || !contains(says, "is rung") {
		t.Errorf("retention of a deleted pipeline: %q, %v", says, err)
	}
	if n := w.count("SELECT count(*) FROM audit WHERE pipeline_id IS NULL AND action = 'work.ring' AND subject = 'retention' AND actor = 'ada'"); n != 1 {
		t.Errorf("%d entries of the audit trail for a deleted pipeline, want 1", n)
	}
	if says, err := w.in.RingByHand(w.ctx(), tasks.TypeSweep, uuid.Nil, "ada"); err != nil || !contains(says, "sweep") {
		t.Errorf("sweep: %q, %v", says, err)
	}
}

func TestCommitRings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	ctx, cancel := context.WithCancel(w.ctx())
	done := make(chan struct{})
	go func() { defer close(done); w.bell.Run(ctx) }()
	if _, err := w.in.RequestProvision(w.ctx(), p.ID, "test"); err != nil {
		t.Fatal(err)
	}
	w.eventually("the work is rung", func() bool {
		return w.count("SELECT count(*) FROM work WHERE subject_id = $1 AND ring_id IS NOT NULL", p.ID) == 1
	})
	cancel()
	<-done
}
