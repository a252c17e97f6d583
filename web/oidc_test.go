package web_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/credentials"
)

func oidcWorld(t *testing.T, groups ...string) (*world, *issuer) {
	t.Helper()
	i := newIssuer(t)
	known, err := credentials.ParseGroups(groups)
	if err != nil {
		t.Fatal(err)
	}
	return newWorld(t, func(w *world) {
		w.deps.Issuer = credentials.NewIssuer(credentials.IssuerConfig{
			URL: i.server.URL, ClientID: "troy", ClientSecret: clientSecret, GroupsClaim: "groups", Groups: known, Address: w.cfg.URL,
		})
	}), i
}

// beginAt begins a sign-in and returns the path to come back to and the cookie.
func (w *world) beginAt(i *issuer, next string) (back, cookie string) {
	w.t.Helper()
	a := w.visit("GET", "/login/oidc?"+url.Values{"next": {next}}.Encode(), nil, "")
	if a.status != 303 {
		w.t.Fatalf("beginning to sign in answers %d %s", a.status, a.body)
	}
	return i.consent(w.t, w, a.header.Get("Location")), jar(a)
}

// signInAt signs in with the issuer.
func (w *world) signInAt(i *issuer, next string) answer {
	w.t.Helper()
	back, cookie := w.beginAt(i, next)
	return w.visit("GET", back, nil, cookie, header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Mode", "navigate"), header("Sec-Fetch-Dest", "document"))
}

func TestSignInWithAnIssuer(t *testing.T) {
	t.Parallel()
	w, i := oidcWorld(t, "platform=deployer:blog+none", "everyone=viewer")
	w.create("Blog")
	w.create("Docs")
	if a := w.visit("GET", "/login?next=/pipelines/blog", nil, ""); !strings.Contains(string(a.body), `href="/login/oidc?next=%2Fpipelines%2Fblog"`) || !strings.Contains(string(a.body), `name="token"`) {
		t.Errorf("the page does not show both ways:\n%s", a.body)
	}
	began := w.visit("GET", "/login/oidc?next=/system", nil, "")
	set := began.header.Get("Set-Cookie")
	if !strings.HasPrefix(set, "__Host-troy-signin=") || !strings.Contains(set, "Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax") {
		t.Errorf("the cookie of the sign-in is %s", set)
	}
	a := w.signInAt(i, "/pipelines/blog?before=3")
	if a.status != 303 || a.header.Get("Location") != "/pipelines/blog?before=3" || !strings.Contains(strings.Join(a.header.Values("Set-Cookie"), "\n"), "__Host-troy-signin=; Path=/; Max-Age=0") {
		t.Fatalf("signing in answers %d %v\n%s", a.status, a.header, a.body)
	}
	cookie := jar(a)
	if strings.Count(cookie, "=") != 1 || !strings.HasPrefix(cookie, "__Host-troy=") {
		t.Errorf("afterwards the browser has %s", cookie)
	}
	for path, want := range map[string]int{"/": 200, "/pipelines/blog": 200, "/pipelines/docs": 404} {
		if a := w.visit("GET", path, nil, cookie); a.status != want {
			t.Errorf("%s answers %d, want %d", path, a.status, want)
		}
	}
	if a := w.visit("POST", "/pipelines/blog/actions/lock", url.Values{"reason": {"freeze"}}, cookie); a.status != 303 {
		t.Errorf("a deployer's action answers %d %s", a.status, a.body)
	}
	a = w.visit("POST", "/pipelines/blog/actions/delete", url.Values{"confirm": {"blog"}}, cookie)
	if a.status != 403 || !strings.Contains(string(a.body), "This needs the role admin; you are signed in as the user &#34;ada@example.com&#34;, a deployer.") {
		t.Errorf("an admin's action answers %d %s", a.status, a.body)
	}
	for what, query := range map[string]string{
		"the sign-in": "SELECT count(*) FROM audit WHERE action = 'session.create' AND actor = 'user ada@example.com' AND detail = 'by ' || $1",
		"the lock":    "SELECT count(*) FROM audit WHERE action = 'pipeline.lock' AND actor = 'user ada@example.com' AND $1 <> ''",
		"the session": "SELECT count(*) FROM sessions WHERE expires_at BETWEEN now() + interval '23 hours' AND now() + interval '24 hours' AND $1 <> ''",
	} {
		if n := w.count(query, strings.TrimPrefix(i.server.URL, "http://")); n != 1 {
			t.Errorf("%s is recorded %d times, want 1", what, n)
		}
	}
	// The list of tokens has no people.
	if len(w.tokens()) != 1 {
		t.Errorf("the tokens are %v", w.tokens())
	}

	// The next sign-in decides anew, for all sessions, and one without a group
	// ends them.
	i.change(func() { i.claims["groups"] = "everyone" })
	second := jar(w.signInAt(i, "/"))
	if a := w.visit("POST", "/pipelines/blog/actions/unlock", url.Values{}, cookie); a.status != 403 {
		t.Errorf("a deployer before can still act: %d", a.status)
	}
	if a := w.visit("GET", "/pipelines/docs", nil, second); a.status != 200 {
		t.Errorf("a viewer's page answers %d", a.status)
	}
	i.change(func() { i.claims["groups"] = []string{"others"} })
	if a := w.signInAt(i, "/"); a.status != 403 || !strings.Contains(string(a.body), "Ada@example.com is in no group that may use Troy; groups that may: platform, everyone.") || strings.Contains(jar(a), "__Host-troy=") {
		t.Errorf("without a group signing in answers %d %s", a.status, a.body)
	}
	for _, c := range []string{cookie, second} {
		if a := w.visit("GET", "/", nil, c); a.status != 303 {
			t.Errorf("who is in no group any more sees a page: %d", a.status)
		}
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'session.revoke' AND subject = 'user ada@example.com' AND detail LIKE 'everywhere: in no group%'"); n != 1 {
		t.Errorf("the end of the sessions is recorded %d times", n)
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'session.refuse' AND actor = 'user ada@example.com'"); n != 1 {
		t.Errorf("the refusal is recorded %d times", n)
	}
	// An admin signs a person out everywhere, by the API and on the page.
	i.change(func() { delete(i.claims, "groups") })
	var people struct {
		Users []map[string]any `json:"users"`
	}
	for _, by := range []string{"the API", "the page"} {
		cookie = jar(w.signInAt(i, "/"))
		w.send("GET", "/v1/users", nil).into(t, 200, &people)
		path := "/users/" + fmt.Sprint(people.Users[0]["id"])
		w.send("DELETE", "/v1"+path, nil, header("Authorization", "Bearer "+w.token(credentials.Viewer))).refused(t, 403, "forbidden", "", "")
		admin := w.session(w.admin)
		if a := w.visit("POST", "/system"+path+"/revoke", url.Values{"confirm": {"ada"}}, admin); a.status != 400 {
			t.Errorf("a sign-out that is not confirmed answers %d", a.status)
		}
		if a := w.visit("GET", "/", nil, cookie); a.status != 200 {
			t.Errorf("what was refused had an effect: %d", a.status)
		}
		if by == "the API" {
			w.send("DELETE", "/v1"+path, nil).into(t, 204, nil)
			w.send("DELETE", "/v1"+path, nil).refused(t, 404, "not_found", "", "")
		} else if a := w.visit("POST", "/system"+path+"/revoke", url.Values{"confirm": {"ada@example.com"}}, admin); a.status != 303 {
			t.Errorf("signing out on the page answers %d %s", a.status, a.body)
		}
		if a := w.visit("GET", "/", nil, cookie); a.status != 303 {
			t.Errorf("after %s signed the person out a page answers %d", by, a.status)
		}
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'session.revoke' AND subject = 'user ada@example.com' AND detail = 'everywhere' AND actor = 'token test-admin'"); n != 2 {
		t.Errorf("the sign-outs are recorded %d times, want 2", n)
	}
	// A person's session ends a day after the sign-in.
	cookie = jar(w.signInAt(i, "/"))
	w.exec("UPDATE tokens SET expires_at = now() WHERE id IN (SELECT token_id FROM users)")
	if a := w.visit("GET", "/", nil, cookie); a.status != 303 {
		t.Errorf("after a day a page answers %d", a.status)
	}
}

// Each thing that a sign-in must have is missing or wrong once.
func TestIssuersAnswersAreVerified(t *testing.T) {
	t.Parallel()
	w, i := oidcWorld(t, "platform=admin")
	other := newIssuer(t)
	unsigned := func(text []byte) string {
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(text) + "."
	}
	n := 0
	for name, c := range map[string]struct {
		claims map[string]any
		sign   func([]byte) string
		info   map[string]any
		status int
		says   string
	}{
		"another nonce":               {claims: map[string]any{"nonce": "x"}, status: 401, says: "belongs to another sign-in"},
		"no nonce":                    {claims: map[string]any{"nonce": nil}, status: 401, says: "belongs to another sign-in"},
		"another audience":            {claims: map[string]any{"aud": "other"}, status: 401, says: "ID token"},
		"two audiences":               {claims: map[string]any{"aud": []string{"troy", "other"}}, status: 401, says: "another client"},
		"another authorized party":    {claims: map[string]any{"azp": "other"}, status: 401, says: "another client"},
		"another issuer":              {claims: map[string]any{"iss": "https://evil.test"}, status: 401, says: "ID token"},
		"an expired token":            {claims: map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}, status: 401, says: "ID token"},
		"no expiry":                   {claims: map[string]any{"exp": nil}, status: 401, says: "ID token"},
		"no subject":                  {claims: map[string]any{"sub": nil}, status: 401, says: "names no one"},
		"an unsigned token":           {sign: unsigned, status: 401, says: "ID token"},
		"another key":                 {sign: func(text []byte) string { return i.signWith(other.key, text) }, status: 401, says: "ID token"},
		"no token":                    {sign: func([]byte) string { return "" }, status: 401, says: "ID token"},
		"groups that are none":        {claims: map[string]any{"groups": 7}, status: 401, says: "not a list of groups"},
		"other groups":                {claims: map[string]any{"groups": []string{"Platform", ""}}, status: 403, says: "groups that may: platform"},
		"no groups":                   {claims: map[string]any{"groups": nil}, info: map[string]any{"sub": "ada-1"}, status: 403, says: "tells no groups of ada@example.com (the claim &#34;groups&#34;); groups that may: platform"},
		"no groups and no UserInfo":   {claims: map[string]any{"groups": nil}, status: 503, says: "does not tell your groups"},
		"UserInfo about someone else": {claims: map[string]any{"groups": nil}, info: map[string]any{"sub": "bob", "groups": []string{"platform"}}, status: 401, says: "someone else"},
		"UserInfo with groups":        {claims: map[string]any{"groups": nil}, info: map[string]any{"sub": "ada-1", "groups": []string{"platform"}}, status: 303},
		"a name that hides it":        {claims: map[string]any{"email_verified": false, "name": "boss@corp.com" + strings.Repeat(" ", 186) + strings.Repeat("x", 99)}, status: 303},
		"an email of no one":          {claims: map[string]any{"email_verified": false}, status: 303},
		"verified as a text":          {claims: map[string]any{"email_verified": "true", "azp": "troy"}, status: 303},
	} {
		i.change(func() {
			i.claims, i.info = c.claims, c.info
			if i.sign = c.sign; c.sign == nil {
				i.sign = func(text []byte) string { return i.signWith(i.key, text) }
			}
		})
		n++ // each from an address of its own, because ten failures make one wait
		back, cookie := w.beginAt(i, "/system")
		a := w.visit("GET", back, nil, cookie, header("X-Forwarded-For", fmt.Sprintf("192.0.2.%d", n)))
		signedIn := strings.Contains(jar(a), "__Host-troy=")
		if a.status != c.status || !strings.Contains(string(a.body), c.says) || signedIn != (c.status == 303) {
			t.Errorf("%s: %d, signed in: %t, want %d and %q\n%s", name, a.status, signedIn, c.status, c.says, a.body)
		}
		if name == "a name that hides it" {
			if found := w.count("SELECT count(*) FROM tokens WHERE name = 'boss@corp.com ' || repeat('x', 66) || ' (ada-1)'"); found != 1 {
				t.Error("a long name hides the subject")
			}
		}
		if name == "an email of no one" {
			if found := w.count("SELECT count(*) FROM tokens t JOIN users u ON u.token_id = t.id WHERE t.name = 'Ada (ada-1)' AND u.email = ''"); found != 1 {
				t.Error("an email counts that the issuer did not verify")
			}
		}
	}
	if log := w.log.String(); strings.Contains(log, clientSecret) {
		t.Error("the log has the client's secret")
	}
}

