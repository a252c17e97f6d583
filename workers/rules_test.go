package workers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// releaseRules is release for a site with a configuration file.
func (r *rig) releaseRules(pipeline uuid.UUID, files map[string]string, strict bool, config ...rules.ConfigFile) uuid.UUID {
	r.t.Helper()
	id := uuid.Must(uuid.NewV7())
	encoded, err := json.Marshal(config)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.q.SiteRulesDeclare(r.t.Context(), queries.SiteRulesDeclareParams{TreeID: id, PipelineID: pipeline, Config: encoded, Strict: strict}); err != nil {
		r.t.Fatal(err)
	}
	upload(r.t, r.cloud.Store, site.Tree{Pipeline: pipeline, Deployment: id}, files)
	if _, err := r.q.DeploymentCreate(r.t.Context(), queries.DeploymentCreateParams{ID: id, TreeID: id, PipelineID: pipeline, Kind: troy.Release, Actor: "test"}); err != nil {
		r.t.Fatal(err)
	}
	return id
}

// ended waits until a deployment has ended.
func (r *rig) ended(id uuid.UUID) queries.Deployment {
	r.t.Helper()
	var d queries.Deployment
	eventually(r.t, func() bool {
		var err error
		d, err = r.q.DeploymentGet(r.t.Context(), id)
		return err == nil && d.State.Ended()
	}, func() string { return "the deployment is " + d.State.String() })
	return d
}

func (r *rig) rulesOf(pipeline, deployment uuid.UUID) []byte {
	r.t.Helper()
	m, err := r.cloud.Store.Manifest(r.t.Context(), site.Tree{Pipeline: pipeline, Deployment: deployment})
	if err != nil {
		r.t.Fatal(err)
	}
	return m.Rules
}

func (r *rig) report(pipeline, deployment uuid.UUID) rules.Report {
	r.t.Helper()
	report, compiled, err := intake.RulesReport(r.t.Context(), r.q, site.Tree{Pipeline: pipeline, Deployment: deployment})
	if err != nil || !compiled {
		r.t.Fatalf("the report is missing: %v", err)
	}
	return report
}

