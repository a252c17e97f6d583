package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// startTimeout is the maximum time until a server answers, including recovery
// after a crash.
const startTimeout = 60 * time.Second

// maxSocketFolder leaves space in a socket's path (107 bytes on Linux, 103 on
// macOS) for "/.s.PGSQL.65535".
const maxSocketFolder = 85

// PostgresConfig configures a private Postgres.
type PostgresConfig struct {
	// Dir contains its log and its lock. Two callers with the same Dir never
	// share a running server.
	Dir string
	// Root contains its data. For root it must be a folder that the server's
	// account can access; see postgresRoot.
	Root     string
	Port     int    // preferred; 0 means any free port
	Password string // of the superuser "troy"
	// Ephemeral trades durability for speed and removes Root when the server
	// ends, even if this process is killed.
	Ephemeral bool
	Folders   []string // folders to search for the server; nil means ProgramFolders
	Logger    *slog.Logger
}

// Postgres is a private Postgres server of this process.
type Postgres struct {
	URL  string // of the database "troy", for any process on this machine
	Port int

	process *process
	remove  []string
}

// StartPostgres starts a Postgres and creates its data if there is none. It
// returns a *MissingError if Postgres is not installed.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	folders := cfg.Folders
	if folders == nil {
		folders = ProgramFolders()
	}
	bin, err := findPostgres(folders)
	if err != nil {
		return nil, err
	}
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	if err := account.makeFolder(cfg.Root); err != nil {
		return nil, err
	}
	data := filepath.Join(cfg.Root, "data")
	if err := initData(ctx, cfg, bin, data, account); err != nil {
		return nil, err
	}
	p := &Postgres{}
	if cfg.Ephemeral {
		p.remove = append(p.remove, cfg.Root)
	}
	sockets := filepath.Join(cfg.Root, "s")
	if len(sockets) <= maxSocketFolder {
		err = account.makeFolder(sockets)
	} else {
		sockets, err = account.temporaryFolder("troy-pg-")
		p.remove = append(p.remove, sockets)
	}
	if err != nil {
		return nil, err
	}
	if err := p.launch(ctx, cfg, bin, data, sockets, account); err != nil {
		return nil, errors.Join(err, p.cleanUp())
	}
	return p, nil
}

// StartEphemeralPostgres starts a Postgres with empty temporary data, which is
// removed when the server ends.
func StartEphemeralPostgres(ctx context.Context, logger *slog.Logger) (*Postgres, error) {
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	dir, err := account.temporaryFolder("troy-postgres-")
	if err != nil {
		return nil, err
	}
	p, err := StartPostgres(ctx, PostgresConfig{Dir: dir, Root: dir, Password: rand.Text(), Ephemeral: true, Logger: logger})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return p, nil
}

// launch starts the server. It chooses another port if another process took the
// first one.
func (p *Postgres) launch(ctx context.Context, cfg PostgresConfig, bin, data, sockets string, account account) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	const tries = 3
	for try := 1; ; try++ {
		port, err := freePort(cfg.Port)
		if err != nil {
			return err
		}
		spec := processSpec{
			name: "postgres", program: filepath.Join(bin, "postgres"), args: postgresArgs(cfg, data, sockets, port),
			dir: cfg.Root, credential: account.credential,
			logFile: filepath.Join(cfg.Dir, "postgres.log"), lockFile: filepath.Join(cfg.Dir, "postgres.lock"),
			stop: syscall.SIGINT, abandon: "INT", clean: p.remove, logger: cfg.Logger,
			// The holder of the lock may remove the pid file, because the
			// process that it names is not a server of this data any more.
			locked: func() error { return removeStale(filepath.Join(data, "postmaster.pid")) },
		}
		if cfg.Ephemeral {
			spec.stop, spec.abandon = syscall.SIGQUIT, "QUIT"
		}
		p.process, err = startProcess(ctx, spec)
		if err != nil {
			return err
		}
		p.Port, p.URL = port, postgresURL(cfg.Password, port)
		err = p.process.await(ctx, func(ctx context.Context) error { return prepare(ctx, p.URL) })
		if err == nil {
			return nil
		}
		select {
		case <-p.process.exited:
			if try < tries && ctx.Err() == nil && !portFree(port) {
				continue
			}
		default:
			p.process.kill()
		}
		return err
	}
}

func postgresArgs(cfg PostgresConfig, data, sockets string, port int) []string {
	settings := []string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(port),
		"unix_socket_directories=" + sockets, "unix_socket_permissions=0700",
		"max_connections=200", "shared_buffers=32MB", "logging_collector=off",
	}
	if cfg.Ephemeral {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off", "max_wal_size=4GB")
	}
	args := []string{"-D", data}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	return args
}

// prepare connects to the server and creates the database if it does not exist,
// because an earlier start may have been killed before that.
func prepare(ctx context.Context, databaseURL string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return fmt.Errorf("read the URL of the private Postgres: %w", err)
	}
	name := cfg.Database
	cfg.Database = "postgres"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil || exists {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	return err
}

// Stop ends the server in Postgres's "fast" mode: it rolls back transactions
// and writes all data. If ctx is done first, the server is killed.
func (p *Postgres) Stop(ctx context.Context) error {
	return errors.Join(p.process.end(ctx), p.cleanUp())
}

func (p *Postgres) cleanUp() error {
	var errs []error
	for _, dir := range p.remove {
		if err := os.RemoveAll(dir); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// initData creates the data folder under a temporary name and renames it at the
// end, so that a killed start leaves no incomplete folder behind.
func initData(ctx context.Context, cfg PostgresConfig, bin, data string, account account) error {
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err == nil {
		return checkVersion(bin, data)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("find the data of Postgres: %w", err)
	}
	if _, err := os.Stat(data); err == nil {
		return fmt.Errorf("%s is not a data folder of Postgres (no PG_VERSION); move it away", data)
	}
	half := data + ".new"
	password := filepath.Join(cfg.Root, "password")
	if err := errors.Join(os.RemoveAll(half), os.RemoveAll(password)); err != nil {
		return fmt.Errorf("remove incomplete data of Postgres: %w", err)
	}
	if err := os.WriteFile(password, []byte(cfg.Password+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the password for initdb: %w", err)
	}
	defer os.Remove(password)
	if err := account.own(password); err != nil {
		return err
	}
	args := []string{"-D", half, "--username=troy", "--pwfile=" + password, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"}
	if cfg.Ephemeral {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), args...)
	cmd.Dir = cfg.Root
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: account.credential}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("create the data of Postgres (%s): %w:\n%s", cmd.Path, err, out)
	}
	if err := os.Rename(half, data); err != nil {
		return fmt.Errorf("rename the data of Postgres: %w", err)
	}
	return nil
}

// checkVersion compares the major version of the data with the server's.
func checkVersion(bin, data string) error {
	have, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err != nil {
		return fmt.Errorf("read the version of the data of Postgres: %w", err)
	}
	out, err := exec.Command(filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return fmt.Errorf("get the version of %s: %w", filepath.Join(bin, "postgres"), err)
	}
	if want, got := version(string(have)), version(string(out)); want != got {
		return fmt.Errorf("%s was written by PostgreSQL %d, and the one found in %s is %d: install version %d, or move the folder away to start with an empty database", data, want, bin, got, want)
	}
	return nil
}

func postgresURL(password string, port int) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword("troy", password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/troy",
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

func removeStale(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a stale pid file: %w", err)
	}
	return nil
}

func portFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
