package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/forge/bitbucket"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
)

// box is a troyd web in this process, with a forge's double at forge.
type box struct {
	t     *testing.T
	cfg   config
	b     *backend
	web   *httptest.Server
	admin string
	log   bytes.Buffer
}

func newBox(t *testing.T, double string) *box {
	t.Helper()
	x := &box{t: t, cfg: defaults(t)}
	x.cfg.DatabaseURL, x.cfg.RedisURL, x.cfg.DataDir = stacktest.Database(t), stacktest.Redis(t), t.TempDir()
	x.cfg.SecretKey, x.cfg.Forges.GitHub.URL, x.cfg.Forges.Bitbucket.URL = secret.NewKey(), double+"/api/v3", double
	log := slog.New(slog.NewTextHandler(&x.log, nil))
	var err error
	if x.b, err = connect(t.Context(), x.cfg, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.b.close)
	server, err := newWeb(x.cfg, x.b, log)
	if err != nil {
		t.Fatal(err)
	}
	x.web = httptest.NewServer(server.Handler)
	t.Cleanup(x.web.Close)
	x.admin = x.token("admin", credentials.Admin, nil)
	return x
}

func (x *box) token(name string, role credentials.Role, only []uuid.UUID) string {
	x.t.Helper()
	token, err := credentials.Token{Name: name, Role: role, Pipelines: only}.Create(x.t.Context(), x.b.db)
	if err != nil {
		x.t.Fatal(err)
	}
	return token
}

// page requests a page as a browser does.
func (x *box) page(token, path string) (*http.Response, string) {
	x.t.Helper()
	r, err := http.NewRequestWithContext(x.t.Context(), http.MethodGet, x.web.URL+path, nil)
	if err != nil {
		x.t.Fatal(err)
	}
	if token != "" {
		r.SetBasicAuth("admin", token)
	}
	res, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		x.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		x.t.Fatal(err)
	}
	return res, string(body)
}

const setupWebhookSecret = "the webhook secret that GitHub generated"

// githubDouble returns one app for one code, as GitHub does.
func githubDouble(t *testing.T) *httptest.Server {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	var used atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/api/v3/app-manifests/code1/conversions" || used.Swap(true) {
			http.Error(w, `{"message":"Not Found"}`, http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"id": 4711, "slug": "troy-test", "name": "Troy test", "client_id": "Iv1.test", "client_secret": "client secret",
			"webhook_secret": setupWebhookSecret, "pem": string(text), "html_url": "https://github.example/apps/troy-test",
		})
	}))
	t.Cleanup(server.Close)
	return server
}

var (
	formAction   = regexp.MustCompile(`method="post" action="([^"]+)"`)
	formManifest = regexp.MustCompile(`name="manifest" value="([^"]+)"`)
)

