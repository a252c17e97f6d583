package bitbucket_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	sha     = "1111111111111111111111111111111111111111"
	uuid    = "{01234567-89ab-cdef-0123-456789abcdef}"
	granted = "ATCTT3xFfGN0-an-access-token"
)

// fake is a Bitbucket, API and site, with one repository. It accepts the access
// token, and tokens from the exchange of a Connect JWT.
type fake struct {
	compared map[string]any // the answer to each comparison
	t        *testing.T
	url      string

	mu       sync.Mutex
	now      time.Time
	name     string
	gone     bool
	revoked  bool
	noHooks  bool // the token may not change webhooks
	removed  bool // the Connect installation
	traded   []string
	statuses map[string]map[string]any
	writes   int
	hooks    []map[string]any
	list     []map[string]any  // the repositories of the credentials
	pulls    []map[string]any  // open pull requests
	rights   map[string]string // the permissions of users, by UUID
	comments []map[string]any
	fail     func(w http.ResponseWriter, r *http.Request) bool
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, now: time.Now(), name: "acme/site", statuses: map[string]map[string]any{}}
	mux := http.NewServeMux()
	repo := "/2.0/repositories/{owner}/{repo}"
	mux.HandleFunc("GET /2.0/repositories", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if !f.known(r) || q.Get("role") != "member" {
			refuse(w, 401, "Token is invalid or not supported for this endpoint.")
			return
		}
		size, _ := strconv.Atoi(q.Get("pagelen"))
		n, _ := strconv.Atoi(q.Get("page"))
		from := min((n-1)*size, len(f.list))
		to := min(from+size, len(f.list))
		page := map[string]any{"values": f.list[from:to]}
		if to < len(f.list) {
			page["next"] = "https://elsewhere.example/next"
		}
		answer(w, 200, page)
	})
	mux.HandleFunc("GET "+repo, f.repo(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]any{
			"uuid": strings.ToUpper(uuid), "full_name": f.name, "is_private": true, "mainbranch": map[string]any{"name": "main"},
		})
	}))
	mux.HandleFunc("GET "+repo+"/refs/branches/{branch...}", f.repo(func(w http.ResponseWriter, r *http.Request) {
		if b := r.PathValue("branch"); b != "main" && b != "feature/ü%" {
			refuse(w, 404, "No such branch")
			return
		}
		answer(w, 200, map[string]any{"name": r.PathValue("branch"), "target": map[string]any{"hash": sha}})
	}))
	mux.HandleFunc("GET "+repo+"/commit/{sha}", f.repo(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(sha, r.PathValue("sha")) {
			refuse(w, 404, "Commit not found")
			return
		}
		answer(w, 200, map[string]any{
			"hash": sha, "message": "Say hello\n", "date": "2026-03-01T10:00:00+00:00", "author": map[string]any{"raw": "Ada L <ada@example.com>"},
		})
	}))
	mux.HandleFunc("GET "+repo+"/diffstat/{range}", f.repo(func(w http.ResponseWriter, r *http.Request) {
		if f.compared == nil || r.URL.Query().Get("topic") != "false" {
			refuse(w, 404, "Not found")
			return
		}
		answer(w, 200, f.compared)
	}))
	mux.HandleFunc("GET "+repo+"/commit/{sha}/statuses/build/{key}", f.repo(func(w http.ResponseWriter, r *http.Request) {
		status, ok := f.statuses[r.PathValue("key")]
		if !ok {
			refuse(w, 404, "No such status")
			return
		}
		answer(w, 200, status)
	}))
	mux.HandleFunc("POST "+repo+"/commit/{sha}/statuses/build", f.repo(func(w http.ResponseWriter, r *http.Request) {
		status := body(t, r)
		key, _ := status["key"].(string)
		if len(key) > 40 || !strings.HasPrefix(fmt.Sprint(status["url"]), "http") {
			refuse(w, 400, "Bad request")
			return
		}
		f.writes++
		f.statuses[key] = status
		answer(w, 201, status)
	}))
	mux.HandleFunc("GET "+repo+"/hooks", f.repo(f.hook(func(w http.ResponseWriter, r *http.Request) {
		const size = 2
		n, _ := strconv.Atoi(r.URL.Query().Get("page"))
		from := min((n-1)*size, len(f.hooks))
		to := min(from+size, len(f.hooks))
		page := map[string]any{"values": f.hooks[from:to]}
		if to < len(f.hooks) {
			page["next"] = "https://elsewhere.example/next"
		}
		answer(w, 200, page)
	})))
	mux.HandleFunc("POST "+repo+"/hooks", f.repo(f.hook(func(w http.ResponseWriter, r *http.Request) {
		hook := body(t, r)
		hook["uuid"] = fmt.Sprintf("{hook-%d}", len(f.hooks))
		f.hooks = append(f.hooks, hook)
		answer(w, 201, hook)
	})))
	mux.HandleFunc("PUT "+repo+"/hooks/{uuid}", f.repo(f.hook(func(w http.ResponseWriter, r *http.Request) {
		for i, old := range f.hooks {
			if old["uuid"] == r.PathValue("uuid") {
				f.hooks[i] = body(t, r)
				f.hooks[i]["uuid"] = old["uuid"]
				answer(w, 200, f.hooks[i])
				return
			}
		}
		refuse(w, 404, "No such hook")
	})))
	mux.HandleFunc("DELETE "+repo+"/hooks/{uuid}", f.repo(f.hook(func(w http.ResponseWriter, r *http.Request) {
		f.hooks = slices.DeleteFunc(f.hooks, func(h map[string]any) bool { return h["uuid"] == r.PathValue("uuid") })
		w.WriteHeader(204)
	})))
	mux.HandleFunc("POST /site/oauth2/access_token", f.trade)
	mux.HandleFunc("GET /acme/{repo}/get/{file}", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !f.known(r), "acme/"+r.PathValue("repo") != f.name:
			http.Redirect(w, r, "/account/signin/?next=x", http.StatusFound)
		case r.PathValue("file") != sha+".tar.gz":
			refuse(w, 404, "Not found")
		default:
			_, _ = io.WriteString(w, "\x1f\x8b an archive")
		}
	})
	mux.HandleFunc("GET /account/signin/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>sign in</html>") })
	f.servePulls(mux, repo)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.fail != nil && f.fail(w, r) {
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

func (f *fake) known(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && !f.revoked && (token == granted || slices.Contains(f.traded, token))
}

func (f *fake) repo(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		owner, name, _ := strings.Cut(f.name, "/")
		switch {
		case !f.known(r):
			refuse(w, 401, "Token is invalid or not supported for this endpoint.")
		case f.gone, r.PathValue("owner") != owner, r.PathValue("repo") != name && r.PathValue("repo") != uuid:
			refuse(w, 404, "Repository "+r.PathValue("repo")+" not found")
		default:
			next(w, r)
		}
	}
}

func (f *fake) hook(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if f.noHooks {
			refuse(w, 403, "Your credentials lack one or more required privilege scopes.")
			return
		}
		next(w, r)
	}
}

// trade exchanges a JWT of the test's signer for an access token.
func (f *fake) trade(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Authorization") != "JWT signed for POST /site/oauth2/access_token":
		refuse(w, 401, "Invalid JWT")
	case r.FormValue("grant_type") != "urn:bitbucket:oauth2:jwt":
		answer(w, 400, map[string]any{"error": "unsupported_grant_type", "error_description": "Unsupported grant type"})
	case f.removed:
		answer(w, 400, map[string]any{"error": "invalid_grant", "error_description": "The installation is gone"})
	default:
		token := fmt.Sprintf("traded-%d", len(f.traded))
		f.traded = append(f.traded, token)
		answer(w, 200, map[string]any{"access_token": token, "token_type": "bearer", "expires_in": 3600, "scopes": "repository"})
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]any{"type": "error", "error": map[string]any{"message": message}})
}

func body(t *testing.T, r *http.Request) map[string]any {
	var v map[string]any
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return v
}
