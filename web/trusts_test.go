package web_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/goccy/go-yaml"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/web"
)

var ciAddress atomic.Int64

// exchange sends a token from an address of its own, because failures from one
// address make it wait.
func (w *world) exchange(pipeline, token string, options ...option) answer {
	n := ciAddress.Add(1)
	options = append([]option{header("Authorization", ""), header("X-Forwarded-For", fmt.Sprintf("198.51.%d.%d", n/250, n%250+1))}, options...)
	return w.send("POST", "/v1/token", map[string]string{"pipeline": pipeline, "token": token}, options...)
}

type exchanged struct {
	Token        string    `json:"token"`
	ExpiresAt    time.Time `json:"expires_at"`
	Pipeline     string    `json:"pipeline"`
	PreviewsOnly bool      `json:"previews_only"`
}

func (w *world) exchangedFor(pipeline, token string) exchanged {
	w.t.Helper()
	var e exchanged
	w.exchange(pipeline, token).into(w.t, 201, &e)
	return e
}

func (w *world) trust(i *ciIssuer, more map[string]any) string {
	w.t.Helper()
	body := map[string]any{"provider": "github", "issuer": i.server.URL, "repository_id": "41", "owner_id": "7"}
	maps.Copy(body, more)
	var made struct{ ID string }
	a := w.send("POST", "/v1/pipelines/blog/trusts", body)
	if a.status != 201 {
		w.t.Fatalf("adding a trust rule answers %d %s", a.status, a.body)
	}
	decodeLoose(w.t, a.body, &made)
	return made.ID
}

