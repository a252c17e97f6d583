package github_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/github"
)

const (
	clientID = "Iv23liTestApp"
	sha1     = "1111111111111111111111111111111111111111"
	sha2     = "2222222222222222222222222222222222222222"
)

// fake is a GitHub with one installation, 7, with access to one repository, 42;
// it follows GitHub's rules for the adapter's calls.
type fake struct {
	compared map[string]any // answers by "base...head"
	t        *testing.T
	key      *rsa.PrivateKey
	url      string

	mu          sync.Mutex
	now         time.Time
	name        string // the repository's current name
	gone        bool
	suspended   bool
	removed     bool
	permissions map[string]string // granted to the app
	tokens      map[string]grant
	minted      int
	writes      int
	branches    map[string]string
	archive     []byte
	archiveTo   string // the redirect target of the tarball
	archiveAuth string // the credential that reached the archive's host
	runs        []map[string]any
	deployments []map[string]any
	statuses    map[string][]map[string]any // newest first
	deliveries  []map[string]any            // newest first
	pulls       []map[string]any            // open pull requests
	writers     map[string]int              // the ids of users who may push, by login
	comments    []map[string]any
	list        []map[string]any // the repositories of the installation
	redelivered []string
	fail        func(w http.ResponseWriter, r *http.Request) bool
	calls       []string
}

type grant struct {
	expires     time.Time
	permissions map[string]string
}

// sharedKey is shared by all fakes: making one takes a good part of a second.
var sharedKey = sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{
		t: t, key: sharedKey(), now: time.Now().Truncate(time.Second), name: "acme/site", tokens: map[string]grant{},
		permissions: map[string]string{"metadata": "read", "contents": "read", "checks": "write", "deployments": "write", "pull_requests": "write"},
		branches:    map[string]string{"main": sha1, "feature/a b": sha2},
		archive:     []byte("\x1f\x8b an archive"), statuses: map[string][]map[string]any{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /app/installations/{id}/access_tokens", f.app(f.mint))
	mux.HandleFunc("GET /repos/{owner}/{repo}/installation", f.app(func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("owner")+"/"+r.PathValue("repo") != f.name {
			refuse(w, 404, "Not Found")
			return
		}
		answer(w, 200, map[string]any{"id": 7})
	}))
	mux.HandleFunc("GET /app/installations", f.app(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, []map[string]any{{"id": 6, "suspended_at": "2026-01-02T15:04:05Z"}, {"id": 7, "suspended_at": nil}})
	}))
	mux.HandleFunc("GET /installation/repositories", func(w http.ResponseWriter, r *http.Request) {
		raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if f.tokens[raw].permissions["metadata"] != "read" {
			refuse(w, 401, "Bad credentials")
			return
		}
		size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		from := min((page-1)*size, len(f.list))
		answer(w, 200, map[string]any{"total_count": len(f.list), "repositories": f.list[from:min(from+size, len(f.list))]})
	})
	mux.HandleFunc("GET /app/hook/deliveries", f.app(f.listDeliveries))
	mux.HandleFunc("POST /app/hook/deliveries/{id}/attempts", f.app(func(w http.ResponseWriter, r *http.Request) {
		f.redelivered = append(f.redelivered, r.PathValue("id"))
		answer(w, 202, map[string]any{})
	}))
	mux.HandleFunc("POST /app-manifests/{code}/conversions", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("code") != "goodcode" || r.Header.Get("Authorization") != "" {
			refuse(w, 404, "Not Found")
			return
		}
		answer(w, 201, map[string]any{
			"id": 99, "slug": "troy-acme", "name": "Troy Acme", "client_id": clientID, "client_secret": "cs-very-secret",
			"webhook_secret": "wh-very-secret", "pem": f.app99().PrivateKey, "html_url": "https://github.com/apps/troy-acme",
		})
	})
	repo := "/repos/{owner}/{repo}"
	mux.HandleFunc("GET "+repo+"/git/ref/heads/{branch...}", f.repo("contents", "read", f.ref))
	mux.HandleFunc("GET "+repo+"/commits/{sha}", f.repo("contents", "read", f.commit))
	mux.HandleFunc("GET "+repo+"/compare/{range}", f.repo("contents", "read", func(w http.ResponseWriter, r *http.Request) {
		compared, known := f.compared[r.PathValue("range")]
		if !known {
			refuse(w, 404, "Not Found")
			return
		}
		answer(w, 200, compared)
	}))
	mux.HandleFunc("GET "+repo+"/tarball/{sha}", f.repo("contents", "read", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("sha") != sha1 {
			refuse(w, 404, "Not Found")
			return
		}
		w.Header().Set("Location", f.archiveTo)
		w.WriteHeader(302)
	}))
	mux.HandleFunc("GET /codeload/{key}", func(w http.ResponseWriter, r *http.Request) {
		f.archiveAuth = r.Header.Get("Authorization")
		w.Header().Set("Content-Type", "application/x-gzip")
		_, _ = w.Write(f.archive)
	})
	mux.HandleFunc("GET "+repo+"/commits/{sha}/check-runs", f.repo("checks", "write", f.listRuns))
	mux.HandleFunc("POST "+repo+"/check-runs", f.repo("checks", "write", f.postRun))
	mux.HandleFunc("PATCH "+repo+"/check-runs/{id}", f.repo("checks", "write", f.patchRun))
	mux.HandleFunc("GET "+repo+"/deployments", f.repo("deployments", "write", f.listDeployments))
	mux.HandleFunc("POST "+repo+"/deployments", f.repo("deployments", "write", f.postDeployment))
	mux.HandleFunc("GET "+repo+"/deployments/{id}/statuses", f.repo("deployments", "write", func(w http.ResponseWriter, r *http.Request) {
		list := f.statuses[r.PathValue("id")]
		answer(w, 200, list[:min(1, len(list))])
	}))
	mux.HandleFunc("POST "+repo+"/deployments/{id}/statuses", f.repo("deployments", "write", func(w http.ResponseWriter, r *http.Request) {
		f.writes++
		f.statuses[r.PathValue("id")] = append([]map[string]any{f.body(r)}, f.statuses[r.PathValue("id")]...)
		answer(w, 201, map[string]any{})
	}))
	f.servePulls(mux, repo)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.calls = append(f.calls, r.Method+" "+r.URL.Path)
		if f.fail != nil && f.fail(w, r) {
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	f.archiveTo = server.URL + "/codeload/signed?token=ABC"
	return f
}

