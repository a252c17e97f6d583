package devstack

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/internal/poll"
)

// testDir returns a folder that other users can access, unlike t.TempDir.
func testDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "troy-devstack-")
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

func logger(w *bytes.Buffer) *slog.Logger {
	if w == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

func start(t *testing.T, dir string, log *bytes.Buffer) *Stack {
	t.Helper()
	s, err := Start(t.Context(), Config{Dir: dir, Logger: logger(log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Stack) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func insert(t *testing.T, s *Stack) {
	t.Helper()
	conn := connect(t, s)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept (n integer); INSERT INTO kept VALUES (42)"); err != nil {
		t.Fatal(err)
	}
}

func wantInserted(t *testing.T, s *Stack) {
	t.Helper()
	var n int
	if err := connect(t, s).QueryRow(t.Context(), "SELECT n FROM kept").Scan(&n); err != nil || n != 42 {
		t.Fatalf("the row from before is %d, %v; want 42", n, err)
	}
}

func connect(t *testing.T, s *Stack) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func password(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := u.User.Password()
	return p
}

func (s *Stack) postgresPort(t *testing.T) int {
	t.Helper()
	u, err := url.Parse(s.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	account, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	if err := account.own(file); err != nil {
		t.Fatal(err)
	}
}

// startParent runs this binary as a process that starts the stack. said returns
// its next line.
func startParent(t *testing.T, dir string) (*exec.Cmd, func() string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "DEVSTACK_DIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	return cmd, func() string {
		line, err := lines.ReadString('\n')
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		return strings.TrimSpace(line)
	}
}

// killWatchdogs kills the watchdogs of the parent of the server with this pid.
func killWatchdogs(t *testing.T, dir string, server int) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ps", "-eo", "pid=,ppid=,args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	parents := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 2 {
			parents[f[0]] = f[1]
		}
	}
	parent := parents[strconv.Itoa(server)]
	killed := 0
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) > 2 && f[1] == parent && strings.Contains(line, "/bin/sh -c IFS=") {
			pid, err := strconv.Atoi(f[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			killed++
		}
	}
	if parent == "" || killed != 2 {
		t.Fatalf("killed %d watchdogs of the parent %q in %s, want 2", killed, parent, filepath.Base(dir))
	}
}

// unlocked reports whether no server holds the lock file.
func unlocked(t *testing.T, file string) bool {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	if !poll.Until(t.Context(), 20*time.Second, 10*time.Millisecond, f) {
		t.Fatalf("not done within 20 s: %s", what)
	}
}
