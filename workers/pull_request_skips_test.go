package workers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// TestPullRequestsWithoutPreviews has what the settings leave out, and a late
// delivery.
func TestPullRequestsWithoutPreviews(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	decided := func(number int64, want string) {
		t.Helper()
		var row queries.PullRequest
		eventually(t, func() bool {
			var err error
			row, err = r.q.PullRequestOf(t.Context(), queries.PullRequestOfParams{PipelineID: p.ID, RepositoryID: "team/blog", Number: number})
			return err == nil && !row.Build && strings.Contains(row.Decision, want)
		}, func() string { return fmt.Sprintf("pull request %d has the decision %q", number, row.Decision) })
	}
	r.setting(p, `{"pull_requests": "ready", "skip_bots": true}`)
	draft := pull("blog", 1, "one", ada)
	draft.Draft = true
	r.hears(draft)
	decided(1, "it is a draft")
	skippedFor := func(commit, why string) {
		t.Helper()
		eventually(t, func() bool { return len(r.toldOf(commitID(commit))) > 0 }, func() string { return "the forge got no report on the commit " + commit })
		for _, told := range r.toldOf(commitID(commit)) {
			if told.State != forge.Skipped || told.Name != "Troy: blog (preview)" || !strings.HasPrefix(told.Title, "Skipped: "+why) || !strings.HasPrefix(told.Summary, "This pull request has no preview: "+why) {
				t.Errorf("the forge got %+v", told)
			}
		}
	}
	skippedFor("one", "it is a draft")
	draft.Draft = false
	r.hears(draft)
	r.showsCommit(p.ID, "pr-1", "one")
	draft.Draft = true
	r.hears(draft)
	r.previewLabelled(p.ID, "pr-1", "removed", removed)

	r.hears(pull("blog", 2, "two", troy.ForgeUser{ID: "1", Name: "renovate[bot]", Bot: true}))
	decided(2, "its author is a bot")
	skippedFor("two", "its author is a bot")

	if _, err := r.in.Configure(t.Context(), p.ID, intake.Configuration{WatchPaths: []string{"site/**"}}); err != nil {
		t.Fatal(err)
	}
	r.forge.set(func() { r.forge.changes[commitID("main")+"..."+commitID("three")] = []string{"README.md"} })
	r.hears(pull("blog", 3, "three", ada))
	decided(3, "no file that the pipeline watches changed")
	skippedFor("three", "no file that the pipeline watches changed")

	late := pull("blog", 4, "four", ada)
	late.Updated = time.Now()
	r.hears(late)
	r.showsCommit(p.ID, "pr-4", "four")
	earlier := late
	earlier.Open, earlier.Updated = false, late.Updated.Add(-time.Hour)
	if out := r.deliver(earlier); out.Result != intake.Ignored || !strings.Contains(out.Detail, "a newer delivery") {
		t.Errorf("a late delivery is %+v", out)
	}

	// The forge is asked, so a late delivery about an open one builds nothing.
	gone := pull("blog", 5, "five", ada)
	r.deliver(gone)
	eventually(t, func() bool {
		row, err := r.q.PullRequestOf(t.Context(), queries.PullRequestOfParams{PipelineID: p.ID, RepositoryID: "team/blog", Number: 5})
		return err == nil && !row.Open && !row.Build
	}, func() string { return "pull request 5, which does not exist, is open" })

	r.setting(p, `{"pull_requests": "none"}`)
	// A worker may have compared before.
	if _, err := r.in.PullRequestsFound(t.Context(), p.ID, []troy.PullRequest{late}, nil); err != nil {
		t.Error(err)
	}
	v := r.previewLabelled(p.ID, "pr-4", "removed", removed)
	if !strings.Contains(v.ClosedCause, "pull_requests is none") {
		t.Errorf("closed for %q", v.ClosedCause)
	}
	// A pipeline without any previews of pull requests reports nothing.
	six := pull("blog", 6, "six", ada)
	r.hears(six)
	decided(6, "pull_requests is none")
	if n := r.count("SELECT count(*) FROM skips WHERE commit_sha = '" + commitID("six") + "'"); n != 0 || len(r.toldOf(commitID("six"))) > 0 {
		t.Errorf("%d reports on a pull request of a pipeline without previews are requested, %+v were made", n, r.toldOf(commitID("six")))
	}
}