func TestSignInsAreUsedOnceByTheirBrowser(t *testing.T) {
	t.Parallel()
	w, i := oidcWorld(t, "platform=admin")
	back, cookie := w.beginAt(i, "/")
	if a := w.visit("GET", back, nil, ""); a.status != 401 || !strings.Contains(string(a.body), "This browser did not begin the sign-in") {
		t.Errorf("another browser: %d %s", a.status, a.body)
	}
	_, another := w.beginAt(i, "/")
	if a := w.visit("GET", back, nil, another); a.status != 401 || !strings.Contains(string(a.body), "This browser did not begin the sign-in") {
		t.Errorf("a browser with another sign-in: %d %s", a.status, a.body)
	}
	if a := w.visit("GET", back+"&iss=https%3A%2F%2Fevil.test", nil, cookie); a.status != 401 || !strings.Contains(string(a.body), "Another issuer") {
		t.Errorf("another issuer: %d %s", a.status, a.body)
	}
	if a := w.visit("GET", back, nil, cookie); a.status != 303 {
		t.Fatalf("the browser itself: %d %s", a.status, a.body)
	}
	if a := w.visit("GET", back, nil, cookie); a.status != 401 || !strings.Contains(string(a.body), "used before or took too long") {
		t.Errorf("a code that is used twice: %d %s", a.status, a.body)
	}
	// The state can't be used again either, even with a fresh code.
	u, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	var kept map[string]string
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(cookie, "__Host-troy-signin="))
	if err != nil || json.Unmarshal(text, &kept) != nil {
		t.Fatalf("the cookie is %s", cookie)
	}
	sum := sha256.Sum256([]byte(kept["v"]))
	i.change(func() {
		i.grants["fresh"] = url.Values{"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "redirect_uri": {w.cfg.URL + "/login/oidc/callback"}, "nonce": {kept["n"]}}
	})
	if a := w.visit("GET", "/login/oidc/callback?code=fresh&state="+u.Query().Get("state"), nil, cookie); a.status != 401 || !strings.Contains(string(a.body), "The sign-in was used before") || strings.Contains(jar(a), "__Host-troy=") {
		t.Errorf("a state that is used twice: %d %s", a.status, a.body)
	}
	// What the issuer refuses is told in words, and as text.
	for code, says := range map[string]string{"access_denied": "the sign-in was cancelled", "odd<b>": "answered: odd&lt;b&gt; (why &lt;i&gt;)."} {
		back, cookie := w.beginAt(i, "/")
		u, err := url.Parse(back)
		if err != nil {
			t.Fatal(err)
		}
		q := url.Values{"error": {code}, "error_description": {"why\n<i>"}, "state": {u.Query().Get("state")}}
		if a := w.visit("GET", "/login/oidc/callback?"+q.Encode(), nil, cookie); a.status != 401 || !strings.Contains(string(a.body), says) {
			t.Errorf("%s: %d %s", code, a.status, a.body)
		}
		q.Set("state", "x")
		if a := w.visit("GET", "/login/oidc/callback?"+q.Encode(), nil, cookie); strings.Contains(string(a.body), "why") {
			t.Errorf("what another page says is shown: %s", a.body)
		}
	}
	for next, want := range map[string]string{"//evil.test": "/", "https://evil.test/": "/", "/" + strings.Repeat("x", 4000): "/"} {
		if a := w.signInAt(i, next); a.status != 303 || a.header.Get("Location") != want {
			t.Errorf("with next %.20q people come to %q", next, a.header.Get("Location"))
		}
	}
}

