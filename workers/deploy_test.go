package workers

import (
	"context"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// TestWaitingDeploymentsTakeTurns creates deployments before any is claimed:
// each end, successful or not, starts the next.
func TestWaitingDeploymentsTakeTurns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bad := uuid.Must(uuid.NewV7())
	r.cloud.CDN = &hookedCDN{CDN: r.cloud.CDN, flip: func(_ context.Context, p site.Pointer, real func() error) error {
		if p.Deployment == bad {
			return troy.Errorf(troy.Invalid, "the store is read-only")
		}
		return real()
	}}
	id := r.pipeline("blog")
	r.release(id, map[string]string{"index.html": "one"})
	r.release(id, map[string]string{"index.html": "two"})
	upload(t, r.cloud.Store, site.Tree{Pipeline: id, Deployment: bad}, map[string]string{"index.html": "three"})
	if _, err := r.q.DeploymentCreate(t.Context(), queries.DeploymentCreateParams{ID: bad, TreeID: bad, PipelineID: id, Kind: troy.Release, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	last := r.release(id, map[string]string{"index.html": "four"})
	r.requestProvision(id)
	r.start()

	var p queries.Pipeline
	eventually(t, func() bool {
		var err error
		p, err = r.q.PipelineGet(t.Context(), id)
		return err == nil && p.Status == troy.Deployed && p.LiveDeploymentID != nil && *p.LiveDeploymentID == last
	}, func() string { return "the last release did not go live; the pipeline is " + p.Status.String() })
	want := []string{
		"pre_provisioned", "provision_request", "provisioning", "ready_for_deployment",
		"queued", "deploying", "deployed", "queued", "deploying", "deployed",
		"queued", "deploying", "failed_to_deploy", "queued", "deploying", "deployed",
	}
	if got := r.path(id); !slices.Equal(got, want) {
		t.Errorf("the deployments went\n%v, want\n%v", got, want)
	}
}
