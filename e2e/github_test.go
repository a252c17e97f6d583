package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/internal/devstack/gittest"
)

const (
	githubSecret   = "the secret of GitHub's webhooks"
	githubClientID = "Iv1.e2e"
	githubAppID    = "4711"
)

// github is a stand-in for GitHub: the parts of the REST API that Troy uses,
// with its rules for credentials, and smart HTTP. Its first repository is a
// real git repository; tests define the others (hosted).
type github struct {
	t       *testing.T
	server  *httptest.Server
	smart   http.Handler
	root    string // of the bare repositories
	work    string // the clone in which commits are made
	key     *rsa.PrivateKey
	keyFile string

	mu          sync.Mutex
	seenAs      int // the installation with access to the first repository
	hosts       map[string]hosted
	tokens      map[string]string         // which repository each is for
	checks      map[string]map[string]any // by id
	checked     map[string][]string       // ids by commit
	deployments int
	attempts    []attempt
	pulls       pulls
	// redeliver is called with the attempt that Troy requests again.
	redeliver func(attempt)
}

// hosted is a repository of the stand-in.
type hosted interface {
	about() map[string]any
	// installed is the installation with access to it; 0 means none.
	installed() int
	head(branch string) string // empty if the branch does not exist
	message(commit string) string
	archive(commit string) ([]byte, error)
}

// attempt is one attempt at a delivery, as the app's list shows it.
type attempt struct {
	id     int
	guid   string
	event  string
	status int
	body   []byte //nolint:unused // the chaos run sends it again
}

const (
	repository   = "team/blog"
	repositoryID = 99
	// themeRepository is the public repository of the submodule.
	themeRepository = "team/theme"
	installation    = 77
)

func newGitHub(t *testing.T) *github {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	g := &github{t: t, root: t.TempDir(), work: t.TempDir(), key: key,
		seenAs: installation, tokens: map[string]string{}, checks: map[string]map[string]any{}, checked: map[string][]string{}}
	g.hosts = map[string]hosted{repository: realRepository{g}}
	g.keyFile = filepath.Join(t.TempDir(), "app.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(g.keyFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(g.root, repository+".git")
	g.git(g.root, "init", "--quiet", "--bare", "--initial-branch=main", bare)
	g.git(bare, "config", "http.uploadpack", "true")
	g.git(g.work, "init", "--quiet", "--initial-branch=main")
	g.git(g.work, "remote", "add", "origin", bare)
	if g.smart, err = gittest.Server(t.Context(), g.root); err != nil {
		t.Fatal(err)
	}
	g.server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.server.Close)
	return g
}

