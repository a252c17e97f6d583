// Package sandbox builds on this machine: each build is a group of processes
// that sees its own folders and the system's programs, and nothing of the
// machine's network. Its files are below the data folder, so that every process
// of the machine can poll a build and stop it. cmd/troyd makes it when no
// CodeBuild project is set.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/toolchain"
	"github.com/troy-iaas/troy/internal/disk"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/site"
)

// Isolation is the isolation of builds from the machine.
type Isolation string

const (
	// Bubblewrap: a build sees its own folders and the system's programs,
	// nothing of the machine's network, and has its own user. Without the
	// necessary programs, builds are refused.
	Bubblewrap Isolation = "bubblewrap"
	// NoIsolation: a build has the worker's rights. It is for machines whose
	// repositories are all trusted.
	NoIsolation Isolation = "none"
)

// Config sets where builds run and what they get.
type Config struct {
	// Root is the data folder, which localcloud uses too. It is created if it
	// does not exist.
	Root string
	// Isolation defaults to Bubblewrap.
	Isolation Isolation
	// FirstUID is the first of a thousand user ids that no account of the
	// machine has; each running build gets one if Troy is root. Zero means
	// 1990000000, above systemd's ranges (systemd.io/UIDS-GIDS).
	FirstUID int
	// Environment is set in every build, for example a proxy or a certificate
	// file.
	Environment map[string]string
	// Path lists additional folders with programs, before the system's.
	Path []string
	// Visible lists additional files and folders that builds may read.
	Visible []string
	// Allow lists private networks that builds may reach, for example that of a
	// private registry.
	Allow []netip.Prefix
	// Cgroup is the folder of a control group of version 2 in which Troy may
	// create others: the kernel then enforces builds' memory and process
	// limits. Empty means the parent of Troy's own group if that is called
	// troyd.
	Cgroup string
	// CacheBytes bounds each pipeline's dependency cache; zero means 2 GiB.
	CacheBytes int64
	// AllCachesBytes bounds the caches of all pipelines together; zero means
	// 20 GiB.
	AllCachesBytes int64
	// Tools has the programs in the versions that repositories ask for. Without
	// it, builds use those of the machine.
	Tools *toolchain.Store
	Log   *slog.Logger
}

// Builder runs builds on this machine; see builder.Builder. Any process that
// shares the root may poll and stop a build; the build lives and dies with the
// process that started it.
type Builder struct {
	cfg   Config
	root  files.Root
	tools []string // folders of the isolating programs
	// minFree is how much of the disk builds leave free.
	minFree int64
	// arch is the GOARCH of the system call filter.
	arch string

	open context.Context // until Close; prevents builds from cleaning up meanwhile
	shut context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running map[site.Tree]*run
}

var _ builder.Builder = (*Builder)(nil)

// The causes of a build's context when it is ended from outside.
var (
	errStopped  = errors.New("stopped")
	errShutdown = errors.New("its worker stops")
)

// firstUID is the default of Config.FirstUID.
const firstUID = 1_990_000_000

// New opens the builder in cfg.Root. Close it before the process ends.
func New(cfg Config) (*Builder, error) {
	switch cfg.Isolation {
	case "":
		cfg.Isolation = Bubblewrap
	case Bubblewrap, NoIsolation:
	default:
		return nil, troy.Errorf(troy.Invalid, "the isolation is %q; expected %q or %q", cfg.Isolation, Bubblewrap, NoIsolation).At("isolation")
	}
	if cfg.Root == "" {
		return nil, fmt.Errorf("local builder: the root folder is not set")
	}
	root, err := filepath.Abs(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("local builder: %w", err)
	}
	if err := build.CheckVariables(cfg.Environment); err != nil {
		return nil, fmt.Errorf("local builder: %w", err)
	}
	if cfg.FirstUID == 0 {
		cfg.FirstUID = firstUID
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 2 << 30
	}
	if cfg.AllCachesBytes == 0 {
		cfg.AllCachesBytes = 20 << 30
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := &Builder{cfg: cfg, root: files.Root(root), minFree: disk.Reserve, arch: runtime.GOARCH, running: map[site.Tree]*run{}}
	b.open, b.shut = context.WithCancel(context.Background())
	b.tools = append(systemFolders(), "/usr/sbin", "/sbin")
	for _, dir := range []string{b.root.Temp(), b.root.Path("locks")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("local builder: %w", files.Error(err))
		}
	}
	// Logs and work folders are private.
	for _, dir := range []string{b.root.Path("builds"), b.root.Path("builds", "uids")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("local builder: %w", files.Error(err))
		}
	}
	return b, nil
}

