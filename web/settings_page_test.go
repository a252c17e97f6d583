package web_test

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/secret"
)

const settingsPath = "/pipelines/blog/settings"

// filled reads the form of a section as a browser would send it.
func filled(t *testing.T, a answer, section string) url.Values {
	t.Helper()
	form := regexp.MustCompile(`(?s)action="` + settingsPath + `/` + section + `"[^>]*>(.*?)</form>`).FindSubmatch(a.body)
	if form == nil {
		t.Fatalf("the page has no form %s:\n%s", section, a.body)
	}
	text, values := string(form[1]), url.Values{}
	for _, m := range regexp.MustCompile(`<input[^>]*>`).FindAllString(text, -1) {
		name, value := attribute(m, "name"), attribute(m, "value")
		if strings.Contains(m, `type="checkbox"`) && !strings.Contains(m, " checked") {
			continue
		}
		values.Set(name, value)
	}
	for _, m := range regexp.MustCompile(`(?s)<textarea[^>]*name="([^"]*)"[^>]*>(.*?)</textarea>`).FindAllStringSubmatch(text, -1) {
		values.Set(m[1], html.UnescapeString(m[2]))
	}
	for _, m := range regexp.MustCompile(`(?s)<select[^>]*name="([^"]*)".*?</select>`).FindAllStringSubmatch(text, -1) {
		if chosen := regexp.MustCompile(`value="([^"]*)" selected`).FindStringSubmatch(m[0]); chosen != nil {
			values.Set(m[1], chosen[1])
		} else {
			values.Set(m[1], regexp.MustCompile(`value="([^"]*)"`).FindStringSubmatch(m[0])[1])
		}
	}
	return values
}

