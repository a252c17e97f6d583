package workers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/notify"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// dropWork is a trigger that deletes a work row as its request or claim
// commits, once for each row of drops, and records each row that it saw.
const dropWork = `
CREATE TABLE drops (slug text, kind text, state text, moment text, fired boolean DEFAULT false);
CREATE TABLE seen (slug text, kind text, state text, moment text);
CREATE FUNCTION drop_work() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of text;
    stands text;
    at text := CASE WHEN NEW.lease_until IS NULL THEN 'asked for' ELSE 'held' END;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.requested = OLD.requested AND NOT (OLD.lease_until IS NULL AND NEW.lease_until IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    SELECT p.slug, d.state INTO of, stands FROM deployments d JOIN pipelines p ON p.id = d.pipeline_id WHERE d.id = NEW.subject_id;
    IF of IS NULL THEN
        SELECT p.slug, p.status INTO of, stands FROM pipelines p WHERE p.id = NEW.subject_id;
    END IF;
    IF of IS NULL THEN
        SELECT p.slug, 'a preview' INTO of, stands FROM previews v JOIN pipelines p ON p.id = v.pipeline_id WHERE v.id = NEW.subject_id;
    END IF;
    IF of IS NULL THEN
        SELECT p.slug, 'a pull request' INTO of, stands FROM pull_requests r JOIN pipelines p ON p.id = r.pipeline_id WHERE r.id = NEW.subject_id;
    END IF;
    IF of IS NULL THEN
        SELECT p.slug, 'a notification' INTO of, stands FROM notifications n JOIN pipelines p ON p.id = n.pipeline_id WHERE n.id = NEW.subject_id;
    END IF;
    IF of IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO seen VALUES (of, NEW.kind, stands, at);
    UPDATE drops d SET fired = true WHERE d.slug = of AND d.kind = NEW.kind AND d.state = stands AND d.moment = at AND NOT d.fired;
    IF FOUND THEN
        DELETE FROM work w WHERE w.subject_id = NEW.subject_id AND w.kind = NEW.kind;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER drop_work AFTER INSERT OR UPDATE ON work DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION drop_work()`

// loss is a work row that is lost.
type loss struct{ Kind, State, Moment string }

// TestNoWorkIsMissedForLong runs a pipeline's life once for each kind of work
// in each state in which it is requested or claimed, and deletes that row. Each
// life ends as it does without a loss.
func TestNoWorkIsMissedForLong(t *testing.T) {
	t.Parallel()
	for name, poll := range map[string]time.Duration{"builds on this machine": 0, "builds on another": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t).withBuilds()
			r.secrets = newSealer(t)
			r.dns, r.forge.writers = &fakeDNS{}, []string{ada.ID}
			r.slots, r.buildSlots, r.buildPoll, r.reconcile, r.patience = 16, 8, poll, 500*time.Millisecond, time.Millisecond
			if _, err := r.db.Exec(t.Context(), dropWork); err != nil {
				t.Fatal(err)
			}
			r.start()
			if err := r.life("scout"); err != nil {
				t.Fatalf("without a loss: %v", err)
			}
			if found := r.reconciled(); found != "" {
				t.Errorf("without a loss the reconciliation found work missing:\n%s", found)
			}
			losses := queryAll[loss](t, r, "SELECT DISTINCT kind, state, moment FROM seen WHERE slug = 'scout' ORDER BY 1, 2, 3")
			var wrong []string
			var mu sync.Mutex
			var lives sync.WaitGroup
			for i, l := range losses {
				slug := fmt.Sprintf("life-%d", i)
				if _, err := r.db.Exec(t.Context(), "INSERT INTO drops VALUES ($1, $2, $3, $4)", slug, l.Kind, l.State, l.Moment); err != nil {
					t.Fatal(err)
				}
				lives.Go(func() {
					if err := r.life(slug); err != nil {
						mu.Lock()
						defer mu.Unlock()
						wrong = append(wrong, fmt.Sprintf("%s of %s, %s: %v", l.Kind, l.State, l.Moment, err))
					}
				})
			}
			lives.Wait()
			fired := queryAll[loss](t, r, "SELECT kind, state, moment FROM drops WHERE fired")
			t.Logf("work was lost in %d of %d kinds, states and moments (a state may pass too fast); %d wrong ends", len(fired), len(losses), len(wrong))
			for _, line := range wrong {
				t.Error(line)
			}
			for _, kind := range tasks.Kinds() {
				if (kind != tasks.TypePollBuild || poll > 0) && !slices.ContainsFunc(fired, func(l loss) bool { return l.Kind == kind }) {
					t.Errorf("%s was lost in no life", kind)
				}
			}
		})
	}
}