func TestExchangeRefusesWrongTokens(t *testing.T) {
	t.Parallel()
	w, i, _ := ciWorld(t)
	other := newCIIssuer(t)
	w.create("Untrusting")
	w.trust(i, map[string]any{"ref": "main", "environment": "production", "workflow": "deploy.yml"})
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	type change = map[string]any
	replayed := i.token(nil)
	w.exchange("blog", replayed).into(t, 201, nil)
	for name, c := range map[string]struct {
		token, pipeline string
		status          int
		code, field     string
		says            string
	}{
		"another repository":         {token: i.token(change{"repository_id": "42"}), status: 403, says: `the token's repository_id is "42"; expected "41"`},
		"another owner":              {token: i.token(change{"repository_owner_id": "8"}), status: 403, says: `the token's repository_owner_id is "8"; expected "7"`},
		"no repository":              {token: i.token(change{"repository_id": nil}), status: 403, says: `the token's repository_id is missing; expected "41"`},
		"a list of repositories":     {token: i.token(change{"repository_id": []string{"41"}}), status: 403, says: "repository_id is missing"},
		"another ref":                {token: i.token(change{"ref": "refs/heads/topic"}), status: 403, says: `the token's ref is "refs/heads/topic"; expected "refs/heads/main"`},
		"a tag named like it":        {token: i.token(change{"ref": "refs/tags/main"}), status: 403, says: "the token's ref is"},
		"another environment":        {token: i.token(change{"environment": "staging"}), status: 403, says: `the token's environment is "staging"; expected "production"`},
		"no environment":             {token: i.token(change{"environment": nil}), status: 403, says: `the token's environment is missing; expected "production"`},
		"another workflow":           {token: i.token(change{"workflow_ref": "octo/blog/.github/workflows/test.yml@refs/heads/main"}), status: 403, says: `the token's workflow_ref is ".github/workflows/test.yml"; expected ".github/workflows/deploy.yml"`},
		"another's workflow":         {token: i.token(change{"workflow_ref": "evil/blog/.github/workflows/deploy.yml@refs/heads/main"}), status: 403, says: `the token's workflow_ref is "evil/blog`},
		"expired":                    {token: i.token(change{"exp": in(-2 * time.Minute)}), status: 401, says: "the token's exp is "},
		"no expiry":                  {token: i.token(change{"exp": nil}), status: 401, says: "the token's exp is missing"},
		"an expiry that is a text":   {token: i.token(change{"exp": "tomorrow"}), status: 401, says: "the token's exp is missing"},
		"valid for a year":           {token: i.token(change{"exp": in(365 * 24 * time.Hour)}), status: 401, says: "expected a time within 7 days"},
		"not yet valid":              {token: i.token(change{"nbf": in(5 * time.Minute)}), status: 401, says: "the token's nbf is "},
		"issued in the future":       {token: i.token(change{"iat": in(5 * time.Minute)}), status: 401, says: "the token's iat is "},
		"not issued":                 {token: i.token(change{"iat": nil}), status: 401, says: "the token's iat is not a time"},
		"replayed":                   {token: replayed, status: 401, says: "was exchanged before (its jti)"},
		"no jti":                     {token: i.token(change{"jti": nil}), status: 401, says: "the token's jti is missing"},
		"two audiences":              {token: i.token(change{"aud": []string{"https://troy.test", "https://evil.test"}}), status: 401, says: `the token's aud has 2 members; expected "https://troy.test" alone`},
		"another audience":           {token: i.token(change{"aud": "https://github.com/octo"}), status: 401, says: `the token's aud is "https://github.com/octo"; expected "https://troy.test"`},
		"no audience":                {token: i.token(change{"aud": nil}), status: 401, says: `the token's aud is ""`},
		"another issuer":             {token: other.token(nil), status: 403, says: "has no trust rule for this issuer"},
		"another's key":              {token: other.token(change{"iss": i.server.URL}), status: 401, says: "the token's signature is not one of"},
		"an unknown key":             {token: i.sign(jose.RS256, i.rsa, "x", i.claims(nil)), status: 401, says: `the token's kid is "x", which is not a key of`},
		"no key":                     {token: i.sign(jose.RS256, i.rsa, "", i.claims(nil)), status: 401, says: `the token's kid is ""`},
		"the id of another key":      {token: i.sign(jose.RS256, i.rsa, "e", i.claims(nil)), status: 401, says: "the token's signature is not one of"},
		"unsigned":                   {token: unsigned(i.claims(nil)), status: 401, field: "token", says: "expected a JWT that is signed with RS256 or ES256"},
		"HS256 with the public key":  {token: i.hs256(i.claims(nil)), status: 401, field: "token", says: "expected a JWT that is signed with RS256 or ES256"},
		"PS256":                      {token: i.sign(jose.PS256, i.rsa, "r", i.claims(nil)), status: 401, field: "token", says: "expected a JWT"},
		"claims that are a list":     {token: i.sign(jose.RS256, i.rsa, "r", []string{"x"}), status: 401, says: "the token's claims are not a JSON object"},
		"garbage":                    {token: "garbage", status: 401, field: "token", says: "expected a JWT"},
		"dots":                       {token: "..", status: 401, field: "token", says: "expected a JWT"},
		"nothing":                    {token: "", status: 400, code: "invalid", field: "token", says: "it is missing"},
		"64 KB":                      {token: i.token(change{"padding": strings.Repeat("x", 48<<10)}), status: 413, code: "too_large", says: ""},
		"20 KB":                      {token: i.token(change{"padding": strings.Repeat("x", 15<<10)}), status: 413, code: "too_large", field: "token", says: "expected at most 16384"},
		"a pipeline without a rule":  {token: i.token(nil), pipeline: "untrusting", status: 403, says: "the pipeline does not exist or has no trust rule for this issuer"},
		"a pipeline that is not one": {token: i.token(nil), pipeline: "nothing", status: 403, says: "the pipeline does not exist or has no trust rule for this issuer"},
	} {
		if c.pipeline == "" {
			c.pipeline = "blog"
		}
		if c.code == "" {
			c.code = map[int]string{401: "unauthenticated", 403: "forbidden"}[c.status]
		}
		a := w.exchange(c.pipeline, c.token)
		if a.status != c.status {
			t.Errorf("%s: %d %s", name, a.status, a.body)
			continue
		}
		a.refused(t, c.status, c.code, c.field, c.says)
		if len(a.body) > 4<<10 || len(c.token) > 100 && strings.Contains(string(a.body)+w.log.String(), c.token[len(c.token)-40:]) {
			t.Errorf("%s: the answer or the log quotes the token: %s", name, a.body)
		}
	}
	if n := w.count("SELECT count(*) FROM tokens WHERE trust_id IS NOT NULL"); n != 1 {
		t.Errorf("%d tokens were made, want 1", n)
	}
	// A renamed repository keeps its id.
	w.exchangedFor("blog", i.token(change{"repository": "new/name", "sub": "repo:new/name:x", "workflow_ref": "new/name/.github/workflows/deploy.yml@refs/heads/main"}))
	// So do a list of one audience, the other algorithm and a clock that is a bit
	// off.
	w.exchangedFor("blog", i.token(change{"aud": []string{"https://troy.test"}}))
	w.exchangedFor("blog", i.sign(jose.ES256, i.ecdsa, "e", i.claims(change{"nbf": in(30 * time.Second), "exp": in(-30 * time.Second)})))
	// A token is used once even if several requests have it at once.
	var all sync.WaitGroup
	var accepted atomic.Int64
	same := i.token(nil)
	for range 8 {
		all.Go(func() {
			if w.exchange("blog", same).status == 201 {
				accepted.Add(1)
			}
		})
	}
	all.Wait()
	if accepted.Load() != 1 {
		t.Errorf("one token was exchanged %d times", accepted.Load())
	}
}

