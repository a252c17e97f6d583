// Package devstack finds or starts Troy's dependencies: a private Postgres and
// a private Redis with data below the data folder. `troyd dev` starts and stops
// them with itself; tests use package stacktest. A private server ends with the
// process that started it, even after a crash, and the next start finds its
// data.
package devstack

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
)

// Config configures a Stack.
type Config struct {
	// Dir is TROY_DATA_DIR. It is created if it does not exist, with
	// permissions that let other users pass through it but not list it.
	Dir string
	// DatabaseURL and RedisURL name running servers, which Start uses instead
	// of starting its own.
	DatabaseURL, RedisURL string
	// Folders are the folders to search for the servers' programs; nil means
	// ProgramFolders.
	Folders []string
	Logger  *slog.Logger
}

// Stack is a Postgres and a Redis.
type Stack struct {
	DatabaseURL, RedisURL string

	postgres *Postgres
	redis    *Redis
	lock     *os.File
}

// LockedError means that another process runs the private servers of a folder.
type LockedError struct {
	Dir string
	PID int // 0 if unknown
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is in use by another troyd dev with pid %d: stop it, or set TROY_DATA_DIR to another folder", e.Dir, e.PID)
}

// state is the content of Dir/stack.json, which persists between starts and is
// readable only by its owner.
type state struct {
	PostgresPassword string `json:"postgres_password"`
	PostgresPort     int    `json:"postgres_port,omitempty"`
	// PostgresRoot is the location of the data if it can't be in Dir.
	PostgresRoot  string `json:"postgres_root,omitempty"`
	RedisPassword string `json:"redis_password"`
	RedisPort     int    `json:"redis_port,omitempty"`
}

// Start starts the servers that the configuration does not name. It returns a
// *LockedError if another process has started servers in the same folder, and a
// *MissingError if Postgres is not installed. Without redis-server it runs a
// Redis in the process and logs a warning.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	s := &Stack{DatabaseURL: cfg.DatabaseURL, RedisURL: cfg.RedisURL}
	if s.DatabaseURL != "" && s.RedisURL != "" {
		return s, nil
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("find the data folder %q: %w", cfg.Dir, err)
	}
	cfg.Dir = dir
	if err := s.start(ctx, cfg); err != nil {
		// ctx may have ended the start; stop the servers regardless.
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockWait)
		defer cancel()
		return nil, errors.Join(err, s.Stop(stopCtx))
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context, cfg Config) error {
	if err := os.MkdirAll(cfg.Dir, 0o711); err != nil {
		return fmt.Errorf("create the data folder: %w", err)
	}
	var err error
	if s.lock, err = lockFolder(cfg.Dir); err != nil {
		return err
	}
	st, err := loadState(cfg.Dir)
	if err != nil {
		return err
	}
	if s.DatabaseURL == "" {
		if err := s.startPostgres(ctx, cfg, &st); err != nil {
			return err
		}
	}
	if s.RedisURL == "" {
		if err := s.startRedis(ctx, cfg, &st); err != nil {
			return err
		}
	}
	return st.save(cfg.Dir)
}

func (s *Stack) startPostgres(ctx context.Context, cfg Config, st *state) error {
	account, err := serverAccount()
	if err != nil {
		return err
	}
	fresh := st.PostgresPassword == ""
	if fresh {
		st.PostgresPassword = rand.Text()
		if !account.reaches(cfg.Dir) {
			st.PostgresRoot = outsideRoot(cfg.Dir)
		}
	}
	root := st.PostgresRoot
	if root == "" {
		root = filepath.Join(cfg.Dir, "postgres")
	}
	if fresh {
		if err := setAside(root, cfg.Logger); err != nil {
			return err
		}
		// Before the data gets the password.
		if err := st.save(cfg.Dir); err != nil {
			return err
		}
	}
	s.postgres, err = StartPostgres(ctx, PostgresConfig{
		Dir: cfg.Dir, Root: root, Port: st.PostgresPort, Password: st.PostgresPassword,
		Folders: cfg.Folders, Logger: cfg.Logger,
	})
	if err != nil {
		return err
	}
	s.DatabaseURL, st.PostgresPort = s.postgres.URL, s.postgres.Port
	cfg.Logger.Info("started a private Postgres", "port", s.postgres.Port, "data", filepath.Join(root, "data"))
	return nil
}

func (s *Stack) startRedis(ctx context.Context, cfg Config, st *state) error {
	if st.RedisPassword == "" {
		st.RedisPassword = rand.Text()
	}
	dir := filepath.Join(cfg.Dir, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create a folder for Redis: %w", err)
	}
	var err error
	s.redis, err = StartRedis(ctx, RedisConfig{
		Dir: dir, Port: st.RedisPort, Password: st.RedisPassword, Folders: cfg.Folders, Logger: cfg.Logger,
	})
	if missing, ok := errors.AsType[*MissingError](err); ok {
		s.redis, err = startMiniredis(st.RedisPort, st.RedisPassword)
		if err == nil {
			cfg.Logger.Warn("redis-server is not installed; using a Redis inside this process, which keeps nothing; the queue is rebuilt from the rows after a restart", "hint", missing.Install)
		}
	}
	if err != nil {
		return err
	}
	s.RedisURL, st.RedisPort = s.redis.URL, s.redis.Port
	cfg.Logger.Info("started a private Redis", "port", s.redis.Port)
	return nil
}

// Stop stops the servers that Start started. It kills those that have not ended
// when ctx is done. It may be called again.
func (s *Stack) Stop(ctx context.Context) error {
	var errs []error
	if s.redis != nil {
		errs = append(errs, s.redis.Stop(ctx))
		s.redis = nil
	}
	if s.postgres != nil {
		errs = append(errs, s.postgres.Stop(ctx))
		s.postgres = nil
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
		s.lock = nil
	}
	return errors.Join(errs...)
}

// lockFolder locks the folder's servers for this process. The lock ends with
// the process. The pid in the file is for people.
func lockFolder(dir string) (*os.File, error) {
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the data folder: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = writePID(f, fmt.Sprint(os.Getpid()))
	}
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, &LockedError{Dir: dir, PID: readPID(name)}
	}
	return nil, fmt.Errorf("lock %s: %w", name, err)
}

func stateFile(dir string) string { return filepath.Join(dir, "stack.json") }

func loadState(dir string) (state, error) {
	var st state
	text, err := os.ReadFile(stateFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &st)
	}
	if err != nil {
		return st, fmt.Errorf("read %s, which contains the passwords of the private servers: %w", stateFile(dir), err)
	}
	return st, nil
}

// save replaces the file atomically.
func (st state) save(dir string) error {
	text, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return fmt.Errorf("write the private servers' state: %w", err)
	}
	half := stateFile(dir) + ".new"
	if err := os.WriteFile(half, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the private servers' state: %w", err)
	}
	if err := os.Rename(half, stateFile(dir)); err != nil {
		return fmt.Errorf("write the private servers' state: %w", err)
	}
	return nil
}
