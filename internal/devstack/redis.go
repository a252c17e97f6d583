package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// RedisConfig configures a private Redis.
type RedisConfig struct {
	Dir       string // its data, configuration, log and lock; it must exist
	Port      int    // preferred; 0 means any free port
	Password  string
	Databases int // number of databases; 0 means 16
	// Ephemeral disables persistence and removes Dir when the server ends, even
	// if this process is killed.
	Ephemeral bool
	Folders   []string // folders to search for the server; nil means ProgramFolders
	Logger    *slog.Logger
}

// Redis is a private Redis server of this process.
type Redis struct {
	URL  string // of database 0, for any process on this machine
	Port int

	process *process
	remove  string
	mini    *miniredis.Miniredis
}

// StartRedis starts a redis-server. It returns a *MissingError if redis-server
// is not installed.
func StartRedis(ctx context.Context, cfg RedisConfig) (*Redis, error) {
	folders := cfg.Folders
	if folders == nil {
		folders = ProgramFolders()
	}
	program, err := findRedis(folders)
	if err != nil {
		return nil, err
	}
	r := &Redis{}
	if cfg.Ephemeral {
		r.remove = cfg.Dir
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	const tries = 3
	repaired := false
	for try := 1; ; try++ {
		r.Port, err = freePort(cfg.Port)
		if err != nil {
			return nil, err
		}
		conf := filepath.Join(cfg.Dir, "redis.conf")
		if err := os.WriteFile(conf, []byte(redisConf(cfg, r.Port)), 0o600); err != nil {
			return nil, fmt.Errorf("write the configuration of Redis: %w", err)
		}
		r.URL = redisURL(cfg.Password, r.Port)
		spec := processSpec{
			name: "redis", program: program, args: []string{conf}, dir: cfg.Dir,
			logFile: filepath.Join(cfg.Dir, "redis.log"), lockFile: filepath.Join(cfg.Dir, "redis.lock"),
			stop: syscall.SIGTERM, abandon: "TERM", logger: cfg.Logger,
		}
		if cfg.Ephemeral {
			spec.stop, spec.abandon, spec.clean = syscall.SIGKILL, "KILL", []string{cfg.Dir}
		}
		r.process, err = startProcess(ctx, spec)
		if err != nil {
			return nil, err
		}
		err = r.process.await(ctx, func(ctx context.Context) error { return ping(ctx, r.URL) })
		if err == nil {
			return r, nil
		}
		select {
		case <-r.process.exited:
			if try < tries && ctx.Err() == nil && !portFree(r.Port) {
				continue
			}
			if !repaired && !cfg.Ephemeral && ctx.Err() == nil {
				// Perhaps Redis can't read its data. Setting it aside loses
				// nothing, because the queue is rebuilt from the rows.
				if repaired = setRedisAside(cfg, err); repaired {
					continue
				}
			}
		default:
			r.process.kill()
		}
		return nil, err
	}
}

// setRedisAside sets aside the data of a Redis that does not start, and reports
// whether there was any. It deletes nothing.
func setRedisAside(cfg RedisConfig, cause error) bool {
	moved := false
	for _, name := range []string{"appendonlydir", "appendonly.aof", "dump.rdb"} {
		aside := filepath.Join(cfg.Dir, name+".broken-"+time.Now().UTC().Format("20060102T150405.000"))
		if err := os.Rename(filepath.Join(cfg.Dir, name), aside); err != nil {
			continue // usually the file does not exist
		}
		moved = true
		cfg.Logger.Warn("Redis does not start with its data; the data was set aside, and the queue is rebuilt from the rows", "to", aside, "error", cause)
	}
	return moved
}

// startMiniredis runs a Redis without persistence in this process.
func startMiniredis(port int, password string) (*Redis, error) {
	m := miniredis.NewMiniRedis()
	m.RequireAuth(password)
	port, err := freePort(port)
	if err != nil {
		return nil, err
	}
	if err := m.StartAddr(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err != nil {
		return nil, fmt.Errorf("start a Redis in the process: %w", err)
	}
	return &Redis{URL: redisURL(password, port), Port: port, mini: m}, nil
}

// Stop ends the server after it has written its data. If ctx is done first, the
// server is killed.
func (r *Redis) Stop(ctx context.Context) error {
	if r.mini != nil {
		r.mini.Close()
		return nil
	}
	err := r.process.end(ctx)
	if r.remove != "" {
		err = errors.Join(err, os.RemoveAll(r.remove))
	}
	return err
}

// Kill kills the server with SIGKILL and keeps its folder.
func (r *Redis) Kill() {
	if r.process != nil {
		r.process.kill()
	}
}

func redisConf(cfg RedisConfig, port int) string {
	lines := []string{
		"port " + strconv.Itoa(port),
		"bind 127.0.0.1",
		"requirepass " + strconv.Quote(cfg.Password),
		"dir " + strconv.Quote(cfg.Dir),
		"maxmemory-policy noeviction", // asynq blocks an id whose task was evicted
		"daemonize no",
	}
	if cfg.Databases > 0 {
		lines = append(lines, "databases "+strconv.Itoa(cfg.Databases))
	}
	if cfg.Ephemeral {
		lines = append(lines, `save ""`, "appendonly no")
	} else {
		// An idle Redis wakes hz times a second for its own upkeep; with the
		// default of 10 that is most of the CPU time it uses here.
		// Snapshots beside the log would only copy it.
		lines = append(lines, "appendonly yes", "appendfsync everysec", `save ""`, "hz 1")
	}
	return strings.Join(lines, "\n") + "\n"
}

func ping(ctx context.Context, redisURL string) error {
	opts, err := redis.ParseURL(redisURL)
	if err != nil {
		return fmt.Errorf("read the URL of the private Redis: %w", err)
	}
	opts.MaxRetries = -1
	client := redis.NewClient(opts)
	defer client.Close()
	return client.Ping(ctx).Err()
}

func redisURL(password string, port int) string {
	u := url.URL{
		Scheme: "redis", User: url.UserPassword("", password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/0",
	}
	return u.String()
}
