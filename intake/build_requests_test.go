package intake_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
)

func TestParseBuildRequest(t *testing.T) {
	t.Parallel()
	commit := strings.Repeat("ab", 20)
	got, err := intake.ParseBuildRequest([]byte(`{"id":"b-1","pipeline":"blog","commit":"` + commit + `"}`))
	if err != nil || got != (intake.BuildRequest{ID: "b-1", Pipeline: "blog", Commit: commit}) {
		t.Errorf("%+v, %v", got, err)
	}
	for body, field := range map[string]string{
		``:                          "",
		`[]`:                        "",
		`{"pipeline":"blog"}`:       "id",
		`{"id":"b-1"}`:              "pipeline",
		`{"id":"b-1","pipeline":7}`: "pipeline",
		`{"id":"b-1","pipeline":"b","commit":"main"}`: "commit",
		`{"id":"b-1","pipeline":"b","branch":"x"}`:    "branch",
	} {
		_, err := intake.ParseBuildRequest([]byte(body))
		var e *troy.Error
		if !errors.As(err, &e) || e.Kind != troy.Invalid || !strings.Contains(e.Field, field) {
			t.Errorf("%s: %v; want it invalid at %q", body, err, field)
		}
	}
}

func TestBuildRequested(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, err := w.in.CreatePipeline(w.ctx(), intake.NewPipeline{
		Name: "Blog", Repository: &intake.Repository{Provider: "github", FullName: "team/blog", Branch: "main"},
	}, "test")
	if err != nil {
		t.Fatal(err)
	}
	commit := strings.Repeat("ab", 20)
	for _, r := range []intake.BuildRequest{{ID: "b-1", Pipeline: "blog", Commit: commit}, {ID: "b-2", Pipeline: p.ID.String()}} {
		for _, want := range []intake.Result{intake.BuildStarted, intake.Duplicate} {
			if out, err := w.in.BuildRequested(w.ctx(), r); err != nil || out.Result != want {
				t.Errorf("%s: %+v, %v; want %s", r.ID, out, err, want)
			}
		}
	}
	if n := w.count("SELECT count(*) FROM deployments WHERE pipeline_id = $1 AND kind = 'automated'", p.ID); n != 2 {
		t.Errorf("%d deployments, want 2", n)
	}
	if n := w.count("SELECT count(*) FROM deployments WHERE commit_sha = $1 AND actor = 'build request b-1'", commit); n != 1 {
		t.Errorf("%d deployments of the commit, want 1", n)
	}

	// A failed request is not recorded and may be sent again.
	none := intake.BuildRequest{ID: "b-3", Pipeline: "shop"}
	for _, pipeline := range []string{"shop", uuid.NewString()} {
		none.Pipeline = pipeline
		_, err := w.in.BuildRequested(w.ctx(), none)
		wantKind(t, err, troy.NotFound, "pipeline not found")
	}
	shop := w.create("Shop")
	none.Pipeline = "shop"
	_, err = w.in.BuildRequested(w.ctx(), none)
	wantKind(t, err, troy.Conflict, "no repository")
	if _, err := w.in.ScheduleDeletion(w.ctx(), shop.ID, "test"); err != nil {
		t.Fatal(err)
	}
	_, err = w.in.BuildRequested(w.ctx(), none)
	wantKind(t, err, troy.Conflict, "")
	if n := w.count("SELECT count(*) FROM deliveries WHERE id = 'b-3'"); n != 0 {
		t.Error("a refused request is recorded")
	}
}
