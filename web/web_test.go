package web_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/bell"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/web"
)

const appsSecret = "apps secret"

// world is a server with its own database, Redis and store.
type world struct {
	t      *testing.T
	db     *pgxpool.Pool
	q      *queries.Queries
	cfg    web.Config
	deps   web.Deps
	server *httptest.Server
	admin  string
	log    *lockedBuffer
	dir    string
	bell   *bell.Bell

	githubApp       *forge.App
	bitbucketSecret string
	api             forge.Forge // replaces GitHub's
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t *testing.T, change ...func(*world)) *world {
	t.Helper()
	db, err := pgxpool.New(t.Context(), stacktest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	opts, err := redis.ParseURL(stacktest.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { rdb.Close() })
	w := &world{t: t, db: db, q: queries.New(db), log: &lockedBuffer{}, dir: t.TempDir()}
	box, err := localcloud.New(localcloud.Config{Root: w.dir})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	b := bell.New(db, tasks.NewClient(rdb), log, map[string]int{tasks.QueueQuick: 10, tasks.QueueForge: 4})
	w.bell = b
	w.cfg = web.Config{URL: "https://troy.test", SitesScheme: "http", SitesPort: 8081, AppsSecret: appsSecret}
	w.deps = web.Deps{
		DB: db, Redis: rdb, Store: box.Store, Log: log,
		Intake: intake.New(db, b, intake.Config{SitesSuffix: "sites.test", AutoProvision: true, PreviewKey: w.previewKey, Quota: intake.Quota{OpenReleases: 50}}),
	}
	for _, f := range change {
		f(w)
	}
	w.deps.Forges = w.forges()
	h, err := web.New(w.cfg, w.deps)
	if err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewServer(h)
	t.Cleanup(w.server.Close)
	w.admin = w.token(credentials.Admin)
	return w
}

// previewKey makes a sealed key of previews.
func (w *world) previewKey(pipeline uuid.UUID) ([]byte, error) {
	if w.deps.Secrets == nil {
		return nil, troy.Errorf(troy.Unavailable, "TROY_SECRET_KEY is not set")
	}
	return w.deps.Secrets.Seal(secret.NewSigningKey(), secret.PreviewKey(pipeline))
}

// second is another server on the same database and store.
func (w *world) second() *world {
	w.t.Helper()
	h, err := web.New(w.cfg, w.deps)
	if err != nil {
		w.t.Fatal(err)
	}
	other := *w
	other.server = httptest.NewServer(h)
	w.t.Cleanup(other.server.Close)
	return &other
}

func (w *world) token(role credentials.Role, pipelines ...uuid.UUID) string {
	w.t.Helper()
	token, err := credentials.Token{Name: "test-" + string(role), Role: role, Pipelines: pipelines}.Create(w.t.Context(), w.db)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) into(t *testing.T, want int, v any) {
	t.Helper()
	if a.status != want {
		t.Fatalf("status %d, want %d: %s", a.status, want, a.body)
	}
	if v == nil {
		return
	}
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
}

type refusal struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Field   string   `json:"field"`
	Details []string `json:"details"`
}

func (a answer) refused(t *testing.T, status int, code, field, says string) refusal {
	t.Helper()
	var r struct {
		Type     string          `json:"type"`
		Title    string          `json:"title"`
		Status   int             `json:"status"`
		Detail   string          `json:"detail"`
		Request  string          `json:"request"`
		Pipeline json.RawMessage `json:"pipeline"`
		Stored   *int            `json:"stored"`
		Error    refusal         `json:"error"`
		refusal
	}
	a.into(t, status, &r)
	// An error has one meaning in both of its forms.
	same := reflect.DeepEqual(r.Error, refusal{r.Code, r.Detail, r.Field, r.Details})
	if !same || r.Status != status || r.Title == "" || r.Type != "/docs#error-"+code || r.Request != a.header.Get("X-Request-Id") {
		t.Errorf("the problem is %s", a.body)
	}
	if r.Error.Code != code || r.Error.Field != field || !strings.Contains(r.Error.Message, says) {
		t.Errorf("got %+v, want %s at %q saying %q", r.Error, code, field, says)
	}
	return r.Error
}

type option func(*http.Request)

func header(name, value string) option {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(h string) option { return func(r *http.Request) { r.Host = h } }

func as(token string) option { return header("Authorization", "Bearer "+token) }

// send makes a request, as the admin unless an option says otherwise. body is a
// string, a reader or a value to encode as JSON.
func (w *world) send(method, path string, body any, options ...option) answer {
	w.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	case io.Reader:
		r = b
	default:
		text, err := json.Marshal(b)
		if err != nil {
			w.t.Fatal(err)
		}
		r = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.server.URL+path, r)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.admin)
	for _, o := range options {
		o(req)
	}
	if req.Header.Get("Authorization") == "" {
		req.Header.Del("Authorization")
	}
	resp, err := w.server.Client().Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	a := answer{resp.StatusCode, resp.Header, content}
	w.documented(req, body, a)
	return a
}

