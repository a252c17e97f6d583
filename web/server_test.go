package web_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/health"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/metrics"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/web"
)

func TestHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, known := range map[string]bool{
		"troy.test": true, "TROY.test": true, "troy.test:443": true, "localhost:8080": true, "127.0.0.1:1": true, "[::1]:8080": true, "localhost": true,
		"troy.test:8080": false, "evil.test": false, "blog.localhost:8081": false, "troy.test.evil.test": false, "127.0.0.1.evil.test": false,
		"[localhost": false, "localhost]": false, "[localhost]": false, "[127.0.0.1]": false, "[::1": false, "[::1]": true, "::1": false,
	} {
		a := w.send("GET", "/v1/pipelines", nil, host(name))
		if known {
			a.into(t, 200, nil)
			continue
		}
		a.refused(t, 421, "invalid", "", "https://troy.test")
		w.send("GET", "/healthz", nil, host(name)).into(t, 200, nil)
		w.send("GET", "/readyz", nil, host(name)).into(t, 200, nil)
		if a := w.send("GET", "/monitor", nil, host(name)); a.status != 421 {
			t.Errorf("the monitor answers %d at %s", a.status, name)
		}
	}
}

func TestPagesOfOtherSitesChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, o := range []option{header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Site", "same-site"), header("Origin", "https://evil.test")} {
		w.send("POST", "/v1/pipelines", `{"name":"x"}`, o).refused(t, 403, "forbidden", "", "another site")
		w.send("POST", "/monitor/api/queues/quick:pause", nil, o).refused(t, 403, "forbidden", "", "another site")
		w.send("GET", "/v1/pipelines", nil, o).into(t, 200, nil)
	}
	for _, o := range []option{header("Sec-Fetch-Site", "same-origin"), header("Origin", "https://troy.test")} {
		w.send("POST", "/v1/pipelines", `{"name":"x"}`, o, host("troy.test")).into(t, 201, nil)
	}
}

func TestEveryAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/none", 404}, {"GET", "/v1", 404}, {"GET", "/v1/pipelines/", 404}, {"GET", "/v1/pipelines/a%2Fb", 404}, {"GET", "/v1/pipelines/..%2fx", 404},
		{"PUT", "/v1/pipelines", 405}, {"DELETE", "/v1/tasks", 405}, {"GET", "/events/apps", 405},
		{"GET", "/v1/pipelines/none", 404}, {"GET", "/v1/pipelines/" + strings.Repeat("x", 300), 404}, {"GET", "/v1/pipelines/%00", 404},
	} {
		a := w.send(c.method, c.path, nil)
		a.refused(t, c.status, map[int]string{404: "not_found", 405: "invalid"}[c.status], "", "")
		for name, want := range map[string]string{
			"Content-Type": "application/problem+json", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "same-origin", "Cache-Control": "no-store", "Strict-Transport-Security": "max-age=31536000",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", c.method, c.path, name, got, want)
			}
		}
		if !strings.HasPrefix(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Error("no policy")
		}
	}
	if a := w.send("PUT", "/v1/pipelines", nil); !strings.Contains(a.header.Get("Allow"), "POST") {
		t.Errorf("Allow %q", a.header.Get("Allow"))
	}
	for given, kept := range map[string]bool{"abc-123": true, "": false, "a b": false, strings.Repeat("x", 65): false, "x\"y": false} {
		if got := w.send("GET", "/healthz", nil, header("X-Request-Id", given)).header.Get("X-Request-Id"); got == "" || (got == given) != kept {
			t.Errorf("given request id %q, got %q", given, got)
		}
	}
	for _, body := range []string{`{"name":"` + strings.Repeat("x", 64<<10) + `"}`} {
		w.send("POST", "/v1/pipelines", body).refused(t, 413, "too_large", "", "65536")
		w.send("POST", "/v1/pipelines", io.MultiReader(strings.NewReader(body))).refused(t, 413, "too_large", "", "65536")
	}
	for _, c := range []struct{ body, field string }{
		{`{`, ""}, {``, ""}, {`{"name":1}`, "name"}, {`{"name":"x","nme":1}`, "nme"}, {`{"name":"x"} x`, ""}, {`{"name":"x","provision":"yes"}`, "provision"},
		{`{"name":""}`, "name"}, {`{"name":"x","slug":"A"}`, "slug"}, {`{"Name":"x"}`, "Name"}, {`{"name":"x","name":"y"}`, "name"},
	} {
		w.send("POST", "/v1/pipelines", c.body).refused(t, 400, "invalid", c.field, "")
	}
	w.create("Blog")
	w.send("POST", "/v1/pipelines", `{"name":"x","slug":"blog"}`).refused(t, 409, "conflict", "slug", "taken")
}

