package web_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// ciIssuer signs the tokens of jobs.
type ciIssuer struct {
	t      *testing.T
	server *httptest.Server
	rsa    *rsa.PrivateKey
	ecdsa  *ecdsa.PrivateKey
	asked  atomic.Int64 // for keys
	down   atomic.Bool

	mu   sync.Mutex
	keys []jose.JSONWebKey
}

func newCIIssuer(t *testing.T) *ciIssuer {
	t.Helper()
	i := &ciIssuer{t: t}
	var err error
	if i.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if i.ecdsa, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	i.keys = []jose.JSONWebKey{{Key: &i.rsa.PublicKey, KeyID: "r", Algorithm: "RS256", Use: "sig"}, {Key: &i.ecdsa.PublicKey, KeyID: "e", Use: "sig"}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if i.down.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": i.server.URL, "jwks_uri": i.server.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		i.mu.Lock()
		defer i.mu.Unlock()
		answer(w, jose.JSONWebKeySet{Keys: i.keys})
	})
	i.server = httptest.NewServer(mux)
	t.Cleanup(i.server.Close)
	return i
}

// claims are those of a job of the repository 41 of the owner 7, after changes;
// nil removes a claim.
func (i *ciIssuer) claims(change map[string]any) map[string]any {
	now := time.Now()
	c := map[string]any{
		"iss": i.server.URL, "aud": "https://troy.test", "sub": "repo:octo@7/blog@41:ref:refs/heads/main", "jti": rand.Text(),
		"exp": now.Add(5 * time.Minute).Unix(), "nbf": now.Unix(), "iat": now.Unix(),
		"repository": "octo/blog", "repository_id": "41", "repository_owner_id": "7", "ref": "refs/heads/main", "environment": "production",
		"workflow_ref": "octo/blog/.github/workflows/deploy.yml@refs/heads/main", "job_workflow_ref": "octo/blog/.github/workflows/deploy.yml@refs/heads/main",
		"event_name": "push", "run_id": "123",
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func (i *ciIssuer) token(change map[string]any) string {
	return i.sign(jose.RS256, i.rsa, "r", i.claims(change))
}

func (i *ciIssuer) sign(algorithm jose.SignatureAlgorithm, key any, id string, claims any) string {
	i.t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		i.t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
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

// unsigned is a token with alg none.
func unsigned(claims any) string {
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"r"}`)) + "." + base64.RawURLEncoding.EncodeToString(text) + "."
}

// hs256 is a token whose HMAC key is the issuer's public key.
func (i *ciIssuer) hs256(claims any) string {
	der, err := x509.MarshalPKIXPublicKey(&i.rsa.PublicKey)
	if err != nil {
		i.t.Fatal(err)
	}
	return i.sign(jose.HS256, der, "r", claims)
}

// ciWorld has a pipeline that trusts a repository, and a clock that can be set
// forward.
func ciWorld(t *testing.T) (*world, *ciIssuer, *atomic.Int64) {
	t.Helper()
	i, ahead := newCIIssuer(t), &atomic.Int64{}
	w := newWorld(t, func(w *world) {
		w.deps.CIIssuers = map[string]string{i.server.URL: "github"}
		w.deps.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	w.create("Blog")
	return w, i, ahead
}