func TestExchangedTokens(t *testing.T) {
	t.Parallel()
	w, i, ahead := ciWorld(t)
	docs := w.create("Docs")
	id := w.trust(i, nil)
	e := w.exchangedFor("blog", i.token(nil))
	if left := time.Until(e.ExpiresAt); e.Pipeline != "blog" || e.PreviewsOnly || left > 15*time.Minute || left < 14*time.Minute {
		t.Errorf("the answer is %+v", e)
	}
	blog := pipeline{}
	w.send("GET", "/v1/pipelines/blog", nil, as(e.Token)).into(t, 200, &blog)
	w.send("GET", "/v1/pipelines/"+docs.ID.String(), nil, as(e.Token)).refused(t, 404, "not_found", "", "")
	w.send("POST", "/v1/pipelines/blog/trusts", `{}`, as(e.Token)).refused(t, 403, "forbidden", "", "admin is needed")
	r := w.begin(blog, []option{as(e.Token)}, file("index.html", "one"))
	w.send("PUT", fmt.Sprintf("%s/%s/files/%s", releases(blog), r.ID, r.Missing[0].SHA256), "one", as(e.Token)).into(t, 204, nil)
	var d deployment
	w.send("POST", fmt.Sprintf("%s/%s/finalize", releases(blog), r.ID), nil, as(e.Token)).into(t, 202, &d)
	if d.Actor != "token GitHub Actions, octo/blog run 123" {
		t.Errorf("the deployment's actor is %q", d.Actor)
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'token.exchange' AND actor = 'token GitHub Actions, octo/blog run 123' AND slug = 'blog' AND remote LIKE '198.51.%'"); n != 1 {
		t.Errorf("the exchange is recorded %d times", n)
	}
	var list struct {
		Tokens []struct {
			Name         string `json:"name"`
			Role         string `json:"role"`
			CreatedBy    string `json:"created_by"`
			PreviewsOnly bool   `json:"previews_only"`
		} `json:"tokens"`
	}
	decodeLoose(t, w.send("GET", "/v1/tokens", nil).body, &list)
	if first := list.Tokens[0]; first.Name != "GitHub Actions, octo/blog run 123" || first.Role != "deployer" || first.CreatedBy != "GitHub Actions" || first.PreviewsOnly {
		t.Errorf("the list begins with %+v", first)
	}
	// It is for the API alone: a session would outlive it.
	if a := w.visit("POST", "/login", url.Values{"token": {e.Token}}, "", header("X-Forwarded-For", "203.0.113.9")); a.status != 403 || strings.Contains(jar(a), "troy=") {
		t.Errorf("signing in with it answers %d", a.status)
	}
	if a := w.send("GET", "/pipelines/blog", nil, as(e.Token)); a.status != 403 {
		t.Errorf("a page answers %d", a.status)
	}
	// It ends with its rule.
	w.send("DELETE", "/v1/pipelines/blog/trusts/"+id, nil).into(t, 204, nil)
	w.send("GET", "/v1/pipelines/blog", nil, as(e.Token)).refused(t, 401, "unauthenticated", "", "")
	w.exchange("blog", i.token(nil)).refused(t, 403, "forbidden", "", "no trust rule")
	// And with its time, after which it is forgotten; what was used is, too.
	w.trust(i, nil)
	used := i.token(nil)
	e = w.exchangedFor("blog", used)
	w.exec("UPDATE tokens SET expires_at = now() WHERE trust_id IS NOT NULL")
	w.send("GET", "/v1/pipelines/blog", nil, as(e.Token)).refused(t, 401, "unauthenticated", "", "")
	if n, err := w.q.TokensExpire(t.Context()); err != nil || n != 1 || w.count("SELECT count(*) FROM tokens WHERE trust_id IS NOT NULL") != 0 {
		t.Errorf("%d tokens were forgotten (%v)", n, err)
	}
	before := w.count("SELECT count(*) FROM sign_ins")
	w.exec("UPDATE sign_ins SET expires_at = now() - interval '1 second'")
	if err := w.q.SignInsExpire(t.Context()); err != nil || before == 0 || w.count("SELECT count(*) FROM sign_ins") != 0 {
		t.Errorf("what was used is not forgotten: %v", err)
	}
	// By then the issuer's token has expired.
	ahead.Store(int64(7 * time.Minute))
	w.exchange("blog", used).refused(t, 401, "unauthenticated", "", "the token's exp is")
	ahead.Store(0)
	// A deleted pipeline has neither rules nor tokens.
	e = w.exchangedFor("blog", i.token(nil))
	w.put(blog, "deleting")
	w.exchange("blog", i.token(nil)).refused(t, 409, "conflict", "", "")
	w.exec("DELETE FROM pipelines WHERE slug = 'blog'")
	w.exchange("blog", i.token(nil)).refused(t, 403, "forbidden", "", "does not exist or has no trust rule")
	w.send("GET", "/v1/pipelines", nil, as(e.Token)).refused(t, 401, "unauthenticated", "", "")
}

