package web_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/secret"
)

// The choice of a pipeline's repository decides what is published of everything
// that the installation may read, so a token that is limited to the pipeline
// may not make it.
func TestLimitedAdminsKeepTheRepository(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	blog, empty := w.create("Blog"), w.create("Empty")
	limited := func(p pipeline) option { return header("Authorization", "Bearer "+w.token(credentials.Admin, p.ID)) }
	const path = "/v1/pipelines/blog"
	w.send("PATCH", path, `{"repository":{"provider":"github","full_name":"team/blog","branch":"main"}}`).into(t, 200, nil)
	for _, body := range []string{
		`{"repository":{"full_name":"team/payroll"}}`, `{"repository":{"provider":"bitbucket"}}`,
		`{"repository":{"provider":"github","full_name":"team/payroll","branch":"main"}}`,
	} {
		w.send("PATCH", path, body, limited(blog)).refused(t, 403, "forbidden", "repository", "another repository")
		w.send("PATCH", "/v1/pipelines/empty", `{"repository":{"provider":"github","full_name":"team/payroll"}}`, limited(empty)).refused(t, 403, "forbidden", "repository", "another repository")
	}
	var after struct {
		Repository map[string]string `json:"repository"`
	}
	a := w.send("PATCH", path, `{"repository":{"full_name":"Team/Blog","branch":"next","root":"docs"}}`, limited(blog))
	if err := json.Unmarshal(a.body, &after); err != nil || a.status != 200 || after.Repository["branch"] != "next" || after.Repository["root"] != "docs" {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.send("PATCH", path, `{"repository":null}`, limited(blog)).into(t, 200, nil)
	w.send("PATCH", path, `{"repository":{"provider":"github","full_name":"team/blog"}}`, limited(blog)).refused(t, 403, "forbidden", "repository", "another repository")
}

func TestConfigure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create("Blog")
	const path = "/v1/pipelines/blog"
	patch := func(body string) (p pipeline) {
		t.Helper()
		w.send("PATCH", path, body).into(t, 200, &p)
		var again pipeline
		w.send("GET", path, nil).into(t, 200, &again)
		if diff := cmp.Diff(p, again); diff != "" {
			t.Errorf("the answer (-) against a later read (+):\n%s", diff)
		}
		return p
	}
	p := patch(`{"repository":{"provider":"github","full_name":"team/blog","branch":"main","root":"./apps/web/"},
		"watch_paths":["apps/**","!**/*.md"],"cancel_running":true,"build":{"install":"npm ci","build":"npm run build","output":"dist/"}}`)
	if diff := cmp.Diff(&repository{"github", "team/blog", "main", "apps/web"}, p.Repository); diff != "" || !p.CancelRunning || len(p.WatchPaths) != 2 ||
		p.Build != (troy.BuildSettings{Install: "npm ci", Build: "npm run build", Output: "dist"}) {
		t.Errorf("%+v\n%s", p, diff)
	}
	// Absent members stay; an empty text resets.
	w.exec("UPDATE pipelines SET repository_id = '7', head_commit = 'abc'")
	p = patch(`{"build":{"install":"","test":"npm test"},"repository":{"root":""}}`)
	if p.Build != (troy.BuildSettings{Build: "npm run build", Test: "npm test", Output: "dist"}) || p.Repository.Root != "" || p.Repository.Branch != "main" {
		t.Errorf("%+v %+v", p.Build, p.Repository)
	}
	p = patch(`{"build":{"trailing_slash":"always","drop_assets":true}}`)
	if p.Build.TrailingSlash != "always" || !p.Build.DropAssets || p.Build.Test != "npm test" {
		t.Errorf("%+v", p.Build)
	}
	w.send("PATCH", path, `{"build":{"trailing_slash":"sometimes"}}`).refused(t, 400, "invalid", "build.trailing_slash", "auto, always or never")
	patch(`{"build":{"trailing_slash":"","drop_assets":false}}`)
	p = patch(`{"build":{"minutes":10,"memory_mib":1024,"cpus":2,"processes":128}}`)
	if p.Build.Minutes != 10 || p.Build.MemoryMiB != 1024 || p.Build.CPUs != 2 || p.Build.Processes != 128 {
		t.Errorf("the limits are %+v", p.Build)
	}
	for change, field := range map[string]string{
		`{"minutes":-1}`: "minutes", `{"memory_mib":255}`: "memory_mib", `{"cpus":1025}`: "cpus", `{"processes":1}`: "processes", `{"cpus":1.5}`: "cpus", `{"minutes":"5"}`: "minutes",
	} {
		w.send("PATCH", path, `{"build":`+change+`}`).refused(t, 400, "invalid", "build."+field, "expected")
	}
	patch(`{"build":{"minutes":null,"memory_mib":0,"cpus":null,"processes":null}}`)
	state := func() string {
		return w.text("SELECT concat_ws(' ', coalesce(repository_id, '-'), coalesce(head_commit, '-'), source_problem) FROM pipelines")
	}
	for _, c := range []struct{ name, body, want string }{
		{"the same repository", `{"repository":{"full_name":"Team/Blog"}}`, "7 abc "},
		{"another branch", `{"repository":{"branch":"live"}}`, "7 - "},
		{"another repository", `{"repository":{"full_name":"team/shop"}}`, "- - "},
	} {
		patch(c.body)
		if got := state(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	w.exec("UPDATE pipelines SET repository_id = '7', head_commit = 'abc', source_problem = 'the repository was deleted'")
	if p = patch(`{"cancel_running":false,"watch_paths":[]}`); p.SourceProblem != "the repository was deleted" || p.CancelRunning || len(p.WatchPaths) != 0 {
		t.Errorf("%+v", p)
	}
	if patch(`{"repository":{"full_name":"team/shop"}}`); state() != "- - " {
		t.Errorf("named again while there is a problem: %q", state())
	}
	if p = patch(`{"repository":null}`); p.Repository != nil {
		t.Errorf("%+v", p.Repository)
	}
	patch(`{}`)
	for _, c := range []struct{ body, field string }{
		{`{"repository":{"branch":"main"}}`, "repository.provider"},
		{`{"repository":{"provider":"gitlab","full_name":"a/b"}}`, "repository.provider"},
		{`{"repository":{"provider":"github","full_name":"a"}}`, "repository.full_name"},
		{`{"repository":{"provider":"github","full_name":"a/b\u0007"}}`, "repository.full_name"},
		{`{"repository":{"provider":"github","full_name":"a/b","branch":"x\ny"}}`, "repository.branch"},
		{`{"repository":{"provider":"github","full_name":"a/b","root":"../x"}}`, "repository.root"},
		{`{"repository":{"provider":"github","full_name":"a/b","root":"a/../x"}}`, "repository.root"},
		{`{"repository":{"provider":"github","full_name":"a/b","root":"/x"}}`, "repository.root"},
		{`{"repository":{"provider":"github","full_name":"a/b","folder":"x"}}`, "repository.folder"},
		{`{"repository":{"provider":"github","full_name":"a/b","full_name":"a/c"}}`, "repository.full_name"},
		{`{"repository":"team/blog"}`, "repository"},
		{`{"repository":{"provider":7}}`, "repository.provider"},
		{`{"watch_paths":["../x"]}`, "watch_paths"},
		{`{"watch_paths":[` + strings.Repeat(`"a",`, 50) + `"a"]}`, "watch_paths"},
		{`{"watch_paths":["a\u0000"]}`, "watch_paths"},
		{`{"watch_paths":"a"}`, "watch_paths"},
		{`{"cancel_running":1}`, "cancel_running"},
		{`{"build":{"output":"../x"}}`, "build.output"},
		{`{"build":{"output":"a\\b"}}`, "build.output"},
		{`{"build":{"install":"a\u001b[31m"}}`, "build.install"},
		{`{"build":{"build":"` + strings.Repeat("x", 4097) + `"}}`, "build.build"},
		{`{"build":{"command":"x"}}`, "build.command"},
		{`{"name":"x"}`, "name"}, {`[]`, ""}, {``, ""},
	} {
		w.send("PATCH", path, c.body).refused(t, 400, "invalid", c.field, "")
	}
	w.send("DELETE", path, nil).into(t, 202, nil)
	w.send("PATCH", path, `{"cancel_running":true}`).refused(t, 409, "conflict", "", "Scheduled for Deletion")
}

func TestDeployAndRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.put(p, troy.ReadyForDeployment)
	const path = "/v1/pipelines/blog/deployments"
	w.send("POST", path, nil).refused(t, 409, "conflict", "", "no repository")
	w.send("PATCH", "/v1/pipelines/blog", `{"repository":{"provider":"github","full_name":"team/blog","branch":"main"}}`).into(t, 200, nil)
	commit := strings.Repeat("a", 40)
	for _, bad := range []string{"abc1234", "HEAD", strings.ToUpper(commit), commit + "a"} {
		w.send("POST", path, map[string]any{"commit": bad}).refused(t, 400, "invalid", "commit", "full commit id")
	}
	w.send("POST", path, `{"branch":"main"}`).refused(t, 400, "invalid", "branch", "")
	var d deployment
	a := w.send("POST", path, map[string]any{"commit": commit})
	a.into(t, 202, &d)
	if d.Commit != commit || d.Branch != "main" || d.Kind != "automated" || d.State != "waiting" || d.Actor != "token test-admin" ||
		!strings.HasSuffix(a.header.Get("Location"), "/deployments/"+d.ID.String()) {
		t.Errorf("%+v", d)
	}
	retry := path + "/" + d.ID.String() + "/retry"
	w.send("POST", retry, nil).refused(t, 409, "conflict", "", "has not ended")
	w.exec("UPDATE deployments SET state = 'building', started_at = now()")
	w.exec(`INSERT INTO builds (deployment_id, attempt, rule, phases, log_bytes) VALUES ($1, 2, 'because', '[{"phase":"install","started":"2026-01-02T15:04:05Z","exit_code":1}]', 7)`, d.ID)
	w.send("GET", path+"/"+d.ID.String(), nil).into(t, 200, &d)
	if b := d.Build; b == nil || b.Attempt != 2 || b.Rule != "because" || b.LogBytes != 7 || string(b.Phases) != `[{"phase":"install","started":"2026-01-02T15:04:05Z","exit_code":1}]` {
		t.Errorf("%+v", d.Build)
	}
	w.exec("UPDATE deployments SET state = 'failed', finished_at = now()")
	var again deployment
	w.send("POST", retry, `{}`).into(t, 202, &again)
	if again.Commit != commit || again.Number != 2 || again.SourceDeploymentID == nil || *again.SourceDeploymentID != d.ID || again.Build != nil {
		t.Errorf("%+v", again)
	}
	w.send("POST", retry, `{"x":1}`).refused(t, 400, "invalid", "x", "")
	w.exec("UPDATE pipelines SET source_problem = 'the app was uninstalled'")
	w.send("POST", path, nil).refused(t, 409, "conflict", "", "the app was uninstalled")
}

func withKey(key string) func(*world) {
	return func(w *world) {
		sealer, err := secret.New(key)
		if err != nil {
			w.t.Fatal(err)
		}
		w.deps.Secrets = sealer
	}
}

type variable struct {
	Name      string  `json:"name"`
	Context   string  `json:"context"`
	Secret    bool    `json:"secret"`
	Value     *string `json:"value"`
	ChangedAt string  `json:"changed_at"`
}

func TestVariables(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withKey(secret.NewKey()))
	p := w.create("Blog")
	const path = "/v1/pipelines/blog/variables"
	var v variable
	a := w.send("PUT", path+"/NPM_TOKEN", `{"value":"hush hush hush"}`)
	if a.into(t, 200, &v); !v.Secret || v.Value != nil || v.Name != "NPM_TOKEN" || strings.Contains(string(a.body), "hush") {
		t.Errorf("%s", a.body)
	}
	w.send("PUT", path+"/NODE_ENV", `{"value":"x","secret":false}`).into(t, 200, &v)
	w.send("PUT", path+"/NODE_ENV", `{"value":"production\n","secret":false}`).into(t, 200, &v)
	if v.Secret || v.Value == nil || *v.Value != "production\n" {
		t.Errorf("%+v", v)
	}
	var list struct {
		Variables []variable `json:"variables"`
	}
	a = w.send("GET", path, nil)
	if a.into(t, 200, &list); len(list.Variables) != 2 || list.Variables[0].Name != "NODE_ENV" || strings.Contains(string(a.body), "hush") {
		t.Errorf("%s", a.body)
	}
	if w.send("GET", path+"/NPM_TOKEN", nil).into(t, 200, &v); !v.Secret {
		t.Errorf("%+v", v)
	}
	// The stored value opens for this pipeline's variable and reveals nothing.
	var sealed []byte
	if err := w.db.QueryRow(t.Context(), "SELECT value FROM variables WHERE name = 'NPM_TOKEN'").Scan(&sealed); err != nil || strings.Contains(string(sealed), "hush") {
		t.Fatalf("%v %q", err, sealed)
	}
	subject := secret.Subject{Kind: "variable", ID: p.ID.String(), Name: "NPM_TOKEN"}
	if plain, err := w.deps.Secrets.Open(sealed, subject); err != nil || string(plain) != "hush hush hush" {
		t.Errorf("%q %v", plain, err)
	}
	for _, c := range []struct {
		name, body string
		status     int
		field      string
	}{
		{"token", `{"value":"hush hush hush"}`, 400, "name"},
		{"A-B", `{"value":"hush hush hush"}`, 400, "name"},
		{"1A", `{"value":"hush hush hush"}`, 400, "name"},
		{strings.Repeat("A", 129), `{"value":"hush hush hush"}`, 400, "name"},
		{"A", `{"value":"short"}`, 400, "value"},
		{"A", `{"value":"        short"}`, 400, "value"},
		{"A", `{"value":"hush hush\u0000"}`, 400, "value"},
		{"A", `{"value":"x\u0000","secret":false}`, 400, "value"},
		{"A", `{}`, 400, "value"}, {"A", `{"value":7}`, 400, "value"},
		{"A", `{"value":"hush hush hush","plain":true}`, 400, "plain"},
		{"A", fmt.Sprintf(`{"value":"%s"}`, strings.Repeat("x", 32<<10+1)), 413, "value"},
		{"A", fmt.Sprintf(`{"value":"%s"}`, strings.Repeat("x", 300<<10)), 413, ""},
	} {
		code := map[int]string{400: "invalid", 413: "too_large"}[c.status]
		if r := w.send("PUT", path+"/"+c.name, c.body).refused(t, c.status, code, c.field, ""); strings.Contains(r.Message, "hush") {
			t.Errorf("%s: the refusal shows the value: %s", c.name, r.Message)
		}
	}
	if log := w.log.String(); strings.Contains(log, "hush") || strings.Contains(log, "production") {
		t.Error("the log has a value")
	}
	w.send("DELETE", path+"/NODE_ENV", nil).into(t, 204, nil)
	w.send("DELETE", path+"/NODE_ENV", nil).refused(t, 404, "not_found", "", "NODE_ENV")
	w.send("GET", path+"/NODE_ENV", nil).refused(t, 404, "not_found", "", "NODE_ENV")
	w.send("GET", path+"/x", nil).refused(t, 404, "not_found", "", "x")
}