func attribute(tag, name string) string {
	m := regexp.MustCompile(` ` + name + `="([^"]*)"`).FindStringSubmatch(tag)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

// TestSettingsPage saves each section, sends what is wrong, and lets two people
// save at once.
func TestSettingsPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withKey(secret.NewKey()))
	p := w.bind("blog", "github", "team/blog", "")
	w.exec("DELETE FROM audit")
	cookie := w.session(w.admin)
	show := func() answer {
		t.Helper()
		a := w.visit("GET", settingsPath, nil, cookie)
		if a.status != 200 {
			t.Fatalf("the page answers %d: %s", a.status, a.body)
		}
		return a
	}
	send := func(section string, form url.Values) answer {
		t.Helper()
		return w.visit("POST", settingsPath+"/"+section, form, cookie)
	}
	saved := func(a answer, section string) {
		t.Helper()
		if want := settingsPath + "?saved=" + section + "#" + section; a.status != 303 || a.header.Get("Location") != want {
			t.Fatalf("saving %s answers %d %s: %s", section, a.status, a.header.Get("Location"), a.body)
		}
	}
	holds := func(what, sql string, args ...any) {
		t.Helper()
		if w.count(sql, args...) != 1 {
			t.Errorf("not saved: %s", what)
		}
	}
	refused := func(a answer, status int, says ...string) {
		t.Helper()
		if a.status != status {
			t.Fatalf("the page answers %d, want %d: %s", a.status, status, a.body)
		}
		for _, text := range says {
			if !strings.Contains(string(a.body), text) {
				t.Errorf("the page lacks %s:\n%s", text, a.body)
			}
		}
	}

	// What does not change is not recorded as a change.
	saved(send("build", filled(t, show(), "build")), "build")
	saved(send("source", filled(t, show(), "source")), "source")
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'pipeline.configure'"); n != 0 {
		t.Errorf("saving nothing made %d entries", n)
	}

	stale := filled(t, show(), "build")
	form := filled(t, show(), "build")
	form.Set("build.output", "dist/")
	form.Set("build.install", "npm ci <b>")
	form.Set("build.drop_assets", "yes")
	form.Set("build.trailing_slash", "always")
	saved(send("build", form), "build")
	holds("the build settings", `SELECT count(*) FROM pipelines WHERE id = $1 AND build_settings = '{"output": "dist", "install": "npm ci <b>", "drop_assets": true, "trailing_slash": "always"}'`, p.ID)
	holds("who changed them", "SELECT count(*) FROM audit WHERE action = 'pipeline.configure' AND actor = 'token test-admin' AND subject = 'build.drop_assets, build.install, build.output, build.trailing_slash'")
	refused(show(), 200, "npm ci &lt;b&gt;", `name="build.drop_assets" value="yes" checked`)

	// The second of two people sees what the first one did, and keeps the own
	// values.
	stale.Set("build.output", "public")
	stale.Set("build.test", "make test")
	a := send("build", stale)
	refused(a, 412, "token test-admin changed build.drop_assets, build.install", "It is now: <code>dist</code>", `value="public"`, `value="make test"`, "It is now: <code>on</code>")
	holds("the first one's settings", `SELECT count(*) FROM pipelines WHERE id = $1 AND build_settings->>'output' = 'dist'`, p.ID)
	again := filled(t, a, "build")
	saved(send("build", again), "build")
	holds("the second one's settings", `SELECT count(*) FROM pipelines WHERE id = $1 AND build_settings = '{"output": "public", "test": "make test"}'`, p.ID)

	form = filled(t, show(), "build")
	form.Set("build.output", "../up")
	refused(send("build", form), 400, `id="f-build-output-error">The folder is`, `value="../up"`, `aria-invalid="true"`)

	form = filled(t, show(), "build")
	form.Set("build.memory_mib", "two")
	refused(send("build", form), 400, `id="f-build-memory-mib-error">It is`, `value="two"`)
	form.Set("build.memory_mib", "1")
	refused(send("build", form), 400, `id="f-build-memory-mib-error">It is 1; expected 256`)
	form.Set("build.memory_mib", "512")
	saved(send("build", form), "build")
	holds("the memory", `SELECT count(*) FROM pipelines WHERE id = $1 AND build_settings->'memory_mib' = '512'`, p.ID)
	form = filled(t, show(), "build")
	form.Set("build.memory_mib", "")
	saved(send("build", form), "build")
	holds("no limit of the memory", `SELECT count(*) FROM pipelines WHERE id = $1 AND build_settings->'memory_mib' IS NULL`, p.ID)

	form = filled(t, show(), "source")
	form.Set("repository.branch", "production")
	form.Set("watch_paths", "apps/web\r\n\r\n packages \r\n")
	form.Set("cancel_running", "yes")
	saved(send("source", form), "source")
	holds("the source", "SELECT count(*) FROM pipelines WHERE id = $1 AND repository_branch = 'production' AND watch_paths = '{apps/web,packages}' AND cancel_running", p.ID)
	form = filled(t, show(), "source")
	form.Set("repository.branch", "a..b")
	refused(send("source", form), 400, `id="f-repository-branch-error"`)
	form = filled(t, show(), "disconnect")
	saved(send("disconnect", form), "source")
	holds("no repository", "SELECT count(*) FROM pipelines WHERE id = $1 AND repository_full_name IS NULL", p.ID)
	saved(send("source", filled(t, show(), "source")), "source")
	form = filled(t, show(), "source")
	form.Set("repository.full_name", "team/site")
	saved(send("source", form), "source")
	holds("another repository", "SELECT count(*) FROM pipelines WHERE id = $1 AND repository_full_name = 'team/site' AND repository_provider = 'github'", p.ID)

	// Variables. A secret is never shown, not even after an error.
	saved(send("variable", url.Values{"name": {"TOKEN"}, "value": {"hunter2-hunter2"}, "secret": {"yes"}}), "variables")
	saved(send("variable", url.Values{"name": {"MODE"}, "value": {"a <b>\r\nc"}}), "variables")
	refused(show(), 200, "<code>TOKEN</code>", "••••••••", "<code>a &lt;b&gt;\nc</code>")
	refused(send("variable", url.Values{"name": {"lower"}, "value": {"hunter3-hunter3"}, "secret": {"yes"}}), 400, `id="f-name-error"`, `value="lower"`)
	refused(send("variable", url.Values{"name": {"SHORT"}, "value": {"hun"}, "secret": {"yes"}}), 400, `id="f-value-error"`)
	for _, a := range []answer{show(), send("variable", url.Values{"name": {"lower"}, "value": {"hunter3-hunter3"}, "secret": {"yes"}})} {
		if strings.Contains(string(a.body), "hunter") {
			t.Errorf("the page shows a secret:\n%s", a.body)
		}
	}
	saved(send("variable", url.Values{"name": {"MODE"}, "context": {" preview:feature/x "}, "value": {"blue"}}), "variables")
	refused(show(), 200, `<code>MODE</code> <span class="tag">preview:feature/x</span>`, `aria-label="Actions for MODE, preview:feature/x"`)
	refused(send("variable", url.Values{"name": {"MODE"}, "context": {"staging"}, "value": {"blue"}}), 400, `id="f-context-error"`, `value="staging"`)
	saved(send("variable-remove", url.Values{"name": {"MODE"}, "context": {"preview:feature/x"}}), "variables")
	saved(send("variable-remove", url.Values{"name": {"MODE"}, "context": {"all"}}), "variables")
	refused(send("variable-remove", url.Values{"name": {"MODE"}}), 404, "has no variable")

	// Tokens that may touch it.
	other := w.bind("other", "github", "team/other", "")
	w.token(credentials.Deployer, other.ID)
	w.token(credentials.Deployer, p.ID)
	a = show()
	refused(a, 200, "only blog", "all pipelines")
	if strings.Contains(string(a.body), "only other") {
		t.Errorf("a token that may not touch the pipeline is listed:\n%s", a.body)
	}
	form = filled(t, a, "token-revoke") // the newest
	refused(send("token-revoke", form), 400, "Type test-deployer to confirm")
	form.Set("confirm", "test-deployer")
	saved(send("token-revoke", form), "access")
	holds("the revocation", "SELECT count(*) FROM audit WHERE action = 'token.revoke' AND subject = 'test-deployer' AND actor = 'token test-admin'")
	refused(send("token-revoke", form), 404, "revoked already")
	refused(send("token-revoke", url.Values{"token": {"x"}}), 400, "names no token")
	if a := send("none", nil); a.status != 404 {
		t.Errorf("an unknown section answers %d", a.status)
	}

	w.put(p, troy.ScheduledForDeletion)
	form = filled(t, show(), "build")
	form.Set("build.output", "x")
	refused(send("build", form), 409, "does not allow")
	w.exec("DELETE FROM pipelines WHERE id = $1", p.ID)
	if a := w.visit("GET", settingsPath, nil, cookie); a.status != 404 {
		t.Errorf("the settings of a deleted pipeline answer %d", a.status)
	}
}

