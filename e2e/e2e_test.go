// Package e2e tests troyd processes from outside only: by HTTP, the command
// line, signals, and the scripted faults of their test build. It checks the
// results that readers and operators see.
package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/internal/devstack/gittest"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/internal/poll"
)

// binaries is the folder of troyd and troy, built with the tag faults.
var binaries string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "troy-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries = dir
	build := exec.Command("go", "build", "-buildvcs=false", "-tags", "faults", "-o", dir+"/", "../cmd/troyd", "../cmd/troy")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

const appsSecret = "a secret of the end-to-end tests"

// world is one installation of Troy: its environment and its processes.
type world struct {
	t        *testing.T
	env      []string
	dir      string
	faults   string
	web      string // host:port
	edge     string
	token    string
	api      *client.Client
	database string
	redis    *stacktest.PrivateRedis
	worker   *process // of worlds with builds
	input    string   // stdin of the next commands
}

// process is a running troyd.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *lines
	gone chan struct{}
}

func newWorld(t *testing.T, settings ...string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), database: stacktest.Database(t), redis: stacktest.NewPrivateRedis(t)}
	w.faults = filepath.Join(w.dir, "faults")
	w.web, w.edge = freeAddress(t), freeAddress(t)
	hostile, err := gittest.Hostile(w.dir) // Troy's git must ignore it
	if err != nil {
		t.Fatal(err)
	}
	w.env = append(append(hostile,
		"PATH="+os.Getenv("PATH"),
		"TROY_DATABASE_URL="+w.database, "TROY_REDIS_URL="+w.redis.URL,
		"TROY_BUILD_TOOLS=machine", "TROY_DATA_DIR="+filepath.Join(w.dir, "data"), "TROY_FAULTS="+w.faults,
		"TROY_ADDR="+w.web, "TROY_EDGE_ADDR="+w.edge, "TROY_APPS_SECRET="+appsSecret,
		"TROY_PROPAGATION_DELAY=300ms", "TROY_DELETE_GRACE=0s", "TROY_LOG_LEVEL=debug",
	), settings...)
	w.token = strings.TrimSpace(w.must("troyd", "token", "create", "--role", "admin", "--name", "e2e"))
	if w.api, err = client.New("http://"+w.web, w.token); err != nil {
		t.Fatal(err)
	}
	return w
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// run runs a command to its end.
func (w *world) run(name string, args ...string) (stdout, stderr string, status int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binaries, name), args...)
	cmd.Env = append(w.env, "TROY_URL=http://"+w.web, "TROY_TOKEN="+w.token)
	if name == "troyd" {
		cmd.Env = w.env
	}
	var out, diag bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(w.input), &out, &diag
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("%s %v: %v", name, args, err)
	}
	return out.String(), diag.String(), cmd.ProcessState.ExitCode()
}

// must runs a command that has to succeed and returns its output.
func (w *world) must(name string, args ...string) string {
	w.t.Helper()
	out, diag, status := w.run(name, args...)
	if status != 0 {
		w.t.Fatalf("%s %v: exit status %d\n%s%s", name, args, status, out, diag)
	}
	return out
}

// start starts a troyd that ends with the test.
func (w *world) start(part string) *process {
	w.t.Helper()
	p := &process{name: part, log: &lines{}, gone: make(chan struct{})}
	p.cmd = exec.Command(filepath.Join(binaries, "troyd"), part)
	p.cmd.Env = w.env
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.gone) }()
	w.t.Cleanup(func() {
		p.signal(syscall.SIGTERM)
		select {
		case <-p.gone:
		case <-time.After(20 * time.Second):
			w.t.Errorf("troyd %s did not stop within 20 s", part)
			p.signal(syscall.SIGKILL)
			<-p.gone
		}
		if w.t.Failed() {
			w.t.Logf("troyd %s:\n%s", part, p.log.tail(60))
		}
	})
	switch part {
	case "web":
		w.eventually("web answers", func() bool { return w.answers("http://" + w.web + "/readyz") })
	case "edge":
		w.eventually("the edge answers", func() bool { return w.answers("http://" + w.edge + "/") })
	case "work":
		w.eventually("work is ready", func() bool { return strings.Contains(p.log.tail(1000), "working") })
	}
	return p
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// kill ends a process like a power failure.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.gone
}

