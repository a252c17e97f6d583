package workers

import (
	"errors"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// TestPushAfterALostOne delivers a push that touches nothing that is watched
// and begins at a commit that no webhook told of: what came before decides.
func TestPushAfterALostOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		changed []string // between what was built and the head, as the forge tells; nil: it doesn't
		fails   error
		built   bool
	}{
		{"the lost push touched a watched file", []string{"README.md", "src/index.html"}, nil, true},
		{"the lost push touched nothing watched", []string{"README.md", "docs/a.md"}, nil, false},
		{"the forge lists not all files", nil, nil, true},
		{"the forge can't compare", nil, errors.New("the forge is away"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t).withBuilds()
			r.start()
			p := r.building("blog")
			if _, err := r.in.Configure(t.Context(), p.ID, intake.Configuration{WatchPaths: []string{"src/**"}}); err != nil {
				t.Fatal(err)
			}
			built, lost, heard := commitID("built"), commitID("lost"), commitID("heard")
			r.head("blog", built)
			r.pushed("blog", "", built)
			r.restsWith(p.ID, built)

			r.forge.set(func() {
				r.forge.heads["team/blog"] = heard
				r.forge.fail["Compare"] = c.fails
				if c.changed != nil {
					r.forge.changes[built+"..."+heard] = c.changed
				}
			})
			if out := r.pushedPaths("blog", lost, heard, "README.md"); out.Result != intake.Accepted {
				t.Errorf("the push was answered %+v", out)
			}
			if c.built {
				r.restsWith(p.ID, heard)
				return
			}
			var after queries.Pipeline
			eventually(t, func() bool {
				var err error
				after, err = r.q.PipelineGet(t.Context(), p.ID)
				return err == nil && deref(after.HeadCommit) == heard
			}, func() string { return "the head was not read" })
			if d, err := r.q.DeploymentOfCommit(t.Context(), p.ID, heard); err == nil || after.Status != troy.Deployed {
				t.Errorf("a commit that changed nothing watched made deployment %d, and the pipeline is %s", d.Number, after.Status)
			}
		})
	}
}
