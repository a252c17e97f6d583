package web_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/web"
)

const anyone = ""

// needs are the roles that the dashboard's pages and actions need. "all" means
// that the role must be for all pipelines.
var needs = map[string]string{
	"GET /": anyone, "GET /live": anyone, "GET /new": anyone, "GET /new/repositories": "all admin", "GET /new/repository": "all admin", "GET /new/slug": "all admin",
	"POST /new/repository": "all admin",
	"GET /queue":           anyone, "GET /queue/live": anyone, "POST /queue/actions/pause": "all admin", "POST /queue/actions/resume": "all admin",
	"POST /queue/actions/ring": "deployer", "POST /queue/actions/retry": "deployer", "POST /queue/actions/cancel": "deployer",
	"GET /activity": anyone, "GET /activity/live": anyone, "GET /palette": anyone, "GET /palette/{pipeline}": anyone,
	"GET /system": anyone, "GET /system/access": anyone, "GET /system/storage": anyone, "GET /monitor/": "all admin",
	"GET /system/notifications": anyone, "GET /pipelines/{pipeline}/notifications": anyone,
	"POST /system/notifications/add": "all admin", "POST /system/notifications/test": "all admin", "POST /system/notifications/enable": "all admin", "POST /system/notifications/remove": "all admin", "POST /system/notifications/redeliver": "all admin",
	"POST /pipelines/{pipeline}/notifications/add": "admin", "POST /pipelines/{pipeline}/notifications/test": "admin", "POST /pipelines/{pipeline}/notifications/enable": "admin", "POST /pipelines/{pipeline}/notifications/remove": "admin", "POST /pipelines/{pipeline}/notifications/redeliver": "admin",
	"POST /system/tokens": "all admin", "POST /system/tokens/{token}/revoke": "all admin", "POST /system/users/{user}/revoke": "all admin", "POST /system/sessions/{session}/revoke": anyone,
	"GET /pipelines/{pipeline}": anyone, "GET /pipelines/{pipeline}/settings": anyone, "GET /pipelines/{pipeline}/traffic": anyone,
	"GET /pipelines/{pipeline}/domains": anyone, "GET /pipelines/{pipeline}/domains/live": anyone,
	"POST /pipelines/{pipeline}/actions/domain-add": "admin", "POST /pipelines/{pipeline}/actions/domain-primary": "admin", "POST /pipelines/{pipeline}/actions/domain-remove": "admin", "POST /pipelines/{pipeline}/actions/domain-verify": "deployer",
	"GET /pipelines/{pipeline}/previews": anyone, "GET /pipelines/{pipeline}/previews/live": anyone,
	"POST /pipelines/{pipeline}/actions/preview-approve": "deployer", "POST /pipelines/{pipeline}/actions/preview-create": "deployer", "POST /pipelines/{pipeline}/actions/preview-delete": "deployer",
	"POST /pipelines/{pipeline}/actions/preview-pin": "deployer", "POST /pipelines/{pipeline}/actions/preview-promote": "deployer", "POST /pipelines/{pipeline}/actions/preview-unpin": "deployer",
	"GET /pipelines/{pipeline}/thumbnail": anyone, "GET /pipelines/{pipeline}/live": anyone,
	"GET /pipelines/{pipeline}/deployments/{deployment}": anyone, "GET /pipelines/{pipeline}/deployments/{deployment}/live": anyone, "GET /pipelines/{pipeline}/deployments/{deployment}/log": anyone,
	"GET /pipelines/{pipeline}/deployments/{deployment}/files": anyone, "GET /pipelines/{pipeline}/deployments/{deployment}/changes": anyone,
	"POST /pipelines/{pipeline}/actions/deploy": "deployer", "POST /pipelines/{pipeline}/actions/rollback": "deployer", "POST /pipelines/{pipeline}/actions/cancel": "deployer",
	"POST /pipelines/{pipeline}/actions/retry": "deployer", "POST /pipelines/{pipeline}/actions/lock": "deployer", "POST /pipelines/{pipeline}/actions/unlock": "deployer",
	"POST /pipelines/{pipeline}/actions/provision": "admin", "POST /pipelines/{pipeline}/actions/delete": "admin", "POST /pipelines/{pipeline}/actions/restore": "admin",
	"POST /pipelines/{pipeline}/settings/source": "admin", "POST /pipelines/{pipeline}/settings/disconnect": "admin", "POST /pipelines/{pipeline}/settings/build": "admin",
	"POST /pipelines/{pipeline}/settings/variable": "admin", "POST /pipelines/{pipeline}/settings/variable-remove": "admin",
	"POST /pipelines/{pipeline}/settings/password": "admin", "POST /pipelines/{pipeline}/settings/password-remove": "admin",
	"POST /pipelines/{pipeline}/settings/network": "admin", "POST /pipelines/{pipeline}/settings/network-remove": "admin", "POST /pipelines/{pipeline}/settings/unprotect": "admin",
	"POST /pipelines/{pipeline}/settings/protect": "admin", "POST /pipelines/{pipeline}/settings/previews": "admin",
	"POST /pipelines/{pipeline}/settings/schedule": "admin", "POST /pipelines/{pipeline}/settings/hook": "admin", "POST /pipelines/{pipeline}/settings/hook-delete": "admin",
	"POST /pipelines/{pipeline}/settings/token-revoke": "all admin",
}