func (w *world) answers(url string) bool {
	resp, err := http.Get(url)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return strings.HasSuffix(url, "/") || resp.StatusCode == http.StatusOK
}

// lines keeps a process's output.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := strings.Split(l.text.String(), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}

// eventually polls until ok, for at most three minutes.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	if !poll.Until(w.t.Context(), 3*time.Minute, 20*time.Millisecond, ok) {
		w.t.Fatalf("did not happen within three minutes: %s", what)
	}
}

// fault scripts failures of outside calls; an empty script ends them.
func (w *world) fault(script string) {
	w.t.Helper()
	next := w.faults + ".next"
	if err := os.WriteFile(next, []byte(script), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(next, w.faults); err != nil {
		w.t.Fatal(err)
	}
}

// calls counts the outside calls with an argument.
func (w *world) calls(call, argument string) int {
	w.t.Helper()
	text, err := os.ReadFile(w.faults + ".log")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, call+" ") && strings.Contains(line, argument) {
			n++
		}
	}
	return n
}

// event sends an app event and returns the pipeline's id, if the answer has
// one.
func (w *world) event(kind, app string, at time.Time) string {
	w.t.Helper()
	return w.appEvent(kind, map[string]any{"id": app, "name": app}, at)
}

func (w *world) appEvent(kind string, app map[string]any, at time.Time) string {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{"id": uuid.NewString(), "type": kind, "time": at.UTC(), "app": app})
	if err != nil {
		w.t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(appsSecret))
	mac.Write(body)
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, "http://"+w.web+"/events/apps", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("X-Troy-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusAccepted {
		w.t.Fatalf("%s of %v: %s: %s", kind, app, resp.Status, answer)
	}
	var outcome struct {
		PipelineID string `json:"pipeline_id"`
	}
	if err := json.Unmarshal(answer, &outcome); err != nil {
		w.t.Fatal(err)
	}
	return outcome.PipelineID
}

// waitFor waits until a pipeline has a status; Deleted means that its row is
// gone.
func (w *world) waitFor(pipeline string, want troy.Status) client.Pipeline {
	w.t.Helper()
	var p client.Pipeline
	w.eventually(want.String(), func() bool {
		var err error
		p, err = w.api.Pipeline(w.t.Context(), pipeline)
		if want == troy.Deleted {
			return troy.KindOf(err) == troy.NotFound
		}
		if err != nil {
			w.t.Fatal(err)
		}
		return p.Status == want
	})
	return p
}

// path lists the statuses in a pipeline's events, and checks them against the
// table and for gaps.
func (w *world) path(pipeline string) []troy.Status {
	w.t.Helper()
	var out []troy.Status
	for e, err := range w.api.Events(w.t.Context(), pipeline) {
		if err != nil {
			w.t.Fatal(err)
		}
		if len(out) > 0 && (e.From != out[len(out)-1] || !e.From.CanBecome(e.To)) {
			w.t.Errorf("event %d goes from %s to %s after %s", e.Version, e.From, e.To, out[len(out)-1])
		}
		out = append(out, e.To)
		if e.Version != int64(len(out)) {
			w.t.Errorf("event %d has version %d", len(out), e.Version)
		}
	}
	return out
}

// folder writes a site.
func (w *world) folder(files map[string]string) string {
	w.t.Helper()
	dir := w.t.TempDir()
	for path, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	return dir
}

// get requests a host's page from the edge. Go's resolver does not know
// *.localhost, so it dials the edge's address.
func (w *world) get(host, path string) (status int, body, deployment string) {
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.edge+path, nil)
	if err != nil {
		return 0, err.Error(), ""
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error(), ""
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error(), ""
	}
	return resp.StatusCode, string(text), resp.Header.Get("X-Troy-Deployment")
}

// traces lists the files in the data folder of a pipeline or its host.
func (w *world) traces(pipeline, host string) []string {
	w.t.Helper()
	var found []string
	root := filepath.Join(w.dir, "data", "cloud")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.Contains(path, pipeline) || strings.Contains(d.Name(), host) {
			found = append(found, path)
			return nil
		}
		if d.Type().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if bytes.Contains(text, []byte(pipeline)) || bytes.Contains(text, []byte(host)) {
				found = append(found, path)
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// distributions lists the files of existing distributions.
func (w *world) distributions() []string {
	w.t.Helper()
	found, err := filepath.Glob(filepath.Join(w.dir, "data", "cloud", "distributions", "*.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}
