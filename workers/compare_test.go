package workers

import (
	"errors"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// TestPushAfterALostOne delivers a push that touches no watched file and whose
// parent no webhook reported: the files of the lost push decide.
func TestPushAfterALostOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		changed []string // between the built commit and the head, as the forge reports; nil: it reports nothing
		fails   error
		built   bool
	}{
		{"the lost push touched a watched file", []string{"README.md", "src/index.html"}, nil, true},
		{"the lost push touched no watched file", []string{"README.md", "docs/a.md"}, nil, false},
		{"the forge does not list all files", nil, nil, true},
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
				t.Errorf("the push got the answer %+v", out)
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
				t.Errorf("a commit without a change to watched files made deployment %d, and the pipeline is %s", d.Number, after.Status)
			}
		})
	}
}