// TestGitHubIsSetUpInTheBrowser follows an admin: page, GitHub, back;
// afterwards deliveries signed with GitHub's secret are accepted at once.
func TestGitHubIsSetUpInTheBrowser(t *testing.T) {
	t.Parallel()
	double := githubDouble(t)
	x := newBox(t, double.URL)
	for _, c := range []struct {
		token  string
		status int
	}{{"", 303}, {x.token("d", credentials.Deployer, nil), 403}, {x.token("one", credentials.Admin, []uuid.UUID{uuid.New()}), 403}} {
		if res, _ := x.page(c.token, "/setup/github?name=x"); res.StatusCode != c.status {
			t.Errorf("answered %d, want %d", res.StatusCode, c.status)
		}
	}
	if res, body := x.page(x.admin, "/setup/github?name="+strings.Repeat("x", 35)); res.StatusCode != 400 || !strings.Contains(body, "1 to 34 characters") {
		t.Errorf("a long name: %d", res.StatusCode)
	}
	if res, body := x.page(x.admin, `/setup/github?name=x&organization=%22%3E%3Cscript%3E`); res.StatusCode != 400 || strings.Contains(body, "<script>") {
		t.Errorf("markup as an organization: %d %s", res.StatusCode, body)
	}
	res, body := x.page(x.admin, "/setup/github?name=Troy+test&organization=team")
	if policy := res.Header.Get("Content-Security-Policy"); res.StatusCode != 200 || !strings.HasSuffix(policy, "form-action 'self' "+double.URL) || strings.Contains(policy, "unsafe") {
		t.Errorf("%d, policy %q", res.StatusCode, policy)
	}
	action, manifest := formAction.FindStringSubmatch(body), formManifest.FindStringSubmatch(body)
	if action == nil || manifest == nil {
		t.Fatalf("the page has no form: %s", body)
	}
	u, err := url.Parse(html.UnescapeString(action[1]))
	if err != nil || u.Path != "/organizations/team/settings/apps/new" {
		t.Fatalf("the form goes to %v, %v", u, err)
	}
	var asked struct {
		Name        string `json:"name"`
		RedirectURL string `json:"redirect_url"`
		Hook        struct{ URL string }
	}
	if err := json.Unmarshal([]byte(html.UnescapeString(manifest[1])), &asked); err != nil || asked.Name != "Troy test" || asked.RedirectURL != x.cfg.URL+"/setup/github/callback" {
		t.Errorf("the manifest is %+v, %v", asked, err)
	}
	back := "/setup/github/callback?code=code1&state="
	state := u.Query().Get("state")
	// Without a state, or with another admin's, it fails; the code stays valid.
	for _, c := range [][2]string{{x.admin, ""}, {x.admin, "AAAAAAAAAAAAAAAAAAAAAAAAAA"}, {x.token("other", credentials.Admin, nil), state}} {
		if res, body := x.page(c[0], back+c[1]); res.StatusCode != 403 || !strings.Contains(body, "begin again") {
			t.Errorf("a foreign state: %d %s", res.StatusCode, body)
		}
	}
	waited := make(chan string, 1)
	go func() {
		var out bytes.Buffer
		if err := setUpGitHub(t.Context(), &out, x.query(), x.cfg.URL, false, time.Minute); err != nil {
			out.WriteString(err.Error())
		}
		waited <- out.String()
	}()
	if res, body := x.page(x.admin, back+state); res.StatusCode != 303 || res.Header.Get("Location") != "/setup/github" {
		t.Fatalf("the callback: %d %s", res.StatusCode, body)
	}
	if said := <-waited; !strings.Contains(said, "The app Troy test is set up.\nInstall it: https://github.example/apps/troy-test/installations/new") {
		t.Errorf("troyd github setup said %q", said)
	}
	if res, _ := x.page(x.admin, back+state); res.StatusCode != 403 {
		t.Errorf("the callback again: %d", res.StatusCode)
	}
	if _, body := x.page(x.admin, "/setup/github"); !strings.Contains(body, "https://github.example/apps/troy-test/installations/new") {
		t.Errorf("the page does not lead to the installation: %s", body)
	}
	// A webhook is verified with the new secret.
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/hooks/github", strings.NewReader(`{"zen":"x","hook_id":1}`))
	r.Host = "127.0.0.1"
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", "ping")
	r.Header.Set("X-GitHub-Delivery", "d-1")
	r.Header.Set("X-Hub-Signature-256", hmacOf(setupWebhookSecret, `{"zen":"x","hook_id":1}`))
	w := httptest.NewRecorder()
	x.web.Config.Handler.ServeHTTP(w, r)
	if w.Code != http.StatusAccepted {
		t.Errorf("a ping: %d %s", w.Code, w.Body)
	}
	sealer, err := sealer(x.cfg)
	if err != nil {
		t.Fatal(err)
	}
	app, err := x.cfg.Forges.GitHub.App(x.b.db, sealer)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := githubStatus(t.Context(), &out, app, x.cfg.URL); err != nil || !strings.Contains(out.String(), "App: Troy test, number 4711") {
		t.Errorf("troyd github status said %q, %v", out.String(), err)
	}
	x.web.Close() // nothing more is logged after it
	for _, hidden := range []string{setupWebhookSecret, "PRIVATE KEY", state, "code1", "client secret"} {
		if strings.Contains(x.log.String(), hidden) || strings.Contains(out.String(), hidden) {
			t.Errorf("%q was shown", hidden)
		}
		var n int
		if err := x.b.db.QueryRow(t.Context(), "SELECT count(*) FROM forge_apps WHERE position($1::bytea IN credentials) > 0", []byte(hidden)).Scan(&n); err != nil || n != 0 {
			t.Errorf("%q is stored as it is: %v", hidden, err)
		}
	}
}

