package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// TestMain also runs the parent process that tests kill: with DEVSTACK_DIR set,
// the test binary starts the stack there, reports it and waits.
func TestMain(m *testing.M) {
	if dir := os.Getenv("DEVSTACK_DIR"); dir != "" {
		os.Exit(parent(dir))
	}
	os.Exit(m.Run())
}

func parent(dir string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	s, err := Start(ctx, Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	fmt.Println("started")
	<-ctx.Done()
	// The parent needs the servers after the Ctrl-C.
	if err := prepare(context.Background(), s.DatabaseURL); err != nil {
		fmt.Println("Postgres got the signal too:", err)
		return 1
	}
	if err := s.Stop(context.Background()); err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	fmt.Println("stopped")
	return 0
}

func TestDataAreFoundAgain(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	s := start(t, dir, nil)
	insert(t, s)
	stop(t, s)
	if err := prepare(t.Context(), s.DatabaseURL); err == nil {
		t.Error("Postgres answers after Stop")
	}
	if err := ping(t.Context(), s.RedisURL); err == nil {
		t.Error("Redis answers after Stop")
	}
	again := start(t, dir, nil)
	wantInserted(t, again)
	if again.DatabaseURL != s.DatabaseURL || again.RedisURL != s.RedisURL {
		t.Errorf("the URLs changed over a restart: %s, %s, then %s, %s", s.DatabaseURL, s.RedisURL, again.DatabaseURL, again.RedisURL)
	}
	for _, name := range []string{"stack.json", "redis/redis.conf", "postgres.log"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", name, info.Mode())
		}
	}
}

func TestPasswordIsAsked(t *testing.T) {
	t.Parallel()
	s := start(t, testDir(t), nil)
	wrong := strings.Replace(s.DatabaseURL, ":"+password(t, s.DatabaseURL), ":wrong", 1)
	if err := prepare(t.Context(), wrong); err == nil {
		t.Error("Postgres took a wrong password")
	}
	if err := ping(t.Context(), strings.Replace(s.RedisURL, password(t, s.RedisURL), "wrong", 1)); err == nil {
		t.Error("Redis took a wrong password")
	}
}

func TestSecondStartNamesTheFirst(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	start(t, dir, nil)
	_, err := Start(t.Context(), Config{Dir: dir, Logger: logger(nil)})
	locked, ok := errors.AsType[*LockedError](err)
	if !ok || locked.PID != os.Getpid() || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Fatalf("a second start: %v; want a LockedError with pid %d", err, os.Getpid())
	}
}

func TestStalePIDFiles(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	s := start(t, dir, nil)
	insert(t, s)
	stop(t, s)
	// The pid of an unrelated running process of the same user (Postgres
	// detects one of another user).
	account, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	stranger := exec.CommandContext(t.Context(), "sleep", "600")
	stranger.Dir = "/"
	stranger.SysProcAttr = &syscall.SysProcAttr{Credential: account.credential}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Wait() }) // the test's context ends it
	stale := strconv.Itoa(stranger.Process.Pid)
	data := filepath.Join(dir, "postgres", "data")
	write(t, filepath.Join(data, "postmaster.pid"), stale+"\n"+data+"\n1\n1\n\n127.0.0.1\n\nready\n")
	for _, name := range []string{"lock", "postgres.lock", "redis/redis.lock"} {
		write(t, filepath.Join(dir, name), stale+"\n")
	}
	wantInserted(t, start(t, dir, nil))
	if err := stranger.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the process that the stale files name was stopped: %v", err)
	}
}

func TestKilledParentLeavesNothingAndLosesNothing(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	cmd, said := startParent(t, dir)
	if line := said(); line != "started" {
		t.Fatalf("the parent said %q", line)
	}
	servers := []int{readPID(filepath.Join(dir, "postgres.lock")), readPID(filepath.Join(dir, "redis", "redis.lock"))}
	st, err := loadState(dir)
	if err != nil {
		t.Fatal(err)
	}
	insert(t, &Stack{DatabaseURL: postgresURL(st.PostgresPassword, st.PostgresPort)})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed" is expected
	eventually(t, "the servers end with their parent", func() bool {
		return unlocked(t, filepath.Join(dir, "postgres.lock")) && unlocked(t, filepath.Join(dir, "redis", "redis.lock"))
	})
	for _, pid := range servers {
		if pid <= 1 {
			t.Errorf("a server's pid was recorded as %d", pid)
		}
	}
	wantInserted(t, start(t, dir, nil))
}

