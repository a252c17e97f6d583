package workers

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// alsoBuilding makes another ready pipeline of a repository.
func (r *rig) alsoBuilding(name, repository string, watched ...string) queries.Pipeline {
	r.t.Helper()
	p, err := r.in.CreatePipeline(r.t.Context(), intake.NewPipeline{
		Name: name, Provision: true, Repository: &intake.Repository{Provider: "github", FullName: "team/" + repository, Branch: "main"},
	}, "test")
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.in.Configure(r.t.Context(), p.ID, intake.Configuration{WatchPaths: watched}); err != nil {
		r.t.Fatal(err)
	}
	return r.waitFor(p.ID, troy.ReadyForDeployment)
}

func (r *rig) pullRow(pipeline uuid.UUID, repository string, number int64) queries.PullRequest {
	r.t.Helper()
	row, err := r.q.PullRequestOf(r.t.Context(), queries.PullRequestOfParams{PipelineID: pipeline, RepositoryID: "team/" + repository, Number: number})
	if err != nil {
		r.t.Fatal(err)
	}
	return row
}

// looks compares the pull requests with the forge's list, and waits for the end.
func (r *rig) looks(pipeline uuid.UUID) {
	r.t.Helper()
	if err := r.q.WorkRequest(r.t.Context(), queries.WorkRequestParams{Kind: tasks.TypeCatchUp, SubjectID: pipeline}); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, func() bool {
		row, err := r.q.WorkGet(r.t.Context(), tasks.TypeCatchUp, pipeline)
		return err != nil || row.LeaseUntil == nil && row.DueAt.After(time.Now().Add(time.Second))
	}, func() string { return "the comparison has not ended" })
}

func (r *rig) count(sql string, args ...any) (n int) {
	r.t.Helper()
	if err := r.db.QueryRow(r.t.Context(), sql, args...).Scan(&n); err != nil {
		r.t.Fatal(err)
	}
	return n
}

// TestStackedPullRequests has a pull request whose target is the branch of
// another one.
func TestStackedPullRequests(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	lower, upper := pull("blog", 1, "one", ada), pull("blog", 2, "two", ada)
	lower.Head, upper.Head, upper.Base = "lower", "upper", "lower"
	r.hears(lower)
	r.hears(upper)
	r.showsCommit(p.ID, "pr-1", "one")
	shown := r.showsCommit(p.ID, "pr-2", "two")
	before, err := r.q.PreviewOfLabel(t.Context(), p.ID, "pr-2")
	if err != nil {
		t.Fatal(err)
	}

	lower.Open, lower.Action = false, "closed"
	r.hears(lower)
	r.previewLabelled(p.ID, "pr-1", "removed", removed)
	// GitHub retargets the other one.
	upper.Base, upper.Action = "main", "edited"
	r.hears(upper)
	after, err := r.q.PreviewOfLabel(t.Context(), p.ID, "pr-2")
	if err != nil || after.ClosedAt != nil || *after.LiveDeploymentID != shown.ID || !after.PushedAt.Equal(before.PushedAt) || !after.ExpiresAt.Equal(before.ExpiresAt) {
		t.Errorf("retargeted, the preview was %+v and is %+v, %v", before, after, err)
	}
	if row := r.pullRow(p.ID, "blog", 2); row.Base != "main" || row.Build {
		t.Errorf("the row is %+v", row)
	}
	if n := r.count("SELECT count(*) FROM deployments WHERE preview_id = $1", after.ID); n != 1 {
		t.Errorf("%d deployments, want 1", n)
	}
}

