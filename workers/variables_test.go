package workers

import (
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// TestVariablesByContext builds a site, a pull request and a branch with a
// variable that has a value for each context.
func TestVariablesByContext(t *testing.T) {
	t.Parallel()
	r, p := pulling(t)
	for of, value := range map[string]string{"all": "of all", "production": "of the site", "preview": "of previews", "preview:topic": "of topic"} {
		r.variable(p, "MODE", of, value, false)
	}
	r.variable(p, "SITE_ONLY", "production", "site", false)
	r.variable(p, "TOKEN", "", "secret of the site", true)
	r.variable(p, "TOPIC_TOKEN", "preview:topic", "secret of topic", true)
	r.variable(p, "PREVIEW_TOKEN", "preview", "secret of previews", true)
	r.variable(p, "EVERY_TOKEN", "all", "secret of all", true)

	r.hears(pull("blog", 7, "one", ada))
	topic := r.showsCommit(p.ID, "pr-7", "one")
	r.head("blog", commitID("other"))
	if _, _, err := r.in.PreviewBranch(t.Context(), p.ID, "other", "test"); err != nil {
		t.Fatal(err)
	}
	other := r.showsCommit(p.ID, "other", "other")
	r.pushed("blog", "", commitID("other"))
	r.restsWith(p.ID, commitID("other"))
	site, err := r.q.DeploymentOfCommit(t.Context(), p.ID, commitID("other"))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		deployment uuid.UUID
		want       map[string]string
	}{
		"a pull request": {topic.ID, map[string]string{
			"MODE": "of topic", "TOPIC_TOKEN": "secret of topic", "PREVIEW_TOKEN": "secret of previews", "EVERY_TOKEN": "secret of all",
			"TROY_CONTEXT": "preview", "TROY_PULL_REQUEST": "7",
		}},
		"a branch": {other.ID, map[string]string{
			"MODE": "of previews", "PREVIEW_TOKEN": "secret of previews", "EVERY_TOKEN": "secret of all", "TROY_CONTEXT": "preview",
		}},
		"the site": {site.ID, map[string]string{
			"MODE": "of the site", "SITE_ONLY": "site", "TOKEN": "secret of the site", "EVERY_TOKEN": "secret of all", "TROY_CONTEXT": "production",
		}},
	} {
		spec := r.builder.specOf(c.deployment)
		if scope := map[string]string{"a pull request": "pull request 7", "a branch": "branch other"}[what]; spec.CacheScope != scope {
			t.Errorf("%s has the caches of %q, want %q", what, spec.CacheScope, scope)
		}
		if !maps.Equal(spec.Variables, c.want) {
			t.Errorf("%s got %v, want %v", what, spec.Variables, c.want)
		}
		var log strings.Builder
		to := spec.Redact(&log)
		if _, err := io.WriteString(to, "secret of the site, secret of topic, secret of previews, secret of all, of topic\n"); err != nil {
			t.Fatal(err)
		}
		if err := to.Close(); err != nil || log.String() != "***, ***, ***, ***, of topic\n" {
			t.Errorf("the log of %s is %q, %v", what, log.String(), err)
		}
	}
}
