package intake_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// previewed makes a pipeline with a repository that can have previews.
func (w *world) previewed(slug string) queries.Pipeline {
	w.t.Helper()
	p, err := w.in.CreatePipeline(w.ctx(), intake.NewPipeline{Name: slug, Slug: slug, Repository: &intake.Repository{Provider: "github", FullName: "team/" + slug, Branch: "main"}}, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(p, troy.Deployed)
	return w.get(p.ID)
}

// open opens a preview and builds a commit for it.
func (w *world) open(p queries.Pipeline, s intake.PreviewSource, commit string) (v queries.Preview, d queries.Deployment, built bool, err error) {
	err = w.in.ChangePreviews(w.ctx(), p.ID, func(q *queries.Queries, p queries.Pipeline) error {
		if v, err = w.in.OpenPreview(w.ctx(), q, p, s, "test"); err != nil || commit == "" {
			return err
		}
		d, built, err = w.in.BuildPreview(w.ctx(), q, p, v, intake.PreviewCommit{Commit: commit, Branch: s.Branch}, "test")
		return err
	})
	return v, d, built, err
}

func pullRequest(number int64) intake.PreviewSource {
	return intake.PreviewSource{Kind: troy.PullRequestPreview, RepositoryID: "77", Number: number, Branch: "topic", Title: "A change", Author: "ada", Trusted: true}
}

func branch(name string) intake.PreviewSource {
	return intake.PreviewSource{Kind: troy.BranchPreview, Branch: name, Trusted: true}
}

var commits = [3]string{strings.Repeat("a", 40), strings.Repeat("b", 40), strings.Repeat("c", 40)}

func (w *world) state(d queries.Deployment) troy.DeploymentState {
	w.t.Helper()
	d, err := w.q.DeploymentGet(w.ctx(), d.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return d.State
}

func TestPreviewsLeaveTheSiteAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.previewed("blog")
	v, first, _, err := w.open(before, pullRequest(1), commits[0])
	if err != nil || first.Kind != troy.Preview || first.State != troy.Waiting || first.Number != 1 || v.Label != "pr-1" {
		t.Fatalf("%+v, %+v, %v; want a waiting deployment 1 of the preview pr-1", v, first, err)
	}
	// The same commit again, as a repeated delivery.
	if _, again, built, err := w.open(before, pullRequest(1), commits[0]); err != nil || !built || again.ID != first.ID {
		t.Errorf("the same commit: %v, %v, %v; want deployment 1", again.Number, built, err)
	}
	// A forced push while it builds.
	w.exec("UPDATE deployments SET state = 'building', started_at = now() WHERE id = $1", first.ID)
	_, second, _, err := w.open(before, pullRequest(1), commits[1])
	if err != nil || w.state(first) != troy.Superseded || second.State != troy.Waiting {
		t.Errorf("a newer commit: %v; the first is %s and the second %s", err, w.state(first), second.State)
	}
	if n := w.count("SELECT count(*) FROM work WHERE subject_id = $1 AND kind = 'deployment:poll-build'", first.ID); n != 1 {
		t.Errorf("%d rows stop the superseded build, want 1", n)
	}
	if _, err := w.in.CancelDeployment(w.ctx(), before.ID, second.ID, "test"); err != nil || w.state(second) != troy.Cancelled {
		t.Errorf("cancel: %v; it is %s", err, w.state(second))
	}
	third, err := w.in.Retry(w.ctx(), before.ID, second.ID, "test")
	if err != nil || third.Kind != troy.Preview || *third.CommitSha != commits[1] {
		t.Errorf("retry: %+v, %v", third, err)
	}
	after := w.get(before.ID)
	if after.Status != before.Status || after.Version != before.Version || after.LastSequence != before.LastSequence || after.LiveDeploymentID != nil {
		t.Errorf("the pipeline was %+v and is %+v", before, after)
	}
	if n := w.count("SELECT count(*) FROM work WHERE kind IN ('pipeline:deploy', 'deployment:build')"); n != 0 {
		t.Errorf("%d rows of work are for the site, want none", n)
	}
	// The site's own deployment neither waits for a preview's nor takes it away.
	d, err := w.in.DeployCommit(w.ctx(), before.ID, commits[2], "test")
	if err != nil || w.get(before.ID).Status != troy.Queued || w.state(third) != troy.Waiting {
		t.Errorf("deploy: %v; the pipeline is %s and the preview's deployment %s", err, w.get(before.ID).Status, w.state(third))
	}
	if _, err := w.in.CancelDeployment(w.ctx(), before.ID, d.ID, "test"); err != nil || w.get(before.ID).Status != troy.ReadyForDeployment {
		t.Errorf("cancel: %v; the pipeline is %s", err, w.get(before.ID).Status)
	}
}

func TestPreviewsDoNotClash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.previewed("blog")
	labels := map[string]string{}
	for _, s := range []intake.PreviewSource{
		pullRequest(1), branch("pr-1"), branch("feature/x"), branch("feature-x"), branch("Feature.X"), branch("🚀"), branch("🦀"),
		branch(strings.Repeat("a", 200)), branch(strings.Repeat("a", 199)), branch("blog"), {Kind: troy.ReleasePreview, Label: "feature-x"},
		{Kind: troy.PullRequestPreview, RepositoryID: "78", Number: 1},
	} {
		name := fmt.Sprintf("%s %s%s#%d", s.Kind, s.Branch, s.Label, s.Number)
		v, _, _, err := w.open(p, s, "")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if other, taken := labels[v.Label]; taken {
			t.Errorf("%s and %s have the label %s", name, other, v.Label)
		}
		labels[v.Label] = name
		if again, _, _, err := w.open(p, s, ""); err != nil || again.ID != v.ID || again.Label != v.Label {
			t.Errorf("%s: opened again it is %s, %v, want %s", name, again.Label, err, v.Label)
		}
	}
	for _, label := range []string{"pr-1", "feature-x", "blog"} {
		if labels[label] == "" {
			t.Errorf("no preview has the label %s", label)
		}
	}
}

