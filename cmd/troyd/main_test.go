package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// TestMain makes the test binary behave as troyd when a test starts it as such.
func TestMain(m *testing.M) {
	if os.Getenv("TROYD_TEST_MAIN") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// troyd prepares a troyd with exactly these settings.
func troyd(t *testing.T, settings []string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Dir = folder(t) // for everything that it makes in its folder
	// The race detector would wait a second before each exit.
	cmd.Env = []string{"TROYD_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0"}
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "TROY_") && !strings.HasPrefix(pair, "GORACE=") {
			cmd.Env = append(cmd.Env, pair)
		}
	}
	cmd.Env = append(cmd.Env, settings...)
	return cmd
}

// folder returns a folder that Postgres, which does not run as root, can pass
// through.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "troyd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// finish runs a command to its end.
func finish(t *testing.T, cmd *exec.Cmd) (status int, stdout, stderr string) {
	t.Helper()
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), out.String(), log.String()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, out.String(), log.String()
}

// server is a troyd that runs until it is stopped.
type server struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // of its standard output
	ended chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *server) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// serving starts a troyd in its own process group, as a shell would.
func serving(t *testing.T, settings []string, args ...string) *server {
	t.Helper()
	s := &server{t: t, cmd: troyd(t, settings, args...), lines: make(chan string, 100), ended: make(chan struct{})}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.Stderr = s
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			s.lines <- scanner.Text()
		}
		close(s.lines)
		_ = s.cmd.Wait() // stop reads its status
	}()
	t.Cleanup(func() { s.stop(syscall.SIGTERM) })
	return s
}

// answer waits for the line of standard output with this prefix, and returns
// the rest of it.
func (s *server) answer(prefix string) string {
	s.t.Helper()
	deadline := time.After(90 * time.Second)
	for {
		select {
		case line, more := <-s.lines:
			if rest, found := strings.CutPrefix(line, prefix); found {
				return strings.TrimSpace(rest)
			}
			if !more {
				s.t.Fatalf("ended without a line %q: %s", prefix, s.said())
			}
		case <-deadline:
			s.t.Fatalf("no line %q in time: %s", prefix, s.said())
		}
	}
}

// stop sends the signal to the process group, as a terminal does with Ctrl-C,
// and returns how long the end took. It does nothing if the process has ended.
func (s *server) stop(signal syscall.Signal) time.Duration {
	s.t.Helper()
	select {
	case <-s.ended:
		return 0
	default:
	}
	asked := time.Now()
	if err := syscall.Kill(-s.cmd.Process.Pid, signal); err != nil {
		s.t.Errorf("send a signal: %v", err)
	}
	select {
	case <-s.ended:
	case <-time.After(30 * time.Second):
		s.t.Errorf("did not stop: %s", s.said())
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.ended
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("stopped with exit status %d: %s", code, s.said())
	}
	return time.Since(asked)
}

func TestExitStatuses(t *testing.T) {
	t.Parallel()
	const away = "TROY_REDIS_URL=redis://127.0.0.1:1/0"
	for _, c := range []struct {
		name     string
		settings []string
		args     string
		status   int
		says     []string
	}{
		{"web without settings", nil, "web", 2, []string{"TROY_DATABASE_URL: not set", "TROY_REDIS_URL: not set"}},
		{"work without settings", nil, "work", 2, []string{"TROY_DATABASE_URL: not set", "TROY_REDIS_URL: not set"}},
		{"token without settings", nil, "token create --role admin", 2, []string{"TROY_DATABASE_URL: not set", "TROY_REDIS_URL: not set"}},
		{"enqueue without settings", nil, "enqueue sweep", 2, []string{"TROY_DATABASE_URL: not set"}},
		{"web without Redis", []string{"TROY_DATABASE_URL=postgres://127.0.0.1:1/troy"}, "web", 2, []string{"TROY_REDIS_URL: not set"}},
		{"settings that cannot be read", []string{"TROY_WORKERS=many", "TROY_LEASE=long"}, "edge", 2, []string{"TROY_WORKERS: ", "TROY_LEASE: "}},
		{"settings out of bounds", []string{"TROY_WORKERS=0", "TROY_ADDR=nowhere"}, "dev", 2, []string{"TROY_WORKERS: ", "TROY_ADDR: "}},
		{"Postgres away", []string{"TROY_DATABASE_URL=postgres://troy:hunter2@127.0.0.1:1/troy", away}, "web", 1, []string{"connection refused"}},
		{"an old schema", []string{"TROY_DATABASE_URL=" + stacktest.EmptyDatabase(t), away}, "web", 1, []string{"troyd migrate up"}},
		{"an unknown command", nil, "fly", 2, []string{"fly"}},
		{"an unknown command of a group", nil, "migrate sideways", 2, []string{"sideways"}},
		{"migrate without settings", nil, "migrate up", 2, []string{"TROY_DATABASE_URL is not set"}},
		{"an unknown flag", nil, "web --fast", 2, []string{"--fast"}},
		{"too many arguments", nil, "web now", 2, []string{"now"}},
		{"too few arguments", nil, "enqueue", 2, []string{"arg"}},
		{"a flag that is required", nil, "token create", 2, []string{"role"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			status, stdout, stderr := finish(t, troyd(t, c.settings, strings.Fields(c.args)...))
			if status != c.status || stdout != "" {
				t.Errorf("exit status %d, want %d; standard output %q", status, c.status, stdout)
			}
			for _, want := range append(c.says, "troyd: ") {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q is missing in %q", want, stderr)
				}
			}
			if strings.Contains(stderr, "hunter2") {
				t.Errorf("a password is shown: %q", stderr)
			}
		})
	}
}

