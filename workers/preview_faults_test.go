package workers

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// retains requests retention.
func (r *rig) retains(id uuid.UUID) {
	r.t.Helper()
	if _, err := r.db.Exec(r.t.Context(), `INSERT INTO work (kind, subject_id) VALUES ('retention', $1)
		ON CONFLICT (subject_id, kind) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL`, id); err != nil {
		r.t.Fatal(err)
	}
}

// waitsFor waits until work waits for a reason.
func (r *rig) waitsFor(kind string, subject uuid.UUID, why string) {
	r.t.Helper()
	eventually(r.t, func() bool {
		row, err := r.q.WorkGet(r.t.Context(), kind, subject)
		return err == nil && strings.Contains(row.Cause, why)
	}, func() string { return kind + " does not wait because " + why })
}

// TestPreviewWaitsForProtection protects a site whose provisioning fails after
// its distribution was made, and then uploads a preview.
func TestPreviewWaitsForProtection(t *testing.T) {
	t.Parallel()
	r, _ := protecting(t)
	var refuse atomic.Bool
	refuse.Store(true)
	r.cloud.DNS = refusingDNS{r.cloud.DNS, &refuse}
	s := r.withPreviews()
	r.start()
	id := r.pipeline("blog")
	r.setPassword(id, "team", "$argon2id$one")
	eventually(t, func() bool { return r.hasNoWork(tasks.TypeAccess, id) }, func() string { return "access has not ended" })
	r.requestProvision(id)
	r.waitFor(id, troy.FailedToProvision)
	draft := r.draft(id, "draft", map[string]string{"index.html": "draft"})
	r.waitsFor(tasks.TypePreviewPublish, draft, "protection is not applied")
	if s.of("draft") != uuid.Nil || s.of("d-1") != uuid.Nil {
		t.Error("the preview of an unprotected site is shown")
	}
	refuse.Store(false)
	r.requestProvision(id)
	r.waitFor(id, troy.ReadyForDeployment)
	r.applied(id)
	r.hurry(tasks.TypePreviewPublish, draft)
	r.previewLabelled(id, "draft", "shown", shows(draft))
}

// TestAddressesWaitForProtection runs retention while the first protection of a
// site can't be applied.
func TestAddressesWaitForProtection(t *testing.T) {
	t.Parallel()
	r, cdn := protecting(t)
	s := r.withPreviews()
	r.start()
	id := r.provisioned("blog")
	draft := r.draft(id, "draft", map[string]string{"index.html": "draft"})
	r.previewLabelled(id, "draft", "shown", shows(draft))
	p, err := r.q.PipelineGet(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	cdn.mu.Lock()
	cdn.hold = func(site.Protection) error { return troy.Errorf(troy.Conflict, "the store is full") }
	cdn.mu.Unlock()
	r.setPassword(id, "team", "$argon2id$one")
	if err := s.Unpoint(t.Context(), *p.DistributionID, "d-1", 1); err != nil {
		t.Fatal(err)
	}
	r.retains(id)
	r.waitsFor(tasks.TypeRetention, id, "protection is not applied")
	if s.of("d-1") != uuid.Nil {
		t.Error("a deployment of an unprotected site has an address")
	}
	cdn.mu.Lock()
	cdn.hold = nil
	cdn.mu.Unlock()
	eventually(t, func() bool {
		r.hurry(tasks.TypeAccess, id)
		r.hurry(tasks.TypeRetention, id)
		return s.of("d-1") == draft
	}, func() string { return "the deployment has no address under the protection" })
}

// TestPreviewThatCannotBePutBack refuses all pointers: the update fails, and the
// preview can be removed.
func TestPreviewThatCannotBePutBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.withPreviews()
	r.start()
	id := r.provisioned("blog")
	first := r.draft(id, "draft", map[string]string{"index.html": "first"})
	r.previewLabelled(id, "draft", "shown", shows(first))
	s.mu.Lock()
	s.refuses = troy.Errorf(troy.Conflict, "the store is full")
	s.mu.Unlock()
	second := r.draft(id, "draft", map[string]string{"index.html": "second"})
	if d := r.ended(second); d.State != troy.Failed || !strings.Contains(d.Cause, "the store is full") || s.of("draft") != first {
		t.Errorf("the second is %s (%s), and draft shows %s; want a failure and the first, %s", d.State, d.Cause, s.of("draft"), first)
	}
	if err := r.in.DeletePreview(t.Context(), id, "draft", "test"); err != nil {
		t.Fatal(err)
	}
	r.previewLabelled(id, "draft", "removed", removed)
}

