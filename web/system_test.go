package web_test

import (
	"context"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/health"
)

// systemWorld describes itself, by one check that fails and one that does not.
func systemWorld(t *testing.T) (w *world, looks *atomic.Int64) {
	t.Helper()
	looks = &atomic.Int64{}
	return newWorld(t, func(w *world) {
		w.deps.System = &health.Overseer{
			DB: w.deps.DB, Retention: health.Retention{Deployments: 12, CarryAssetsSeconds: 7 * 86400, UploadsValidSeconds: 5400, DeliveriesDays: 30},
			Examine: []func(context.Context, health.Tell){
				func(_ context.Context, tell health.Tell) { looks.Add(1); tell.Well("Postgres", "answers") },
				func(_ context.Context, tell health.Tell) {
					tell.Wrong("Redis", "connection refused <b>", "start it, or set TROY_REDIS_URL")
				},
			},
		}
	}), looks
}

func TestSystem(t *testing.T) {
	t.Parallel()
	w, looks := systemWorld(t)
	p := w.bind("blog", "github", "team/blog", "")
	id := w.built(p)
	w.exec("INSERT INTO work (kind, subject_id, epoch, lease_until) VALUES ('deployment:build', $1, 1, now() + interval '1 hour') ON CONFLICT (subject_id, kind) DO UPDATE SET ring_id = NULL, lease_until = excluded.lease_until", id)
	running, err := json.Marshal([]map[string]any{{"kind": "deployment:build", "subject_id": id}, {"kind": "pipeline:deploy", "subject_id": uuid.New()}})
	if err != nil {
		t.Fatal(err)
	}
	w.exec("INSERT INTO workers (id, host, pid, version, slots, build_slots, running) VALUES (gen_random_uuid(), 'box', 7, 'v9', 10, 2, $1)", running)
	w.exec("INSERT INTO workers (id, host, pid, version, slots, build_slots, seen_at, running) VALUES (gen_random_uuid(), 'gone', 8, 'v8', 10, 2, now() - interval '1 hour', $1), (gen_random_uuid(), 'long-gone', 9, 'v8', 10, 2, now() - interval '2 days', '[]')", running)
	w.exec("INSERT INTO bell DEFAULT VALUES ON CONFLICT (one) DO UPDATE SET swept_at = now()")
	w.exec("INSERT INTO installations (provider, id, account, state) VALUES ('github', '42', 'team', 'active'), ('github', '43', 'left', 'deleted')")
	var s health.System
	w.send("GET", "/v1/system", nil).into(t, 200, &s)
	if s.Schema < 22 || s.Go == "" || s.Version == "" || s.Redis || s.SignIn != nil || s.Retention.Deployments != 12 {
		t.Errorf("the installation is %+v", s)
	}
	if len(s.Workers) != 2 || s.Workers[0].Host != "box" || s.Workers[0].Silent || len(s.Workers[0].Running) != 1 || s.Workers[0].Running[0].Pipeline != "blog" || s.Workers[0].Running[0].Number != 1 ||
		!s.Workers[1].Silent || len(s.Workers[1].Running) != 0 {
		t.Errorf("the workers are %+v", s.Workers)
	}
	if len(s.Forges) != 1 || s.Forges[0].Account != "team" {
		t.Errorf("the forges are %+v", s.Forges)
	}
	var parts []string
	for _, f := range s.Findings {
		parts = append(parts, f.Part)
	}
	if got := strings.Join(parts, " "); got != "Postgres Redis workers" {
		t.Errorf("the findings are about %s", got)
	}
	a := w.visit("GET", "/system", nil, w.session(w.admin))
	for _, want := range []string{"Redis does not answer", "connection refused &lt;b&gt;", "→ start it, or set TROY_REDIS_URL", "1 to fix", `href="/pipelines/blog/deployments/1"`, "killed, or it can't reach Postgres", "12 of a pipeline", "reachable for 7 days", "open for 90 minutes", "installation 42"} {
		if !strings.Contains(string(a.body), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(string(a.body), "long-gone") {
		t.Error("the page has a worker that was killed days ago")
	}
	if n := looks.Load(); n != 1 {
		t.Errorf("for two requests the checks ran %d times, want 1", n)
	}
	// Others are told what they lack.
	w.send("GET", "/v1/system", nil, as(w.token(credentials.Deployer))).refused(t, 403, "forbidden", "", "admin is needed")
	w.send("GET", "/v1/system", nil, as(w.token(credentials.Admin, p.ID))).refused(t, 403, "forbidden", "", "unlimited admin")
	a = w.visit("GET", "/system", nil, w.session(w.token(credentials.Viewer)))
	if a.status != 200 || strings.Contains(string(a.body), "refused") || !strings.Contains(string(a.body), "You are signed in as a viewer.") {
		t.Errorf("a viewer's page answers %d %s", a.status, a.body)
	}
}

func TestWithoutAWorkerTheSystemSaysSo(t *testing.T) {
	t.Parallel()
	w, _ := systemWorld(t)
	if a := w.visit("GET", "/system", nil, w.session(w.admin)); !strings.Contains(string(a.body), "start `troyd work`") || !strings.Contains(string(a.body), "No worker runs.") {
		t.Errorf("the page is\n%s", a.body)
	}
}

// The sums that triggers maintain are those of the deployments.
func TestStorageIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec("INSERT INTO pipelines (id, name, slug) SELECT gen_random_uuid(), 'Site ' || i, 'site-' || i FROM generate_series(1, 60) i")
	w.exec(`INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, files, bytes, sealed_at, finished_at, created_at)
		SELECT d.id, p.id, n, 'release', 'succeeded', CASE WHEN n = 4 THEN gen_random_uuid() ELSE d.id END, 'test', n, 1000 * n * (1 + length(p.slug)), CASE WHEN n <> 3 THEN now() END, now(), now()
		FROM pipelines p CROSS JOIN generate_series(1, 5) n CROSS JOIN LATERAL (SELECT gen_random_uuid() AS id WHERE p.id IS NOT NULL AND n > 0) d`)
	check := func(what string) {
		t.Helper()
		if n := w.count(`SELECT count(*) FROM (
			SELECT pipeline_id, count(*) AS deployments, sum(files)::bigint AS files, sum(bytes)::bigint AS bytes FROM deployments
			WHERE sealed_at IS NOT NULL AND pruned_at IS NULL AND tree_id = id GROUP BY pipeline_id
		) d FULL JOIN (SELECT * FROM storage WHERE deployments > 0) s USING (pipeline_id) WHERE (d.deployments, d.files, d.bytes) IS DISTINCT FROM (s.deployments, s.files, s.bytes)`); n != 0 {
			t.Errorf("after %s the storage of %d pipelines is wrong", what, n)
		}
		if n := w.count("SELECT count(*) FROM storage"); n == 0 {
			t.Error("nothing is counted")
		}
	}
	check("insertion")
	w.exec("UPDATE deployments SET sealed_at = now() WHERE number = 3")
	check("sealing")
	w.exec("UPDATE deployments SET bytes = bytes + 7 WHERE number = 1")
	check("a change of the size")
	w.exec("UPDATE deployments SET pruned_at = now() WHERE number = 5")
	check("retention")
	w.exec("UPDATE deployments SET sealed_at = now() WHERE number = 2")
	check("nothing")
	w.exec("DELETE FROM pipelines WHERE slug = 'site-1'")
	check("deletion")

	type row struct {
		PipelineID  uuid.UUID `json:"pipeline_id"`
		Pipeline    string    `json:"pipeline"`
		Name        string    `json:"name"`
		Deployments int64     `json:"deployments"`
		Files       int64     `json:"files"`
		Bytes       int64     `json:"bytes"`
		UsedFiles   int64     `json:"used_files"`
		UsedBytes   int64     `json:"used_bytes"`
	}
	w.exec("UPDATE storage SET used_bytes = bytes % 1000") // another order than that of bytes
	seen, last, after := map[string]bool{}, int64(1<<62), ""
	for {
		var page struct {
			Storage []row  `json:"storage"`
			Next    string `json:"next"`
		}
		w.send("GET", "/v1/storage?limit=7&after="+after, nil).into(t, 200, &page)
		for _, r := range page.Storage {
			if r.UsedBytes > last || seen[r.Pipeline] {
				t.Errorf("%s with %d bytes comes after %d", r.Pipeline, r.UsedBytes, last)
			}
			seen[r.Pipeline], last = true, r.UsedBytes
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if len(seen) != 59 {
		t.Errorf("%d pipelines are listed, want 59", len(seen))
	}
	for _, bad := range []string{"x", "1.x", "1.5." + uuid.NewString()} {
		w.send("GET", "/v1/storage?after="+bad, nil).refused(t, 400, "invalid", "after", "")
	}
	cookie := w.session(w.admin)
	pages, path := 0, "/system/storage"
	seen = map[string]bool{}
	for ; path != "" && pages < 5; pages++ {
		a := w.visit("GET", path, nil, cookie)
		for _, m := range regexp.MustCompile(`class="title" href="/pipelines/([^"]+)"`).FindAllSubmatch(a.body, -1) {
			seen[string(m[1])] = true
		}
		path = ""
		if m := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindSubmatch(a.body); m != nil {
			path = string(m[1])
		}
	}
	if pages != 2 || len(seen) != 59 {
		t.Errorf("%d pages list %d pipelines, want 2 and 59", pages, len(seen))
	}
	var id uuid.UUID
	if err := w.db.QueryRow(t.Context(), "SELECT id FROM pipelines WHERE slug = 'site-2'").Scan(&id); err != nil {
		t.Fatal(err)
	}
	limited := w.visit("GET", "/system/storage", nil, w.session(w.token(credentials.Viewer, id)))
	if n := strings.Count(string(limited.body), `class="title"`); n != 1 {
		t.Errorf("to a token of one pipeline %d are listed", n)
	}
	if a := w.visit("GET", "/system/storage?after=1.2", nil, cookie); a.status != 400 {
		t.Errorf("an invalid page answers %d", a.status)
	}
}

func TestUsersAndSessionsInTheAPI(t *testing.T) {
	t.Parallel()
	w, i := oidcWorld(t, "platform=deployer:blog")
	w.create("Blog")
	if a := w.signInAt(i, "/"); a.status != 303 {
		t.Fatalf("signing in: %d %s", a.status, a.body)
	}
	i.change(func() { i.claims = map[string]any{"sub": "bob", "email": "bob@example.com", "name": "Bob <b>"} })
	bob := jar(w.signInAt(i, "/"))
	type user struct {
		ID         uuid.UUID `json:"id"`
		Name       string    `json:"name"`
		FullName   string    `json:"full_name"`
		Email      string    `json:"email"`
		Role       string    `json:"role"`
		Pipelines  []string  `json:"pipelines"`
		Groups     []string  `json:"groups"`
		SignedInAt string    `json:"signed_in_at"`
		Expired    bool      `json:"expired"`
	}
	var names []string
	for after, pages := "", 0; pages < 2; pages++ {
		var list struct {
			Users []user `json:"users"`
			Next  string `json:"next"`
		}
		w.send("GET", "/v1/users?limit=1&after="+after, nil).into(t, 200, &list)
		for _, u := range list.Users {
			names = append(names, u.Name)
			if u.Role != "deployer" || strings.Join(u.Pipelines, " ") != "blog" || strings.Join(u.Groups, " ") != "platform" || u.Expired {
				t.Errorf("%+v", u)
			}
		}
		after = list.Next
	}
	if strings.Join(names, " ") != "bob@example.com ada@example.com" {
		t.Errorf("the users are %v", names)
	}
	w.send("GET", "/v1/users", nil, as(w.token(credentials.Deployer))).refused(t, 403, "forbidden", "", "admin is needed")

	var list struct {
		Sessions []struct {
			ID        string    `json:"id"`
			Kind      string    `json:"kind"`
			HolderID  uuid.UUID `json:"holder_id"`
			Name      string    `json:"name"`
			Role      string    `json:"role"`
			CreatedAt string    `json:"created_at"`
			SeenAt    string    `json:"seen_at"`
			ExpiresAt string    `json:"expires_at"`
			Browser   string    `json:"browser"`
		} `json:"sessions"`
	}
	w.send("GET", "/v1/sessions", nil).into(t, 200, &list)
	if len(list.Sessions) != 2 || list.Sessions[0].Name != "bob@example.com" || list.Sessions[0].Kind != "user" {
		t.Fatalf("the sessions are %+v", list.Sessions)
	}
	id := list.Sessions[0].ID
	w.send("DELETE", "/v1/sessions/"+id, nil, as(w.token(credentials.Viewer))).refused(t, 404, "not_found", "", "")
	w.send("DELETE", "/v1/sessions/"+id, nil).into(t, 204, nil)
	w.send("DELETE", "/v1/sessions/"+id, nil).refused(t, 404, "not_found", "", "ended already")
	if a := w.visit("GET", "/", nil, bob); a.status != 303 {
		t.Errorf("after the revocation a page answers %d", a.status)
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'session.revoke' AND actor = 'token test-admin' AND subject = 'user bob@example.com'"); n != 1 {
		t.Errorf("the revocation is recorded %d times", n)
	}
	a := w.visit("GET", "/system/access", nil, w.session(w.admin))
	for _, want := range []string{"Bob &lt;b&gt;", "ada@example.com", "platform is deployer of blog"} {
		if !strings.Contains(string(a.body), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	// The routes of tokens do not know users.
	holder := list.Sessions[1].HolderID
	w.send("DELETE", "/v1/tokens/"+holder.String(), nil).refused(t, 404, "not_found", "", "")
}

func TestTokensOnThePage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	blog := w.create("Blog")
	cookie := w.session(w.admin)
	form := url.Values{"name": {"ci <b>"}, "role": {"deployer"}, "pipelines": {"blog, blog"}, "expires": {"30d"}, "key": {"k1"}}
	a := w.visit("POST", "/system/tokens", form, cookie)
	m := regexp.MustCompile(`<code id="made">(troy_[\w-]{43})</code>`).FindSubmatch(a.body)
	if a.status != 200 || m == nil || strings.Contains(string(a.body), "ci <b>") {
		t.Fatalf("making a token answers %d %s", a.status, a.body)
	}
	w.send("GET", "/v1/pipelines/blog", nil, as(string(m[1]))).into(t, 200, nil)
	if a := w.visit("GET", "/system/access", nil, cookie); strings.Contains(string(a.body), string(m[1])) || !strings.Contains(string(a.body), "ci &lt;b&gt;") {
		t.Error("the page shows the token again")
	}
	if a := w.visit("POST", "/system/tokens", form, cookie); a.status != 409 || !strings.Contains(string(a.body), "The form was sent before") {
		t.Errorf("the same form again answers %d %s", a.status, a.body)
	}
	for field, value := range map[string]string{"name": "", "role": "root", "pipelines": "none", "expires": "soon"} {
		bad := url.Values{"name": {"x"}, "role": {"viewer"}}
		bad.Set(field, value)
		if a := w.visit("POST", "/system/tokens", bad, cookie); a.status != 400 || !strings.Contains(string(a.body), `href="/system/access"`) {
			t.Errorf("%s %q answers %d %s", field, value, a.status, a.body)
		}
	}
	made := w.tokens()
	if len(made) != 2 || made["ci <b>"].CreatedBy != "token test-admin" || len(made["ci <b>"].Pipelines) == 0 || made["ci <b>"].Pipelines[0] != blog.ID {
		t.Errorf("the tokens are %+v", made)
	}
	revoke := "/system/tokens/" + made["ci <b>"].ID.String() + "/revoke"
	if a := w.visit("POST", revoke, url.Values{"confirm": {"ci"}}, cookie); a.status != 400 || len(w.tokens()) != 2 {
		t.Errorf("without its name a token is revoked: %d", a.status)
	}
	for _, role := range []credentials.Role{credentials.Viewer, credentials.Deployer} {
		other := w.session(w.token(role))
		for _, path := range []string{revoke, "/system/tokens"} {
			if a := w.visit("POST", path, url.Values{"confirm": {"ci <b>"}}, other); a.status != 403 || !strings.Contains(string(a.body), "This needs the role admin") {
				t.Errorf("to a %s %s answers %d %s", role, path, a.status, a.body)
			}
		}
	}
	limited := w.session(w.token(credentials.Admin, blog.ID))
	if a := w.visit("POST", "/system/tokens", url.Values{"name": {"x"}, "role": {"admin"}}, limited); a.status != 403 || !strings.Contains(string(a.body), "limited to named pipelines") {
		t.Errorf("to a limited admin making a token answers %d %s", a.status, a.body)
	}
	if a := w.visit("POST", revoke, url.Values{"confirm": {"ci <b>"}}, cookie); a.status != 303 {
		t.Errorf("revoking answers %d %s", a.status, a.body)
	}
	w.send("GET", "/v1/pipelines/blog", nil, as(string(m[1]))).refused(t, 401, "unauthenticated", "", "")
	if a := w.visit("POST", revoke, url.Values{"confirm": {"ci <b>"}}, cookie); a.status != 404 {
		t.Errorf("revoking again answers %d", a.status)
	}
}
