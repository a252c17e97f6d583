package bitbucket_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/bitbucket"
)

var _ interface {
	forge.Forge
	forge.Comparer
	forge.Hooks
} = (*bitbucket.Client)(nil)

func (f *fake) client(change ...func(*bitbucket.Config)) *bitbucket.Client {
	f.t.Helper()
	cfg := bitbucket.Config{
		APIURL: f.url, SiteURL: f.url,
		Now: func() time.Time { f.mu.Lock(); defer f.mu.Unlock(); return f.now },
		Credential: func(_ context.Context, installation string) (bitbucket.Credential, error) {
			switch installation {
			case "token":
				return bitbucket.Credential{AccessToken: granted}, nil
			case "connect":
				return bitbucket.Credential{Sign: func(method, path string, _ url.Values) (string, error) {
					return "signed for " + method + " " + path, nil
				}}, nil
			case "none":
				return bitbucket.Credential{}, nil
			}
			return bitbucket.Credential{}, errors.New("no such installation")
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	c, err := bitbucket.New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func site(installation string) forge.Repository {
	return forge.Repository{Installation: installation, ID: uuid, FullName: "acme/site"}
}

func TestReading(t *testing.T) {
	t.Parallel()
	for _, installation := range []string{"token", "connect"} {
		f := newFake(t)
		c := f.client()
		r := site(installation)
		found, err := c.Repository(t.Context(), forge.Repository{Installation: installation, FullName: "acme/site"})
		if err != nil || found.ID != uuid || found.DefaultBranch != "main" || !found.Private || found.Installation != installation {
			t.Errorf("found %+v, %v", found, err)
		}
		for _, branch := range []string{"main", "feature/ü%"} {
			if got, err := c.Head(t.Context(), r, branch); got != sha || err != nil {
				t.Errorf("the head of %s: %q, %v", branch, got, err)
			}
		}
		for _, id := range []string{sha, sha[:12]} {
			got, err := c.Commit(t.Context(), r, id)
			if err != nil || got.ID != sha || got.Author != "Ada L" || got.Time.IsZero() {
				t.Errorf("commit %s: %+v, %v", id, got, err)
			}
		}
		f.name = "acme/renamed"
		archive, err := c.Archive(t.Context(), r, sha)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil || string(data) != "\x1f\x8b an archive" || archive.Close() != nil {
			t.Errorf("read %q, %v", data, err)
		}
		clone, err := c.Clone(t.Context(), r)
		if err != nil || clone.URL != f.url+"/acme/renamed.git" || clone.Credential.Username != "x-token-auth" || clone.Credential.Password == "" {
			t.Errorf("clone %v, %v", clone, err)
		}
		if strings.Contains(fmt.Sprintf("%+v", clone), clone.Credential.Password) {
			t.Error("formatting shows the password")
		}
	}
}

func TestConnectTokensAreKeptAndRenewed(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	head := func(want int) {
		t.Helper()
		if _, err := c.Head(t.Context(), site("connect"), "main"); err != nil {
			t.Fatal(err)
		}
		if len(f.traded) != want {
			t.Errorf("%d tokens, not %d", len(f.traded), want)
		}
	}
	head(1)
	head(1)
	f.mu.Lock()
	f.now = f.now.Add(56 * time.Minute)
	f.mu.Unlock()
	head(2)
	f.mu.Lock()
	f.traded = []string{"", ""}
	f.mu.Unlock()
	head(3)
	f.mu.Lock()
	f.removed, f.traded = true, nil
	f.mu.Unlock()
	_, err := c.Head(t.Context(), site("connect"), "main")
	if !errors.Is(err, forge.ErrInstallation) || troy.KindOf(err) != troy.Forbidden || strings.Contains(err.Error(), "signed for") {
		t.Errorf("a removed installation: %v", err)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		breakIt      func(f *fake)
		installation string
		branch       string
		is           error
		kind         troy.ErrorKind
	}{
		"branch gone":     {func(*fake) {}, "token", "gone", forge.ErrNoCommit, troy.NotFound},
		"repository gone": {func(f *fake) { f.gone = true }, "token", "main", forge.ErrNoRepository, troy.NotFound},
		"revoked":         {func(f *fake) { f.revoked = true }, "token", "main", forge.ErrUnauthorized, troy.Unauthenticated},
		"no credential":   {func(*fake) {}, "none", "main", forge.ErrInstallation, troy.Forbidden},
		"unknown":         {func(*fake) {}, "other", "main", nil, troy.Internal},
		"odd branch":      {func(*fake) {}, "token", "../x", nil, troy.Invalid},
		"server error":    {func(f *fake) { f.fail = fixed(500, nil) }, "token", "main", nil, troy.Internal},
	} {
		f := newFake(t)
		c.breakIt(f)
		_, err := f.client().Head(t.Context(), site(c.installation), c.branch)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || troy.KindOf(err) != c.kind || strings.Contains(err.Error(), granted) {
			t.Errorf("%s: %v (kind %s)", name, err, troy.KindOf(err))
		}
	}
	f := newFake(t)
	f.fail = fixed(429, http.Header{"Retry-After": {"20"}})
	_, err := f.client().Head(t.Context(), site("token"), "main")
	if limited, ok := errors.AsType[*forge.RateLimitError](err); !ok || limited.RetryAfter() != 20*time.Second {
		t.Errorf("limited: %v", err)
	}
}

func fixed(code int, header http.Header) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		for k, v := range header {
			w.Header()[k] = v
		}
		refuse(w, code, "as the test wishes")
		return true
	}
}

// TestNoArchive makes the site refuse the archive in each known way; the caller
// has to clone.
func TestNoArchive(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]http.HandlerFunc{
		"a page for signing in": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/account/signin/", http.StatusFound)
		},
		"another site's page": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://id.atlassian.example/login", http.StatusFound)
		},
		"no token here": func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, 401, "This endpoint does not support token-based authentication")
		},
		"forbidden":              func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "Forbidden") },
		"gone":                   func(w http.ResponseWriter, _ *http.Request) { refuse(w, 404, "Not found") },
		"nothing":                func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) },
		"something else, a page": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
	} {
		f := newFake(t)
		f.fail = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/get/") {
				return false
			}
			refusal(w, r)
			return true
		}
		archive, err := f.client().Archive(t.Context(), site("token"), sha)
		if !errors.Is(err, forge.ErrNoArchive) || archive != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := newFake(t)
	f.fail = func(w http.ResponseWriter, r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/get/") && fixed(502, nil)(w, r)
	}
	if _, err := f.client().Archive(t.Context(), site("token"), sha); err == nil || errors.Is(err, forge.ErrNoArchive) {
		t.Errorf("a failing site may be retried: %v", err)
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	tell := func(deployment string, state troy.DeploymentState, writes int, want string) {
		t.Helper()
		before := f.writes
		err := c.Report(t.Context(), site("token"), forge.Report{
			Deployment: deployment, Pipeline: "0199c0de-0000-7000-8000-000000000001", Commit: sha, Name: "Troy: blog", State: state,
			Title: "It is " + state.String(), DetailsURL: "https://troy.example/d/" + deployment, SiteURL: "https://blog.example",
		})
		if err != nil {
			t.Fatal(err)
		}
		got := f.statuses["0199c0de-0000-7000-8000-000000000001"]["state"]
		if f.writes-before != writes || got != want || len(f.statuses) != 1 {
			t.Errorf("%s of %s: %d writes, %v", state, deployment, f.writes-before, got)
		}
	}
	tell("d1", troy.Waiting, 1, "INPROGRESS")
	tell("d1", troy.Building, 1, "INPROGRESS")
	tell("d1", troy.Building, 0, "INPROGRESS")
	tell("d1", troy.Failed, 1, "FAILED")
	tell("d1", troy.Failed, 0, "FAILED")
	tell("d1", troy.Building, 0, "FAILED") // late
	tell("d2", troy.Building, 1, "INPROGRESS")
	tell("d2", troy.Superseded, 1, "STOPPED")
	tell("d3", troy.Cancelled, 1, "STOPPED")
	tell("d4", troy.Succeeded, 1, "SUCCESSFUL")
	tell("d5", troy.Failed, 1, "FAILED")
	tell("d6", forge.Skipped, 1, "SUCCESSFUL")
	tell("d6", forge.Skipped, 0, "SUCCESSFUL")

	bad := forge.Report{Deployment: "d", Pipeline: strings.Repeat("x", 41), Commit: sha, DetailsURL: "https://troy.example"}
	if err := c.Report(t.Context(), site("token"), bad); troy.KindOf(err) != troy.Invalid {
		t.Errorf("a key of 41 characters: %v", err)
	}
	bad.Pipeline, bad.DetailsURL = "p", ""
	if err := c.Report(t.Context(), site("token"), bad); troy.KindOf(err) != troy.Invalid {
		t.Errorf("no address: %v", err)
	}
}