// No one makes Troy ask the issuer without end.
func TestForgedSignInsDoNotReachTheIssuer(t *testing.T) {
	t.Parallel()
	w, i := oidcWorld(t, "platform=admin")
	from := func(address string) option { return header("X-Forwarded-For", address) }
	cookie := func(text string) string {
		return "__Host-troy-signin=" + base64.RawURLEncoding.EncodeToString([]byte(text))
	}
	_, begun := w.beginAt(i, "/")
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(begun, "__Host-troy-signin="))
	if err != nil {
		t.Fatal(err)
	}
	var kept map[string]string
	if err := json.Unmarshal(text, &kept); err != nil {
		t.Fatal(err)
	}
	changed := func(name, value string) string {
		c := maps.Clone(kept)
		c[name] = value
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for what, forged := range map[string]string{
		"no seal": `{"s":"mine","n":"n","v":"v"}`, "another state": changed("s", "mine"), "another verifier": changed("v", "mine"), "a later end": changed("u", "9999999999"),
	} {
		state := kept["s"]
		if strings.Contains(forged, "mine") && !strings.Contains(forged, state) {
			state = "mine"
		}
		a := w.visit("GET", "/login/oidc/callback?code=x&state="+state, nil, cookie(forged), from("192.0.2.1"))
		if a.status != 401 || !strings.Contains(string(a.body), "Troy did not begin the sign-in") {
			t.Errorf("with %s in the cookie: %d %s", what, a.status, a.body)
		}
	}
	if i.tokens != 0 {
		t.Errorf("forged sign-ins reached the issuer %d times", i.tokens)
	}
	refused := 0
	for range 30 {
		a := w.visit("GET", "/login/oidc/callback?code=x&state="+kept["s"], nil, begun, from("192.0.2.2"))
		if a.status == 429 && a.header.Get("Retry-After") != "" {
			refused++
		} else if a.status != 401 {
			t.Fatalf("a wrong code answers %d %s", a.status, a.body)
		}
	}
	if refused < 10 || i.tokens+refused != 30 {
		t.Errorf("of 30 wrong codes %d were refused for their number and %d reached the issuer", refused, i.tokens)
	}
	// The address can still sign in with a token, and others with the issuer.
	w.session(w.admin, from("192.0.2.2"))
	back, begun := w.beginAt(i, "/")
	if a := w.visit("GET", back, nil, begun, from("192.0.2.3")); a.status != 303 {
		t.Errorf("from another address signing in answers %d %s", a.status, a.body)
	}
}

