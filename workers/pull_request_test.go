package workers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/tasks"
)

// pullsDouble has the pull requests of a fake forge.
type pullsDouble struct {
	pulls     map[string]troy.PullRequest // by intake.PullRequestSource
	writers   []string                    // the ids of users who may push
	denied    bool                        // whether Troy may not ask
	comments  map[int64]string
	written   []string // the texts of comments that differed from those before
	commented int      // how often a comment was written or deleted
	retracted []string // the deployments of reports
	garbled   []int64  // the numbers of pull requests that can't be read in lists
	unlisted  []int64  // the numbers of open pull requests that lists lack
	asked     func()   // called before MayWrite answers, if not nil
}

func (f *fakeForge) OpenPullRequests(_ context.Context, r forge.Repository) (list forge.PullRequestList, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list.Complete = true
	for _, pr := range f.pulls {
		if !pr.Open || pr.Repository.ID != r.ID || slices.Contains(f.unlisted, pr.Number) {
			continue
		}
		if slices.Contains(f.garbled, pr.Number) {
			list.Add(pr, pr.Number, troy.Errorf(troy.Invalid, "garbled"))
		} else {
			list.Add(pr, pr.Number, nil)
		}
	}
	return list, f.fail["OpenPullRequests"]
}

func (f *fakeForge) PullRequest(_ context.Context, r forge.Repository, number int64) (troy.PullRequest, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail["PullRequest"]; err != nil {
		return troy.PullRequest{}, err
	}
	pr, known := f.pulls[intake.PullRequestSource(r.ID, number)]
	if !known {
		return pr, troy.Errorf(troy.NotFound, "%w", forge.ErrNoPullRequest)
	}
	return pr, nil
}

func (f *fakeForge) MayWrite(_ context.Context, _ forge.Repository, user troy.ForgeUser) (bool, error) {
	if f.asked != nil {
		f.asked()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.denied {
		return false, troy.Errorf(troy.Forbidden, "%w", forge.ErrForbidden)
	}
	return slices.Contains(f.writers, user.ID), f.fail["MayWrite"]
}

func (f *fakeForge) Comment(_ context.Context, _ forge.Repository, number int64, _, text string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.comments == nil {
		f.comments = map[int64]string{}
	}
	if f.comments[number] != text {
		f.written = append(f.written, text)
	}
	f.comments[number] = text
	f.commented++
	return f.fail["Comment"]
}

func (f *fakeForge) Retract(_ context.Context, _ forge.Repository, r forge.Report) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail["Retract"]; err != nil {
		delete(f.fail, "Retract")
		return err
	}
	f.retracted = append(f.retracted, r.Deployment)
	return nil
}

// told returns the reports on a commit, as "state title".
func (f *fakeForge) told(commit string) (out []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.reports {
		if r.Commit == commit {
			out = append(out, string(r.State)+" "+r.Title)
		}
	}
	return out
}

var (
	ada      = troy.ForgeUser{ID: "1", Name: "ada"}
	stranger = troy.ForgeUser{ID: "9", Name: "eve"}
)

// pull makes a pull request of a pipeline's repository.
func pull(name string, number int64, commit string, author troy.ForgeUser) troy.PullRequest {
	return troy.PullRequest{
		Repository: troy.ForgeRepository{Provider: troy.GitHub, ID: "team/" + name, FullName: "team/" + name, DefaultBranch: "main"},
		Number:     number, Title: "Change it", Head: "topic", HeadCommit: commitID(commit), HeadRepository: "team/" + name, HeadFullName: "team/" + name,
		Base: "main", Open: true, Author: author, URL: fmt.Sprintf("https://forge.example/team/%s/pull/%d", name, number),
	}
}

// opened changes a pull request at the forge.
func (r *rig) opened(pr troy.PullRequest) {
	r.forge.set(func() {
		if r.forge.pulls == nil {
			r.forge.pulls = map[string]troy.PullRequest{}
		}
		r.forge.pulls[intake.PullRequestSource(pr.Repository.ID, pr.Number)] = pr
	})
}

// hears changes a pull request at the forge, and delivers the webhook.
func (r *rig) hears(pr troy.PullRequest) intake.Outcome {
	r.t.Helper()
	r.opened(pr)
	return r.deliver(pr)
}

