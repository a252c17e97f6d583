package web_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const clientSecret = "the client's secret"

// issuer is an OpenID provider: discovery, keys, code exchange with PKCE, and
// UserInfo. Its people consent at once.
type issuer struct {
	t      *testing.T
	server *httptest.Server
	key    *ecdsa.PrivateKey
	mu     sync.Mutex
	grants map[string]url.Values // by code: the request to authorize
	claims map[string]any        // of the next ID token, beside the usual ones
	info   map[string]any        // of the UserInfo answer
	sign   func(text []byte) string
	down   bool
	asked  int // for the description
	tokens int // requests to exchange a code
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, key: key, grants: map[string]url.Values{}, claims: map[string]any{}}
	i.sign = func(text []byte) string { return i.signWith(i.key, text) }
	mux := http.NewServeMux()
	i.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.down {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(i.server.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.asked++
		i.write(w, 200, map[string]any{
			"issuer": i.server.URL, "authorization_endpoint": i.server.URL + "/authorize", "token_endpoint": i.server.URL + "/token", "jwks_uri": i.server.URL + "/keys",
			"userinfo_endpoint": i.server.URL + "/userinfo", "id_token_signing_alg_values_supported": []string{"ES256", "none"}, "scopes_supported": []string{"openid", "groups"},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.write(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("/token", i.token)
	mux.HandleFunc("/userinfo", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer access" || i.info == nil {
			i.write(w, 401, map[string]any{})
			return
		}
		i.write(w, 200, i.info)
	})
	return i
}

func (i *issuer) write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		i.t.Error(err)
	}
}

func (i *issuer) signWith(key *ecdsa.PrivateKey, text []byte) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	signed, err := signer.Sign(text)
	if err != nil {
		i.t.Fatal(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return out
}

// token exchanges a code once, for the client that began, with its verifier.
func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	i.tokens++
	id, secret, _ := r.BasicAuth()
	if text, err := url.QueryUnescape(secret); err != nil || id != "troy" || text != clientSecret {
		i.write(w, 401, map[string]string{"error": "invalid_client"})
		return
	}
	grant, known := i.grants[r.FormValue("code")]
	delete(i.grants, r.FormValue("code"))
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if !known || base64.RawURLEncoding.EncodeToString(sum[:]) != grant.Get("code_challenge") || r.FormValue("redirect_uri") != grant.Get("redirect_uri") {
		i.write(w, 400, map[string]string{"error": "invalid_grant"})
		return
	}
	claims := map[string]any{
		"iss": i.server.URL, "aud": "troy", "sub": "ada-1", "nonce": grant.Get("nonce"), "exp": time.Now().Add(time.Minute).Unix(), "iat": time.Now().Unix(),
		"name": "Ada", "email": "ada@example.com", "email_verified": true, "groups": []string{"everyone", "platform"},
	}
	for name, v := range i.claims {
		if claims[name] = v; v == nil {
			delete(claims, name)
		}
	}
	text, err := json.Marshal(claims)
	if err != nil {
		i.t.Error(err)
	}
	i.write(w, 200, map[string]any{"access_token": "access", "token_type": "Bearer", "id_token": i.sign(text)})
}

// change changes the issuer between two requests.
func (i *issuer) change(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

// consent gives a code for a request to authorize and returns the path to which
// the browser comes back.
func (i *issuer) consent(t *testing.T, w *world, to string) string {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, i.server.URL+"/authorize?") {
		t.Fatalf("people are sent to %q", to)
	}
	q := u.Query()
	if q.Get("response_type") != "code" || q.Get("client_id") != "troy" || q.Get("redirect_uri") != w.cfg.URL+"/login/oidc/callback" || q.Get("scope") != "openid profile email groups" ||
		q.Get("code_challenge_method") != "S256" || len(q.Get("state")) < 26 || len(q.Get("nonce")) < 26 || q.Get("nonce") == q.Get("state") {
		t.Fatalf("the request is %v", q)
	}
	code := rand.Text()
	i.change(func() { i.grants[code] = q })
	return "/login/oidc/callback?" + url.Values{"code": {code}, "state": {q.Get("state")}}.Encode()
}

// jar is what a browser keeps of an answer's cookies, as it sends them.
func jar(a answer) string {
	var all []string
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.MaxAge >= 0 {
			all = append(all, c.Name+"="+c.Value)
		}
	}
	return strings.Join(all, "; ")
}