// TestVariablesInContexts sets a variable for several contexts.
func TestVariablesInContexts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withKey(secret.NewKey()))
	w.create("Blog")
	const path = "/v1/pipelines/blog/variables"
	for _, body := range []string{
		`{"value":"hush production"}`, `{"value":"hush previews","context":"preview"}`, `{"value":"hush branch","context":"preview:feature/x"}`,
		`{"value":"shown to all","secret":false,"context":"all"}`,
	} {
		w.send("PUT", path+"/KEY", body).into(t, 200, nil)
	}
	list := func() (out []string) {
		t.Helper()
		var got struct {
			Variables []variable `json:"variables"`
		}
		a := w.send("GET", path, nil)
		a.into(t, 200, &got)
		if strings.Contains(string(a.body), "hush") {
			t.Errorf("a secret is shown: %s", a.body)
		}
		for _, v := range got.Variables {
			value := ""
			if v.Value != nil {
				value = *v.Value
			}
			out = append(out, v.Name+" "+v.Context+" "+value)
		}
		return out
	}
	want := []string{"KEY all shown to all", "KEY preview ", "KEY preview:feature/x ", "KEY production "}
	if got := list(); !slices.Equal(got, want) {
		t.Errorf("the variables are %q, want %q", got, want)
	}
	var v variable
	if w.send("GET", path+"/KEY?context=preview%3Afeature%2Fx", nil).into(t, 200, &v); v.Context != "preview:feature/x" || !v.Secret {
		t.Errorf("%+v", v)
	}
	if w.send("GET", path+"/KEY?context=all", nil).into(t, 200, &v); v.Value == nil || *v.Value != "shown to all" {
		t.Errorf("%+v", v)
	}
	for _, of := range []string{`"staging"`, `""`, `"preview:"`, `"preview:a..b"`, `"preview:` + strings.Repeat("x", 251) + `"`, `7`} {
		w.send("PUT", path+"/KEY", `{"value":"hush hush hush","context":`+of+`}`).refused(t, 400, "invalid", "context", "")
	}
	w.send("GET", path+"/KEY?context=staging", nil).refused(t, 400, "invalid", "context", "preview:BRANCH")
	w.send("DELETE", path+"/KEY?context=staging", nil).refused(t, 400, "invalid", "context", "preview:BRANCH")
	w.send("GET", path+"/KEY", nil).refused(t, 400, "invalid", "context", "all, preview, preview:feature/x, production")
	w.send("DELETE", path+"/KEY", nil).refused(t, 400, "invalid", "context", "several values")
	w.send("DELETE", path+"/KEY?context=preview:y", nil).refused(t, 404, "not_found", "context", "has no value for the context preview:y")
	if got := list(); !slices.Equal(got, want) {
		t.Errorf("after refusals the variables are %q, want %q", got, want)
	}
	w.send("DELETE", path+"/KEY?context=preview%3Afeature%2Fx", nil).into(t, 204, nil)
	if got := list(); len(got) != 3 {
		t.Errorf("one was removed, and the variables are %q", got)
	}
}