// life takes a pipeline through every request that there is, and returns the
// outcomes that did not happen.
func (r *rig) life(slug string) error {
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	l := &aLife{rig: r, ctx: ctx, slug: slug, ends: map[uuid.UUID]troy.DeploymentState{}}
	for _, step := range []func() error{l.provision, l.release, l.protect, l.domain, l.purge, l.push, l.schedule, l.fail, l.cancel, l.goBack, l.preview, l.pull, l.notify, l.tidy, l.remove} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

type aLife struct {
	*rig
	ctx  context.Context
	slug string
	id   uuid.UUID
	ends map[uuid.UUID]troy.DeploymentState // of its automated deployments
}

// until waits until a condition holds.
func (l *aLife) until(what string, ok func() bool) error {
	if poll.Until(l.ctx, time.Hour, 50*time.Millisecond, ok) {
		return nil
	}
	p, _ := l.q.PipelineGet(context.WithoutCancel(l.ctx), l.id)
	return fmt.Errorf("%s did not happen; the pipeline is %s (%s)", what, p.Status, p.Cause)
}

func (l *aLife) status(want troy.Status) error {
	return l.until(want.String(), func() bool {
		p, err := l.q.PipelineGet(l.ctx, l.id)
		return err == nil && p.Status == want
	})
}

// live waits until a deployment is live and none is under way.
func (l *aLife) live(what string, is func(queries.Deployment) bool) error {
	return l.until(what+" is live", func() bool {
		p, err := l.q.PipelineGet(l.ctx, l.id)
		if err != nil || p.Status != troy.Deployed || p.LiveDeploymentID == nil {
			return false
		}
		d, err := l.q.DeploymentGet(l.ctx, *p.LiveDeploymentID)
		return err == nil && is(d)
	})
}

func (l *aLife) provision() error {
	p, err := l.in.CreatePipeline(l.ctx, intake.NewPipeline{
		Name: l.slug, Slug: l.slug, Provision: true, Repository: &intake.Repository{Provider: "github", FullName: "team/" + l.slug, Branch: "main"},
	}, "test")
	if err != nil {
		return err
	}
	l.id = p.ID
	return l.status(troy.ReadyForDeployment)
}

// release publishes one release and begins another that it does not end.
func (l *aLife) release() error {
	for _, valid := range []time.Duration{time.Hour, 100 * time.Millisecond} {
		id := uuid.Must(uuid.NewV7())
		if _, err := l.q.ReleaseCreate(l.ctx, queries.ReleaseCreateParams{ID: id, PipelineID: l.id, ManifestDigest: "none", Actor: "test", ValidSeconds: valid.Seconds()}); err != nil {
			return err
		}
		if valid < time.Second {
			continue
		}
		upload(l.t, l.cloud.Store, site.Tree{Pipeline: l.id, Deployment: id}, map[string]string{"index.html": "by hand"})
		if _, err := l.in.Finalize(l.ctx, intake.Finalization{Pipeline: l.id, Release: id, Publish: true, Actor: "test"}); err != nil {
			return err
		}
	}
	return l.live("the release", func(d queries.Deployment) bool { return d.Kind == troy.Release })
}

// notify sends a notification.
func (l *aLife) notify() error {
	m, err := l.in.TestNotifier(l.ctx, l.notifier(&l.id, newReceiver(l.t), notify.Test), notify.Test)
	if err != nil {
		return err
	}
	return l.until("a notification", func() bool {
		now, err := l.q.NotificationGet(l.ctx, m.ID, m.NotifierID)
		return err == nil && now.Delivered
	})
}

// protect protects the site and waits until that holds.
func (l *aLife) protect() error {
	if err := l.in.AllowNetwork(l.ctx, l.id, netip.MustParsePrefix("203.0.113.0/24"), "test"); err != nil {
		return err
	}
	return l.until("the protection", func() bool {
		row, err := l.q.AccessGet(l.ctx, l.id)
		return err == nil && row.Access.Applied == row.Access.Generation
	})
}

// domain adds a custom domain and waits until DNS was asked about it.
func (l *aLife) domain() error {
	host := l.slug + ".example.test"
	if err := l.in.AddDomain(l.ctx, l.id, intake.NewDomain{Host: host, Alone: true}, "test"); err != nil {
		return err
	}
	return l.until("the check of the domain", func() bool {
		d, err := l.q.CustomDomainGet(l.ctx, host)
		return err == nil && d.CheckedAt != nil
	})
}

// purge purges an asset and waits for the end of the purge.
func (l *aLife) purge() error {
	if _, err := l.in.Purge(l.ctx, l.id, "assets/app-BX3kz0aQ.js", "test"); err != nil {
		return err
	}
	return l.until("the purge", func() bool {
		purges, err := l.q.PurgeList(l.ctx, l.id, time.Hour.Seconds())
		return err == nil && len(purges) == 1 && purges[0].DoneAt != nil
	})
}

// pushed delivers the webhook of a push and returns the deployment that it made.
func (l *aLife) pushed(commit string) (uuid.UUID, error) {
	l.head(l.slug, commitID(l.slug+commit))
	p, err := l.q.PipelineGet(l.ctx, l.id)
	if err != nil {
		return uuid.Nil, err
	}
	l.rig.pushed(l.slug, deref(p.HeadCommit), commitID(l.slug+commit))
	d, err := l.q.DeploymentOfCommit(l.ctx, l.id, commitID(l.slug+commit))
	return d.ID, err
}

func (l *aLife) push() error {
	d, err := l.pushed("good")
	if err != nil {
		return err
	}
	l.ends[d] = troy.Succeeded
	return l.live("the commit", func(live queries.Deployment) bool { return live.ID == d })
}

// schedule lets a schedule be due once.
func (l *aLife) schedule() error {
	if _, err := l.in.SetSchedule(l.ctx, l.id, "0 0 1 1 *", "UTC", "test"); err != nil {
		return err
	}
	if _, err := l.db.Exec(l.ctx, "UPDATE schedules SET next_at = now() - interval '1 hour' WHERE pipeline_id = $1", l.id); err != nil {
		return err
	}
	if _, err := l.q.WorkHurry(l.ctx, tasks.TypeSchedule, l.id); err != nil {
		return err
	}
	var id uuid.UUID
	if err := l.until("a deployment at the time of the schedule", func() bool {
		return l.db.QueryRow(l.ctx, "SELECT id FROM deployments WHERE pipeline_id = $1 AND actor = 'schedule'", l.id).Scan(&id) == nil
	}); err != nil {
		return err
	}
	l.ends[id] = troy.Succeeded
	if err := l.live("the deployment of the schedule", func(live queries.Deployment) bool { return live.ID == id }); err != nil {
		return err
	}
	return l.in.RemoveSchedule(l.ctx, l.id, "test")
}

func (l *aLife) fail() error {
	l.builder.fail(l.id, true)
	defer l.builder.fail(l.id, false)
	d, err := l.pushed("bad")
	if err != nil {
		return err
	}
	l.ends[d] = troy.Failed
	return l.status(troy.FailedToDeploy)
}

// cancel stops a build that blocks another.
func (l *aLife) cancel() error {
	l.builder.hold(l.id)
	slow, err := l.pushed("slow")
	if err != nil {
		return err
	}
	if err := l.until("the build", func() bool {
		d, err := l.q.DeploymentGet(l.ctx, slow)
		return err == nil && d.State == troy.Building
	}); err != nil {
		return err
	}
	next, err := l.pushed("next")
	if err != nil {
		return err
	}
	if _, err := l.in.CancelDeployment(l.ctx, l.id, slow, "test"); err != nil {
		return err
	}
	l.builder.release(l.id)
	l.ends[slow], l.ends[next] = troy.Cancelled, troy.Succeeded
	return l.live("the commit behind the cancelled one", func(live queries.Deployment) bool {
		l.builder.release(l.id) // includes one that started meanwhile
		return live.ID == next
	})
}

func (l *aLife) goBack() error {
	made, err := l.in.Rollback(l.ctx, l.id, uuid.Nil, "test")
	if err != nil {
		return err
	}
	return l.live("the previous live deployment", func(live queries.Deployment) bool { return live.ID == made.ID })
}

// preview shows a release and a branch at addresses of their own, and removes
// both.
func (l *aLife) preview() error {
	id := uuid.Must(uuid.NewV7())
	if _, err := l.q.ReleaseCreate(l.ctx, queries.ReleaseCreateParams{ID: id, PipelineID: l.id, ManifestDigest: "none", Actor: "test", ValidSeconds: time.Hour.Seconds()}); err != nil {
		return err
	}
	upload(l.t, l.cloud.Store, site.Tree{Pipeline: l.id, Deployment: id}, map[string]string{"index.html": "a draft"})
	if _, err := l.in.Finalize(l.ctx, intake.Finalization{Pipeline: l.id, Release: id, Preview: "draft", Actor: "test"}); err != nil {
		return err
	}
	_, built, err := l.in.PreviewBranch(l.ctx, l.id, "feature/one", "test")
	if err != nil {
		return err
	}
	for label, deployment := range map[string]uuid.UUID{"draft": id, "feature-one": built.ID} {
		if err := l.until("the preview "+label, func() bool {
			v, err := l.q.PreviewOfLabel(l.ctx, l.id, label)
			return err == nil && v.LiveDeploymentID != nil && *v.LiveDeploymentID == deployment
		}); err != nil {
			return err
		}
		if err := l.in.DeletePreview(l.ctx, l.id, label, "test"); err != nil {
			return err
		}
		if err := l.until("the removal of the preview "+label, func() bool {
			v, err := l.q.PreviewOfLabel(l.ctx, l.id, label)
			return err == nil && v.RemovedAt != nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// pull opens a pull request and merges it.
func (l *aLife) pull() error {
	pr := pull(l.slug, 7, l.slug+" pull", ada)
	l.hears(pr)
	if err := l.until("the preview of the pull request", func() bool {
		v, err := l.q.PreviewOfLabel(l.ctx, l.id, "pr-7")
		return err == nil && v.LiveDeploymentID != nil
	}); err != nil {
		return err
	}
	pr.Open = false
	l.hears(pr)
	return l.until("the removal of the pull request's preview", func() bool {
		v, err := l.q.PreviewOfLabel(l.ctx, l.id, "pr-7")
		return err == nil && v.RemovedAt != nil
	})
}

// tidy waits until nothing is left over and everything is reported.
func (l *aLife) tidy() error {
	// Retention waits some minutes after a deployment.
	if _, err := l.q.WorkHurry(l.ctx, tasks.TypeRetention, l.id); err != nil {
		return err
	}
	return l.until("the end of the follow-up work", func() bool {
		var left int
		err := l.db.QueryRow(l.ctx, `SELECT (SELECT count(*) FROM releases WHERE pipeline_id = $1 AND finalized_at IS NULL)
			+ (SELECT count(*) FROM builds b JOIN deployments d ON d.id = b.deployment_id WHERE d.pipeline_id = $1 AND (b.finished_at IS NULL OR NOT b.emptied))
			+ (SELECT count(*) FROM deployments WHERE pipeline_id = $1 AND kind = 'automated' AND reported_state <> state)
			+ (SELECT count(*) FROM previews WHERE pipeline_id = $1 AND closed_at IS NOT NULL AND retracted_at IS NULL)
			+ (SELECT 1 - count(*) FROM work WHERE subject_id = $1 AND kind = 'forge:catch-up')`, l.id).Scan(&left)
		return err == nil && left == 0 && l.builder.kept(l.id) == 0 && l.told()
	})
}

// told reports whether the forge got the end of each deployment.
func (l *aLife) told() bool {
	told := map[string]troy.DeploymentState{}
	l.forge.set(func() {
		for _, r := range l.forge.reports {
			told[r.Deployment] = r.State
		}
	})
	for d, end := range l.ends {
		if told[d.String()] != end {
			return false
		}
	}
	return true
}

func (l *aLife) remove() error {
	if _, err := l.in.ScheduleDeletion(l.ctx, l.id, "test"); err != nil {
		return err
	}
	if err := l.until("its deletion", func() bool {
		_, err := l.q.PipelineGet(l.ctx, l.id)
		return err != nil && l.ctx.Err() == nil
	}); err != nil {
		return err
	}
	if _, err := l.cloud.CDN.Find(l.ctx, reference(l.id)); !errors.Is(err, cloud.ErrNotFound) {
		return fmt.Errorf("its distribution still exists: %w", err)
	}
	if n, err := l.cloud.Store.RemoveAll(l.ctx, l.id); n != 0 || err != nil {
		return fmt.Errorf("%d objects still exist: %w", n, err)
	}
	return nil
}