func TestHooks(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client()
	for i := range 5 {
		f.hooks = append(f.hooks, map[string]any{"uuid": fmt.Sprintf("{other-%d}", i), "url": fmt.Sprintf("https://ci.example/%d", i)})
	}
	hook := forge.Hook{URL: "https://troy.example/hooks/bitbucket", Secret: "wh-very-secret"}
	first, err := c.EnsureHook(t.Context(), site("token"), hook)
	if err != nil || len(f.hooks) != 6 || f.hooks[5]["secret"] != hook.Secret || f.hooks[5]["active"] != true || !strings.Contains(fmt.Sprint(f.hooks[5]["events"]), "repo:push") {
		t.Fatalf("%q, %v: %v", first, err, f.hooks)
	}
	f.hooks[5]["active"] = false
	hook.Secret = "wh-another-one"
	second, err := c.EnsureHook(t.Context(), site("token"), hook)
	if err != nil || second != first || len(f.hooks) != 6 || f.hooks[5]["secret"] != hook.Secret || f.hooks[5]["active"] != true {
		t.Errorf("again: %q, %v: %v", second, err, f.hooks)
	}
	if _, err := c.EnsureHook(t.Context(), site("token"), forge.Hook{URL: hook.URL}); troy.KindOf(err) != troy.Invalid {
		t.Errorf("without a secret: %v", err)
	}
	f.noHooks = true
	if _, err := c.EnsureHook(t.Context(), site("token"), hook); !errors.Is(err, forge.ErrForbidden) || troy.KindOf(err) != troy.Forbidden || strings.Contains(err.Error(), hook.Secret) {
		t.Errorf("without the scope: %v", err)
	}
}