func TestBoundsOfVariables(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withKey(secret.NewKey()))
	w.create("Blog")
	const path = "/v1/pipelines/blog/variables/"
	large := fmt.Sprintf(`{"value":"%s"}`, strings.Repeat("x", 20<<10))
	for i := range 3 {
		w.send("PUT", fmt.Sprintf("%sS%d", path, i), large).into(t, 200, nil)
	}
	// A variable that is set again does not count twice.
	w.send("PUT", path+"S0", large).into(t, 200, nil)
	w.send("PUT", path+"S3", large).refused(t, 413, "too_large", "value", "would total")
	w.send("PUT", path+"S0", strings.Replace(large, "{", `{"context":"preview",`, 1)).refused(t, 413, "too_large", "value", "would total")
	for i := range 97 {
		w.send("PUT", fmt.Sprintf("%sP%d", path, i), `{"value":"x","secret":false}`).into(t, 200, nil)
	}
	w.send("PUT", path+"ONE_MORE", `{"value":"x","secret":false}`).refused(t, 409, "conflict", "", "100 variables")
	w.send("PUT", path+"P0", `{"value":"y","secret":false,"context":"preview"}`).refused(t, 409, "conflict", "", "100 variables")
	w.send("PUT", path+"P0", `{"value":"y","secret":false}`).into(t, 200, nil)
}