func TestStartRightAfterAKillStopsWhatWasLeft(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	cmd, said := startParent(t, dir)
	if line := said(); line != "started" {
		t.Fatalf("the parent said %q", line)
	}
	pid := readPID(filepath.Join(dir, "postgres.lock"))
	// Without its watchdog the server outlives its parent.
	killWatchdogs(t, dir, pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed" is expected
	if unlocked(t, filepath.Join(dir, "postgres.lock")) {
		t.Fatal("Postgres did not outlive its parent, so this test proves nothing")
	}
	var log bytes.Buffer
	s := start(t, dir, &log)
	insert(t, s)
	if !strings.Contains(log.String(), "left behind") || !strings.Contains(log.String(), fmt.Sprintf("pid=%d", pid)) {
		t.Errorf("the log does not name the abandoned server with pid %d:\n%s", pid, log.String())
	}
}

func TestInterruptLeavesTheServersToTheParent(t *testing.T) {
	t.Parallel()
	cmd, said := startParent(t, testDir(t))
	if line := said(); line != "started" {
		t.Fatalf("the parent said %q", line)
	}
	// Signal the whole group, as a terminal does.
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if line := said(); line != "stopped" {
		t.Errorf("the parent said %q", line)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestWithoutPostgres(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), Config{Dir: testDir(t), Folders: []string{t.TempDir()}, Logger: logger(nil)})
	if _, ok := errors.AsType[*MissingError](err); !ok || !strings.Contains(err.Error(), "apt-get install postgresql") || !strings.Contains(err.Error(), "brew install") {
		t.Errorf("without Postgres: %v; want a MissingError with the install command", err)
	}
}

func TestWithoutRedis(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s, err := Start(t.Context(), Config{Dir: testDir(t), DatabaseURL: "postgres://elsewhere/troy", Folders: []string{t.TempDir()}, Logger: logger(&log)})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, s)
	if err := ping(t.Context(), s.RedisURL); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "keeps nothing") || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("the log does not warn about the Redis without persistence:\n%s", log.String())
	}
	if s.DatabaseURL != "postgres://elsewhere/troy" {
		t.Errorf("the given database became %s", s.DatabaseURL)
	}
}

func TestGivenServersAreUsed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "never")
	s, err := Start(t.Context(), Config{Dir: dir, DatabaseURL: "a", RedisURL: "b"})
	if err != nil || s.DatabaseURL != "a" || s.RedisURL != "b" {
		t.Fatalf("%+v, %v", s, err)
	}
	stop(t, s)
	if _, err := os.Stat(dir); err == nil {
		t.Error("an unneeded data folder was created")
	}
}

func TestRedisKeepsItsData(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	cfg := Config{Dir: dir, DatabaseURL: "postgres://elsewhere/troy", Logger: logger(nil)}
	for round := range int64(2) {
		s, err := Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		opts, err := redis.ParseURL(s.RedisURL)
		if err != nil {
			t.Fatal(err)
		}
		c := redis.NewClient(opts)
		if n, err := c.Incr(t.Context(), "rounds").Result(); err != nil || n != round+1 {
			t.Errorf("round %d counts %d, %v", round+1, n, err)
		}
		if policy, err := c.ConfigGet(t.Context(), "maxmemory-policy").Result(); err != nil || policy["maxmemory-policy"] != "noeviction" {
			t.Errorf("policy %v, %v", policy, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		stop(t, s)
	}
}

func TestDataThatPostgresCannotReach(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		// Only root runs Postgres as another user, who may lack access.
		return
	}
	home := filepath.Join(testDir(t), "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(home, strings.Repeat("long", 30), ".troy")
	s := start(t, dir, nil)
	st, err := loadState(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(st.PostgresRoot) })
	if st.PostgresRoot == "" || strings.HasPrefix(st.PostgresRoot, dir) {
		t.Fatalf("the data are in %q, which Postgres cannot reach", st.PostgresRoot)
	}
	insert(t, s)
	stop(t, s)
	wantInserted(t, start(t, dir, nil))
}

func TestSetAsideKeepsWhatItFinds(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	s := start(t, dir, nil)
	stop(t, s)
	if err := os.Remove(stateFile(dir)); err != nil {
		t.Fatal(err)
	}
	start(t, dir, nil)
	if lost, err := filepath.Glob(filepath.Join(dir, "postgres.lost-*", "data", "PG_VERSION")); err != nil || len(lost) != 1 {
		t.Errorf("data set aside: %v, %v; want one", lost, err)
	}
}

func TestPortThatIsTaken(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	s := start(t, dir, nil)
	stop(t, s)
	other, err := startMiniredis(s.postgresPort(t), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Stop(t.Context()) }()
	if again := start(t, dir, nil); again.DatabaseURL == s.DatabaseURL {
		t.Error("the second start has the port that was taken")
	}
}

func TestOldestProgramsAreLookedAtLast(t *testing.T) {
	t.Parallel()
	if a, b := version("/usr/lib/postgresql/9/bin"), version("/usr/lib/postgresql/15/bin"); a != 9 || b != 15 {
		t.Errorf("versions %d and %d", a, b)
	}
}

// TestRedisWithBrokenData starts with an append-only file that Redis refuses:
// it is set aside, and nothing is deleted.
func TestRedisWithBrokenData(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	stop(t, start(t, dir, nil))
	files, err := filepath.Glob(filepath.Join(dir, "redis", "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no append-only file: %q, %v", files, err)
	}
	write(t, files[0], strings.Repeat("*1\r\n$4\r\nnot a command of Redis\r\n", 10))
	s := start(t, dir, nil)
	if err := ping(t.Context(), s.RedisURL); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(dir, "redis", "appendonlydir.broken-*", "*.incr.aof"))
	if err != nil || len(kept) != 1 {
		t.Errorf("files set aside: %q, %v", kept, err)
	}
	stop(t, s)
	if err := ping(t.Context(), start(t, dir, nil).RedisURL); err != nil {
		t.Errorf("the next start: %v", err)
	}
}