func (r *rig) deliver(e troy.ForgeEvent) intake.Outcome {
	r.t.Helper()
	out, err := r.in.ForgeEvent(r.t.Context(), intake.Delivery{Provider: troy.GitHub, ID: uuid.NewString(), Type: "test"}, e)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// comments delivers a comment with a command.
func (r *rig) comments(pr troy.PullRequest, author troy.ForgeUser, commit string) {
	r.t.Helper()
	r.deliver(troy.PullRequestCommand{Repository: pr.Repository, Number: pr.Number, Author: author, Commit: commit, Time: time.Now().Add(time.Minute)})
	eventually(r.t, func() bool {
		var n int
		err := r.db.QueryRow(r.t.Context(), "SELECT count(*) FROM pull_request_commands").Scan(&n)
		return err == nil && n == 0
	}, func() string { return "the command was not answered" })
}

// showsCommit waits until a preview shows a commit.
func (r *rig) showsCommit(pipeline uuid.UUID, label, commit string) queries.Deployment {
	r.t.Helper()
	var d queries.Deployment
	r.previewLabelled(pipeline, label, "shown", func(v queries.Preview) bool {
		if v.LiveDeploymentID == nil {
			return false
		}
		var err error
		d, err = r.q.DeploymentGet(r.t.Context(), *v.LiveDeploymentID)
		return err == nil && deref(d.CommitSha) == commitID(commit)
	})
	return d
}

// showsAnother waits until a preview shows another deployment.
func (r *rig) showsAnother(pipeline uuid.UUID, label string, than queries.Deployment) queries.Deployment {
	r.t.Helper()
	v := r.previewLabelled(pipeline, label, "shown again", func(v queries.Preview) bool { return v.LiveDeploymentID != nil && *v.LiveDeploymentID != than.ID })
	d, err := r.q.DeploymentGet(r.t.Context(), *v.LiveDeploymentID)
	if err != nil || deref(d.CommitSha) != deref(than.CommitSha) {
		r.t.Errorf("shown is %+v, %v", d, err)
	}
	return d
}

// pulling returns a rig with workers and a pipeline that can have previews.
func pulling(t *testing.T) (*rig, queries.Pipeline) {
	t.Helper()
	r := newRig(t).withBuilds()
	r.withPreviews()
	r.forge.writers = []string{ada.ID}
	sealer, err := secret.New(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	r.secrets = sealer
	r.start()
	p := r.building("blog")
	r.caughtUp(p.ID)
	r.head("blog", commitID("main"))
	return r, p
}

// variable sets a variable.
func (r *rig) variable(p queries.Pipeline, name, of, value string, hidden bool) {
	r.t.Helper()
	_, err := r.in.SetVariable(r.t.Context(), p.ID, intake.Variable{Name: name, Context: of, Secret: hidden, Seal: func(sealedFor string) ([]byte, error) {
		return r.secrets.Seal([]byte(value), secret.Variable(p.ID, name, sealedFor))
	}})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) setting(p queries.Pipeline, json string) {
	r.t.Helper()
	if _, err := r.in.Configure(r.t.Context(), p.ID, intake.Configuration{Build: []byte(json)}); err != nil {
		r.t.Fatal(err)
	}
}

// TestPullRequestLife opens a pull request, pushes to it by force while its
// preview is built, closes it, and opens it again.
func TestPullRequestLife(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	r.setting(p, `{"comment_previews": true}`)
	pr := pull("blog", 7, "one", ada)
	if out := r.hears(pr); out.Result != intake.Accepted {
		t.Fatalf("the delivery is %+v", out)
	}
	first := r.showsCommit(p.ID, "pr-7", "one")
	if !first.Trusted || first.Kind != troy.Preview {
		t.Errorf("the deployment is %+v", first)
	}

	// The button of its check builds it again, and does not touch the site.
	again := r.deliver(troy.Rerequest{Repository: pr.Repository, ExternalID: first.ID.String(), Commit: commitID("one"), Sender: "ada"})
	if again.Result != intake.Accepted {
		t.Errorf("the re-run is %+v", again)
	}
	first = r.showsAnother(p.ID, "pr-7", first)

	r.builder.hold(p.ID)
	pr.HeadCommit = commitID("two")
	r.hears(pr)
	eventually(t, func() bool { return len(r.forge.told(commitID("two"))) > 0 }, func() string { return "the second build did not start" })
	pr.HeadCommit = commitID("three")
	r.hears(pr)
	eventually(t, func() bool {
		v, err := r.q.PreviewOfLabel(t.Context(), p.ID, "pr-7")
		return err == nil && deref(v.HeadCommit) == commitID("three")
	}, func() string { return "the forced push was not seen" })
	r.builder.release(p.ID)
	third := r.showsCommit(p.ID, "pr-7", "three")
	eventually(t, func() bool {
		r.forge.mu.Lock()
		defer r.forge.mu.Unlock()
		return slices.Contains(r.forge.retracted, first.ID.String()) && strings.Contains(r.forge.comments[7], "pr-7--blog")
	}, func() string { return "the first deployment is still at the forge, or there is no comment" })
	eventually(t, func() bool { return slices.Contains(r.forge.told(commitID("three")), "succeeded Ready") },
		func() string { return fmt.Sprintf("reported were %v", r.forge.told(commitID("three"))) })
	r.forge.mu.Lock()
	for _, report := range r.forge.reports {
		if ofPreview := strings.Contains(report.Name, "(preview)"); ofPreview && report.SiteURL != "http://pr-7--blog.localhost" || report.Environment != "" && ofPreview != report.Transient {
			t.Errorf("got the report %+v", report)
		}
	}
	r.forge.fail["Retract"] = troy.Errorf(troy.Internal, "bad gateway") // once
	r.forge.mu.Unlock()

	pr.Open, pr.Action, pr.Sender = false, "closed", "reconciliation"
	r.hears(pr)
	if v := r.previewLabelled(p.ID, "pr-7", "removed", removed); v.ClosedBy != "reconciliation at github" || v.CreatedBy != "ada at github" {
		t.Errorf("closed by %q, opened by %q", v.ClosedBy, v.CreatedBy)
	}
	retracted := r.previewLabelled(p.ID, "pr-7", "retracted", func(v queries.Preview) bool { return v.RetractedAt != nil })
	r.forge.mu.Lock()
	if !slices.Contains(r.forge.retracted, third.ID.String()) || r.forge.comments[7] != "" {
		t.Errorf("left at the forge: retracted %v, comment %q", r.forge.retracted, r.forge.comments[7])
	}
	r.forge.mu.Unlock()
	if retracted.ClosedCause != "pull request 7 was closed" {
		t.Errorf("closed for %q", retracted.ClosedCause)
	}

	pr.Open = true
	r.hears(pr)
	r.showsCommit(p.ID, "pr-7", "three")
	if v, err := r.q.PreviewOfLabel(t.Context(), p.ID, "pr-7"); err != nil || v.RetractedAt != nil {
		t.Errorf("reopened it is %+v, %v", v, err)
	}
	live, err := r.q.PreviewOfLabel(t.Context(), p.ID, "pr-7")
	if err != nil {
		t.Fatal(err)
	}
	if after, err := r.q.PipelineGet(t.Context(), p.ID); err != nil || after.LiveDeploymentID != nil && slices.Contains([]uuid.UUID{first.ID, third.ID}, *after.LiveDeploymentID) {
		t.Errorf("the pipeline is %+v, %v", after, err)
	}

	// The deletion of the pipeline leaves no deployment at the forge.
	if _, err := r.in.ScheduleDeletion(t.Context(), p.ID, "test"); err != nil {
		t.Fatal(err)
	}
	r.waitFor(p.ID, troy.Deleted)
	r.forge.mu.Lock()
	defer r.forge.mu.Unlock()
	if !slices.Contains(r.forge.retracted, live.LiveDeploymentID.String()) || r.forge.comments[7] != "" {
		t.Errorf("retracted are %v, want %s too; the comment is %q, want none", r.forge.retracted, live.LiveDeploymentID, r.forge.comments[7])
	}
}

// TestUntrustedPullRequest builds a stranger's commit only after a collaborator
// approved that very commit, and without variables.
func TestUntrustedPullRequest(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	for name, isSecret := range map[string]bool{"PLAIN": false, "TOKEN": true} {
		r.variable(p, name, "", "value of "+name, isSecret)
	}
	pr := pull("blog", 7, "one", stranger)
	waits := func(commit string) {
		t.Helper()
		eventually(t, func() bool {
			return slices.Contains(r.forge.told(commitID(commit)), "needs_approval Waiting for an approval")
		},
			func() string {
				return commit + " does not wait for an approval: " + fmt.Sprint(r.forge.told(commitID(commit)))
			})
		var n int
		if err := r.db.QueryRow(t.Context(), "SELECT count(*) FROM deployments WHERE commit_sha = $1", commitID(commit)).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d deployments of %s, %v", n, commit, err)
		}
	}
	r.hears(pr)
	waits("one")
	r.comments(pr, stranger, "")
	r.comments(pr, stranger, commitID("one"))
	r.comments(pr, troy.ForgeUser{Name: "ada"}, "") // without an id
	r.comments(pr, ada, commitID("other")[:7])
	waits("one")

	// A commit that the collaborator has not seen is not approved.
	pr.HeadCommit, pr.Updated = commitID("two"), time.Now().Add(time.Hour)
	r.hears(pr)
	waits("two")
	r.comments(pr, ada, "")
	waits("two")
	if err := r.in.ApprovePreview(t.Context(), p.ID, "pr-7", commitID("one"), "ada"); troy.KindOf(err) != troy.Moved {
		t.Errorf("approving the earlier commit: %v, want Moved", err)
	}
	// A stranger could make a commit whose id begins like one that was read.
	r.comments(pr, ada, commitID("two")[:7])
	waits("two")
	r.comments(pr, ada, commitID("two"))
	d := r.showsCommit(p.ID, "pr-7", "two")
	spec := r.builder.specOf(d.ID)
	for name, value := range spec.Variables {
		if name != "TROY_CONTEXT" && name != "TROY_PULL_REQUEST" {
			t.Errorf("the build got %s=%s", name, value)
		}
	}
	if d.Trusted || !spec.Untrusted || spec.URL != "http://pr-7--blog.localhost" {
		t.Errorf("the deployment is trusted: %v, its build %+v", d.Trusted, spec)
	}

	// The forge tells of a commit before its delivery comes.
	before := pr
	pr.HeadCommit, pr.Updated = commitID("three"), time.Now()
	r.opened(pr)
	before.HeadCommit, before.Updated = commitID("between"), pr.Updated.Add(-time.Minute)
	if _, err := r.db.Exec(t.Context(), "UPDATE pull_requests SET changed_at = $1", before.Updated); err != nil {
		t.Fatal(err)
	}
	r.deliver(before)
	waits("three")
	r.comments(pr, ada, "")
	waits("three")
	// The button of the check names the commit.
	v, err := r.q.PreviewOfLabel(t.Context(), p.ID, "pr-7")
	if err != nil {
		t.Fatal(err)
	}
	r.forge.set(func() { r.forge.writers = append(r.forge.writers, "") }) // a sender has no id
	r.deliver(troy.Rerequest{Repository: pr.Repository, ExternalID: v.ID.String(), Commit: commitID("three"), Action: "troy_approve", Sender: "ada"})
	r.showsCommit(p.ID, "pr-7", "three")
}

// TestLostPullRequestDeliveries changes pull requests without a webhook.
func TestLostPullRequestDeliveries(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	look := func() {
		t.Helper()
		if err := r.q.WorkRequest(t.Context(), queries.WorkRequestParams{Kind: tasks.TypeCatchUp, SubjectID: p.ID}); err != nil {
			t.Fatal(err)
		}
	}
	pr := pull("blog", 7, "one", ada)
	r.opened(pr)
	look()
	r.showsCommit(p.ID, "pr-7", "one")
	pr.HeadCommit = commitID("two")
	r.opened(pr)
	look()
	r.showsCommit(p.ID, "pr-7", "two")

	// A user deletes the preview: only a push brings it back.
	if err := r.in.DeletePreview(t.Context(), p.ID, "pr-7", "test"); err != nil {
		t.Fatal(err)
	}
	r.previewLabelled(p.ID, "pr-7", "removed", removed)
	if n, err := r.in.PullRequestsFound(t.Context(), p.ID, []troy.PullRequest{pr}, nil); n != 0 || err != nil {
		t.Errorf("%d pull requests differ, %v", n, err)
	}
	pr.HeadCommit = commitID("three")
	r.opened(pr)
	look()
	r.showsCommit(p.ID, "pr-7", "three")

	r.forge.set(func() { clear(r.forge.pulls) })
	look()
	v := r.previewLabelled(p.ID, "pr-7", "removed", removed)
	if v.ClosedBy != "reconciliation" {
		t.Errorf("closed by %q", v.ClosedBy)
	}
}
