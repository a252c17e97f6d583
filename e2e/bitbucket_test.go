package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

const (
	bitbucketSecret = "the secret of Bitbucket's webhooks"
	bitbucketToken  = "an access token of the workspace"
	bitbucketID     = "{0a1b2c3d-0000-4000-8000-00000000abcd}"
)

// bitbucket is a stand-in for Bitbucket, over the same kind of repository.
type bitbucket struct {
	*github
	api *httptest.Server

	mu     sync.Mutex
	builds map[string]map[string]any // by commit
	bitbucketPulls
}

func newBitbucket(t *testing.T) *bitbucket {
	t.Helper()
	b := &bitbucket{github: newGitHub(t), builds: map[string]map[string]any{}}
	b.api = httptest.NewServer(http.HandlerFunc(b.serveAPI))
	t.Cleanup(b.api.Close)
	return b
}

func (b *bitbucket) serveAPI(w http.ResponseWriter, r *http.Request) {
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	if r.Header.Get("Authorization") != "Bearer "+bitbucketToken {
		answer(http.StatusUnauthorized, map[string]any{"type": "error"})
		return
	}
	bare := filepath.Join(b.root, repository+".git")
	if name, commit, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/get/"); ok {
		commit = strings.TrimSuffix(commit, ".tar.gz")
		if b.holds(name, commit) == "" {
			answer(http.StatusNotFound, map[string]any{"type": "error"})
			return
		}
		archived(w, realRepository{b.github}, commit)
		return
	}
	path := r.URL.Path
	for _, prefix := range []string{"/2.0/repositories/" + repository, "/2.0/repositories/team/" + bitbucketID} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			path = rest
			break
		}
	}
	if b.servePulls(answer, r, path) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case r.Method == http.MethodGet && path == "":
		answer(http.StatusOK, map[string]any{
			"uuid": bitbucketID, "full_name": repository, "is_private": true, "mainbranch": map[string]any{"name": "main"},
		})
	case r.Method == http.MethodGet && path == "/refs/branches/main":
		answer(http.StatusOK, map[string]any{"name": "main", "target": map[string]any{"hash": b.git(bare, "rev-parse", "refs/heads/main")}})
	case strings.Contains(path, "/statuses/build"):
		key := strings.Split(path, "/")[2]
		if b.holds(repository, key) == "" {
			answer(http.StatusNotFound, map[string]any{"type": "error"})
			return
		}
		if r.Method == http.MethodPost {
			var body map[string]any
			_ = json.NewDecoder(r.Body).Decode(&body)
			b.builds[key] = body
			answer(http.StatusCreated, body)
			return
		}
		if b.builds[key] == nil {
			answer(http.StatusNotFound, map[string]any{"type": "error"})
			return
		}
		answer(http.StatusOK, b.builds[key])
	case r.Method == http.MethodGet && strings.HasPrefix(path, "/commit/"):
		commit := b.holds(repository, strings.TrimPrefix(path, "/commit/"))
		if commit == "" {
			answer(http.StatusNotFound, map[string]any{"type": "error"})
			return
		}
		answer(http.StatusOK, map[string]any{
			"hash": commit, "message": b.git(bare, "log", "-1", "--format=%B", commit), "date": time.Now().UTC().Format(time.RFC3339),
			"author": map[string]any{"raw": "Ada <ada@example.com>"},
		})
	default:
		answer(http.StatusNotFound, map[string]any{"type": "error", "path": path})
	}
}

func (b *bitbucket) push(w *world, commit string) {
	b.t.Helper()
	body, err := json.Marshal(map[string]any{
		"push": map[string]any{"changes": []any{map[string]any{
			"old": nil, "created": false, "closed": false, "forced": false, "truncated": false,
			"new": map[string]any{"type": "branch", "name": "main", "target": map[string]any{
				"type": "commit", "hash": commit, "message": "a push\n", "author": map[string]any{"raw": "Ada <ada@example.com>"},
			}},
		}}},
		"repository": map[string]any{"type": "repository", "uuid": bitbucketID, "full_name": repository, "name": "blog"},
		"actor":      map[string]any{"type": "user", "display_name": "Ada"},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.deliver(w, "repo:push", body)
}

// deliver sends a webhook to Troy.
func (b *bitbucket) deliver(w *world, event string, body []byte) {
	b.t.Helper()
	mac := hmac.New(sha256.New, []byte(bitbucketSecret))
	mac.Write(body)
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, "http://"+w.web+"/hooks/bitbucket", bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Event-Key", event)
	req.Header.Set("X-Request-UUID", uuid.NewString())
	req.Header.Set("X-Hub-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusAccepted {
		b.t.Fatalf("%s got the answer %s: %s", event, resp.Status, answer)
	}
}

func (b *bitbucket) state(commit string) any {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.builds[commit]["state"]
}

func TestBitbucketPushToLive(t *testing.T) {
	t.Parallel()
	b := newBitbucket(t)
	w := newWorld(t, "TROY_BITBUCKET_URL="+b.api.URL, "TROY_BITBUCKET_TOKEN="+bitbucketToken, "TROY_BITBUCKET_SECRET="+bitbucketSecret, "TROY_CATCH_UP=1h")
	w.start("web")
	w.start("work")
	w.start("edge")
	first := b.commit("first", site1("one"))
	id := w.appEvent("Created", map[string]any{
		"id": "blog", "name": "blog", "repository": map[string]any{"provider": "bitbucket", "full_name": repository, "branch": "main"},
	}, time.Now())
	if d := w.deployment(id, first); d.State != troy.Succeeded {
		t.Fatalf("%s: %s", d.State, d.Cause)
	}
	second := b.commit("second", site1("two"))
	b.push(w, second)
	if d := w.deployment(id, second); d.State != troy.Succeeded {
		t.Fatalf("%s: %s", d.State, d.Cause)
	}
	w.waitFor(id, troy.Deployed)
	if status, body, _ := w.get("blog.localhost", "/"); status != 200 || body != "<title>two</title>" {
		t.Errorf("the edge answers %d %q", status, body)
	}
	w.eventually("the build status says so", func() bool { return b.state(second) == "SUCCESSFUL" })
}
