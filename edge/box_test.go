package edge

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/internal/generation"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// box is a data folder in localcloud's form and the edge that serves it.
type box struct {
	t      testing.TB
	layout site.Layout
	edge   *Server
	log    *logBuffer
	// network is a connection to Serve, or nil before the first request.
	// Requests use only the handler if handlerOnly is set.
	network     *connection
	mu          sync.Mutex // of network
	handlerOnly bool
	uncounted   bool // changes are not counted, as if their writers crashed
}

// logBuffer is the edge's log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) Len() int { return len(b.String()) }

func newBox(t testing.TB, change ...func(*Config)) *box {
	t.Helper()
	b := &box{t: t, layout: site.Layout{Root: t.TempDir()}, log: &logBuffer{}}
	cfg := Config{Root: b.layout.Root, Logger: slog.New(slog.NewTextHandler(b.log, nil))}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if b.edge, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return b
}

// hosted is one site of a box.
type hosted struct {
	*box
	host, distribution string
	pipeline           uuid.UUID
	sequence           int64
	protected          int64              // the sequence of its protection
	policy             site.TrailingSlash // of the trees that are sealed next
	config             []rules.ConfigFile // of the trees that are sealed next
}

// provision creates the record and the distribution of a host.
func (b *box) provision(host string) *hosted {
	b.t.Helper()
	h := &hosted{box: b, host: host, distribution: "E" + strings.ToUpper(strings.ReplaceAll(uuid.NewString()[:13], "-", "")), pipeline: uuid.New()}
	b.replaceJSON(b.layout.Record(host), site.Record{Host: host, Target: site.DistributionDomain(h.distribution)})
	h.setDistribution(true, host)
	return h
}

func (h *hosted) setDistribution(enabled bool, host string) {
	h.t.Helper()
	h.replaceJSON(h.layout.Distribution(h.distribution), site.DistributionFile{
		ID: h.distribution, Domain: site.DistributionDomain(h.distribution), Host: host, Enabled: enabled,
	})
}

// publish stores the files (path → content), seals the tree and flips to it.
func (h *hosted) publish(files map[string]string, carried ...site.Carried) uuid.UUID {
	h.t.Helper()
	deployment := uuid.New()
	h.seal(deployment, files, carried...)
	h.flip(deployment)
	return deployment
}

func (h *hosted) seal(deployment uuid.UUID, files map[string]string, carried ...site.Carried) {
	h.t.Helper()
	m := site.Manifest{Carried: carried, TrailingSlash: h.policy}
	for path, content := range files {
		m.Files = append(m.Files, h.store(path, content))
	}
	out := rules.Compile(rules.Input{Redirects: files["_redirects"], Headers: files["_headers"], Config: h.config})
	if out.TrailingSlash != "" {
		m.TrailingSlash = out.TrailingSlash
	}
	var err error
	if m.Rules, err = out.Rules.Encode(); err != nil {
		h.t.Fatal(err)
	}
	data, err := site.EncodeManifest(m)
	if err != nil {
		h.t.Fatal(err)
	}
	h.replace(h.layout.Tree(site.Tree{Pipeline: h.pipeline, Deployment: deployment}), data)
}

func (h *hosted) store(path, content string) site.File {
	h.t.Helper()
	f := site.File{Path: path, SHA256: sha256.Sum256([]byte(content)), Size: int64(len(content))}
	h.replace(h.layout.Blob(h.pipeline, f.SHA256), []byte(content))
	return f
}

func (h *hosted) flip(deployment uuid.UUID) {
	h.t.Helper()
	h.sequence++
	h.replaceJSON(h.layout.Pointer(h.distribution), site.Pointer{Sequence: h.sequence, Pipeline: h.pipeline, Deployment: deployment})
}

func (b *box) replaceJSON(path string, v any) {
	b.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		b.t.Fatal(err)
	}
	b.replace(path, data)
}

// replace creates a file by rename, as Layout requires.
func (b *box) replace(path string, data []byte) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.t.Fatal(err)
	}
	incoming := path + ".new"
	if err := os.WriteFile(incoming, data, 0o600); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(incoming, path); err != nil {
		b.t.Fatal(err)
	}
	b.changed()
}

// changed counts a change, as writers do.
func (b *box) changed() {
	b.t.Helper()
	if b.uncounted {
		return
	}
	if err := generation.Bump(b.layout.Generation()); err != nil {
		b.t.Fatal(err)
	}
}

// get sends a request to the edge's handler, and twice over a network, where
// all answers have to be the same: the second may be a kept one. headers are alternating
// names and values; a first pair named "method" sets the method.
func (b *box) get(host, target string, headers ...string) *http.Response {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = host
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "method" {
			r.Method = headers[i+1]
			continue
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.edge.ServeHTTP(w, r)
	if !b.handlerOnly && isHost([]byte(host)) && host != "" {
		for range 2 {
			b.compare(w.Result(), w.Body.String(), r)
		}
	}
	return w.Result()
}

func (h *hosted) fetch(target string, headers ...string) *http.Response {
	h.t.Helper()
	return h.get(h.host, target, headers...)
}

func content(t testing.TB, res *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func wantStatus(t testing.TB, res *http.Response, status int) {
	t.Helper()
	if res.StatusCode != status {
		t.Errorf("status %d, want %d", res.StatusCode, status)
	}
}

func wantHeader(t testing.TB, res *http.Response, name, value string) {
	t.Helper()
	if got := res.Header.Get(name); got != value {
		t.Errorf("%s: %q, want %q", name, got, value)
	}
}

// tag returns the entity tag of a file with this content.
func tag(content string) string { return etag(sha256.Sum256([]byte(content)), identity) }

func gzipTag(content string) string { return etag(sha256.Sum256([]byte(content)), codingGzip) }