// TestSettingsNeedRoles opens the settings and sends each form as someone who
// may not change them.
func TestSettingsNeedRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withKey(secret.NewKey()))
	p := w.bind("blog", "github", "team/blog", "")
	other := w.bind("other", "github", "team/other", "")
	w.exec("INSERT INTO variables (pipeline_id, name, value, secret) VALUES ($1, 'HIDDEN_NAME', '', true)", p.ID)
	sections := []string{"source", "disconnect", "build", "variable", "variable-remove", "password", "password-remove", "network", "network-remove", "unprotect", "token-revoke"}
	for _, role := range []credentials.Role{credentials.Viewer, credentials.Deployer} {
		cookie := w.session(w.token(role))
		a := w.visit("GET", settingsPath, nil, cookie)
		for _, text := range []string{"you need the role admin", "<fieldset disabled>", "This needs the role admin for all pipelines"} {
			if a.status != 200 || !strings.Contains(string(a.body), text) {
				t.Errorf("for a %s the page answers %d without %s:\n%s", role, a.status, text, a.body)
			}
		}
		if strings.Contains(string(a.body), "HIDDEN_NAME") {
			t.Errorf("a %s sees variables", role)
		}
		for _, section := range sections {
			if a := w.visit("POST", settingsPath+"/"+section, url.Values{"name": {"X"}}, cookie); a.status != 403 || !strings.Contains(string(a.body), "needs the role admin") {
				t.Errorf("for a %s %s answers %d", role, section, a.status)
			}
		}
	}
	limited := w.session(w.token(credentials.Admin, p.ID))
	if a := w.visit("GET", settingsPath, nil, limited); a.status != 200 || strings.Contains(string(a.body), "token-revoke") {
		t.Errorf("an admin of one pipeline may see tokens:\n%s", a.body)
	}
	if a := w.visit("POST", settingsPath+"/token-revoke", url.Values{"token": {uuid.NewString()}}, limited); a.status != 403 {
		t.Errorf("an admin of one pipeline may revoke tokens: %d", a.status)
	}
	form := filled(t, w.visit("GET", settingsPath, nil, limited), "source")
	form.Set("repository.full_name", "team/secret")
	if a := w.visit("POST", settingsPath+"/source", form, limited); a.status != 403 {
		t.Errorf("an admin of one pipeline may connect another repository: %d", a.status)
	}
	if a := w.visit("GET", "/pipelines/"+other.Slug+"/settings", nil, limited); a.status != 404 {
		t.Errorf("an admin of one pipeline sees the settings of another: %d", a.status)
	}
	if a := w.visit("POST", settingsPath+"/build", nil, ""); a.status != 303 || a.header.Get("Location") != "/login?next="+url.QueryEscape(settingsPath)+"&unsent=1" {
		t.Errorf("without a session a form answers %d %s", a.status, a.header.Get("Location"))
	}
}