// TestForgesAreThoseOfTheList compares the registered forges with
// troy.Providers.
func TestForgesAreThoseOfTheList(t *testing.T) {
	t.Parallel()
	x := newBox(t, "http://127.0.0.1:1")
	all, err := forges(x.cfg, x.b, nil)
	if err != nil {
		t.Fatal(err)
	}
	var registered []troy.Provider
	for _, a := range all {
		registered = append(registered, a.Provider)
	}
	if !slices.Equal(registered, troy.Providers()) {
		t.Errorf("registered are %v, known are %v", registered, troy.Providers())
	}
}

// TestForgesBeforeTheirSetUp checks that readers of repositories wait, and
// don't fail, while the forge is not set up.
func TestForgesBeforeTheirSetUp(t *testing.T) {
	t.Parallel()
	x := newBox(t, "http://127.0.0.1:1")
	known := x.forges()
	for provider, f := range known {
		if _, err := f.Head(t.Context(), forge.Repository{FullName: "team/blog"}, "main"); !errors.Is(err, forge.ErrInstallation) || troy.KindOf(err) != troy.Forbidden {
			t.Errorf("%s: %v", provider, err)
		}
	}
	failed, err := known[troy.GitHub].(forge.Deliveries).Failed(t.Context(), time.Now())
	if err != nil || len(failed) != 0 || len(known) != 2 {
		t.Errorf("%d deliveries of %d forges, %v", len(failed), len(known), err)
	}
}

// TestConnectInstallationReadsRepositories installs the Connect app and reads a
// repository with a token from the exchange of its secret.
func TestConnectInstallationReadsRepositories(t *testing.T) {
	t.Parallel()
	const client, shared = "connection:1", "the secret of the installation"
	double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/site/oauth2/access_token":
			_, token, _ := strings.Cut(r.Header.Get("Authorization"), "JWT ")
			// The app's key issues its tokens.
			err := bitbucket.VerifyConnect(token, bitbucket.ConnectRequest{Method: r.Method, Path: r.URL.Path}, "com.example.troy", []byte(shared), time.Now())
			if err != nil {
				http.Error(w, err.Error(), http.StatusForbidden)
				return
			}
			_, _ = io.WriteString(w, `{"access_token":"granted","expires_in":3600}`)
		case "/2.0/repositories/team/blog":
			if r.Header.Get("Authorization") != "Bearer granted" {
				http.Error(w, "no", http.StatusUnauthorized)
				return
			}
			_, _ = io.WriteString(w, `{"uuid":"{aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa}","full_name":"team/blog","mainbranch":{"name":"main"}}`)
		default:
			http.Error(w, `{"error":{"message":"scope webhook is missing"}}`, http.StatusForbidden)
		}
	}))
	t.Cleanup(double.Close)
	x := newBox(t, double.URL)
	state, err := bitbucket.IssueConnect(t.Context(), x.b.db, "com.example.troy", "operator")
	if err != nil {
		t.Fatal(err)
	}
	path := bitbucket.DescriptorPath(state)
	_, descriptor := x.page("", path)
	var described struct{ BaseURL string }
	if err := json.Unmarshal([]byte(descriptor), &described); err != nil || described.BaseURL+"/connect.json" != x.cfg.URL+path || !strings.Contains(descriptor, `"/events"`) {
		t.Errorf("the descriptor is %s, %v", descriptor, err)
	}
	res, err := http.Post(x.web.URL+strings.Replace(path, "connect.json", "installed", 1), "application/json", strings.NewReader(
		`{"key":"com.example.troy","clientKey":"`+client+`","sharedSecret":"`+shared+`","baseApiUrl":"https://api.bitbucket.org","principal":{"uuid":"{aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa}","username":"team"}}`))
	if err != nil || res.StatusCode != http.StatusNoContent {
		t.Fatalf("installed: %v, %v", res, err)
	}
	res.Body.Close()
	found, err := x.forges()[troy.Bitbucket].Repository(t.Context(), forge.Repository{FullName: "team/blog"})
	if err != nil || found.Installation != client || found.DefaultBranch != "main" {
		t.Errorf("found %+v, %v", found, err)
	}
	var out bytes.Buffer
	err = ensureHook(t.Context(), &out, x.forges()[troy.Bitbucket].(forge.Hooks), found.Repository, forge.Hook{URL: "https://troy.test/hooks/bitbucket", Secret: "the hook's own secret"})
	if err == nil || !strings.Contains(out.String(), "by hand") || strings.Contains(out.String()+err.Error(), "own secret") {
		t.Errorf("without the permission: %q, %v", out.String(), err)
	}
}

