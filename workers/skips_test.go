package workers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// skipping makes a pipeline that watches web and whose first commit is live.
func (r *rig) skipping() queries.Pipeline {
	r.t.Helper()
	p := r.building("blog")
	r.head("blog", commitID("first"))
	r.pushed("blog", "", commitID("first"))
	r.restsWith(p.ID, commitID("first"))
	if _, err := r.db.Exec(r.t.Context(), "UPDATE pipelines SET watch_paths = '{web/**}' WHERE id = $1", p.ID); err != nil {
		r.t.Fatal(err)
	}
	return p
}

// skip pushes a commit that is not built.
func (r *rig) skip() (commit string) {
	r.t.Helper()
	r.head("blog", commitID("words"))
	r.pushedPaths("blog", commitID("first"), commitID("words"), "README.md")
	return commitID("words")
}

func (r *rig) skips() (n int) {
	r.t.Helper()
	if err := r.db.QueryRow(r.t.Context(), "SELECT count(*) FROM skips").Scan(&n); err != nil {
		r.t.Fatal(err)
	}
	return n
}

// toldOf returns the reports on a commit.
func (r *rig) toldOf(commit string) (all []forge.Report) {
	r.forge.set(func() {
		for _, report := range r.forge.reports {
			if report.Commit == commit {
				all = append(all, report)
			}
		}
	})
	return all
}

// TestSkippedCommitIsReported loses the report of a skipped commit in each
// possible way. In the end the forge has one report, and no row is left.
func TestSkippedCommitIsReported(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(r *rig){
		"nothing is lost": func(*rig) {},
		"the forge is away": func(r *rig) {
			eventually(r.t, func() bool {
				var attempt int
				err := r.db.QueryRow(r.t.Context(), "SELECT w.attempt FROM work w JOIN skips s ON s.id = w.subject_id WHERE w.lease_until IS NULL AND w.cause <> ''").Scan(&attempt)
				return err == nil && attempt > 0
			}, func() string { return "the report was not tried" })
		},
		"the work is lost": func(r *rig) {
			eventually(r.t, func() bool {
				tag, err := r.db.Exec(r.t.Context(), "DELETE FROM work w USING skips s WHERE s.id = w.subject_id AND w.lease_until IS NULL")
				return err == nil && tag.RowsAffected() == 1
			}, func() string { return "there was no work to lose" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t).withBuilds()
			r.reconcile = 100 * time.Millisecond
			r.start()
			p := r.skipping()
			if name != "nothing is lost" {
				r.forge.set(func() { r.forge.fail["Report"] = errors.New("the forge is away") })
			}
			commit := r.skip()
			lose(r)
			r.forge.set(func() { delete(r.forge.fail, "Report") })
			eventually(t, func() bool { return len(r.toldOf(commit)) > 0 && r.skips() == 0 }, func() string { return "the forge got no report" })
			told := r.toldOf(commit)
			if len(told) != 1 || told[0].State != forge.Skipped || told[0].Title != "Skipped: no file that the pipeline watches changed" ||
				told[0].DetailsURL == "" || told[0].Environment != "" || told[0].Pipeline != p.ID.String() || told[0].Ended.IsZero() {
				t.Errorf("the forge got %+v", told)
			}
		})
	}
}

// TestSkipOfADeployedCommit deploys a commit by hand before its skip is
// reported: only the deployment is reported.
func TestSkipOfADeployedCommit(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.start()
	p := r.skipping()
	w, commit := r.workers(), commitID("first")
	id := uuid.Must(uuid.NewV7())
	r.noteSkip(queries.SkipCreatesParams{ID: id, PipelineID: p.ID, CommitSha: commit, Reason: "no reason"})
	before := len(r.toldOf(commit))
	w.deps.Bell.Ask(tasks.QueueQuick, tasks.QueueForge)
	eventually(t, func() bool { return r.skips() == 0 }, func() string { return "the skip is kept" })
	for _, report := range r.toldOf(commit)[before:] {
		if report.State == forge.Skipped {
			t.Errorf("the forge got %+v", report)
		}
	}
}