func (g *github) git(dir string, args ...string) string {
	g.t.Helper()
	out, err := gittest.Command(context.Background(), dir, args...).CombinedOutput()
	if err != nil {
		g.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files, removes those with empty text, and pushes the commit to
// the branch. It returns the commit's id.
func (g *github) commit(message string, files map[string]string) string {
	g.t.Helper()
	g.write(files)
	g.git(g.work, "add", "--all")
	g.git(g.work, "commit", "--quiet", "--allow-empty", "-m", message)
	g.git(g.work, "push", "--quiet", "--force", "origin", "HEAD:main")
	return g.git(g.work, "rev-parse", "HEAD")
}

// write writes files into the clone, and removes those with empty text.
func (g *github) write(files map[string]string) {
	g.t.Helper()
	for path, text := range files {
		file := filepath.Join(g.work, filepath.FromSlash(path))
		if text == "" {
			if err := os.Remove(file); err != nil {
				g.t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			g.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			g.t.Fatal(err)
		}
	}
}

// theme makes the theme's repository with one file, and adds its commit to the
// next commit as the submodule "theme".
func (g *github) theme(content string) {
	g.t.Helper()
	dir := filepath.Join(g.root, themeRepository+".git")
	g.git(g.root, "init", "--quiet", "--initial-branch=main", dir)
	if err := os.WriteFile(filepath.Join(dir, "theme.css"), []byte(content), 0o644); err != nil {
		g.t.Fatal(err)
	}
	g.git(dir, "add", "--all")
	g.git(dir, "commit", "--quiet", "-m", "theme")
	g.git(g.work, "update-index", "--add", "--cacheinfo", "160000,"+g.git(dir, "rev-parse", "HEAD")+",theme")
	// A clone without submodules has an empty folder there.
	if err := os.MkdirAll(filepath.Join(g.work, "theme"), 0o755); err != nil {
		g.t.Fatal(err)
	}
}

// push is the body of the webhook for the newest commit.
func (g *github) push(paths ...string) map[string]any {
	after := g.git(g.work, "rev-parse", "HEAD")
	message := g.git(g.work, "log", "-1", "--format=%B")
	before := strings.Fields(g.git(g.work, "log", "-1", "--format=%H %P"))
	return map[string]any{
		"ref": "refs/heads/main", "before": before[len(before)-1], "after": after,
		"created": false, "deleted": false, "forced": false,
		"head_commit": map[string]any{
			"id": after, "message": message, "author": map[string]any{"name": "Ada"},
			"added": paths, "modified": []string{}, "removed": []string{},
		},
		"commits": []any{map[string]any{
			"id": after, "message": message, "author": map[string]any{"name": "Ada"},
			"added": paths, "modified": []string{}, "removed": []string{},
		}},
		"pusher":       map[string]any{"name": "ada"},
		"repository":   g.repository(),
		"installation": map[string]any{"id": installation},
		"sender":       map[string]any{"login": "ada"},
	}
}

func (g *github) repository() map[string]any {
	return map[string]any{
		"id": repositoryID, "name": "blog", "full_name": repository, "default_branch": "main", "private": true,
		"owner": map[string]any{"login": "team"},
	}
}

// deliver sends a webhook to Troy and returns the answer's status and body.
func (g *github) deliver(w *world, event, id string, payload any) (int, string) {
	g.t.Helper()
	body, err := json.Marshal(payload)
	if err != nil {
		g.t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(githubSecret))
	mac.Write(body)
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, "http://"+w.web+"/hooks/github", bytes.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", event)
	req.Header.Set("X-GitHub-Delivery", id)
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Error(err)
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	answer, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer)
}

// pushed commits and sends Troy the webhook.
func (g *github) pushed(w *world, message string, files map[string]string) string {
	g.t.Helper()
	commit := g.commit(message, files)
	if status, answer := g.deliver(w, "push", uuid.NewString(), g.push(slices.Collect(maps.Keys(files))...)); status != http.StatusAccepted {
		g.t.Fatalf("the push got the answer %d: %s", status, answer)
	}
	return commit
}

func (g *github) serve(w http.ResponseWriter, r *http.Request) {
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	refuse := func(status int, message string) { answer(status, map[string]any{"message": message}) }
	path := strings.TrimPrefix(r.URL.Path, "/api/v3")
	bearer := strings.TrimPrefix(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "token ")
	owner, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, "/codeload/"), "/repos/"), "/")
	name, rest, _ := strings.Cut(rest, "/")
	full := owner + "/" + name
	g.mu.Lock()
	repo, granted := g.hosts[full], g.tokens[bearer]
	g.mu.Unlock()
	switch {
	case strings.HasPrefix(path, "/codeload/"):
		if r.Header.Get("Authorization") != "" {
			refuse(http.StatusBadRequest, "the credential was sent to another host")
			return
		}
		archived(w, repo, rest)
	case strings.HasPrefix(path, "/"+repository+".git/"), strings.HasPrefix(path, "/"+themeRepository+".git/"):
		g.smart.ServeHTTP(w, r)
	case strings.HasPrefix(path, "/app"), strings.HasPrefix(path, "/repos/") && rest == "installation":
		_, err := jwt.Parse(bearer, func(*jwt.Token) (any, error) { return &g.key.PublicKey, nil },
			jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired(), jwt.WithIssuer(githubClientID))
		if err != nil {
			refuse(http.StatusUnauthorized, err.Error())
			return
		}
		g.app(answer, refuse, r, path, repo)
	case granted == "" || repo != nil && repo.installed() == 0:
		refuse(http.StatusUnauthorized, "Bad credentials")
	case repo == nil || granted != full:
		refuse(http.StatusNotFound, "Not Found: "+r.Method+" "+path)
	default:
		g.rest(w, answer, refuse, r, repo, full, rest)
	}
}