// Troy would overwrite a variable that it sets itself in every build.
func TestReservedVariables(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withKey(secret.NewKey()))
	w.create("Blog")
	for _, name := range troy.BuildVariables() {
		w.send("PUT", "/v1/pipelines/blog/variables/"+name, `{"value":"x","secret":false}`).refused(t, 400, "invalid", "name", "set by Troy itself")
		w.send("GET", "/v1/pipelines/blog/variables/"+name, nil).refused(t, 404, "not_found", "", "no variable")
	}
	w.send("PUT", "/v1/pipelines/blog/variables/TROY_TOKEN", `{"value":"x","secret":false}`).into(t, 200, nil)
}

func TestVariablesWithoutTheirKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withKey(secret.NewKey()))
	w.create("Blog")
	const path = "/v1/pipelines/blog/variables"
	w.send("PUT", path+"/A", `{"value":"x","secret":false}`).into(t, 200, nil)
	w.deps.Secrets = nil
	none := w.second()
	for _, a := range []answer{none.send("GET", path, nil), none.send("GET", path+"/A", nil), none.send("PUT", path+"/A", `{"value":"hush hush hush"}`)} {
		a.refused(t, 503, "unavailable", "", "TROY_SECRET_KEY is not set")
	}
	withKey(secret.NewKey())(w)
	if a := w.second().send("GET", path, nil); a.status != 200 || !strings.Contains(string(a.body), `"problem":"the variable A was sealed with a key`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	none.send("DELETE", path+"/A", nil).into(t, 204, nil)
}

