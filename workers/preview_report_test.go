package workers

import (
	"slices"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// TestCheckOfAnUnapprovedCommitEnds closes a pull request that waits for an
// approval, opens it again, and deletes the pipeline.
func TestCheckOfAnUnapprovedCommitEnds(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	pr := pull("blog", 7, "one", stranger)
	says := func(want string) {
		t.Helper()
		eventually(t, func() bool {
			told := r.forge.told(commitID("one"))
			return len(told) > 0 && told[len(told)-1] == want
		}, func() string {
			return "told was " + strings.Join(r.forge.told(commitID("one")), ", ") + ", want " + want
		})
	}
	r.hears(pr)
	says("needs_approval Waiting for an approval")
	pr.Open, pr.Action = false, "closed"
	r.hears(pr)
	says("cancelled Cancelled: pull request 7 was closed")
	r.previewLabelled(p.ID, "pr-7", "retracted", func(v queries.Preview) bool { return v.RetractedAt != nil })
	pr.Open, pr.Action = true, "reopened"
	r.hears(pr)
	says("needs_approval Waiting for an approval")
	if _, err := r.in.ScheduleDeletion(t.Context(), p.ID, "test"); err != nil {
		t.Fatal(err)
	}
	r.waitFor(p.ID, troy.Deleted)
	says("cancelled Cancelled: the pipeline is being deleted")
}

// TestCommentsEndWithTheirSetting has a pull request with the previews of two
// pipelines, which stop to comment one after the other.
func TestCommentsEndWithTheirSetting(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	docs, err := r.in.CreatePipeline(t.Context(), intake.NewPipeline{
		Name: "docs", Provision: true, Repository: &intake.Repository{Provider: "github", FullName: "team/blog", Branch: "main"},
	}, "test")
	if err != nil {
		t.Fatal(err)
	}
	docs = r.waitFor(docs.ID, troy.Deployed)
	comment := func() (text string, calls int) {
		r.forge.mu.Lock()
		defer r.forge.mu.Unlock()
		return r.forge.comments[7], r.forge.commented
	}
	lists := func(blog, docs bool) {
		t.Helper()
		eventually(t, func() bool {
			text, _ := comment()
			return strings.Contains(text, "pr-7--blog") == blog && strings.Contains(text, "pr-7--docs") == docs && (text != "") == (blog || docs)
		}, func() string { text, _ := comment(); return "the comment is " + text })
	}
	r.hears(pull("blog", 7, "one", ada))
	r.showsCommit(p.ID, "pr-7", "one")
	r.showsCommit(docs.ID, "pr-7", "one")
	r.setting(p, `{"comment_previews": true}`)
	lists(true, false)
	r.setting(docs, `{"comment_previews": true}`)
	lists(true, true)
	r.setting(p, `{"comment_previews": false}`)
	lists(false, true)
	r.forge.set(func() { r.forge.fail["Comment"] = troy.Errorf(troy.Internal, "bad gateway") })
	r.setting(docs, `{"comment_previews": false}`)
	lists(false, false) // after which the answer is lost
	r.forge.set(func() { delete(r.forge.fail, "Comment") })
	eventually(t, func() bool {
		var n int
		err := r.db.QueryRow(t.Context(), "SELECT count(*) FROM previews WHERE commented").Scan(&n)
		return err == nil && n == 0
	}, func() string { return "the deletion of the comment is not recorded" })

	_, before := comment()
	r.hears(pull("blog", 7, "two", ada))
	r.showsCommit(p.ID, "pr-7", "two")
	eventually(t, func() bool { return slices.Contains(r.forge.told(commitID("two")), "succeeded Ready") }, func() string { return "the second commit is not reported" })
	if _, after := comment(); after != before {
		t.Errorf("%d calls for comments that are off", after-before)
	}
}