// broken is a store that fails on demand.
type broken struct {
	cloud.Store
	fail func() error
}

func (b broken) Begin(context.Context, site.Tree, site.Manifest) ([]site.File, error) {
	return nil, b.fail()
}

func TestFaultsOfTroysOwn(t *testing.T) {
	t.Parallel()
	var fail func() error
	w := newWorld(t, func(w *world) { w.deps.Store = broken{w.deps.Store, func() error { return fail() }} })
	p := w.create("Blog")
	m := manifest{Files: []site.File{file("a", "a")}}
	for _, f := range []func() error{
		func() error { return errors.New("the secret key is 1234") },
		func() error { return &troy.Error{Kind: troy.Internal, Message: "the secret key is 1234"} },
		func() error { panic("the secret key is 1234") },
	} {
		fail = f
		a := w.send("POST", releases(p), m)
		e := a.refused(t, 500, "internal", "", "Internal error")
		id := a.header.Get("X-Request-Id")
		if strings.Contains(string(a.body), "1234") || !strings.Contains(e.Message, id) {
			t.Errorf("the client reads %s", a.body)
		}
		if log := w.log.String(); !strings.Contains(log, id) || !strings.Contains(log, "1234") {
			t.Error("the log does not have the cause")
		}
	}
	if !strings.Contains(w.log.String(), "server_test.go") {
		t.Error("the panic's stack is not in the log")
	}
	fail = func() error { return troy.Errorf(troy.Unavailable, "the disk is full") }
	if a := w.send("POST", releases(p), m); a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	} else {
		a.refused(t, 503, "unavailable", "", "disk is full")
	}
}

// proxy is a proxy to Postgres that can be cut.
type proxy struct {
	listener net.Listener
	down     atomic.Bool
	mu       sync.Mutex
	conns    []net.Conn
}

func newProxy(t *testing.T, network, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial(network, target)
			if err != nil || p.down.Load() {
				in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			go func() { _, _ = io.Copy(out, in); out.Close() }()
			go func() { _, _ = io.Copy(in, out); in.Close() }()
		}
	}()
	return p
}

