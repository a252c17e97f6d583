package web_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// rulesReport is the report on a deployment's rules.
type rulesReport struct {
	Dialect                                                string
	Redirects, Headers, Errors, Warnings, Notices, Omitted int
	Compiled, Strict                                       bool
	Problems                                               []struct {
		File, Severity, Code, Message string
		Line                          int
	}
}

func TestRulesOfARelease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	const redirects = "/a /b\n/old /\n"
	files := []site.File{file("index.html", "home"), file("about.html", "home"), file("_redirects", redirects)}
	body := func(config string, strict bool) map[string]any {
		return map[string]any{"files": files, "strict": strict, "config": []map[string]string{
			{"name": "troy.toml", "text": config}, {"name": "wrangler.toml"},
		}}
	}
	for field, bad := range map[string]map[string]any{
		"config[0].text": body("[site", false),
		"config[0].name": {"files": files, "config": []map[string]string{{"name": "../x"}}},
	} {
		w.send("POST", releases(p), bad).refused(t, 400, "invalid", field, "")
	}
	w.send("POST", releases(p), body(strings.Repeat("#", 300<<10), false)).refused(t, 413, "too_large", "config[0].text", "262144")

	finish := func(strict bool) (string, answer) {
		var r release
		w.send("POST", releases(p), body("[site]\ntrailing_slash = \"always\"\n", strict)).into(t, 201, &r)
		for _, content := range []string{"home", redirects} {
			if len(r.Missing) > 0 {
				w.upload(p, r, content).into(t, 204, nil)
			}
		}
		return r.ID.String(), w.send("POST", fmt.Sprintf("%s/%s/finalize", releases(p), r.ID), `{"publish":false}`)
	}
	_, a := finish(true)
	if e := a.refused(t, 400, "invalid", "", "_redirects:1"); len(e.Details) != 1 || !strings.Contains(e.Details[0], "target-missing") {
		t.Errorf("the details are %q", e.Details)
	}
	id, a := finish(false)
	a.into(t, 202, nil)
	var report rulesReport
	w.send("GET", "/v1/pipelines/blog/deployments/"+id+"/rules", nil).into(t, 200, &report)
	if !report.Compiled || report.Dialect != "cloudflare" || report.Redirects != 2 || report.Warnings != 1 || report.Problems[0].Line != 1 {
		t.Errorf("the report is %+v", report)
	}
	m, err := w.deps.Store.Manifest(t.Context(), site.Tree{Pipeline: p.ID, Deployment: uuid.MustParse(id)})
	if err != nil || m.TrailingSlash != site.SlashAlways || m.Rules == nil {
		t.Errorf("the manifest has the policy %q and the rules %s: %v", m.TrailingSlash, m.Rules, err)
	}
	page := w.send("GET", "/pipelines/blog/deployments/"+id, nil)
	for _, want := range []string{">Rules</h2>", "2 redirects", "as Cloudflare reads them", "1 warning</span>", "_redirects:1</code>", "the site has no page at &#34;/b&#34;"} {
		if !strings.Contains(string(page.body), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	w.goLive(p, uuid.MustParse(id))
	if page := w.send("GET", "/pipelines/blog", nil); !strings.Contains(string(page.body), "1 problem in the site’s rules</a>") {
		t.Error("the pipeline's page does not name the problem")
	}
	// Without rules there is nothing to report.
	d := w.released(p, "plain")
	w.send("GET", fmt.Sprintf("/v1/pipelines/blog/deployments/%d/rules", d.Number), nil).into(t, 200, &report)
	if report.Compiled || report.Redirects != 0 {
		t.Errorf("the report is %+v", report)
	}
	if page := w.send("GET", fmt.Sprintf("/pipelines/blog/deployments/%d", d.Number), nil); strings.Contains(string(page.body), ">Rules</h2>") {
		t.Error("the page of a site without rules reports on them")
	}
	w.send("GET", "/v1/pipelines/blog/deployments/99/rules", nil).refused(t, 404, "not_found", "", "")
}