// forStrangers are the routes that need no sign-in.
var forStrangers = []string{
	"GET /static/{name}", "GET " + credentials.LoginPath, "POST " + credentials.LoginPath, "GET " + credentials.LoginPath + "/oidc", "GET " + credentials.CallbackPath, "POST /logout",
}

// mayLack are the ends of paths that need something beyond the database: sealed
// files, an installed app.
var mayLack = []string{"/files", "/changes", "/new/repository"}

// covers reports whether a request of needs is one of a route.
func covers(pattern, request string) bool {
	of, is := strings.Split(pattern, "/"), strings.Split(request, "/")
	return slices.EqualFunc(of, is, func(of, is string) bool {
		return of == is || of == "{$}" && is == "" || of != "{$}" && strings.HasPrefix(of, "{") && is != ""
	})
}

// requests are those of needs, with examples for their parameters. It fails the
// test for a registered route that needs lacks.
func (w *world) requests() map[string]string {
	w.t.Helper()
	patterns, err := web.Pages(w.cfg, w.deps)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, pattern := range patterns {
		listed := slices.Contains(forStrangers, pattern)
		for request := range needs {
			listed = listed || covers(pattern, request)
		}
		if !listed {
			w.t.Errorf("%s is registered, but not in the list: add the role that it needs", pattern)
		}
	}
	out := map[string]string{}
	for request, least := range needs {
		for _, slug := range []string{"blog", "docs"} {
			example := strings.NewReplacer("{pipeline}", slug, "{deployment}", "1", "{token}", uuid.NewString(), "{session}", "x").Replace(request)
			out[example] = least
		}
	}
	return out
}

// Every page and every action as each role, on all pipelines and on one, with a
// session of a token and of a person.
func TestEveryPageAsEachRole(t *testing.T) {
	t.Parallel()
	w, i := oidcWorld(t, "viewer=viewer", "deployer=deployer", "admin=admin", "viewer-of=viewer:blog", "deployer-of=deployer:blog", "admin-of=admin:blog")
	p := w.bind("blog", "github", "team/blog", "")
	other := w.bind("docs", "github", "team/docs", "")
	w.built(p)
	w.built(other)
	requests := w.requests()
	for _, role := range credentials.Roles() {
		for _, limited := range []bool{false, true} {
			group, only := string(role), []uuid.UUID(nil)
			if limited {
				group, only = group+"-of", []uuid.UUID{p.ID}
			}
			i.change(func() { i.claims = map[string]any{"groups": []string{group}, "sub": group} })
			for who, cookie := range map[string]string{"token": w.session(w.token(role, only...)), "user": jar(w.signInAt(i, "/"))} {
				what := fmt.Sprintf("the %s of a %s (limited: %t)", who, role, limited)
				for request, least := range requests {
					w.asRole(request, least, what, cookie, role, limited)
				}
			}
		}
	}
}

// asRole holds the answer to a request to a role.
func (w *world) asRole(request, least, what, cookie string, role credentials.Role, limited bool) {
	w.t.Helper()
	method, path, _ := strings.Cut(request, " ")
	hidden := limited && (strings.HasPrefix(path, "/pipelines/docs") || path == "/palette/docs")
	if strings.HasSuffix(path, "/live") {
		next, stop := w.stream(path, cookie, "")
		defer stop()
		want := "live"
		if hidden {
			want = "reload" // of the page, which answers 404
		}
		if name, _ := next(); name != want {
			w.t.Errorf("to %s %s sends %q, want %q", what, request, name, want)
		}
		return
	}
	form := url.Values(nil)
	if method == "POST" {
		form = url.Values{"confirm": {"no"}} // so that nothing is deleted
	}
	a := w.visit(method, path, form, cookie)
	all := strings.HasPrefix(least, "all ")
	needed := credentials.Role(strings.TrimPrefix(least, "all "))
	lesser := needed != anyone && !role.May(needed)
	denied := lesser || all && limited
	body := string(a.body)
	switch {
	case hidden && a.status != 404:
		w.t.Errorf("to %s %s answers %d, want 404", what, request, a.status)
	case hidden:
	case denied && a.status != 403:
		w.t.Errorf("to %s %s answers %d, want 403: %s", what, request, a.status, body)
	case lesser && !strings.Contains(body, string(needed)):
		w.t.Errorf("to %s %s does not say that %s is needed: %s", what, request, needed, body)
	case denied && !lesser && !strings.Contains(body, "limited to"):
		w.t.Errorf("to %s %s does not say that all pipelines are needed: %s", what, request, body)
	case !denied && (a.status == 403 || a.status == 401 || a.status >= 500 || strings.HasPrefix(a.header.Get("Location"), "/login")):
		w.t.Errorf("to %s %s answers %d %s", what, request, a.status, body)
	case !denied && method == "GET" && a.status != 200 && !slices.ContainsFunc(mayLack, func(end string) bool { return strings.HasSuffix(path, end) }):
		w.t.Errorf("to %s %s answers %d, want 200", what, request, a.status)
	}
}