// Close ends the builds of this process. They are then builder.Lost and may be
// started again as if they had not been started here.
func (b *Builder) Close() error {
	b.mu.Lock()
	b.closed = true
	var runs []*run
	for _, r := range b.running {
		runs = append(runs, r)
	}
	b.mu.Unlock()
	b.shut()
	for _, r := range runs {
		r.cancel(errShutdown)
	}
	for _, r := range runs {
		<-r.done
	}
	return nil
}

// Start implements builder.Builder.
func (b *Builder) Start(ctx context.Context, spec builder.Spec) error {
	if err := b.start(ctx, spec); err != nil {
		return fmt.Errorf("start build %s: %w", spec.Tree.Deployment, err)
	}
	return nil
}

// maxAttempts is how often a build whose worker dies is started.
const maxAttempts = 2

func (b *Builder) start(ctx context.Context, spec builder.Spec) error {
	if spec.Tree.Pipeline == uuid.Nil || spec.Tree.Deployment == uuid.Nil || spec.Source == nil {
		return troy.Errorf(troy.Invalid, "a build needs a pipeline, a deployment and a source")
	}
	if err := build.CheckVariables(spec.Variables); err != nil {
		return err
	}
	if spec.Untrusted && b.cfg.Isolation == NoIsolation {
		return troy.Errorf(troy.Conflict, "the author of the commit may not push to the repository, and this installation does not isolate builds (TROY_BUILD_ISOLATION=none); push the commit to a branch of the repository to build it")
	}
	spec.Limits = spec.Limits.OrDefault()
	release, err := b.root.Lock(ctx, "build", spec.Tree.Deployment.String())
	if err != nil {
		return err
	}
	defer release()
	f := b.files(spec.Tree)
	record, err := f.read()
	if err != nil && !errors.Is(err, builder.ErrNotFound) {
		return err
	}
	switch record.State {
	case builder.Succeeded, builder.Failed, builder.Stopped:
		return nil
	}
	if err := b.available(); err != nil {
		return err
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return files.Error(err)
	}
	alive, err := f.hold()
	if err != nil {
		return err
	}
	if alive == nil {
		return nil // it runs
	}
	// It may have ended during the wait for its process.
	if again, err := f.read(); err == nil && again.State != record.State {
		alive()
		return nil
	}
	if record.Attempts >= maxAttempts {
		alive()
		return troy.Errorf(troy.Conflict, "the build was started %d times, and its worker died each time", record.Attempts)
	}
	record = buildRecord{
		Build:    builder.Build{State: builder.Running, Started: time.Now().UTC(), Phases: []builder.PhaseRun{}},
		Attempts: record.Attempts + 1,
	}
	r, err := b.newRun(ctx, spec, f, record)
	if err != nil {
		alive()
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		// As if it had not been started.
		r.record.State, r.record.Attempts = builder.Lost, r.record.Attempts-1
		err := errors.Join(troy.Errorf(troy.Unavailable, "the worker stops"), r.save(), r.log.close())
		alive()
		return err
	}
	b.running[spec.Tree] = r
	go func() {
		r.main()
		b.mu.Lock()
		delete(b.running, spec.Tree)
		b.mu.Unlock()
		alive()
		close(r.done)
	}()
	return nil
}

// Get implements builder.Builder.
func (b *Builder) Get(_ context.Context, t site.Tree) (builder.Build, error) {
	record, err := b.files(t).look()
	if err != nil {
		return builder.Build{}, fmt.Errorf("get build %s: %w", t.Deployment, err)
	}
	return record.Build, nil
}

// logPage is the maximum size of a page in bytes.
const logPage = 256 << 10

// Log implements builder.Builder. Its cursor is the position in the log's file.
func (b *Builder) Log(_ context.Context, t site.Tree, cursor string) (builder.LogPage, error) {
	page, err := b.files(t).page(cursor)
	if err != nil {
		return builder.LogPage{}, fmt.Errorf("read the log of build %s: %w", t.Deployment, err)
	}
	return page, nil
}

