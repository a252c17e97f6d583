package workers

import (
	"strings"
	"sync"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/queries"
)

// TestPullRequestTrust has whose commits are built without an approval.
func TestPullRequestTrust(t *testing.T) {
	t.Parallel()
	f := newFakeForge()
	f.writers = []string{ada.ID}
	s := source{forge: f, repository: forge.Repository{ID: "1", FullName: "team/blog"}}
	for name, c := range map[string]struct {
		pr      troy.PullRequest
		denied  bool
		trusted bool
		why     string
	}{
		"a collaborator":                 {pr: troy.PullRequest{Author: ada}, trusted: true, why: "ada may push to team/blog"},
		"a stranger":                     {pr: troy.PullRequest{Author: stranger}, why: "eve may not push"},
		"a stranger on a branch of ours": {pr: troy.PullRequest{Author: stranger, HeadRepository: "1"}, why: "eve may not push"},
		"a collaborator's own fork":      {pr: troy.PullRequest{Author: ada, Fork: true, HeadFullName: "ada/blog"}, why: "in the fork ada/blog, to which others may push"},
		"a deleted fork":                 {pr: troy.PullRequest{Author: ada, Fork: true}, why: "in a deleted fork"},
		"no permission to ask":           {pr: troy.PullRequest{Author: ada}, denied: true, why: "credentials don't allow it to ask"},
	} {
		f.denied = c.denied
		trusted, why, err := trust(t.Context(), f, s, c.pr)
		if err != nil || trusted != c.trusted || !strings.Contains(why, c.why) {
			t.Errorf("%s: %v, %q, %v", name, trusted, why, err)
		}
	}
	f.denied = false
	f.fail["MayWrite"] = troy.Errorf(troy.Internal, "bad gateway")
	if trusted, _, err := trust(t.Context(), f, s, troy.PullRequest{Author: ada}); trusted || err == nil {
		t.Errorf("with an error: %v, %v", trusted, err)
	}
}

// TestEditedDuringTheDecision delivers a new title while a worker decides about
// the pull request.
func TestEditedDuringTheDecision(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.withPreviews()
	r.forge.writers = []string{ada.ID}
	pr := pull("blog", 7, "one", ada)
	edited := pr
	edited.Title = "Another title"
	var once sync.Once
	r.forge.asked = func() { once.Do(func() { r.hears(edited) }) }
	r.start()
	p := r.building("blog")
	r.hears(pr)
	r.showsCommit(p.ID, "pr-7", "one")
}

// TestPullRequestSource has the repositories from which commits are fetched.
func TestPullRequestSource(t *testing.T) {
	t.Parallel()
	base := forge.Repository{Installation: "7", ID: "1", FullName: "team/blog"}
	for _, c := range []struct{ provider, id, name, want string }{
		{"github", "1", "team/blog", "team/blog"}, {"github", "9", "eve/blog", "team/blog"}, {"github", "", "", "team/blog"},
		{"bitbucket", "1", "team/blog", "team/blog"}, {"bitbucket", "9", "eve/blog", "eve/blog"}, {"bitbucket", "", "", "team/blog"},
	} {
		got := headSource(source{repository: base}, queries.Pipeline{RepositoryProvider: &c.provider}, c.id, c.name)
		if got.FullName != c.want || got.Installation != "7" {
			t.Errorf("%s, %q: %+v, want %s", c.provider, c.name, got, c.want)
		}
	}
}
