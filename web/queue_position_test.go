package web_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// TestQueuePositionOfABuild shows the place of a pipeline whose deployment
// waits for its build, in the API and on the pages.
func TestQueuePositionOfABuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, slug := range []string{"first", "second"} {
		p := w.create(slug)
		w.put(p, troy.ReadyForDeployment)
		id := uuid.Must(uuid.NewV7())
		if _, err := w.q.DeploymentCreate(t.Context(), queries.DeploymentCreateParams{
			ID: id, TreeID: id, PipelineID: p.ID, Kind: troy.Automated, Actor: "test", Cause: "a commit was pushed",
		}); err != nil {
			t.Fatal(err)
		}
		if w.send("GET", "/v1/pipelines/"+p.ID.String(), nil).into(t, 200, &p); p.Status != troy.Queued || p.QueuePosition == nil || *p.QueuePosition != int64(i+1) {
			t.Errorf("%s is %s at place %v, want %d", slug, p.Status, p.QueuePosition, i+1)
		}
		for path, want := range map[string]string{"/pipelines/" + slug: "place %d in the queue", pagePath(p, id): "It is at place %d in the queue."} {
			if a := w.send("GET", path, nil); a.status != 200 || !strings.Contains(string(a.body), fmt.Sprintf(want, i+1)) {
				t.Errorf("%s answers %d without the place", path, a.status)
			}
		}
	}
}