// A token of a pull request publishes previews and nothing else, whatever the
// route.
func TestPullRequestsGetPreviewsOnly(t *testing.T) {
	t.Parallel()
	w, i, _ := ciWorld(t)
	w.trust(i, nil)
	blog := pipeline{}
	w.send("GET", "/v1/pipelines/blog", nil).into(t, 200, &blog)
	w.put(blog, "ready_for_deployment")
	for _, event := range []any{"pull_request", "pull_request_target", "workflow_run", nil} {
		if e := w.exchangedFor("blog", i.token(map[string]any{"event_name": event})); !e.PreviewsOnly {
			t.Errorf("a job of the event %v may do more than publish previews", event)
		}
	}
	e := w.exchangedFor("blog", i.token(map[string]any{"event_name": "pull_request", "ref": "refs/pull/7/merge"}))
	r := w.begin(blog, []option{as(e.Token)}, file("index.html", "of a stranger"))
	w.send("PUT", fmt.Sprintf("%s/%s/files/%s", releases(blog), r.ID, r.Missing[0].SHA256), "of a stranger", as(e.Token)).into(t, 204, nil)
	finalize := fmt.Sprintf("%s/%s/finalize", releases(blog), r.ID)
	for _, body := range []any{nil, `{}`, `{"publish":false}`, `{"publish":true}`, `{"preview":""}`} {
		w.send("POST", finalize, body, as(e.Token)).refused(t, 403, "forbidden", "", "the token may only publish previews")
	}
	if n := w.count("SELECT count(*) FROM deployments"); n != 0 {
		t.Fatalf("%d deployments were made", n)
	}
	w.send("POST", finalize, `{"preview":"pr"}`, as(e.Token)).into(t, 202, nil)
	if n := w.count("SELECT count(*) FROM deployments WHERE preview_id IS NOT NULL"); n != 1 {
		t.Errorf("%d deployments of previews were made, want 1", n)
	}
	archive := zipText(t, "index.html", "of a stranger")
	w.send("PUT", archiveOf(blog), archive, as(e.Token), octets).refused(t, 403, "forbidden", "", "the token may only publish previews")
	w.send("PUT", archiveOf(blog)+"?preview=pr", archive, as(e.Token), octets).into(t, 202, nil)
	// All other changes are refused before their handlers see them.
	text, err := web.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	may := map[any]bool{"beginRelease": true, "signUploads": true, "uploadBatch": true, "findMissingFiles": true, "uploadFile": true, "finalizeRelease": true}
	tried := 0
	for path, methods := range document.Paths {
		for method, described := range methods {
			operation, ok := described.(map[string]any)
			role := operation["x-role"]
			if !ok || role != "deployer" && role != "admin" || may[operation["operationId"]] {
				continue
			}
			tried++
			target := strings.ReplaceAll(path, "{pipeline}", "blog")
			for strings.Contains(target, "{") {
				from, to := strings.Index(target, "{"), strings.Index(target, "}")
				target = target[:from] + uuid.NewString() + target[to+1:]
			}
			req, err := http.NewRequestWithContext(t.Context(), strings.ToUpper(method), w.server.URL+target, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+e.Token)
			resp, err := w.server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s %s answers %d", method, path, resp.StatusCode)
			}
		}
	}
	if tried < 30 {
		t.Errorf("%d changes were tried", tried)
	}
	// A rule can have the same limit, for jobs that other rules don't accept.
	w.trust(i, map[string]any{"ref": "refs/heads/never"})
	w.exec("DELETE FROM trusts WHERE ref = ''")
	w.trust(i, map[string]any{"previews_only": true})
	w.trust(i, map[string]any{"ref": "main"})
	if e := w.exchangedFor("blog", i.token(map[string]any{"ref": "refs/heads/topic"})); !e.PreviewsOnly {
		t.Error("a rule for previews only lets a job publish the site")
	}
	if e := w.exchangedFor("blog", i.token(nil)); e.PreviewsOnly {
		t.Error("the rule for the branch does not come first")
	}
}