// TestPreviewIsNotPutBackWithoutAClaim gives up the publication of a deployment
// that another worker has completed, and of one whose claim was lost.
func TestPreviewIsNotPutBackWithoutAClaim(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.withPreviews()
	w, stop := r.start()
	id := r.provisioned("blog")
	draft := r.draft(id, "draft", map[string]string{"index.html": "draft"})
	r.previewLabelled(id, "draft", "shown", shows(draft))
	stop()
	c := &claim{task: tasks.Task{Kind: tasks.TypePreviewPublish, Subject: draft}, epoch: 1, log: w.log}
	for _, step := range []struct {
		change string
		want   error
	}{
		{"SELECT $1::uuid", errMoved},
		{"UPDATE deployments SET state = 'publishing', finished_at = NULL WHERE id = $1", errHandedOver},
		{"INSERT INTO work (kind, subject_id, epoch, lease_until) VALUES ('preview:publish', $1, 7, now() + interval '1 hour')", errHandedOver},
		{"UPDATE work SET epoch = 1, lease_until = NULL WHERE subject_id = $1", errHandedOver}, // the lease expired
	} {
		change := step.change
		if _, err := r.db.Exec(t.Context(), change, draft); err != nil {
			t.Fatal(err)
		}
		if err := w.failPreviewPublish(t.Context(), c, "a test"); !errors.Is(err, step.want) {
			t.Errorf("%s: %v, want %v", change, err, step.want)
		}
		if s.of("draft") != draft || s.of("d-1") != draft {
			t.Errorf("%s: draft shows %s and d-1 %s, want %s", change, s.of("draft"), s.of("d-1"), draft)
		}
	}
}

// TestPreviewShowsTheLaterDeployment publishes with a pipeline that was read
// before a later deployment was shown.
func TestPreviewShowsTheLaterDeployment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.withPreviews()
	w, _ := r.start()
	id := r.provisioned("blog")
	first := r.draft(id, "draft", map[string]string{"index.html": "first"})
	r.previewLabelled(id, "draft", "shown", shows(first))
	d, p, v, err := w.previewOf(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	second := r.draft(id, "draft", map[string]string{"index.html": "second"})
	r.previewLabelled(id, "draft", "shown", shows(second))
	if err := w.showPreview(t.Context(), *p.DistributionID, p, v, d); !errors.Is(err, cloud.ErrStalePointer) || s.of("draft") != second {
		t.Errorf("%v, and draft shows %s; want ErrStalePointer and the second, %s", err, s.of("draft"), second)
	}
}

// TestAddressesOfLostHistory finds pointers of deployments that the database has
// forgotten at the addresses of new ones.
func TestAddressesOfLostHistory(t *testing.T) {
	t.Parallel()
	for name, aws := range map[string]bool{"local": false, "AWS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if aws {
				r.onAWS(awsdouble.Config{})
			}
			s := r.withPreviews()
			r.start()
			id := r.provisioned("blog")
			p, err := r.q.PipelineGet(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			forget := func(label string) {
				t.Helper()
				forgotten := site.Pointer{Sequence: addressSequence, Pipeline: id, Deployment: uuid.New()}
				if err := s.Unpoint(t.Context(), *p.DistributionID, label, 1); err != nil {
					t.Fatal(err)
				}
				if err := s.Point(t.Context(), *p.DistributionID, label, forgotten); err != nil {
					t.Fatal(err)
				}
			}
			forget("d-1")
			draft := r.draft(id, "draft", map[string]string{"index.html": "draft"})
			if d := r.ended(draft); d.State != troy.Succeeded || s.of("d-1") != draft || s.of("draft") != draft {
				t.Fatalf("the preview is %s (%s), d-1 shows %s", d.State, d.Cause, s.of("d-1"))
			}
			forget("d-1")
			r.retains(id)
			eventually(t, func() bool { return s.of("d-1") == draft }, func() string { return "retention did not repair d-1" })
		})
	}
}