// client returns the adapter, with the fake's clock.
func (f *fake) client(change ...func(*github.Config)) *github.Client {
	f.t.Helper()
	cfg := github.Config{APIURL: f.url, SiteURL: "https://github.example", App: app(f.app99()), Now: f.clock}
	for _, c := range change {
		c(&cfg)
	}
	c, err := github.New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fake) clock() time.Time {
	// The adapter calls it while the fake serves no request.
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// set changes the fake between two calls.
func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) app99() forge.App {
	return forge.App{ID: 99, ClientID: clientID, Slug: "troy-acme", PrivateKey: string(pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(f.key),
	}))}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]string{"message": message, "documentation_url": "https://docs.github.com/rest"})
}

func (f *fake) body(r *http.Request) map[string]any {
	var v map[string]any
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
		f.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return v
}

// app checks the app's JWT as GitHub does.
func (f *fake) app(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		var claims jwt.RegisteredClaims
		_, err := jwt.ParseWithClaims(raw, &claims, func(*jwt.Token) (any, error) { return &f.key.PublicKey, nil },
			jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(clientID), jwt.WithExpirationRequired(),
			jwt.WithIssuedAt(), jwt.WithTimeFunc(func() time.Time { return f.now }))
		switch {
		case err != nil:
			refuse(w, 401, "A JSON web token could not be decoded")
		case claims.ExpiresAt.After(f.now.Add(10 * time.Minute)):
			refuse(w, 401, "'Expiration time' claim ('exp') is too far in the future")
		case claims.IssuedAt.After(f.now.Add(-30 * time.Second)):
			f.t.Error("the JWT leaves no room for clocks that differ")
		default:
			next(w, r)
		}
	}
}

func (f *fake) mint(w http.ResponseWriter, r *http.Request) {
	ask := f.body(r)
	switch {
	case r.PathValue("id") != "7" || f.removed:
		refuse(w, 404, "Not Found")
		return
	case f.suspended:
		refuse(w, 403, "This installation has been suspended")
		return
	}
	ids, names := fmt.Sprint(ask["repository_ids"]), fmt.Sprint(ask["repositories"])
	_, short, _ := strings.Cut(f.name, "/")
	whole := ask["repository_ids"] == nil && ask["repositories"] == nil && fmt.Sprint(ask["permissions"]) == "map[metadata:read]"
	if !whole && (f.gone || ids != "[42]" && names != "["+short+"]") {
		refuse(w, 422, "There is at least one repository that does not exist or is not accessible to the parent installation.")
		return
	}
	permissions := map[string]string{}
	for k, v := range ask["permissions"].(map[string]any) {
		if f.permissions[k] != v && (f.permissions[k] != "write" || v != "read") {
			refuse(w, 422, "The permissions requested are not granted to this installation.")
			return
		}
		permissions[k] = v.(string)
	}
	if len(permissions) != 1 {
		f.t.Errorf("a token with the permissions %v", permissions)
	}
	f.minted++
	token := fmt.Sprintf("ghs_99_%s%d", strings.Repeat("eyJ.", 120), f.minted)
	f.tokens[token] = grant{f.now.Add(time.Hour), permissions}
	answer(w, 201, map[string]any{
		"token": token, "expires_at": f.now.Add(time.Hour).UTC(), "permissions": permissions, "repository_selection": "selected",
		"repositories": []map[string]any{{"id": 42, "full_name": f.name, "default_branch": "main", "private": true}},
	})
}

