// Package toolchain gives builds the programs that their repositories ask for:
// Node.js, package managers and others, in a version. It uses what the machine
// has, or installs packages of the npm registry, of Go's module proxy and, by
// mise, of publishers into a store, which builds only read. Package sandbox and troyd tools call it.
package toolchain

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/troy-iaas/troy/internal/files"
)

// Config says where the store is and how it is filled.
type Config struct {
	// Dir is the store's folder. It is created if it does not exist.
	Dir string
	// Install permits to install tools; otherwise only those are used that the
	// machine and the store have.
	Install bool
	// Registry is the npm registry. Empty means that of npm's configuration in
	// Environment, on the machine and of the user, or else npm's default.
	Registry string
	// Mise is the program mise, which installs Python, Ruby, Hugo and Zola; empty
	// means that those of the machine have to do.
	Mise string
	// Environment is that of all builds. Its npm_config_… take precedence over
	// npm's files.
	Environment map[string]string
	// MaxBytes bounds the store; zero means 5 GiB.
	MaxBytes int64
	Log      *slog.Logger

	now     func() time.Time
	npmrcs  []string // nil means npmrcFiles
	minFree int64
}

// Store is a folder with tools, which the processes of a machine share.
//
// Each tool is the folder NAME/VERSION. It appears complete, by a rename, and
// never changes, except that its record says later that it is on the disk. Who
// uses it holds its lock shared; who installs or removes it, exclusively.
type Store struct {
	dir      string
	fetch    bool
	maxBytes int64
	minFree  int64
	registry *registry
	modules  *modules
	mise     *mise
	// downloadTime bounds the download of a package or a module.
	downloadTime time.Duration
	log          *slog.Logger
	now          func() time.Time
	// boot identifies the machine's boot, within which what is in memory only is
	// not lost; "" means that the system does not tell.
	boot string
	sync func(dir string) error

	mu      sync.Mutex
	machine map[string]found  // by the path of the program
	lists   map[string]listed // by the path of the stored list
}

// Open opens the store.
func Open(cfg Config) (*Store, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil || cfg.Dir == "" {
		return nil, errors.Join(errors.New("the folder for tools is not set"), err)
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 5 << 30
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	if cfg.npmrcs == nil {
		cfg.npmrcs = npmrcFiles()
	}
	npm, err := readNpmConfig(cfg.Registry, cfg.Environment, cfg.npmrcs)
	if err != nil {
		return nil, err
	}
	client, err := newRegistry(npm)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"tmp", "locks", "index"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return nil, fmt.Errorf("open the folder for tools: %w", files.Error(err))
		}
	}
	return &Store{
		dir: dir, fetch: cfg.Install, maxBytes: cfg.MaxBytes, minFree: cfg.minFree, registry: client, modules: newModules(cfg.Environment, client.client), mise: newMise(cfg, npm, dir), downloadTime: 10 * time.Minute, log: cfg.Log, now: cfg.now, boot: bootID(), sync: files.SyncFileSystem,
		machine: map[string]found{}, lists: map[string]listed{},
	}, nil
}

// Tool is a tool in the store.
type Tool struct {
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Package  string    `json:"package"`
	Bytes    int64     `json:"bytes"`
	Added    time.Time `json:"added"`
	LastUsed time.Time `json:"-"`
	InUse    bool      `json:"-"`
}

// candidate is a version of a tool that a build could get.
type candidate struct {
	version *semver.Version
	// folder is the folder with the program, if it is on the machine. stored
	// reports that it is in the store.
	folder string
	stored bool
	rel    release
	from   source
}

// Ready is a tool that a build can use.
type Ready struct {
	Name, Version string
	// Dir is the tool's folder in the store, with its programs in the folder Bin.
	// They are empty for a tool of the machine.
	Dir, Bin string
	// Folder is the folder of the machine with the program, if Dir is empty.
	Folder string
}

// bootID returns what Linux identifies the machine's boot by (proc(5)), or "".
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// Set is the tools of a build.
type Set struct {
	Tools     []Ready
	release   []func()
	installed bool // one of them was not in the store before
	unsynced  []record
	syncing   sync.WaitGroup
}

func (s *Set) add(g got) {
	if g.version == nil {
		return
	}
	s.Tools = append(s.Tools, g.ready)
	s.installed = s.installed || g.installed
	if g.release != nil {
		s.release = append(s.release, g.release)
	}
	if g.record.Unsynced != "" {
		s.unsynced = append(s.unsynced, g.record)
	}
}

// Close lets the tools be removed from the store. It waits until new ones are on
// the disk.
func (s *Set) Close() {
	s.syncing.Wait()
	for _, release := range s.release {
		release()
	}
	s.release = nil
}