// However many unknown keys are asked for, the issuer is asked once a minute.
func TestKeysOfIssuers(t *testing.T) {
	t.Parallel()
	w, i, ahead := ciWorld(t)
	w.trust(i, nil)
	i.down.Store(true)
	a := w.exchange("blog", i.token(nil))
	a.refused(t, 503, "unavailable", "", "does not answer, so the token can't be checked; try again in a minute")
	if a.header.Get("Retry-After") == "" {
		t.Error("the answer has no Retry-After")
	}
	i.down.Store(false)
	w.exchange("blog", i.token(nil)).refused(t, 503, "unavailable", "", "") // it was asked just now
	ahead.Store(int64(11 * time.Second))
	w.exchangedFor("blog", i.token(nil))
	asked := i.asked.Load()
	for n := range 40 {
		w.exchange("blog", i.sign(jose.RS256, i.rsa, fmt.Sprint("unknown-", n), i.claims(nil))).refused(t, 401, "unauthenticated", "", "the token's kid is")
	}
	if n := i.asked.Load(); n != asked {
		t.Errorf("unknown keys made Troy ask %d times within a minute", n-asked)
	}
	// A new key is known within a minute.
	i.mu.Lock()
	i.keys = append(i.keys, jose.JSONWebKey{Key: &i.rsa.PublicKey, KeyID: "new"})
	i.mu.Unlock()
	ahead.Store(int64(75 * time.Second))
	w.exchangedFor("blog", i.sign(jose.RS256, i.rsa, "new", i.claims(nil)))
	// One that the issuer has withdrawn is refused after some minutes.
	i.mu.Lock()
	i.keys = i.keys[1:]
	i.mu.Unlock()
	ahead.Store(int64(15 * time.Minute))
	late := func(kid string) string {
		return i.sign(jose.RS256, i.rsa, kid, i.claims(map[string]any{"exp": time.Now().Add(2 * time.Hour).Unix()}))
	}
	w.exchange("blog", late("r")).refused(t, 401, "unauthenticated", "", `the token's kid is "r"`)
	// Keys are used while the issuer is away, for an hour.
	i.down.Store(true)
	ahead.Store(int64(40 * time.Minute))
	w.exchangedFor("blog", late("new"))
	ahead.Store(int64(80 * time.Minute))
	w.exchange("blog", late("new")).refused(t, 503, "unavailable", "", "does not answer")
}

func TestExchangesAreLimitedByAddress(t *testing.T) {
	t.Parallel()
	w, i, _ := ciWorld(t)
	w.trust(i, nil)
	from := header("X-Forwarded-For", "203.0.113.7")
	for range 10 {
		w.exchange("blog", "garbage", from).refused(t, 401, "unauthenticated", "token", "")
	}
	a := w.exchange("blog", i.token(nil), from)
	a.refused(t, 429, "unavailable", "", "too many tokens from your address were refused")
	if a.header.Get("Retry-After") == "" {
		t.Error("the answer has no Retry-After")
	}
	w.exchangedFor("blog", i.token(nil))
}