// TestLabelsAreGivenAway has another source ask for the label of a preview that
// is open, that was removed, and that was removed long ago.
func TestLabelsAreGivenAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.previewed("blog")
	first, _, _, err := w.open(p, branch("feature/x"), "")
	if err != nil || first.Label != "feature-x" {
		t.Fatalf("%+v, %v", first, err)
	}
	asks := func(name string) string {
		t.Helper()
		v, _, _, err := w.open(p, branch(name), "")
		if err != nil {
			t.Fatal(err)
		}
		return v.Label
	}
	removed := func(ago time.Duration) {
		t.Helper()
		if err := w.in.DeletePreview(w.ctx(), p.ID, first.Label, "test"); err != nil {
			t.Fatal(err)
		}
		w.exec("UPDATE previews SET removed_at = now() - make_interval(secs => $2) WHERE id = $1", first.ID, ago.Seconds())
	}
	hashed := asks("feature.x")
	if hashed == "feature-x" {
		t.Error("two open previews have one label")
	}
	removed(intake.LabelsKept - time.Hour)
	if label := asks("feature x"); label == "feature-x" {
		t.Error("a label was given away at once")
	}
	removed(intake.LabelsKept + time.Hour)
	if label := asks("feature.x"); label != hashed {
		t.Errorf("a source that has the label %s got %s", hashed, label)
	}
	if label := asks("feature+x"); label != "feature-x" {
		t.Errorf("the label is %s, want the one that is free again", label)
	}
	if label := asks("feature/x"); label == "feature-x" || !strings.HasPrefix(label, "feature-x-") {
		t.Errorf("opened again, the first one's label is %s, want one with a hash", label)
	}
}

func TestPreviewsMakeRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *intake.Config) { c.MaxPreviews = 3 })
	p := w.previewed("blog")
	for n := range int64(3) {
		if _, _, _, err := w.open(p, pullRequest(n+1), commits[0]); err != nil {
			t.Fatal(err)
		}
		w.exec("UPDATE previews SET pushed_at = now() - make_interval(hours => 10 - number::int)")
	}
	if err := w.in.PinPreview(w.ctx(), p.ID, "pr-1", true, "ada"); err != nil {
		t.Fatal(err)
	}
	fourth, _, _, err := w.open(p, pullRequest(4), "")
	if err != nil {
		t.Fatal(err)
	}
	evicted, err := w.q.PreviewOfLabel(w.ctx(), p.ID, "pr-2")
	if err != nil || evicted.ClosedAt == nil || !strings.Contains(evicted.ClosedCause, "made room for the preview pr-4; a pipeline has at most 3") {
		t.Errorf("pr-2 is %+v, %v; want it closed for pr-4", evicted, err)
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'preview.delete' AND subject = 'pr-2' AND detail LIKE 'it made room%'"); n != 1 {
		t.Errorf("%d entries of the audit trail say so, want 1", n)
	}
	if n := w.count("SELECT count(*) FROM work WHERE kind = 'preview:remove' AND subject_id = $1 AND pipeline_id = $2", evicted.ID, p.ID); n != 1 {
		t.Errorf("%d rows remove it, want 1", n)
	}
	if n := w.count("SELECT count(*) FROM deployments WHERE preview_id = $1 AND state = 'cancelled'", evicted.ID); n != 1 {
		t.Errorf("%d of its deployments are cancelled, want 1", n)
	}
	// All others are pinned.
	w.exec("UPDATE previews SET pinned = true WHERE closed_at IS NULL")
	_, _, _, err = w.open(p, pullRequest(5), "")
	wantKind(t, err, troy.Conflict, "3 pinned previews, which is the maximum")
	if w.count("SELECT count(*) FROM previews WHERE number = 5") != 0 {
		t.Error("a refused preview was kept")
	}
	// The evicted one comes back under its label, with another one making room.
	w.exec("UPDATE previews SET pinned = false WHERE id = $1", fourth.ID)
	if v, _, _, err := w.open(p, pullRequest(2), ""); err != nil || v.ID != evicted.ID || v.ClosedAt != nil || v.LiveDeploymentID != nil {
		t.Errorf("opened again: %+v, %v", v, err)
	}
}

// TestStrangersDoNotPushOutPreviews opens pull requests of a stranger and of
// others where there is no room.
func TestStrangersDoNotPushOutPreviews(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *intake.Config) { c.MaxPreviews = 3 })
	p := w.previewed("blog")
	for n, c := range []struct {
		trusted bool
		refused bool
		want    string // the open ones
	}{
		{trusted: true, want: "pr-1"},
		{trusted: true, want: "pr-1 pr-2"},
		{want: "pr-1 pr-2 pr-3"},
		{want: "pr-1 pr-2 pr-4"},
		{trusted: true, want: "pr-1 pr-2 pr-5"},
		{refused: true, want: "pr-1 pr-2 pr-5"},
		{trusted: true, want: "pr-2 pr-5 pr-7"},
	} {
		s := pullRequest(int64(n + 1))
		s.Trusted = c.trusted
		_, _, _, err := w.open(p, s, commits[0])
		if refused := errors.Is(err, intake.ErrNoRoom) && troy.KindOf(err) == troy.Conflict; refused != c.refused || err != nil && !refused {
			t.Errorf("pr-%d: %v", n+1, err)
		}
		w.exec("UPDATE previews SET pushed_at = now() - make_interval(hours => 10 - number::int)")
		var open string
		if err := w.db.QueryRow(w.ctx(), "SELECT string_agg(label, ' ' ORDER BY label) FROM previews WHERE closed_at IS NULL").Scan(&open); err != nil || open != c.want {
			t.Errorf("after pr-%d open are %q, %v; want %q", n+1, open, err, c.want)
		}
	}
}

// TestPreviewsDoNotFindTheWorkspace has the builds of a preview and of the site
// find a workspace.
func TestPreviewsDoNotFindTheWorkspace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.previewed("blog")
	_, preview, _, err := w.open(p, pullRequest(1), commits[0])
	if err != nil {
		t.Fatal(err)
	}
	site, err := w.in.DeployCommit(w.ctx(), p.ID, commits[0], "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		found queries.Deployment
		want  string
	}{{preview, ""}, {site, "."}} {
		if err := w.q.PipelineSawWorkspace(w.ctx(), queries.PipelineSawWorkspaceParams{Workspace: ".", Unwatched: []string{}, DeploymentID: c.found.ID}); err != nil {
			t.Fatal(err)
		}
		if got := w.get(p.ID).Workspace; got != c.want {
			t.Errorf("after the build of deployment %d the workspace is %q, want %q", c.found.Number, got, c.want)
		}
	}
}

