package workers

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

func TestFromProvisioningToNothingLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	id := r.pipeline("blog")
	r.requestProvision(id)
	p := r.waitFor(id, troy.ReadyForDeployment)

	first := r.release(id, map[string]string{"index.html": "one", "assets/app.4f3a9b1c.js": "old code"})
	r.waitFor(id, troy.Deployed)
	second := r.release(id, map[string]string{"index.html": "two"})
	eventually(t, func() bool {
		p, err := r.q.PipelineGet(t.Context(), id)
		return err == nil && p.Status == troy.Deployed && p.LiveDeploymentID != nil && *p.LiveDeploymentID == second
	}, func() string { return "the second release did not go live" })

	m, err := r.cloud.Store.Manifest(t.Context(), site.Tree{Pipeline: id, Deployment: second})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Carried) != 1 || m.Carried[0].Path != "assets/app.4f3a9b1c.js" {
		t.Errorf("the second tree carries %v, want the first one's hashed asset", m.Carried)
	}
	d, err := r.q.DeploymentGet(t.Context(), first)
	if err != nil || d.State != troy.Succeeded || d.LiveAt == nil {
		t.Errorf("the first deployment is %+v, %v", d, err)
	}

	if _, err := r.q.PipelineScheduleDeletion(t.Context(), queries.PipelineScheduleDeletionParams{ID: id, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	r.waitFor(id, troy.Deleted)
	if _, err := r.cloud.CDN.Get(t.Context(), *p.DistributionID); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("the distribution is still there: %v", err)
	}
	if _, err := r.cloud.DNS.Lookup(t.Context(), "blog.localhost"); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("the DNS record is still there: %v", err)
	}
	if n, err := r.cloud.Store.RemoveAll(t.Context(), id); n != 0 || err != nil {
		t.Errorf("%d objects were left, %v", n, err)
	}
	want := []string{
		"pre_provisioned", "provision_request", "provisioning", "ready_for_deployment",
		"queued", "deploying", "deployed", "queued", "deploying", "deployed",
		"scheduled_for_deletion", "deleting", "deleted",
	}
	if diff := cmp.Diff(want, r.path(id)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	rows, err := r.q.WorkOf(t.Context(), id)
	if err != nil || len(rows) != 1 || rows[0].Kind != tasks.TypeRetention {
		t.Errorf("work left: %+v, %v; want only the late check of the storage", rows, err)
	}
}

// hookedCDN lets a test run code before and after calls.
type hookedCDN struct {
	cloud.CDN
	create func(ctx context.Context, real func() (cloud.Distribution, error)) (cloud.Distribution, error)
	flip   func(ctx context.Context, p site.Pointer, real func() error) error
}

func (h *hookedCDN) Create(ctx context.Context, reference, host string) (cloud.Distribution, error) {
	real := func() (cloud.Distribution, error) { return h.CDN.Create(ctx, reference, host) }
	if h.create == nil {
		return real()
	}
	return h.create(ctx, real)
}

func (h *hookedCDN) Flip(ctx context.Context, id string, p site.Pointer) error {
	real := func() error { return h.CDN.Flip(ctx, id, p) }
	if h.flip == nil {
		return real()
	}
	return h.flip(ctx, p, real)
}

func TestLostAnswerIsAdopted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var calls atomic.Int32
	var made string
	r.cloud.CDN = &hookedCDN{CDN: r.cloud.CDN, create: func(_ context.Context, real func() (cloud.Distribution, error)) (cloud.Distribution, error) {
		d, err := real()
		if calls.Add(1) == 1 {
			made = d.ID
			return cloud.Distribution{}, errors.New("the answer was lost")
		}
		return d, err
	}}
	r.start()
	id := r.pipeline("blog")
	r.requestProvision(id)
	p := r.waitFor(id, troy.ReadyForDeployment)
	if *p.DistributionID != made {
		t.Errorf("the pipeline has distribution %s, want the one whose answer was lost, %s", *p.DistributionID, made)
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("Create was called %d times, want 2", n)
	}
}