func (f buildFiles) page(cursor string) (builder.LogPage, error) {
	if cursor == "" {
		cursor = "0"
	}
	from, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || from < 0 {
		return builder.LogPage{}, troy.Errorf(troy.Invalid, "%.64q is not a cursor of this log", cursor).At("cursor")
	}
	// Read the state first: everything written before the end is then in the
	// file.
	record, err := f.look()
	if err != nil {
		return builder.LogPage{}, err
	}
	file, err := os.Open(f.path("log"))
	if err != nil {
		return builder.LogPage{}, err
	}
	defer file.Close()
	data := make([]byte, logPage)
	n, err := file.ReadAt(data, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return builder.LogPage{}, err
	}
	return builder.LogPage{
		Data: data[:n], Next: strconv.FormatInt(from+int64(n), 10),
		End: errors.Is(err, io.EOF) && record.State != builder.Running,
	}, nil
}

// stopPoll is how often a build checks whether another process stops it, and
// how often that process checks whether it has ended.
const stopPoll = 100 * time.Millisecond

// Stop implements builder.Builder.
func (b *Builder) Stop(ctx context.Context, t site.Tree) error {
	if err := b.stop(ctx, t); err != nil {
		return fmt.Errorf("stop build %s: %w", t.Deployment, err)
	}
	return nil
}

func (b *Builder) stop(ctx context.Context, t site.Tree) error {
	f := b.files(t)
	if _, err := f.read(); err != nil {
		return err
	}
	b.mu.Lock()
	r := b.running[t]
	b.mu.Unlock()
	if r != nil {
		r.cancel(errStopped)
		select {
		case <-r.ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ticker := time.NewTicker(stopPoll)
	defer ticker.Stop()
	for {
		record, err := f.look()
		switch {
		case err != nil:
			return err
		case record.State == builder.Lost:
			ended, err := b.stopLost(ctx, f)
			if err != nil || ended {
				return err
			}
		case record.State != builder.Running:
			return nil
		}
		// Its process sees this within stopPoll.
		if err := os.WriteFile(f.path("stop"), nil, 0o600); err != nil {
			return files.Error(err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stopLost prevents a lost build from being restarted. It returns false if
// another process has just restarted it.
func (b *Builder) stopLost(ctx context.Context, f buildFiles) (bool, error) {
	release, err := b.root.Lock(ctx, "build", f.tree.Deployment.String())
	if err != nil {
		return false, err
	}
	defer release()
	record, err := f.look()
	if err != nil || record.State != builder.Lost {
		return record.State != builder.Running, err
	}
	record.State, record.Ended = builder.Stopped, time.Now().UTC()
	return true, errors.Join(f.write(b.root.Temp(), record), removeFolder(ctx, f.path("work")))
}

// Artifact implements builder.Builder.
func (b *Builder) Artifact(ctx context.Context, t site.Tree) (*site.Source, error) {
	f := b.files(t)
	record, err := f.look()
	if err == nil && record.State != builder.Succeeded {
		err = troy.Errorf(troy.Conflict, "the build is %s", record.State)
	}
	var s *site.Source
	if err == nil {
		s, err = f.openOutput(ctx, record)
	}
	if err != nil {
		return nil, fmt.Errorf("open the artifact of build %s: %w", t.Deployment, err)
	}
	return s, nil
}

// Remove implements builder.Builder.
func (b *Builder) Remove(ctx context.Context, t site.Tree) error {
	if err := b.remove(ctx, t); err != nil {
		return fmt.Errorf("remove build %s of %s: %w", t.Deployment, t.Pipeline, err)
	}
	return nil
}

func (b *Builder) remove(ctx context.Context, t site.Tree) error {
	if t.Deployment != uuid.Nil {
		if err := b.stop(ctx, t); err != nil && !errors.Is(err, builder.ErrNotFound) {
			return err
		}
		release, err := b.root.Lock(ctx, "build", t.Deployment.String())
		if err != nil {
			return err
		}
		defer release()
		return removeFolder(ctx, b.files(t).dir)
	}
	dir := b.root.Path("builds", t.Pipeline.String())
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		deployment, err := uuid.Parse(entry.Name())
		if err != nil {
			continue // the caches
		}
		if err := b.remove(ctx, site.Tree{Pipeline: t.Pipeline, Deployment: deployment}); err != nil {
			return err
		}
	}
	return removeFolder(ctx, dir)
}