// TestPullRequestsOfSeveralRepositories has two repositories with pull requests
// of the same number. The branch of one is in the other repository, to which
// others may push.
func TestPullRequestsOfSeveralRepositories(t *testing.T) {
	t.Parallel()
	r, blog := pulling(t)
	shop := r.building("shop")
	r.head("shop", commitID("shop"))
	across := pull("blog", 7, "across", ada)
	across.HeadRepository, across.HeadFullName, across.Fork = "team/shop", "team/shop", true
	own := pull("shop", 7, "own", ada)
	r.hears(across)
	r.hears(own)
	r.previewLabelled(blog.ID, "pr-7", "waiting for an approval", waitsForApproval)
	r.comments(across, ada, commitID("across"))
	r.showsCommit(blog.ID, "pr-7", "across")
	r.showsCommit(shop.ID, "pr-7", "own")
	across.Open = false
	r.hears(across)
	r.previewLabelled(blog.ID, "pr-7", "removed", removed)
	r.showsCommit(shop.ID, "pr-7", "own")
	if n := r.count("SELECT count(*) FROM previews"); n != 2 {
		t.Errorf("%d previews, want 2", n)
	}
}

// TestManyPullRequests opens 200 at once by a stranger, 200 by a collaborator,
// and pushes to all of the stranger's again.
func TestManyPullRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.buildSlots, r.slots = 4, 8
	r.withPreviews()
	r.forge.writers = []string{ada.ID}
	r.start()
	p := r.building("blog")
	r.head("blog", commitID("main"))
	openAll := func(first int64, author troy.ForgeUser, round string) {
		t.Helper()
		var list []troy.PullRequest
		for n := range int64(200) {
			pr := pull("blog", first+n, fmt.Sprint(round, n), author)
			r.opened(pr)
			list = append(list, pr)
		}
		if _, err := r.in.PullRequestsFound(t.Context(), p.ID, list, nil); err != nil {
			t.Fatal(err)
		}
		left := 0
		ended := poll.Until(t.Context(), 3*time.Minute, 50*time.Millisecond, func() bool {
			left = r.count("SELECT (SELECT count(*) FROM pull_requests WHERE build) + (SELECT count(*) FROM work WHERE kind IN ('forge:pull-request', 'preview:build', 'preview:publish', 'preview:remove', 'deployment:poll-build'))")
			return left == 0
		})
		if !ended {
			t.Fatalf("%d pull requests wait, or work for previews is left", left)
		}
	}
	open := func(author string) int {
		return r.count("SELECT count(*) FROM previews WHERE closed_at IS NULL AND author = $1", author)
	}
	replaced := func() int {
		return r.count("SELECT count(*) FROM audit WHERE action = 'preview.delete' AND detail LIKE 'it made room for the preview pr-%; a pipeline has at most 50'")
	}

	openAll(1, stranger, "first")
	if open(stranger.Name) != 50 || replaced() != 150 {
		t.Errorf("of the stranger's %d are open, and %d made room; want 50 and 150", open(stranger.Name), replaced())
	}
	openAll(1001, ada, "first")
	if open(stranger.Name) != 0 || open(ada.Name) != 50 || replaced() != 350 {
		t.Errorf("%d and %d are open, and %d made room; want 0, 50 and 350", open(stranger.Name), open(ada.Name), replaced())
	}
	shown := func() (list string) {
		t.Helper()
		if err := r.db.QueryRow(t.Context(), "SELECT string_agg(label || ' ' || live_deployment_id, ', ' ORDER BY label) FROM previews WHERE closed_at IS NULL").Scan(&list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	before := shown()
	if n := strings.Count(before, "pr-1"); n != 50 {
		t.Errorf("%d of the collaborator's are shown, want 50: %s", n, before)
	}

	openAll(1, stranger, "second")
	if after := shown(); after != before {
		t.Errorf("a stranger changed the previews from %s to %s", before, after)
	}
	if n := r.count("SELECT count(*) FROM pull_requests WHERE author = $1 AND decision LIKE '%has 50 previews%'", stranger.Name); n != 200 {
		t.Errorf("%d of the stranger's pull requests say why they have no preview, want 200", n)
	}
	if n := r.count("SELECT count(*) FROM previews WHERE closed_at IS NOT NULL AND removed_at IS NULL"); n != 0 {
		t.Errorf("%d closed previews are not removed", n)
	}
	// There is room again with the next commit.
	pr := pull("blog", 1001, "none", ada)
	if err := r.db.QueryRow(t.Context(), "SELECT number FROM previews WHERE closed_at IS NULL LIMIT 1").Scan(&pr.Number); err != nil {
		t.Fatal(err)
	}
	pr.Open = false
	r.hears(pr)
	r.hears(pull("blog", 1, "third", stranger))
	r.previewLabelled(p.ID, "pr-1", "open", func(v queries.Preview) bool { return v.ClosedAt == nil && deref(v.HeadCommit) == commitID("third") })
}

// TestPullRequestInAMonorepo has three pipelines, of which a pull request
// changes two.
func TestPullRequestInAMonorepo(t *testing.T) {
	t.Parallel()
	r, _ := pulling(t)
	var sites []queries.Pipeline
	for _, name := range []string{"docs", "shop", "press"} {
		p := r.alsoBuilding(name, "mono", name+"/**")
		r.setting(p, `{"comment_previews": true}`)
		sites = append(sites, p)
	}
	r.head("mono", commitID("mono main"))
	changes := func(commit string, files ...string) {
		r.forge.set(func() { r.forge.changes[commitID("mono main")+"..."+commitID(commit)] = files })
	}
	written := func() []string {
		r.forge.mu.Lock()
		defer r.forge.mu.Unlock()
		return slices.Clone(r.forge.written)
	}
	commentIs := func(want ...string) {
		t.Helper()
		eventually(t, func() bool {
			all := written()
			return len(all) > 0 && !slices.ContainsFunc(want, func(s string) bool { return !strings.Contains(all[len(all)-1], s) })
		}, func() string { return fmt.Sprintf("the comment lacks one of %q: %q", want, written()) })
	}
	changes("one", "docs/a.md", "shop/b.md")
	pr := pull("mono", 7, "one", ada)
	r.hears(pr)
	r.showsCommit(sites[0].ID, "pr-7", "one")
	r.showsCommit(sites[1].ID, "pr-7", "one")
	short := commitID("one")[:7]
	line := func(slug, commit string) string {
		return fmt.Sprintf("| %s | http://pr-7--%s.localhost | `%s` | [Ready]", slug, slug, commit)
	}
	commentIs(line("docs", short), line("shop", short))
	eventually(t, func() bool { return !r.pullRow(sites[2].ID, "mono", 7).Build }, func() string { return "press has no decision" })
	if row := r.pullRow(sites[2].ID, "mono", 7); row.Decision != "no file that the pipeline watches changed" {
		t.Errorf("press's decision is %q", row.Decision)
	}

	changes("two", "docs/a.md", "press/c.md")
	pr.HeadCommit = commitID("two")
	r.hears(pr)
	short = commitID("two")[:7]
	for _, p := range sites {
		r.showsCommit(p.ID, "pr-7", "two") // what has a preview keeps it
	}
	commentIs(line("docs", short), line("shop", short), line("press", short))
	// Reports that find nothing new write nothing.
	last := len(written())
	for _, p := range sites {
		v, err := r.q.PreviewOfLabel(t.Context(), p.ID, "pr-7")
		if err != nil {
			t.Fatal(err)
		}
		if err := r.q.WorkRequest(t.Context(), queries.WorkRequestParams{Kind: tasks.TypePreviewReport, SubjectID: v.ID}); err != nil {
			t.Fatal(err)
		}
	}
	reported := func() {
		t.Helper()
		eventually(t, func() bool { return r.count("SELECT count(*) FROM work WHERE kind = 'preview:report'") == 0 }, func() string { return "reports are left" })
	}
	reported()
	if n := len(written()); n != last {
		t.Errorf("the comment was written %d times without a change: %q", n-last, written()[last:])
	}

	pr.Open = false
	r.hears(pr)
	for _, p := range sites {
		r.previewLabelled(p.ID, "pr-7", "retracted", func(v queries.Preview) bool { return v.RetractedAt != nil })
	}
	reported()
	all := written()
	if all[len(all)-1] != "" {
		t.Errorf("the comment is still %q", all[len(all)-1])
	}
	// Each of five deployments changes it at most four times, and each of three
	// closed previews once.
	seen := map[string]bool{}
	for _, text := range all {
		if seen[text] {
			t.Errorf("written twice: %q", text)
		}
		seen[text] = true
	}
	if len(all) > 5*4+3 {
		t.Errorf("the comment was written %d times", len(all))
	}
}

// TestRepositoryOfPullRequestRenamed renames the target repository, whose
// webhook about the pull request never comes.
func TestRepositoryOfPullRequestRenamed(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	pr := pull("blog", 7, "one", ada)
	r.hears(pr)
	first := r.showsCommit(p.ID, "pr-7", "one")
	before := r.previewLabelled(p.ID, "pr-7", "there", func(queries.Preview) bool { return true })
	pr.Repository.FullName, pr.HeadFullName, pr.URL = "team/journal", "team/journal", "https://forge.example/team/journal/pull/7"
	r.head("journal", commitID("main"))
	r.deliver(troy.RepositoryChange{Repository: pr.Repository, Action: troy.RepositoryRenamed, OldFullName: "team/blog"})
	r.opened(pr)
	r.looks(p.ID)
	v := r.previewLabelled(p.ID, "pr-7", "linked to the new name", func(v queries.Preview) bool { return v.Url == pr.URL })
	if v.ID != before.ID || v.ClosedAt != nil || *v.LiveDeploymentID != first.ID {
		t.Errorf("the preview was %+v and is %+v", before, v)
	}
	if p, err := r.q.PipelineGet(t.Context(), p.ID); err != nil || deref(p.RepositoryFullName) != "team/journal" {
		t.Errorf("the pipeline is %+v, %v", p, err)
	}
	pr.HeadCommit = commitID("two")
	r.hears(pr)
	if d := r.showsCommit(p.ID, "pr-7", "two"); d.PreviewID == nil || *d.PreviewID != v.ID {
		t.Errorf("the deployment is %+v", d)
	}
	if n := r.count("SELECT count(*) FROM previews") + r.count("SELECT count(*) FROM pull_requests"); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

// TestHeadRepositoryDeleted deletes a fork while its commit waits for an
// approval, and while the commit is built. GitHub keeps the commit in the target
// repository.
func TestHeadRepositoryDeleted(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	pr := pull("blog", 7, "one", stranger)
	pr.HeadRepository, pr.HeadFullName, pr.Fork = "eve/blog", "eve/blog", true
	gone := func() {
		deleted := pr
		deleted.HeadRepository, deleted.HeadFullName = "", ""
		r.opened(deleted)
		r.looks(p.ID)
		r.deliver(deleted)
	}
	waiting := func(commit string) {
		r.previewLabelled(p.ID, "pr-7", "waiting for an approval", func(v queries.Preview) bool { return waitsForApproval(v) && *v.HeadCommit == commitID(commit) })
	}
	r.hears(pr)
	waiting("one")
	gone()
	waiting("one")
	if err := r.in.ApprovePreview(t.Context(), p.ID, "pr-7", commitID("one"), "ada"); err != nil {
		t.Fatal(err)
	}
	r.showsCommit(p.ID, "pr-7", "one")

	pr.HeadCommit = commitID("two")
	r.hears(pr)
	waiting("two")
	r.builder.hold(p.ID)
	if err := r.in.ApprovePreview(t.Context(), p.ID, "pr-7", commitID("two"), "ada"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return r.count("SELECT count(*) FROM deployments WHERE state = 'building'") == 1 }, func() string { return "the build did not start" })
	gone()
	r.builder.release(p.ID)
	if d := r.showsCommit(p.ID, "pr-7", "two"); d.Trusted {
		t.Errorf("the deployment is %+v", d)
	}
}

// TestForcePushWhileBuilding replaces a commit whose build runs.
func TestForcePushWhileBuilding(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	s := r.cloud.Previews.(*shown)
	pr := pull("blog", 7, "one", ada)
	r.builder.hold(p.ID)
	r.hears(pr)
	var replaced uuid.UUID
	select {
	case replaced = <-r.builder.started:
	case <-time.After(30 * time.Second):
		t.Fatal("the build did not start")
	}
	pr.HeadCommit = commitID("two")
	r.hears(pr)
	if d := r.ended(replaced); d.State != troy.Superseded || deref(d.CommitSha) != commitID("one") {
		t.Errorf("the first is %+v", d)
	}
	eventually(t, func() bool { return strings.Contains(r.builder.did(), "stop") }, func() string { return "its build was not stopped" })
	r.builder.release(p.ID)
	d := r.showsCommit(p.ID, "pr-7", "two")
	if s.of("pr-7") != d.ID || s.of("d-1") != uuid.Nil {
		t.Errorf("pr-7 shows %s and d-1 %s, want %s and nothing", s.of("pr-7"), s.of("d-1"), d.ID)
	}
}

// TestReopenedAfterThePreviewWasDeleted closes and opens a pull request whose
// preview a user deleted.
func TestReopenedAfterThePreviewWasDeleted(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	pr := pull("blog", 7, "one", ada)
	r.hears(pr)
	first := r.showsCommit(p.ID, "pr-7", "one")
	if err := r.in.DeletePreview(t.Context(), p.ID, "pr-7", "test"); err != nil {
		t.Fatal(err)
	}
	r.previewLabelled(p.ID, "pr-7", "removed", removed)
	pr.Open = false
	r.hears(pr)
	if v, err := r.q.PreviewOfLabel(t.Context(), p.ID, "pr-7"); err != nil || v.ClosedCause != "deleted by test" {
		t.Errorf("closed, the preview is %+v, %v", v, err)
	}
	pr.Open = true
	r.hears(pr)
	if d := r.showsCommit(p.ID, "pr-7", "one"); d.ID == first.ID || *d.PreviewID != *first.PreviewID {
		t.Errorf("reopened, %+v is shown, before %+v", d, first)
	}
}

// TestUnreadablePullRequestIsLeft has one that can't be read in the forge's list,
// and one whose webhook "closed" was lost.
func TestUnreadablePullRequestIsLeft(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	for n, commit := range map[int64]string{7: "seven", 8: "eight"} {
		r.hears(pull("blog", n, commit, ada))
		r.showsCommit(p.ID, fmt.Sprintf("pr-%d", n), commit)
	}
	closed := pull("blog", 8, "eight", ada)
	closed.Open = false
	r.opened(closed)
	r.forge.set(func() { r.forge.garbled = []int64{7} })
	r.looks(p.ID)
	r.previewLabelled(p.ID, "pr-8", "removed", removed)
	if v, err := r.q.PreviewOfLabel(t.Context(), p.ID, "pr-7"); err != nil || v.ClosedAt != nil || !r.pullRow(p.ID, "blog", 7).Open {
		t.Errorf("the unreadable one is %+v, %v", v, err)
	}
}

// TestDeletionRetractsReportsUnderWay deletes a pipeline while a worker reports
// on a preview, and while the forge fails.
func TestDeletionRetractsReportsUnderWay(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	reporting, answer := make(chan string, 1), make(chan struct{})
	r.forge.set(func() {
		r.forge.delay = func(report forge.Report) {
			if report.Transient && report.State == troy.Succeeded {
				select {
				case reporting <- report.Deployment:
				default: // reported before
				}
				<-answer
			}
		}
	})
	r.hears(pull("blog", 7, "one", ada))
	d := r.showsCommit(p.ID, "pr-7", "one")
	if id := <-reporting; id != d.ID.String() {
		t.Fatalf("reported is %s, want %s", id, d.ID)
	}
	r.forge.set(func() { r.forge.fail["Retract"] = troy.Errorf(troy.Unavailable, "bad gateway") }) // once
	if _, err := r.in.ScheduleDeletion(t.Context(), p.ID, "test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		row, err := r.q.WorkGet(t.Context(), tasks.TypeTeardown, p.ID)
		return err == nil && strings.Contains(row.Cause, "another worker still reports on a preview")
	}, func() string { return "the deletion does not wait for the report" })
	close(answer)
	r.waitFor(p.ID, troy.Deleted)
	r.forge.mu.Lock()
	defer r.forge.mu.Unlock()
	if !slices.Contains(r.forge.retracted, d.ID.String()) {
		t.Errorf("retracted are %v, want %s", r.forge.retracted, d.ID)
	}
}
