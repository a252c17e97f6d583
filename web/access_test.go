package web_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/password"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/site"
)

type accessAnswer struct {
	Protected bool   `json:"protected"`
	Scope     string `json:"scope"`
	Previews  string `json:"previews"`
	InForce   bool   `json:"in_force"`
	Passwords []struct {
		Name      string    `json:"name"`
		ChangedAt time.Time `json:"changed_at"`
	} `json:"passwords"`
	Networks  []string   `json:"networks"`
	ChangedAt *time.Time `json:"changed_at"`
	Problem   string     `json:"problem"`
}

// sealed gives the world a key.
func sealed(t *testing.T) func(*world) {
	t.Helper()
	s, err := secret.New(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	return func(w *world) { w.deps.Secrets = s }
}

func TestAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sealed(t))
	p := w.create("Blog")
	w.exec("UPDATE pipelines SET distribution_id = 'd', status = 'deployed' WHERE id = $1", p.ID)
	const at, typed = "/v1/pipelines/blog/access", "correct horse battery"
	var a accessAnswer
	w.send("GET", at, nil).into(t, 200, &a)
	if a.Protected || !a.InForce || a.Scope != "site" || a.ChangedAt != nil {
		t.Errorf("before, it is %+v", a)
	}
	for range 2 {
		w.send("PUT", at+"/passwords/client", map[string]string{"password": typed}).into(t, 202, &a)
		if !a.Protected || a.InForce || len(a.Passwords) != 1 || a.Passwords[0].Name != "client" {
			t.Errorf("after the password it is %+v", a)
		}
	}
	// A network came first on this site.
	open := w.create("Open")
	w.send("POST", "/v1/pipelines/"+open.Slug+"/access/networks", `{"network":"10.0.0.0/8"}`).into(t, 202, nil)
	var salts []string
	for range 2 {
		w.send("PUT", "/v1/pipelines/"+open.Slug+"/access/passwords/client", map[string]string{"password": typed}).into(t, 202, nil)
		var salt string
		if err := w.db.QueryRow(t.Context(), "SELECT encode(salt, 'hex') FROM access WHERE pipeline_id = $1", open.ID).Scan(&salt); err != nil {
			t.Fatal(err)
		}
		salts = append(salts, salt)
	}
	if salts[0] == "" || salts[0] != salts[1] {
		t.Errorf("the salts are %q, expected one that stays", salts)
	}
	w.exec("DELETE FROM pipelines WHERE id = $1", open.ID)
	w.exec("DELETE FROM audit WHERE pipeline_id = $1", open.ID)

	// What is stored is sealed, and has the password's hash and a key.
	var stored []byte
	if err := w.db.QueryRow(t.Context(), "SELECT secret FROM access_passwords").Scan(&stored); err != nil {
		t.Fatal(err)
	}
	plain, err := w.deps.Secrets.Open(stored, secret.Access(p.ID, "client"))
	if err != nil {
		t.Fatal(err)
	}
	var s site.Password
	if err := json.Unmarshal(plain, &s); err != nil {
		t.Fatal(err)
	}
	hash, err := password.Parse(s.Hash)
	if err != nil || len(s.Key) < site.MinKey {
		t.Fatalf("the key has %d bytes, %v", len(s.Key), err)
	}
	if found, err := password.NewChecker(1, 1, time.Minute).Match(t.Context(), typed, []password.Hashed{hash}); found != 0 || err != nil {
		t.Errorf("the hash is of another password: %v", err)
	}
	// Passwords of one site share a salt, so that one hash checks all.
	w.send("PUT", at+"/passwords/team", map[string]string{"password": "another password"}).into(t, 202, &a)
	if n := w.count("SELECT count(DISTINCT salt) FROM access"); n != 1 {
		t.Errorf("%d salts", n)
	}

	for range 2 {
		w.send("POST", at+"/networks", map[string]string{"network": "203.0.113.0/24"}, header("Idempotency-Key", "once")).into(t, 202, &a)
	}
	w.send("POST", at+"/networks", map[string]string{"network": "2001:DB8::7"}).into(t, 202, &a)
	if fmt.Sprint(a.Networks) != "[203.0.113.0/24 2001:db8::7/128]" {
		t.Errorf("the networks are %v", a.Networks)
	}
	w.exec("UPDATE access SET applied = generation")
	w.send("GET", at, nil).into(t, 200, &a)
	if !a.InForce || a.Problem != "" {
		t.Errorf("once applied it is %+v", a)
	}
	w.send("DELETE", at+"/networks?network=2001:db8::7", nil).into(t, 202, &a)
	w.exec("UPDATE work SET cause = 'the disk is read-only' WHERE kind = 'access'")
	w.send("GET", at, nil).into(t, 200, &a)
	if a.InForce || a.Problem != "the disk is read-only" {
		t.Errorf("after a failure it is %+v", a)
	}
	viewer := w.token(credentials.Viewer)
	w.send("GET", at, nil, header("Authorization", "Bearer "+viewer)).into(t, 200, &a)
	page := w.visit("GET", "/pipelines/blog/settings", nil, w.session(viewer))
	if a.InForce || !strings.Contains(a.Problem, "An admin sees the reason") || page.status != 200 || strings.Contains(string(page.body), "read-only") || !strings.Contains(string(page.body), "An admin sees the reason") {
		t.Errorf("after a failure a viewer reads %+v and\n%s", a, page.body)
	}
	w.send("PUT", at+"/scope", `{"scope":"previews"}`).into(t, 202, &a)
	if a.Scope != "previews" || a.InForce {
		t.Errorf("with the scope it is %+v", a)
	}
	if page := w.visit("GET", "/pipelines/blog/settings", nil, w.session(w.admin)); !strings.Contains(string(page.body), "Everyone can see the site") || !strings.Contains(string(page.body), "Protect the site too") {
		t.Errorf("with the scope the page is\n%s", page.body)
	}
	w.send("DELETE", at+"/passwords/client", nil).into(t, 202, &a)
	w.send("DELETE", at, nil).into(t, 202, &a)
	if a.Protected || len(a.Passwords) != 0 || len(a.Networks) != 0 || a.Scope != "site" {
		t.Errorf("after off it is %+v", a)
	}

	// A site that is not served yet is never shown without its protection.
	other := w.create("Other")
	w.send("PUT", "/v1/pipelines/"+other.Slug+"/access/passwords/client", map[string]string{"password": typed}).into(t, 202, &a)
	if !a.InForce || !a.Protected {
		t.Errorf("before provisioning it is %+v", a)
	}

	if log := w.log.String(); strings.Contains(log, typed) || strings.Contains(log, "another password") || strings.Contains(log, "argon2id") {
		t.Errorf("the log contains a password or a hash: %s", log)
	}
	if n := w.count("SELECT count(*) FROM audit WHERE audit::text LIKE '%horse%' OR audit::text LIKE '%argon2%'"); n != 0 {
		t.Errorf("%d entries of the activity contain a password", n)
	}
	if n := w.count("SELECT count(*) FROM access_passwords WHERE position('argon2id'::bytea in secret) > 0"); n != 0 {
		t.Errorf("%d hashes are not sealed", n)
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action LIKE 'access.%' AND actor = 'token test-admin' AND slug IN ('blog', 'other')"); n != 10 {
		t.Errorf("%d audited changes, want 10", n)
	}
}

func TestAccessRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sealed(t))
	p := w.create("Blog")
	const at = "/v1/pipelines/blog/access"
	good := map[string]string{"password": "correct horse"}
	for _, c := range []struct {
		method, path string
		body         any
		status       int
		code, field  string
		says         string
	}{
		{"PUT", "/passwords/client", `{}`, 400, "invalid", "password", "missing"},
		{"PUT", "/passwords/client", `{"password":"short"}`, 400, "invalid", "password", "expected at least 8"},
		{"PUT", "/passwords/client", `{"password":"with\na line end"}`, 400, "invalid", "password", "control character"},
		{"PUT", "/passwords/client", map[string]string{"password": strings.Repeat("x", 257)}, 413, "too_large", "password", "at most 256"},
		{"PUT", "/passwords/client", map[string]string{"password": strings.Repeat("x", 1<<20)}, 413, "too_large", "", ""},
		{"PUT", "/passwords/client", `{"password":12345678}`, 400, "invalid", "password", ""},
		{"PUT", "/passwords/client", `{"password":"correct horse","hash":"x"}`, 400, "invalid", "hash", ""},
		{"PUT", "/passwords/Client", good, 400, "invalid", "name", "lower-case letters"},
		{"PUT", "/passwords/-x", good, 400, "invalid", "name", "lower-case letters"},
		{"PUT", "/passwords/" + strings.Repeat("x", 41), good, 400, "invalid", "name", "at most 40"},
		{"PUT", "/scope", `{"scope":"drafts"}`, 400, "invalid", "scope", "expected site or previews"},
		{"PUT", "/scope", `{"scope":"previews"}`, 409, "conflict", "", "add a password or a network first"},
		{"DELETE", "/passwords/client", nil, 404, "not_found", "", "no password"},
		{"DELETE", "/passwords/%00", nil, 404, "not_found", "", "no password"},
		{"POST", "/networks", `{"network":"203.0.113.1/24"}`, 400, "invalid", "network", "expected 203.0.113.0/24"},
		{"POST", "/networks", `{"network":"0.0.0.0/0"}`, 400, "invalid", "network", "every address"},
		{"POST", "/networks", `{}`, 400, "invalid", "network", "expected one such as"},
		{"DELETE", "/networks", nil, 400, "invalid", "network", "expected one such as"},
		{"DELETE", "/networks?network=10.0.0.0%2F8", nil, 404, "not_found", "network", "does not list"},
	} {
		w.send(c.method, at+c.path, c.body).refused(t, c.status, c.code, c.field, c.says)
	}
	if n := w.count("SELECT (SELECT count(*) FROM access) + (SELECT count(*) FROM work WHERE kind = 'access')"); n != 0 {
		t.Errorf("refused requests left %d rows", n)
	}
	w.send("PUT", at+"/passwords/client", good).into(t, 202, nil)
	w.send("DELETE", at+"/passwords/client", nil).refused(t, 409, "conflict", "", "everyone could see it")
	// Who may do it.
	viewer, deployer := w.token(credentials.Viewer), w.token(credentials.Deployer)
	w.send("GET", at, nil, as(viewer)).into(t, 200, nil)
	for _, r := range [][2]string{{"DELETE", ""}, {"PUT", "/passwords/client"}, {"DELETE", "/passwords/client"}, {"POST", "/networks"}, {"DELETE", "/networks"}} {
		w.send(r[0], at+r[1], good, as(deployer)).refused(t, 403, "forbidden", "", "admin is needed")
	}
	w.exec("UPDATE pipelines SET status = 'deleting' WHERE id = $1", p.ID)
	w.send("PUT", at+"/passwords/client", good).refused(t, 409, "conflict", "", "")
}

