package web_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/forge/bitbucket"
	"github.com/troy-iaas/troy/secret"
)

const (
	connectApp = "com.example.troy"
	clientKey  = "connection:1234"
	firstKey   = "the first secret of the installation"
	secondKey  = "the second secret of the installation"
)

func withConnect(w *world) {
	sealer, err := secret.New(secret.NewKey())
	if err != nil {
		w.t.Fatal(err)
	}
	w.deps.Secrets = sealer
}

// issue returns the path of a Connect app without the descriptor's name.
func (w *world) issue() string {
	w.t.Helper()
	state, err := bitbucket.IssueConnect(w.t.Context(), w.db, connectApp, "operator test")
	if err != nil {
		w.t.Fatal(err)
	}
	return bitbucket.ConnectPath(state)
}

func installedBody(app, client, shared string) string {
	return fmt.Sprintf(`{"productType":"bitbucket","eventType":"installed","key":%q,"clientKey":%q,"sharedSecret":%q,
"baseApiUrl":"https://api.bitbucket.org","principal":{"uuid":"{aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa}","type":"team","display_name":"Ada's"}}`, app, client, shared)
}

func uninstalledBody(client string) string {
	return fmt.Sprintf(`{"productType":"bitbucket","eventType":"uninstalled","key":%q,"clientKey":%q}`, connectApp, client)
}

