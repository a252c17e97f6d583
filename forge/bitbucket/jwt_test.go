package bitbucket_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge/bitbucket"
	"github.com/troy-iaas/troy/forge/forgetest"
)

// TestConnectVectors compares query string hashes with Atlassian's rules and
// with those of its own library.
func TestConnectVectors(t *testing.T) {
	t.Parallel()
	t.Run("own", func(t *testing.T) { connectVectors(t, "testdata/connect") })
	t.Run("recorded", func(t *testing.T) {
		forgetest.NeedRecorded(t, fixtures)
		connectVectors(t, fixtures, "connect")
	})
}

func connectVectors(t *testing.T, dir ...string) {
	t.Helper()
	var vectors []struct{ Method, URL, Canonical, QSH string }
	if err := json.Unmarshal(forgetest.Read(t, append(dir, "qsh-vectors.json")...), &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 9 {
		t.Fatalf("there are %d vectors", len(vectors))
	}
	for _, v := range vectors {
		u, err := url.Parse(v.URL)
		if err != nil {
			t.Fatal(err)
		}
		r := bitbucket.ConnectRequest{Method: v.Method, Path: u.EscapedPath(), Query: u.RawQuery}
		canonical, err := r.Canonical()
		if err != nil || canonical != v.Canonical {
			t.Errorf("%s %s\ngot  %s, %v\nwant %s", v.Method, v.URL, canonical, err, v.Canonical)
		}
		if hash, err := r.Hash(); err != nil || hash != v.QSH {
			t.Errorf("%s %s: the hash is %s, %v", v.Method, v.URL, hash, err)
		}
	}
}

func TestConnectCanonical(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		r    bitbucket.ConnectRequest
		want string // empty: refused
	}{
		{bitbucket.ConnectRequest{Method: "post", Path: "/bitbucket/connect/s/events", Base: "/bitbucket/connect/s"}, "POST&/events&"},
		{bitbucket.ConnectRequest{Method: "POST", Path: "/bitbucket/connect/s/events", Base: "/bitbucket/connect/s/"}, "POST&/events&"},
		{bitbucket.ConnectRequest{Method: "POST", Path: "/bitbucket/connect/s", Base: "/bitbucket/connect/s"}, "POST&/&"},
		{bitbucket.ConnectRequest{Method: "POST", Path: "/bitbucket/connect/sx/events", Base: "/bitbucket/connect/s"}, ""},
		{bitbucket.ConnectRequest{Method: "POST", Path: "/other", Base: "/bitbucket/connect/s"}, ""},
		{bitbucket.ConnectRequest{Method: "GET", Path: "", Query: ""}, "GET&/&"},
		{bitbucket.ConnectRequest{Method: "GET", Path: "/a%20b/%26", Query: "x=%2F&jwt=1&jwt=2"}, "GET&/a%20b/%26&x=%2F"},
		{bitbucket.ConnectRequest{Method: "GET", Path: "/a", Query: "x=%zz"}, ""},
		{bitbucket.ConnectRequest{Method: "GET", Path: "/a", Query: "x=1;y=2"}, ""},
	} {
		got, err := c.r.Canonical()
		if (err != nil) != (c.want == "") || got != c.want {
			t.Errorf("%+v gave %q, %v; want %q", c.r, got, err, c.want)
		}
	}
}

const (
	clientKey     = "connection:1234"
	connectSecret = "a secret of more than thirty-two bytes"
)

func connectNow() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func events() bitbucket.ConnectRequest {
	return bitbucket.ConnectRequest{Method: http.MethodPost, Path: "/bitbucket/connect/s/events", Base: "/bitbucket/connect/s"}
}

