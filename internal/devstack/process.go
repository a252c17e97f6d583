package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// watchdogScript ends a server whose parent died without stopping it: it
// reads the server's pid, then waits for a line from the parent. The end of
// the pipe without that line means that the parent is gone, killed -9
// perhaps. Then it sends the signal $1 and, when the server has ended, removes
// the remaining arguments. A second process does this rather than Linux's
// PR_SET_PDEATHSIG, which is bound to the thread that forked and is not there
// on macOS.
const watchdogScript = `IFS= read -r pid || exit 0
IFS= read -r word && exit 0
kill -s "$1" "$pid" 2>/dev/null
shift
n=0
while kill -0 "$pid" 2>/dev/null && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done
[ $# -eq 0 ] || rm -rf -- "$@"
`

// lockWait is how long a start waits for a server that a killed parent left
// behind to end.
const lockWait = 30 * time.Second

// maxLog is the size in bytes past which a start begins a new log.
const maxLog = 16 << 20

// processSpec says how to start a server.
type processSpec struct {
	name       string
	program    string
	args       []string
	dir        string
	credential *syscall.Credential // nil keeps the caller's user
	logFile    string
	// lockFile holds the server's pid. The server inherits an flock on it,
	// so that it is locked exactly as long as the server, or a child of it,
	// lives; a pid alone may have become another process's.
	lockFile string
	// locked runs once the lock is held, before the server starts.
	locked func() error
	// stop asks the server to end in good order, abandon to end when the
	// parent is gone.
	stop    syscall.Signal
	abandon string
	clean   []string // removed when the server was abandoned
	logger  *slog.Logger
}

// process is a running server.
type process struct {
	spec     processSpec
	cmd      *exec.Cmd
	watch    io.WriteCloser
	watchdog *exec.Cmd
	exited   chan struct{}
	err      error // how it ended, once exited is closed
	wanted   atomic.Bool
}

// startProcess starts a server. One that still runs from a parent that was
// killed is stopped first.
func startProcess(ctx context.Context, spec processSpec) (*process, error) {
	lock, err := takeServerLock(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer lock.Close() // the server keeps its own descriptor
	if spec.locked != nil {
		if err := spec.locked(); err != nil {
			return nil, err
		}
	}

	if info, err := os.Stat(spec.logFile); err == nil && info.Size() > maxLog {
		if err := os.Rename(spec.logFile, spec.logFile+".old"); err != nil {
			return nil, fmt.Errorf("set aside the log of %s: %w", spec.name, err)
		}
	}
	log, err := os.OpenFile(spec.logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", spec.name, err)
	}
	defer log.Close()

	p := &process{spec: spec, exited: make(chan struct{})}
	if err := p.startWatchdog(); err != nil {
		return nil, err
	}
	p.cmd = exec.Command(spec.program, spec.args...)
	p.cmd.Dir = spec.dir
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TMPDIR=" + os.TempDir()}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.ExtraFiles = []*os.File{lock}
	// A group of its own keeps the terminal's Ctrl-C from it: the parent
	// stops it after what uses it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: spec.credential}
	if err := p.cmd.Start(); err != nil {
		p.dismissWatchdog()
		return nil, fmt.Errorf("start %s (%s): %w", spec.name, spec.program, err)
	}
	pid := strconv.Itoa(p.cmd.Process.Pid)
	if _, err := io.WriteString(p.watch, pid+"\n"); err != nil {
		spec.logger.Warn("nobody will stop the server should this process be killed", "server", spec.name, "error", err)
	}
	if err := writePID(lock, pid); err != nil {
		spec.logger.Warn("the server's pid could not be recorded", "server", spec.name, "error", err)
	}
	go p.wait()
	return p, nil
}

func (p *process) startWatchdog() error {
	args := append([]string{"-c", watchdogScript, "watchdog", p.spec.abandon}, p.spec.clean...)
	p.watchdog = exec.Command("/bin/sh", args...)
	p.watchdog.Dir = "/"
	p.watchdog.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := p.watchdog.StdinPipe()
	if err != nil {
		return fmt.Errorf("start the watchdog of %s: %w", p.spec.name, err)
	}
	if err := p.watchdog.Start(); err != nil {
		return fmt.Errorf("start the watchdog of %s: %w", p.spec.name, err)
	}
	p.watch = pipe
	return nil
}

// dismissWatchdog tells the watchdog that there is nothing left to do. It
// must know before the pid can be another process's.
func (p *process) dismissWatchdog() {
	// Two lines, because it may not have been told the pid. An error means
	// that it is gone already.
	_, _ = io.WriteString(p.watch, "\n\n")
	_ = p.watch.Close()
	_ = p.watchdog.Wait()
}

func (p *process) wait() {
	p.err = p.cmd.Wait()
	p.dismissWatchdog()
	if !p.wanted.Load() {
		p.spec.logger.Error("a server ended by itself", "server", p.spec.name, "status", p.cmd.ProcessState.String(), "log", p.spec.logFile)
	}
	close(p.exited)
}

// end stops the server in good order and waits for it; when ctx ends first it
// is killed.
func (p *process) end(ctx context.Context) error {
	p.wanted.Store(true)
	if err := p.cmd.Process.Signal(p.spec.stop); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.spec.name, err)
	}
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
	}
	p.kill()
	return fmt.Errorf("stop %s: it did not end in time and was killed: %w", p.spec.name, context.Cause(ctx))
}

// kill ends the server and its children at once.
func (p *process) kill() {
	p.wanted.Store(true)
	// ESRCH, the only error, means that they are gone.
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

// await polls ready until it returns nil. The server's end, or that of ctx,
// ends the wait with what the server logged last.
func (p *process) await(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		if last = ready(ctx); last == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended while starting (%s); its log %s ends with:\n%s", p.spec.name, p.cmd.ProcessState, p.spec.logFile, tail(p.spec.logFile))
		case <-ctx.Done():
			return fmt.Errorf("%s did not answer in time: %w; its log %s ends with:\n%s", p.spec.name, errors.Join(context.Cause(ctx), last), p.spec.logFile, tail(p.spec.logFile))
		case <-tick.C:
		}
	}
}

// takeServerLock opens and locks a server's lock file. While another server
// holds it, that one is asked to stop: only a killed parent leaves one
// behind, since living parents exclude each other.
func takeServerLock(ctx context.Context, spec processSpec) (*os.File, error) {
	f, err := os.OpenFile(spec.lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of %s: %w", spec.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for asked := false; ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", spec.lockFile, err)
		}
		pid := readPID(spec.lockFile)
		if !asked && pid > 1 {
			spec.logger.Warn("stopping a server that a killed process left behind", "server", spec.name, "pid", pid)
			// ESRCH: it ends just now, and its children after it.
			if err := syscall.Kill(pid, spec.stop); err != nil && !errors.Is(err, syscall.ESRCH) {
				f.Close()
				return nil, fmt.Errorf("stop the %s with pid %d that a killed process left behind: %w", spec.name, pid, err)
			}
			asked = true
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("a %s with pid %d, left behind by a killed process, still holds %s: stop it with `kill %d`: %w", spec.name, pid, spec.lockFile, pid, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func writePID(f *os.File, pid string) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(pid+"\n"), 0)
	return err
}

// readPID returns the pid in a lock file, 0 when there is none.
func readPID(file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

// tail returns the last 2,000 bytes of a log.
func tail(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 2000 {
		if _, err := f.Seek(-2000, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, 2000))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}