func TestWithoutTheIssuerATokenSignsIn(t *testing.T) {
	t.Parallel()
	w, i := oidcWorld(t, "platform=admin")
	i.change(func() { i.down = true })
	host := strings.TrimPrefix(i.server.URL, "http://")
	a := w.visit("GET", "/login", nil, "")
	if a.status != 200 || !strings.Contains(string(a.body), host+" does not answer at the moment") || strings.Contains(string(a.body), "/login/oidc") {
		t.Errorf("the page answers %d %s", a.status, a.body)
	}
	a = w.visit("GET", "/login/oidc?next=/system", nil, "")
	if a.status != 503 || !strings.Contains(string(a.body), "does not answer; sign in with a token") || !strings.Contains(string(a.body), `name="next" value="/system"`) || strings.Contains(string(a.body), "502") {
		t.Errorf("beginning answers %d %s", a.status, a.body)
	}
	w.session(w.admin)
	// An issuer that went away during the sign-in.
	w, i = oidcWorld(t, "platform=admin")
	back, cookie := w.beginAt(i, "/")
	i.change(func() { i.down = true })
	if a := w.visit("GET", back, nil, cookie); a.status != 401 && a.status != 503 || strings.Contains(jar(a), "__Host-troy=") {
		t.Errorf("without the issuer's answer: %d %s", a.status, a.body)
	}
	i.change(func() { i.down = false })
	for range 5 {
		w.beginAt(i, "/")
	}
	if i.asked != 1 {
		t.Errorf("the issuer was asked %d times who it is, want 1", i.asked)
	}
	plain := newWorld(t)
	for _, path := range []string{"/login/oidc", "/login/oidc/callback?code=x&state=y"} {
		if a := plain.visit("GET", path, nil, ""); a.status != 404 {
			t.Errorf("without an issuer %s answers %d", path, a.status)
		}
	}
}