func (p *proxy) cut() {
	p.down.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func TestPostgresAway(t *testing.T) {
	t.Parallel()
	var p *proxy
	w := newWorld(t, func(w *world) {
		cfg := w.db.Config()
		network, target := pgconn.NetworkAddress(cfg.ConnConfig.Host, cfg.ConnConfig.Port)
		p = newProxy(t, network, target)
		address := p.listener.Addr().(*net.TCPAddr)
		cfg.ConnConfig.Host, cfg.ConnConfig.Port = address.IP.String(), uint16(address.Port)
		cfg.ConnConfig.Fallbacks = nil
		db, err := pgxpool.NewWithConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		w.deps.DB = db
		w.deps.Intake = intake.New(db, w.bell, intake.Config{SitesSuffix: "sites.test"})
		w.deps.Ready = []health.Check{{Name: "Postgres", Check: func(ctx context.Context) error { return db.Ping(ctx) }}}
	})
	blog := w.create("Blog")
	w.send("GET", "/readyz", nil).into(t, 200, nil)
	p.cut()
	const event = `{"id":"evt-1","type":"Created","time":"2026-01-02T15:04:05Z","app":{"id":"app-1","name":"Blog"}}`
	for range 3 {
		for _, a := range []answer{
			w.send("GET", "/v1/pipelines", nil),
			w.send("DELETE", "/v1/pipelines/blog", nil),
			w.send("POST", releases(blog), manifest{Files: []site.File{file("a", "a")}}),
			w.send("POST", "/events/apps", event, header("X-Troy-Signature-256", sign(appsSecret, event))),
			w.send("GET", "/monitor/", nil),
		} {
			a.refused(t, 503, "unavailable", "", "try again")
			if a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	w.eventually("not ready", func() bool {
		a := w.send("GET", "/readyz", nil)
		return a.status == 503 && strings.HasPrefix(string(a.body), "Postgres: ") && !strings.Contains(string(a.body), "127.0.0.1")
	})
	w.send("GET", "/healthz", nil).into(t, 200, nil)
	if n := w.count("SELECT (SELECT count(*) FROM deliveries) + (SELECT count(*) FROM releases)"); n != 0 {
		t.Error("a change was made halfway")
	}
	p.down.Store(false)
	w.eventually("Postgres is back", func() bool { return w.send("GET", "/v1/pipelines", nil).status == 200 })
}

func TestReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.deps.Ready = []health.Check{
			{Name: "fine", Check: func(context.Context) error { return nil }},
			{Name: "schema", Check: func(context.Context) error { return troy.Errorf(troy.Unavailable, "it is at version 1") }},
			{Name: "Redis", Check: func(context.Context) error { return errors.New("dial redis://:password@host") }},
			{Name: "Postgres", Check: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		}
	})
	a := w.send("GET", "/readyz", nil, header("Authorization", ""))
	if want := "schema: it is at version 1\nRedis: failed\nPostgres: timed out\n"; a.status != 503 || string(a.body) != want {
		t.Errorf("%d %q, want %q", a.status, a.body, want)
	}
	w.send("GET", "/healthz", nil, header("Authorization", "")).into(t, 200, nil)
}

func TestMonitor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.send("GET", "/monitor", nil, header("Authorization", ""))
	a.refused(t, 401, "unauthenticated", "", "")
	if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
	}
	a = w.visit("GET", "/monitor", nil, "", header("Accept", "text/html"))
	if a.status != 303 || a.header.Get("Location") != "/login?next=%2Fmonitor" || a.header.Get("WWW-Authenticate") != "" {
		t.Errorf("a browser gets %d, %q and the challenge %q", a.status, a.header.Get("Location"), a.header.Get("WWW-Authenticate"))
	}
	basic := func(token string) option { return func(r *http.Request) { r.SetBasicAuth("admin", token) } }
	for _, path := range []string{"/monitor", "/monitor/", "/monitor/api/queues", "/monitor/static/js/x.js"} {
		w.send("GET", path, nil, basic(w.token(credentials.Deployer))).refused(t, 403, "forbidden", "", "admin is needed")
		w.send("GET", path, nil, basic("troy_x")).refused(t, 401, "unauthenticated", "", "")
	}
	a = w.send("GET", "/monitor", nil, basic(w.admin))
	a.into(t, 200, nil)
	policy := a.header.Get("Content-Security-Policy")
	scripts := regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(string(a.body), -1)
	if len(scripts) == 0 {
		t.Error("the page has no script")
	}
	for _, s := range scripts {
		sum := sha256.Sum256([]byte(s[1]))
		if !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
			t.Error("a script of the page is not allowed")
		}
	}
	if !strings.Contains(policy, "default-src 'self'") || strings.Contains(policy, "http") || strings.Contains(policy, "script-src 'self' 'unsafe") {
		t.Errorf("the policy is %s", policy)
	}
	w.send("GET", "/monitor/api/queues", nil, basic(w.admin)).into(t, 200, nil)
}

func TestNewRefusesABadConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cfg   web.Config
		field string
	}{
		{web.Config{}, "URL"}, {web.Config{URL: "troy.test", SitesScheme: "http"}, "URL"}, {web.Config{URL: "ftp://troy.test", SitesScheme: "http"}, "URL"},
		{web.Config{URL: (&url.URL{Scheme: "https", Host: "troy.test"}).String()}, "SitesScheme"},
	} {
		_, err := web.New(c.cfg, web.Deps{})
		if e, ok := errors.AsType[*troy.Error](err); !ok || e.Field != c.field {
			t.Errorf("%+v: %v, want %s", c.cfg, err, c.field)
		}
	}
}

// eventually polls until ok.
func (w *world) eventually(what string, so func() bool) {
	w.t.Helper()
	if !poll.Until(w.t.Context(), time.Minute, 20*time.Millisecond, so) {
		w.t.Fatalf("not in time: %s", what)
	}
}

// The metrics are for callers with access to all pipelines.
func TestMetricsWantAToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.deps.Metrics = metrics.New() })
	p := w.create("blog")
	for name, test := range map[string]struct {
		token  string
		status int
	}{
		"no token": {"", 401}, "a viewer": {w.token(credentials.Viewer), 200}, "a viewer of one pipeline": {w.token(credentials.Viewer, p.ID), 403},
	} {
		a := w.send("GET", "/metrics", nil, header("Authorization", strings.TrimSuffix("Bearer "+test.token, "Bearer ")))
		if a.status != test.status {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if test.status == 200 && !strings.Contains(string(a.body), `route="/v1/pipelines"`) {
			t.Errorf("no request was counted: %s", a.body)
		}
	}
}
