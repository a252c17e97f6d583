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

// TestQueuePositionOfAPreview shows the place of a preview that waits for its
// build, and none while a worker holds the build.
func TestQueuePositionOfAPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.bind("Blog", "github", "team/blog", "main"), troy.ReadyForDeployment)
	page := func(label string) string {
		t.Helper()
		var v previewAnswer
		w.send("GET", "/v1/pipelines/blog/previews/"+label, nil).into(t, 200, &v)
		var id uuid.UUID
		if err := w.db.QueryRow(t.Context(), "SELECT id FROM deployments WHERE number = $1", v.Deployment).Scan(&id); err != nil {
			t.Fatal(err)
		}
		return string(w.send("GET", "/pipelines/blog/deployments/"+id.String(), nil).body)
	}
	for i, label := range []string{"one", "two"} {
		w.send("POST", "/v1/pipelines/blog/previews", `{"branch":"`+label+`"}`).into(t, 202, &previewAnswer{})
		if want := fmt.Sprintf("It is at place %d in the queue of previews.", i+1); !strings.Contains(page(label), want) {
			t.Errorf("the page of the preview %s does not say: %s", label, want)
		}
	}
	w.exec("UPDATE work SET lease_until = now() + interval '1 minute', epoch = 1 WHERE kind = 'preview:build'")
	if strings.Contains(page("two"), "in the queue of previews") {
		t.Error("a preview that a worker builds has a place in the queue")
	}
}