// TestAccessWhereSitesCantHavePasswords covers AWS without an https address of
// Troy, and a server without a key.
func TestAccessWhereSitesCantHavePasswords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sealed(t), func(w *world) {
		w.deps.Intake = intake.New(w.db, w.bell, intake.Config{SitesSuffix: "sites.test", NoPasswords: "TROY_URL is not https"})
	})
	w.create("Blog")
	const at = "/v1/pipelines/blog/access"
	good := map[string]string{"password": "correct horse"}
	w.send("PUT", at+"/passwords/client", good).refused(t, 409, "conflict", "", "TROY_URL is not https")
	w.send("POST", at+"/networks", `{"network":"10.0.0.0/8"}`).into(t, 202, nil)
	w.send("DELETE", at, nil).into(t, 202, nil)

	w = newWorld(t)
	w.create("Blog")
	w.send("PUT", at+"/passwords/client", good).refused(t, 503, "unavailable", "", "TROY_SECRET_KEY is not set")
	w.send("POST", at+"/networks", `{"network":"10.0.0.0/8"}`).into(t, 202, nil) // needs no key
}

// TestGeneratedPasswords checks that only CloudFront's functions get a digest,
// and only of passwords that can't be guessed.
func TestGeneratedPasswords(t *testing.T) {
	t.Parallel()
	const at, long = "/v1/pipelines/blog/access/passwords/ci", "abcde-fghjk-23456-mnpqr"
	for _, onAWS := range []bool{false, true} {
		w := newWorld(t, sealed(t), func(w *world) { w.deps.Functions = onAWS })
		p := w.create("Blog")
		w.send("PUT", at, `{"password":"correct horse","generated":true}`).refused(t, 400, "invalid", "password", "expected at least 20 of a generated one")
		w.send("PUT", at, `{"password":"`+long+`","generated":"yes"}`).refused(t, 400, "invalid", "generated", "")
		for _, generated := range []bool{true, false} {
			w.send("PUT", at, map[string]any{"password": long, "generated": generated}).into(t, 202, nil)
			got := w.protection(p).Passwords[0]
			want := []byte(nil)
			if onAWS && generated {
				want = got.GeneratedDigest(long)
			}
			if !bytes.Equal(got.Digest, want) {
				t.Errorf("on AWS: %v, generated: %v: the digest is %x, expected %x", onAWS, generated, got.Digest, want)
			}
		}
	}
}