type pipeline struct {
	Deletion         *deletion       `json:"deletion"`
	Live             json.RawMessage `json:"live"`
	Next             json.RawMessage `json:"next"`
	ID               uuid.UUID       `json:"id"`
	AppID            string          `json:"app_id"`
	Name             string          `json:"name"`
	Slug             string          `json:"slug"`
	Status           troy.Status     `json:"status"`
	StatusName       string          `json:"status_name"`
	Cause            string          `json:"cause"`
	URL              string          `json:"url"`
	Host             string          `json:"host"`
	LiveDeploymentID *uuid.UUID      `json:"live_deployment_id"`
	QueuePosition    *int64          `json:"queue_position"`
	Repository       *repository     `json:"repository"`
	WatchPaths       []string        `json:"watch_paths"`
	CancelRunning    bool            `json:"cancel_running"`
	SourceProblem    string          `json:"source_problem"`

	Build     troy.BuildSettings `json:"build"`
	CreatedAt time.Time          `json:"created_at"`
	UpdatedAt time.Time          `json:"updated_at"`
}

type repository struct {
	Provider string `json:"provider"`
	FullName string `json:"full_name"`
	Branch   string `json:"branch"`
	Root     string `json:"root"`
}

type deployment struct {
	Hint               string     `json:"hint"`
	ID                 uuid.UUID  `json:"id"`
	PipelineID         uuid.UUID  `json:"pipeline_id"`
	Number             int64      `json:"number"`
	Kind               string     `json:"kind"`
	State              string     `json:"state"`
	Cause              string     `json:"cause"`
	SourceDeploymentID *uuid.UUID `json:"source_deployment_id"`
	Message            string     `json:"message"`
	Actor              string     `json:"actor"`
	Files              int64      `json:"files"`
	Bytes              int64      `json:"bytes"`
	Live               bool       `json:"live"`
	CreatedAt          time.Time  `json:"created_at"`
	StartedAt          *time.Time `json:"started_at"`
	FinishedAt         *time.Time `json:"finished_at"`
	URL                string     `json:"url"`
	Address            string     `json:"address"`
	Commit             string     `json:"commit"`
	Branch             string     `json:"branch"`
	Build              *struct {
		Attempt  int             `json:"attempt"`
		Rule     string          `json:"rule"`
		Phases   json.RawMessage `json:"phases"`
		LogBytes int64           `json:"log_bytes"`
	} `json:"build"`
}

type release struct {
	ID         uuid.UUID   `json:"id"`
	PipelineID uuid.UUID   `json:"pipeline_id"`
	Missing    []site.File `json:"missing"`
	Limits     struct {
		Files      int   `json:"files"`
		FileBytes  int64 `json:"file_bytes"`
		TotalBytes int64 `json:"total_bytes"`
	} `json:"limits"`
	ExpiresAt time.Time `json:"expires_at"`
	Finalized bool      `json:"finalized"`
	Direct    bool      `json:"direct"`

	Batch *site.BatchLimits `json:"batch"`
}

func (w *world) create(name string) pipeline {
	w.t.Helper()
	var p pipeline
	w.send("POST", "/v1/pipelines", map[string]any{"name": name, "provision": false}).into(w.t, 201, &p)
	return p
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(context.WithoutCancel(w.t.Context()), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) count(sql string, args ...any) int {
	w.t.Helper()
	var n int
	if err := w.db.QueryRow(w.t.Context(), sql, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func (w *world) put(p pipeline, s troy.Status) {
	w.t.Helper()
	w.exec("UPDATE pipelines SET status = $2 WHERE id = $1", p.ID, s)
}

// goLive ends a deployment as the workers do.
func (w *world) goLive(p pipeline, id uuid.UUID) {
	w.t.Helper()
	w.exec("UPDATE deployments SET state = 'succeeded', started_at = clock_timestamp(), live_at = clock_timestamp(), finished_at = clock_timestamp() WHERE id = $1", id)
	w.exec("UPDATE pipelines SET status = 'deployed', live_deployment_id = $2 WHERE id = $1", p.ID, id)
	w.exec("DELETE FROM work WHERE subject_id = $1", p.ID)
}

func file(path, content string) site.File {
	return site.File{Path: path, SHA256: sha256.Sum256([]byte(content)), Size: int64(len(content))}
}

type manifest struct {
	Files   []site.File `json:"files"`
	Message string      `json:"message,omitempty"`
}

func releases(p pipeline) string { return "/v1/pipelines/" + p.ID.String() + "/releases" }

func (w *world) begin(p pipeline, options []option, files ...site.File) release {
	w.t.Helper()
	var r release
	a := w.send("POST", releases(p), manifest{Files: files, Message: "hello\nthere"}, options...)
	if a.status != 200 && a.status != 201 {
		w.t.Fatalf("begin: %d %s", a.status, a.body)
	}
	a.into(w.t, a.status, &r)
	return r
}

func (w *world) upload(p pipeline, r release, content string) answer {
	w.t.Helper()
	return w.send("PUT", fmt.Sprintf("%s/%s/files/%s", releases(p), r.ID, file("", content).SHA256), content)
}

// released makes a deployment of one file with the content.
func (w *world) released(p pipeline, content string) deployment {
	w.t.Helper()
	r := w.begin(p, nil, file("index.html", content))
	if len(r.Missing) > 0 {
		w.upload(p, r, content).into(w.t, 204, nil)
	}
	var d deployment
	w.send("POST", fmt.Sprintf("%s/%s/finalize", releases(p), r.ID), nil).into(w.t, 202, &d)
	return d
}

func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func decodeLoose(t *testing.T, body []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(body, v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
}