// app answers the app's own requests, which have its JWT.
func (g *github) app(answer func(int, any), refuse func(int, string), r *http.Request, path string, repo hosted) {
	var body struct {
		IDs   []int    `json:"repository_ids"`
		Names []string `json:"repositories"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	var number int
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case r.Method == http.MethodPost && strings.HasSuffix(path, "/access_tokens"):
		_, _ = fmt.Sscanf(path, "/app/installations/%d/", &number)
		full, known := g.seenBy(number, body.IDs, body.Names)
		if !known {
			refuse(http.StatusNotFound, "Not Found")
			return
		}
		if full == "" {
			refuse(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
			return
		}
		token := "ghs_" + githubAppID + "_" + strings.ReplaceAll(uuid.NewString()+uuid.NewString(), "-", "")
		g.tokens[token] = full
		answer(http.StatusCreated, map[string]any{"token": token, "expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
			"repositories": []any{g.hosts[full].about()}})
	case r.Method == http.MethodGet && strings.HasSuffix(path, "/installation"):
		if repo == nil || repo.installed() == 0 {
			refuse(http.StatusNotFound, "Not Found")
			return
		}
		answer(http.StatusOK, map[string]any{"id": repo.installed()})
	case r.Method == http.MethodGet && path == "/app/hook/deliveries":
		answer(http.StatusOK, g.listed())
	case r.Method == http.MethodPost && strings.HasPrefix(path, "/app/hook/deliveries/"):
		_, _ = fmt.Sscanf(path, "/app/hook/deliveries/%d/", &number)
		if number < 1 || number > len(g.attempts) {
			refuse(http.StatusNotFound, "Not Found")
			return
		}
		if g.redeliver != nil {
			g.redeliver(g.attempts[number-1])
		}
		answer(http.StatusAccepted, map[string]any{})
	default:
		refuse(http.StatusNotFound, "Not Found: "+r.Method+" "+path)
	}
}

// seenBy returns the repository of a token request, if the installation exists
// and has access to it.
func (g *github) seenBy(installation int, ids []int, names []string) (full string, known bool) {
	for name, repo := range g.hosts {
		if repo.installed() != installation {
			continue
		}
		known = true
		about := repo.about()
		if id, ok := about["id"].(int); ok && slices.Contains(ids, id) || slices.Contains(names, fmt.Sprint(about["name"])) {
			return name, true
		}
	}
	return "", known
}

// tried records an attempt at a delivery, for the chaos run.
//
//nolint:unused // compiled with the tag chaos alone
func (g *github) tried(guid, event string, status int, body []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.attempts = append(g.attempts, attempt{id: len(g.attempts) + 1, guid: guid, event: event, status: status, body: body})
}

// listed returns the attempts at deliveries that never arrived, newest first.
// It makes them minutes old, because Troy gives younger ones time to arrive.
func (g *github) listed() []map[string]any {
	arrived := map[string]bool{}
	for _, a := range g.attempts {
		arrived[a.guid] = arrived[a.guid] || a.status/100 == 2
	}
	out := []map[string]any{}
	at := time.Now().Add(-2 * time.Minute).UTC().Format(time.RFC3339)
	for _, a := range slices.Backward(g.attempts) {
		if arrived[a.guid] {
			continue
		}
		out = append(out, map[string]any{"id": a.id, "guid": a.guid, "delivered_at": at, "status_code": a.status, "event": a.event})
	}
	return out
}

func (g *github) rest(w http.ResponseWriter, answer func(int, any), refuse func(int, string), r *http.Request, repo hosted, full, path string) {
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	get, post := r.Method == http.MethodGet, r.Method == http.MethodPost
	if branch, ok := strings.CutPrefix(path, "git/ref/heads/"); ok && get {
		head := repo.head(branch)
		if head == "" {
			refuse(http.StatusNotFound, "Not Found")
			return
		}
		answer(http.StatusOK, map[string]any{"ref": "refs/heads/" + branch, "object": map[string]any{"type": "commit", "sha": head}})
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pullsOf(repo).rest(answer, refuse, r, body, path) {
		return
	}
	switch {
	case get && path == "":
		answer(http.StatusOK, repo.about())
	case get && strings.HasPrefix(path, "tarball/"):
		w.Header().Set("Location", g.server.URL+"/codeload/"+full+"/"+strings.TrimPrefix(path, "tarball/"))
		w.WriteHeader(http.StatusFound)
	case get && strings.HasPrefix(path, "commits/") && !strings.HasSuffix(path, "/check-runs"):
		commit := strings.TrimPrefix(path, "commits/")
		answer(http.StatusOK, map[string]any{"sha": commit, "commit": map[string]any{
			"message": repo.message(commit), "author": map[string]any{"name": "Ada", "date": time.Now().UTC().Format(time.RFC3339)},
		}})
	case post && path == "check-runs":
		id := fmt.Sprint(len(g.checks) + 1)
		g.checks[id] = body
		commit := fmt.Sprint(body["head_sha"])
		g.checked[commit] = append(g.checked[commit], id)
		answer(http.StatusCreated, map[string]any{"id": len(g.checks)})
	case r.Method == http.MethodPatch && strings.HasPrefix(path, "check-runs/"):
		check := g.checks[strings.TrimPrefix(path, "check-runs/")]
		if check == nil {
			refuse(http.StatusNotFound, "Not Found")
			return
		}
		maps.Copy(check, body)
		answer(http.StatusOK, map[string]any{"id": 1})
	case get && strings.HasSuffix(path, "/check-runs"):
		var found []map[string]any
		for _, id := range g.checked[strings.Split(path, "/")[1]] {
			entry := maps.Clone(g.checks[id])
			var n int
			_, _ = fmt.Sscan(id, &n)
			entry["id"] = n
			entry["app"] = map[string]any{"id": 4711}
			found = append(found, entry)
		}
		answer(http.StatusOK, map[string]any{"total_count": len(found), "check_runs": found})
	case get && path == "deployments", get && strings.HasSuffix(path, "/statuses"):
		answer(http.StatusOK, []any{})
	case post && path == "deployments", post && strings.HasSuffix(path, "/statuses"):
		g.deployments++
		answer(http.StatusCreated, map[string]any{"id": g.deployments})
	default:
		refuse(http.StatusNotFound, "Not Found: "+r.Method+" "+path)
	}
}

// archived answers as codeload does: a tarball with one folder at the top.
func archived(w http.ResponseWriter, repo hosted, commit string) {
	if repo == nil {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	out, err := repo.archive(commit)
	if err != nil {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/x-gzip")
	_, _ = w.Write(out)
}

// realRepository is the one whose commits git makes.
type realRepository struct{ g *github }

func (r realRepository) about() map[string]any { return r.g.repository() }
func (r realRepository) installed() int        { return r.g.seenAs }
func (r realRepository) bare() string          { return filepath.Join(r.g.root, repository+".git") }
func (r realRepository) head(branch string) string {
	return r.g.git(r.bare(), "rev-parse", "refs/heads/"+branch)
}
func (r realRepository) message(commit string) string {
	return r.g.git(r.bare(), "log", "-1", "--format=%B", commit)
}
func (r realRepository) archive(commit string) ([]byte, error) {
	return gittest.Command(context.Background(), r.bare(), "archive", "--format=tar.gz", "--prefix=team-blog-"+commit[:7]+"/", commit).Output()
}

// conclusion returns the conclusion of a commit's newest check run.
func (g *github) conclusion(commit string) string {
	text, _ := g.check(commit)
	return text
}

// check returns the conclusion, or the status, of a commit's newest check run,
// and its output.
func (g *github) check(commit string) (text, output string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	newest := 0
	for id, check := range g.checks {
		var n int
		_, _ = fmt.Sscan(id, &n)
		if check["head_sha"] == commit && n > newest {
			newest = n
			text = fmt.Sprint(check["status"])
			if c, ok := check["conclusion"].(string); ok && c != "" {
				text = c
			}
			if o, ok := check["output"].(map[string]any); ok {
				output = fmt.Sprintf("%s\n\n%s\n\n%s", o["title"], o["summary"], o["text"])
			}
		}
	}
	return text, output
}