// jwtFor returns the token that Bitbucket sends with a POST to a path.
func jwtFor(t *testing.T, base, below, issuer, key string) string {
	t.Helper()
	hash, err := bitbucket.ConnectRequest{Method: "POST", Path: base + below, Base: base}.Hash()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": issuer, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "qsh": hash,
	}).SignedString([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// tell sends a message to the Connect app, signed with a key unless it is
// empty.
func (w *world) tell(base, below, key, body string, options ...option) answer {
	w.t.Helper()
	authorization := ""
	if key != "" {
		authorization = "JWT " + jwtFor(w.t, base, below, clientKey, key)
	}
	return w.send("POST", base+below, body, append([]option{
		header("Authorization", authorization), header("Content-Type", "application/json"),
	}, options...)...)
}

func (w *world) secrets(client string) []string {
	w.t.Helper()
	row, err := w.q.InstallationGet(w.t.Context(), "bitbucket", client)
	if err != nil {
		w.t.Fatal(err)
	}
	kept, err := bitbucket.OpenConnect(w.deps.Secrets, client, row.Credentials)
	if err != nil {
		w.t.Fatal(err)
	}
	return kept.Secrets
}

func TestConnectLifecycle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withForges, withConnect)
	base := w.issue()
	w.send("GET", base+"/connect.json", nil, header("Authorization", "")).into(t, 200, &map[string]any{})
	w.tell(base, "/events", firstKey, "{}").refused(t, 401, "unauthenticated", "", "no installation")
	w.tell(base, "/installed", "", installedBody("com.example.other", clientKey, firstKey)).refused(t, 403, "forbidden", "key", "not the one")
	w.tell(base, "/installed", "", installedBody(connectApp, clientKey, firstKey)).into(t, 204, nil)

	// A message without a signature, with another one, or for another client
	// does not take over an installation.
	for name, c := range map[string]struct {
		key, body string
		status    int
		says      string
	}{
		"unsigned":          {"", installedBody(connectApp, clientKey, secondKey), 401, "must be signed"},
		"another signature": {"not the secret of the installation", installedBody(connectApp, clientKey, secondKey), 401, "not signed by HS256"},
		"its own signature": {secondKey, installedBody(connectApp, clientKey, secondKey), 401, "not signed by HS256"},
		"another client":    {firstKey, installedBody(connectApp, "connection:5", secondKey), 403, "another installation"},
		"another app":       {firstKey, installedBody("com.example.other", clientKey, secondKey), 403, "not the one"},
		"unsigned, another": {"", installedBody(connectApp, "connection:5", secondKey), 403, "another installation"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.tell(base, "/installed", c.key, c.body)
			if a.status != c.status || !bytes.Contains(a.body, []byte(c.says)) {
				t.Errorf("answered %d %s", a.status, a.body)
			}
		})
	}
	// Nor does one from another address that an operator issued.
	w.tell(w.issue(), "/installed", "", installedBody(connectApp, clientKey, secondKey)).refused(t, 401, "unauthenticated", "", "must be signed")
	if got := w.secrets(clientKey); len(got) != 1 || got[0] != firstKey {
		t.Fatalf("there are %d secrets, or another one", len(got))
	}
	// The first message is repeated, because its answer was lost.
	w.tell(base, "/installed", "", installedBody(connectApp, clientKey, firstKey)).into(t, 204, nil)
	w.tell(base, "/installed", firstKey, installedBody(connectApp, clientKey, secondKey)).into(t, 204, nil)
	if got := w.secrets(clientKey); len(got) != 2 || got[0] != secondKey || got[1] != firstKey {
		t.Fatalf("installed again, there are %d secrets, or others", len(got))
	}

	// A push names the installation, and its removal becomes the pipeline's
	// problem.
	p := w.bind("Blog", "bitbucket", "team/blog", "main")
	event := func(id, commit string) answer {
		return w.tell(base, "/events", secondKey, connectPush(commit), header("X-Event-Key", "repo:push"), header("X-Request-UUID", id))
	}
	var out outcome
	if event("r-1", "a").into(t, 202, &out); out.Outcome != "accepted" || out.PipelineID == nil || *out.PipelineID != p.ID {
		t.Errorf("a push: %+v", out)
	}
	if got := w.text("SELECT coalesce(installation_id, '') FROM repositories"); got != clientKey {
		t.Errorf("the repository belongs to the installation %q", got)
	}
	problem := func() string { return w.text("SELECT source_problem FROM pipelines") }
	w.tell(base, "/uninstalled", "", uninstalledBody(clientKey)).refused(t, 401, "unauthenticated", "", "0 tokens")
	w.tell(base, "/uninstalled", secondKey, uninstalledBody("connection:5")).refused(t, 403, "forbidden", "clientKey", "another installation")
	if problem() != "" {
		t.Errorf("refused messages left %q", problem())
	}
	w.tell(base, "/uninstalled", secondKey, uninstalledBody(clientKey)).into(t, 204, nil)
	if problem() != "the Bitbucket app was uninstalled from Ada's" {
		t.Errorf("uninstalled, the pipeline says %q", problem())
	}
	event("r-2", "b").refused(t, 403, "forbidden", "", "uninstalled")
	w.tell(base, "/installed", "", installedBody(connectApp, clientKey, "a third secret of another client")).refused(t, 401, "unauthenticated", "", "must be signed")
	w.tell(base, "/installed", secondKey, installedBody(connectApp, clientKey, firstKey+" 3")).into(t, 204, nil)
	if problem() != "" {
		t.Errorf("installed again, the pipeline says %q", problem())
	}

	log := w.log.String()
	if !strings.Contains(log, "a message to the Connect app was refused") {
		t.Error("refusals are not audited")
	}
	for _, hidden := range []string{firstKey, secondKey, strings.TrimPrefix(base, "/bitbucket/connect/")} {
		if strings.Contains(log, hidden) {
			t.Errorf("the log has %q", hidden)
		}
	}
}

const connectPushBody = `{"event":"repo:push","data":{"repository":{"uuid":"{bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb}","full_name":"team/blog","is_private":true},
"actor":{"display_name":"Ada"},"push":{"changes":[{"old":null,"new":{"type":"branch","name":"main","target":{"hash":"%s","message":"Say hello","author":{"raw":"Ada <a@b>"}}}}]}}}`

func connectPush(commit string) string {
	return fmt.Sprintf(connectPushBody, strings.Repeat(commit, 40))
}

func TestConnectTokensAreForOneRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withForges, withConnect)
	base := w.issue()
	w.tell(base, "/installed", "", installedBody(connectApp, clientKey, firstKey)).into(t, 204, nil)
	headers := func(authorization string) []option {
		return []option{
			header("Authorization", authorization), header("Content-Type", "application/json"),
			header("X-Event-Key", "repo:push"), header("X-Request-UUID", "r-1"),
		}
	}
	good := jwtFor(t, base, "/events", clientKey, firstKey)
	none := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"iss": clientKey, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})
	unsigned, err := none.SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ query, authorization, says string }{
		"no token":           {"", "", "0 tokens"},
		"of another path":    {"", "JWT " + jwtFor(t, base, "/uninstalled", clientKey, firstKey), "another request"},
		"with another query": {"?a=b", "JWT " + good, "another request"},
		"of another issuer":  {"", "JWT " + jwtFor(t, base, "/events", "connection:5", firstKey), "issuer"},
		"alg none":           {"", "JWT " + unsigned, "not signed by HS256"},
		"an admin's":         {"", "Bearer " + w.admin, "another kind"},
		"two":                {"?jwt=" + good, "JWT " + good, "2 tokens"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.send("POST", base+"/events"+c.query, connectPush("a"), headers(c.authorization)...)
			a.refused(t, 401, "unauthenticated", "", c.says)
			if a.header.Get("WWW-Authenticate") != "JWT" {
				t.Errorf("WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
			}
		})
	}
	if n := w.count("SELECT count(*) FROM deliveries"); n != 0 {
		t.Errorf("%d refused messages were accepted", n)
	}
	w.send("POST", base+"/events", connectPush("a"), headers("JWT "+good)...).into(t, 202, nil)
}

func TestConnectStates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withConnect)
	body := installedBody(connectApp, clientKey, firstKey)
	for _, state := range []string{"x", strings.Repeat("A", 26), strings.Repeat("A", 65), "AAAAAAAAAAAAAAAAAAAAAAAAA%00"} {
		w.tell("/bitbucket/connect/"+state, "/installed", "", body).refused(t, 404, "not_found", "", "")
	}
	late := w.issue()
	if _, err := w.db.Exec(t.Context(), "UPDATE setup_states SET expires_at = now()"); err != nil {
		t.Fatal(err)
	}
	w.tell(late, "/installed", "", body).refused(t, 404, "not_found", "", "within an hour")
	w.send("GET", late+"/connect.json", nil).refused(t, 404, "not_found", "", "")

	// Of many concurrent installations through one address, one succeeds.
	base := w.issue()
	codes := make(chan int, 20)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			codes <- w.tell(base, "/installed", "", installedBody(connectApp, fmt.Sprintf("connection:%d", i), firstKey)).status
		})
	}
	wg.Wait()
	close(codes)
	seen := map[int]int{}
	for code := range codes {
		seen[code]++
	}
	if n := w.count("SELECT count(*) FROM installations"); seen[204] != 1 || seen[403] != 19 || n != 1 {
		t.Errorf("%d installations by %v", n, seen)
	}
	// The address of an installation stays valid.
	if _, err := w.db.Exec(t.Context(), "UPDATE setup_states SET expires_at = now() - interval '1 day'"); err != nil {
		t.Fatal(err)
	}
	w.issue()
	w.send("GET", base+"/connect.json", nil).into(t, 200, &map[string]any{})
	w.tell(base, "/installed", "", strings.Repeat(" ", bitbucket.MaxConnectBody+1)).refused(t, 413, "too_large", "", "")
}

func TestConnectImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withForges, withConnect)
	sealed, err := bitbucket.Connect{AppKey: connectApp, Secrets: []string{firstKey}}.Seal(w.deps.Secrets, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	state := credentials.NewState()
	if err := w.deps.Intake.ConnectImport(t.Context(), state.Hash(), connectApp, clientKey, "Ada's", "operator test", sealed); err != nil {
		t.Fatal(err)
	}
	base := bitbucket.ConnectPath(state)
	w.tell(base, "/installed", "", installedBody(connectApp, clientKey, secondKey)).refused(t, 401, "unauthenticated", "", "must be signed")
	w.tell(base, "/installed", firstKey, installedBody(connectApp, clientKey, secondKey)).into(t, 204, nil)
	w.tell(base, "/events", secondKey, connectPush("a"), header("X-Event-Key", "repo:push"), header("X-Request-UUID", "r")).into(t, http.StatusAccepted, nil)
	without := newWorld(t)
	if a := without.tell(without.issue(), "/installed", "", "{}"); a.status != 503 {
		t.Errorf("without a key: %d %s", a.status, a.body)
	}
}