func TestPreviewsOfStrangersNeedAnApproval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.previewed("blog")
	stranger := pullRequest(1)
	stranger.Trusted = false
	if _, _, built, err := w.open(p, stranger, commits[0]); err != nil || built {
		t.Fatalf("built: %v, %v; want no build", built, err)
	}
	wantKind(t, w.in.ApprovePreview(w.ctx(), p.ID, "pr-1", commits[1], "ada"), troy.Moved, commits[0])
	wantKind(t, w.in.ApprovePreview(w.ctx(), p.ID, "pr-2", commits[1], "ada"), troy.NotFound, "no preview pr-2")
	if n := w.count("SELECT count(*) FROM deployments"); n != 0 {
		t.Fatalf("%d deployments before the approval, want none", n)
	}
	if err := w.in.ApprovePreview(w.ctx(), p.ID, "pr-1", commits[0], "ada"); err != nil {
		t.Fatal(err)
	}
	v, err := w.q.PreviewOfLabel(w.ctx(), p.ID, "pr-1")
	if err != nil {
		t.Fatal(err)
	}
	d, err := w.q.PreviewNewest(w.ctx(), v.ID)
	if err != nil || d.Trusted || *d.CommitSha != commits[0] || d.Actor != "ada" || v.ApprovedBy != "ada" {
		t.Errorf("after the approval: %+v, %v; want an untrusted deployment", d, err)
	}
	// The next commit asks again.
	if _, _, built, err := w.open(p, stranger, commits[1]); err != nil || built {
		t.Errorf("the next commit: built %v, %v; want no build", built, err)
	}
	w.exec("UPDATE deployments SET state = 'failed', finished_at = now() WHERE id = $1", d.ID)
	if _, err := w.in.Retry(w.ctx(), p.ID, d.ID, "bob"); err != nil {
		t.Errorf("retry of the approved commit: %v", err)
	}
	w.exec("UPDATE previews SET approved_commit = NULL")
	_, err = w.in.Retry(w.ctx(), p.ID, d.ID, "bob")
	wantKind(t, err, troy.Conflict, "needs an approval")
}

func TestPreviewsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.previewed("blog")
	release := func(label string) error {
		id := uuid.Must(uuid.NewV7())
		if _, err := w.q.ReleaseCreate(w.ctx(), queries.ReleaseCreateParams{ID: id, PipelineID: p.ID, ManifestDigest: "none", Actor: "test", ValidSeconds: 100}); err != nil {
			t.Fatal(err)
		}
		_, err := w.in.Finalize(w.ctx(), intake.Finalization{Pipeline: p.ID, Release: id, Preview: label, Actor: "test"})
		return err
	}
	for label, text := range map[string]string{
		"Draft": "lower-case", "a--b": "single inner hyphens", "pr-3": "reserved", "d-1": "reserved", strings.Repeat("a", 60): "at most 57", "../x": "lower-case", "é": "lower-case",
	} {
		wantKind(t, release(label), troy.Invalid, text)
	}
	_, _, err := w.in.PreviewBranch(w.ctx(), p.ID, "a..b", "test")
	wantKind(t, err, troy.Invalid, "not a valid branch")
	_, _, _, err = w.open(p, pullRequest(1), "main")
	wantKind(t, err, troy.Invalid, "not a full commit id")
	wantKind(t, w.in.DeletePreview(w.ctx(), p.ID, "none", "test"), troy.NotFound, "no preview none")
	_, err = w.in.PromotePreview(w.ctx(), p.ID, "none", 0, "test")
	wantKind(t, err, troy.NotFound, "no preview none")
	if n := w.count("SELECT count(*) FROM previews"); n != 0 {
		t.Errorf("%d previews were made, want none", n)
	}
	// A lock keeps the site, not its previews.
	if _, err := w.in.Lock(w.ctx(), p.ID, "a freeze", "ada"); err != nil {
		t.Fatal(err)
	}
	if err := release("draft"); err != nil {
		t.Errorf("a preview of a locked site: %v", err)
	}
	_, err = w.in.PromotePreview(w.ctx(), p.ID, "draft", 0, "test")
	wantKind(t, err, troy.Conflict, "shows nothing yet")
	for range 2 {
		if err := w.in.DeletePreview(w.ctx(), p.ID, "draft", "ada"); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, w.in.PinPreview(w.ctx(), p.ID, "draft", true, "ada"), troy.Conflict, "was deleted at")
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'preview.delete'"); n != 1 {
		t.Errorf("%d entries of the audit trail, want 1", n)
	}
	w.put(p, troy.Deleting)
	_, _, err = w.in.PreviewBranch(w.ctx(), p.ID, "late", "test")
	wantKind(t, err, troy.Conflict, "does not allow previews")
}

