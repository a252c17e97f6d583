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

// watchdogScript ends a server whose parent died without stopping it. It reads
// the server's pid, then waits for a line from the parent. If the pipe ends
// without that line, the parent is gone, perhaps by kill -9. The script then
// sends the signal $1 and, when the server has ended, removes the remaining
// arguments. A second process does this because Linux's PR_SET_PDEATHSIG is
// bound to the thread that forked and does not exist on macOS.
const watchdogScript = `IFS= read -r pid || exit 0
IFS= read -r word && exit 0
kill -s "$1" "$pid" 2>/dev/null
shift
n=0
while kill -0 "$pid" 2>/dev/null && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done
[ $# -eq 0 ] || rm -rf -- "$@"
`

// lockWait is how long a start waits for the end of a server that a killed
// parent left behind.
const lockWait = 30 * time.Second

// maxLog is the log size in bytes above which a start begins a new log.
const maxLog = 16 << 20

// processSpec describes a server process.
type processSpec struct {
	name       string
	program    string
	args       []string
	dir        string
	credential *syscall.Credential // nil means the caller's user
	logFile    string
	// lockFile contains the server's pid. The server inherits an flock on it,
	// so the file is locked exactly as long as the server or a child of it
	// lives. A pid alone may belong to another process by now.
	lockFile string
	// locked is called after the lock was taken, before the server starts.
	locked func() error
	// stop asks the server to end properly. abandon asks it to end after its
	// parent died.
	stop    syscall.Signal
	abandon string
	clean   []string // removed after an abandoned server has ended
	logger  *slog.Logger
}

// process is a running server.
type process struct {
	spec     processSpec
	cmd      *exec.Cmd
	watch    io.WriteCloser
	watchdog *exec.Cmd
	exited   chan struct{}
	err      error // set before exited is closed
	wanted   atomic.Bool
}

// startProcess starts a server. It first stops one that a killed parent left
// behind.
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
	// Its own process group protects it from the terminal's Ctrl-C. The parent
	// stops it after the programs that use it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: spec.credential}
	if err := p.cmd.Start(); err != nil {
		p.dismissWatchdog()
		return nil, fmt.Errorf("start %s (%s): %w", spec.name, spec.program, err)
	}
	pid := strconv.Itoa(p.cmd.Process.Pid)
	if _, err := io.WriteString(p.watch, pid+"\n"); err != nil {
		spec.logger.Warn("the watchdog did not get the pid; the server keeps running if this process is killed", "server", spec.name, "error", err)
	}
	if err := writePID(lock, pid); err != nil {
		spec.logger.Warn("can't record the server's pid", "server", spec.name, "error", err)
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

// dismissWatchdog ends the watchdog. It must be called before the pid can
// belong to another process.
func (p *process) dismissWatchdog() {
	// Two lines, because it may still expect the pid. An error means that it
	// has already ended.
	_, _ = io.WriteString(p.watch, "\n\n")
	_ = p.watch.Close()
	_ = p.watchdog.Wait()
}

func (p *process) wait() {
	p.err = p.cmd.Wait()
	p.dismissWatchdog()
	if !p.wanted.Load() {
		p.spec.logger.Error("a server ended unexpectedly", "server", p.spec.name, "status", p.cmd.ProcessState.String(), "log", p.spec.logFile)
	}
	close(p.exited)
}

// end stops the server and waits for it. If ctx is done first, the server is
// killed.
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

// kill kills the server and its children.
func (p *process) kill() {
	p.wanted.Store(true)
	// The only error is ESRCH: they are gone.
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

// await polls ready until it returns nil. If the server or ctx ends first, the
// error contains the end of the server's log.
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
			return fmt.Errorf("%s timed out: %w; its log %s ends with:\n%s", p.spec.name, errors.Join(context.Cause(ctx), last), p.spec.logFile, tail(p.spec.logFile))
		case <-tick.C:
		}
	}
}

// takeServerLock opens and locks a server's lock file. If another server holds
// the lock, its parent was killed, because running parents exclude each other;
// takeServerLock stops that server.
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
			// ESRCH: it is just ending, and its children follow.
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

// readPID returns the pid in a lock file, or 0.
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
