package web_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

// TestDeploySource builds the files of a release. It needs no repository, but all
// of the files.
func TestDeploySource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	const at = "/v1/pipelines/blog/deployments"
	deploy := func(source uuid.UUID) answer { return w.send("POST", at, map[string]any{"source": source}) }
	r := w.begin(p, nil, file("source-00000.part", "one"), file("source-00001.part", "two"))
	w.upload(p, r, "one").into(t, 204, nil)
	deploy(r.ID).refused(t, 409, "conflict", "", "")
	w.upload(p, r, "two").into(t, 204, nil)
	w.send("POST", at, map[string]any{"source": r.ID, "commit": "aaaa"}).refused(t, 400, "invalid", "source", "commit")
	w.send("POST", at, `{"source":"x"}`).refused(t, 400, "invalid", "source", "")
	deploy(uuid.New()).refused(t, 404, "not_found", "", "no release")
	w.send("POST", "/v1/pipelines/blog/lock", `{"reason":"an incident"}`).into(t, 200, nil)
	deploy(r.ID).refused(t, 409, "conflict", "", "an incident")
	w.send("DELETE", "/v1/pipelines/blog/lock", nil).into(t, 200, nil)
	var d, again deployment
	deploy(r.ID).into(t, 202, &d)
	if d.Kind != "automated" || d.State != "waiting" || d.Message != "hello\nthere" || d.Commit != "" {
		t.Errorf("%+v", d)
	}
	if deploy(r.ID).into(t, 202, &again); again.ID != d.ID {
		t.Errorf("the same source made deployment %d", again.Number)
	}
	w.send("POST", releases(p)+"/"+r.ID.String()+"/finalize", nil).refused(t, 409, "conflict", "", "is the source of deployment")

	ended := func() (ids []uuid.UUID) {
		t.Helper()
		ids, err := w.q.ReleasesGiveUp(t.Context(), p.ID)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if ids := ended(); len(ids) != 0 {
		t.Errorf("the releases %v are given up before the build", ids)
	}

	// A hook does not take it for the newest commit.
	w.send("PATCH", "/v1/pipelines/blog", `{"repository":{"provider":"github","full_name":"team/blog","branch":"main"}}`).into(t, 200, nil)
	_, path := w.hook("cms", "")
	var called hookCalled
	if w.call(path, nil).into(t, 202, &called); called.Deployment == d.ID {
		t.Error("the hook answers with the deployment of the upload")
	}
	// It supersedes the deployment of the upload, so retention removes the source.
	if ids := ended(); !slices.Equal(ids, []uuid.UUID{r.ID}) {
		t.Errorf("the releases %v are given up after the end, want %s", ids, r.ID)
	}

	expired := w.begin(p, nil, file("source-00000.part", "one"))
	w.exec("UPDATE releases SET expires_at = now() WHERE id = $1", expired.ID)
	deploy(expired.ID).refused(t, 409, "conflict", "source", "expired")
	published := w.released(p, "home")
	deploy(published.ID).refused(t, 409, "conflict", "source", "finalized")
}
