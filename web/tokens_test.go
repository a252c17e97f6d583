package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/credentials"
)

type apiToken struct {
	ID         uuid.UUID   `json:"id"`
	Name       string      `json:"name"`
	Role       string      `json:"role"`
	Pipelines  []uuid.UUID `json:"pipelines"`
	Slugs      []string    `json:"slugs"`
	CreatedBy  string      `json:"created_by"`
	CreatedAt  time.Time   `json:"created_at"`
	LastUsedAt *time.Time  `json:"last_used_at"`
	ExpiresAt  *time.Time  `json:"expires_at"`
	Expired    bool        `json:"expired"`
	Token      string      `json:"token"`
}

func TestTokensArePaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Several are of the same moment.
	w.exec("INSERT INTO tokens (id, name, role, hash, created_at) SELECT gen_random_uuid(), 'n' || i, 'viewer', sha256(i::text::bytea), '2026-01-01'::timestamptz + (i / 3) * interval '1 second' FROM generate_series(1, 20) i")
	seen, after, pages := map[uuid.UUID]bool{}, "", 0
	var last time.Time
	for {
		var list struct {
			Tokens []apiToken `json:"tokens"`
			Next   string     `json:"next"`
		}
		w.send("GET", "/v1/tokens?limit=4&after="+after, nil).into(t, 200, &list)
		for _, k := range list.Tokens {
			if !last.IsZero() && k.CreatedAt.After(last) {
				t.Error("an older token comes before a newer one")
			}
			seen[k.ID], last = true, k.CreatedAt
		}
		if pages++; list.Next == "" {
			break
		}
		after = list.Next
	}
	if len(seen) != 21 || pages != 6 {
		t.Errorf("%d pages have %d tokens, want 6 and 21", pages, len(seen))
	}
	w.send("GET", "/v1/tokens?after=x", nil).refused(t, 400, "invalid", "after", "")
}

func (w *world) tokens() map[string]apiToken {
	w.t.Helper()
	var list struct {
		Tokens []apiToken `json:"tokens"`
	}
	w.send("GET", "/v1/tokens", nil).into(w.t, 200, &list)
	byName := map[string]apiToken{}
	for _, t := range list.Tokens {
		byName[t.Name] = t
	}
	return byName
}

func TestTokensAreMadeListedAndRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	blog := w.create("Blog")
	var ci, forever apiToken
	w.send("POST", "/v1/tokens", `{"name":"ci","role":"deployer","pipelines":["blog"]}`).into(t, 201, &ci)
	w.send("POST", "/v1/tokens", `{"name":"forever","role":"viewer","expires":"never"}`).into(t, 201, &forever)
	if ci.ExpiresAt == nil || time.Until(*ci.ExpiresAt) < credentials.TokenValidity-time.Hour || time.Until(*ci.ExpiresAt) > credentials.TokenValidity ||
		ci.CreatedBy != "token test-admin" || len(ci.Pipelines) != 1 || ci.Pipelines[0] != blog.ID || ci.LastUsedAt != nil {
		t.Errorf("made %+v", ci)
	}
	if forever.ExpiresAt != nil || forever.Pipelines != nil {
		t.Errorf("made %+v", forever)
	}

	// Its use is recorded, but not with each request.
	w.send("GET", "/v1/pipelines/blog", nil, as(ci.Token)).into(t, 200, nil)
	version := "SELECT xmin::text::bigint FROM tokens WHERE id = $1"
	first := w.count(version, ci.ID)
	for range 3 {
		w.send("GET", "/v1/pipelines/blog", nil, as(ci.Token)).into(t, 200, nil)
	}
	if again := w.count(version, ci.ID); again != first {
		t.Error("each request writes the token's row")
	}
	w.exec("UPDATE tokens SET last_used_at = now() - interval '2 hours' WHERE id = $1", ci.ID)
	w.send("GET", "/v1/pipelines/blog", nil, as(ci.Token)).into(t, 200, nil)
	listed := w.tokens()["ci"]
	if listed.LastUsedAt == nil || time.Since(*listed.LastUsedAt) > time.Hour {
		t.Errorf("last used at %v", listed.LastUsedAt)
	}
	if listed.Token != "" || strings.Contains(w.log.String(), ci.Token) {
		t.Error("the token is shown again")
	}

	// A revoked token is refused at once.
	w.send("DELETE", "/v1/tokens/"+ci.ID.String(), nil).into(t, 204, nil)
	w.send("GET", "/v1/pipelines/blog", nil, as(ci.Token)).refused(t, 401, "unauthenticated", "", "revoked")
	w.send("DELETE", "/v1/tokens/"+ci.ID.String(), nil).refused(t, 404, "not_found", "", "token not found")
	w.send("DELETE", "/v1/tokens/x", nil).refused(t, 404, "not_found", "", "token not found")
	if _, there := w.tokens()["ci"]; there {
		t.Error("a revoked token is listed")
	}
	for _, said := range []string{"made a token", "revoked a token"} {
		if !strings.Contains(w.log.String(), said) {
			t.Errorf("the log has no line %q", said)
		}
	}
	w.exec("UPDATE tokens SET expires_at = now() - interval '1 second' WHERE id = $1", forever.ID)
	w.send("GET", "/v1/pipelines", nil, as(forever.Token)).refused(t, 401, "unauthenticated", "", "expired")
	if !w.tokens()["forever"].Expired {
		t.Error("the answer does not say that the token has expired")
	}

	// Callers without permission.
	for name, token := range map[string]string{
		"a deployer": w.token(credentials.Deployer), "an admin of one pipeline": w.token(credentials.Admin, blog.ID),
	} {
		for _, r := range [][2]string{{"GET", "/v1/tokens"}, {"POST", "/v1/tokens"}, {"DELETE", "/v1/tokens/" + forever.ID.String()}} {
			a := w.send(r[0], r[1], map[string]string{"POST": `{"name":"x","role":"admin"}`}[r[0]], as(token))
			if a.status != 403 {
				t.Errorf("%s: %s %s: %d %s", name, r[0], r[1], a.status, a.body)
			}
		}
	}
	for _, c := range []struct{ body, field string }{
		{`{"role":"viewer"}`, "name"}, {`{"name":"x","role":"king"}`, "role"}, {`{"name":"x","role":"viewer","pipelines":["none"]}`, "pipelines"},
		{`{"name":"x","role":"viewer","expires":"soon"}`, "expires"}, {`{"name":"x","role":"viewer","expires":"2020-01-01"}`, "expires"},
		{`{"name":"x\ny","role":"viewer"}`, "name"},
	} {
		w.send("POST", "/v1/tokens", c.body).refused(t, 400, "invalid", c.field, "")
	}
	// With a key it is made once, and not shown twice.
	w.send("POST", "/v1/tokens", `{"name":"once","role":"viewer"}`, key("t")).into(t, 201, nil)
	w.send("POST", "/v1/tokens", `{"name":"once","role":"viewer"}`, key("t")).refused(t, 409, "conflict", "Idempotency-Key", "can't be shown again")
	if n := w.count("SELECT count(*) FROM tokens WHERE name = 'once'"); n != 1 {
		t.Errorf("%d tokens", n)
	}
	// An empty list of pipelines is a limit too.
	var none apiToken
	w.send("POST", "/v1/tokens", `{"name":"none","role":"viewer","pipelines":[]}`).into(t, 201, &none)
	w.send("GET", "/v1/pipelines/blog", nil, as(none.Token)).refused(t, 404, "not_found", "", "")
}

// TestRevokeATokenInABrowser revokes a token on its page, which ends the streams
// of the token's browsers.
func TestRevokeATokenInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create("Blog")
	var ci apiToken
	w.send("POST", "/v1/tokens", `{"name":"ci","role":"viewer"}`).into(t, 201, &ci)
	next, stop := w.stream("/pipelines/blog/live", w.session(ci.Token), "")
	defer stop()
	if name, _ := next(); name != "live" {
		t.Fatalf("the stream begins with %q", name)
	}
	b := browse(t)
	b.signIn(w, w.admin, "/system/access")
	row := `li.token:has(form[action*="` + ci.ID.String() + `"]) `
	b.do(chromedp.Click(row+"summary"), chromedp.SendKeys(row+"input[name=confirm]", "ci"), chromedp.Submit(row+"input[name=confirm]"))
	if name, _ := next(); name != "reload" {
		t.Errorf("after the token was revoked its stream sends %q, want reload", name)
	}
	if name, _ := next(); name != "" {
		t.Errorf("then the stream sends %q, want its end", name)
	}
	w.send("GET", "/v1/pipelines/blog", nil, as(ci.Token)).refused(t, 401, "unauthenticated", "", "revoked")
	b.eventually("the page lists the token no longer", func() bool {
		return b.number("document.querySelectorAll('li.token').length") == 1
	})
	b.quiet()
}