func TestTokenAndEnqueue(t *testing.T) {
	t.Parallel()
	database := stacktest.Database(t)
	settings := []string{"TROY_DATABASE_URL=" + database, "TROY_REDIS_URL=" + stacktest.Redis(t)}
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	id := uuid.Must(uuid.NewV7())
	if _, err := queries.New(conn).PipelineCreate(t.Context(), queries.PipelineCreateParams{
		ID: id, Name: "Blog", Slug: "blog", Host: "blog.localhost", Actor: "test",
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		status int
		stdout bool
		says   string
	}{
		{"token create --role admin", 0, true, "expires on " + time.Now().Add(90*24*time.Hour).UTC().Format(time.DateOnly)},
		{"token create --role viewer --name ci --pipeline blog --expires 30d", 0, true, "expires on "},
		{"token create --role deployer --expires never --pipeline " + id.String(), 0, true, "never expires"},
		{"token create --role viewer --expires soon", 2, false, `--expires: the time is "soon"; expected 90d`},
		{"token revoke nothing-like-it", 2, false, "token not found"},
		{"token create --role king", 2, false, "role"},
		{"token create --role admin --pipeline nowhere", 2, false, `"nowhere"`},
		{"enqueue sweep", 0, true, ""},
		{"enqueue retention blog", 0, true, ""},
		{"enqueue " + tasks.TypeProvision + " " + id.String(), 0, true, ""},
		{"enqueue " + tasks.TypeTeardown + " blog", 0, true, ""}, // it says that there is nothing to do
		{"enqueue " + tasks.TypeProvision, 2, false, "needs a pipeline"},
		{"enqueue " + tasks.TypeProvision + " nowhere", 2, false, `"nowhere"`},
		{"enqueue " + tasks.TypeProvision + " " + uuid.NewString(), 2, false, "pipeline"},
		{"enqueue pipeline:fly blog", 2, false, "pipeline:fly"},
	} {
		status, stdout, stderr := finish(t, troyd(t, settings, strings.Fields(c.args)...))
		if status != c.status || (strings.Count(stdout, "\n") == 1) != c.stdout || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: exit status %d, %q, %q; want %d, and %q", c.args, status, stdout, stderr, c.status, c.says)
		}
		if c.status == 0 && c.says == "" && stderr != "" {
			t.Errorf("%s: on standard error %q", c.args, stderr)
		}
	}
	var tokens, rung int
	if err := conn.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM tokens), (SELECT count(*) FROM work WHERE ring_id IS NOT NULL)").Scan(&tokens, &rung); err != nil {
		t.Fatal(err)
	}
	if tokens != 3 || rung != 2 {
		t.Errorf("%d tokens and %d rung rows, want 3 and 2", tokens, rung)
	}
}

// TestTokenListAndRevoke lists tokens for people, and revokes one.
func TestTokenListAndRevoke(t *testing.T) {
	t.Parallel()
	settings := []string{"TROY_DATABASE_URL=" + stacktest.Database(t), "TROY_REDIS_URL=" + stacktest.Redis(t)}
	run := func(status int, args ...string) string {
		t.Helper()
		got, stdout, stderr := finish(t, troyd(t, settings, args...))
		if got != status {
			t.Fatalf("%q: exit status %d, want %d: %s%s", args, got, status, stdout, stderr)
		}
		return stdout
	}
	token := strings.TrimSpace(run(0, "token", "create", "--role", "deployer", "--name", "ci of the blog"))
	run(0, "token", "create", "--role", "admin", "--name", "me", "--expires", "never")
	list := run(0, "token", "list")
	lines := strings.Split(strings.TrimSpace(list), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "ID ") || !strings.Contains(lines[1], "me ") || !strings.HasSuffix(lines[1], "never") ||
		!strings.Contains(lines[2], "ci of the blog") || !strings.Contains(lines[2], "operator ") || strings.Contains(list, token) {
		t.Errorf("listed:\n%s", list)
	}
	for _, line := range lines {
		if len(line) > 100 {
			t.Errorf("a line of %d characters: %s", len(line), line)
		}
	}
	id, _, _ := strings.Cut(lines[2], " ")
	if said := run(0, "token", "revoke", id); said != "Revoked the token \"ci of the blog\".\n" {
		t.Errorf("said %q", said)
	}
	run(2, "token", "revoke", id)
	if again := run(0, "token", "list"); strings.Contains(again, "ci of the blog") {
		t.Errorf("listed after its end:\n%s", again)
	}
}

// hideRedis returns a PATH with the programs of a private Postgres and without
// redis-server.
func hideRedis(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/usr/local/bin", "/opt/homebrew/bin", "/usr/local/pgsql/bin"} {
		if _, err := os.Stat(filepath.Join(dir, "redis-server")); err == nil {
			t.Skipf("a redis-server in %s is found without PATH", dir)
		}
	}
	dir := folder(t)
	for _, name := range []string{"sh", "sleep", "rm"} {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func readAll(t *testing.T, r io.ReadCloser) string {
	t.Helper()
	text, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(text)
}