// token returns a token as Bitbucket would send it, with changes.
func token(t *testing.T, method jwt.SigningMethod, key any, change func(jwt.MapClaims)) string {
	t.Helper()
	hash, err := events().Hash()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{"iss": clientKey, "iat": connectNow().Unix(), "exp": connectNow().Add(time.Hour).Unix(), "qsh": hash, "aud": "troy"}
	change(claims)
	s, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestVerifyConnect(t *testing.T) {
	t.Parallel()
	key := []byte(connectSecret)
	hs256 := func(change func(jwt.MapClaims)) string { return token(t, jwt.SigningMethodHS256, key, change) }
	set := func(name string, value any) string { return hs256(func(c jwt.MapClaims) { c[name] = value }) }
	unset := func(name string) string { return hs256(func(c jwt.MapClaims) { delete(c, name) }) }
	same := func(jwt.MapClaims) {}
	at := func(d time.Duration) int64 { return connectNow().Add(d).Unix() }
	parts := strings.Split(hs256(same), ".")
	header := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

	for _, c := range []struct{ name, token, want string }{
		{"a valid token", hs256(same), ""},
		{"a clock before ours, within the leeway", set("exp", at(-59*time.Second)), ""},
		{"a clock ahead of ours, within the leeway", set("iat", at(59*time.Second)), ""},

		{"with a line break in its signature", hs256(same)[:len(hs256(same))-9] + "\n" + hs256(same)[len(hs256(same))-9:], "not a JSON Web Token"},
		{"expired", set("exp", at(-61*time.Second)), "has expired"},
		{"without an expiry", unset("exp"), "lacks its expiry"},
		{"issued in the future", set("iat", at(61*time.Second)), "issued in the future"},
		{"without a time of issue", unset("iat"), "does not say when it was issued"},
		{"not valid yet", set("nbf", at(time.Hour)), "not valid yet"},
		{"of another issuer", set("iss", "connection:9"), "issuer is not"},
		{"without an issuer", unset("iss"), "lacks its expiry or its issuer"},
		{"of another request", set("qsh", strings.Repeat("0", 64)), "another request"},
		{"without a hash", unset("qsh"), "another request"},
		{"of any request", set("qsh", "context-qsh"), "another request"},

		{"another secret", token(t, jwt.SigningMethodHS256, []byte(connectSecret+"!"), same), "not signed by HS256"},
		{"the empty secret", token(t, jwt.SigningMethodHS256, []byte{}, same), "not signed by HS256"},
		{"HS384", token(t, jwt.SigningMethodHS384, key, same), "not signed by HS256"},
		{"none", token(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, same), "not signed by HS256"},
		{"None", header(`{"alg":"None"}`) + "." + parts[1] + ".", "not signed by HS256"},
		{"an algorithm that does not exist", header(`{"alg":"x"}`) + "." + parts[1] + "." + parts[2], "not signed by HS256"},
		{"without a signature", parts[0] + "." + parts[1] + ".", "not signed by HS256"},
		{"of two parts", parts[0] + "." + parts[1], "JSON Web Token"},
		{"of other claims", parts[0] + "." + header(`{"iss":"`+clientKey+`","exp":99999999999}`) + "." + parts[2], "not signed by HS256"},
		{"no base64", "a.b!.c", "JSON Web Token"},
		{"empty", "", "JSON Web Token"},
		{"long", strings.Repeat("a", 8193), "at most 8192"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := bitbucket.VerifyConnect(c.token, events(), clientKey, key, connectNow())
			if c.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || troy.KindOf(err) != troy.Unauthenticated {
				t.Errorf("got %v, want one with %q", err, c.want)
			}
			if err != nil && len(parts[2]) > 0 && (strings.Contains(err.Error(), parts[1]) || strings.Contains(err.Error(), connectSecret)) {
				t.Errorf("the error reveals too much: %v", err)
			}
		})
	}
}

