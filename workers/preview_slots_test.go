package workers

import (
	"slices"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// TestStrangersLeaveSlots holds two builds of strangers' commits on two slots:
// one of them waits, and a trusted build does not.
func TestStrangersLeaveSlots(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.withPreviews()
	r.forge.writers = []string{ada.ID}
	r.buildSlots = 2
	r.start()
	p := r.building("blog")
	r.head("blog", commitID("main"))
	r.builder.hold(p.ID)
	newest := func(label string) (d queries.Deployment) {
		v, err := r.q.PreviewOfLabel(t.Context(), p.ID, label)
		if err == nil {
			d, _ = r.q.PreviewNewest(t.Context(), v.ID)
		}
		return d
	}
	for number, commit := range map[int64]string{8: "eight", 9: "nine"} {
		pr := pull("blog", number, commit, stranger)
		r.hears(pr)
		label := troy.PullRequestLabel(number)
		r.previewLabelled(p.ID, label, "known", func(v queries.Preview) bool { return v.HeadCommit != nil })
		if err := r.in.ApprovePreview(t.Context(), p.ID, label, commitID(commit), "ada"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool {
		states := []troy.DeploymentState{newest("pr-8").State, newest("pr-9").State}
		slices.Sort(states)
		if !slices.Equal(states, []troy.DeploymentState{troy.Building, troy.Waiting}) {
			return false
		}
		for _, label := range []string{"pr-8", "pr-9"} {
			row, err := r.q.WorkGet(t.Context(), tasks.TypePreviewBuild, newest(label).ID)
			if err == nil && strings.Contains(row.Cause, "half of the slots") {
				return true
			}
		}
		return false
	}, func() string {
		return "the strangers' builds are " + newest("pr-8").State.String() + " and " + newest("pr-9").State.String() + ", want one to wait"
	})
	r.hears(pull("blog", 7, "seven", ada))
	eventually(t, func() bool { return newest("pr-7").State == troy.Building }, func() string { return "the trusted build is " + newest("pr-7").State.String() })
	r.builder.release(p.ID)
	for label, commit := range map[string]string{"pr-7": "seven", "pr-8": "eight", "pr-9": "nine"} {
		r.showsCommit(p.ID, label, commit)
	}
}