func TestTrustsOfGitLabAndBitbucket(t *testing.T) {
	t.Parallel()
	i, bucket := newCIIssuer(t), newCIIssuer(t)
	w := newWorld(t, func(w *world) {
		w.deps.CIIssuers = map[string]string{i.server.URL: "gitlab", bucket.server.URL: "bitbucket"}
	})
	w.create("Blog")
	w.trust(i, map[string]any{"provider": "gitlab", "ref": "main", "environment": "production"})
	repository, workspace := "{"+uuid.NewString()+"}", "{"+uuid.NewString()+"}"
	w.trust(bucket, map[string]any{"provider": "bitbucket", "repository_id": strings.ToUpper(strings.Trim(repository, "{}")), "owner_id": workspace, "ref": "main"})
	gitlab := func(change map[string]any) string {
		claims := map[string]any{
			"project_id": "41", "namespace_id": "7", "project_path": "octo/blog", "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main", "pipeline_source": "push", "job_id": "9",
		}
		maps.Copy(claims, change)
		return i.token(claims)
	}
	if e := w.exchangedFor("blog", gitlab(nil)); e.PreviewsOnly {
		t.Error("a push may only publish previews")
	}
	if n := w.count("SELECT count(*) FROM tokens WHERE name = 'GitLab CI, octo/blog job 9'"); n != 1 {
		t.Error("the token's name does not say which job has it")
	}
	if e := w.exchangedFor("blog", gitlab(map[string]any{"pipeline_source": "merge_request_event"})); !e.PreviewsOnly {
		t.Error("a merge request may publish the site")
	}
	w.exchange("blog", gitlab(map[string]any{"namespace_id": "8"})).refused(t, 403, "forbidden", "", `the token's namespace_id is "8"; expected "7"`)
	w.exchange("blog", gitlab(map[string]any{"ref_path": "refs/tags/main"})).refused(t, 403, "forbidden", "", `the token's ref_path is "refs/tags/main"`)

	bitbucket := func(change map[string]any) string {
		claims := map[string]any{"jti": nil, "nbf": nil, "repositoryUuid": repository, "workspaceUuid": workspace, "branchName": "main", "stepUuid": "{" + uuid.NewString() + "}"}
		maps.Copy(claims, change)
		return bucket.token(claims)
	}
	token := bitbucket(nil)
	w.exchangedFor("blog", token)
	w.exchange("blog", token).refused(t, 401, "unauthenticated", "", "exchanged before") // though it has no jti
	w.exchange("blog", bitbucket(map[string]any{"branchName": "topic"})).refused(t, 403, "forbidden", "", `the token's branchName is "refs/heads/topic"; expected "refs/heads/main"`)
	w.exchange("blog", bitbucket(map[string]any{"repositoryUuid": workspace})).refused(t, 403, "forbidden", "", "the token's repositoryUuid is")
}