func TestFailedProvisioningGoesOnFromWhereItStopped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var creates atomic.Int32
	r.cloud.CDN = &hookedCDN{CDN: r.cloud.CDN, create: func(_ context.Context, real func() (cloud.Distribution, error)) (cloud.Distribution, error) {
		creates.Add(1)
		return real()
	}}
	var refuse atomic.Bool
	refuse.Store(true)
	r.cloud.DNS = refusingDNS{r.cloud.DNS, &refuse}
	r.start()
	id := r.pipeline("blog")
	r.requestProvision(id)
	p := r.waitFor(id, troy.FailedToProvision)
	if want := "make the DNS record of blog.localhost: the zone is another account's"; p.Cause != want {
		t.Errorf("cause %q, want %q", p.Cause, want)
	}
	if p.DistributionID == nil {
		t.Error("what was made is not recorded")
	}
	// A release that arrives now waits for the retry.
	d := r.release(id, map[string]string{"index.html": "one"})
	refuse.Store(false)
	r.requestProvision(id)
	p = r.waitFor(id, troy.Deployed)
	if *p.LiveDeploymentID != d {
		t.Errorf("live is %s, want %s", p.LiveDeploymentID, d)
	}
	if n := creates.Load(); n != 1 {
		t.Errorf("Create was called %d times, want 1", n)
	}
}

type refusingDNS struct {
	cloud.DNS
	refuse *atomic.Bool
}

func (d refusingDNS) Upsert(ctx context.Context, host, target string) error {
	if d.refuse.Load() {
		return troy.Errorf(troy.Conflict, "the zone is another account's")
	}
	return d.DNS.Upsert(ctx, host, target)
}

// TestFailedFlipIsPutBack fails a deployment after its pointer flipped: the
// previous deployment must be live afterwards.
func TestFailedFlipIsPutBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var last atomic.Pointer[site.Pointer]
	var refuse atomic.Pointer[uuid.UUID]
	r.cloud.CDN = &hookedCDN{CDN: r.cloud.CDN, flip: func(_ context.Context, p site.Pointer, real func() error) error {
		err := real()
		last.Store(&p)
		if bad := refuse.Load(); bad != nil && p.Deployment == *bad {
			return troy.Errorf(troy.Invalid, "the store is read-only")
		}
		return err
	}}
	r.start()
	id := r.pipeline("blog")
	r.requestProvision(id)
	first := r.release(id, map[string]string{"index.html": "one"})
	r.waitFor(id, troy.Deployed)

	bad := uuid.Must(uuid.NewV7())
	upload(t, r.cloud.Store, site.Tree{Pipeline: id, Deployment: bad}, map[string]string{"index.html": "two"})
	refuse.Store(&bad)
	if _, err := r.q.DeploymentCreate(t.Context(), queries.DeploymentCreateParams{ID: bad, TreeID: bad, PipelineID: id, Kind: troy.Release, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	p := r.waitFor(id, troy.FailedToDeploy)
	if *p.LiveDeploymentID != first {
		t.Errorf("live is %s, want the first, %s", p.LiveDeploymentID, first)
	}
	if got := last.Load(); got.Deployment != first {
		t.Errorf("the pointer points to %s, want the first, %s", got.Deployment, first)
	}
	if p.Cause != "flip the pointer: the store is read-only" {
		t.Errorf("cause %q", p.Cause)
	}
	refuse.Store(nil)
	r.release(id, map[string]string{"index.html": "three"})
	r.waitFor(id, troy.Deployed)
}

// TestDeletionDuringProvisioning requests deletion while a worker makes the
// distribution.
func TestDeletionDuringProvisioning(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	inside, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var made string
	r.cloud.CDN = &hookedCDN{CDN: r.cloud.CDN, create: func(_ context.Context, real func() (cloud.Distribution, error)) (cloud.Distribution, error) {
		once.Do(func() { close(inside); <-goOn })
		d, err := real()
		made = d.ID
		return d, err
	}}
	r.start()
	id := r.pipeline("blog")
	r.requestProvision(id)
	<-inside
	if _, err := r.q.PipelineScheduleDeletion(t.Context(), queries.PipelineScheduleDeletionParams{ID: id, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	r.waitFor(id, troy.Deleted)
	if made == "" {
		t.Fatal("no distribution was made; the test covers nothing")
	}
	if _, err := r.cloud.CDN.Get(t.Context(), made); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("the distribution %s is left: %v", made, err)
	}
	if _, err := r.cloud.DNS.Lookup(t.Context(), "blog.localhost"); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("the DNS record is left: %v", err)
	}
}
