package workers

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// TestBranchThatDoesNotExist builds a branch that the repository does not have:
// the pipeline reports the problem until the branch exists and is built.
func TestBranchThatDoesNotExist(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	w, _ := r.start()
	p := r.building("blog")
	problem := func(want string) {
		t.Helper()
		var p2 queries.Pipeline
		eventually(t, func() bool {
			var err error
			p2, err = r.q.PipelineGet(t.Context(), p.ID)
			return err == nil && strings.HasPrefix(p2.SourceProblem, want) && (want == "") == (p2.SourceProblem == "")
		}, func() string { return "the problem is " + p2.SourceProblem })
	}
	problem("the branch main does not exist")
	r.head("blog", commitID("first"))
	if err := r.q.WorkRequest(t.Context(), queries.WorkRequestParams{Kind: tasks.TypeCatchUp, SubjectID: p.ID}); err != nil {
		t.Fatal(err)
	}
	w.deps.Bell.Ask(tasks.QueueQuick, tasks.QueueForge)
	r.restsWith(p.ID, commitID("first"))
	problem("")
}