func TestTrusts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create("Blog")
	const at = "/v1/pipelines/blog/trusts"
	type trust struct {
		ID, Provider, Issuer, Ref, Environment, Workflow string
	}
	var list struct{ Trusts []trust }
	body := func(more string) string {
		return `{"provider":"github","repository_id":"41","owner_id":"7"` + more + `}`
	}
	a := w.send("POST", at, body(`,"ref":"main","workflow":"deploy.yml"`))
	var made trust
	decodeLoose(t, a.body, &made)
	if a.status != 201 || made.Issuer != "https://token.actions.githubusercontent.com" || made.Ref != "refs/heads/main" || made.Workflow != ".github/workflows/deploy.yml" {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.send("POST", at, body(`,"ref":"refs/heads/main","workflow":".github/workflows/deploy.yml"`)).refused(t, 409, "conflict", "", "has this trust rule already")
	for _, c := range []struct{ body, field, says string }{
		{`{"provider":"jenkins","repository_id":"41","owner_id":"7"}`, "provider", "expected github, gitlab or bitbucket"},
		{`{"provider":"github","repository_id":"octo/blog","owner_id":"7"}`, "repository_id", "expected a number, as in the claim repository_id"},
		{`{"provider":"gitlab","repository_id":"41","owner_id":"octo"}`, "owner_id", "as in the claim namespace_id"},
		{body(`,"issuer":"https://evil.test"`), "issuer", "an operator allows others with TROY_CI_ISSUERS"},
		{body(`,"issuer":"https://gitlab.com"`), "issuer", "is not an issuer of GitHub Actions"},
		{body(`,"ref":"release/*"`), "ref", "patterns are not supported"},
		{body(`,"ref":"` + strings.Repeat("x", 300) + `"`), "ref", ""},
		{body(`,"environment":"a\nb"`), "environment", ""},
		{body(`,"workflow":"deploy"`), "workflow", "expected a file like deploy.yml"},
		{`{"provider":"gitlab","repository_id":"41","owner_id":"7","workflow":"deploy.yml"}`, "workflow", "only rules for GitHub Actions"},
		{`{"provider":"bitbucket","repository_id":"{0190a0e0-0000-7000-8000-000000000001}","owner_id":"{0190a0e0-0000-7000-8000-000000000002}"}`, "issuer", "it is missing"},
		{`{"provider":"bitbucket","issuer":"https://api.bitbucket.org/2.0/workspaces/octo/pipelines-config/identity/oidc","repository_id":"41","owner_id":"7"}`, "", "a UUID in braces"},
		{`{"provider":"bitbucket","issuer":"https://api.bitbucket.org.evil.test/2.0/workspaces/octo/pipelines-config/identity/oidc","repository_id":"41","owner_id":"7"}`, "issuer", ""},
	} {
		a := w.send("POST", at, c.body)
		if a.status != 400 || !strings.Contains(string(a.body), c.says) || c.field != "" && !strings.Contains(string(a.body), `"field":"`+c.field+`"`) {
			t.Errorf("%s: %d %s", c.body, a.status, a.body)
		}
	}
	if a := w.send("POST", at, `{"provider":"bitbucket","issuer":"https://api.bitbucket.org/2.0/workspaces/octo/pipelines-config/identity/oidc","repository_id":"0190a0e0-0000-7000-8000-000000000001","owner_id":"{0190a0e0-0000-7000-8000-000000000002}"}`); a.status != 201 {
		t.Errorf("a rule for Bitbucket: %d %s", a.status, a.body)
	}
	for n := range 18 {
		if a := w.send("POST", at, body(fmt.Sprintf(`,"environment":"e%d"`, n))); a.status != 201 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	w.send("POST", at, body(`,"environment":"more"`)).refused(t, 409, "conflict", "", "has 20 trust rules")
	viewer := as(w.token(credentials.Viewer))
	w.send("POST", at, body(``), viewer).refused(t, 403, "forbidden", "", "")
	w.send("DELETE", at+"/"+made.ID, nil, as(w.token(credentials.Deployer))).refused(t, 403, "forbidden", "", "")
	decodeLoose(t, w.send("GET", at, nil, viewer).body, &list)
	if len(list.Trusts) != 20 || list.Trusts[0] != made {
		t.Errorf("the rules are %+v", list.Trusts)
	}
	page := string(w.visit("GET", "/pipelines/blog/settings", nil, w.session(w.admin)).body)
	if !strings.Contains(page, `<span class="sub">repository 41</span><span class="sub">owner 7</span>`) || !strings.Contains(page, `<span class="sub">refs/heads/main</span><span class="sub">.github/workflows/deploy.yml</span>`) {
		t.Error("the settings page does not list the rule")
	}
	w.send("DELETE", at+"/"+made.ID, nil).into(t, 204, nil)
	w.send("DELETE", at+"/"+made.ID, nil).refused(t, 404, "not_found", "", "has no trust rule")
	w.send("DELETE", at+"/x", nil).refused(t, 404, "not_found", "", "")
	for action, want := range map[string]int{"trust.add": 20, "trust.remove": 1} {
		if n := w.count("SELECT count(*) FROM audit WHERE action = $1 AND slug = 'blog' AND actor = 'token test-admin' AND detail LIKE '%repository %'", action); n != want {
			t.Errorf("%s is recorded %d times, want %d", action, n, want)
		}
	}
}
