package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/troy-iaas/troy"
)

// runner is GitHub as a job sees it: it gives ID tokens, and it is their issuer.
func runner(t *testing.T, claims map[string]any) *httptest.Server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": server.URL, "jwks_uri": server.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("/idtoken", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer of-the-job" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		now := time.Now()
		all := map[string]any{"iss": server.URL, "aud": r.URL.Query().Get("audience"), "jti": rand.Text(), "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
		for name, v := range claims {
			all[name] = v
		}
		text, err := json.Marshal(all)
		if err != nil {
			t.Error(err)
		}
		signed, err := signer.Sign(text)
		if err != nil {
			t.Error(err)
			return
		}
		token, err := signed.CompactSerialize()
		if err != nil {
			t.Error(err)
		}
		answer(w, map[string]string{"value": token})
	})
	return server
}

// A job without a stored token releases a site, and one of a pull request only a
// preview.
func TestReleaseFromCI(t *testing.T) {
	t.Parallel()
	job := map[string]any{"repository": "octo/blog", "repository_id": "41", "repository_owner_id": "7", "ref": "refs/heads/main", "event_name": "push", "run_id": "123"}
	github := runner(t, job)
	w := newWorld(t, "TROY_CI_ISSUERS=github="+github.URL)
	w.env = append(w.env, "TROY_URL=http://"+w.web)
	w.start("web")
	w.start("work")
	w.start("edge")
	id := w.event("Created", "blog", time.Now())
	w.waitFor(id, troy.ReadyForDeployment)
	w.must("troy", "trust", "add", "blog", "--provider", "github", "--issuer", github.URL, "--repository", "41", "--owner", "7", "--ref", "main")
	admin := w.token
	w.token = ""
	w.env = append(w.env, "HOME="+w.dir, "GITHUB_ACTIONS=true", "GITHUB_SHA=0123456789abcdef", "GITHUB_REF_NAME=main", "GITHUB_ACTOR=ada",
		"ACTIONS_ID_TOKEN_REQUEST_URL="+github.URL+"/idtoken?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=of-the-job")
	site := w.folder(map[string]string{"index.html": "<title>from a job</title>"})
	out, diag, status := w.run("troy", "release", site, "--pipeline", "blog")
	if status != 0 || !strings.Contains(diag, "GitHub Actions signed in to http://"+w.web+": a token of blog until ") || strings.Contains(out+diag, "troy_") || strings.Contains(out+diag, "of-the-job") {
		t.Fatalf("exit status %d\n%s%s", status, out, diag)
	}
	if _, body, _ := w.get("blog.localhost", "/"); body != "<title>from a job</title>" {
		t.Errorf("the edge answers %q", body)
	}
	d, err := w.api.DeploymentByNumber(t.Context(), "blog", 1)
	if err != nil || d.Actor != "token GitHub Actions, octo/blog run 123" || d.Message != "(0123456 on main by ada)" {
		t.Errorf("the deployment is by %q with the message %q (%v)", d.Actor, d.Message, err)
	}

	job["event_name"] = "pull_request"
	other := w.folder(map[string]string{"index.html": "<title>of a pull request</title>"})
	if out, diag, status := w.run("troy", "release", other, "--pipeline", "blog"); status != 3 || !strings.Contains(diag, "for previews only.") || !strings.Contains(diag, "the token may only publish previews") {
		t.Errorf("exit status %d\n%s%s", status, out, diag)
	}
	if out, diag, status := w.run("troy", "release", other, "--pipeline", "blog", "--preview=draft"); status != 0 {
		t.Errorf("exit status %d\n%s%s", status, out, diag)
	}
	if _, body, _ := w.get("blog.localhost", "/"); body != "<title>from a job</title>" {
		t.Errorf("after the pull request the edge answers %q", body)
	}
	if _, body, _ := w.get("draft--blog.localhost", "/"); body != "<title>of a pull request</title>" {
		t.Errorf("the preview answers %q", body)
	}

	job["repository_id"] = "42"
	if out, diag, status := w.run("troy", "release", site, "--pipeline", "blog"); status != 3 || !strings.Contains(diag, `the token's repository_id is "42"; expected "41"`) {
		t.Errorf("exit status %d\n%s%s", status, out, diag)
	}
	w.token = admin
	if list := w.must("troy", "token", "list", "--json"); !strings.Contains(list, `"GitHub Actions, octo/blog run 123"`) || !strings.Contains(list, `"previews_only": true`) {
		t.Errorf("the tokens are %s", list)
	}
}