func TestVerifyConnectRequest(t *testing.T) {
	t.Parallel()
	good := token(t, jwt.SigningMethodHS256, []byte(connectSecret), func(jwt.MapClaims) {})
	for name, change := range map[string]func(*bitbucket.ConnectRequest){
		"another method":        func(r *bitbucket.ConnectRequest) { r.Method = http.MethodGet },
		"another path":          func(r *bitbucket.ConnectRequest) { r.Path += "2" },
		"a query":               func(r *bitbucket.ConnectRequest) { r.Query = "a=b" },
		"a query in the path":   func(r *bitbucket.ConnectRequest) { r.Path += "&a=b" },
		"another base":          func(r *bitbucket.ConnectRequest) { r.Base = "/bitbucket/connect/other" },
		"a query of a bad form": func(r *bitbucket.ConnectRequest) { r.Query = "%" },
	} {
		r := events()
		change(&r)
		if err := bitbucket.VerifyConnect(good, r, clientKey, []byte(connectSecret), connectNow()); troy.KindOf(err) != troy.Unauthenticated || err == nil {
			t.Errorf("%s gave %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"no client key": bitbucket.VerifyConnect(good, events(), "", []byte(connectSecret), connectNow()),
		"no secret":     bitbucket.VerifyConnect(token(t, jwt.SigningMethodHS256, []byte{}, func(jwt.MapClaims) {}), events(), clientKey, nil, connectNow()),
	} {
		if err == nil || troy.KindOf(err) != troy.Unauthenticated {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

func TestConnectToken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, query string
		headers     []string
		want        string
	}{
		{"the header", "", []string{"JWT abc"}, "abc"},
		{"small letters", "", []string{"jwt abc"}, "abc"},
		{"the query", "jwt=abc&x=1", nil, "abc"},
		{"neither", "", nil, ""},
		{"both", "jwt=abc", []string{"JWT abc"}, ""},
		{"two headers", "", []string{"JWT a", "JWT a"}, ""},
		{"two in the query", "jwt=a&jwt=a", nil, ""},
		{"an empty one", "jwt=", nil, ""},
		{"an empty header", "", []string{"JWT"}, ""},
		{"another kind", "", []string{"Bearer abc"}, ""},
		{"another kind beside the query", "jwt=abc", []string{"Basic abc"}, ""},
		{"a long one", "", []string{"JWT " + strings.Repeat("a", 8193)}, ""},
	} {
		query, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := bitbucket.ConnectToken(http.Header{"Authorization": c.headers}, query)
		if got != c.want || (c.want == "") != (troy.KindOf(err) == troy.Unauthenticated) {
			t.Errorf("%s: got %q, %v", c.name, got, err)
		}
	}
}

func TestSignConnect(t *testing.T) {
	t.Parallel()
	r := bitbucket.ConnectRequest{Method: http.MethodPost, Path: "/site/oauth2/access_token"}
	signed, err := bitbucket.SignConnect(r, "troy", clientKey, []byte(connectSecret), connectNow())
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.MapClaims
	_, err = jwt.ParseWithClaims(signed, &claims, func(*jwt.Token) (any, error) { return []byte(connectSecret), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithTimeFunc(connectNow))
	if err != nil {
		t.Fatal(err)
	}
	hash, err := r.Hash()
	if err != nil {
		t.Fatal(err)
	}
	if claims["iss"] != "troy" || claims["sub"] != clientKey || claims["qsh"] != hash ||
		claims["iat"] != float64(connectNow().Unix()) || claims["exp"] != float64(connectNow().Add(3*time.Minute).Unix()) {
		t.Errorf("got %v", claims)
	}
	if err := bitbucket.VerifyConnect(signed, r, "troy", []byte(connectSecret), connectNow()); err != nil {
		t.Errorf("it does not verify: %v", err)
	}
	if issuer, err := bitbucket.ConnectIssuer(signed); err != nil || issuer != "troy" {
		t.Errorf("the issuer is %q, %v", issuer, err)
	}
	for name, sign := range map[string]func() (string, error){
		"no key": func() (string, error) {
			return bitbucket.SignConnect(r, "", clientKey, []byte(connectSecret), connectNow())
		},
		"no client key": func() (string, error) {
			return bitbucket.SignConnect(r, "troy", "", []byte(connectSecret), connectNow())
		},
		"no secret": func() (string, error) { return bitbucket.SignConnect(r, "troy", clientKey, nil, connectNow()) },
		"a bad query": func() (string, error) {
			return bitbucket.SignConnect(bitbucket.ConnectRequest{Query: "%"}, "troy", clientKey, []byte(connectSecret), connectNow())
		},
	} {
		if s, err := sign(); err == nil || s != "" {
			t.Errorf("%s was signed", name)
		}
	}
}

func TestConnectIssuer(t *testing.T) {
	t.Parallel()
	for _, claims := range []string{`{}`, `{"iss":7}`, `{"iss":""}`, `{"iss":"a\u0000"}`, `{"iss":"` + strings.Repeat("a", 256) + `"}`, `[]`, `{`} {
		token := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".AA"
		if issuer, err := bitbucket.ConnectIssuer(token); issuer != "" || troy.KindOf(err) != troy.Unauthenticated {
			t.Errorf("%.40s gave %q, %v", claims, issuer, err)
		}
	}
	if issuer, err := bitbucket.ConnectIssuer(token(t, jwt.SigningMethodHS256, []byte(connectSecret), func(jwt.MapClaims) {}) + "\r"); issuer != "" || troy.KindOf(err) != troy.Unauthenticated {
		t.Errorf("a token with a line break gave %q, %v", issuer, err)
	}
	if _, err := bitbucket.ConnectIssuer(strings.Repeat("a.", 5000)); troy.KindOf(err) != troy.Unauthenticated {
		t.Errorf("a long token gave %v", err)
	}
}