// repo checks an installation token and the repository's name: the old name
// redirects.
func (f *fake) repo(permission, level string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		g, ok := f.tokens[raw]
		switch full := r.PathValue("owner") + "/" + r.PathValue("repo"); {
		case !ok || f.now.After(g.expires):
			refuse(w, 401, "Bad credentials")
		case f.suspended:
			refuse(w, 403, "This installation has been suspended")
		case f.gone:
			refuse(w, 404, "Not Found")
		case g.permissions[permission] != level:
			refuse(w, 403, "Resource not accessible by integration")
		case full != f.name:
			w.Header().Set("Location", f.url+"/repositories/42")
			refuse(w, 301, "Moved Permanently")
		default:
			next(w, r)
		}
	}
}

func (f *fake) ref(w http.ResponseWriter, r *http.Request) {
	sha, ok := f.branches[r.PathValue("branch")]
	if !ok {
		refuse(w, 404, "Not Found")
		return
	}
	answer(w, 200, map[string]any{"ref": "refs/heads/" + r.PathValue("branch"), "object": map[string]string{"type": "commit", "sha": sha}})
}

func (f *fake) commit(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(sha1, r.PathValue("sha")) {
		refuse(w, 422, "No commit found for SHA: "+r.PathValue("sha"))
		return
	}
	answer(w, 200, map[string]any{"sha": sha1, "commit": map[string]any{
		"message": "Say hello\n\nAt last.", "author": map[string]string{"name": "Ada", "date": "2026-03-01T10:00:00Z"},
	}})
}

func (f *fake) listRuns(w http.ResponseWriter, r *http.Request) {
	out := []map[string]any{}
	for _, run := range f.runs {
		if run["head_sha"] == r.PathValue("sha") && run["name"] == r.URL.Query().Get("check_name") {
			out = append(out, run)
		}
	}
	answer(w, 200, map[string]any{"total_count": len(out), "check_runs": page(out, r)})
}

func page(all []map[string]any, r *http.Request) []map[string]any {
	size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
	n, _ := strconv.Atoi(r.URL.Query().Get("page"))
	from := min(max(n-1, 0)*size, len(all))
	return all[from:min(from+size, len(all))]
}

func (f *fake) postRun(w http.ResponseWriter, r *http.Request) {
	run := f.body(r)
	f.writes++
	run["id"] = len(f.runs) + 1
	f.runs = append(f.runs, run)
	answer(w, 201, run)
}

func (f *fake) patchRun(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.Atoi(r.PathValue("id"))
	f.writes++
	for k, v := range f.body(r) {
		f.runs[id-1][k] = v
	}
	answer(w, 200, f.runs[id-1])
}

func (f *fake) listDeployments(w http.ResponseWriter, r *http.Request) {
	out := []map[string]any{}
	for _, d := range slices.Backward(f.deployments) {
		if d["ref"] == r.URL.Query().Get("sha") && d["environment"] == r.URL.Query().Get("environment") {
			out = append(out, d)
		}
	}
	answer(w, 200, page(out, r))
}

func (f *fake) postDeployment(w http.ResponseWriter, r *http.Request) {
	d := f.body(r)
	if contexts, ok := d["required_contexts"].([]any); !ok || len(contexts) > 0 || d["auto_merge"] != false {
		refuse(w, 409, "Conflict: Commit status checks failed for main.")
		return
	}
	f.writes++
	d["id"] = 100 + len(f.deployments)
	f.deployments = append(f.deployments, d)
	answer(w, 201, d)
}

func (f *fake) listDeliveries(w http.ResponseWriter, r *http.Request) {
	const size = 3 // for any request, to produce pages
	from, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Query().Get("cursor"), "v1_"))
	to := min(from+size, len(f.deliveries))
	if to < len(f.deliveries) {
		w.Header().Set("Link", fmt.Sprintf(`<https://elsewhere.example/app/hook/deliveries?per_page=3&cursor=v1_%d>; rel="next"`, to))
	}
	answer(w, 200, f.deliveries[from:to])
}
