package workers

import (
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/queries"
)

// TestPullRequestOpenedWhileTheForgeLists opens one after the forge was asked for
// its list, and has a list that wrongly lacks one.
func TestPullRequestOpenedWhileTheForgeLists(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	found := func(list []troy.PullRequest, before []queries.PullRequest) {
		t.Helper()
		if _, err := r.in.PullRequestsFound(t.Context(), p.ID, list, before); err != nil {
			t.Fatal(err)
		}
	}
	open := func() []queries.PullRequest {
		t.Helper()
		rows, err := r.q.PullRequestsOpen(t.Context(), p.ID)
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	before := open()
	pr := pull("blog", 7, "one", ada)
	pr.Updated = time.Now().Add(-time.Hour)
	r.hears(pr)
	r.showsCommit(p.ID, "pr-7", "one")
	found(nil, before)
	if rows := open(); len(rows) != 1 {
		t.Fatalf("%d pull requests are open, want the one that was opened meanwhile", len(rows))
	}

	before = open()
	pr.HeadCommit, pr.Updated = commitID("two"), pr.Updated.Add(time.Minute)
	r.hears(pr)
	found(nil, before)
	r.showsCommit(p.ID, "pr-7", "two")

	found(nil, open())
	r.previewLabelled(p.ID, "pr-7", "removed", removed)
	found([]troy.PullRequest{pr}, nil)
	r.showsCommit(p.ID, "pr-7", "two")
}

// TestPullRequestThatAListLacks has open pull requests that were hidden because
// another one was closed between two pages, and one that can't be looked up.
func TestPullRequestThatAListLacks(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	pr := pull("blog", 7, "one", ada)
	r.hears(pr)
	r.showsCommit(p.ID, "pr-7", "one")
	stays := func(when string) {
		t.Helper()
		r.looks(p.ID)
		if v, err := r.q.PreviewOfLabel(t.Context(), p.ID, "pr-7"); err != nil || v.ClosedAt != nil || !r.pullRow(p.ID, "blog", 7).Open {
			t.Errorf("%s the preview is %+v, %v", when, v, err)
		}
	}
	r.forge.set(func() { r.forge.unlisted = []int64{7} })
	stays("hidden,")
	pr.HeadCommit = commitID("two")
	r.opened(pr)
	r.looks(p.ID)
	r.showsCommit(p.ID, "pr-7", "two")

	r.forge.set(func() { r.forge.fail["PullRequest"] = troy.Errorf(troy.Internal, "bad gateway") })
	stays("while the forge fails,")
	r.forge.set(func() { delete(r.forge.fail, "PullRequest") })
	pr.Open = false
	r.opened(pr)
	r.looks(p.ID)
	r.previewLabelled(p.ID, "pr-7", "removed", removed)
}

// TestLookUpsOfOneComparison has more pull requests that a list lacks than one
// comparison looks up.
func TestLookUpsOfOneComparison(t *testing.T) {
	t.Parallel()
	var before []queries.PullRequest
	for n := range int64(maxConfirmations + 1) {
		before = append(before, queries.PullRequest{Number: n + 1, RepositoryID: "1"})
	}
	s := source{repository: forge.Repository{ID: "1"}}
	confirmed, err := new(Workers).confirmClosed(t.Context(), &claim{}, s, newFakeForge(), &forge.PullRequestList{}, before)
	if err != nil || len(confirmed) != maxConfirmations {
		t.Errorf("%d are to be closed, %v; want %d", len(confirmed), err, maxConfirmations)
	}
}