// TestConnectInstallationIsImported runs the command; its address then belongs
// to the installation.
func TestConnectInstallationIsImported(t *testing.T) {
	t.Parallel()
	const client, shared = "connection:1", "the-secret-of-the-installation"
	x := newBox(t, "http://127.0.0.1:1")
	cmd := troyd(t, []string{
		"TROY_DATABASE_URL=" + x.cfg.DatabaseURL, "TROY_REDIS_URL=" + x.cfg.RedisURL, "TROY_SECRET_KEY=" + x.cfg.SecretKey, "TROY_URL=" + x.cfg.URL,
	}, "bitbucket", "import", "--client-key", client, "--app-key", "com.example.troy")
	cmd.Stdin = strings.NewReader(shared + "\n")
	status, stdout, stderr := finish(t, cmd)
	path, found := strings.CutPrefix(strings.TrimSpace(stdout), x.cfg.URL)
	if status != 0 || !found {
		t.Fatalf("exit status %d, %q, %q", status, stdout, stderr)
	}
	if res, body := x.page("", path); res.StatusCode != http.StatusOK || !strings.Contains(body, "com.example.troy") {
		t.Errorf("the descriptor: %d %s", res.StatusCode, body)
	}
	secrets, err := sealer(x.cfg)
	if err != nil {
		t.Fatal(err)
	}
	kept, ok, err := bitbucket.ActiveConnect(t.Context(), x.b.db, secrets, client)
	if err != nil || !ok || len(kept.Secrets) != 1 || kept.Secrets[0] != shared {
		t.Errorf("stored (%t): %d secrets, %v", ok, len(kept.Secrets), err)
	}
}

func TestAppKeyAndSharedSecret(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{"https://troy.example.com": "com.example.troy", "http://127.0.0.1:8080": "", "http://localhost": "", "http://[::1]": ""} {
		if got := appKey(address); got != want {
			t.Errorf("%s made %q, want %q", address, got, want)
		}
	}
	for text, says := range map[string]string{
		"": "has 0 characters", "short\n": "has 5 characters", "sixteen letters!": "has a space", "sixteen-letters\u00fc": "not printable ASCII",
		"sixteen-letters!\n": "", strings.Repeat("x", 256): "has 256 characters",
	} {
		if _, err := readSecret(strings.NewReader(text)); (err == nil) != (says == "") || err != nil && (!strings.Contains(err.Error(), says) || text != "" && strings.Contains(err.Error(), strings.TrimSpace(text))) {
			t.Errorf("%q: %v; expected an error that says %q and not the secret", text, err, says)
		}
	}
}

func (x *box) query() *queries.Queries { return queries.New(x.b.db) }

func (x *box) forges() map[troy.Provider]forge.Forge {
	x.t.Helper()
	secrets, err := sealer(x.cfg)
	if err != nil {
		x.t.Fatal(err)
	}
	known, err := forges(x.cfg, x.b, secrets)
	if err != nil {
		x.t.Fatal(err)
	}
	return forgeAPIs(known)
}

func hmacOf(key, body string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}