// TestRulesArePublished publishes sites with rules, refuses strict ones with
// problems, and goes back to earlier rules.
func TestRulesArePublished(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.pipeline("blog")
	r.requestProvision(id)
	r.start()

	first := r.releaseRules(id, map[string]string{"index.html": "one", "_redirects": "/a /b\n/c\n"}, false,
		rules.ConfigFile{Name: "troy.toml", Text: "[site]\nspa = true\n"})
	if d := r.ended(first); d.State != troy.Succeeded {
		t.Fatalf("the first deployment is %s: %s", d.State, d.Cause)
	}
	compiled := r.rulesOf(id, first)
	if !bytes.Contains(compiled, []byte(`"spa":true`)) || !bytes.Contains(compiled, []byte(`"path":"/a"`)) {
		t.Errorf("the tree has the rules %s", compiled)
	}
	if got := r.report(id, first); got.Redirects != 1 || got.Errors != 1 || got.Problems[0].Line != 2 {
		t.Errorf("the report is %+v", got)
	}

	strict := r.releaseRules(id, map[string]string{"index.html": "two", "_redirects": "/c\n"}, true)
	if d := r.ended(strict); d.State != troy.Failed || !strings.Contains(d.Cause, "_redirects:1") {
		t.Errorf("the strict deployment is %s: %s", d.State, d.Cause)
	}
	if got := r.report(id, strict); got.Errors != 1 || !got.Strict {
		t.Errorf("the report is %+v", got)
	}
	if p := r.waitFor(id, troy.FailedToDeploy); *p.LiveDeploymentID != first {
		t.Errorf("%s is live", p.LiveDeploymentID)
	}

	plain := r.release(id, map[string]string{"index.html": "three"})
	if r.ended(plain); r.rulesOf(id, plain) != nil {
		t.Errorf("a site without rules has %s", r.rulesOf(id, plain))
	}
	back := uuid.Must(uuid.NewV7())
	if _, err := r.q.DeploymentCreate(t.Context(), queries.DeploymentCreateParams{ID: back, TreeID: first, PipelineID: id, Kind: troy.Rollback, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	if d := r.ended(back); d.State != troy.Succeeded {
		t.Fatalf("the rollback is %s: %s", d.State, d.Cause)
	}
	if got := r.rulesOf(id, first); !bytes.Equal(got, compiled) {
		t.Errorf("after the rollback the tree has the rules %s", got)
	}
}

// TestRulesOnFunctions warns about what CloudFront's functions don't obey, and
// refuses to publish protected paths.
func TestRulesOnFunctions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cloud.Functions = true
	id := r.pipeline("blog")
	r.requestProvision(id)
	r.start()
	obeyed := r.release(id, map[string]string{"index.html": "one", "_redirects": "/a /\n/b/* / 302\n"})
	if d := r.ended(obeyed); d.State != troy.Succeeded {
		t.Errorf("the deployment is %s: %s", d.State, d.Cause)
	}
	if got := r.report(id, obeyed); !got.Clean() || got.Redirects != 2 {
		t.Errorf("the report is %+v", got)
	}
	warned := r.release(id, map[string]string{"index.html": "one", "_headers": "/a\n  X-A: b\n\n/b\n  Set-Cookie: a=b\n"})
	if d := r.ended(warned); d.State != troy.Succeeded {
		t.Errorf("the deployment is %s: %s", d.State, d.Cause)
	}
	if got := r.report(id, warned); got.Warnings != 1 || got.Problems[0].Code != rules.CodeNotObeyed || got.Problems[0].File != "_headers" || got.Problems[0].Line < 4 {
		t.Errorf("the report is %+v", got)
	}
	public := r.release(id, map[string]string{"index.html": "two", "_headers": "/x\n  Basic-Auth: a:b\n"})
	if d := r.ended(public); d.State != troy.Failed || !strings.Contains(d.Cause, "Basic-Auth") {
		t.Errorf("the deployment is %s: %s", d.State, d.Cause)
	}
}

// TestRulesOfABuild publishes what a build made with the rules of its
// repository, and reports a password in them without showing it.
func TestRulesOfABuild(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.builder.config = []rules.ConfigFile{{Name: "netlify.toml", Text: "[[redirects]]\nfrom = \"/a\"\nto = \"/nowhere\"\n"}, {Name: "troy.toml", Text: "[site]\ntrailing_slash = \"never\"\n[[headers]]\nfor = \"/team/*\"\nvalues = { Basic-Auth = \"ann:open-sesame\" }\n"}}
	r.start()
	p := r.building("blog")
	r.head("blog", commitID("first"))
	r.pushed("blog", "", commitID("first"))
	r.restsWith(p.ID, commitID("first"))
	live, err := r.q.PipelineGet(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.cloud.Store.Manifest(t.Context(), site.Tree{Pipeline: p.ID, Deployment: *live.LiveDeploymentID})
	if err != nil || m.TrailingSlash != site.SlashNever || !bytes.Contains(m.Rules, []byte(`"path":"/a"`)) {
		t.Errorf("the tree has the policy %q and the rules %s: %v", m.TrailingSlash, m.Rules, err)
	}
	if bytes.Contains(m.Rules, []byte("sesame")) || !bytes.Contains(m.Rules, []byte("$argon2id$")) {
		t.Errorf("the tree has the rules %s", m.Rules)
	}
	if got := r.report(p.ID, *live.LiveDeploymentID); got.Redirects != 1 || got.Problems[0].File != "netlify.toml" || got.Notices != 1 || got.Problems[1].File != "troy.toml" || strings.Contains(fmt.Sprint(got), "sesame") {
		t.Errorf("the report is %+v", got)
	}
	last := ""
	eventually(t, func() bool {
		r.forge.set(func() {
			for _, report := range r.forge.reports {
				last = report.Summary
			}
		})
		return strings.Contains(last, "netlify.toml:1: warning: the site has no page") && strings.Contains(last, "troy.toml:3: notice: the password in this file protects") && !strings.Contains(last, "sesame")
	}, func() string { return "the last report to the forge is: " + last })
}