func TestDescriptor(t *testing.T) {
	t.Parallel()
	d := bitbucket.Descriptor{
		Key: "com.example.troy", Name: "Troy", Description: "Deploys sites", BaseURL: "https://troy.example/bitbucket/connect/STATE",
		Installed: "/installed", Uninstalled: "/uninstalled", Events: "/events",
	}
	raw, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Key            string
		BaseURL        string `json:"baseUrl"`
		Authentication struct{ Type string }
		Lifecycle      struct{ Installed, Uninstalled string }
		Contexts       []string
		Scopes         []string
		Modules        struct {
			Webhooks []struct{ Event, URL string }
		}
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if got.Key != d.Key || got.BaseURL != d.BaseURL || got.Authentication.Type != "jwt" || got.Lifecycle.Installed != "/installed" ||
		got.Lifecycle.Uninstalled != "/uninstalled" || fmt.Sprint(got.Contexts, got.Scopes) != "[account] [repository pullrequest]" ||
		len(got.Modules.Webhooks) == 0 || got.Modules.Webhooks[0].Event != "repo:push" || got.Modules.Webhooks[0].URL != "/events" {
		t.Errorf("%s", raw)
	}
	for name, breakIt := range map[string]func(d *bitbucket.Descriptor){
		"key": func(d *bitbucket.Descriptor) { d.Key = "a b" }, "plain http": func(d *bitbucket.Descriptor) { d.BaseURL = "http://troy.example" },
		"another host": func(d *bitbucket.Descriptor) { d.Events = "//evil.example/x" }, "no path": func(d *bitbucket.Descriptor) { d.Installed = "" },
	} {
		bad := d
		breakIt(&bad)
		if _, err := bad.JSON(); err == nil {
			t.Errorf("a bad %s was accepted", name)
		}
	}
}

func TestCredentialIsHidden(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprintf("%v %+v %#v", bitbucket.Credential{AccessToken: granted}, bitbucket.Credential{AccessToken: granted}, bitbucket.Credential{AccessToken: granted}); strings.Contains(got, granted) {
		t.Error(got)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	other := strings.Repeat("e", 40)
	file := func(name string) map[string]any { return map[string]any{"path": name} }
	for _, tc := range []struct {
		next     string
		complete bool
	}{{"", true}, {"https://api.bitbucket.org/more", false}} {
		f.compared = map[string]any{"next": tc.next, "values": []any{
			map[string]any{"old": file("b"), "new": file("a")}, map[string]any{"old": nil, "new": file("c")}, map[string]any{"old": file("a"), "new": nil},
		}}
		paths, complete, err := f.client().Compare(t.Context(), site("token"), sha, other)
		if err != nil || strings.Join(paths, " ") != "a b c" || complete != tc.complete {
			t.Errorf("with next %q: %q, complete %t, %v", tc.next, paths, complete, err)
		}
	}
}