// TestRolesOfBuilds is TestRoles for the routes of builds.
func TestRolesOfBuilds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withKey(secret.NewKey()))
	other := w.create("Other")
	id := w.built(w.bind("Blog", "github", "team/blog", "main"))
	const at = "/v1/pipelines/blog"
	tokens := map[credentials.Role]string{credentials.Viewer: w.token(credentials.Viewer), credentials.Deployer: w.token(credentials.Deployer)}
	limited := w.token(credentials.Admin, other.ID)
	for _, c := range []struct {
		method, path string
		least        credentials.Role
	}{
		{"GET", at + "/deployments/" + id.String() + "/log", credentials.Viewer},
		{"POST", at + "/deployments", credentials.Deployer},
		{"POST", at + "/deployments/" + id.String() + "/retry", credentials.Deployer},
		{"PATCH", at, credentials.Admin},
		{"GET", at + "/variables", credentials.Admin},
		{"GET", at + "/variables/A", credentials.Admin},
		{"PUT", at + "/variables/A", credentials.Admin},
		{"DELETE", at + "/variables/A", credentials.Admin},
	} {
		t.Run(c.method+c.path, func(t *testing.T) {
			w.send(c.method, c.path, nil, header("Authorization", "")).refused(t, 401, "unauthenticated", "", "token is needed")
			for role, token := range tokens {
				a := w.send(c.method, c.path, nil, as(token))
				if role.May(c.least) != (a.status != 401 && a.status != 403) {
					t.Errorf("a %s gets %d: %s", role, a.status, a.body)
				}
			}
			if a := w.send(c.method, c.path, nil, as(limited)); a.status != 404 {
				t.Errorf("a token without access to the pipeline gets %d: %s", a.status, a.body)
			}
		})
	}
}

// A deployment says if it waits for provisioning that was not requested.
func TestDeploymentHint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("Blog")
	w.send("PATCH", "/v1/pipelines/blog", `{"repository":{"provider":"github","full_name":"team/blog"}}`).into(t, 200, nil)
	for status, want := range map[troy.Status]string{
		troy.PreProvisioned:    "the pipeline is Pre Provisioned; the deployment continues once it is provisioned: POST /v1/pipelines/blog/provision",
		troy.FailedToProvision: "the pipeline is Failed to Provision; the deployment continues once it is provisioned: POST /v1/pipelines/blog/provision",
		troy.Provisioning:      "",
	} {
		w.put(p, status)
		var d deployment
		w.send("POST", "/v1/pipelines/blog/deployments", nil).into(t, 202, &d)
		if d.Hint != want || d.State != "waiting" {
			t.Errorf("%s: %+v, want %q", status, d, want)
		}
	}
}