// TestSkipOfAPreviewThatWaits skips a commit as a preview's that another pull
// request's preview has: only that preview, which waits for an approval, is
// reported.
func TestSkipOfAPreviewThatWaits(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	commit := commitID("one")
	r.hears(pull("blog", 1, "one", troy.ForgeUser{ID: "666", Name: "eve"}))
	r.previewLabelled(p.ID, "pr-1", "waiting", waitsForApproval)
	w := r.workers()
	skipped := func(id uuid.UUID, commit string) {
		t.Helper()
		// It has no work, so that no other worker reports it.
		if _, err := r.db.Exec(t.Context(), "INSERT INTO skips (id, pipeline_id, commit_sha, reason, preview) VALUES ($1, $2, $3, 'no reason', true)", id, p.ID, commit); err != nil {
			t.Fatal(err)
		}
		if err := w.reportSkip(t.Context(), id); err != nil || r.skips() != 0 {
			t.Errorf("%v, %d skips are left", err, r.skips())
		}
	}
	skipped(uuid.New(), commit)
	for _, report := range r.toldOf(commit) {
		if report.State == forge.Skipped {
			t.Errorf("the forge got %+v", report)
		}
	}

	// A commit that is gone has no place for reports.
	r.forge.set(func() { r.forge.fail["Report"] = forge.ErrNoCommit })
	skipped(uuid.New(), commitID("gone"))
}

// TestPullRequestOfAnotherRepository decides about a pull request after its
// pipeline was given another repository, which does not have the commit.
func TestPullRequestOfAnotherRepository(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	r.hears(pull("blog", 1, "one", ada))
	r.showsCommit(p.ID, "pr-1", "one")
	row, commit := r.pullRow(p.ID, "blog", 1), commitID("elsewhere")
	if _, err := r.db.Exec(t.Context(), "UPDATE pull_requests SET repository_id = 'team/elsewhere', head_commit = $2, build = true WHERE id = $1", row.ID, commit); err != nil {
		t.Fatal(err)
	}
	if err := r.workers().pullRequest(t.Context(), &claim{task: tasks.Task{Kind: tasks.TypePullRequest, Subject: row.ID}, log: r.workers().log}); err != nil {
		t.Fatal(err)
	}
	if row = r.pullRow(p.ID, "elsewhere", 1); row.Build || row.Decision != "the pipeline builds another repository" {
		t.Errorf("decided is %+v", row)
	}
	if r.skips() != 0 || len(r.toldOf(commit)) != 0 {
		t.Errorf("%d reports are requested, %+v were made", r.skips(), r.toldOf(commit))
	}
}

func (r *rig) noteSkip(skip queries.SkipCreatesParams) {
	r.t.Helper()
	r.q.SkipCreates(r.t.Context(), []queries.SkipCreatesParams{skip}).Exec(func(_ int, err error) {
		if err != nil {
			r.t.Fatal(err)
		}
	})
}

// TestSkipIsGivenUp forgets a skipped commit that can't be reported to the
// forge.
func TestSkipIsGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.start()
	p := r.skipping()
	w := r.workers()
	id := uuid.Must(uuid.NewV7())
	r.noteSkip(queries.SkipCreatesParams{ID: id, PipelineID: p.ID, CommitSha: commitID("x"), Reason: "no reason"})
	var log strings.Builder
	c := &claim{task: tasks.Task{Kind: tasks.TypeReport, Subject: id}, log: textLog(&log)}
	if err := w.giveUpReport(context.WithoutCancel(t.Context()), c, "the forge refuses it"); err != nil || r.skips() != 0 {
		t.Errorf("%v, %d skips are left", err, r.skips())
	}
	if !strings.Contains(log.String(), "the forge refuses it") {
		t.Errorf("the log says %q", log.String())
	}
}
