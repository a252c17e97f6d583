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

// RedisConfig says how to start a private Redis.
type RedisConfig struct {
	Dir       string // its data, configuration, log and lock; it must exist
	Port      int    // preferred; 0 takes a free one
	Password  string
	Databases int // how many it has; 0 is 16
	// Ephemeral keeps nothing on disk and removes Dir when the server ends,
	// even if this process is killed.
	Ephemeral bool
	Folders   []string // where to look for the server; nil is ProgramFolders
	Logger    *slog.Logger
}

// Redis is a private Redis server of this process.
type Redis struct {
	URL  string // of database 0, for any process of the machine
	Port int

	process *process
	remove  string
	mini    *miniredis.Miniredis
}

// StartRedis starts a redis-server. It fails with *MissingError when none is
// installed.
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
				// Perhaps it can't read its data. Nothing is lost with them: the
				// queue is rebuilt from the rows.
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

// setRedisAside moves the data of a Redis that does not start away, and
// reports whether there were any. Nothing is deleted.
func setRedisAside(cfg RedisConfig, cause error) bool {
	moved := false
	for _, name := range []string{"appendonlydir", "appendonly.aof", "dump.rdb"} {
		aside := filepath.Join(cfg.Dir, name+".broken-"+time.Now().UTC().Format("20060102T150405.000"))
		if err := os.Rename(filepath.Join(cfg.Dir, name), aside); err != nil {
			continue // mostly, there is none
		}
		moved = true
		cfg.Logger.Warn("Redis does not start with its data; they were moved aside, and the queue is rebuilt from the rows", "to", aside, "error", cause)
	}
	return moved
}

// startMiniredis runs a Redis in this process, which keeps nothing.
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

// Stop ends the server once its data are written. When ctx ends first it is
// killed.
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

// Kill ends the server at once, as kill -9 does, and keeps its folder.
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
		"maxmemory-policy noeviction", // an evicted task wedges its id in asynq
		"daemonize no",
	}
	if cfg.Databases > 0 {
		lines = append(lines, "databases "+strconv.Itoa(cfg.Databases))
	}
	if cfg.Ephemeral {
		lines = append(lines, `save ""`, "appendonly no")
	} else {
		lines = append(lines, "appendonly yes", "appendfsync everysec")
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