// TestPushesRenewPreviewsOfBranches pushes to a branch with a preview, to others,
// and deletes it.
// TestRerunOfABranchPreview requests the build of a branch's preview again. The
// worker read the commit at the branch's head, so no push has named it.
func TestRerunOfABranchPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bound(1)
	w.push(1, troy.Push{After: commit("z")}) // names the repository's id
	_, first, err := w.in.PreviewBranch(w.ctx(), p.ID, "feature/x", "ada")
	if err != nil {
		t.Fatal(err)
	}
	rerun := func() intake.Outcome {
		t.Helper()
		out, err := w.in.ForgeEvent(w.ctx(), intake.Delivery{Provider: troy.GitHub, ID: uuid.NewString(), Type: "check_run"}, troy.Rerequest{
			Repository: troy.ForgeRepository{Provider: troy.GitHub, ID: "1", FullName: "team/r1"}, ExternalID: first.ID.String(), Commit: commit("a"), Sender: "ada",
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := rerun(); !strings.Contains(out.Detail, "has not ended yet") {
		t.Errorf("while it waits: %+v", out)
	}
	w.exec("UPDATE deployments SET state = 'failed', started_at = now(), finished_at = now(), commit_sha = $2 WHERE id = $1", first.ID, commit("a"))
	if out := rerun(); out.Result != intake.Accepted || !strings.Contains(out.Detail, "is queued again as deployment 3") {
		t.Errorf("after it failed: %+v", out)
	}
	w.push(1, troy.Push{Name: "feature/x", After: commit("b")})
	if out := rerun(); !strings.Contains(out.Detail, "is not the newest of the preview feature-x") {
		t.Errorf("after a push: %+v", out)
	}
}

func TestPushesRenewPreviewsOfBranches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bound(1)
	v, first, err := w.in.PreviewBranch(w.ctx(), p.ID, "feature/x", "ada")
	if err != nil {
		t.Fatal(err)
	}
	w.push(1, troy.Push{Name: "feature/y", After: commit("a")})
	w.push(1, troy.Push{After: commit("b")})
	if newest, err := w.q.PreviewNewest(w.ctx(), v.ID); err != nil || newest.ID != first.ID {
		t.Errorf("pushes to other branches made deployment %d, %v", newest.Number, err)
	}
	w.push(1, troy.Push{Name: "feature/x", After: commit("c"), Message: "a change", Author: "mona"})
	newest, err := w.q.PreviewNewest(w.ctx(), v.ID)
	if err != nil || newest.CommitSha == nil || *newest.CommitSha != commit("c") || *newest.Author != "mona" || newest.Message != "a change" || w.state(first) != troy.Superseded {
		t.Errorf("after the push: %+v, %v; the first is %s", newest, err, w.state(first))
	}
	w.push(1, troy.Push{Name: "feature/x", Before: commit("c"), Deleted: true})
	closed, err := w.q.PreviewGet(w.ctx(), v.ID)
	if err != nil || closed.ClosedAt == nil || closed.ClosedCause != "the branch was deleted" || w.state(newest) != troy.Cancelled {
		t.Errorf("after the branch was deleted: %+v, %v", closed, err)
	}
	w.push(1, troy.Push{Name: "feature/x", After: commit("d")})
	if v, err := w.q.PreviewGet(w.ctx(), v.ID); err != nil || v.ClosedAt == nil {
		t.Errorf("a push opened a deleted preview: %+v, %v", v, err)
	}
}
